//! The response cache answers what the model would, runs it once, and never for another version.

#![cfg(all(feature = "onnx", feature = "safetensors"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Expected, within};
use modelserve::policy::cache::{Cache, CacheOptions, CacheStore};
use modelserve::tensor::Tensor;
use modelserve::{
    Answer, CacheUse, CancelToken, Ctx, Done, Error, ErrorKind, Features, FnModel, LoadOptions,
    Model, ModelInfo, Prediction, Predictions, Reply, Request, Result, Signature, Task, load,
};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn store() -> Arc<CacheStore> {
    CacheStore::new(CacheOptions::default())
}

/// A model of rows of two values that answers with `f`, and the rows it ran.
fn recording(
    f: impl Fn(&[f32]) -> Result<f32> + Send + Sync + 'static,
) -> (FnModel, Arc<Mutex<Vec<Vec<f32>>>>) {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let seen = rows.clone();
    let model = FnModel::regressor(2, move |row| {
        seen.lock().push(row.to_vec());
        f(row)
    });
    (model.with_digest("recording"), rows)
}

fn sum(row: &[f32]) -> Result<f32> {
    Ok(row.iter().sum())
}

fn batch(data: &[f32]) -> Features<'_> {
    Features::F32 { data, rows: data.len() / 2, width: 2 }
}

fn owned_row(row: [f32; 2]) -> Request<'static> {
    Request::Row(Features::Tensor(Tensor::from_vec(&[1, 2], row.to_vec()).unwrap()))
}

/// Everything of a prediction but how it came about. Numbers are written with all their digits.
fn row_text(p: &Prediction) -> String {
    let bits: Option<Vec<u64>> = p.scores.as_ref().map(|s| s.iter().map(|x| x.to_bits()).collect());
    format!(
        "{:?} {:?} {bits:?} {:?} {:?} {}",
        p.answer, p.probability, p.scores_kind, p.classes, p.model_version
    )
}

fn batch_text(p: &Predictions) -> String {
    format!(
        "{} {:?} {:?} {:?} {:?} {:?} {}",
        p.rows, p.task, p.answers, p.scores, p.scores_kind, p.classes, p.model_version
    )
}

#[test]
fn every_test_model_answers_from_the_cache_as_itself() {
    for name in common::names() {
        let plain = common::load_model(&name);
        let all = Expected::of(&name);
        let n = all.rows.min(40);
        let data = &all.data[..n * all.width];
        let features =
            |rows: usize| Features::F32 { data: &data[..rows * all.width], rows, width: all.width };
        let rows: Vec<String> =
            (0..n).map(|i| row_text(&plain.predict_row(all.row(i)).unwrap())).collect();
        let whole = batch_text(&plain.predict_batch(features(n)).unwrap());
        let check_batch = |cache: &Cache, how: CacheUse| {
            let got = cache.predict_batch(features(n)).unwrap();
            assert_eq!(batch_text(&got), whole, "{name}: batch, {how:?}");
            assert_eq!(got.receipt.cache, how, "{name}");
            assert_eq!(got.receipt.version, 1);
            assert_eq!(got.receipt.digest.as_deref(), Some(&*cache.info().digest));
        };
        let check_rows = |cache: &Cache, hits: bool| {
            for (i, row) in rows.iter().enumerate() {
                let got = cache.predict_row(all.row(i)).unwrap();
                assert_eq!(&row_text(&got), row, "{name}: row {i}");
                if hits {
                    assert_eq!(got.receipt.cache, CacheUse::Hit, "{name}: row {i}");
                    assert_eq!((got.receipt.batch_rows, got.receipt.run), (0, Duration::ZERO));
                }
            }
        };
        let model: Arc<dyn Model> = Arc::new(common::load_model(&name));
        // Rows first, then batches.
        let cache = Cache::new(model.clone(), store());
        check_rows(&cache, false);
        check_rows(&cache, true);
        check_batch(&cache, CacheUse::Miss);
        check_batch(&cache, CacheUse::Hit);
        // A part of the batch, the batch, the rows.
        let cache = Cache::new(model, store());
        cache.predict_batch(features(n / 2)).unwrap();
        check_batch(&cache, CacheUse::Partial);
        check_batch(&cache, CacheUse::Hit);
        check_rows(&cache, true);
    }
}

