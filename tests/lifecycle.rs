//! What operators do while requests are under way: nothing fails, nothing is mixed, nothing hangs.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::iris::{Checker, version};
use modelserve::policy::batch::BatchOptions;
use modelserve::policy::cache::CacheOptions;
use modelserve::{
    Answer, Ctx, Done, Error, ErrorKind, EventKind, Features, FnModel, LoadOptions, ManagerOptions,
    ModelManager, ModelSource, Policies, ReloadOptions, Reply, Request, Target,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const HANG: Duration = Duration::from_secs(300);
const THREADS: usize = 8;

fn source(model: FnModel) -> ModelSource {
    ModelSource::Model(Arc::new(model))
}

fn adding(offset: f32) -> ModelSource {
    source(FnModel::regressor(1, move |row| Ok(row[0] + offset)))
}

fn row(x: f32) -> Request<'static> {
    Request::Row(Features::F32 { data: &[x], rows: 1, width: 1 }).into_owned().unwrap()
}

fn value(reply: Reply) -> f64 {
    match reply.into_row().unwrap().answer {
        Answer::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

/// A row of this value is held until a word is given.
const HOLD: f32 = -1.0;

/// A model that says when it runs such a row.
struct Held {
    entered: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

fn held() -> (ModelSource, Held) {
    let (tell, entered) = mpsc::channel();
    let (go, word) = mpsc::channel::<()>();
    let word = Mutex::new(word);
    let model = FnModel::regressor(1, move |row| {
        if row[0] == HOLD {
            tell.send(()).ok();
            word.lock().unwrap().recv().ok();
        }
        Ok(row[0] + 1.0)
    });
    (source(model), Held { entered, go })
}

#[test]
fn reloads_unloads_rollbacks_and_labels_under_load_fail_and_mix_nothing() {
    const STEPS: u64 = 400;
    common::within(HANG, || {
        let checker = Checker::new();
        let options = ManagerOptions { keep_versions: 2, ..ManagerOptions::default() };
        let manager = ModelManager::new(options);
        let (path, load) = version(1);
        for name in ["iris", "guest"] {
            manager.load(name, &path, &load).unwrap();
        }
        manager.set_label("iris", "blue", 1).unwrap();
        let stop = AtomicBool::new(false);
        let (answers, gone) = (AtomicU64::new(0), AtomicU64::new(0));
        let asks = |thread: usize| {
            let mut i = thread;
            while !stop.load(SeqCst) {
                i = (i + 1) % checker.rows.rows;
                let asked = Request::Row(checker.some(i, 1));
                let target = match thread % 3 {
                    0 => Target::Label("blue".into()),
                    _ => Target::Serving,
                };
                let mut ctx = Ctx { target, ..Ctx::default() };
                let got = manager.call("iris", &asked, &mut ctx).unwrap().into_row().unwrap();
                checker.row(i, &got).unwrap();
                // The guest comes and goes: it answers rightly, or is not there; a pin stays.
                match manager.model("guest").and_then(|guest| guest.pin()) {
                    Ok(pinned) => {
                        let before = pinned.predict_row(checker.rows.row(i)).unwrap();
                        let after = pinned.predict_row(checker.rows.row(i)).unwrap();
                        assert_eq!(before.model_version, after.model_version);
                        checker.row(i, &before).and_then(|()| checker.row(i, &after)).unwrap();
                    }
                    Err(e) => {
                        assert_eq!((e.kind(), e.model()), (ErrorKind::NotFound, Some("guest")));
                        gone.fetch_add(1, SeqCst);
                    }
                }
                answers.fetch_add(1, SeqCst);
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || asks(i))).collect();
            let step = |n: u64| -> Result<(), Error> {
                let (path, load) = version(n);
                let options = ReloadOptions { load: Some(load.clone()), ..Default::default() };
                manager.reload("iris", Some(&path), &options)?;
                match n % 4 {
                    0 => manager.rollback("iris").map(|info| assert_eq!(info.version, n - 1))?,
                    1 => manager.set_label("iris", "blue", n)?,
                    2 => manager.unload("guest")?,
                    _ => manager.load("guest", &path, &load).map(drop)?,
                }
                // Each step meets requests.
                let before = answers.load(SeqCst);
                while answers.load(SeqCst) < before + 4 && !threads.iter().any(|t| t.is_finished())
                {
                    std::thread::yield_now();
                }
                Ok(())
            };
            let outcome = (2..STEPS + 2).try_for_each(step);
            stop.store(true, SeqCst);
            outcome.unwrap();
        });
        assert!(answers.load(SeqCst) >= 4 * STEPS);
        assert!(gone.load(SeqCst) > 0, "nobody asked for the guest while it was gone");
    });
}

#[test]
fn reloads_at_once_come_one_after_the_other() {
    const EACH: usize = 50;
    common::within(HANG, || {
        let manager = ModelManager::default();
        manager.load_from("m", adding(0.0), &LoadOptions::default()).unwrap();
        let events = manager.events();
        let mut numbers: Vec<u64> = std::thread::scope(|scope| {
            let reload = || -> Vec<u64> {
                (0..EACH)
                    .map(|_| {
                        let info = manager.reload_from("m", adding(0.0), &ReloadOptions::default());
                        info.unwrap().version
                    })
                    .collect()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(reload)).collect();
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        let last = 4 * EACH as u64 + 1;
        assert_eq!(numbers, (2..=last).collect::<Vec<_>>(), "each number once");
        assert_eq!(manager.info("m").unwrap().version, last);
        // Each took over from the one before: none was built beside another.
        drop(manager);
        let swaps: Vec<(Option<u64>, u64)> = events
            .filter_map(|e| match e.kind {
                EventKind::Serving { previous } => Some((previous, e.version)),
                _ => None,
            })
            .collect();
        assert_eq!(swaps, (2..=last).map(|n| (Some(n - 1), n)).collect::<Vec<_>>());
    });
}

/// Versions of one value a row and of two values a row in turn. A request fits one kind of
/// version: it is answered by such a one, or refused as not fitting.
#[test]
fn a_change_between_signatures_answers_wholly_or_refuses() {
    common::within(HANG, || {
        let narrow = || source(FnModel::regressor(1, |row| Ok(row[0] + 100.0)));
        let wide = || source(FnModel::regressor(2, |row| Ok(row[0] + row[1] + 200.0)));
        let manager = ModelManager::default();
        manager.load_from("m", narrow(), &LoadOptions::default()).unwrap();
        let batching = Some(BatchOptions { max_batch_size: 8, ..BatchOptions::default() });
        manager.set_policies("m", Policies { batching, ..Policies::default() }).unwrap();
        let stop = AtomicBool::new(false);
        let (answered, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let judge = |width: usize, result: Result<Reply, Error>| match result.map(value) {
            Ok(got) => {
                assert_eq!(got, if width == 1 { 101.0 } else { 203.0 });
                answered.fetch_add(1, SeqCst);
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
                refused.fetch_add(1, SeqCst);
            }
        };
        std::thread::scope(|scope| {
            let ask = |thread: usize| {
                let width = 1 + thread % 2;
                let data = &[1.0, 2.0][..width];
                let request = Request::Row(Features::F32 { data, rows: 1, width });
                while !stop.load(SeqCst) {
                    if thread < 4 {
                        judge(width, manager.call("m", &request, &mut Ctx::default()));
                        continue;
                    }
                    let (tx, rx) = mpsc::channel();
                    for _ in 0..8 {
                        let tx = tx.clone();
                        let done = Done::new(move |result, _| tx.send(result).unwrap());
                        let request = request.clone().into_owned().unwrap();
                        manager.submit("m", request, Ctx::default(), done);
                    }
                    (0..8).for_each(|_| judge(width, rx.recv_timeout(HANG).unwrap()));
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|i| scope.spawn(move || ask(i))).collect();
            let options = ReloadOptions { allow_signature_change: true, ..Default::default() };
            let strict = ReloadOptions::default();
            for n in 0..200 {
                let next = if n % 2 == 0 { wide() } else { narrow() };
                let e = manager.reload_from("m", next.clone(), &strict).unwrap_err();
                assert_eq!(e.kind(), ErrorKind::InvalidModel, "not unless it is allowed");
                manager.reload_from("m", next, &options).unwrap();
                let before = answered.load(SeqCst);
                while answered.load(SeqCst) < before + 2 && !threads.iter().any(|t| t.is_finished())
                {
                    std::thread::yield_now();
                }
            }
            stop.store(true, SeqCst);
        });
        assert!(answered.load(SeqCst) > 400 && refused.load(SeqCst) > 0);
    });
}

#[test]
fn a_manager_dropped_while_its_repository_loads_ends_at_once() {
    use modelserve::RepositoryRules;
    use modelserve::repo::{RepositoryOptions, WatchOptions};
    common::within(HANG, || {
        let model = std::fs::read(common::model_path("iris_v1")).unwrap();
        for round in 0..20u64 {
            let root = common::scratch("dropped").join(format!("root-{round}"));
            let publish = |version: u64| {
                let folder = root.join(format!("iris/{version}"));
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join("model.onnx"), &model).unwrap();
            };
            publish(1);
            let settle = Duration::from_micros(100);
            let watch = WatchOptions {
                poll_interval: Duration::from_micros(200),
                quiet: Duration::ZERO,
                ..WatchOptions::default()
            };
            let rules = RepositoryRules {
                files: RepositoryOptions { settle, ..RepositoryOptions::default() },
                watch: Some(watch),
                ..RepositoryRules::default()
            };
            let manager = ModelManager::default();
            manager.serve_repository(&root, rules).unwrap();
            let handle = loop {
                match manager.model("iris") {
                    Ok(handle) => break handle,
                    Err(_) => std::thread::yield_now(),
                }
            };
            let events = manager.events();
            (2..6).for_each(publish);
            // Dropped at another moment of the loads that follow in each round.
            for _ in 0..round {
                events.next_within(Duration::from_millis(1));
            }
            drop(manager);
            let width = handle.signature().unwrap().inputs[0].row_width().unwrap();
            handle.predict_row(&vec![1.0; width]).unwrap();
            drop(handle);
            // The watching thread and the slot are gone: nobody is left to tell of events.
            assert!(events.count() < 1000);
        }
    });
}

#[test]
fn a_manager_dropped_while_it_serves_and_drains_answers_what_it_took() {
    common::within(HANG, || {
        let (model, held) = held();
        let manager = ModelManager::default();
        manager.load_from("m", model, &LoadOptions::default()).unwrap();
        let batching =
            Some(BatchOptions { max_batch_size: 2, concurrency: 1, ..BatchOptions::default() });
        manager.set_policies("m", Policies { batching, ..Policies::default() }).unwrap();
        let (tx, rx) = mpsc::channel();
        for i in 0..10i8 {
            let tx = tx.clone();
            let done = Done::new(move |result, _| tx.send((i, result.map(value))).unwrap());
            manager.submit("m", row(f32::from(i) + HOLD), Ctx::default(), done);
        }
        held.entered.recv_timeout(HANG).unwrap();
        let unloaded = manager.unload("m");
        drop(manager);
        unloaded.unwrap();
        drop(held.go);
        let mut answered: Vec<i8> = (0..10)
            .map(|_| {
                let (i, got) = rx.recv_timeout(HANG).expect("every request is answered");
                assert_eq!(got.unwrap(), f64::from(i));
                i
            })
            .collect();
        answered.sort_unstable();
        assert_eq!(answered, (0..10).collect::<Vec<i8>>(), "each once");
    });
}

#[test]
fn the_last_owner_may_be_any_thread() {
    common::within(HANG, || {
        let loaded = |model: ModelSource| {
            let manager = ModelManager::default();
            manager.load_from("m", model, &LoadOptions::default()).unwrap();
            let policies = Policies {
                batching: Some(BatchOptions::default()),
                cache: Some(CacheOptions::default()),
                ..Policies::default()
            };
            manager.set_policies("m", policies).unwrap();
            manager
        };
        // The thread that delivers an answer.
        let manager = loaded(adding(1.0));
        let (tx, rx) = mpsc::channel();
        let last = (manager.clone(), manager.model("m").unwrap());
        let done = Done::new(move |result, _| {
            drop(last);
            tx.send(result.map(value)).unwrap();
        });
        manager.submit("m", row(1.0), Ctx::default(), done);
        drop(manager);
        assert_eq!(rx.recv_timeout(HANG).unwrap().unwrap(), 2.0);

        // The thread of the deadline, while the model is stuck.
        let (model, held) = held();
        let manager = loaded(model);
        let (tx, rx) = mpsc::channel();
        let last = manager.clone();
        let done = Done::new(move |result, _| {
            drop(last);
            tx.send(result.map(value)).unwrap();
        });
        manager.submit("m", row(HOLD), Ctx::within(Duration::from_millis(500)), done);
        drop(manager);
        let late = rx.recv_timeout(HANG).unwrap().unwrap_err();
        assert_eq!(late.kind(), ErrorKind::DeadlineExceeded);
        drop(held);

        // The thread of the events.
        let manager = loaded(adding(1.0));
        let last = Mutex::new(Some(manager.clone()));
        let (tx, rx) = mpsc::channel();
        manager
            .on_event(move |_| {
                drop(last.lock().unwrap().take());
                tx.send(()).unwrap();
            })
            .unwrap();
        manager.set_label("m", "a", 1).unwrap();
        drop(manager);
        rx.recv_timeout(HANG).unwrap();
        assert!(rx.recv_timeout(HANG).is_err(), "the listener ended with the manager");

        // The model itself, while it runs.
        let last: Arc<Mutex<Option<ModelManager>>> = Arc::default();
        let theirs = last.clone();
        let manager = loaded(source(FnModel::regressor(1, move |row| {
            drop(theirs.lock().unwrap().take());
            Ok(row[0] + 1.0)
        })));
        let handle = manager.model("m").unwrap();
        *last.lock().unwrap() = Some(manager);
        assert_eq!(handle.predict_row(&[4.0]).unwrap().answer, Answer::Value(5.0));
        assert!(last.lock().unwrap().is_none());
    });
}

#[test]
fn a_version_is_freed_after_its_last_lease() {
    const RELOADS: u64 = 100;
    common::within(HANG, || {
        let token = Arc::new(());
        let alive = || Arc::strong_count(&token) - 1;
        let counted = |n: u64| {
            let held = token.clone();
            let model = FnModel::regressor(1, move |row| {
                let _held = &held;
                Ok(row[0])
            });
            source(model.with_digest(&n.to_string()))
        };
        let manager = ModelManager::default();
        manager.load_from("m", counted(1), &LoadOptions::default()).unwrap();
        let policies = Policies {
            batching: Some(BatchOptions { max_batch_size: 8, ..BatchOptions::default() }),
            cache: Some(CacheOptions::default()),
            ..Policies::default()
        };
        manager.set_policies("m", policies).unwrap();
        let stop = AtomicBool::new(false);
        let answers = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let ask = |thread: usize| {
                let mut x = thread as f32;
                while !stop.load(SeqCst) {
                    x = (x + 1.0) % 1000.0;
                    let (tx, rx) = mpsc::channel();
                    let done = Done::new(move |result, _| tx.send(result.map(value)).unwrap());
                    manager.submit("m", row(x), Ctx::default(), done);
                    assert_eq!(rx.recv_timeout(HANG).unwrap().unwrap(), f64::from(x));
                    answers.fetch_add(1, SeqCst);
                }
            };
            let threads: Vec<_> = (0..4).map(|i| scope.spawn(move || ask(i))).collect();
            for n in 2..RELOADS + 2 {
                manager.reload_from("m", counted(n), &ReloadOptions::default()).unwrap();
                let before = answers.load(SeqCst);
                while answers.load(SeqCst) < before + 4 && !threads.iter().any(|t| t.is_finished())
                {
                    std::thread::yield_now();
                }
            }
            stop.store(true, SeqCst);
        });
        // Its own requests are answered; the thread that answered last may still be on its way.
        let until = |wanted: usize| {
            let began = Instant::now();
            while alive() != wanted && began.elapsed() < HANG / 4 {
                std::thread::yield_now();
            }
            assert_eq!(alive(), wanted);
        };
        until(1);
        let pinned = manager.model("m").unwrap().pin().unwrap();
        manager.reload_from("m", counted(RELOADS + 2), &ReloadOptions::default()).unwrap();
        until(2);
        drop(pinned);
        until(1);
        manager.unload("m").unwrap();
        until(0);
    });
}
