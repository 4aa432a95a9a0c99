//! Promises of the route.

use super::*;
use crate::error::ErrorKind;
use crate::model::{CancelToken, Route};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn router(canaries: Vec<Arm>, options: RouterOptions) -> Arc<Router> {
    let stable = Arm::of("v1", model(1, |x| Ok(x + 1.0)), 0.0);
    Arc::new(Router::new("churn", stable, canaries, options).unwrap())
}

#[test]
fn unkeyed_requests_are_divided_exactly_and_keys_stay() {
    let canary = || model(2, |x| Ok(x + 2.0));
    let router = router(
        vec![Arm::of("v2", canary(), 5.0), Arm::of("v3", model(3, |x| Ok(x + 3.0)), 10.0)],
        RouterOptions::default(),
    );
    for i in 0..300 {
        let (result, ctx) = call(&*router, i as f32, Ctx::default());
        let version = ctx.receipt.version;
        assert_eq!(value(result), f64::from(i) + version as f64);
        assert_eq!(ctx.receipt.route == Route::Canary, version > 1);
    }
    let requests: Vec<u64> = router.report().arms.iter().map(|arm| arm.requests).collect();
    assert_eq!(requests, [255, 15, 30]);

    let arm = |key: &str| {
        let (_, ctx) = call(&*router, 0.0, keyed(key));
        assert_eq!(*router.arm_of(key), format!("v{}", ctx.receipt.version));
        ctx.receipt.version
    };
    let keys: Vec<String> = (0..2000).map(|i| format!("user-{i}")).collect();
    let before: Vec<u64> = keys.iter().map(|k| arm(k)).collect();
    router.set_weight("v2", 50.0).unwrap();
    for (key, before) in keys.iter().zip(before) {
        let now = arm(key);
        assert!(now == before || (before == 1 && now == 2), "{key}: {before} to {now}");
    }
}

#[test]
fn weights_move_atomically() {
    let canaries = vec![Arm::of("a", model(2, Ok), 40.0), Arm::of("b", model(3, Ok), 10.0)];
    let router = router(canaries, RouterOptions::default());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while !stop.load(Ordering::Relaxed) || seen == 0 {
                        let weights = router.weights();
                        let sum: f64 = weights[1..].iter().map(|(_, w)| w).sum();
                        assert_eq!((weights[0].1, sum), (50.0, 50.0));
                        seen += 1;
                    }
                })
            })
            .collect();
        for i in 0..500 {
            let (a, b) = if i % 2 == 0 { (10.0, 40.0) } else { (40.0, 10.0) };
            router.set_weights(&[("a", a), ("b", b)]).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    // What is refused changes nothing.
    let before = router.weights();
    assert!(router.set_weights(&[("a", 0.0), ("b", 101.0)]).is_err());
    assert!(router.set_weights(&[("a", 60.0), ("b", 60.0)]).is_err());
    assert_eq!(router.set_weight("v1", 1.0).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(router.weights(), before);
}

#[test]
fn a_failing_canary_fails_no_good_request() {
    let fails = || model(2, |_| Err(err!(Execution, "a bad weight")));
    let panics = || -> Arc<dyn Model> { Arc::new(Panics(model(2, Ok))) };
    let missing: Resolve = Arc::new(|| Err(err!(InvalidArgument, "no such version")));
    for resolve in [always(fails()), always(panics()), missing] {
        let router = router(vec![Arm::new("v2", resolve, 50.0)], RouterOptions::default());
        let mut fallbacks = 0;
        for i in 0..100 {
            let (result, ctx) = match i < 50 {
                true => call(&*router, 1.0, Ctx::default()),
                false => submit(router.clone(), 1.0, Ctx::default()),
            };
            assert_eq!(value(result), 2.0);
            assert_eq!((ctx.receipt.route, ctx.receipt.version), (Route::Stable, 1));
            if let Some(reason) = ctx.receipt.fallback {
                assert_eq!(&*reason.by, "v1");
                assert_ne!(reason.kind, ErrorKind::InvalidArgument);
                fallbacks += 1;
            }
        }
        assert_eq!(fallbacks, 50);
        let report = router.report();
        let canary = report.arm("v2").unwrap();
        assert_eq!((canary.requests, canary.errors, canary.fell_back), (50, 50, 50));
        assert_eq!((canary.rows, canary.error_rate), (0, 1.0));
        assert_eq!(report.arm("v1").unwrap().requests, 50);
    }
}

#[test]
fn on_request_a_canarys_errors_reach_the_caller() {
    let fails = model(2, |_| Err(err!(Execution, "a bad weight")));
    let options = RouterOptions { canary_errors: CanaryErrors::Report, ..RouterOptions::default() };
    let router = router(vec![Arm::of("v2", fails, 100.0)], options);
    let (result, ctx) = call(&*router, 1.0, Ctx::default());
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Execution);
    assert!(ctx.receipt.fallback.is_none());
    let (result, _) = submit(router.clone(), 1.0, Ctx::default());
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Execution);
    let report = router.report();
    let canary = report.arm("v2").unwrap();
    assert_eq!((canary.requests, canary.errors, canary.fell_back), (2, 2, 0));
}

