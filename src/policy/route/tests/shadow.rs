//! Promises of the shadow.

use super::*;
use crate::tensor::Tensor;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

fn options(max_pending: usize) -> ShadowOptions {
    ShadowOptions { fraction: 1.0, max_pending, ..ShadowOptions::default() }
}

fn shadow(candidate: Resolve, options: ShadowOptions) -> Arc<Shadow> {
    Arc::new(Shadow::new(model(1, |x| Ok(x + 1.0)), candidate, options).unwrap())
}

/// A candidate that waits until the sender is dropped, and how often it was asked.
fn blocked() -> (mpsc::Sender<()>, Arc<AtomicUsize>, Arc<dyn Model>) {
    let (release, blocked) = mpsc::channel::<()>();
    let (blocked, asked) = (Mutex::new(blocked), Arc::new(AtomicUsize::new(0)));
    let counter = asked.clone();
    let model = model(2, move |x| {
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = blocked.lock().unwrap().recv();
        Ok(x)
    });
    (release, asked, model)
}

#[test]
fn a_shadow_never_delays_or_alters_the_answer() {
    let (release, asked, candidate) = blocked();
    let shadow = shadow(always(candidate), options(4));
    // The candidate answers nothing before all of these are answered.
    for i in 0..100 {
        let (result, ctx) = match i % 2 {
            0 => call(&*shadow, i as f32, Ctx::default()),
            _ => submit(shadow.clone(), i as f32, Ctx::default()),
        };
        assert_eq!(value(result), f64::from(i) + 1.0);
        assert_eq!((ctx.receipt.version, ctx.priority, ctx.no_cache), (1, 0, false));
    }
    wait_until("all were offered", || shadow.report().sampled == 100);
    let report = shadow.report();
    assert_eq!((report.dropped, report.compared), (96, 0));
    drop(release);
    wait_until("those with room are compared", || shadow.report().compared == 4);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    // With room again, the next one is taken.
    call(&*shadow, 1.0, Ctx::default()).0.unwrap();
    wait_until("there is room again", || shadow.report().compared == 5);
    assert_eq!(shadow.report().dropped, 96);
}

#[test]
fn a_panicking_shadow_harms_nobody() {
    let panics: Resolve = always(Arc::new(Panics(model(2, Ok))));
    let no_candidate: Resolve = Arc::new(|| panic!("a defect of a resolver"));
    let failing = always(model(2, |_| Err(err!(Execution, "a bad weight"))));
    for candidate in [panics, no_candidate, failing] {
        let shadow = shadow(candidate, options(64));
        for i in 0..20 {
            assert_eq!(value(call(&*shadow, i as f32, Ctx::default()).0), f64::from(i) + 1.0);
        }
        wait_until("every failure is counted", || shadow.report().errors == 20);
        let report = shadow.report();
        assert_eq!((report.compared, report.dropped, report.examples.len()), (0, 0, 16));
        assert!(report.examples.iter().all(|e| e.error.is_some() && e.difference.is_none()));
    }
}

