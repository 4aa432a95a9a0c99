use super::testing::*;
use super::*;
use crate::error::ErrorKind;
use crate::model::{CancelToken, FnModel};
use crate::policy::Load;
use crate::policy::admit::{Admit, AdmitOptions};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::ThreadId;

fn deadline(inner: Arc<dyn Model>) -> Arc<dyn Model> {
    Arc::new(Deadline::new(inner, DeadlineOptions::default()))
}

/// What a run saw: its thread, its deadline, and where its values lie.
type Seen = Arc<Mutex<Vec<(ThreadId, Option<Instant>, usize)>>>;

fn watched() -> (FnModel, Seen) {
    let seen = Seen::default();
    let notes = seen.clone();
    let answers = FnModel::regressor(1, |row| Ok(row[0]));
    let model = FnModel::new((*answers.signature()).clone(), move |request, ctx| {
        let at = match request {
            Request::Row(Features::F32 { data, .. }) => data.as_ptr() as usize,
            _ => 0,
        };
        notes.lock().push((std::thread::current().id(), ctx.deadline, at));
        answers.call(request, ctx)
    });
    (model, seen)
}

#[test]
fn a_stuck_model_returns_the_caller_at_the_deadline() {
    for way in BOTH {
        let gate = Gate::default();
        let model = deadline(gate.model());
        // The gate is closed: whoever comes back has left the model behind.
        let (result, _) = ask(way, &model, near());
        assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded), "{way:?}");
        gate.open();
    }
}

#[test]
fn a_late_answer_is_dropped_without_harm() {
    for way in BOTH {
        let gate = Gate::default();
        let model = deadline(gate.model());
        let (result, ctx) = ask(way, &model, near());
        assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded));
        assert_eq!(ctx.receipt, Default::default());
        gate.wait_entered(1);
        gate.open();
        gate.wait_left(1);
        assert_eq!(value(ask(way, &model, far()).0), 7.0);
    }
}

#[test]
fn the_deadline_cancels_the_run_but_never_the_callers_other_requests() {
    for way in BOTH {
        let gate = Gate::default();
        let model = deadline(gate.model());
        assert!(ask(way, &model, near()).0.is_err());
        gate.wait_entered(1);
        gate.open();
        gate.wait_left(1);
        assert_eq!(gate.cancelled(), 1, "{way:?}");

        let gate = Gate::default();
        let model = deadline(gate.model());
        let shared = CancelToken::default();
        let ctx = Ctx { cancel: Some(shared.clone()), ..near() };
        assert!(ask(way, &model, ctx).0.is_err());
        assert!(!shared.is_cancelled());
        gate.open();
    }
}

#[test]
fn the_deadline_equal_to_arrival_runs_nothing() {
    for way in BOTH {
        let (model, seen) = watched();
        let (result, _) = ask(way, &deadline(Arc::new(model)), now());
        assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded));
        assert!(seen.lock().is_empty());
    }
}

#[test]
fn without_a_deadline_the_call_stays_in_its_thread_and_copies_nothing() {
    let (model, seen) = watched();
    let model = deadline(Arc::new(model));
    let row = [7f32];
    model.predict_row(&row).unwrap();
    let here = std::thread::current().id();
    assert_eq!(*seen.lock(), [(here, None, row.as_ptr() as usize)]);
}

#[test]
fn only_a_model_known_to_be_quick_keeps_the_thread() {
    let here = std::thread::current().id();
    for (ns, stays) in [(10, true), (49_999, true), (50_000, false), (0, false)] {
        let (model, seen) = watched();
        let model = deadline(Arc::new(Costing { inner: Arc::new(model), ns }));
        assert_eq!(value(ask(Way::Call, &model, far()).0), 7.0);
        assert_eq!(seen.lock()[0].0 == here, stays, "{ns} ns");
    }
}

