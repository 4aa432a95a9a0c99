//! Versions that come back under their number, and those who hold on to one.

use super::*;
use crate::Target;
use crate::metrics::MetricsOptions;
use crate::model::Route;
use crate::policy::cache::CacheOptions;
use crate::policy::deadline::DeadlineOptions;

#[test]
fn the_end_of_an_old_copy_does_not_end_the_one_that_serves() {
    let manager = ModelManager::default();
    manager.load("m", iris(1), &LoadOptions::default()).unwrap();
    let pin = manager.model("m").unwrap().pin().unwrap();
    manager.reload("m", Some(&iris(2)), &ReloadOptions::default()).unwrap();
    manager.rollback("m").unwrap();
    let events = manager.events();
    drop(pin);
    assert_eq!(events.try_next(), None);
    has(&manager, r#"modelserve_model_state{model="m",version="1",state="available"} 1.0"#);
    let bytes = manager.info("m").unwrap().weight_bytes;
    has(&manager, &format!(r#"modelserve_model_bytes{{model="m",version="1"}} {bytes}.0"#));
}

#[test]
fn a_version_that_came_back_keeps_its_series() {
    let metrics = MetricsOptions { keep_versions: 1, ..MetricsOptions::default() };
    let manager = ModelManager::new(ManagerOptions { metrics, ..ManagerOptions::default() });
    manager.load("m", iris(1), &LoadOptions::default()).unwrap();
    manager.call("m", &flower(), &mut Ctx::default()).unwrap();
    manager.reload("m", Some(&iris(2)), &ReloadOptions::default()).unwrap();
    manager.rollback("m").unwrap();
    // Versions 2 and 3 go: with 1, they would be more than are kept.
    for _ in 0..2 {
        manager.load_version("m", iris(2).as_path(), &ReloadOptions::default()).unwrap();
        let newest = slot(&manager, "m").available().into_iter().max().unwrap();
        manager.unload_version("m", newest).unwrap();
    }
    assert_eq!(manager.info("m").unwrap().version, 1);
    has(&manager, r#"modelserve_requests_total{model="m",version="1",outcome="ok"} 1"#);
    manager.call("m", &flower(), &mut Ctx::default()).unwrap();
    has(&manager, r#"modelserve_requests_total{model="m",version="1",outcome="ok"} 2"#);
    let stats = manager.stats("m").unwrap();
    assert_eq!(stats.versions.iter().filter(|v| v.version == 1).count(), 1);
}

#[test]
fn letting_the_serving_version_serve_tells_nothing() {
    let manager = ModelManager::default();
    manager.load_from("m", adding(1.0), &LoadOptions::default()).unwrap();
    let events = manager.events();
    manager.serve("m", 1).unwrap();
    assert_eq!(events.try_next(), None);
}

#[test]
fn pinned_handles_and_targets_keep_deadlines() {
    within(|| {
        let manager = ModelManager::default();
        let (model, held) = held();
        manager.load_from("m", source(model), &LoadOptions::default()).unwrap();
        let pin = manager.model("m").unwrap().pin().unwrap();
        let snapshot = manager.pin(&["m"]).unwrap();
        let lease = manager.model("m").unwrap().current().unwrap();
        let missed = |result: Result<Reply>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        };
        let soon = || Ctx::within(Duration::from_millis(20));
        missed(pin.call(&row(&[HOLD]), &mut soon()));
        missed(snapshot.models()[0].call(&row(&[HOLD]), &mut soon()));
        missed(lease.call(&row(&[HOLD]), &mut soon()));
        let (done, rx) = told();
        pin.submit(row(&[HOLD]), soon(), done);
        missed(rx.recv_timeout(HANG).unwrap().0);
        // The name's default holds for them, too, and for requests with a target.
        let default = Some(Duration::from_millis(20));
        let deadline = Some(DeadlineOptions { default, ..DeadlineOptions::default() });
        manager.set_policies("m", Policies { deadline, ..Policies::default() }).unwrap();
        missed(pin.call(&row(&[HOLD]), &mut Ctx::default()));
        assert_eq!(pin.predict_row(&[HOLD]).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        let target = Target::Version(1);
        missed(manager.call("m", &row(&[HOLD]), &mut Ctx { target, ..Ctx::default() }));
        drop(held);
    });
}

#[test]
fn behind_a_cache_or_breaker_alone_submitted_requests_take_turns() {
    const REQUESTS: usize = 2000;
    let cache = Policies { cache: Some(CacheOptions::default()), ..Policies::default() };
    let breaker = Policies { breaker: Some(Default::default()), ..Policies::default() };
    for policies in [cache, breaker] {
        let manager = ModelManager::default();
        let (go, word) = mpsc::channel::<()>();
        let word = Mutex::new(word);
        let stuck = FnModel::regressor(1, move |row| {
            word.lock().unwrap().recv().ok();
            Ok(row[0])
        });
        let load = LoadOptions::default();
        manager.load_from("m", source(stuck.with_digest("stuck")), &load).unwrap();
        manager.load_from("other", adding(1.0), &load).unwrap();
        manager.set_policies("m", policies).unwrap();
        let answers: Vec<_> = (0..REQUESTS)
            .map(|i| {
                let (done, rx) = told();
                manager.submit("m", row(&[i as f32]), Ctx::default(), done);
                rx
            })
            .collect();
        // What does not fit in the queue is refused; the executor is left to others.
        let parts = slot(&manager, "m").current().unwrap().parts.clone();
        assert_eq!(parts.load.queued(), 1024);
        let (done, answered) = told();
        manager.submit("other", row(&[1.0]), Ctx::default(), done);
        assert_eq!(value(answered.recv_timeout(HANG).unwrap().0.unwrap()), 2.0);
        drop(go);
        let refused = answers
            .into_iter()
            .map(|rx| rx.recv_timeout(HANG).unwrap().0)
            .filter(|r| r.as_ref().is_err_and(|e| e.kind() == ErrorKind::Overloaded));
        let refused = refused.count();
        assert!((1..REQUESTS - 1024).contains(&refused), "{refused}");
    }
}

#[test]
fn a_context_that_is_used_again_has_the_new_receipt_only() {
    let manager = ModelManager::default();
    let broken = FnModel::regressor(1, |row| match row[0] {
        0.0 => Err(crate::error::err!(Execution, "out of order")),
        x => Ok(x),
    });
    manager.load_from("m", source(broken), &LoadOptions::default()).unwrap();
    manager.load_version("m", adding(5.0), &ReloadOptions::default()).unwrap();
    let to = FallbackTo::Another(Another::Version(2));
    let fallback = vec![FallbackRule { to, on: None }];
    manager.set_policies("m", Policies { fallback, ..Policies::default() }).unwrap();
    let mut ctx = Ctx::default();
    manager.call("m", &row(&[0.0]), &mut ctx).unwrap();
    assert_eq!(ctx.receipt.route, Route::Fallback);
    let used = ctx.clone();
    manager.call("m", &row(&[1.0]), &mut ctx).unwrap();
    assert_eq!((ctx.receipt.route, ctx.receipt.fallback), (Route::Stable, None));
    let pin = manager.model("m").unwrap().pin().unwrap();
    for submit in [false, true] {
        let mut ctx = used.clone();
        if submit {
            let (done, rx) = told();
            pin.submit(row(&[1.0]), ctx, done);
            ctx = rx.recv_timeout(HANG).unwrap().1;
        } else {
            pin.call(&row(&[1.0]), &mut ctx).unwrap();
        }
        assert_eq!((ctx.receipt.route, ctx.receipt.fallback), (Route::Stable, None));
    }
    let (done, rx) = told();
    manager.submit("m", row(&[1.0]), used, done);
    assert_eq!(rx.recv_timeout(HANG).unwrap().1.receipt.fallback, None);
}
