//! A reload under load: no request fails, and every answer is wholly one version's.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::iris::{Checker, version};
use modelserve::{
    Features, Model, ModelHandle, ModelManager, Prediction, Predictions, ReloadOptions, Result,
    load,
};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

const RELOADS: u64 = 1_000;
const THREADS: usize = 8;
const LIMIT: Duration = Duration::from_secs(600);

/// Something that answers, however it swaps its models.
trait Serve: Send + Sync {
    fn row(&self, row: &[f32]) -> Result<Prediction>;
    fn batch(&self, rows: Features<'_>) -> Result<Predictions>;
}

impl Serve for ModelHandle {
    fn row(&self, row: &[f32]) -> Result<Prediction> {
        self.predict_row(row)
    }

    fn batch(&self, rows: Features<'_>) -> Result<Predictions> {
        self.predict_batch(rows)
    }
}

/// What the predicting threads saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    odd: AtomicUsize,
    even: AtomicUsize,
    changes: AtomicUsize,
    failed: AtomicUsize,
    mixed: AtomicUsize,
    first: RwLock<Option<String>>,
}

impl Seen {
    fn note(&self, what: String, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
        self.first.write().unwrap().get_or_insert(what);
    }

    fn answers(&self) -> usize {
        get(&self.odd) + get(&self.even)
    }

    /// Waits until every thread can have answered once more, so that each swap meets requests.
    fn wait_for_answers(&self) {
        let before = self.answers();
        while self.answers() < before + THREADS && get(&self.failed) == 0 {
            std::thread::yield_now();
        }
    }

    fn count(&self, version: u64, last: &mut u64) {
        let counter = if version % 2 == 1 { &self.odd } else { &self.even };
        counter.fetch_add(1, Ordering::SeqCst);
        if version != *last {
            self.changes.fetch_add(1, Ordering::SeqCst);
            *last = version;
        }
    }
}

fn get(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}

/// Predicts until told to stop; every other request is a batch.
fn predict(served: &dyn Serve, checker: &Checker, seen: &Seen, thread: usize) {
    let mut last = 0;
    let mut i = thread;
    while !seen.stop.load(Ordering::SeqCst) {
        let row = i % checker.rows.rows;
        let (version, verdict) = if i.is_multiple_of(2) {
            match served.row(checker.rows.row(row)) {
                Ok(got) => (got.model_version, checker.row(row, &got)),
                Err(error) => {
                    seen.note(format!("row {row}: {error}"), &seen.failed);
                    return;
                }
            }
        } else {
            match served.batch(checker.rows.features()) {
                Ok(got) => (got.model_version, checker.batch(&got)),
                Err(error) => {
                    seen.note(format!("batch: {error}"), &seen.failed);
                    return;
                }
            }
        };
        seen.count(version, &mut last);
        if let Err(why) = verdict {
            seen.note(why, &seen.mixed);
        }
        i += 1;
    }
}

/// Swaps with `swap` while `THREADS` threads predict.
fn under_load(served: Arc<dyn Serve>, swap: impl FnOnce(&Seen)) -> Seen {
    let seen = Seen::default();
    let checker = Checker::new();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (served, checker, seen) = (&*served, &checker, &seen);
            scope.spawn(move || predict(served, checker, seen, thread));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| swap(&seen)));
        seen.stop.store(true, Ordering::SeqCst);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    seen
}

