//! Nobody's trouble is another's: bad rows, panics, slow models, scrapes, unknown names.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Expected;
use modelserve::policy::batch::BatchOptions;
use modelserve::{
    Answer, Ctx, Done, Error, ErrorKind, Features, FnModel, LoadOptions, Model, ModelManager,
    ModelSource, Policies, Prediction, ReloadOptions, Reply, Request, Target,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::time::Duration;

const HANG: Duration = Duration::from_secs(300);
/// A row of this value is held until a word is given.
const HOLD: f32 = -1.0;
/// A row of this value makes the model panic.
const PANIC: f32 = -2.0;

/// A manager whose model `m` adds 1, holds and panics; and `other`, which adds 2.
struct Served {
    manager: ModelManager,
    entered: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

fn served(batching: BatchOptions) -> Served {
    let (tell, entered) = mpsc::channel();
    let (go, word) = mpsc::channel::<()>();
    let word = Mutex::new(word);
    let model = FnModel::regressor(1, move |row| {
        if row[0] == HOLD {
            tell.send(()).ok();
            word.lock().unwrap().recv().ok();
        }
        assert!(row[0] != PANIC, "a row that the model cannot bear");
        Ok(row[0] + 1.0)
    });
    let manager = ModelManager::default();
    let source = |model: FnModel| ModelSource::Model(Arc::new(model));
    manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
    let other = FnModel::regressor(1, |row| Ok(row[0] + 2.0));
    manager.load_from("other", source(other), &LoadOptions::default()).unwrap();
    let policies = Policies { batching: Some(batching), ..Policies::default() };
    manager.set_policies("m", policies).unwrap();
    Served { manager, entered, go }
}

type Got = (usize, Result<f64, Error>);

impl Served {
    fn submit(&self, i: usize, x: f32, tx: &mpsc::Sender<Got>) {
        let request = Request::Row(Features::F32 { data: &[x], rows: 1, width: 1 });
        let tx = tx.clone();
        let done = Done::new(move |result: Result<Reply, Error>, _| {
            let value = result.and_then(Reply::into_row).map(|p| match p.answer {
                Answer::Value(value) => value,
                other => panic!("{other:?}"),
            });
            tx.send((i, value)).unwrap();
        });
        self.manager.submit("m", request.into_owned().unwrap(), Ctx::default(), done);
    }

    fn other_answers(&self) {
        let got = self.manager.predict_row("other", &[1.0]).unwrap();
        assert_eq!(got.answer, Answer::Value(3.0));
    }
}

#[test]
fn a_panic_fails_the_row_that_brought_it_and_the_next_batch_works() {
    let _turn = TURN.read().unwrap_or_else(|e| e.into_inner());
    common::within(HANG, || {
        let served = served(BatchOptions { max_batch_size: 16, ..BatchOptions::default() });
        for round in 0..20 {
            let (tx, rx) = mpsc::channel();
            served.submit(99, HOLD, &tx);
            served.entered.recv_timeout(HANG).unwrap();
            let bad = round % 16;
            for i in 0..16 {
                served.submit(i, if i == bad { PANIC } else { i as f32 }, &tx);
            }
            served.go.send(()).unwrap();
            for _ in 0..17 {
                let (i, got) = rx.recv_timeout(HANG).unwrap();
                match got {
                    Ok(value) => assert_eq!(value, if i == 99 { 0.0 } else { i as f64 + 1.0 }),
                    Err(e) => {
                        assert_eq!((i, e.kind()), (bad, ErrorKind::Internal), "{e}");
                        assert_eq!(e.model(), Some("m"));
                    }
                }
            }
            assert_eq!(served.manager.predict_row("m", &[5.0]).unwrap().answer, Answer::Value(6.0));
        }
        assert_eq!(served.manager.stats("m").unwrap().versions[0].errors, 20);
    });
}

#[test]
fn a_slow_model_refuses_at_once_what_its_queue_cannot_hold_and_holds_up_no_other() {
    let _turn = TURN.read().unwrap_or_else(|e| e.into_inner());
    common::within(HANG, || {
        const QUEUE: usize = 4;
        let served = served(BatchOptions {
            max_queue_size: QUEUE,
            concurrency: 1,
            ..BatchOptions::default()
        });
        let (tx, rx) = mpsc::channel();
        served.submit(0, HOLD, &tx);
        served.entered.recv_timeout(HANG).unwrap();
        (1..=QUEUE).for_each(|i| served.submit(i, i as f32, &tx));
        assert!(rx.try_recv().is_err(), "they wait");
        // While the model is held: whoever answers did not wait for it.
        served.submit(100, 1.0, &tx);
        let (i, refused) = rx.recv_timeout(HANG).unwrap();
        let refused = refused.unwrap_err();
        assert_eq!((i, refused.kind()), (100, ErrorKind::Overloaded));
        assert_eq!(refused.model(), Some("m"));
        let e = served.manager.predict_row("m", &[1.0]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Overloaded);
        (0..100).for_each(|_| served.other_answers());
        let text = served.manager.metrics_text();
        let depth = format!(r#"modelserve_queue_depth{{model="m",version="1"}} {QUEUE}"#);
        assert!(text.contains(&depth), "{text}");
        served.go.send(()).unwrap();
        for _ in 0..=QUEUE {
            let (i, got) = rx.recv_timeout(HANG).unwrap();
            assert_eq!(got.unwrap(), if i == 0 { 0.0 } else { i as f64 + 1.0 });
        }
    });
}

/// While a model is stuck, everything that only looks still answers.
#[test]
fn a_scrape_waits_for_no_request() {
    let _turn = TURN.read().unwrap_or_else(|e| e.into_inner());
    common::within(HANG, || {
        let served = served(BatchOptions::default());
        let manager = &served.manager;
        let (tx, rx) = mpsc::channel();
        served.submit(0, HOLD, &tx);
        served.entered.recv_timeout(HANG).unwrap();
        assert!(manager.metrics_text().contains("modelserve_inflight"));
        assert_eq!(manager.stats("m").unwrap().versions.len(), 1);
        assert_eq!(manager.versions("m").unwrap().len(), 1);
        assert_eq!(manager.memory().len(), 2);
        assert_eq!(manager.models(), ["m", "other"]);
        assert!(manager.labels("m").unwrap().is_empty());
        assert_eq!(manager.info("m").unwrap().version, 1);
        served.other_answers();
        served.go.send(()).unwrap();
        rx.recv_timeout(HANG).unwrap().1.unwrap();
    });
}

/// Requests, reloads and scrapes at once: all go on, and the last owner of a version may well be
/// a scrape.
#[test]
fn scrapes_requests_and_reloads_go_on_beside_each_other() {
    let _turn = TURN.read().unwrap_or_else(|e| e.into_inner());
    common::within(HANG, || {
        let served = served(BatchOptions { max_batch_size: 4, ..BatchOptions::default() });
        let manager = &served.manager;
        let stop = AtomicBool::new(false);
        let (answers, scrapes) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for i in 0..4u8 {
                let (stop, answers) = (&stop, &answers);
                scope.spawn(move || {
                    while !stop.load(SeqCst) {
                        let got = manager.predict_row("m", &[f32::from(i)]).unwrap();
                        assert_eq!(got.answer, Answer::Value(f64::from(i) + 1.0));
                        answers.fetch_add(1, SeqCst);
                    }
                });
            }
            for _ in 0..2 {
                let (stop, scrapes) = (&stop, &scrapes);
                scope.spawn(move || {
                    while !stop.load(SeqCst) {
                        assert!(manager.metrics_text().contains("modelserve_queue_depth"));
                        assert!(!manager.versions("m").unwrap().is_empty());
                        scrapes.fetch_add(1, SeqCst);
                    }
                });
            }
            for _ in 0..200 {
                let model = FnModel::regressor(1, |row| Ok(row[0] + 1.0));
                let source = ModelSource::Model(Arc::new(model));
                manager.reload_from("m", source, &ReloadOptions::default()).unwrap();
                let before = (answers.load(SeqCst), scrapes.load(SeqCst));
                while answers.load(SeqCst) < before.0 + 4 || scrapes.load(SeqCst) == before.1 {
                    std::thread::yield_now();
                }
            }
            stop.store(true, SeqCst);
        });
    });
}

fn exact(p: &Prediction) -> (String, Option<Vec<u64>>) {
    let scores = p.scores.as_ref().map(|s| s.iter().map(|x| x.to_bits()).collect());
    (format!("{:?}", p.answer), scores)
}

/// A row of NaN, in a batch of the caller's and in one that the server makes.
#[test]
fn the_neighbours_of_a_nan_row_answer_the_same_bits() {
    let _turn = TURN.read().unwrap_or_else(|e| e.into_inner());
    common::within(HANG, || {
        let manager = ModelManager::default();
        for name in common::names() {
            let alone = common::load_model(&name);
            let rows = Expected::of(&name);
            let n = rows.rows.min(24);
            let truth: Vec<_> =
                (0..n).map(|i| exact(&alone.predict_row(rows.row(i)).unwrap())).collect();
            let bad = n / 2;
            let mut data = rows.data[..n * rows.width].to_vec();
            data[bad * rows.width..(bad + 1) * rows.width].fill(f32::NAN);
            manager.load(&name, common::model_path(&name), &LoadOptions::default()).unwrap();
            let features = Features::F32 { data: &data, rows: n, width: rows.width };
            match manager.predict_batch(&name, features) {
                Ok(got) => {
                    for i in (0..n).filter(|i| *i != bad) {
                        assert_eq!(exact(&got.row(i).unwrap()), truth[i], "{name} row {i}");
                    }
                }
                // A model may refuse NaN; then the batch is refused, not answered wrongly.
                Err(e) => assert_eq!(e.kind(), ErrorKind::InvalidInput, "{name}: {e}"),
            }
            let batching =
                BatchOptions { max_batch_size: 32, batch_invariant: true, ..Default::default() };
            let policies = Policies { batching: Some(batching), ..Policies::default() };
            manager.set_policies(&name, policies).unwrap();
            let (tx, rx) = mpsc::channel();
            for round in 0..8 {
                for (i, row) in data.chunks(rows.width).enumerate() {
                    let features = Features::F32 { data: row, rows: 1, width: rows.width };
                    let tx = tx.clone();
                    let done = Done::new(move |result: Result<Reply, Error>, _| {
                        tx.send((i, result.and_then(Reply::into_row))).unwrap();
                    });
                    let request = Request::Row(features).into_owned().unwrap();
                    manager.submit(&name, request, Ctx::default(), done);
                }
                for _ in 0..n {
                    let (i, got) = rx.recv_timeout(HANG).unwrap();
                    if i != bad {
                        let got = exact(&got.unwrap());
                        assert_eq!(got, truth[i], "{name} row {i}, round {round}");
                    }
                }
            }
            manager.unload(&name).unwrap();
        }
    });
}

/// Memory is counted for the whole process: the test that counts it has no other beside it.
static TURN: RwLock<()> = RwLock::new(());

/// The text of a scrape without the age of the manager, which grows.
fn series(manager: &ModelManager) -> String {
    let text = manager.metrics_text();
    let lines = text.lines().filter(|line| !line.starts_with("modelserve_uptime_seconds "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Resident memory in bytes, where the system tells.
fn in_use() -> u64 {
    if cfg!(target_os = "linux") { common::memory::resident() } else { 0 }
}

#[test]
fn a_million_unknown_names_leave_the_metrics_as_they_were() {
    let _turn = TURN.write().unwrap_or_else(|e| e.into_inner());
    const NAMES: u64 = 1_000_000;
    let served = served(BatchOptions::default());
    let manager = &served.manager;
    served.other_answers();
    let unknown = |e: Error| {
        assert_eq!(e.kind(), ErrorKind::NotFound);
        assert!(!e.message().contains("other"), "whoever asks learns of no other model: {e}");
    };
    let unnamed = |target| {
        let request = Request::Row(Features::F32 { data: &[1.0], rows: 1, width: 1 });
        let mut ctx = Ctx { target, ..Ctx::default() };
        unknown(manager.call("m", &request, &mut ctx).unwrap_err());
    };
    // The first of each kind makes the series that all the others count under.
    unknown(manager.predict_row("minted", &[1.0]).unwrap_err());
    unnamed(Target::Label("minted".into()));
    let before = series(manager);
    let memory = in_use();
    for i in 0..NAMES {
        let name = format!("minted-{i}");
        unknown(manager.predict_row(&name, &[1.0]).unwrap_err());
        if i.is_multiple_of(1000) {
            let request = Request::Row(Features::F32 { data: &[1.0], rows: 1, width: 1 });
            unknown(manager.call(&name, &request, &mut Ctx::default()).unwrap_err());
            let (tx, rx) = mpsc::channel();
            let done = Done::new(move |result, _| tx.send(result.unwrap_err()).unwrap());
            manager.submit(&name, request.into_owned().unwrap(), Ctx::default(), done);
            unknown(rx.recv_timeout(HANG).unwrap());
            // Versions and labels that are not there, of a model that is.
            unnamed(Target::Version(i + 2));
            unnamed(Target::Label(name.as_str().into()));
        }
    }
    let after = series(manager);
    assert_eq!(after.lines().count(), before.lines().count(), "{after}");
    let grown = in_use().saturating_sub(memory);
    println!(
        "cardinality: {NAMES} unknown names: {} lines of metrics before and after, {} KiB of memory \
         more",
        after.lines().count(),
        grown >> 10
    );
    // Kept somewhere, a million names take more than 50 MB; the allocator may keep some.
    assert!(grown < 32 << 20, "{grown} bytes more in use");
    let counted = |line: String| assert!(after.lines().any(|l| l == line), "no {line}: {after}");
    let all = NAMES + 2 * NAMES.div_ceil(1000) + 1;
    let other = r#"model="other",version="other",outcome="not_found""#;
    counted(format!("modelserve_requests_total{{{other}}} {all}"));
    let refused = 2 * NAMES.div_ceil(1000) + 1;
    counted(format!(r#"modelserve_refused_total{{model="m",reason="not_found"}} {refused}"#));
}

/// What a request's error says is for whoever asked, who may be remote.
#[test]
fn errors_of_requests_tell_no_path_and_no_address() {
    let _turn = TURN.read().unwrap_or_else(|e| e.into_inner());
    let folder = common::scratch("errors");
    let file = folder.join("model.onnx");
    std::fs::copy(common::model_path("iris_v1"), &file).unwrap();
    let manager = ModelManager::default();
    manager.load("iris", &file, &LoadOptions::default()).unwrap();
    let bad = folder.join("broken.onnx");
    std::fs::write(&bad, b"no model").unwrap();
    manager.reload("iris", Some(&bad), &ReloadOptions::default()).unwrap_err();
    let row = [0.5f32; 4];
    let asked = |target: Target, width: usize| {
        let request = Request::Row(Features::F32 { data: &row[..width], rows: 1, width });
        manager.call("iris", &request, &mut Ctx { target, ..Ctx::default() }).map(drop)
    };
    let x = modelserve::tensor::Tensor::from_vec(&[1, 4], row.to_vec()).unwrap();
    let errors = [
        asked(Target::Serving, 3).unwrap_err(),
        asked(Target::Label("none".into()), 4).unwrap_err(),
        asked(Target::Version(99), 4).unwrap_err(),
        asked(Target::Version(2), 4).unwrap_err(),
        manager.predict_row("unknown", &row).unwrap_err(),
        manager.run("iris", vec![("nothing".into(), x.clone().into())], &[]).unwrap_err(),
        manager.run("iris", vec![("X".into(), x.into())], &["nothing"]).unwrap_err(),
    ];
    for e in errors {
        let text = e.to_string();
        assert!(!text.contains(folder.parent().unwrap().to_str().unwrap()), "{text}");
        assert!(!text.contains("0x") && !text.contains(env!("CARGO_MANIFEST_DIR")), "{text}");
    }
}
