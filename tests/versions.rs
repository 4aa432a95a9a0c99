//! The life of versions: side by side, labels, rollback, pins, events, memory.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Expected;
use modelserve::{
    Answer, Ctx, Error, ErrorKind, EventKind, Features, FnModel, LoadOptions, ManagerOptions,
    MemoryPolicy, Model, ModelManager, ModelSource, ReloadOptions, Reply, Request, Target,
    VersionState,
};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

const HANG: Duration = Duration::from_secs(60);

/// A model that answers its own version number.
fn constant(value: f32) -> ModelSource {
    ModelSource::Model(Arc::new(FnModel::regressor(1, move |_| Ok(value))))
}

fn options(keep_versions: usize) -> ManagerOptions {
    ManagerOptions { keep_versions, ..ManagerOptions::default() }
}

fn serving(value: f32, keep: usize) -> ModelManager {
    let manager = ModelManager::new(options(keep));
    manager.load_from("m", constant(value), &LoadOptions::default()).unwrap();
    manager
}

fn ask(manager: &ModelManager, target: Target) -> Result<(f64, u64), Error> {
    let mut ctx = Ctx { target, ..Ctx::default() };
    let row = Request::Row(Features::F32 { data: &[0.0], rows: 1, width: 1 });
    match manager.call("m", &row, &mut ctx)?.into_row()?.answer {
        Answer::Value(value) => Ok((value, ctx.receipt.version)),
        other => panic!("{other:?}"),
    }
}

fn states(manager: &ModelManager) -> Vec<(u64, VersionState, bool)> {
    manager.versions("m").unwrap().iter().map(|s| (s.version, s.state, s.serving)).collect()
}

#[test]
fn versions_stand_side_by_side_and_are_asked_by_number_or_label() {
    let manager = serving(10.0, 1);
    let two = manager.load_version("m", constant(20.0), &ReloadOptions::default()).unwrap();
    assert_eq!(two.version, 2);
    assert_eq!(ask(&manager, Target::Serving).unwrap(), (10.0, 1));
    assert_eq!(ask(&manager, Target::Version(2)).unwrap(), (20.0, 2));
    manager.set_label("m", "canary", 2).unwrap();
    assert_eq!(ask(&manager, Target::Label("canary".into())).unwrap(), (20.0, 2));
    manager.set_label("m", "canary", 1).unwrap();
    assert_eq!(ask(&manager, Target::Label("canary".into())).unwrap(), (10.0, 1));
    assert_eq!(manager.labels("m").unwrap().len(), 1);

    let missing = ask(&manager, Target::Version(9)).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("1, 2"), "{missing}");
    let missing = ask(&manager, Target::Label("blue".into())).unwrap_err();
    assert!(missing.to_string().contains("canary"), "{missing}");
    let unset = manager.set_label("m", "blue", 9).unwrap_err();
    assert_eq!(unset.kind(), ErrorKind::NotFound);
    manager.remove_label("m", "canary").unwrap();
    assert!(manager.remove_label("m", "canary").is_err());
}

#[test]
fn serving_another_version_drops_the_old_one_unless_it_is_kept_or_labelled() {
    let manager = serving(1.0, 1);
    manager.reload_from("m", constant(2.0), &ReloadOptions::default()).unwrap();
    assert_eq!(ask(&manager, Target::Version(1)).unwrap_err().kind(), ErrorKind::NotFound);
    manager.set_label("m", "stable", 2).unwrap();
    manager.reload_from("m", constant(3.0), &ReloadOptions::default()).unwrap();
    assert_eq!(ask(&manager, Target::Version(2)).unwrap(), (2.0, 2));
    assert_eq!(
        states(&manager),
        [
            (1, VersionState::End, false),
            (2, VersionState::Available, false),
            (3, VersionState::Available, true)
        ]
    );
    let serving = manager.unload_version("m", 3).unwrap_err();
    assert_eq!(serving.kind(), ErrorKind::InvalidArgument);
    manager.unload_version("m", 2).unwrap();
    assert!(manager.labels("m").unwrap().is_empty());
    assert_eq!(states(&manager)[1], (2, VersionState::End, false));
}

#[test]
fn rollback_is_one_call_and_needs_no_file_for_a_kept_version() {
    let manager = serving(1.0, 2);
    assert_eq!(manager.rollback("m").unwrap_err().kind(), ErrorKind::NotReady);
    manager.reload_from("m", constant(2.0), &ReloadOptions::default()).unwrap();
    assert_eq!(manager.rollback("m").unwrap().version, 1);
    assert_eq!(ask(&manager, Target::Serving).unwrap(), (1.0, 1));
    assert_eq!(manager.rollback("m").unwrap().version, 2, "back and forth");

    // Not kept, and made in code: it cannot come back, and the serving one is untouched.
    let manager = serving(1.0, 1);
    manager.reload_from("m", constant(2.0), &ReloadOptions::default()).unwrap();
    let e = manager.rollback("m").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotReady);
    assert!(e.to_string().contains("keep_versions"), "{e}");
    assert_eq!(ask(&manager, Target::Serving).unwrap(), (2.0, 2));
}

