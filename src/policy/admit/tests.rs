use super::*;
use crate::error::ErrorKind;
use crate::policy::deadline::testing::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Admission of default options before `inner`, in front of one lane, and its load.
fn admit(
    inner: Arc<dyn Model>,
    lanes: usize,
    change: impl FnOnce(&mut AdmitOptions),
) -> (Arc<Admit>, Arc<dyn Model>, Arc<Load>) {
    let mut options = AdmitOptions::default();
    change(&mut options);
    let load = Arc::<Load>::default();
    let admit = Arc::new(Admit::new(inner, options, load.clone(), lanes).unwrap());
    (admit.clone(), admit, load)
}

#[test]
fn a_request_that_cannot_make_it_is_refused_at_once() {
    for way in BOTH {
        let gate = Gate::default();
        let (admit, model, load) = admit(gate.model(), 1, |_| ());
        load.ran(1, HOUR);
        load.set(3, 1);
        // The gate is closed: whoever gets in is stuck.
        let (result, _) = ask(way, &model, far());
        assert_eq!(kind(&result), Some(ErrorKind::Overloaded));
        let message = result.unwrap_err().to_string();
        assert!(message.contains("a wait of 14400.0s") && message.contains("leaves"), "{message}");
        assert_eq!((admit.shed_total(), admit.in_flight(), gate.entered()), (1, 0, 0));
        gate.open();
        assert_eq!(value(ask(way, &model, Ctx::within(6 * HOUR)).0), 7.0);
        assert_eq!(value(ask(way, &model, Ctx::default()).0), 7.0);
        assert_eq!(admit.shed_total(), 1);
    }
}

#[test]
fn the_margin_is_kept_and_the_prediction_can_be_switched_off() {
    let (_, model, load) = admit(echo(1), 1, |o| o.margin = 2 * HOUR);
    load.ran(1, HOUR);
    load.set(0, 1);
    // An hour to wait and one to run, and two to spare.
    assert!(ask(Way::Call, &model, Ctx::within(5 * HOUR)).0.is_ok());
    assert_eq!(kind(&ask(Way::Call, &model, Ctx::within(3 * HOUR)).0), Some(ErrorKind::Overloaded));
    let (_, model, load) = admit(echo(1), 1, |o| o.shed_on_predicted_wait = false);
    load.ran(1, HOUR);
    load.set(3, 1);
    assert!(ask(Way::Call, &model, far()).0.is_ok());
}

#[test]
fn a_free_lane_takes_a_request_whatever_is_predicted() {
    let (_, model, load) = admit(echo(1), 2, |_| ());
    load.ran(1, HOUR);
    load.set(0, 1);
    assert!(ask(Way::Call, &model, far()).0.is_ok());
}

#[test]
fn requests_beyond_the_limit_are_refused_at_once() {
    let gate = Gate::default();
    let (admit, model, _) = admit(gate.model(), 1, |o| o.max_in_flight = 2);
    let inside = [begin(&model, Ctx::default()), begin(&model, Ctx::default())];
    gate.wait_entered(2);
    for way in BOTH {
        let (result, _) = ask(way, &model, Ctx::default());
        let message = result.unwrap_err().to_string();
        assert!(message.contains("2 requests") && message.contains("max_in_flight 2"), "{message}");
    }
    assert_eq!((admit.in_flight(), admit.shed_total(), gate.entered()), (2, 2, 2));
    gate.open();
    for answer in inside {
        assert_eq!(value(answer.recv_timeout(HANG).unwrap().0), 7.0);
    }
    assert_eq!(admit.in_flight(), 0);
    assert_eq!(value(ask(Way::Call, &model, Ctx::default()).0), 7.0);
}

#[test]
fn a_request_whose_caller_has_left_keeps_its_place_until_it_ends() {
    let gate = Gate::default();
    let (admit, model, _) = admit(gate.model(), 1, |o| o.max_in_flight = 1);
    let outer: Arc<dyn Model> =
        Arc::new(super::super::deadline::Deadline::new(model.clone(), Default::default()));
    assert_eq!(kind(&ask(Way::Call, &outer, near()).0), Some(ErrorKind::DeadlineExceeded));
    gate.wait_entered(1);
    assert_eq!(admit.in_flight(), 1);
    assert_eq!(kind(&ask(Way::Call, &outer, far()).0), Some(ErrorKind::Overloaded));
    gate.open();
}

#[test]
fn a_place_is_given_back_however_the_request_ends() {
    let (admit, model, _) = admit(Arc::new(Panicking(echo(1))), 1, |_| ());
    for way in BOTH {
        let asked = std::panic::AssertUnwindSafe(|| ask(way, &model, Ctx::default()));
        assert!(std::panic::catch_unwind(asked).is_err());
        assert_eq!(admit.in_flight(), 0, "{way:?}");
    }
}

#[test]
fn a_deadline_that_has_passed_is_no_overload() {
    for way in BOTH {
        let (admit, model, load) = admit(echo(1), 1, |_| ());
        load.ran(1, HOUR);
        load.set(3, 1);
        assert_eq!(kind(&ask(way, &model, now()).0), Some(ErrorKind::DeadlineExceeded));
        assert_eq!(admit.shed_total(), 0);
    }
}

#[test]
fn options_that_let_nothing_in_are_refused() {
    let new = |max_in_flight, lanes| {
        let options = AdmitOptions { max_in_flight, ..Default::default() };
        Admit::new(echo(1), options, Arc::default(), lanes).unwrap_err().kind()
    };
    assert_eq!(new(0, 1), ErrorKind::InvalidArgument);
    assert_eq!(new(1, 0), ErrorKind::InvalidArgument);
}