#[test]
fn a_thousand_reloads_fail_no_request_and_mix_no_answer() {
    common::within(LIMIT, || {
        let folder = common::scratch("reload");
        let good = std::fs::read(common::model_path("iris_v2")).unwrap();
        let broken = folder.join("broken.onnx");

        let manager = ModelManager::default();
        let (path, options) = version(1);
        let handle = manager.load("iris", path, &options).unwrap();
        let mut refused = 0;
        let seen = under_load(Arc::new(handle.clone()), |seen| {
            for number in 2..RELOADS + 2 {
                let (path, load) = version(number);
                let options = ReloadOptions { load: Some(load), ..ReloadOptions::default() };
                let info = manager.reload("iris", Some(&path), &options).unwrap();
                assert_eq!(info.version, number);
                seen.wait_for_answers();
                if number % 10 == number / 10 % 2 {
                    let cut = (number as usize / 10) * good.len() / 101;
                    std::fs::write(&broken, &good[..cut]).unwrap();
                    let error = manager
                        .reload("iris", Some(&broken), &ReloadOptions::default())
                        .expect_err("a broken file is refused");
                    assert_eq!(error.model(), Some("iris"), "{error}");
                    refused += 1;
                    assert_eq!(handle.version().unwrap(), number, "the old version serves on");
                    seen.wait_for_answers();
                }
            }
        });
        let first = seen.first.read().unwrap().clone();
        assert_eq!((get(&seen.failed), get(&seen.mixed)), (0, 0), "{first:?}");
        assert!(refused >= RELOADS / 10, "{refused} broken files");
        assert!(get(&seen.odd) > 0 && get(&seen.even) > 0, "only one of the versions answered");
        assert!(get(&seen.changes) as u64 > RELOADS, "the versions hardly changed under load");
        assert_eq!(handle.version().unwrap(), RELOADS + 1);
        println!(
            "{} answers of odd and {} of even versions, {} changes seen",
            get(&seen.odd),
            get(&seen.even),
            get(&seen.changes)
        );
    });
}

/// A wrong server: it changes number and model one after the other.
struct TwoSteps {
    version: AtomicU64,
    model: RwLock<Arc<dyn Model>>,
}

impl TwoSteps {
    fn swap(&self, number: u64, model: Arc<dyn Model>) {
        self.version.store(number, Ordering::SeqCst);
        std::thread::yield_now();
        *self.model.write().unwrap() = model;
    }

    fn model(&self) -> Arc<dyn Model> {
        self.model.read().unwrap().clone()
    }
}

impl Serve for TwoSteps {
    fn row(&self, row: &[f32]) -> Result<Prediction> {
        let version = self.version.load(Ordering::SeqCst);
        let mut got = self.model().predict_row(row)?;
        got.model_version = version;
        Ok(got)
    }

    fn batch(&self, rows: Features<'_>) -> Result<Predictions> {
        let version = self.version.load(Ordering::SeqCst);
        let mut got = self.model().predict_batch(rows)?;
        got.model_version = version;
        Ok(got)
    }
}

fn both() -> [Arc<dyn Model>; 2] {
    [2, 1].map(|number| {
        let (path, options) = version(number);
        Arc::new(load(path, &options).unwrap()) as Arc<dyn Model>
    })
}

#[test]
fn the_checker_finds_the_mixed_answers_of_a_swap_in_two_steps() {
    common::within(LIMIT, || {
        let models = both();
        let server = Arc::new(TwoSteps {
            version: AtomicU64::new(1),
            model: RwLock::new(models[1].clone()),
        });
        let started = Instant::now();
        let seen = under_load(server.clone(), |seen| {
            let mut number = 1;
            while get(&seen.mixed) == 0 && started.elapsed() < LIMIT / 2 {
                number += 1;
                server.swap(number, models[(number % 2) as usize].clone());
            }
        });
        assert_eq!(get(&seen.failed), 0);
        assert!(get(&seen.mixed) > 0, "mixed answers went unnoticed");
    });
}

#[test]
fn the_checker_finds_a_batch_answered_by_two_versions() {
    let checker = Checker::new();
    let [even, odd] = both();
    let rows = &checker.rows;
    let mut got = odd.predict_batch(rows.features()).unwrap();
    got.model_version = 1;
    assert_eq!(checker.batch(&got), Ok(()));

    let other = even.predict_batch(rows.features()).unwrap();
    let (ours, theirs) = (got.scores.clone().unwrap(), other.scores.unwrap());
    let (mut mixed, theirs) = (ours.to_f32_vec().unwrap(), theirs.to_f32_vec().unwrap());
    let last = mixed.len() - ours.dims()[1];
    mixed[last..].copy_from_slice(&theirs[last..]);
    got.scores = Some(modelserve::tensor::Tensor::from_vec(ours.dims(), mixed).unwrap());
    assert!(checker.batch(&got).is_err(), "one foreign row went unnoticed");
}