#[test]
fn what_differs_is_counted_and_the_worst_is_kept() {
    let drifts = model(2, |x| Ok(if x < 90.0 { x + 1.0 } else { (x + 1.0) * (x / 30.0) }));
    let mut few = options(64);
    few.max_kept_examples = 3;
    let shadow = shadow(always(drifts), few);
    for i in 0..100 {
        call(&*shadow, i as f32, Ctx::default()).0.unwrap();
        wait_until("it is compared", || shadow.report().compared == i + 1);
    }
    // A batch counts by the share of its rows.
    let data = [1.0, 95.0, 2.0, 3.0];
    let batch = Request::Batch(Features::F32 { data: &data, rows: 4, width: 1 });
    shadow.call(&batch, &mut Ctx::default()).unwrap();
    wait_until("the batch is compared", || shadow.report().compared == 101);

    let report = shadow.report();
    assert_eq!((report.disagreed, report.disagreed_rows, report.rows), (11, 11, 104));
    assert!((report.disagreement - 10.25 / 101.0).abs() < 1e-9);
    assert!(report.disagreement_low < report.disagreement);
    let by_drift: u64 = report.drift.iter().map(|b| b.requests).sum();
    assert_eq!((report.drift[0].requests, by_drift), (90, 101));
    let inputs: Vec<f32> = report
        .examples
        .iter()
        .map(|example| match &example.request {
            Some(Request::Row(Features::Tensor(t))) => t.as_slice::<f32>().unwrap()[0],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(inputs, [99.0, 98.0, 97.0]);
    let worst = &report.examples[0];
    assert_eq!((worst.primary_version, worst.candidate_version), (1, 2));
    assert_eq!(value(Ok(worst.primary.clone().unwrap())), 100.0);

    let text = report.to_string();
    assert!(text.contains("input [99.0]") && text.contains("101 compared"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["examples"][0]["input"], "[99.0]");
    assert_eq!(json["disagreed_rows"], 11);
}

#[test]
fn the_row_of_a_batch_is_kept_and_large_ones_are_left_out() {
    let mut small = options(64);
    (small.max_example_bytes, small.max_request_bytes) = (8, 64);
    let shadow = shadow(always(model(2, |x| Ok(if x == 7.0 { 0.0 } else { x + 1.0 }))), small);
    let rows = |values: Vec<f32>| {
        Request::Batch(Features::Tensor(Tensor::from_vec(&[values.len(), 1], values).unwrap()))
    };
    shadow.call(&rows(vec![5.0, 6.0, 7.0, 8.0]), &mut Ctx::default()).unwrap();
    wait_until("it is compared", || shadow.report().compared == 1);
    shadow.call(&rows(vec![7.0; 17]), &mut Ctx::default()).unwrap();
    let report = shadow.report();
    assert_eq!((report.sampled, report.too_large, report.dropped), (2, 1, 0));
    let example = &report.examples[0];
    assert_eq!(example.difference.unwrap().worst_row, 2);
    assert_eq!(value(Ok(example.primary.clone().unwrap())), 8.0);
    assert_eq!(example.request.as_ref().unwrap().byte_len(), 4);
}

#[test]
fn a_fraction_is_exact_and_a_key_is_in_or_out() {
    let mut sticky = options(1000);
    (sticky.fraction, sticky.sticky) = (0.25, true);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keys = seen.clone();
    let inner = FnModel::regressor(1, |row| Ok(row[0]));
    let signature = (*inner.signature()).clone();
    let candidate = FnModel::new(signature, move |request, ctx| {
        assert_eq!((ctx.priority, ctx.no_cache), (i8::MIN, true));
        assert!(ctx.deadline.is_some());
        keys.lock().unwrap().extend(ctx.key.clone());
        inner.call(request, &mut Ctx::default())
    });
    let shadow = shadow(always(Arc::new(candidate)), sticky);
    for i in 0..400 {
        call(&*shadow, 1.0, keyed(&format!("k{}", i % 100))).0.unwrap();
    }
    let done = |shadow: &Shadow| {
        let report = shadow.report();
        report.compared == report.sampled
    };
    wait_until("all are compared", || done(&shadow));
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert!((10..=40).contains(&distinct.len()) && seen.len() == 4 * distinct.len());

    let before = shadow.report().sampled;
    for _ in 0..100 {
        call(&*shadow, 1.0, Ctx::default()).0.unwrap();
    }
    assert_eq!(shadow.report().sampled - before, 25);
    shadow.set_fraction(0.0).unwrap();
    call(&*shadow, 1.0, Ctx::default()).0.unwrap();
    assert_eq!(shadow.report().sampled - before, 25);
    assert!(shadow.set_fraction(1.5).is_err() && shadow.set_fraction(f64::NAN).is_err());
}

#[test]
fn what_failed_is_not_mirrored_and_a_dropped_shadow_asks_no_more() {
    let (release, asked, candidate) = blocked();
    let inner = model(1, |x| if x < 0.0 { Err(err!(Execution, "negative")) } else { Ok(x) });
    let shadow = Arc::new(Shadow::new(inner, always(candidate.clone()), options(8)).unwrap());
    assert!(call(&*shadow, -1.0, Ctx::default()).0.is_err());
    assert!(submit(shadow.clone(), -1.0, Ctx::default()).0.is_err());
    assert_eq!(shadow.report().sampled, 0);
    for _ in 0..5 {
        call(&*shadow, 1.0, Ctx::default()).0.unwrap();
    }
    wait_until("the candidate is asked", || asked.load(Ordering::SeqCst) == 1);
    drop(shadow);
    drop(release);
    wait_until("the queue is let go", || Arc::strong_count(&candidate) == 1);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