#[test]
fn a_quick_model_that_was_late_has_no_answer() {
    let slow = FnModel::regressor(1, |row| {
        std::thread::sleep(Duration::from_millis(40));
        Ok(row[0])
    });
    let model = deadline(Arc::new(Costing { inner: Arc::new(slow), ns: 10 }));
    let (result, _) = ask(Way::Call, &model, near());
    assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded));
}

#[test]
fn the_default_is_for_requests_without_a_deadline_and_stays_with_them() {
    for (way, enforce) in [(Way::Call, true), (Way::Call, false), (Way::Submit, true)] {
        let (model, seen) = watched();
        let day = Duration::from_secs(86_400);
        let options = DeadlineOptions { default: Some(day), enforce, ..Default::default() };
        let model: Arc<dyn Model> = Arc::new(Deadline::new(Arc::new(model), options));
        let given = far();
        assert_eq!(value(ask(way, &model, given.clone()).0), 7.0);
        let (result, ctx) = ask(way, &model, Ctx::default());
        assert_eq!(value(result), 7.0);
        let seen = seen.lock();
        assert_eq!(seen[0].1, given.deadline);
        assert!(seen[1].1 > given.deadline, "the default is longer");
        if way == Way::Call {
            assert_eq!(ctx.deadline, None, "the caller's context is as it was");
        }
    }
}

#[test]
fn an_answer_in_time_brings_its_receipt() {
    for way in BOTH {
        let (result, ctx) = ask(way, &deadline(echo(3)), far());
        assert_eq!((value(result), ctx.receipt.version), (7.0, 3));
    }
}

#[test]
fn a_completion_is_called_once_whichever_comes_first() {
    const REQUESTS: usize = 200;
    let model = deadline(Arc::new(FnModel::regressor(1, |row| {
        std::thread::sleep(Duration::from_millis(2));
        Ok(row[0])
    })));
    let calls = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = std::sync::mpsc::channel();
    for i in 0..REQUESTS {
        let (calls, tx) = (calls.clone(), tx.clone());
        let done = Done::new(move |_, _| {
            calls.fetch_add(1, SeqCst);
            tx.send(()).unwrap();
        });
        let ctx = Ctx::within(Duration::from_micros(1900 + 2 * i as u64));
        model.clone().submit(row(1.0), ctx, done);
    }
    for _ in 0..REQUESTS {
        rx.recv_timeout(HANG).unwrap();
    }
    // Every sender is gone once each request's completion was called or dropped.
    drop(tx);
    assert!(rx.recv_timeout(HANG).is_err());
    assert_eq!(calls.load(SeqCst), REQUESTS);
}

#[test]
fn a_defect_is_answered_and_the_clock_goes_on() {
    let model = deadline(Arc::new(Panicking(echo(1))));
    for _ in 0..2 {
        let (result, _) = ask(Way::Submit, &model, far());
        assert_eq!(kind(&result), Some(ErrorKind::Internal));
    }
}

#[test]
fn a_slow_model_never_harms_another() {
    const PLACES: usize = 8;
    let guarded = |inner: Arc<dyn Model>| -> Arc<dyn Model> {
        let options = AdmitOptions { max_in_flight: PLACES, ..Default::default() };
        deadline(Arc::new(Admit::new(inner, options, Arc::<Load>::default(), PLACES).unwrap()))
    };
    let gate = Gate::default();
    let (stuck, well) = (guarded(gate.model()), guarded(echo(1)));
    let waiting: Vec<_> = (0..PLACES).map(|_| begin(&stuck, far())).collect();
    gate.wait_entered(PLACES);
    for way in BOTH {
        for _ in 0..200 {
            // More for the stuck one are refused at once, and the other one answers.
            assert_eq!(kind(&ask(way, &stuck, far()).0), Some(ErrorKind::Overloaded));
            assert_eq!(value(ask(way, &well, far()).0), 7.0);
        }
    }
    assert_eq!(gate.entered(), PLACES);
    gate.open();
    for answer in waiting {
        assert_eq!(value(answer.recv_timeout(HANG).unwrap().0), 7.0);
    }
}
