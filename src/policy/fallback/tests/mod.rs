mod constants;

use super::*;
use crate::error::ErrorKind;
use crate::model::{Answer, CancelToken, FnModel, Route, Target};
use crate::policy::Resolve;
use crate::policy::deadline::{Deadline, DeadlineOptions, testing::*};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

fn to(model: Arc<dyn Model>) -> Resolve {
    Arc::new(move || Ok(model.clone()))
}

fn constant(value: f64) -> FallbackChoice {
    let signature = echo(1).signature();
    let constant = Constant::new(Answer::Value(value));
    FallbackChoice::constant(ConstantAnswer::new(signature, constant).unwrap())
}

fn chain(primary: Arc<dyn Model>, choices: Vec<FallbackChoice>) -> Arc<dyn Model> {
    Arc::new(Fallback::new(primary, choices, FallbackOptions::default()).unwrap())
}

/// Answers 100, and counts how often it was asked.
fn counted() -> (Arc<dyn Model>, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let model = FnModel::regressor(1, move |_| {
        counter.fetch_add(1, SeqCst);
        Ok(100.0)
    });
    (Arc::new(model.with_version(9)), runs)
}

#[test]
fn fallback_runs_once_and_says_why() {
    for way in BOTH {
        let (broken, asked) = failing(ErrorKind::Execution);
        let (stand_in, runs) = counted();
        let model =
            chain(broken, vec![FallbackChoice::model("version 9", to(stand_in)), constant(0.0)]);
        let (result, ctx) = ask(way, &model, far());
        assert_eq!(value(result), 100.0);
        assert_eq!((asked.load(SeqCst), runs.load(SeqCst)), (1, 1));
        let receipt = ctx.receipt;
        assert_eq!((receipt.route, receipt.version), (Route::Fallback, 9));
        let reason = receipt.fallback.unwrap();
        assert_eq!((reason.kind, &*reason.by), (ErrorKind::Execution, "version 9"));
        assert_eq!(reason.message, "it is broken");
    }
}

#[test]
fn a_first_choice_that_answers_is_all_there_is() {
    for way in BOTH {
        let (stand_in, runs) = counted();
        let model = chain(echo(3), vec![FallbackChoice::model("version 9", to(stand_in))]);
        let (result, ctx) = ask(way, &model, far());
        assert_eq!((value(result), ctx.receipt.version), (7.0, 3));
        assert_eq!((ctx.receipt.route, ctx.receipt.fallback), (Route::Stable, None));
        assert_eq!(runs.load(SeqCst), 0);
    }
}

#[test]
fn choices_are_tried_in_order_each_for_its_own_errors() {
    for way in BOTH {
        let (broken, _) = failing(ErrorKind::NotReady);
        let (not_for_this, unasked) = counted();
        // What another fallback fails with does not matter, even a client's fault.
        let (misfit, asked) = failing(ErrorKind::InvalidInput);
        let gone: Resolve = Arc::new(|| Err(crate::error::err!(NotFound, "no such model")));
        let model = chain(
            broken,
            vec![
                FallbackChoice::model("a", to(not_for_this)).with_on(&[ErrorKind::Overloaded]),
                FallbackChoice::model("b", gone),
                FallbackChoice::model("c", to(misfit)),
                constant(5.0),
                constant(6.0),
            ],
        );
        let (result, ctx) = ask(way, &model, far());
        assert_eq!(value(result), 5.0);
        assert_eq!((unasked.load(SeqCst), asked.load(SeqCst)), (0, 1));
        assert_eq!(ctx.receipt.version, 0);
        assert_eq!(&*ctx.receipt.fallback.unwrap().by, "constant");
    }
}

#[test]
fn when_all_fail_the_first_error_says_what_else_was_tried() {
    for way in BOTH {
        let (broken, _) = failing(ErrorKind::Overloaded);
        let (also_broken, _) = failing(ErrorKind::Io);
        let gone: Resolve = Arc::new(|| Err(crate::error::err!(NotFound, "no such model")));
        let choices = vec![
            FallbackChoice::model("version 7", to(also_broken)),
            FallbackChoice::model("model small", gone),
        ];
        let (result, ctx) = ask(way, &chain(broken, choices), far());
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert_eq!(
            error.message(),
            "it is broken; tried instead: version 7 (Io: it is broken), model small (NotFound: no \
             such model)"
        );
        assert_eq!((ctx.receipt.route, ctx.receipt.fallback), (Route::Stable, None));
    }
}

#[test]
fn fallbacks_do_not_loop() {
    for way in BOTH {
        let (a, asked_a) = failing(ErrorKind::Execution);
        let (b, asked_b) = failing(ErrorKind::Execution);
        let back = Arc::new(OnceLock::<Arc<dyn Model>>::new());
        let first = back.clone();
        let to_first: Resolve = Arc::new(move || Ok(first.get().unwrap().clone()));
        let second = chain(b, vec![FallbackChoice::model("model a", to_first), constant(1.0)]);
        let model = chain(a, vec![FallbackChoice::model("model b", to(second))]);
        assert!(back.set(model.clone()).is_ok());
        let (result, _) = ask(way, &model, far());
        let message = result.unwrap_err().to_string();
        assert_eq!(message, "it is broken; tried instead: model b (Execution: it is broken)");
        assert_eq!((asked_a.load(SeqCst), asked_b.load(SeqCst)), (1, 1));
    }
}