#[test]
fn rollback_loads_the_file_again_and_refuses_another_one() {
    let folder = common::scratch("rollback");
    let file = folder.join("model.onnx");
    std::fs::copy(common::model_path("iris_v1"), &file).unwrap();
    let manager = ModelManager::default();
    manager.load("m", &file, &LoadOptions::default()).unwrap();
    let digest = manager.info("m").unwrap().digest;
    let v2 = common::model_path("iris_v2");
    manager.reload("m", Some(&v2), &ReloadOptions::default()).unwrap();
    assert_eq!(manager.rollback("m").unwrap().digest, digest);
    assert_eq!(manager.info("m").unwrap().version, 1);

    manager.reload("m", Some(&v2), &ReloadOptions::default()).unwrap();
    std::fs::copy(&v2, &file).unwrap();
    let e = manager.rollback("m").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotReady);
    assert_eq!(manager.info("m").unwrap().version, 3, "{e}");
}

#[test]
fn a_failed_load_keeps_its_error_and_changes_nothing() {
    let manager = serving(1.0, 1);
    let bad = ModelSource::Bytes(b"no model at all".to_vec().into());
    let e = manager.reload_from("m", bad, &ReloadOptions::default()).unwrap_err();
    assert_eq!(e.model(), Some("m"));
    let versions = manager.versions("m").unwrap();
    assert_eq!((versions[1].state, versions[1].error), (VersionState::End, Some(e.kind())));
    assert!(!versions[1].message.is_empty());
    assert_eq!(ask(&manager, Target::Serving).unwrap(), (1.0, 1));
    let e = ask(&manager, Target::Version(2)).unwrap_err();
    assert!(e.to_string().contains("version 2 is not available"), "{e}");
    // The number was not used up.
    let next = manager.reload_from("m", constant(2.0), &ReloadOptions::default()).unwrap();
    assert_eq!(next.version, 2);
}

#[test]
fn events_tell_the_life_of_a_version_in_order() {
    let manager = ModelManager::default();
    let events = manager.events();
    let (tx, told) = mpsc::channel();
    manager.on_event(move |event| tx.send(event.version).unwrap()).unwrap();
    manager.load_from("m", constant(1.0), &LoadOptions::default()).unwrap();
    manager.set_label("m", "stable", 1).unwrap();
    manager.unload("m").unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&"END".to_string()) {
        let event = events.next_within(HANG).expect("the next event");
        assert_eq!((&*event.model, event.version), ("m", 1));
        seen.push(match event.kind {
            EventKind::State { state, .. } => state.name().to_string(),
            EventKind::Serving { previous: None } => "serving".to_string(),
            EventKind::Label { label } => format!("label {label}"),
            other => panic!("{other:?}"),
        });
    }
    let want = ["START", "LOADING", "AVAILABLE", "serving", "label stable", "UNLOADING", "END"];
    assert_eq!(seen, want);
    assert_eq!((0..want.len()).map(|_| told.recv_timeout(HANG).unwrap()).sum::<u64>(), 7);
    drop(manager);
    assert!(events.next_within(HANG).is_none(), "ended with the manager");
}

#[test]
fn requests_under_way_finish_on_their_version_and_then_it_ends() {
    let (entered_tx, entered) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = FnModel::regressor(1, move |_| {
        entered_tx.send(()).unwrap();
        wait.lock().unwrap().recv().ok();
        Ok(1.0)
    });
    let manager = ModelManager::default();
    manager.load_from("m", ModelSource::Model(Arc::new(slow)), &LoadOptions::default()).unwrap();
    let asker = {
        let manager = manager.clone();
        std::thread::spawn(move || ask(&manager, Target::Serving).unwrap())
    };
    entered.recv_timeout(HANG).unwrap();
    manager.reload_from("m", constant(2.0), &ReloadOptions::default()).unwrap();
    assert_eq!(ask(&manager, Target::Serving).unwrap(), (2.0, 2));
    assert_eq!(states(&manager)[0].1, VersionState::Unloading);
    release.send(()).unwrap();
    assert_eq!(asker.join().unwrap(), (1.0, 1));
    assert_eq!(states(&manager)[0].1, VersionState::End);
}

