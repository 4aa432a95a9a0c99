mod load;

use super::core::{Phase, Rules};
use super::*;
use crate::model::FnModel;
use crate::policy::deadline::testing::*;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const SECOND: u64 = 1_000_000_000;

/// A breaker whose clock is set by hand, opening on two calls unless told otherwise.
fn breaker(
    inner: Arc<dyn Model>,
    change: impl FnOnce(&mut BreakerOptions),
) -> (Arc<Breaker>, Arc<dyn Model>, Arc<AtomicU64>) {
    let mut options = BreakerOptions { min_requests: 2, ..Default::default() };
    change(&mut options);
    let clock = Arc::new(AtomicU64::new(0));
    let breaker = Breaker::with_clock(inner, options, Clock::Manual(clock.clone())).unwrap();
    let breaker = Arc::new(breaker);
    (breaker.clone(), breaker, clock)
}

fn pass(clock: &AtomicU64, seconds: u64) {
    clock.fetch_add(seconds * SECOND, SeqCst);
}

/// A breaker around a gate's model, open since a moment ago.
fn opened(
    change: impl FnOnce(&mut BreakerOptions),
) -> (Arc<Breaker>, Arc<dyn Model>, Arc<AtomicU64>, Gate) {
    let gate = Gate::default();
    let (breaker, model, clock) = breaker(gate.model(), change);
    gate.fails(true);
    for _ in 0..2 {
        assert_eq!(kind(&ask(Way::Call, &model, far()).0), Some(ErrorKind::Execution));
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    gate.fails(false);
    (breaker, model, clock, gate)
}

#[test]
fn an_open_circuit_answers_without_running() {
    for way in BOTH {
        let (broken, runs) = failing(ErrorKind::Execution);
        let (breaker, model, clock) = breaker(broken, |o| o.min_requests = 20);
        for _ in 0..20 {
            assert_eq!(kind(&ask(way, &model, far()).0), Some(ErrorKind::Execution));
        }
        pass(&clock, 2);
        for _ in 0..5 {
            let (result, _) = ask(way, &model, far());
            assert_eq!(kind(&result), Some(ErrorKind::NotReady));
            let message = result.unwrap_err().to_string();
            assert_eq!(message, "circuit open: 20 of 20 calls failed in 10 s; retry in 3.0 s");
        }
        assert_eq!(runs.load(SeqCst), 20);
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.calls, snapshot.failures, snapshot.refused), (20, 20, 5));
        assert_eq!(snapshot.retry_in, Some(Duration::from_secs(3)));
    }
}

#[test]
fn half_open_lets_only_the_probes_through() {
    let (breaker, model, clock, gate) = opened(|o| o.probes = 3);
    pass(&clock, 5);
    let probes: Vec<_> = (0..3).map(|_| begin(&model, far())).collect();
    gate.wait_entered(2 + 3);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    for way in BOTH {
        let (result, _) = ask(way, &model, far());
        let message = result.unwrap_err().to_string();
        assert!(message.contains("half open") && message.contains("3 probes"), "{message}");
    }
    assert_eq!(gate.entered(), 2 + 3);
    gate.open();
    for probe in probes {
        assert_eq!(value(probe.recv_timeout(HANG).unwrap().0), 7.0);
    }
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.state, BreakerState::Closed);
    // The failures that it opened on are not held against it again.
    assert_eq!((snapshot.calls, snapshot.failures, snapshot.openings), (0, 0, 0));
    assert_eq!(value(ask(Way::Call, &model, far()).0), 7.0);
}

#[test]
fn a_failed_probe_opens_again_for_twice_as_long_up_to_a_cap() {
    for way in BOTH {
        let (breaker, model, clock, gate) = opened(|o| {
            o.open_for = Duration::from_secs(10);
            o.max_open_for = Duration::from_secs(30);
        });
        gate.fails(true);
        for wait in [10, 20, 30, 30] {
            let retry_in = breaker.snapshot().retry_in;
            assert_eq!(retry_in, Some(Duration::from_secs(wait)), "{way:?}");
            pass(&clock, wait - 1);
            assert_eq!(kind(&ask(way, &model, far()).0), Some(ErrorKind::NotReady));
            pass(&clock, 1);
            assert_eq!(kind(&ask(way, &model, far()).0), Some(ErrorKind::Execution));
        }
    }
}

