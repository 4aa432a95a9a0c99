//! Stand-ins for models, and both ways to ask them.

use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Answer, Ctx, Done, Features, FnModel, Model, ModelInfo, Reply, Request, Signature,
};
use crate::sync::{Condvar, Mutex};
use crate::tensor::Tensor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What takes longer hangs.
pub(in crate::policy) const HANG: Duration = Duration::from_secs(60);

/// How a model is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::policy) enum Way {
    Call,
    Submit,
}

pub(in crate::policy) const BOTH: [Way; 2] = [Way::Call, Way::Submit];

/// Asks for one row, and waits for the answer.
pub(in crate::policy) fn ask(way: Way, model: &Arc<dyn Model>, ctx: Ctx) -> (Result<Reply>, Ctx) {
    match way {
        Way::Call => {
            let mut ctx = ctx;
            let result = model.call(&row(7.0), &mut ctx);
            (result, ctx)
        }
        Way::Submit => begin(model, ctx).recv_timeout(HANG).unwrap(),
    }
}

/// Submits one row; the answer comes through the channel.
pub(in crate::policy) fn begin(
    model: &Arc<dyn Model>,
    ctx: Ctx,
) -> mpsc::Receiver<(Result<Reply>, Ctx)> {
    let (tx, rx) = mpsc::channel();
    let done = Done::new(move |result, ctx| {
        // A test that does not care for the answer has dropped the other end.
        let _ = tx.send((result, ctx));
    });
    model.clone().submit(row(7.0), ctx, done);
    rx
}

/// The kind of the error that a question was answered with.
pub(in crate::policy) fn kind(result: &Result<Reply>) -> Option<ErrorKind> {
    result.as_ref().err().map(Error::kind)
}

/// The value that a row was answered with.
pub(in crate::policy) fn value(result: Result<Reply>) -> f64 {
    match result.unwrap().into_row().unwrap().answer {
        Answer::Value(value) => value,
        other => panic!("expected a value, got {other:?}"),
    }
}

pub(in crate::policy) fn row(x: f32) -> Request<'static> {
    Request::Row(Features::Tensor(Tensor::from_vec(&[1, 1], vec![x]).unwrap()))
}

/// A deadline that no test reaches.
pub(in crate::policy) fn far() -> Ctx {
    Ctx::within(Duration::from_secs(600))
}

/// A deadline that a test waits for.
pub(in crate::policy) fn near() -> Ctx {
    Ctx::within(Duration::from_millis(30))
}

/// A deadline that has passed as the request arrives.
pub(in crate::policy) fn now() -> Ctx {
    Ctx { deadline: Some(Instant::now()), ..Ctx::default() }
}

/// Answers the row's value, as version `version`.
pub(in crate::policy) fn echo(version: u64) -> Arc<dyn Model> {
    Arc::new(FnModel::regressor(1, |row| Ok(row[0])).with_version(version))
}

/// Fails with `kind`, and counts how often it was asked.
pub(in crate::policy) fn failing(kind: ErrorKind) -> (Arc<dyn Model>, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let model = FnModel::regressor(1, move |_| {
        counted.fetch_add(1, SeqCst);
        Err(Error::new(kind, "it is broken"))
    });
    (Arc::new(model), runs)
}

#[derive(Default)]
struct GateState {
    open: bool,
    fails: bool,
    entered: usize,
    left: usize,
    cancelled: usize,
}

/// Steers a [`Gate::model`].
#[derive(Clone, Default)]
pub(in crate::policy) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

impl Gate {
    /// A model whose runs are stuck, whatever their deadline, until the gate opens.
    pub(in crate::policy) fn model(&self) -> Arc<dyn Model> {
        Arc::new(Gated { gate: self.clone(), inner: FnModel::regressor(1, |row| Ok(row[0])) })
    }

    fn set(&self, f: impl FnOnce(&mut GateState)) {
        f(&mut self.0.0.lock());
        self.0.1.notify_all();
    }

    pub(in crate::policy) fn open(&self) {
        self.set(|state| state.open = true);
    }

    /// Whether runs fail with `Execution` at once instead of getting stuck.
    pub(in crate::policy) fn fails(&self, fails: bool) {
        self.set(|state| state.fails = fails);
    }

    fn wait(&self, what: impl Fn(&GateState) -> bool) {
        let mut state = self.0.0.lock();
        let until = Instant::now() + HANG;
        while !what(&state) {
            let hangs;
            (state, hangs) = self.0.1.wait_until(state, until);
            assert!(!hangs, "hangs");
        }
    }

    /// Waits until so many runs have begun.
    pub(in crate::policy) fn wait_entered(&self, n: usize) {
        self.wait(|state| state.entered >= n);
    }

    /// Waits until so many runs have ended.
    pub(in crate::policy) fn wait_left(&self, n: usize) {
        self.wait(|state| state.left >= n);
    }

    pub(in crate::policy) fn entered(&self) -> usize {
        self.0.0.lock().entered
    }

    /// Runs that found themselves cancelled as they ended.
    pub(in crate::policy) fn cancelled(&self) -> usize {
        self.0.0.lock().cancelled
    }
}

struct Gated {
    gate: Gate,
    inner: FnModel,
}

impl Model for Gated {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        self.gate.set(|state| state.entered += 1);
        if self.gate.0.0.lock().fails {
            self.gate.set(|state| state.left += 1);
            return Err(Error::new(ErrorKind::Execution, "it is broken"));
        }
        self.gate.wait(|state| state.open);
        let cancelled = ctx.cancel.as_ref().is_some_and(|c| c.is_cancelled());
        let result = self.inner.call(request, &mut Ctx::default());
        self.gate.set(|state| {
            state.left += 1;
            state.cancelled += usize::from(cancelled);
        });
        result
    }
}

/// A model of a known cost.
pub(in crate::policy) struct Costing {
    pub inner: Arc<dyn Model>,
    pub ns: u64,
}

impl Model for Costing {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        self.inner.call(request, ctx)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.ns.saturating_mul(rows as u64)
    }
}

/// A model with a defect: it panics in the calling thread, whichever way it is asked.
pub(in crate::policy) struct Panicking(pub Arc<dyn Model>);

impl Model for Panicking {
    fn signature(&self) -> Arc<Signature> {
        self.0.signature()
    }

    fn info(&self) -> ModelInfo {
        self.0.info()
    }

    fn call(&self, _: &Request<'_>, _: &mut Ctx) -> Result<Reply> {
        panic!("a defect");
    }

    fn submit(self: Arc<Self>, _: Request<'static>, _: Ctx, _: Done) {
        panic!("a defect");
    }
}
