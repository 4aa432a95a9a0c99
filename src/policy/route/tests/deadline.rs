//! Requests that an arm loses to their deadline.

use super::*;
use crate::error::{Error, ErrorKind};
use crate::model::CancelToken;
use crate::policy::deadline::testing::{BOTH, Costing, Gate, Way, ask, begin, echo, kind, near};
use crate::policy::deadline::{Deadline, DeadlineOptions};

/// A route that sends all to a canary, or nothing.
fn route(stable: Arc<dyn Model>, canary: Arc<dyn Model>, percent: f64) -> Arc<Router> {
    let canaries = vec![Arm::of("v2", canary, percent)];
    let stable = Arm::of("v1", stable, 0.0);
    Arc::new(Router::new("churn", stable, canaries, RouterOptions::default()).unwrap())
}

fn counts(router: &Router, arm: &str) -> (u64, u64, u64) {
    let report = router.report();
    let arm = report.arm(arm).unwrap();
    (arm.requests, arm.errors, arm.refused)
}

#[test]
fn a_run_that_never_ends_counts_when_the_deadline_passes() {
    for (percent, arm) in [(100.0, "v2"), (0.0, "v1")] {
        let gate = Gate::default();
        let router = route(gate.model(), gate.model(), percent);
        let model: Arc<dyn Model> = router.clone();
        let (result, _) = begin(&model, near()).recv_timeout(PATIENCE).unwrap();
        assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded));
        assert_eq!(counts(&router, arm), (1, 1, 0));
        gate.open();
    }
    // Likewise when the canary fails at once, and stable never ends.
    let gate = Gate::default();
    let router = route(gate.model(), model(2, |_| Err(err!(Execution, "broken"))), 100.0);
    let model: Arc<dyn Model> = router.clone();
    let (result, _) = begin(&model, near()).recv_timeout(PATIENCE).unwrap();
    assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded));
    assert_eq!(counts(&router, "v2"), (1, 1, 0));
    gate.open();
}

/// A model that ends as `end` says once the deadline has passed.
fn late(end: fn(&Request<'_>) -> Result<Reply>) -> Arc<dyn Model> {
    let answers = FnModel::regressor(1, |row| Ok(row[0]));
    let signature = (*answers.signature()).clone();
    Arc::new(FnModel::new(signature, move |request, ctx| {
        while ctx.remaining() != Some(Duration::ZERO) {
            std::thread::yield_now();
        }
        end(request)
    }))
}

#[test]
fn what_ends_after_the_deadline_is_lost_by_the_arm() {
    let answered =
        late(|request| FnModel::regressor(1, |r| Ok(r[0])).call(request, &mut Ctx::default()));
    let cancelled =
        late(|_| Err(Error::new(ErrorKind::Cancelled, "by the deadline, as it turned out")));
    for model in [answered, cancelled] {
        for (percent, arm) in [(100.0, "v2"), (0.0, "v1")] {
            for way in BOTH {
                let router = route(model.clone(), model.clone(), percent);
                let _ = ask(way, &(router.clone() as Arc<dyn Model>), near());
                assert_eq!(counts(&router, arm), (1, 1, 0), "{way:?}");
            }
        }
    }
    // Whoever cancels a request in time takes it from nobody.
    let cancel = CancelToken::default();
    cancel.cancel();
    let refuses = model(2, |_| Err(Error::new(ErrorKind::Cancelled, "by the caller")));
    for way in BOTH {
        let router = route(echo(1), refuses.clone(), 100.0);
        let ctx = Ctx { cancel: Some(cancel.clone()), ..Ctx::within(PATIENCE) };
        assert_eq!(
            kind(&ask(way, &(router.clone() as Arc<dyn Model>), ctx).0),
            Some(ErrorKind::Cancelled)
        );
        assert_eq!(counts(&router, "v2"), (1, 0, 1), "{way:?}");
    }
}

#[test]
fn a_stuck_canary_behind_a_quick_stable_holds_nobody_beyond_the_deadline() {
    let gate = Gate::default();
    let quick: Arc<dyn Model> = Arc::new(Costing { inner: echo(1), ns: 100 });
    let router = route(quick.clone(), gate.model(), 100.0);
    let model: Arc<dyn Model> = Arc::new(Deadline::new(router.clone(), DeadlineOptions::default()));
    let (result, _) = ask(Way::Call, &model, near());
    assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded));
    gate.open();

    // Unknown where one of them is, else the longest; those without a share do not matter, but
    // stable stands in for a canary.
    assert_eq!(router.estimated_ns(2), 0);
    router.set_weight("v2", 0.0).unwrap();
    assert_eq!(router.estimated_ns(2), 200);
    let slow: Arc<dyn Model> = Arc::new(Costing { inner: echo(2), ns: 700 });
    assert_eq!(route(quick.clone(), slow.clone(), 1.0).estimated_ns(2), 1400);
    assert_eq!(route(slow, quick.clone(), 100.0).estimated_ns(2), 1400);
    assert_eq!(route(echo(1), quick, 100.0).estimated_ns(2), 0);
}
