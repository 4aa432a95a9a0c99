//! A predicting thread: requests of every form, each answer held against the tables.

use crate::fleet::{CLIMB, CONSTANT, Fleet, IRIS, NAMES, SLOW, WINE};
use crate::random::Random;
use crate::tally::{Form, Shared, Tally};
use modelserve::{
    Answer, Ctx, Done, ErrorKind, Features, Prediction, Predictions, Receipt, Reply, Request,
    Result, Route, Target, call_async,
};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Far longer than any answer takes: one that is not there by then is lost.
const LOST: Duration = Duration::from_secs(300);
/// Most rows of a batch.
const MOST: usize = 8;

pub struct Asker<'a> {
    fleet: &'a Fleet,
    shared: &'a Shared,
    random: Random,
    tally: Tally,
}

/// Which rows are asked.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    n: usize,
}

type Answered = Result<(Reply, Receipt)>;

impl<'a> Asker<'a> {
    pub fn new(fleet: &'a Fleet, shared: &'a Shared, seed: u64) -> Asker<'a> {
        Asker { fleet, shared, random: Random::new(seed), tally: Tally::default() }
    }

    /// Asks until told to stop.
    pub fn run(mut self) -> Tally {
        while !self.shared.stopped() {
            match self.random.below(100) {
                0..4 => self.ask_badly(),
                4 => self.ask(SLOW),
                5..35 => self.ask(CLIMB),
                35..60 => self.ask(WINE),
                _ => self.ask(IRIS),
            }
        }
        self.tally
    }

    fn span(&mut self, name: usize, most: usize) -> Span {
        let n = 1 + self.random.below(most);
        let count = self.fleet.truths[name].rows.count;
        Span { first: self.random.below(count - n + 1), n }
    }

    fn ask(&mut self, name: usize) {
        let form = match (name, self.random.below(20)) {
            (SLOW, 0..10) => return self.submit(name, 24),
            (_, 0..6) => Form::Row,
            (_, 6..8) => Form::Handle,
            (_, 8..11) => Form::Batch,
            // A constant has no named outputs.
            (SLOW, _) => Form::Keyed,
            (_, 11..13) => Form::Run,
            (_, 13..16) => Form::Keyed,
            (IRIS, 16) => Form::Label,
            (_, 16) => Form::Pinned,
            (_, 17) => Form::Future,
            _ => return self.submit(name, 16),
        };
        let most = if matches!(form, Form::Batch | Form::Run | Form::Pinned) { MOST } else { 1 };
        let span = self.span(name, most);
        let answered = self.answer(name, form, span);
        self.judge(name, form, span, answered);
    }

    fn answer(&mut self, name: usize, form: Form, span: Span) -> Answered {
        let (fleet, word) = (self.fleet, NAMES[name]);
        let manager = &fleet.manager;
        let rows = &fleet.truths[name].rows;
        let features = rows.features(span.first, span.n);
        match form {
            Form::Row => manager.predict_row(word, rows.some(span.first, 1)).map(of_row),
            Form::Handle => manager.model(word)?.predict_row(rows.some(span.first, 1)).map(of_row),
            Form::Batch => manager.predict_batch(word, features).map(of_batch),
            Form::Run => self.call(name, self.named(name, span), Ctx::default()),
            Form::Keyed => {
                let key = format!("user {}", self.random.below(10_000));
                let ctx = Ctx {
                    key: Some(key.into()),
                    priority: self.random.below(3) as i8 - 1,
                    no_cache: self.random.below(4) == 0,
                    ..Ctx::default()
                };
                self.call(name, Request::Row(features), ctx)
            }
            Form::Label => {
                let target = Target::Label("blue".into());
                self.call(name, Request::Row(features), Ctx { target, ..Ctx::default() })
            }
            Form::Pinned => {
                let pinned = manager.model(word)?.pin()?;
                let (reply, receipt) = pinned.predict_batch(features).map(of_batch)?;
                if pinned.version()? != receipt.version {
                    self.shared.problem(format!("{word}: a pinned version changed"));
                }
                Ok((reply, receipt))
            }
            Form::Future | Form::Submitted => {
                let request = Request::Row(features).into_owned()?;
                let future =
                    call_async(manager.model(word)?.model(), request.clone(), Ctx::default());
                if self.random.below(4) == 0 {
                    drop(call_async(manager.model(word)?.model(), request, Ctx::default()));
                    self.tally.dropped += 1;
                }
                block_on(future)
            }
        }
    }

    fn named(&self, name: usize, span: Span) -> Request<'static> {
        let truth = &self.fleet.truths[name];
        let x = truth.rows.tensor(span.first, span.n);
        Request::Run { inputs: vec![(truth.input.clone(), x.into())], outputs: [].into() }
    }

    fn call(&self, name: usize, request: Request<'_>, mut ctx: Ctx) -> Answered {
        let reply = self.fleet.manager.call(NAMES[name], &request, &mut ctx)?;
        Ok((reply, ctx.receipt))
    }

    /// Submits up to `most` requests at once and waits for all their answers.
    fn submit(&mut self, name: usize, most: usize) {
        let n = 1 + self.random.below(most);
        let (tx, rx) = channel();
        let mut spans = Vec::with_capacity(n);
        for i in 0..n {
            let span = self.span(name, 1);
            let features = self.fleet.truths[name].rows.features(span.first, 1);
            let tx = tx.clone();
            let done = Done::new(move |result, ctx| {
                // Nobody listens any more where an answer came too late to count.
                let _ = tx.send((i, result.map(|reply| (reply, ctx.receipt))));
            });
            match Request::Row(features).into_owned() {
                Ok(request) => {
                    self.fleet.manager.submit(NAMES[name], request, Ctx::default(), done);
                }
                Err(e) => self.shared.problem(e.to_string()),
            }
            spans.push(Some(span));
        }
        for _ in 0..n {
            match rx.recv_timeout(LOST) {
                Ok((i, answered)) => match spans[i].take() {
                    Some(span) => self.judge(name, Form::Submitted, span, answered),
                    None => self.shared.problem(format!("{}: answered twice", NAMES[name])),
                },
                Err(_) => self.shared.problem(format!("{}: an answer is lost", NAMES[name])),
            }
        }
    }

    /// Holds an answer against the tables.
    fn judge(&mut self, name: usize, form: Form, span: Span, answered: Answered) {
        self.shared.requests.fetch_add(1, SeqCst);
        let count = self.tally.counts.entry((name, form)).or_default();
        let (reply, receipt) = match answered {
            Ok(answered) => answered,
            Err(e) => {
                count.failed += 1;
                return self.shared.problem(format!("{form:?}: {} ({})", e, e.kind()));
            }
        };
        let truth = &self.fleet.truths[name];
        let (version, Span { first, n }) = (receipt.version, span);
        let right = match (&reply, form) {
            _ if receipt.route == Route::Fallback => name == SLOW && is_constant(&reply, n),
            (Reply::Batch(p), Form::Batch | Form::Pinned) => truth.is_batch(version, first, n, p),
            (Reply::Tensors(o), Form::Run) => truth.is_outputs(version, first, n, o),
            (Reply::Row(p), _) => truth.is_row(version, first, p),
            _ => false,
        };
        count.answered += 1;
        count.rows += n as u64;
        if right {
            self.tally.receipt(name, n, &receipt);
        } else {
            count.wrong += 1;
            let word = NAMES[name];
            self.shared
                .problem(format!("{form:?}: wrong answer of {word}: {reply:?}, {receipt:?}"));
        }
    }

    /// A request that does not fit the model has to fail with `InvalidInput`, whoever is asked.
    /// (Not asked of the slow model: its constant answers late requests without looking at them.)
    fn ask_badly(&mut self) {
        let name = [IRIS, WINE, CLIMB][self.random.below(3)];
        let (manager, word) = (&self.fleet.manager, NAMES[name]);
        let truth = &self.fleet.truths[name];
        let (rows, width) = (&truth.rows, truth.rows.width);
        let long = rows.some(0, 2);
        let error = match self.random.below(6) {
            0 => manager.predict_row(word, &long[..width + 1]).err(),
            1 => manager.predict_row(word, &long[..width - 1]).err(),
            2 => manager.predict_row(word, &[]).err(),
            3 => {
                let ragged = Features::F32 { data: long, rows: 2, width: width - 1 };
                manager.predict_batch(word, ragged).err()
            }
            4 => {
                let inputs = vec![("no such input".to_string(), rows.tensor(0, 1).into())];
                manager.run(word, inputs, &[]).err()
            }
            _ => {
                let inputs = vec![(truth.input.clone(), rows.tensor(0, 1).into())];
                manager.run(word, inputs, &["no such output"]).err()
            }
        };
        self.shared.requests.fetch_add(1, SeqCst);
        match error {
            Some(e) if e.kind() == ErrorKind::InvalidInput => self.tally.refused += 1,
            other => {
                self.tally.not_refused += 1;
                self.shared.problem(format!("{word}: a bad request ended with {other:?}"));
            }
        }
    }
}

fn of_row(p: Prediction) -> (Reply, Receipt) {
    let receipt = p.receipt.clone();
    (p.into(), receipt)
}

fn of_batch(p: Predictions) -> (Reply, Receipt) {
    let receipt = p.receipt.clone();
    (p.into(), receipt)
}

fn is_constant(reply: &Reply, n: usize) -> bool {
    let constant = |p: &Prediction| p.answer == Answer::Value(CONSTANT);
    match reply {
        Reply::Row(p) => n == 1 && constant(p),
        Reply::Batch(p) => p.rows == n && (0..n).all(|i| p.row(i).is_ok_and(|p| constant(&p))),
        _ => false,
    }
}

/// Waits for a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
