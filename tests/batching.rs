//! Batching: answers never mix, one bad row fails alone, and trained models answer the same bits
//! alone and in a batch.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use modelserve::policy::Load;
use modelserve::policy::batch::{Batch, BatchOptions, Invariance};
use modelserve::tensor::Tensor;
use modelserve::{
    Answer, Ctx, Done, Error, ErrorKind, Features, FnModel, LoadOptions, Model, Prediction, Reply,
    Request, call_async, load,
};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const GUARD: Duration = Duration::from_secs(120);
/// A row with this value is held until a word is given.
const HOLD: f32 = -1.0;

fn batch(inner: Arc<dyn Model>, max_batch_size: usize) -> Arc<Batch> {
    let mut options = BatchOptions::default();
    options.max_batch_size = max_batch_size;
    options.max_queue_size = 1 << 16;
    Arc::new(Batch::new(inner, options, Arc::new(Load::default())).unwrap())
}

/// Answers a row of one number with `f`; says that it holds the row `HOLD`, and holds it.
struct Gate {
    batch: Arc<Batch>,
    held: Receiver<()>,
    go: std::sync::mpsc::Sender<()>,
}

fn gate(
    max_batch_size: usize,
    f: impl Fn(f32) -> modelserve::Result<f32> + Send + Sync + 'static,
) -> Gate {
    let (tell, held) = channel();
    let (go, word) = channel::<()>();
    let word = Mutex::new((tell, word));
    let model = FnModel::regressor(1, move |row| {
        if row[0] == HOLD {
            let word = word.lock().unwrap();
            word.0.send(()).unwrap();
            let _ = word.1.recv();
        }
        f(row[0])
    });
    Gate { batch: batch(Arc::new(model), max_batch_size), held, go }
}

fn row(x: f32) -> Request<'static> {
    Request::Row(Features::Tensor(Tensor::from_vec(&[1, 1], vec![x]).unwrap()))
}