#[test]
fn a_bad_request_counts_against_nobody_and_a_choosy_canary_against_itself() {
    let choosy = model(2, |x| match x {
        x if x < 10.0 => Ok(x),
        _ => Err(err!(InvalidInput, "too large for me")),
    });
    let router = router(vec![Arm::of("v2", choosy, 100.0)], RouterOptions::default());
    let wide = Request::Row(Features::F32 { data: &[1.0, 2.0], rows: 1, width: 2 });
    let e = router.call(&wide, &mut Ctx::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert_eq!(value(call(&*router, 20.0, Ctx::default()).0), 21.0);
    assert_eq!(value(submit(router.clone(), 20.0, Ctx::default()).0), 21.0);
    let report = router.report();
    let canary = report.arm("v2").unwrap();
    assert_eq!((canary.requests, canary.refused, canary.errors), (3, 1, 2));
    assert_eq!(report.arm("v1").unwrap().requests, 0);
}

#[test]
fn nobody_answers_a_request_that_was_cancelled() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let stable = model(1, move |x| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(x)
    });
    let cancel = CancelToken::default();
    let token = cancel.clone();
    let canary = model(2, move |_| {
        token.cancel();
        Err(err!(Execution, "too late"))
    });
    let stable = Arm::of("v1", stable, 0.0);
    let canaries = vec![Arm::of("v2", canary, 100.0)];
    let router = Router::new("r", stable, canaries, RouterOptions::default()).unwrap();
    let ctx = Ctx { cancel: Some(cancel), ..Ctx::default() };
    let (result, _) = call(&router, 1.0, ctx);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Execution);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(router.report().arm("v2").unwrap().errors, 1);
}

/// Odd ones fail in the canary, multiples of seven are refused by both.
fn mixed() -> Arc<Router> {
    let refuse = |x: f32| x % 7.0 == 0.0;
    let stable = model(1, move |x| match refuse(x) {
        true => Err(err!(InvalidInput, "a multiple of seven")),
        false => Ok(x + 1.0),
    });
    let canary = model(2, move |x| match (refuse(x), x % 2.0 == 1.0) {
        (true, _) => Err(err!(InvalidInput, "a multiple of seven")),
        (_, true) => Err(err!(Execution, "odd")),
        _ => Ok(x + 2.0),
    });
    let canaries = vec![Arm::of("v2", canary, 40.0)];
    let stable = Arm::of("v1", stable, 0.0);
    Arc::new(Router::new("churn", stable, canaries, RouterOptions::default()).unwrap())
}

#[test]
fn submitted_requests_are_treated_as_called_ones() {
    let (called, submitted) = (mixed(), mixed());
    for i in 0..200 {
        let ctx = || if i % 3 == 0 { keyed(&format!("k{i}")) } else { Ctx::default() };
        let (a, a_ctx) = call(&*called, i as f32, ctx());
        let (b, b_ctx) = submit(submitted.clone(), i as f32, ctx());
        let (a_receipt, b_receipt) = (a_ctx.receipt, b_ctx.receipt);
        assert_eq!(a_receipt.route, b_receipt.route);
        assert_eq!(a_receipt.version, b_receipt.version);
        assert_eq!(a_receipt.fallback, b_receipt.fallback);
        assert_eq!(b_ctx.key, a_ctx.key);
        match (a, b) {
            (Err(a), Err(b)) => assert_eq!((a.kind(), a.message()), (b.kind(), b.message())),
            (a, b) => assert_eq!(value(a), value(b)),
        }
    }
    for (a, b) in called.report().arms.iter().zip(&submitted.report().arms) {
        let counts = |r: &ArmReport| (r.requests, r.rows, r.errors, r.fell_back, r.refused);
        assert_eq!(counts(a), counts(b));
        assert!(a.requests > 0);
    }
}

