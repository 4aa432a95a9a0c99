//! Models that were unloaded to make room.

use super::super::policies::{FallbackRule, FallbackTo};
use super::*;
use crate::policy::fallback::Constant;
use crate::policy::route::RouterOptions;

fn constant() -> Policies {
    let to = FallbackTo::Constant(Constant::new(Answer::Int(0)));
    Policies { fallback: vec![FallbackRule { to, on: None }], ..Policies::default() }
}

#[test]
fn policies_that_look_at_the_signature_are_set_while_the_model_is_unloaded() {
    within(|| {
        let manager = evicting(&["a"]);
        slot(&manager, "a").park().unwrap();
        manager.set_policies("a", constant()).unwrap();
        slot(&manager, "a").park().unwrap();
        let to = Another::Version(1);
        let options = RouterOptions::default();
        let canary = Some(CanaryRule { to, percent: 50.0, options, promotion: None });
        manager.set_policies("a", Policies { canary, ..Policies::default() }).unwrap();
        assert_eq!(manager.info("a").unwrap().version, 1);
    });
}

#[test]
fn submitted_requests_wait_in_a_bounded_list_for_one_load() {
    within(|| {
        let manager = evicting(&["a"]);
        manager.load_from("other", adding(1.0), &LoadOptions::default()).unwrap();
        let slot = slot(&manager, "a");
        slot.park().unwrap();
        // Nobody can load it while this is held.
        let loading = slot.change();
        let mut waiting = Vec::new();
        for _ in 0..1024 {
            let (done, rx) = told();
            manager.submit("a", flower(), Ctx::default(), done);
            waiting.push(rx);
        }
        let (done, refused) = told();
        manager.submit("a", flower(), Ctx::default(), done);
        let (e, _) = refused.recv_timeout(HANG).unwrap();
        assert_eq!(e.unwrap_err().kind(), ErrorKind::Overloaded);
        has(&manager, r#"modelserve_refused_total{model="a",reason="overloaded"} 1"#);
        // More than the executor has threads wait, and others are answered.
        let (done, answered) = told();
        manager.submit("other", row(&[1.0]), Ctx::default(), done);
        assert_eq!(value(answered.recv_timeout(HANG).unwrap().0.unwrap()), 2.0);
        drop(loading);
        for rx in waiting {
            let (reply, ctx) = rx.recv_timeout(HANG).unwrap();
            reply.unwrap();
            assert_eq!(ctx.receipt.version, 1);
        }
    });
}

#[test]
fn a_deadline_ends_the_wait_for_a_load() {
    within(|| {
        let manager = evicting(&["a"]);
        let slot = slot(&manager, "a");
        slot.park().unwrap();
        let loading = slot.change();
        let soon = || Ctx::within(Duration::from_millis(20));
        let e = manager.call("a", &flower(), &mut soon()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::DeadlineExceeded);
        let (done, rx) = told();
        manager.submit("a", flower(), soon(), done);
        let (e, _) = rx.recv_timeout(HANG).unwrap();
        assert_eq!(e.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        // Nor does asking what it costs load it.
        assert_eq!(manager.model("a").unwrap().estimated_ns(1), 0);
        drop(loading);
        // The constant of a fallback answers where the deadline leaves no other.
        manager.set_policies("a", constant()).unwrap();
        slot.park().unwrap();
        let loading = slot.change();
        let mut ctx = soon();
        manager.call("a", &flower(), &mut ctx).unwrap();
        assert_eq!(ctx.receipt.route, crate::Route::Fallback);
        assert_eq!(manager.model("a").unwrap().estimated_ns(1), 0);
        drop(loading);
    });
}

#[test]
fn what_comes_back_keeps_the_version_to_roll_back_to() {
    let manager = evicting(&["a"]);
    manager.reload("a", Some(&iris(2)), &ReloadOptions::default()).unwrap();
    slot(&manager, "a").park().unwrap();
    manager.call("a", &flower(), &mut Ctx::default()).unwrap();
    assert_eq!(manager.info("a").unwrap().version, 2);
    assert_eq!(manager.rollback("a").unwrap().version, 1);
    // Nor does rolling back from a version that is unloaded lose it.
    slot(&manager, "a").park().unwrap();
    assert_eq!(manager.rollback("a").unwrap().version, 2);
}

#[test]
fn the_end_of_an_unloaded_version_is_told_last() {
    let manager = evicting(&["a"]);
    let events = manager.events();
    slot(&manager, "a").park().unwrap();
    let seen: Vec<String> = std::iter::from_fn(|| events.try_next())
        .map(|event| match event.kind {
            EventKind::State { state, .. } => state.name().to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, ["Evicted", "UNLOADING", "END"]);
    assert_eq!(manager.versions("a").unwrap()[0].state, VersionState::End);
}

#[test]
fn a_snapshot_of_models_that_do_not_fit_together_is_refused() {
    within(|| {
        let manager = evicting(&["a", "b"]);
        let bytes = manager.info("a").unwrap().weight_bytes;
        let file = std::fs::metadata(iris(1)).unwrap().len();
        drop(manager);
        let manager = ModelManager::new(ManagerOptions {
            memory_budget: Some(bytes.max(file)),
            memory_policy: MemoryPolicy::Evict,
            ..ManagerOptions::default()
        });
        for name in ["a", "b"] {
            manager.load(name, iris(1), &LoadOptions::default()).unwrap();
        }
        let e = manager.pin(&["a", "b"]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::LimitExceeded, "{e}");
        manager.pin(&["a"]).unwrap();
    });
}

#[test]
fn room_for_one_load_is_not_given_to_two() {
    let memory = Arc::new(memory::Memory::new(Some(100), MemoryPolicy::Refuse));
    let first = memory.make_room(60, "a").unwrap();
    let e = memory.make_room(60, "b").err().unwrap();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);
    drop(first);
    memory.make_room(60, "b").unwrap();
}

#[test]
fn the_error_of_a_load_for_a_request_names_no_file() {
    let folder = scratch("gone");
    let file = folder.join("model.onnx");
    std::fs::copy(iris(1), &file).unwrap();
    let manager = evicting(&[]);
    manager.load("a", &file, &LoadOptions::default()).unwrap();
    slot(&manager, "a").park().unwrap();
    std::fs::remove_file(&file).unwrap();
    let e = manager.call("a", &flower(), &mut Ctx::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(!e.to_string().contains(folder.to_str().unwrap()), "{e}");
    let (done, rx) = told();
    manager.submit("a", flower(), Ctx::default(), done);
    let e = rx.recv_timeout(HANG).unwrap().0.unwrap_err();
    assert_eq!((e.kind(), e.model()), (ErrorKind::NotFound, Some("a")));
    assert!(!e.to_string().contains(folder.to_str().unwrap()), "{e}");
    std::fs::remove_dir_all(folder).unwrap();
}
