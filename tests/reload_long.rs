//! Ten thousand reloads while eight threads predict: nothing fails, nothing is mixed, memory
//! stays.

#![cfg(all(feature = "onnx", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::iris::{Checker, version};
use common::memory::resident;
use modelserve::{ModelHandle, ModelManager, ReloadOptions};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const RELOADS: u64 = 10_000;
/// After so many, memory has settled: all threads, arenas and rings are there.
const WARM_UP: u64 = 1_000;
const THREADS: usize = 8;
/// Predictions of each thread while one version serves.
const EACH: u64 = 13;
const PREDICTIONS: u64 = 1_000_000;
const LIMIT: Duration = Duration::from_secs(1200);

/// What the predicting threads share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Predictions that each thread may have made by now.
    granted: AtomicU64,
    made: [AtomicU64; THREADS],
    changes: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Shared {
    fn failed(&self, what: String) {
        self.problem.lock().unwrap().get_or_insert(what);
        self.stop.store(true, SeqCst);
    }

    fn all_made(&self, wanted: u64) -> bool {
        self.stop.load(SeqCst) || self.made.iter().all(|made| made.load(SeqCst) >= wanted)
    }
}

fn predict(handle: &ModelHandle, checker: &Checker, shared: &Shared, thread: usize) {
    let mut last = 0;
    let mut made = 0;
    while !shared.stop.load(SeqCst) {
        if made >= shared.granted.load(SeqCst) {
            std::thread::park();
            continue;
        }
        let i = (made as usize * 7 + thread) % (checker.rows.rows - 4);
        let (seen, verdict) = if made.is_multiple_of(8) {
            match handle.predict_batch(checker.some(i, 4)) {
                Ok(got) => (got.model_version, checker.batch_of(i, 4, &got)),
                Err(e) => return shared.failed(format!("a batch: {e}")),
            }
        } else {
            match handle.predict_row(checker.rows.row(i)) {
                Ok(got) => (got.model_version, checker.row(i, &got)),
                Err(e) => return shared.failed(format!("a row: {e}")),
            }
        };
        if let Err(mixed) = verdict {
            return shared.failed(mixed);
        }
        shared.changes.fetch_add(u64::from(seen != last), SeqCst);
        last = seen;
        made += 1;
        shared.made[thread].store(made, SeqCst);
    }
}

#[test]
fn ten_thousand_reloads_under_a_million_predictions_fail_and_mix_nothing_and_keep_memory() {
    common::within(LIMIT, || {
        let checker = Checker::new();
        let manager = ModelManager::default();
        let (path, options) = version(1);
        let handle = manager.load("iris", path, &options).unwrap();
        let shared = Shared::default();
        let (mut warm, mut end) = (0, 0);
        std::thread::scope(|scope| {
            let (handle, checker, shared) = (&handle, &checker, &shared);
            let threads: Vec<_> = (0..THREADS)
                .map(|i| scope.spawn(move || predict(handle, checker, shared, i)))
                .collect();
            for number in 2..RELOADS + 2 {
                // Granted before the load, so that the threads predict while it loads and swaps.
                let before = shared.granted.fetch_add(EACH, SeqCst);
                threads.iter().for_each(|t| t.thread().unpark());
                let (path, load) = version(number);
                let options = ReloadOptions { load: Some(load), ..ReloadOptions::default() };
                if let Err(e) = manager.reload("iris", Some(&path), &options) {
                    shared.failed(format!("the reload to version {number}: {e}"));
                }
                while !shared.all_made(before) {
                    std::thread::yield_now();
                }
                if shared.stop.load(SeqCst) {
                    break;
                }
                if number.is_multiple_of(100) {
                    // The largest of a tenth of the run, at both ends.
                    match number {
                        n if n <= WARM_UP => warm = warm.max(resident()),
                        n if n > RELOADS - WARM_UP => end = end.max(resident()),
                        _ => {}
                    }
                }
            }
            while !shared.all_made(RELOADS * EACH) {
                std::thread::yield_now();
            }
            shared.stop.store(true, SeqCst);
            threads.iter().for_each(|t| t.thread().unpark());
        });
        assert_eq!(*shared.problem.lock().unwrap(), None);
        let made: u64 = shared.made.iter().map(|made| made.load(SeqCst)).sum();
        let changes = shared.changes.load(SeqCst);
        println!("{made} predictions, {changes} changes seen, resident {warm} to {end} bytes");
        assert!(made >= PREDICTIONS, "{made} predictions");
        assert!(changes > RELOADS, "the versions hardly changed under load: {changes}");
        assert_eq!(handle.version().unwrap(), RELOADS + 1);
        assert!(end <= warm + warm / 20, "resident memory went from {warm} to {end} bytes");
    });
}
