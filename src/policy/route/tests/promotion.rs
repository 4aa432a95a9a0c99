//! Promises of a promotion within a route.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps that need few requests; latency does not matter.
pub(super) fn quick() -> PromotionOptions {
    PromotionOptions {
        steps: vec![10.0, 50.0],
        min_requests: 40,
        min_stable_requests: 20,
        min_duration: Duration::ZERO,
        evaluate_every: 10,
        max_latency_ratio: None,
        max_disagreement: None,
        ..PromotionOptions::default()
    }
}

pub(super) fn route(
    canary: Arc<dyn Model>,
    options: PromotionOptions,
) -> (Arc<Router>, mpsc::Receiver<Decision>) {
    let stable = Arm::of("v1", model(1, |x| Ok(x + 1.0)), 0.0);
    let compare = ShadowOptions { fraction: 1.0, ..ShadowOptions::default() };
    let compare = options.max_disagreement.map(|_| compare);
    let how = RouterOptions { compare, ..RouterOptions::default() };
    let router = Router::new("churn", stable, vec![Arm::of("v2", canary, 0.0)], how).unwrap();
    let (tx, rx) = mpsc::channel();
    let hook: OnDecision = Arc::new(move |d: &Decision| tx.send(d.clone()).unwrap());
    (Arc::new(router.with_promotion("v2", options, hook).unwrap()), rx)
}

pub(super) fn state(router: &Router) -> PromotionState {
    router.promotion().unwrap().state
}

pub(super) fn weight(router: &Router) -> f64 {
    router.weights()[1].1
}

#[test]
fn a_good_canary_goes_up_to_everything_and_the_host_hears_of_it() {
    let (router, decisions) = route(model(2, |x| Ok(x + 1.0)), quick());
    assert_eq!(weight(&router), 10.0);
    let mut weights = vec![10.0];
    for _ in 0..1000 {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
        if weights.last() != Some(&weight(&router)) {
            weights.push(weight(&router));
        }
    }
    // 100 is added to the steps given.
    assert_eq!(weights, [10.0, 50.0, 100.0]);
    assert_eq!(state(&router), PromotionState::Promoted);
    let mut heard: Vec<Decision> =
        (0..2).map(|_| decisions.recv_timeout(PATIENCE).unwrap()).collect();
    heard.sort_by_key(|d| d.number);
    let verdicts: Vec<_> = heard.iter().map(|d| (d.verdict, d.next_percent)).collect();
    assert_eq!(verdicts, [(Verdict::Advance, 50.0), (Verdict::Promote, 100.0)]);

    // Every decision is recorded with its figures.
    let report = router.promotion().unwrap();
    assert_eq!((report.arm.as_str(), report.step), ("v2", 3));
    let numbers: Vec<u64> = report.decisions.iter().map(|d| d.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let advance = report.decisions.iter().find(|d| d.verdict == Verdict::Advance).unwrap();
    assert_eq!((advance.canary.requests, advance.canary.errors, advance.look), (40, 0, 4));
    assert!(advance.stable.requests >= 300 && advance.gates[0].p_value == 1.0);
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["state"], "promoted");
    assert!(report.to_string().contains("every gate passed"), "{report}");
}

#[test]
fn rollback_is_immediate_and_no_request_fails() {
    let (router, decisions) = route(model(2, |_| Err(err!(Execution, "broken"))), quick());
    for _ in 0..500 {
        assert_eq!(value(call(&*router, 1.0, Ctx::default()).0), 2.0);
        assert_eq!(value(submit(router.clone(), 1.0, Ctx::default()).0), 2.0);
    }
    // The tenth is where the first look is taken, and the last one that the canary gets.
    assert_eq!(router.report().arm("v2").unwrap().requests, 10);
    assert_eq!((state(&router), weight(&router)), (PromotionState::RolledBack, 0.0));
    let decision = decisions.recv_timeout(PATIENCE).unwrap();
    assert_eq!((decision.verdict, decision.look), (Verdict::RollBack, 1));
    assert_eq!((decision.canary.errors, decision.canary.error_rate), (10, 1.0));
    assert!(decision.reason.contains("100.00 %"), "{}", decision.reason);
    router.tick();
    assert_eq!(weight(&router), 0.0);
}

#[test]
fn a_canary_that_gets_worse_later_is_rolled_back_from_there() {
    let broken = Arc::new(AtomicBool::new(false));
    let switch = broken.clone();
    let canary = model(2, move |x| match switch.load(Ordering::SeqCst) {
        true => Err(err!(Execution, "broken")),
        false => Ok(x + 1.0),
    });
    let (router, _decisions) = route(canary, quick());
    while weight(&router) < 50.0 {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
    }
    broken.store(true, Ordering::SeqCst);
    for _ in 0..500 {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
    }
    assert_eq!((state(&router), weight(&router)), (PromotionState::RolledBack, 0.0));
}