#[test]
fn the_callers_own_faults_and_wishes_have_no_fallback() {
    for kinds in [ErrorKind::InvalidInput, ErrorKind::InvalidArgument, ErrorKind::Cancelled] {
        let choice = constant(0.0).with_on(&[ErrorKind::Io, kinds]);
        let error = Fallback::new(echo(1), vec![choice], Default::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        for way in BOTH {
            let (broken, _) = failing(kinds);
            let (result, ctx) = ask(way, &chain(broken, vec![constant(0.0)]), far());
            assert_eq!(kind(&result), Some(kinds));
            assert_eq!(result.unwrap_err().message(), "it is broken");
            assert_eq!(ctx.receipt.fallback, None);
        }
    }
}

#[test]
fn a_caller_who_cancels_ends_the_chain() {
    for way in BOTH {
        let token = CancelToken::default();
        let cancels = token.clone();
        let primary = FnModel::regressor(1, move |_| {
            cancels.cancel();
            Err(crate::error::err!(Execution, "it is broken"))
        });
        let (stand_in, runs) = counted();
        let model = chain(Arc::new(primary), vec![FallbackChoice::model("b", to(stand_in))]);
        let ctx = Ctx { cancel: Some(token), ..far() };
        assert_eq!(kind(&ask(way, &model, ctx).0), Some(ErrorKind::Cancelled));
        assert_eq!(runs.load(SeqCst), 0);
    }
}

#[test]
fn a_panic_of_the_first_choice_is_followed_like_an_error() {
    for way in BOTH {
        for ctx in [Ctx::default(), far()] {
            let model = chain(Arc::new(Panicking(echo(1))), vec![constant(4.0)]);
            let (result, ctx) = ask(way, &model, ctx);
            assert_eq!(value(result), 4.0);
            assert_eq!(ctx.receipt.fallback.unwrap().kind, ErrorKind::Internal);
        }
    }
}

#[test]
fn a_constant_answers_for_a_stuck_model_when_the_deadline_has_passed() {
    for way in BOTH {
        let gate = Gate::default();
        let chain = chain(gate.model(), vec![constant(2.5)]);
        let options = DeadlineOptions {
            default: Some(Duration::from_millis(30)),
            enforce: false,
            ..Default::default()
        };
        let model: Arc<dyn Model> = Arc::new(Deadline::new(chain, options));
        let (result, ctx) = ask(way, &model, Ctx::default());
        assert_eq!(value(result), 2.5);
        assert_eq!(ctx.receipt.fallback.unwrap().kind, ErrorKind::DeadlineExceeded);
        gate.open();
    }
}

#[test]
fn a_request_that_arrives_too_late_is_still_answered_by_a_constant_and_runs_nothing() {
    for way in BOTH {
        let (primary, runs) = counted();
        let (stand_in, also) = counted();
        let choices = vec![FallbackChoice::model("b", to(stand_in)), constant(2.5)];
        assert_eq!(value(ask(way, &chain(primary, choices), now()).0), 2.5);
        assert_eq!((runs.load(SeqCst), also.load(SeqCst)), (0, 0));
    }
}

#[test]
fn a_model_follows_a_deadline_only_in_the_time_kept_for_it() {
    for way in BOTH {
        let gate = Gate::default();
        let (stand_in, runs) = counted();
        let choices = vec![FallbackChoice::model("version 9", to(stand_in))];
        let (result, _) = ask(way, &chain(gate.model(), choices.clone()), near());
        assert_eq!(kind(&result), Some(ErrorKind::DeadlineExceeded));
        assert!(result.unwrap_err().message().contains("FallbackOptions::reserve"));
        assert_eq!(runs.load(SeqCst), 0);

        let reserve = Duration::from_secs(600);
        let options = FallbackOptions { reserve, ..Default::default() };
        let model: Arc<dyn Model> =
            Arc::new(Fallback::new(gate.model(), choices, options).unwrap());
        let ctx = Ctx::within(reserve + Duration::from_millis(30));
        let (result, ctx) = ask(way, &model, ctx);
        assert_eq!(value(result), 100.0);
        assert_eq!((runs.load(SeqCst), ctx.receipt.version), (1, 9));
        gate.open();
    }
}

#[test]
fn a_stuck_fallback_is_left_too() {
    for way in BOTH {
        let gate = Gate::default();
        let (broken, _) = failing(ErrorKind::Execution);
        let choices = vec![FallbackChoice::model("b", to(gate.model())), constant(8.0)];
        let (result, ctx) = ask(way, &chain(broken, choices), near());
        assert_eq!(value(result), 8.0);
        // The stand-in may not have been reached in time; the reason is the first choice's.
        let kind = ctx.receipt.fallback.unwrap().kind;
        assert!(matches!(kind, ErrorKind::Execution | ErrorKind::DeadlineExceeded));
        gate.open();
    }
}

#[test]
fn a_fallback_gets_the_callers_context_without_the_version_wanted_of_another() {
    for way in BOTH {
        let (broken, _) = failing(ErrorKind::Execution);
        let seen = Arc::new(OnceLock::new());
        let noted = seen.clone();
        let stand_in = FnModel::new((*echo(1).signature()).clone(), move |request, ctx| {
            let _ = noted.set(ctx.clone());
            echo(2).call(request, &mut Ctx::default())
        });
        let model = chain(broken, vec![FallbackChoice::model("b", to(Arc::new(stand_in)))]);
        let target = Target::Version(7);
        let given = Ctx { target, key: Some("user".into()), priority: 3, ..far() };
        let (result, ctx) = ask(way, &model, given.clone());
        assert_eq!(value(result), 7.0);
        let seen = seen.get().unwrap();
        assert_eq!((seen.deadline, seen.priority, &seen.key), (given.deadline, 3, &given.key));
        assert_eq!(seen.target, Target::Serving);
        assert_eq!((ctx.target, ctx.in_fallback), (given.target, false));
        assert_eq!(ctx.deadline, given.deadline);
    }
}