#[test]
fn the_reports_figures_are_what_was_sent() {
    let router = mixed();
    let (mut answered, mut failed) = (0, 0);
    for i in 0..1000 {
        match call(&*router, i as f32, Ctx::default()).0 {
            Ok(_) => answered += 1,
            Err(_) => failed += 1,
        }
    }
    let data: Vec<f32> = (1..=6).map(|i| i as f32 * 2.0).collect();
    router.set_weight("v2", 100.0).unwrap();
    let batch = Request::Batch(Features::F32 { data: &data, rows: 6, width: 1 });
    router.call(&batch, &mut Ctx::default()).unwrap();

    let report = router.report();
    let (stable, canary) = (report.arm("v1").unwrap(), report.arm("v2").unwrap());
    assert_eq!((stable.requests, canary.requests), (600, 401));
    assert_eq!((stable.percent, canary.percent), (0.0, 100.0));
    assert_eq!(stable.errors, 0);
    assert_eq!(stable.refused + canary.refused, failed);
    assert_eq!(canary.errors, canary.fell_back);
    assert_eq!(stable.rows + canary.rows + canary.fell_back, answered + 6);
    assert!(
        canary.error_rate_low < canary.error_rate && canary.error_rate < canary.error_rate_high
    );
    assert!(stable.p50 > Duration::ZERO && stable.p50 <= stable.p95 && stable.p95 <= stable.p99);
    assert_eq!((report.all.requests, report.all.rows), (1001, stable.rows + canary.rows));

    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["arms"][1]["name"], "v2");
    assert_eq!(json["arms"][1]["requests"], 401);
    assert_eq!(json["arms"][0]["p99"], stable.p99.as_secs_f64());
    assert!(json["arms"][0]["disagreement"].is_null());

    let table = report.to_string();
    let widths: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
    assert_eq!(widths.len(), 4);
    assert!(widths.iter().all(|w| *w == widths[0]), "{table}");
    assert!(table.contains("401"), "{table}");
}

#[test]
fn a_canarys_answers_are_compared_with_stables() {
    let compare = ShadowOptions { fraction: 1.0, ..ShadowOptions::default() };
    let options = RouterOptions { compare: Some(compare), ..RouterOptions::default() };
    let canary = model(2, |x| Ok(if x < 3.0 { x + 1.0 } else { x + 100.0 }));
    let router = router(vec![Arm::of("v2", canary, 100.0)], options);
    for i in 0..10 {
        call(&*router, i as f32, Ctx::default()).0.unwrap();
        submit(router.clone(), i as f32, Ctx::default()).0.unwrap();
    }
    wait_until("all are compared", || router.report().arm("v2").unwrap().compared == 20);
    let report = router.report();
    assert_eq!(report.arm("v2").unwrap().disagreement, Some(0.7));
    // Stable was asked, but nobody's request was answered by it.
    assert_eq!(report.arm("v1").unwrap().requests, 0);
    let comparison = router.comparison("v2").unwrap();
    let worst = &comparison.examples[0];
    assert_eq!((worst.primary_version, worst.candidate_version), (2, 1));
    assert!(router.comparison("v1").is_none());
}

#[test]
fn a_route_needs_names_that_differ_and_weights_that_fit() {
    let make = |canaries| {
        let stable = Arm::of("v1", model(1, Ok), 0.0);
        Router::new("r", stable, canaries, RouterOptions::default()).map(|_| ())
    };
    let arm = |name, percent| Arm::of(name, model(2, Ok), percent);
    assert!(make(vec![arm("v1", 1.0)]).is_err());
    assert!(make(vec![arm("a", 1.0), arm("a", 1.0)]).is_err());
    assert!(make(vec![arm("a", 60.0), arm("b", 50.0)]).is_err());
    assert!(make(vec![arm("a", f64::NAN)]).is_err());
    make(vec![arm("a", 60.0), arm("b", 40.0)]).unwrap();
    let gone = Arm::new("v1", Arc::new(|| Err(err!(NotFound, "gone"))), 0.0);
    assert!(Router::new("r", gone, vec![], RouterOptions::default()).is_err());
}