#[test]
fn a_batch_runs_only_the_rows_that_are_missing_and_each_once() {
    let (model, seen) = recording(sum);
    let cache = Cache::new(Arc::new(model), store());
    let first = cache.predict_batch(batch(&[1.0, 1.0, 2.0, 2.0])).unwrap();
    assert_eq!((first.receipt.cache, first.receipt.batch_rows), (CacheUse::Miss, 2));
    assert_eq!(cache.predict_row(&[5.0, 5.0]).unwrap().receipt.cache, CacheUse::Miss);
    seen.lock().clear();
    let data = [3.0, 3.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0, 1.0, 1.0];
    let mixed = cache.predict_batch(batch(&data)).unwrap();
    assert_eq!(*seen.lock(), [[3.0, 3.0], [4.0, 4.0]]);
    assert_eq!((mixed.receipt.cache, mixed.receipt.batch_rows), (CacheUse::Partial, 2));
    for (i, row) in data.chunks(2).enumerate() {
        assert_eq!(mixed.row(i).unwrap().answer, Answer::Value(f64::from(row[0] + row[1])));
    }
    let again = cache.predict_batch(batch(&data)).unwrap();
    assert_eq!((again.receipt.cache, again.receipt.batch_rows), (CacheUse::Hit, 0));
    assert_eq!(again.answers, mixed.answers);
    assert_eq!(seen.lock().len(), 2);
    let stats = cache.store().stats();
    assert_eq!((stats.entries, stats.inserts, stats.evictions), (5, 5, 0));
    assert_eq!(stats.hits, 3 + 6);
}

