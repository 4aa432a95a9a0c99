use super::*;
use crate::error::{ErrorKind, ensure, err};
use crate::model::{Answer, CancelToken, FnModel, Receipt};
use crate::policy::Load;
use crate::tensor::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

/// What the model saw of one run.
struct Seen {
    rows: usize,
    outputs: Vec<String>,
    thread: ThreadId,
}

/// A lane before a model that adds two numbers, each run of which waits for a word.
struct Bench {
    batch: Arc<Batch>,
    seen: Receiver<Seen>,
    go: Sender<()>,
}

const GUARD: Duration = Duration::from_secs(60);
const PANICS: f32 = 13.0;

/// Output `y` is the sum of a row; output `m` one number for the whole batch.
fn bench(options: BatchOptions) -> Bench {
    let base = FnModel::regressor(2, |row| {
        ensure!(!row.iter().any(|x| x.is_nan()), Execution, "a bad row");
        assert!(row[0] != PANICS, "a row that the model has a bug for");
        Ok(row.iter().sum())
    });
    let (tell, seen) = channel();
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let gated = Arc::new(AtomicBool::new(false));
    let closed = gated.clone();
    let mut signature = (*base.signature()).clone();
    let mut mean = signature.outputs[0].clone();
    mean.name = "m".into();
    signature.outputs.push(mean);
    let model = FnModel::new(signature, move |request, ctx| {
        if closed.load(Ordering::SeqCst) {
            let outputs = match request {
                Request::Run { outputs, .. } => outputs.to_vec(),
                _ => Vec::new(),
            };
            let thread = std::thread::current().id();
            tell.send(Seen { rows: request.rows(), outputs, thread }).unwrap();
            let _ = gate.lock().recv();
        }
        match request {
            Request::Run { outputs, .. } if outputs.iter().any(|name| name == "m") => {
                let one = Tensor::from_vec(&[1, 1], vec![request.rows() as f32]).unwrap();
                Ok(Reply::Tensors(vec![("m".into(), one.into())]))
            }
            _ => base.call(request, ctx),
        }
    });
    let batch = Batch::new(Arc::new(model), options, Arc::default()).unwrap();
    gated.store(true, Ordering::SeqCst);
    Bench { batch: Arc::new(batch), seen, go }
}

impl Bench {
    fn seen(&self) -> Seen {
        self.seen.recv_timeout(GUARD).unwrap()
    }

    fn go(&self) {
        self.go.send(()).unwrap();
    }

    fn until_queued(&self, n: usize) {
        let began = Instant::now();
        while self.batch.load().queued() != n {
            assert!(began.elapsed() < GUARD, "{} are queued", self.batch.load().queued());
            std::thread::yield_now();
        }
    }

    fn call(&self, request: Request<'static>, ctx: Ctx) -> JoinHandle<(Result<Reply>, Receipt)> {
        let batch = self.batch.clone();
        std::thread::spawn(move || {
            let mut ctx = ctx;
            let result = batch.call(&request, &mut ctx);
            (result, ctx.receipt)
        })
    }

    fn submit(&self, request: Request<'static>, ctx: Ctx) -> Receiver<(Result<Reply>, Receipt)> {
        let (tx, rx) = channel();
        let done = Done::new(move |result, ctx: Ctx| {
            let _ = tx.send((result, ctx.receipt));
        });
        self.batch.clone().submit(request, ctx, done);
        rx
    }

    /// Occupies the lane's one run.
    fn hold(&self) -> Receiver<(Result<Reply>, Receipt)> {
        let held = self.submit(row(0.0, 0.0), Ctx::default());
        assert_eq!(self.seen().rows, 1);
        held
    }

    /// Lets everything run to its end, and looks that the lane is free again.
    fn finish(self) {
        let Bench { batch, seen, go } = self;
        drop((seen, go));
        let began = Instant::now();
        while batch.shared.lane.counts() != (0, 0) {
            assert!(began.elapsed() < GUARD, "a run leaked: {:?}", batch.shared.lane.counts());
            std::thread::yield_now();
        }
        assert_eq!((batch.load().queued(), batch.load().running()), (0, 0));
    }
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::from_vec(&[values.len() / 2, 2], values.to_vec()).unwrap()
}