#[test]
fn a_lost_probe_gives_its_place_back() {
    let (breaker, model, clock, gate) = opened(|o| o.probes = 1);
    pass(&clock, 5);
    // Cancelled on the way, which says nothing about the version.
    let (inner, runs) = failing(ErrorKind::Cancelled);
    let lossy: Arc<dyn Model> = Arc::new(Breaker { inner, guard: breaker.guard.clone() });
    for way in BOTH {
        for _ in 0..3 {
            assert_eq!(kind(&ask(way, &lossy, far()).0), Some(ErrorKind::Cancelled));
        }
    }
    assert_eq!(runs.load(SeqCst), 6);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    gate.open();
    assert_eq!(value(ask(Way::Call, &model, far()).0), 7.0);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn probes_that_never_come_back_count_as_failed() {
    let (breaker, model, clock, gate) = opened(|o| o.probes = 1);
    pass(&clock, 5);
    let stuck = begin(&model, Ctx::default());
    gate.wait_entered(3);
    pass(&clock, 59);
    assert_eq!(kind(&ask(Way::Call, &model, far()).0), Some(ErrorKind::NotReady));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    pass(&clock, 1);
    let message = ask(Way::Call, &model, far()).0.unwrap_err().to_string();
    assert_eq!(message, "circuit open: no probe came back; retry in 10.0 s");
    // What it says in the end is of a phase that is over.
    gate.open();
    assert_eq!(value(stuck.recv_timeout(HANG).unwrap().0), 7.0);
    assert_eq!(breaker.state(), BreakerState::Open);
    pass(&clock, 10);
    assert_eq!(value(ask(Way::Call, &model, far()).0), 7.0);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn client_faults_do_not_open_a_circuit() {
    for way in BOTH {
        for fault in [
            ErrorKind::InvalidInput,
            ErrorKind::InvalidArgument,
            ErrorKind::NotFound,
            ErrorKind::AlreadyExists,
            ErrorKind::LimitExceeded,
            ErrorKind::Cancelled,
            ErrorKind::Overloaded,
        ] {
            let (broken, runs) = failing(fault);
            let (breaker, model, _) = breaker(broken, |_| ());
            for _ in 0..50 {
                assert_eq!(kind(&ask(way, &model, far()).0), Some(fault));
            }
            assert_eq!((breaker.state(), runs.load(SeqCst)), (BreakerState::Closed, 50));
            assert_eq!(breaker.snapshot().calls, 0, "{fault}");
        }
    }
}

#[test]
fn every_other_fault_does() {
    for way in BOTH {
        for fault in [
            ErrorKind::Execution,
            ErrorKind::Internal,
            ErrorKind::NotReady,
            ErrorKind::Io,
            ErrorKind::InvalidModel,
            ErrorKind::Unsupported,
            ErrorKind::PermissionDenied,
            ErrorKind::DeadlineExceeded,
        ] {
            let (broken, _) = failing(fault);
            let (breaker, model, _) = breaker(broken, |_| ());
            for _ in 0..2 {
                assert_eq!(kind(&ask(way, &model, far()).0), Some(fault));
            }
            assert_eq!(breaker.state(), BreakerState::Open, "{fault}");
        }
        let (breaker, model, _) = breaker(Arc::new(Panicking(echo(1))), |_| ());
        for _ in 0..2 {
            assert_eq!(kind(&ask(way, &model, far()).0), Some(ErrorKind::Internal));
        }
        assert_eq!(breaker.state(), BreakerState::Open, "a panic");
    }
}

#[test]
fn a_caller_in_a_hurry_does_not_take_the_version_from_others() {
    for way in BOTH {
        let (late, _) = failing(ErrorKind::DeadlineExceeded);
        // An hour by its own estimate; `far` leaves ten minutes.
        let slow = Costing { inner: late, ns: 3600 * SECOND };
        let (breaker, model, _) = breaker(Arc::new(slow), |_| ());
        for _ in 0..10 {
            assert_eq!(kind(&ask(way, &model, far()).0), Some(ErrorKind::DeadlineExceeded));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        let patient = Ctx::within(Duration::from_secs(2 * 3600));
        for _ in 0..2 {
            assert!(ask(way, &model, patient.clone()).0.is_err());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}

#[test]
fn a_stuck_version_is_noticed_before_it_answers() {
    let gate = Gate::default();
    let (breaker, model, _) = breaker(gate.model(), |_| ());
    for _ in 0..2 {
        let (result, _) = ask(Way::Submit, &model, near());
        assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded));
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    gate.open();
}

#[test]
fn slow_calls_open_it_by_the_time_of_the_run() {
    for way in BOTH {
        let takes = Arc::new(AtomicU64::new(1));
        let run = takes.clone();
        let answers = FnModel::regressor(1, |row| Ok(row[0]));
        let model = FnModel::new((*answers.signature()).clone(), move |request, ctx| {
            let result = answers.call(request, ctx);
            ctx.receipt.run = Duration::from_secs(run.load(SeqCst));
            result
        });
        let (breaker, model, clock) = breaker(Arc::new(model), |o| {
            o.min_requests = 4;
            o.slow_call = Some(Duration::from_secs(2));
        });
        for seconds in [1, 1, 2, 2] {
            assert_eq!(breaker.state(), BreakerState::Closed);
            takes.store(seconds, SeqCst);
            assert_eq!(value(ask(way, &model, far()).0), 7.0);
        }
        let message = ask(way, &model, far()).0.unwrap_err().to_string();
        assert!(message.contains("2 of 4 calls took 2s or longer in 10 s"), "{message}");
        // A probe that is slow is no proof of health.
        pass(&clock, 5);
        assert_eq!(value(ask(way, &model, far()).0), 7.0);
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}

#[test]
fn every_change_is_told_once_and_a_listener_that_panics_costs_nothing() {
    let gate = Gate::default();
    let events = Arc::new(Mutex::new(Vec::new()));
    let clock = Arc::new(AtomicU64::new(0));
    let options = BreakerOptions { min_requests: 2, probes: 1, ..Default::default() };
    let heard = events.clone();
    let model: Arc<dyn Model> = Arc::new(
        Breaker::with_clock(gate.model(), options, Clock::Manual(clock.clone()))
            .unwrap()
            .on_change(move |event| {
                heard.lock().push((event.sequence, event.from, event.to, event.reason.clone()));
                panic!("a listener with a defect");
            }),
    );
    gate.fails(true);
    for _ in 0..2 {
        assert_eq!(kind(&ask(Way::Call, &model, far()).0), Some(ErrorKind::Execution));
    }
    gate.fails(false);
    gate.open();
    pass(&clock, 5);
    assert_eq!(value(ask(Way::Submit, &model, far()).0), 7.0);
    use BreakerState::{Closed, HalfOpen, Open};
    let reason = "2 of 2 calls failed in 10 s".to_string();
    let expected = [(1, Closed, Open), (2, Open, HalfOpen), (3, HalfOpen, Closed)]
        .map(|(sequence, from, to)| (sequence, from, to, reason.clone()));
    assert_eq!(*events.lock(), expected);
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let refused = |change: fn(&mut BreakerOptions)| {
        let mut options = BreakerOptions::default();
        change(&mut options);
        let error = Breaker::new(echo(1), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    };
    assert!(refused(|o| o.failure_ratio = 0.0).contains("failure_ratio"));
    assert!(refused(|o| o.failure_ratio = f64::NAN).contains("failure_ratio"));
    assert!(refused(|o| o.slow_ratio = 1.5).contains("slow_ratio"));
    assert!(refused(|o| o.window = Duration::ZERO).contains("window"));
    assert!(refused(|o| o.open_for = Duration::ZERO).contains("open_for"));
    assert!(refused(|o| o.max_open_for = Duration::from_secs(1)).contains("max_open_for"));
    assert!(refused(|o| o.probes = 0).contains("probes"));
    assert!(refused(|o| o.min_requests = 0).contains("min_requests"));
    assert!(Breaker::new(echo(1), BreakerOptions::default()).is_ok());
}

fn circuit() -> Circuit {
    Circuit::new(Rules {
        window: 10 * SECOND,
        min_calls: 4,
        failure_ratio: 0.5,
        slow_ratio: 1.0,
        open_for: SECOND,
        max_open_for: 60 * SECOND,
        probes: 1,
    })
}

fn call(circuit: &Circuit, now: u64, failed: bool) -> bool {
    match Circuit::admit(circuit, now).0 {
        Ok(permit) => {
            permit.report(now, failed, false);
            true
        }
        Err(_) => false,
    }
}

#[test]
fn what_lies_behind_the_window_is_forgotten() {
    let circuit = circuit();
    for _ in 0..3 {
        call(&circuit, SECOND / 2, true);
    }
    assert_eq!(circuit.standing(9 * SECOND).counts.failures, 3);
    assert_eq!(circuit.standing(10 * SECOND).counts, Counts::default());
    call(&circuit, 10 * SECOND, true);
    assert_eq!(circuit.standing(10 * SECOND).phase, Phase::Closed);
    for _ in 0..3 {
        call(&circuit, 11 * SECOND, true);
    }
    assert_eq!(circuit.standing(11 * SECOND).phase, Phase::Open);
}

#[test]
fn a_success_can_be_the_call_that_completes_the_verdict() {
    let circuit = circuit();
    for failed in [true, true, false] {
        assert!(call(&circuit, 0, failed));
        assert_eq!(circuit.standing(0).phase, Phase::Closed);
    }
    assert!(call(&circuit, 0, false));
    assert_eq!(circuit.standing(0).phase, Phase::Open);
}

#[test]
fn times_out_of_order_do_no_harm() {
    let circuit = circuit();
    let times = [100, 3, 101, 90, 0, 5_000, 1, u64::MAX / SECOND, 2];
    for seconds in times {
        call(&circuit, seconds * SECOND, true);
        circuit.standing(0);
        circuit.standing(u64::MAX);
    }
    let Standing { counts, .. } = circuit.standing(102 * SECOND);
    assert!(counts.calls <= times.len() as u64 && counts.failures <= counts.calls);
}

#[test]
fn a_report_of_a_phase_that_is_over_says_nothing() {
    let circuit = circuit();
    let old: Vec<_> = (0..3).map(|_| Circuit::admit(&circuit, 0).0.unwrap()).collect();
    for _ in 0..4 {
        call(&circuit, 0, true);
    }
    let probe = Circuit::admit(&circuit, SECOND).0.unwrap();
    for permit in old {
        assert_eq!(permit.report(SECOND, true, false), None);
    }
    assert_eq!(circuit.standing(SECOND).phase, Phase::HalfOpen);
    let change = probe.report(SECOND, false, false).unwrap();
    assert_eq!((change.from, change.to, change.sequence), (Phase::HalfOpen, Phase::Closed, 3));
}

#[test]
fn a_permit_dropped_without_a_report_gives_its_place_back() {
    let circuit = Arc::new(circuit());
    for _ in 0..4 {
        call(&circuit, 0, true);
    }
    for _ in 0..3 {
        let lost = Circuit::admit(circuit.clone(), SECOND).0.unwrap();
        assert!(Circuit::admit(&*circuit, SECOND).0.is_err());
        drop(lost);
    }
    assert!(call(&circuit, SECOND, false));
    assert_eq!(circuit.standing(SECOND).phase, Phase::Closed);
}

#[test]
fn many_threads_bring_about_each_change_once() {
    let circuit = circuit();
    let told = Mutex::new(Vec::new());
    let broken = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..20_000u64 {
                    if i == 10_000 {
                        broken.store(false, SeqCst);
                    }
                    let now = i * SECOND / 100;
                    let (leave, change) = Circuit::admit(&circuit, now);
                    let failed = broken.load(SeqCst);
                    let after = leave.ok().and_then(|permit| permit.report(now, failed, false));
                    for change in change.into_iter().chain(after) {
                        told.lock().push(change.sequence);
                    }
                }
            });
        }
    });
    let mut told = told.into_inner();
    told.sort_unstable();
    assert!(told.len() >= 3, "it opened, was probed and closed: {told:?}");
    assert_eq!(told, (1..=told.len() as u64).collect::<Vec<_>>());
    assert_eq!(circuit.standing(u64::MAX).phase, Phase::Closed);
}