#[test]
fn what_the_model_refuses_is_refused_with_rows_in_the_cache() {
    let (model, _) = recording(sum);
    let cache = Cache::new(Arc::new(model), store());
    cache.predict_row(&[1.0, 2.0]).unwrap();
    cache.predict_batch(batch(&[1.0, 2.0, 3.0, 4.0])).unwrap();
    let before = cache.store().stats();
    let row = Tensor::from_vec(&[1, 2], vec![1f32, 2.0]).unwrap();
    let refused = [
        Request::Row(Features::F32 { data: &[1.0], rows: 1, width: 1 }),
        Request::Row(Features::F32 { data: &[1.0, 2.0], rows: 1, width: 1 }),
        Request::Row(Features::F32 { data: &[1.0, 2.0], rows: 2, width: 1 }),
        Request::Row(Features::F32 { data: &[1.0, 2.0, 3.0, 4.0], rows: 2, width: 2 }),
        Request::Row(Features::F32 { data: &[], rows: 1, width: 0 }),
        Request::Row(Features::Inputs(vec![row.clone(), row.clone()])),
        Request::Row(Features::Columns(vec![("y".into(), row.clone())])),
        Request::Batch(Features::F32 { data: &[1.0, 2.0], rows: 2, width: 1 }),
    ];
    for request in refused {
        for _ in 0..2 {
            let error = cache.call(&request, &mut Ctx::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{request:?}: {error}");
        }
    }
    let after = cache.store().stats();
    assert_eq!((after.hits, after.inserts), (before.hits, before.inserts));
    // And the forms that it takes are one row.
    for request in [
        Request::Row(Features::Inputs(vec![row.clone()])),
        Request::Row(Features::Columns(vec![("x".into(), row.clone())])),
        Request::Row(Features::Tensor(Tensor::from_vec(&[1, 2], vec![1i64, 2]).unwrap())),
        owned_row([1.0, 2.0]),
    ] {
        let mut ctx = Ctx::default();
        cache.call(&request, &mut ctx).unwrap();
        assert_eq!(ctx.receipt.cache, CacheUse::Hit, "{request:?}");
    }
}

/// More rows than the model takes in one request, all of them in the cache.
#[test]
fn a_batch_above_the_models_limit_is_refused_from_the_cache_too() {
    let mut options = LoadOptions::default();
    options.request_limits.rows = 3;
    let model = load(common::model_path("logistic"), &options).unwrap();
    let cache = Cache::new(Arc::new(model), store());
    let all = Expected::of("logistic");
    let features =
        |rows: usize| Features::F32 { data: &all.data[..rows * all.width], rows, width: all.width };
    for i in 0..4 {
        cache.predict_row(all.row(i)).unwrap();
    }
    cache.predict_batch(features(3)).unwrap();
    assert_eq!(cache.predict_batch(features(3)).unwrap().receipt.cache, CacheUse::Hit);
    assert_eq!(cache.predict_batch(features(4)).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn a_version_never_answers_for_another() {
    let store = store();
    let version = |v: u64, digest: &str| {
        let model = FnModel::regressor(2, move |_| Ok(v as f32));
        Cache::new(Arc::new(model.with_version(v).with_digest(digest)), store.clone())
    };
    let (one, two) = (version(1, "aa"), version(2, "bb"));
    // The same file with other options, or other files beside it.
    let three = version(3, "bb");
    for how in [CacheUse::Miss, CacheUse::Hit] {
        for (cache, v) in [(&one, 1u64), (&two, 2), (&three, 3)] {
            let p = cache.predict_row(&[1.0, 2.0]).unwrap();
            assert_eq!(p.answer, Answer::Value(v as f64));
            assert_eq!((p.receipt.cache, p.receipt.version, p.model_version), (how, v, v));
            assert_eq!(p.receipt.digest, Some(cache.info().digest));
        }
    }
    assert_eq!(store.stats().entries, 3);
    store.forget("bb");
    assert_eq!(store.stats().entries, 1);
    assert_eq!(one.predict_row(&[1.0, 2.0]).unwrap().receipt.cache, CacheUse::Hit);
    assert_eq!(two.predict_row(&[1.0, 2.0]).unwrap().receipt.cache, CacheUse::Miss);
    drop((one, two, three));
    assert_eq!((store.stats().entries, store.stats().bytes), (0, 0), "memory comes back");
}

#[test]
fn zero_minus_zero_and_each_nan_are_rows_of_their_own() {
    let (model, seen) = recording(|row| Ok(f32::from_bits(row[0].to_bits())));
    let cache = Cache::new(Arc::new(model), store());
    let firsts = [0.0, -0.0, f32::NAN, f32::from_bits(0x7fc0_0001), -f32::NAN, f32::INFINITY];
    for how in [CacheUse::Miss, CacheUse::Hit] {
        for first in firsts {
            let p = cache.predict_row(&[first, 0.0]).unwrap();
            let Answer::Value(value) = p.answer else { panic!() };
            assert_eq!((value as f32).to_bits(), first.to_bits());
            assert_eq!(p.receipt.cache, how);
        }
    }
    assert_eq!(seen.lock().len(), firsts.len());
}

#[test]
fn errors_are_not_kept() {
    let failures = Arc::new(AtomicUsize::new(2));
    let left = failures.clone();
    let (model, seen) = recording(move |row| {
        if left.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Error::new(ErrorKind::Execution, "not yet"));
        }
        sum(row)
    });
    let cache = Cache::new(Arc::new(model), store());
    assert_eq!(cache.predict_row(&[1.0, 2.0]).unwrap_err().kind(), ErrorKind::Execution);
    assert_eq!(cache.predict_batch(batch(&[1.0, 2.0])).unwrap_err().kind(), ErrorKind::Execution);
    assert_eq!(cache.store().stats().entries, 0);
    let p = cache.predict_row(&[1.0, 2.0]).unwrap();
    assert_eq!((p.answer, p.receipt.cache), (Answer::Value(3.0), CacheUse::Miss));
    assert_eq!(seen.lock().len(), 3);
}

/// The same model, saying something else of itself.
struct Saying(FnModel, fn(&mut ModelInfo));

impl Model for Saying {
    fn signature(&self) -> Arc<Signature> {
        self.0.signature()
    }

    fn info(&self) -> ModelInfo {
        let mut info = self.0.info();
        (self.1)(&mut info);
        info
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        self.0.call(request, ctx)
    }
}

#[test]
fn what_may_not_be_kept_goes_through() {
    let says: [fn(&mut ModelInfo); 3] = [
        |info| info.deterministic = false,
        |info| info.digest = "".into(),
        |_| {}, // asked with `no_cache` below
    ];
    for (i, say) in says.into_iter().enumerate() {
        let (model, seen) = recording(sum);
        let cache = Cache::new(Arc::new(Saying(model, say)), store());
        for _ in 0..3 {
            let mut ctx = Ctx::default();
            ctx.no_cache = i == 2;
            cache.call(&owned_row([1.0, 2.0]), &mut ctx).unwrap();
            assert_eq!(ctx.receipt.cache, CacheUse::Off);
        }
        assert_eq!(seen.lock().len(), 3, "case {i}");
        assert_eq!(cache.store().stats().entries, 0);
    }
    let (model, seen) = recording(sum);
    let mut options = CacheOptions::default();
    options.max_rows = 2;
    let cache = Cache::new(Arc::new(model), CacheStore::new(options));
    for _ in 0..2 {
        let p = cache.predict_batch(batch(&[1.0, 1.0, 2.0, 2.0, 3.0, 3.0])).unwrap();
        assert_eq!(p.receipt.cache, CacheUse::Off);
    }
    assert_eq!(seen.lock().len(), 6);
}

#[test]
fn named_outputs_are_kept_by_inputs_and_outputs_wanted() {
    let options = LoadOptions { task: Some(Task::Tensors), ..LoadOptions::default() };
    let plain = load(common::model_path("logistic"), &options).unwrap();
    let cache =
        Cache::new(Arc::new(load(common::model_path("logistic"), &options).unwrap()), store());
    let all = Expected::of("logistic");
    let inputs = |i: usize, rows: usize| {
        let data = all.data[i * all.width..(i + rows) * all.width].to_vec();
        vec![(
            all.input_name().to_string(),
            Tensor::from_vec(&[rows, all.width], data).unwrap().into(),
        )]
    };
    let outputs: Vec<String> = plain.signature().outputs.iter().map(|o| o.name.clone()).collect();
    let wanted: [&[&str]; 3] = [&[], &[&outputs[0]], &[&outputs[1], &outputs[0]]];
    for round in 0..2 {
        for outputs in wanted {
            for (i, rows) in [(0, 1), (1, 1), (0, 2)] {
                let got = cache.run(inputs(i, rows), outputs).unwrap();
                assert_eq!(got, plain.run(inputs(i, rows), outputs).unwrap(), "round {round}");
            }
        }
    }
    let stats = cache.store().stats();
    assert_eq!((stats.misses, stats.hits), (9, 9));
    // Rows of a model of plain tensors: whole, and a row is not a batch of one.
    let one = Features::F32 { data: all.row(0), rows: 1, width: all.width };
    for how in [CacheUse::Miss, CacheUse::Hit] {
        let row = cache.predict(one.clone()).unwrap();
        assert_eq!(row_text(&row), row_text(&plain.predict(one.clone()).unwrap()));
        let batch = cache.predict_batch(one.clone()).unwrap();
        assert_eq!(batch_text(&batch), batch_text(&plain.predict_batch(one.clone()).unwrap()));
        assert_eq!((row.receipt.cache, batch.receipt.cache), (how, how));
    }
}

/// A thousand threads ask for one cold row, every `n`th as a batch of one row. How often the
/// model ran that row.
fn stampede(n: usize, warm: bool) -> usize {
    let (model, seen) = recording(|row| {
        std::thread::yield_now();
        sum(row)
    });
    let cache = Arc::new(Cache::new(Arc::new(model), store()));
    if warm {
        cache.predict_batch(batch(&[7.0, 7.0])).unwrap();
        seen.lock().clear();
    }
    let start = Arc::new(Barrier::new(1000));
    let callers: Vec<_> = (0..1000)
        .map(|i| {
            let (cache, start) = (cache.clone(), start.clone());
            let call = move || {
                start.wait();
                if i % n != n - 1 {
                    cache.predict_row(&[1.0, 2.0]).unwrap().answer
                } else {
                    cache.predict_batch(batch(&[1.0, 2.0])).unwrap().row(0).unwrap().answer
                }
            };
            std::thread::Builder::new().stack_size(256 << 10).spawn(call).unwrap()
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.join().unwrap(), Answer::Value(3.0));
    }
    seen.lock().len()
}

#[test]
fn a_thousand_callers_of_one_cold_row_run_the_model_once() {
    let runs = stampede(usize::MAX, false);
    println!("stampede: 1000 threads, one cold key: {runs} execution");
    assert_eq!(runs, 1);
    assert_eq!(stampede(1, false), 1);
    assert_eq!(stampede(2, true), 1);
    // The form of a batch's answer is not known before one has run.
    assert!((1..=2).contains(&stampede(2, false)));
}

/// A model that reports each run and then does as it is told.
fn told() -> (FnModel, Receiver<()>, Sender<Order>) {
    let (started, starts) = channel();
    let (order, orders) = channel();
    let orders = Mutex::new(orders);
    let model = FnModel::regressor(2, move |row| {
        started.send(()).unwrap();
        let order = orders.lock().recv_timeout(LONG).unwrap();
        match order {
            Order::Answer => sum(row),
            Order::Fail => Err(Error::new(ErrorKind::Execution, "as told")),
            Order::Panic => panic!("as told"),
        }
    });
    (model.with_digest("told"), starts, order)
}

enum Order {
    Answer,
    Fail,
    Panic,
}

/// Lets panics through, as a model of a host might.
struct Bare(FnModel, Mutex<Receiver<Order>>, Sender<()>);

impl Model for Bare {
    fn signature(&self) -> Arc<Signature> {
        self.0.signature()
    }

    fn info(&self) -> ModelInfo {
        self.0.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        self.2.send(()).unwrap();
        let order = self.1.lock().recv_timeout(LONG).unwrap();
        match order {
            Order::Panic => panic!("as told"),
            Order::Fail => Err(Error::new(ErrorKind::Cancelled, "the leader was cancelled")),
            Order::Answer => self.0.call(request, ctx),
        }
    }
}

/// Waits until `n` look-ups have missed: so many callers lead or are about to wait.
fn until_missed(cache: &Cache, n: u64) {
    let until = Instant::now() + LONG;
    while cache.store().stats().misses < n {
        assert!(Instant::now() < until, "{:?}", cache.store().stats());
        std::thread::yield_now();
    }
}

#[test]
fn a_leader_that_fails_panics_or_is_cancelled_hands_over() {
    within(LONG, || {
        let (plain, _) = recording(sum);
        let (started, starts) = channel();
        let (order, orders) = channel();
        let bare = Bare(plain, Mutex::new(orders), started);
        let cache = Arc::new(Cache::new(Arc::new(bare), store()));
        let callers: Vec<_> = (0..6)
            .map(|_| {
                let cache = cache.clone();
                std::thread::spawn(move || cache.predict_row(&[1.0, 2.0]))
            })
            .collect();
        until_missed(&cache, 6);
        for next in [Order::Fail, Order::Panic, Order::Fail, Order::Answer] {
            starts.recv_timeout(LONG).unwrap();
            assert!(starts.try_recv().is_err(), "two ran at once");
            order.send(next).unwrap();
        }
        let (mut panicked, mut failed, mut answered) = (0, 0, 0);
        for caller in callers {
            match caller.join() {
                Err(_) => panicked += 1,
                Ok(Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Cancelled);
                    failed += 1;
                }
                Ok(Ok(p)) => {
                    assert_eq!(p.answer, Answer::Value(3.0));
                    answered += 1;
                }
            }
        }
        assert_eq!((panicked, failed, answered), (1, 2, 3));
        assert!(starts.try_recv().is_err(), "nobody ran again");
        assert_eq!(cache.store().stats().entries, 1);
    });
}