#[test]
fn a_canary_that_answers_otherwise_is_rolled_back() {
    let mut options = quick();
    (options.max_disagreement, options.min_compared) = (Some(0.02), 20);
    let (router, _decisions) = route(model(2, |x| Ok(x + 50.0)), options);
    for _ in 0..1000 {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
        let comparison = router.comparison("v2").unwrap();
        let goal = comparison.sampled - comparison.dropped;
        wait_until("it is compared", || router.comparison("v2").unwrap().compared == goal);
    }
    let report = router.promotion().unwrap();
    assert_eq!(report.state, PromotionState::RolledBack);
    let last = report.decisions.last().unwrap();
    assert!(last.reason.starts_with("disagreement with stable 100.00 %"), "{}", last.reason);
}

#[test]
fn a_weight_set_by_hand_ends_the_promotion() {
    let (router, decisions) = route(model(2, |x| Ok(x + 1.0)), quick());
    assert!(router.set_weight("v2", 101.0).is_err());
    assert_eq!(state(&router), PromotionState::Running);
    router.set_weight("v2", 3.0).unwrap();
    for _ in 0..2000 {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
    }
    router.tick();
    assert_eq!((state(&router), weight(&router)), (PromotionState::Stopped, 3.0));
    assert!(router.promotion().unwrap().decisions.is_empty());
    drop(router);
    assert!(decisions.recv().is_err());
}

#[test]
fn a_tick_decides_where_requests_are_few_and_spends_nothing() {
    let mut options = quick();
    options.min_duration = Duration::from_secs(3600);
    let (router, _decisions) = route(model(2, |x| Ok(x + 1.0)), options);
    for _ in 0..400 {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
    }
    for _ in 0..1000 {
        router.tick();
    }
    let report = router.promotion().unwrap();
    assert_eq!((report.state, weight(&router)), (PromotionState::Running, 10.0));
    let last = report.decisions.last().unwrap();
    assert_eq!((last.look, last.alpha), (4, 0.0));
    assert!(last.reason.contains("3600s"), "{}", last.reason);
    // The log is bounded.
    assert_eq!((report.decisions.len(), last.number), (256, 1004));
}

#[test]
fn a_promotion_leaves_other_canaries_their_share_until_the_end() {
    let arm = |name, version| Arm::of(name, model(version, Ok), 30.0);
    let stable = Arm::of("v1", model(1, Ok), 0.0);
    let canaries = vec![arm("v2", 2), arm("other", 3)];
    let router = Router::new("r", stable, canaries, RouterOptions::default()).unwrap();
    let mut options = quick();
    options.steps = vec![10.0, 65.0, 100.0];
    let router = router.with_promotion("v2", options, Arc::new(|_| {})).unwrap();
    let weights = || router.weights().iter().map(|(_, w)| *w).collect::<Vec<_>>();
    let mut seen = vec![weights()];
    for _ in 0..3000 {
        call(&router, 1.0, Ctx::default()).0.unwrap();
        if seen.last() != Some(&weights()) {
            seen.push(weights());
        }
    }
    assert_eq!(seen, [[60.0, 10.0, 30.0], [5.0, 65.0, 30.0], [0.0, 100.0, 0.0]]);
}

#[test]
fn options_out_of_range_are_refused() {
    let refused = |change: fn(&mut PromotionOptions)| {
        let stable = Arm::of("v1", model(1, Ok), 0.0);
        let canaries = vec![Arm::of("v2", model(2, Ok), 0.0)];
        let router = Router::new("r", stable, canaries, RouterOptions::default()).unwrap();
        let mut options = PromotionOptions::default();
        change(&mut options);
        router.with_promotion("v2", options, Arc::new(|_| {})).is_err()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|o| o.steps = vec![5.0, 5.0]));
    assert!(refused(|o| o.steps = vec![0.0, 5.0]));
    assert!(refused(|o| o.steps = vec![f64::NAN]));
    assert!(refused(|o| o.alpha = 0.0));
    assert!(refused(|o| o.doubt = f64::NAN));
    assert!(refused(|o| o.max_error_increase = -0.1));
    assert!(refused(|o| o.max_disagreement = Some(1.0)));
    assert!(refused(|o| o.max_latency_ratio = Some(0.5)));
    let stable = Arm::of("v1", model(1, Ok), 0.0);
    let router = Router::new("r", stable, vec![], RouterOptions::default()).unwrap();
    let missing = router.with_promotion("v2", PromotionOptions::default(), Arc::new(|_| {}));
    assert_eq!(missing.unwrap_err().kind(), crate::ErrorKind::NotFound);
}