fn value(reply: Reply) -> f64 {
    match reply.into_row().unwrap().answer {
        Answer::Value(v) => v,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_bad_row_in_64_fails_alone_ten_thousand_times() {
    const BATCHES: usize = 10_000;
    let gate = gate(64, |x| match x {
        x if x.is_nan() => Err(Error::new(ErrorKind::Execution, "a bad row")),
        x => Ok(x + 1.0),
    });
    let mut failed = 0;
    for n in 0..BATCHES {
        gate.batch.clone().submit(row(HOLD), Ctx::default(), Done::new(|_, _| {}));
        gate.held.recv_timeout(GUARD).unwrap();
        let (tx, rx) = channel();
        let bad = n % 64;
        for i in 0..64 {
            let tx = tx.clone();
            let x = if i == bad { f32::NAN } else { (n * 64 + i) as f32 };
            let done = Done::new(move |result, ctx: Ctx| {
                let _ = tx.send((i, result, ctx.receipt.batch_rows));
            });
            gate.batch.clone().submit(row(x), Ctx::default(), done);
        }
        gate.go.send(()).unwrap();
        let mut largest = 0;
        for _ in 0..64 {
            let (i, result, batch_rows) = rx.recv_timeout(GUARD).unwrap();
            largest = largest.max(batch_rows);
            match result {
                Ok(reply) => {
                    assert_ne!(i, bad);
                    assert_eq!(value(reply), f64::from((n * 64 + i) as f32 + 1.0));
                }
                Err(e) => {
                    assert_eq!((i, e.kind()), (bad, ErrorKind::Execution));
                    failed += 1;
                }
            }
        }
        assert_eq!(largest, 32, "the half without the bad row ran together");
    }
    assert_eq!(failed, BATCHES);
    println!("poisoned batch: {BATCHES} batches of 64 with one bad row, {failed} failures");
}

#[test]
fn results_never_mix() {
    const THREADS: u32 = 16;
    const EACH: u32 = 400;
    let model = FnModel::regressor(1, |row| Ok(row[0] * 2.0 + 1.0));
    let batch = batch(Arc::new(model), 8);
    let shared = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for t in 0..THREADS {
            let (batch, shared) = (&batch, &shared);
            scope.spawn(move || {
                for i in 0..EACH {
                    let base = (t * EACH + i) as f32 * 4.0;
                    let expected = |k: usize| (base + k as f32) * 2.0 + 1.0;
                    let count = (i % 3 + 1) as usize;
                    let x: Vec<f32> = (0..count).map(|k| base + k as f32).collect();
                    let x = Tensor::from_vec(&[count, 1], x).unwrap();
                    let mut ctx = Ctx::default();
                    match i % 4 {
                        0 => {
                            let reply = batch.call(&row(base), &mut ctx).unwrap();
                            assert_eq!(value(reply), f64::from(expected(0)));
                        }
                        1 => {
                            let outputs = ["y".to_string()].into();
                            let inputs = vec![("x".to_string(), x.into())];
                            let reply = batch.call(&Request::Run { inputs, outputs }, &mut ctx);
                            let outputs = reply.unwrap().into_tensors().unwrap();
                            let y = outputs[0].1.as_tensor().unwrap().as_slice::<f32>().unwrap();
                            assert!(y.len() == count && (0..count).all(|k| y[k] == expected(k)));
                        }
                        2 => {
                            let reply = batch.call(&Request::Batch(Features::Tensor(x)), &mut ctx);
                            let all = reply.unwrap().into_batch().unwrap();
                            assert_eq!(all.rows, count);
                            for k in 0..count {
                                let answer = Answer::Value(expected(k).into());
                                assert_eq!(all.row(k).unwrap().answer, answer);
                            }
                        }
                        _ => {
                            let request = Request::Row(Features::Tensor(x.rows(0..1).unwrap()));
                            let future = call_async(batch.clone(), request, Ctx::default());
                            let (reply, receipt) = block_on(future).unwrap();
                            ctx.receipt = receipt;
                            assert_eq!(value(reply), f64::from(expected(0)));
                        }
                    }
                    if ctx.receipt.batch_rows > 3 {
                        shared.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(shared.load(Ordering::Relaxed) > 0, "nothing was batched: the test shows nothing");
    assert_eq!((batch.load().queued(), batch.load().running()), (0, 0));
}

#[test]
fn a_thousand_callers_are_all_answered() {
    let gate = gate(64, |x| Ok(x * 3.0));
    gate.batch.clone().submit(row(HOLD), Ctx::default(), Done::new(|_, _| {}));
    gate.held.recv_timeout(GUARD).unwrap();
    let (tx, rx) = channel();
    for i in 0..1000usize {
        let tx = tx.clone();
        let done = Done::new(move |result, ctx: Ctx| {
            tx.send((i, result.map(value), ctx.receipt.batch_rows)).unwrap();
        });
        gate.batch.clone().submit(row(i as f32), Ctx::default(), done);
    }
    assert_eq!(gate.batch.load().queued(), 1000);
    gate.go.send(()).unwrap();
    let mut answered = vec![false; 1000];
    for _ in 0..1000 {
        let (i, result, batch_rows) = rx.recv_timeout(GUARD).unwrap();
        assert_eq!(result.unwrap(), i as f64 * 3.0);
        assert!(batch_rows == 64 || (i >= 960 && batch_rows == 40), "{batch_rows} rows at {i}");
        assert!(!std::mem::replace(&mut answered[i], true));
    }
}

#[test]
fn a_dropped_future_does_not_take_its_batch_along() {
    let gate = gate(8, |x| Ok(x + 0.5));
    gate.batch.clone().submit(row(HOLD), Ctx::default(), Done::new(|_, _| {}));
    gate.held.recv_timeout(GUARD).unwrap();
    let model: Arc<dyn Model> = gate.batch.clone();
    let mut futures: Vec<_> =
        (0..5).map(|i| Some(call_async(model.clone(), row(i as f32), Ctx::default()))).collect();
    futures[0] = None;
    futures[3] = None;
    gate.go.send(()).unwrap();
    for (i, future) in futures.into_iter().enumerate() {
        let Some(future) = future else { continue };
        let (reply, receipt) = block_on(future).unwrap();
        assert_eq!(value(reply), i as f64 + 0.5);
        assert_eq!(receipt.batch_rows, 3);
    }
}

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
            Poll::Pending => std::thread::park_timeout(GUARD),
        }
    }
}

/// A trained model and its test set.
fn trained(name: &str) -> (Arc<dyn Model>, Vec<Vec<f32>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let model = load(folder.join("model.onnx"), &LoadOptions::default()).unwrap();
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |v: &serde_json::Value| v.as_f64().map_or(f32::NAN, |x| x as f32);
    let rows = expected["rows"].as_array().unwrap().iter();
    let rows = rows.map(|row| row.as_array().unwrap().iter().map(number).collect()).collect();
    (Arc::new(model), rows)
}

fn bits(p: &Prediction) -> (String, Vec<u64>, Option<u64>) {
    let answer = match &p.answer {
        Answer::Value(v) => v.to_bits().to_string(),
        other => format!("{other:?}"),
    };
    let scores = p.scores.iter().flatten().map(|x| x.to_bits()).collect();
    (answer, scores, p.probability.map(f64::to_bits))
}

/// A model that waits where it is asked to, so that arrivals pile up behind it.
fn trained_answers_the_same_bits(name: &str) {
    let (model, mut rows) = trained(name);
    let (tell, held) = channel();
    let (go, word) = channel::<()>();
    let word = Mutex::new((tell, word));
    let inner = model.clone();
    let armed = Arc::new(AtomicUsize::new(0));
    let arm = armed.clone();
    let slow = FnModel::new((*model.signature()).clone(), move |request, ctx| {
        if arm.swap(0, Ordering::SeqCst) == 1 {
            let word = word.lock().unwrap();
            word.0.send(()).unwrap();
            let _ = word.1.recv();
        }
        inner.call(request, ctx)
    });
    let batch = batch(Arc::new(slow), 16);
    assert_eq!(*batch.invariance(), Invariance::BitEqual, "{name}");
    // A row of NaN changes none of its neighbours' bits.
    rows.truncate(40);
    rows[5].fill(f32::NAN);
    let alone: Vec<_> = rows.iter().map(|row| model.predict_row(row)).collect();
    armed.store(1, Ordering::SeqCst);
    let request = |row: &Vec<f32>| {
        Request::Row(Features::Tensor(Tensor::from_vec(&[1, row.len()], row.clone()).unwrap()))
    };
    let first = call_async(batch.clone(), request(&rows[0]), Ctx::default());
    held.recv_timeout(GUARD).unwrap();
    let futures: Vec<_> =
        rows.iter().map(|row| call_async(batch.clone(), request(row), Ctx::default())).collect();
    go.send(()).unwrap();
    block_on(first).unwrap();
    for (i, (future, alone)) in futures.into_iter().zip(alone).enumerate() {
        match (block_on(future), alone) {
            (Ok((reply, receipt)), Ok(alone)) => {
                assert_eq!(bits(&reply.into_row().unwrap()), bits(&alone), "{name}, row {i}");
                assert!(receipt.batch_rows >= 8, "{name}, row {i}: {}", receipt.batch_rows);
            }
            (Err(e), Err(alone)) => assert_eq!(e.kind(), alone.kind()),
            (batched, alone) => panic!("{name}, row {i}: {batched:?}, alone {alone:?}"),
        }
    }
}

#[test]
fn a_network_answers_the_same_bits_in_a_batch() {
    trained_answers_the_same_bits("mlp");
}

#[test]
fn a_forest_answers_the_same_bits_in_a_batch() {
    trained_answers_the_same_bits("random_forest");
    trained_answers_the_same_bits("random_forest_regressor");
}
