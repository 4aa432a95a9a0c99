//! Policies as a manager stacks them: each set in code, asked through the manager, seen in the
//! receipt.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Expected;
use modelserve::policy::admit::AdmitOptions;
use modelserve::policy::batch::BatchOptions;
use modelserve::policy::breaker::{BreakerOptions, BreakerState};
use modelserve::policy::cache::CacheOptions;
use modelserve::policy::deadline::DeadlineOptions;
use modelserve::policy::fallback::Constant;
use modelserve::policy::route::{PromotionOptions, PromotionState, RouterOptions, ShadowOptions};
use modelserve::record::{RecordOptions, ReplayOptions};
use modelserve::{
    Another, Answer, CacheUse, CanaryRule, Ctx, Done, Error, ErrorKind, EventKind, FallbackRule,
    FallbackTo, Features, FnModel, Gate, LoadOptions, Model, ModelManager, ModelSource, Policies,
    ReloadOptions, Reply, Request, Route, ShadowRule, Target, call_async, load,
};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const HANG: Duration = Duration::from_secs(60);

fn source(model: FnModel) -> ModelSource {
    ModelSource::Model(Arc::new(model))
}

fn regressor(f: impl Fn(f32) -> Result<f32, Error> + Send + Sync + 'static) -> ModelSource {
    source(FnModel::regressor(1, move |row| f(row[0])))
}

fn failing() -> ModelSource {
    regressor(|_| Err(Error::new(ErrorKind::Execution, "out of order")))
}

/// A manager whose model `m` has version 1, and 2 beside it.
fn two_versions(one: ModelSource, two: ModelSource) -> ModelManager {
    let manager = ModelManager::default();
    manager.load_from("m", one, &LoadOptions::default()).unwrap();
    manager.load_version("m", two, &ReloadOptions::default()).unwrap();
    manager
}