#[test]
fn a_waiter_keeps_its_own_deadline_and_cancellation() {
    within(LONG, || {
        let (model, starts, order) = told();
        let cache = Arc::new(Cache::new(Arc::new(model), store()));
        let leading = cache.clone();
        let leader = std::thread::spawn(move || leading.predict_row(&[1.0, 2.0]));
        starts.recv_timeout(LONG).unwrap();
        let mut ctx = Ctx::within(Duration::from_millis(20));
        let error = cache.call(&owned_row([1.0, 2.0]), &mut ctx).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        let token = CancelToken::default();
        let (cancelled, waiting) = (token.clone(), cache.clone());
        let waiter = std::thread::spawn(move || {
            let mut ctx = Ctx::default();
            ctx.cancel = Some(token);
            waiting.call(&owned_row([1.0, 2.0]), &mut ctx)
        });
        until_missed(&cache, 3);
        cancelled.cancel();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        // The leader goes on, and nobody else ran.
        order.send(Order::Answer).unwrap();
        assert_eq!(leader.join().unwrap().unwrap().answer, Answer::Value(3.0));
        assert!(starts.try_recv().is_err());
        // A request that is over is not answered from memory either.
        let mut over = Ctx::within(Duration::ZERO);
        assert!(cache.call(&owned_row([1.0, 2.0]), &mut over).is_err());
    });
}

