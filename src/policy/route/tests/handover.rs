//! How a promotion ends: carried out by the host, given up, or taken on by a forked child.

use super::promotion::{quick, route, state, weight};
use super::*;

/// A route whose canary was promoted a moment ago.
fn promoted() -> Arc<Router> {
    let (router, decisions) = route(model(2, |x| Ok(x + 1.0)), quick());
    while state(&router) == PromotionState::Running {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
    }
    assert_eq!((state(&router), weight(&router)), (PromotionState::Promoted, 100.0));
    // The host hears of it, and does nothing.
    for _ in 0..2 {
        decisions.recv_timeout(PATIENCE).unwrap();
    }
    router
}

/// The same route in a forked child.
fn in_a_child(parents: &Router) -> Router {
    let stable = Arm::of("v1", model(1, |x| Ok(x + 1.0)), 0.0);
    let canaries = vec![Arm::of("v2", model(2, |x| Ok(x + 1.0)), 0.0)];
    let router = Router::new("churn", stable, canaries, RouterOptions::default()).unwrap();
    router.with_promotion("v2", quick(), Arc::new(|_| {})).unwrap().resumed(parents)
}

#[test]
fn a_canary_that_serves_gives_its_share_back_and_its_report_stays() {
    let router = promoted();
    assert!(router.hand_over());
    assert!(router.is_handed_over() && !router.hand_over());
    assert_eq!((state(&router), weight(&router)), (PromotionState::Promoted, 0.0));
    // A weight given later stays, and there is nothing to give up any more.
    router.set_weight("v2", 20.0).unwrap();
    assert!(!router.give_up());
    assert_eq!((state(&router), weight(&router)), (PromotionState::Promoted, 20.0));
}

#[test]
fn a_weight_set_by_hand_goes_before_a_promotion_that_is_not_carried_out_yet() {
    let router = promoted();
    router.set_weight("v2", 30.0).unwrap();
    assert!(!router.hand_over() && !router.is_handed_over());
    assert!(router.give_up());
    assert_eq!((state(&router), weight(&router)), (PromotionState::Stopped, 30.0));
}

#[test]
fn a_promotion_that_is_given_up_gives_its_canary_nothing() {
    let (router, decisions) = route(model(2, |x| Ok(x + 1.0)), quick());
    assert!(!router.hand_over());
    assert_eq!((state(&router), weight(&router)), (PromotionState::Running, 10.0));
    assert!(router.give_up() && !router.give_up());
    for _ in 0..1000 {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
    }
    router.tick();
    assert_eq!((state(&router), weight(&router)), (PromotionState::Stopped, 0.0));
    drop(router);
    assert!(decisions.recv().is_err());
    let router = promoted();
    assert!(router.give_up() && !router.hand_over());
    assert_eq!((state(&router), weight(&router)), (PromotionState::Stopped, 0.0));
}

#[test]
fn a_forked_child_goes_on_where_its_parent_stood() {
    let (router, _decisions) = route(model(2, |x| Ok(x + 1.0)), quick());
    while weight(&router) < 50.0 {
        call(&*router, 1.0, Ctx::default()).0.unwrap();
    }
    let child = in_a_child(&router);
    assert_eq!((state(&child), weight(&child)), (PromotionState::Running, 50.0));
    let report = child.promotion().unwrap();
    assert_eq!((report.step, report.decisions), (2, router.promotion().unwrap().decisions));
    // The step needs all its requests again.
    let mut asked = 0;
    while state(&child) == PromotionState::Running {
        call(&child, 1.0, Ctx::default()).0.unwrap();
        asked += 1;
    }
    assert!(asked >= 70, "{asked}");
    assert_eq!(state(&child), PromotionState::Promoted);

    // What was decided and not carried out is still to be; what was is over.
    let router = promoted();
    assert!(in_a_child(&router).is_to_serve());
    assert!(router.hand_over());
    let child = in_a_child(&router);
    assert!(child.is_handed_over() && !child.is_to_serve());
    assert_eq!((state(&child), weight(&child)), (PromotionState::Promoted, 0.0));
    let router = promoted();
    router.set_weight("v2", 30.0).unwrap();
    let child = in_a_child(&router);
    assert!(!child.is_to_serve());
    assert_eq!(weight(&child), 30.0);
}
