//! A submitted request as a Rust future, for any runtime.

use super::{Ctx, Done, Model, Receipt, Reply, Request};
use crate::error::{Result, err};
use crate::model::CancelToken;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The outcome of a request that runs elsewhere: what [`call_async`] answers. It is woken by the
/// thread that makes the answer and needs no particular runtime.
///
/// Dropping it before it is ready cancels the request.
#[must_use = "a future that is dropped cancels its request"]
pub struct ReplyFuture {
    slot: Arc<Mutex<Slot>>,
    cancel: CancelToken,
}

enum Slot {
    Waiting(Option<Waker>),
    Ready(Box<(Result<Reply>, Receipt)>),
    Taken,
}

/// Submits `request` to `model` at once (not at the first poll); the future answers the reply and
/// how it came about.
///
/// Dropping the future cancels the request through `ctx.cancel`; a token that was set there already
/// is used, and with it whatever else it stands for.
pub fn call_async(model: Arc<dyn Model>, request: Request<'static>, mut ctx: Ctx) -> ReplyFuture {
    let cancel = ctx.cancel.get_or_insert_default().clone();
    let slot = Arc::new(Mutex::new(Slot::Waiting(None)));
    let told = slot.clone();
    let done = Done::new(move |result, ctx| {
        let outcome = Box::new((result, ctx.receipt));
        let before = std::mem::replace(&mut *told.lock(), Slot::Ready(outcome));
        // Woken outside the lock: a waker may poll at once.
        if let Slot::Waiting(Some(waker)) = before {
            waker.wake();
        }
    });
    model.submit(request, ctx, done);
    ReplyFuture { slot, cancel }
}

impl Future for ReplyFuture {
    type Output = Result<(Reply, Receipt)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.slot.lock();
        if let Slot::Waiting(waker) = &mut *slot {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Ready(outcome) => {
                let (result, receipt) = *outcome;
                result.map(|reply| (reply, receipt))
            }
            _ => Err(err!(Internal, "a future was polled after its answer was taken")),
        })
    }
}

impl Drop for ReplyFuture {
    fn drop(&mut self) {
        if matches!(*self.slot.lock(), Slot::Waiting(_)) {
            self.cancel.cancel();
        }
    }
}

impl std::fmt::Debug for ReplyFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReplyFuture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Answer, Features, FnModel};
    use std::sync::mpsc;
    use std::task::Wake;
    use std::time::Duration;

    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(out) => return out,
                Poll::Pending => std::thread::park_timeout(Duration::from_secs(60)),
            }
        }
    }

    fn row() -> Request<'static> {
        Request::Row(Features::F32 { data: &[1.0, 2.0], rows: 1, width: 2 })
    }

    #[test]
    fn a_future_answers_with_its_receipt() {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let model = FnModel::regressor(2, move |row| {
            gate.lock().recv().unwrap();
            Ok(row.iter().sum())
        });
        let mut future = call_async(Arc::new(model.with_version(4)), row(), Ctx::default());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
        release.send(()).unwrap();
        let (reply, receipt) = block_on(&mut future).unwrap();
        assert_eq!(reply.into_row().unwrap().answer, Answer::Value(3.0));
        assert_eq!(receipt.version, 4);
        assert!(block_on(future).is_err(), "an answer is taken once");
    }

    #[test]
    fn dropping_a_future_cancels_its_request_and_a_finished_one_nothing() {
        let model: Arc<dyn Model> = Arc::new(FnModel::regressor(2, |row| Ok(row.iter().sum())));
        let token = CancelToken::default();
        let ctx = Ctx { cancel: Some(token.clone()), ..Ctx::default() };
        block_on(call_async(model.clone(), row(), ctx.clone())).unwrap();
        assert!(!token.is_cancelled());
        let (release, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let blocked = FnModel::regressor(2, move |_| {
            let _ = gate.lock().recv();
            Ok(0.0)
        });
        drop(call_async(Arc::new(blocked), row(), ctx));
        assert!(token.is_cancelled());
        drop(release);
    }
}