type Answered = (Result<Reply>, Ctx);

fn submit(cache: &Arc<Cache>, request: Request<'static>, ctx: Ctx) -> Receiver<Answered> {
    let (sender, receiver) = channel();
    let done = Done::new(move |result, ctx| sender.send((result, ctx)).unwrap());
    cache.clone().submit(request, ctx, done);
    receiver
}

fn answered(receiver: &Receiver<Answered>) -> (Result<Answer>, CacheUse) {
    let (result, ctx) = receiver.recv_timeout(LONG).unwrap();
    (result.and_then(Reply::into_row).map(|p| p.answer), ctx.receipt.cache)
}

#[test]
fn submitted_requests_share_hand_over_and_hit() {
    within(LONG, || {
        let (model, starts, order) = told();
        let cache = Arc::new(Cache::new(Arc::new(model), store()));
        let row = || owned_row([1.0, 2.0]);
        let first = submit(&cache, row(), Ctx::default());
        starts.recv_timeout(LONG).unwrap();
        let late = Ctx::within(Duration::ZERO);
        let mut soon = Ctx::default();
        let token = CancelToken::default();
        soon.cancel = Some(token.clone());
        let cancelled = submit(&cache, row(), soon);
        let second = submit(&cache, row(), Ctx::default());
        let third = submit(&cache, row(), Ctx::default());
        let (result, _) = answered(&submit(&cache, row(), late));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        // The leader fails; its heir was cancelled meanwhile; the next one panics, and the last
        // one answers.
        token.cancel();
        order.send(Order::Fail).unwrap();
        assert_eq!(answered(&first).0.unwrap_err().kind(), ErrorKind::Execution);
        assert_eq!(answered(&cancelled).0.unwrap_err().kind(), ErrorKind::Cancelled);
        starts.recv_timeout(LONG).unwrap();
        order.send(Order::Panic).unwrap();
        assert_eq!(answered(&second).0.unwrap_err().kind(), ErrorKind::Internal);
        starts.recv_timeout(LONG).unwrap();
        let fourth = submit(&cache, row(), Ctx::default());
        let batch =
            Request::Batch(Features::Tensor(Tensor::from_vec(&[1, 2], vec![1f32, 2.0]).unwrap()));
        order.send(Order::Answer).unwrap();
        let (answer, used) = answered(&third);
        assert_eq!((answer.unwrap(), used), (Answer::Value(3.0), CacheUse::Miss));
        let (answer, used) = answered(&fourth);
        assert_eq!(answer.unwrap(), Answer::Value(3.0));
        assert_eq!(used, CacheUse::Shared);
        // Found: answered before `submit` returns.
        let hit = submit(&cache, row(), Ctx::default());
        let (result, ctx) = hit.try_recv().unwrap();
        assert_eq!(result.unwrap().into_row().unwrap().answer, Answer::Value(3.0));
        assert_eq!((ctx.receipt.cache, ctx.receipt.version), (CacheUse::Hit, 1));
        // A batch by the same way.
        order.send(Order::Answer).unwrap();
        let (result, ctx) =
            submit(&cache, batch.clone(), Ctx::default()).recv_timeout(LONG).unwrap();
        assert_eq!(
            result.unwrap().into_batch().unwrap().row(0).unwrap().answer,
            Answer::Value(3.0)
        );
        let first_batch = ctx.receipt.cache;
        let (result, ctx) = submit(&cache, batch, Ctx::default()).recv_timeout(LONG).unwrap();
        assert_eq!(result.unwrap().into_batch().unwrap().rows, 1);
        assert_eq!((first_batch, ctx.receipt.cache), (CacheUse::Miss, CacheUse::Hit));
    });
}