fn row(a: f32, b: f32) -> Request<'static> {
    Request::Row(Features::Tensor(tensor(&[a, b])))
}

fn run(a: f32, output: &str) -> Request<'static> {
    let x: Value = tensor(&[a, 0.0]).into();
    Request::Run { inputs: vec![("x".into(), x)], outputs: [output.to_string()].into() }
}

fn value(reply: Result<Reply>) -> f64 {
    match reply.unwrap().into_row().unwrap().answer {
        Answer::Value(v) => v,
        other => panic!("{other:?}"),
    }
}

fn named(reply: Result<Reply>) -> (String, Vec<f32>) {
    let mut outputs = reply.unwrap().into_tensors().unwrap();
    assert_eq!(outputs.len(), 1);
    let (name, value) = outputs.remove(0);
    (name, value.into_tensor().unwrap().into_vec().unwrap())
}

fn of(max_batch_size: usize) -> BatchOptions {
    BatchOptions { max_batch_size, ..Default::default() }
}

fn with_priority(priority: i8) -> Ctx {
    Ctx { priority, ..Ctx::default() }
}

#[test]
fn an_idle_model_runs_in_the_calling_thread_however_long_batches_may_wait() {
    let options = BatchOptions { max_queue_delay: Duration::from_secs(86_400), ..of(8) };
    let bench = bench(options);
    for _ in 0..3 {
        bench.go();
        let mut ctx = Ctx::default();
        assert_eq!(value(bench.batch.call(&row(1.0, 2.0), &mut ctx)), 3.0);
        assert_eq!(bench.seen().thread, std::thread::current().id());
        assert_eq!((ctx.receipt.batch_rows, ctx.receipt.queue), (1, Duration::ZERO));
        assert!(ctx.receipt.run > Duration::ZERO);
    }
    assert!(bench.batch.load().per_request() > Duration::ZERO);
    bench.finish();
}

#[test]
fn arrivals_while_busy_form_one_batch() {
    let bench = bench(of(8));
    let held = bench.hold();
    let blocked: Vec<_> = (0..3).map(|i| bench.call(row(i as f32, 1.0), Ctx::default())).collect();
    bench.until_queued(3);
    let submitted = bench.submit(row(10.0, 1.0), Ctx::default());
    let many = Request::Batch(Features::Tensor(tensor(&[1.0, 1.0, 2.0, 2.0])));
    let many = bench.submit(many, Ctx::default());
    bench.until_queued(5);
    bench.go();
    assert_eq!(bench.seen().rows, 6);
    bench.go();
    assert_eq!(value(held.recv_timeout(GUARD).unwrap().0), 0.0);
    for (i, caller) in blocked.into_iter().enumerate() {
        let (reply, receipt) = caller.join().unwrap();
        assert_eq!(value(reply), i as f64 + 1.0);
        assert_eq!(receipt.batch_rows, 6);
        assert!(receipt.queue > Duration::ZERO && receipt.run > Duration::ZERO);
        assert_eq!(receipt.version, 1);
    }
    assert_eq!(value(submitted.recv_timeout(GUARD).unwrap().0), 11.0);
    let many = many.recv_timeout(GUARD).unwrap().0.unwrap().into_batch().unwrap();
    assert_eq!(many.rows, 2);
    assert_eq!(many.row(1).unwrap().answer, Answer::Value(4.0));
    bench.finish();
}