#[test]
fn a_snapshot_keeps_one_set_of_versions_through_reloads_and_unloads() {
    let manager = serving(1.0, 1);
    manager.load_from("other", constant(5.0), &LoadOptions::default()).unwrap();
    let pin = manager.pin(&["m", "other"]).unwrap();
    manager.reload_from("m", constant(2.0), &ReloadOptions::default()).unwrap();
    manager.unload("other").unwrap();
    let value = |name: &str| pin.model(name).unwrap().predict_row(&[0.0]).unwrap().answer;
    assert_eq!((value("m"), value("other")), (Answer::Value(1.0), Answer::Value(5.0)));
    assert_eq!(ask(&manager, Target::Serving).unwrap(), (2.0, 2));
    assert_eq!(pin.models().len(), 2);
    assert_eq!(pin.model("third").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(manager.pin(&["m", "other"]).is_err());
}

/// Two models are always reloaded one after the other, first `a`, then `b`: a consistent set has
/// equal versions, or `a` one ahead.
#[test]
fn snapshots_under_reloads_are_consistent() {
    let manager = ModelManager::default();
    for name in ["a", "b"] {
        manager.load_from(name, constant(0.0), &LoadOptions::default()).unwrap();
    }
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = {
        let (manager, done) = (manager.clone(), done.clone());
        std::thread::spawn(move || {
            for _ in 0..200 {
                for name in ["a", "b"] {
                    let options = ReloadOptions::default();
                    manager.reload_from(name, constant(0.0), &options).unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        })
    };
    let mut taken = 0;
    while !done.load(std::sync::atomic::Ordering::SeqCst) || taken == 0 {
        let pin = manager.pin(&["a", "b"]).unwrap();
        let (a, b) = (pin.models()[0].version().unwrap(), pin.models()[1].version().unwrap());
        assert!(a == b || a == b + 1, "a {a}, b {b}");
        taken += 1;
    }
    writer.join().unwrap();
}

fn bytes_of(manager: &ModelManager) -> u64 {
    manager.memory().iter().map(|m| m.weights + m.packed).sum()
}

#[test]
fn a_budget_refuses_what_does_not_fit() {
    let path = common::model_path("random_forest");
    let held = {
        let manager = ModelManager::default();
        manager.load("m", &path, &LoadOptions::default()).unwrap();
        assert_eq!(bytes_of(&manager), manager.info("m").unwrap().weight_bytes);
        bytes_of(&manager)
    };
    // Before it is loaded a model counts as its file, which is larger than trees in memory.
    let file = std::fs::metadata(&path).unwrap().len();
    let memory_budget = Some(held.max(file) + held / 2);
    let options = ManagerOptions { memory_budget, ..ManagerOptions::default() };
    let manager = ModelManager::new(options);
    manager.load("a", &path, &LoadOptions::default()).unwrap();
    let e = manager.load("b", &path, &LoadOptions::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);
    assert!(e.to_string().contains("memory_budget"), "{e}");
    manager.unload("a").unwrap();
    manager.load("b", &path, &LoadOptions::default()).unwrap();
}

#[test]
fn idle_models_make_room_and_come_back_when_asked() {
    let path = common::model_path("random_forest");
    let rows = Expected::of("random_forest");
    let alone = common::load_model("random_forest").predict_row(rows.row(0)).unwrap().answer;
    let (size, file) = {
        let manager = ModelManager::default();
        manager.load("m", &path, &LoadOptions::default()).unwrap();
        (bytes_of(&manager), std::fs::metadata(&path).unwrap().len())
    };
    // Room for two, and not for the file of a third.
    let budget = 2 * size + size.max(file) - 1;
    let options = ManagerOptions {
        memory_budget: Some(budget),
        memory_policy: MemoryPolicy::Evict,
        ..ManagerOptions::default()
    };
    let manager = ModelManager::new(options);
    let events = manager.events();
    for name in ["a", "b", "c"] {
        manager.load(name, &path, &LoadOptions::default()).unwrap();
        manager.predict_row(name, rows.row(0)).unwrap();
    }
    let evicted = |events: &modelserve::Events| {
        let mut names = Vec::new();
        while let Some(event) = events.try_next() {
            if event.kind == EventKind::Evicted {
                names.push(event.model.to_string());
            }
        }
        names
    };
    assert_eq!(evicted(&events), ["a"], "the least recently used one");
    assert!(bytes_of(&manager) <= budget);
    // Asked again: it is loaded again with the same number, and another one makes room.
    let p = manager.predict_row("a", rows.row(0)).unwrap();
    assert_eq!((p.answer, p.model_version), (alone, 1));
    assert_eq!(evicted(&events), ["b"]);
    // Also on the asynchronous path.
    let (tx, rx) = mpsc::channel();
    let row = rows.row(0);
    let request = Request::Row(Features::F32 { data: row, rows: 1, width: row.len() });
    let done = modelserve::Done::new(move |reply, _| tx.send(reply.map(Reply::into_row)).unwrap());
    manager.submit("b", request.into_owned().unwrap(), Ctx::default(), done);
    assert!(rx.recv_timeout(HANG).unwrap().unwrap().is_ok());
}

#[test]
fn a_function_is_served_like_a_file() {
    let manager = serving(7.0, 1);
    let p = manager.predict_row("m", &[0.0]).unwrap();
    assert_eq!(p.answer, Answer::Value(7.0));
    assert_eq!((p.receipt.model.as_deref(), p.receipt.version), (Some("m"), 1));
    assert_eq!(manager.info("m").unwrap().format.name(), "native");
    assert_eq!(manager.model("m").unwrap().model().signature().inputs[0].name, "x");
}