#[test]
fn ten_thousand_submitted_failures_do_not_pile_up() {
    within(LONG * 4, || {
        let (model, starts, order) = told();
        let cache = Arc::new(Cache::new(Arc::new(model), store()));
        let first = submit(&cache, owned_row([1.0, 2.0]), Ctx::default());
        starts.recv_timeout(LONG).unwrap();
        let token = CancelToken::default();
        let waiting: Vec<_> = (0..10_000)
            .map(|_| {
                let mut ctx = Ctx::default();
                ctx.cancel = Some(token.clone());
                submit(&cache, owned_row([1.0, 2.0]), ctx)
            })
            .collect();
        token.cancel();
        order.send(Order::Fail).unwrap();
        assert!(answered(&first).0.is_err());
        for one in &waiting {
            assert_eq!(answered(one).0.unwrap_err().kind(), ErrorKind::Cancelled);
        }
        assert!(starts.try_recv().is_err());
    });
}

#[test]
fn rows_asked_alone_and_in_batches_from_many_threads_are_right() {
    let (model, _) = recording(|row| Ok(row[0] * 1000.0 + row[1]));
    let mut options = CacheOptions::default();
    options.capacity_bytes = 64 << 10; // keeps about a hundred of the four hundred rows
    options.max_entry_bytes = 4 << 10;
    let cache = Arc::new(Cache::new(Arc::new(model), CacheStore::new(options)));
    let workers: Vec<_> = (0..8u64)
        .map(|seed| {
            let cache = cache.clone();
            std::thread::spawn(move || {
                let mut state = seed + 1;
                let mut next = |n: u64| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                    (state >> 33) % n
                };
                for _ in 0..400 {
                    let rows = 1 + next(6) as usize;
                    let data: Vec<f32> = (0..rows * 2).map(|_| next(20) as f32).collect();
                    let want = |row: &[f32]| Answer::Value(f64::from(row[0] * 1000.0 + row[1]));
                    if rows == 1 {
                        assert_eq!(cache.predict_row(&data).unwrap().answer, want(&data));
                        continue;
                    }
                    let got = cache.predict_batch(batch(&data)).unwrap();
                    for (i, row) in data.chunks(2).enumerate() {
                        assert_eq!(got.row(i).unwrap().answer, want(row));
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let stats = cache.store().stats();
    assert!(stats.hits > 0 && stats.evictions > 0 && stats.bytes <= 64 << 10, "{stats:?}");
}