#[test]
fn a_busy_lane_waits_for_company_and_is_woken_by_it() {
    let options = BatchOptions { max_queue_delay: Duration::from_secs(86_400), ..of(3) };
    let bench = bench(options);
    let held = bench.hold();
    let first = bench.call(row(1.0, 0.0), Ctx::default());
    bench.until_queued(1);
    bench.go();
    held.recv_timeout(GUARD).unwrap().0.unwrap();
    bench.until_queued(0);
    assert!(bench.seen.try_recv().is_err(), "it waits for two more");
    let others = [2.0, 3.0].map(|x| bench.call(row(x, 0.0), Ctx::default()));
    assert_eq!(bench.seen().rows, 3);
    bench.go();
    assert_eq!(value(first.join().unwrap().0), 1.0);
    let others = others.map(|caller| value(caller.join().unwrap().0));
    assert_eq!(others, [2.0, 3.0]);
    bench.finish();
}

#[test]
fn higher_priorities_go_first_then_the_order_of_arrival() {
    let bench = bench(BatchOptions { concurrency: 1, ..of(1) });
    let held = bench.hold();
    let (tx, order) = channel();
    for (name, priority) in [("a", 0), ("b", 5), ("c", -5), ("d", 5)] {
        let tx = tx.clone();
        let done = Done::new(move |result, _| tx.send((name, value(result))).unwrap());
        bench.batch.clone().submit(row(1.0, 1.0), with_priority(priority), done);
    }
    bench.until_queued(4);
    (0..5).for_each(|_| bench.go());
    held.recv_timeout(GUARD).unwrap().0.unwrap();
    let names: Vec<_> = (0..4).map(|_| order.recv_timeout(GUARD).unwrap().0).collect();
    assert_eq!(names, ["b", "d", "a", "c"]);
    assert!((0..4).all(|_| bench.seen().rows == 1));
    bench.finish();
}

#[test]
fn a_full_queue_refuses_at_once_but_not_for_the_sake_of_the_dead() {
    let bench = bench(BatchOptions { max_queue_size: 2, ..of(8) });
    let _held = bench.hold();
    let token = CancelToken::default();
    let cancelled = Ctx { cancel: Some(token.clone()), ..Ctx::default() };
    let first = bench.submit(row(1.0, 0.0), cancelled);
    let second = bench.submit(row(2.0, 0.0), Ctx::default());
    bench.until_queued(2);
    for _ in 0..2 {
        let e = bench.batch.call(&row(3.0, 0.0), &mut Ctx::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Overloaded);
        assert!(e.message().contains("2 requests wait") && e.message().contains("max_queue_size"));
    }
    let refused = bench.submit(row(3.0, 0.0), Ctx::default());
    let refused = refused.try_recv().unwrap().0.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    token.cancel();
    let third = bench.submit(row(3.0, 0.0), Ctx::default());
    let e = first.try_recv().unwrap().0.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
    bench.until_queued(2);
    (0..2).for_each(|_| bench.go());
    assert_eq!(value(second.recv_timeout(GUARD).unwrap().0), 2.0);
    assert_eq!(value(third.recv_timeout(GUARD).unwrap().0), 3.0);
    bench.finish();
}

#[test]
fn a_deadline_or_cancellation_ends_the_wait_though_the_run_goes_on() {
    let bench = bench(of(8));
    let held = bench.hold();
    let late = bench.call(row(1.0, 0.0), Ctx::within(Duration::from_millis(30)));
    assert_eq!(late.join().unwrap().0.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let token = CancelToken::default();
    let ctx = Ctx { cancel: Some(token.clone()), ..Ctx::default() };
    let cancelled = bench.call(row(1.0, 0.0), ctx.clone());
    bench.until_queued(1);
    token.cancel();
    assert_eq!(cancelled.join().unwrap().0.unwrap_err().kind(), ErrorKind::Cancelled);
    bench.until_queued(0);
    assert!(held.try_recv().is_err(), "the run still goes on");
    bench.finish();
}

#[test]
fn those_who_are_too_late_when_a_batch_forms_are_told_so_and_the_others_run() {
    let bench = bench(of(8));
    let _held = bench.hold();
    let token = CancelToken::default();
    let ctx = |priority| Ctx { cancel: Some(token.clone()), priority, ..Ctx::default() };
    // One at the head of the queue, and one that would have joined.
    let dead = [1, -1].map(|priority| bench.submit(row(1.0, 0.0), ctx(priority)));
    let alive = [2.0, 3.0].map(|x| bench.submit(row(x, 0.0), Ctx::default()));
    bench.until_queued(4);
    token.cancel();
    bench.go();
    assert_eq!(bench.seen().rows, 2);
    bench.go();
    for dead in dead {
        let e = dead.recv_timeout(GUARD).unwrap().0.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Cancelled);
    }
    let alive = alive.map(|rx| value(rx.recv_timeout(GUARD).unwrap().0));
    assert_eq!(alive, [2.0, 3.0]);
    bench.finish();
}