fn ask(manager: &ModelManager, x: f32, ctx: &mut Ctx) -> Result<f64, Error> {
    let row = Request::Row(Features::F32 { data: &[x], rows: 1, width: 1 });
    match manager.call("m", &row, ctx)?.into_row()?.answer {
        Answer::Value(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

/// Asks by `submit`; answers the value and the context that came with it.
fn submit(manager: &ModelManager, x: f32, ctx: Ctx) -> (Result<f64, Error>, Ctx) {
    let row = Request::Row(Features::F32 { data: &[x], rows: 1, width: 1 });
    let (tx, rx) = mpsc::channel();
    let done = Done::new(move |reply, ctx| tx.send((reply, ctx)).unwrap());
    manager.submit("m", row.into_owned().unwrap(), ctx, done);
    let (reply, ctx) = rx.recv_timeout(HANG).unwrap();
    let value = reply.and_then(Reply::into_row).map(|p| match p.answer {
        Answer::Value(value) => value,
        other => panic!("{other:?}"),
    });
    (value, ctx)
}

#[test]
fn a_fallback_answers_for_a_broken_version_and_says_so() {
    let manager = two_versions(failing(), regressor(|x| Ok(x + 1.0)));
    let rule = FallbackRule { to: FallbackTo::Another(Another::Version(2)), on: None };
    let constant = FallbackTo::Constant(Constant::new(Answer::Value(-1.0)));
    let fallback = vec![rule, FallbackRule { to: constant, on: None }];
    manager.set_policies("m", Policies { fallback, ..Policies::default() }).unwrap();
    let mut ctx = Ctx::default();
    assert_eq!(ask(&manager, 4.0, &mut ctx).unwrap(), 5.0);
    assert_eq!((ctx.receipt.route, ctx.receipt.version), (Route::Fallback, 2));
    let reason = ctx.receipt.fallback.unwrap();
    assert_eq!((reason.kind, &*reason.by), (ErrorKind::Execution, "version 2"));
    let (value, ctx) = submit(&manager, 4.0, Ctx::default());
    assert_eq!((value.unwrap(), ctx.receipt.version), (5.0, 2));
    // A version that policies point to stays when another one is served.
    manager.reload_from("m", failing(), &ReloadOptions::default()).unwrap();
    assert_eq!(ask(&manager, 1.0, &mut Ctx::default()).unwrap(), 2.0);
    let text = manager.metrics_text();
    assert!(
        text.contains(r#"modelserve_fallbacks_total{model="m",reason="execution"} 3"#),
        "{text}"
    );
    // What the caller did wrong is the caller's to see.
    let wide = Request::Row(Features::F32 { data: &[1.0, 2.0], rows: 1, width: 2 });
    let e = manager.call("m", &wide, &mut Ctx::default()).unwrap_err();
    assert_eq!((e.kind(), e.model()), (ErrorKind::InvalidInput, Some("m")));
}

#[test]
fn policies_that_name_what_is_not_there_are_refused_and_change_nothing() {
    let manager = two_versions(regressor(Ok), regressor(Ok));
    let to = FallbackTo::Another(Another::Version(7));
    let fallback = vec![FallbackRule { to, on: None }];
    let e = manager.set_policies("m", Policies { fallback, ..Policies::default() }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    let to = FallbackTo::Another(Another::Model("m".into()));
    let fallback = vec![FallbackRule { to, on: None }];
    let e = manager.set_policies("m", Policies { fallback, ..Policies::default() }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    let batching = Some(BatchOptions { max_batch_size: 0, ..BatchOptions::default() });
    let e = manager.set_policies("m", Policies { batching, ..Policies::default() }).unwrap_err();
    assert_eq!((e.kind(), e.model()), (ErrorKind::InvalidArgument, Some("m")));
    assert_eq!(ask(&manager, 3.0, &mut Ctx::default()).unwrap(), 3.0);
}

#[test]
fn a_stuck_model_holds_nobody_beyond_the_deadline() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let stuck = regressor(move |x| {
        wait.lock().unwrap().recv().ok();
        Ok(x)
    });
    let manager = two_versions(stuck, regressor(Ok));
    // The deadline that a request brings.
    let began = Instant::now();
    let e = ask(&manager, 1.0, &mut Ctx::within(Duration::from_millis(20))).unwrap_err();
    assert_eq!((e.kind(), e.model()), (ErrorKind::DeadlineExceeded, Some("m")));
    // The deadline of the model, for those that bring none, on both paths.
    let default = Some(Duration::from_millis(20));
    let deadline = Some(DeadlineOptions { default, ..DeadlineOptions::default() });
    manager.set_policies("m", Policies { deadline, ..Policies::default() }).unwrap();
    let e = ask(&manager, 1.0, &mut Ctx::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::DeadlineExceeded);
    let (e, _) = submit(&manager, 1.0, Ctx::default());
    assert_eq!(e.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert!(began.elapsed() < HANG);
    // Another version of the same model is not held up.
    let mut ctx = Ctx { target: Target::Version(2), ..Ctx::default() };
    assert_eq!(ask(&manager, 9.0, &mut ctx).unwrap(), 9.0);
    drop(release);
}

#[test]
fn the_cache_answers_and_a_reload_makes_it_forget() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counting = |add: f32, digest: &str| {
        let runs = runs.clone();
        let model = FnModel::regressor(1, move |row| {
            runs.fetch_add(1, SeqCst);
            Ok(row[0] + add)
        });
        source(model.with_digest(digest))
    };
    let manager = ModelManager::default();
    manager.load_from("m", counting(1.0, "one"), &LoadOptions::default()).unwrap();
    let cache = Some(CacheOptions::default());
    manager.set_policies("m", Policies { cache, ..Policies::default() }).unwrap();
    let mut ctx = Ctx::default();
    assert_eq!(ask(&manager, 1.0, &mut ctx).unwrap(), 2.0);
    assert_eq!((ctx.receipt.cache, runs.load(SeqCst)), (CacheUse::Miss, 1));
    let mut ctx = Ctx::default();
    assert_eq!(ask(&manager, 1.0, &mut ctx).unwrap(), 2.0);
    assert_eq!((ctx.receipt.cache, runs.load(SeqCst)), (CacheUse::Hit, 1));
    assert_eq!((ctx.receipt.version, ctx.receipt.batch_rows), (1, 0));
    manager.reload_from("m", counting(5.0, "two"), &ReloadOptions::default()).unwrap();
    let mut ctx = Ctx::default();
    assert_eq!(ask(&manager, 1.0, &mut ctx).unwrap(), 6.0);
    assert_eq!((ctx.receipt.cache, ctx.receipt.version), (CacheUse::Miss, 2));
    let stats = manager.cache("m").unwrap().unwrap();
    assert_eq!((stats.hits, stats.misses), (1, 2));
    let text = manager.metrics_text();
    assert!(text.contains(r#"modelserve_cache_hits_total{model="m",version="1"} 1"#), "{text}");
}

#[test]
fn an_open_circuit_stops_asking_a_broken_version() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let broken = regressor(move |_| {
        counted.fetch_add(1, SeqCst);
        Err(Error::new(ErrorKind::Execution, "out of order"))
    });
    let manager = ModelManager::default();
    manager.load_from("m", broken, &LoadOptions::default()).unwrap();
    let events = manager.events();
    let options = BreakerOptions {
        min_requests: 5,
        open_for: Duration::from_secs(600),
        max_open_for: Duration::from_secs(600),
        ..BreakerOptions::default()
    };
    let breaker = Some(options);
    manager.set_policies("m", Policies { breaker, ..Policies::default() }).unwrap();
    let kinds: Vec<ErrorKind> =
        (0..20).map(|_| ask(&manager, 1.0, &mut Ctx::default()).unwrap_err().kind()).collect();
    assert_eq!(runs.load(SeqCst), 5);
    assert_eq!(kinds[..5], [ErrorKind::Execution; 5]);
    assert!(kinds[5..].iter().all(|k| *k == ErrorKind::NotReady), "{kinds:?}");
    let circuit = manager.circuit("m", &Target::Serving).unwrap().unwrap();
    assert_eq!((circuit.state, circuit.refused), (BreakerState::Open, 15));
    let told = events.map(|e| e.kind).find(|kind| matches!(kind, EventKind::Circuit { .. }));
    assert!(matches!(told, Some(EventKind::Circuit { sequence: 1, .. })), "{told:?}");
}

#[test]
fn requests_beyond_the_bound_are_refused_at_once() {
    let (entered_tx, entered) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = regressor(move |x| {
        entered_tx.send(()).unwrap();
        wait.lock().unwrap().recv().ok();
        Ok(x)
    });
    let manager = ModelManager::default();
    manager.load_from("m", slow, &LoadOptions::default()).unwrap();
    let admission = Some(AdmitOptions { max_in_flight: 1, ..AdmitOptions::default() });
    manager.set_policies("m", Policies { admission, ..Policies::default() }).unwrap();
    let first = {
        let manager = manager.clone();
        std::thread::spawn(move || ask(&manager, 7.0, &mut Ctx::default()))
    };
    entered.recv_timeout(HANG).unwrap();
    let e = ask(&manager, 1.0, &mut Ctx::default()).unwrap_err();
    assert_eq!((e.kind(), e.model()), (ErrorKind::Overloaded, Some("m")));
    let (e, _) = submit(&manager, 1.0, Ctx::default());
    assert_eq!(e.unwrap_err().kind(), ErrorKind::Overloaded);
    release.send(()).unwrap();
    assert_eq!(first.join().unwrap().unwrap(), 7.0);
    let text = manager.metrics_text();
    assert!(text.contains(r#"modelserve_shed_total{model="m",version="1"} 2"#), "{text}");
}

/// A real model behind batching answers every caller with its own row's bits.
#[test]
fn batched_answers_are_the_bits_of_single_ones() {
    for name in ["mlp", "random_forest"] {
        let rows = Arc::new(Expected::of(name));
        let alone = common::load_model(name);
        let truth: Arc<Vec<_>> = Arc::new(
            (0..rows.rows)
                .map(|i| {
                    let p = alone.predict_row(rows.row(i)).unwrap();
                    (p.answer, p.scores)
                })
                .collect(),
        );
        let manager = ModelManager::default();
        manager.load("m", common::model_path(name), &LoadOptions::default()).unwrap();
        let options =
            BatchOptions { max_batch_size: 32, batch_invariant: true, ..BatchOptions::default() };
        let batching = Some(options);
        manager.set_policies("m", Policies { batching, ..Policies::default() }).unwrap();
        let (tx, rx) = mpsc::channel();
        const REQUESTS: usize = 2_000;
        for n in 0..REQUESTS {
            let i = n % rows.rows;
            let row = rows.row(i);
            let request = Request::Row(Features::F32 { data: row, rows: 1, width: row.len() });
            let tx = tx.clone();
            let done = Done::new(move |reply, ctx: Ctx| {
                tx.send((i, reply.and_then(Reply::into_row), ctx.receipt.batch_rows)).unwrap();
            });
            // The queue is bounded: a caller that is refused comes again.
            manager.submit("m", request.into_owned().unwrap(), Ctx::default(), done);
            if n % 500 == 499 {
                for _ in 0..500 {
                    let (i, p, batch) = rx.recv_timeout(HANG).unwrap();
                    let p = p.unwrap();
                    assert_eq!((p.answer, p.scores), truth[i], "{name} row {i}");
                    assert!((1..=32).contains(&batch));
                }
            }
        }
    }
}

#[test]
fn a_future_is_answered_and_a_dropped_one_cancels_its_request() {
    let manager = two_versions(regressor(|x| Ok(x * 2.0)), regressor(Ok));
    let model = manager.model("m").unwrap().model();
    let row = |x: f32| {
        let data = [x];
        Request::Row(Features::F32 { data: &data, rows: 1, width: 1 }).into_owned().unwrap()
    };
    let (reply, receipt) =
        common::block_on(call_async(model.clone(), row(4.0), Ctx::default())).unwrap();
    assert_eq!(reply.into_row().unwrap().answer, Answer::Value(8.0));
    assert_eq!((receipt.model.as_deref(), receipt.version), (Some("m"), 1));
    drop(call_async(model, row(1.0), Ctx::default()));
}

fn canary(percent: f64, promotion: Option<PromotionOptions>) -> Policies {
    let to = Another::Version(2);
    let canary = CanaryRule { to, percent, options: RouterOptions::default(), promotion };
    Policies { canary: Some(canary), ..Policies::default() }
}

#[test]
fn a_canary_gets_its_share_and_a_failing_one_fails_nobody() {
    let manager = two_versions(regressor(|_| Ok(1.0)), regressor(|_| Ok(2.0)));
    manager.set_policies("m", canary(25.0, None)).unwrap();
    let mut seen = [0usize; 3];
    for _ in 0..1_000 {
        let mut ctx = Ctx::default();
        let value = ask(&manager, 0.0, &mut ctx).unwrap();
        seen[value as usize] += 1;
        assert_eq!(ctx.receipt.route == Route::Canary, value == 2.0);
        assert_eq!(ctx.receipt.version, value as u64);
    }
    assert_eq!(seen, [0, 750, 250]);
    let report = manager.traffic("m").unwrap().unwrap();
    assert_eq!(report.arm("stable").unwrap().requests, 750);
    assert!(report.to_string().contains("version 2"), "{report}");
    // By key: always the same way.
    let keyed = |key: &str| {
        let mut ctx = Ctx { key: Some(key.into()), ..Ctx::default() };
        ask(&manager, 0.0, &mut ctx).unwrap()
    };
    for key in ["ann", "bob", "eve"] {
        assert_eq!(keyed(key), keyed(key));
    }
    manager.set_canary_percent("m", 100.0).unwrap();
    assert_eq!(ask(&manager, 0.0, &mut Ctx::default()).unwrap(), 2.0);

    let manager = two_versions(regressor(|_| Ok(1.0)), failing());
    manager.set_policies("m", canary(50.0, None)).unwrap();
    for _ in 0..100 {
        assert_eq!(ask(&manager, 0.0, &mut Ctx::default()).unwrap(), 1.0);
    }
    let report = manager.traffic("m").unwrap().unwrap();
    assert_eq!(report.arm("version 2").unwrap().errors, 50);
}

fn quick_promotion() -> PromotionOptions {
    PromotionOptions {
        steps: vec![10.0, 50.0, 100.0],
        min_requests: 100,
        min_stable_requests: 50,
        min_duration: Duration::ZERO,
        evaluate_every: 20,
        max_latency_ratio: None,
        max_disagreement: None,
        ..PromotionOptions::default()
    }
}

#[test]
fn a_good_canary_is_promoted_and_serves_and_a_bad_one_is_rolled_back() {
    let manager = two_versions(regressor(|_| Ok(1.0)), regressor(|_| Ok(1.0)));
    let events = manager.events();
    manager.set_policies("m", canary(0.0, Some(quick_promotion()))).unwrap();
    let began = Instant::now();
    while manager.promotion("m").unwrap().unwrap().state != PromotionState::Promoted {
        ask(&manager, 0.0, &mut Ctx::default()).unwrap();
        assert!(began.elapsed() < HANG, "{:?}", manager.promotion("m"));
    }
    // The pointer moves on another thread.
    let mut serving = 0;
    while serving != 2 {
        let event = events.next_within(HANG).expect("the promoted version serves");
        if let EventKind::Serving { previous: Some(1) } = event.kind {
            serving = event.version;
        }
    }
    assert_eq!(manager.info("m").unwrap().version, 2);

    let count = AtomicUsize::new(0);
    let bad = regressor(move |_| match count.fetch_add(1, SeqCst) % 3 {
        0 => Err(Error::new(ErrorKind::Execution, "worse and worse")),
        _ => Ok(1.0),
    });
    let manager = two_versions(regressor(|_| Ok(1.0)), bad);
    manager.set_policies("m", canary(0.0, Some(quick_promotion()))).unwrap();
    let began = Instant::now();
    while manager.promotion("m").unwrap().unwrap().state != PromotionState::RolledBack {
        ask(&manager, 0.0, &mut Ctx::default()).unwrap();
        assert!(began.elapsed() < HANG, "{:?}", manager.promotion("m"));
    }
    let report = manager.promotion("m").unwrap().unwrap();
    let last = report.decisions.last().unwrap();
    assert!(last.canary.errors > 0 && !last.reason.is_empty());
    let mut ctx = Ctx::default();
    ask(&manager, 0.0, &mut ctx).unwrap();
    assert_eq!((ctx.receipt.version, manager.info("m").unwrap().version), (1, 1));
}

#[test]
fn a_shadow_is_compared_and_never_answers() {
    let manager = two_versions(regressor(|_| Ok(1.0)), regressor(|_| Ok(3.0)));
    let options = ShadowOptions { fraction: 1.0, max_pending: 1000, ..ShadowOptions::default() };
    let shadow = Some(ShadowRule { to: Another::Version(2), options });
    manager.set_policies("m", Policies { shadow, ..Policies::default() }).unwrap();
    for _ in 0..100 {
        let mut ctx = Ctx::default();
        assert_eq!(ask(&manager, 0.0, &mut ctx).unwrap(), 1.0);
        assert_eq!(ctx.receipt.version, 1);
    }
    let began = Instant::now();
    let report = loop {
        let report = manager.shadow("m").unwrap().unwrap();
        if report.compared + report.dropped >= 100 || began.elapsed() > HANG {
            break report;
        }
        std::thread::yield_now();
    };
    assert_eq!((report.compared, report.disagreed), (100, 100), "{report}");
    assert!(!report.examples.is_empty());
}

#[test]
fn a_gate_lets_the_same_in_and_keeps_the_different_out() {
    let manager = ModelManager::default();
    manager.load_from("m", regressor(|x| Ok(2.0 * x)), &LoadOptions::default()).unwrap();
    for i in 0..300u16 {
        ask(&manager, f32::from(i), &mut Ctx::default()).unwrap();
    }
    let gated = |gate: Gate| ReloadOptions { gate: Some(gate), ..ReloadOptions::default() };
    let strict = Gate { max_drift: Some(1e-3), ..Gate::default() };
    manager.reload_from("m", regressor(|x| Ok(2.0 * x)), &gated(strict.clone())).unwrap();
    let report = manager.gate_report("m").unwrap().unwrap();
    assert!(report.accepted && report.replayed == 256, "{report}");

    let events = manager.events();
    let drifted = regressor(|x| Ok(2.0 * x + 1.0));
    let e = manager.reload_from("m", drifted, &gated(strict.clone())).unwrap_err();
    assert_eq!((e.kind(), e.model()), (ErrorKind::InvalidModel, Some("m")));
    let report = manager.gate_report("m").unwrap().unwrap();
    assert!(!report.accepted && report.max_drift > 1e-3, "{report}");
    let worst = report.worst.as_ref().unwrap();
    assert_ne!(worst.serving, worst.candidate);
    assert!(events.filter(|e| matches!(e.kind, EventKind::Rejected { .. })).take(1).count() == 1);

    let e = manager.reload_from("m", failing(), &gated(Gate::default())).unwrap_err();
    assert!(e.to_string().contains("out of order"), "{e}");
    assert_eq!(manager.info("m").unwrap().version, 2, "nothing changed");
    assert_eq!(ask(&manager, 4.0, &mut Ctx::default()).unwrap(), 8.0);
}

#[test]
fn golden_requests_beside_the_file_keep_a_wrong_model_out() {
    let folder = common::scratch("golden");
    let file = folder.join("model.onnx");
    std::fs::copy(common::model_path("iris_v1"), &file).unwrap();
    let rows = Expected::of("iris_v1");
    let row: Vec<String> = rows.row(0).iter().map(f32::to_string).collect();
    let label = match load(&file, &LoadOptions::default()).unwrap().predict_row(rows.row(0)) {
        Ok(p) => match p.answer {
            Answer::Int(label) => label.to_string(),
            Answer::Str(label) => format!("\"{label}\""),
            other => panic!("{other:?}"),
        },
        Err(e) => panic!("{e}"),
    };
    let golden = folder.join("golden.jsonl");
    let line = format!("{{\"row\": [{}], \"prediction\": {label}}}\n", row.join(", "));
    std::fs::write(&golden, line).unwrap();
    let manager = ModelManager::default();
    manager.load("m", &file, &LoadOptions::default()).unwrap();
    assert_eq!(manager.gate_report("m").unwrap().unwrap().golden, 1);
    let wrong =
        format!("{{\"row\": [{}], \"probabilities\": [0.9, 0.05, 0.05]}}\n", row.join(", "));
    std::fs::write(&golden, wrong).unwrap();
    let e = manager.reload("m", None, &ReloadOptions::default()).unwrap_err();
    assert!(e.to_string().contains("golden request"), "{e}");
    assert_eq!(manager.info("m").unwrap().version, 1);
}

#[test]
fn a_recording_is_replayed_against_another_version() {
    let manager = two_versions(regressor(|x| Ok(2.0 * x)), regressor(|x| Ok(2.0 * x + 1.0)));
    let file = common::scratch("recording").join("requests.jsonl");
    let options = RecordOptions { sample: 1.0, ..RecordOptions::default() };
    manager.record("m", &file, options.clone()).unwrap();
    assert_eq!(manager.record("m", &file, options).unwrap_err().kind(), ErrorKind::AlreadyExists);
    for i in 0..50u16 {
        ask(&manager, f32::from(i), &mut Ctx::default()).unwrap();
        submit(&manager, f32::from(i), Ctx::default()).0.unwrap();
        manager.predict_row("m", &[f32::from(i)]).unwrap();
    }
    let status = manager.stop_recording("m").unwrap().unwrap();
    assert_eq!((status.written, status.dropped), (150, 0));
    assert!(manager.recording("m").unwrap().is_none());
    let replay = |version| {
        let target = Target::Version(version);
        manager.replay("m", &target, &file, &ReplayOptions::default()).unwrap()
    };
    let (same, other) = (replay(1), replay(2));
    assert_eq!((same.requests, same.disagreements), (150, 0), "{same}");
    assert_eq!((other.requests, other.disagreements), (150, 150), "{other}");
}

#[test]
fn one_file_sets_up_a_manager() {
    let folder = common::scratch("from_config");
    let text = format!(
        "[manager]\nthreads = 1\n\n[models.iris]\npath = {:?}\n\n[models.iris.cache]\n\
         capacity = \"1MiB\"\n\n[models.iris.batching]\nmax_batch_size = 8\n\n\
         [[models.iris.fallback]]\nmodel = \"spare\"\n\n[models.spare]\npath = {:?}\n",
        common::model_path("iris_v1"),
        common::model_path("iris_v2"),
    );
    let file = folder.join("modelserve.toml");
    std::fs::write(&file, text).unwrap();
    let manager = ModelManager::from_config(&file).unwrap();
    let rows = Expected::of("iris_v1");
    let first = manager.predict_row("iris", rows.row(0)).unwrap();
    let again = manager.predict_row("iris", rows.row(0)).unwrap();
    assert_eq!(first.answer, again.answer);
    assert_eq!((first.receipt.cache, again.receipt.cache), (CacheUse::Miss, CacheUse::Hit));
    std::fs::write(
        &file,
        "[models.iris]\npath = \"x.onnx\"\n[models.iris.cache]\nttl = 5\nsize = 3",
    )
    .unwrap();
    let e = ModelManager::from_config(&file).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    assert!(e.to_string().contains("size") && e.to_string().contains("line 5"), "{e}");
}

#[test]
fn a_folder_of_models_is_served_and_followed() {
    use modelserve::repo::{RepositoryOptions, VersionPolicy};
    use modelserve::{RepositoryModel, RepositoryRules, VersionState};
    let root = common::scratch("repository");
    let publish = |version: u64, from: &str| {
        let folder = root.join("iris").join(version.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(common::model_path(from), folder.join("model.onnx")).unwrap();
    };
    publish(1, "iris_v1");
    let settle = Duration::from_millis(10);
    let files = RepositoryOptions { settle, ..RepositoryOptions::default() };
    let mut rules = RepositoryRules { files, ..RepositoryRules::default() };
    let special = RepositoryModel {
        version_policy: Some(VersionPolicy::Latest(2)),
        labels: [("stable".to_string(), 1)].into(),
        ..RepositoryModel::default()
    };
    rules.models.insert("iris".to_string(), special);
    let manager = ModelManager::default();
    let report = manager.serve_repository(&root, rules.clone()).unwrap();
    assert_eq!(report.loaded, [("iris".to_string(), 1)], "{report:?}");
    assert!(manager.serve_repository(&root, rules).is_err());
    assert_eq!(manager.labels("iris").unwrap()["stable"], 1);
    let rows = Expected::of("iris_v1");
    manager.predict_row("iris", rows.row(0)).unwrap();

    let refresh_until = |done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < HANG, "{:?}", manager.versions("iris"));
            manager.refresh().unwrap();
            std::thread::sleep(settle);
        }
    };
    // A newer version serves as soon as it is complete; a broken one takes nothing down.
    publish(2, "iris_v2");
    refresh_until(&|| manager.info("iris").unwrap().version == 2);
    std::fs::create_dir_all(root.join("iris/3")).unwrap();
    std::fs::write(root.join("iris/3/model.onnx"), b"cut off").unwrap();
    let failed = || {
        let versions = manager.versions("iris").unwrap();
        versions.iter().any(|v| v.version == 3 && v.error.is_some())
    };
    refresh_until(&failed);
    assert_eq!(manager.info("iris").unwrap().version, 2);
    // The policy keeps two: the oldest leaves when a fourth is there.
    publish(4, "iris_v1");
    refresh_until(&|| manager.info("iris").unwrap().version == 4);
    let gone = || {
        let versions = manager.versions("iris").unwrap();
        versions.iter().any(|v| v.version == 1 && v.state == VersionState::End)
    };
    refresh_until(&gone);
    // The newest folder taken back: the one before serves again.
    std::fs::remove_dir_all(root.join("iris/4")).unwrap();
    refresh_until(&|| manager.info("iris").unwrap().version == 2);
    publish(4, "iris_v1");
    refresh_until(&|| manager.info("iris").unwrap().version == 4);
    // An emptied folder takes nothing down.
    std::fs::remove_dir_all(root.join("iris")).unwrap();
    manager.refresh().unwrap();
    manager.refresh().unwrap();
    assert_eq!(manager.predict_row("iris", rows.row(0)).unwrap().model_version, 4);
}