#[test]
fn a_batch_that_fails_is_split_until_only_the_bad_rows_fail() {
    let bench = bench(of(16));
    let _held = bench.hold();
    let rows = [1.0, f32::NAN, 3.0, PANICS, 5.0, 6.0, 7.0];
    let callers = rows.map(|x| bench.submit(row(x, 0.0), Ctx::default()));
    bench.until_queued(rows.len());
    (0..32).for_each(|_| bench.go());
    for (x, caller) in rows.into_iter().zip(callers) {
        let result = caller.recv_timeout(GUARD).unwrap().0;
        match x {
            x if x.is_nan() => {
                let e = result.unwrap_err();
                assert_eq!((e.kind(), e.message()), (ErrorKind::Execution, "a bad row"));
            }
            PANICS => assert_eq!(result.unwrap_err().kind(), ErrorKind::Internal),
            _ => assert_eq!(value(result), f64::from(x)),
        }
    }
    bench.finish();
}

#[test]
fn rows_are_checked_before_they_join() {
    let bench = bench(of(8));
    let _held = bench.hold();
    let wide = Request::Row(Features::F32 { data: &[1.0; 3], rows: 1, width: 3 });
    let e = bench.batch.call(&wide, &mut Ctx::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    let e = bench.submit(wide, Ctx::default()).try_recv().unwrap().0.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert_eq!(bench.batch.load().queued(), 0);
    bench.finish();
}

#[test]
fn different_outputs_never_share_a_run() {
    let bench = bench(of(8));
    let _held = bench.hold();
    let wanted: Vec<_> = ["y", "m", "y", "y"]
        .iter()
        .enumerate()
        .map(|(i, name)| (i, bench.submit(run(i as f32, name), Ctx::default())))
        .collect();
    let plain = bench.submit(row(9.0, 0.0), Ctx::default());
    bench.until_queued(5);
    (0..5).for_each(|_| bench.go());
    for (i, caller) in wanted {
        let expected = if i == 1 { ("m".into(), vec![1.0]) } else { ("y".into(), vec![i as f32]) };
        assert_eq!(named(caller.recv_timeout(GUARD).unwrap().0), expected);
    }
    assert_eq!(value(plain.recv_timeout(GUARD).unwrap().0), 9.0);
    let runs = [(); 3].map(|()| bench.seen()).map(|seen| (seen.rows, seen.outputs));
    let y = || vec!["y".to_string()];
    assert_eq!(runs, [(3, y()), (1, vec!["m".into()]), (1, vec![])]);
    bench.finish();
}

#[test]
fn outputs_without_an_entry_a_row_are_run_apart_and_remembered() {
    let bench = bench(of(8));
    for runs in [vec![2, 1, 1], vec![1, 1]] {
        let held = bench.hold();
        let callers = [1.0, 2.0].map(|x| bench.submit(run(x, "m"), Ctx::default()));
        bench.until_queued(2);
        (0..=runs.len()).for_each(|_| bench.go());
        held.recv_timeout(GUARD).unwrap().0.unwrap();
        for caller in callers {
            assert_eq!(named(caller.recv_timeout(GUARD).unwrap().0), ("m".into(), vec![1.0]));
        }
        let seen: Vec<usize> = runs.iter().map(|_| bench.seen().rows).collect();
        assert_eq!(seen, runs);
        let began = Instant::now();
        while bench.batch.load().running() > 0 {
            assert!(began.elapsed() < GUARD);
            std::thread::yield_now();
        }
    }
    bench.finish();
}

#[test]
fn a_completion_that_panics_takes_no_answer_from_the_others() {
    let bench = bench(of(8));
    let _held = bench.hold();
    let broken = Done::new(|_, _| panic!("a broken caller"));
    bench.batch.clone().submit(row(1.0, 0.0), with_priority(1), broken);
    let other = bench.submit(row(2.0, 0.0), Ctx::default());
    bench.until_queued(2);
    (0..2).for_each(|_| bench.go());
    assert_eq!(value(other.recv_timeout(GUARD).unwrap().0), 2.0);
    bench.finish();
}

#[test]
fn a_forked_child_does_not_wait_for_the_runs_of_its_parent() {
    let bench = bench(of(8));
    let held = bench.hold();
    let waiting = bench.submit(row(1.0, 0.0), Ctx::default());
    bench.until_queued(1);
    // What a child finds: the lane as it was, under another process id.
    *bench.batch.shared.process.lock() += 1;
    let child = bench.call(row(2.0, 0.0), Ctx::default());
    assert_eq!(bench.seen().rows, 1, "it runs though the parent's run goes on");
    (0..2).for_each(|_| bench.go());
    assert_eq!(value(child.join().unwrap().0), 2.0);
    assert!(held.recv_timeout(GUARD).is_ok());
    assert!(waiting.try_recv().is_err(), "its caller lives in the parent");
    bench.finish();
}

/// A model whose answer depends on the batch by `factor` a row.
fn drifting(factor: f32) -> Arc<dyn Model> {
    let base = FnModel::regressor(2, |row| Ok(row.iter().sum()));
    let signature = (*base.signature()).clone();
    Arc::new(FnModel::new(signature, move |request, ctx| {
        let mut reply = base.call(request, ctx)?;
        let rows = request.rows() as f32;
        if let Reply::Batch(p) = &mut reply
            && let crate::model::Answers::Values(t) = &mut p.answers
        {
            let drifted = t.to_f32_vec()?.iter().map(|y| y * (1.0 + factor * rows)).collect();
            *t = Tensor::from_vec(&[p.rows, 1], drifted)?;
        }
        Ok(reply)
    }))
}

#[test]
fn a_model_whose_answers_depend_on_the_batch_is_not_batched() {
    let probed = |factor, batch_invariant| {
        let options = BatchOptions { batch_invariant, ..of(8) };
        let batch = Batch::new(drifting(factor), options, Arc::new(Load::default())).unwrap();
        (batch.batches(), batch.invariance().clone())
    };
    assert_eq!(probed(0.0, true), (true, Invariance::BitEqual));
    let (batches, found) = probed(1e-5, false);
    assert!(batches && matches!(found, Invariance::Close { worst } if worst > 1e-5), "{found}");
    assert!(!probed(1e-5, true).0);
    let (batches, found) = probed(0.01, false);
    assert!(!batches && matches!(found, Invariance::Differs { worst } if worst > 0.01), "{found}");
    let failing = FnModel::regressor(2, |_| Err(err!(Execution, "no such row")));
    for batch_invariant in [false, true] {
        let options = BatchOptions { batch_invariant, ..of(8) };
        let base: Arc<dyn Model> =
            Arc::new(FnModel::regressor(2, |_| Err(err!(Execution, "random rows are refused"))));
        let batch = Batch::new(base, options, Arc::default()).unwrap();
        assert_eq!(batch.batches(), !batch_invariant);
        assert!(batch.invariance().to_string().contains("random rows are refused"));
    }
    let limiter = Batch::new(Arc::new(failing), of(1), Arc::default()).unwrap();
    assert_eq!((limiter.batches(), limiter.invariance()), (false, &Invariance::NotNeeded));
}
