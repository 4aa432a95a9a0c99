//! Ten thousand reloads while eight threads predict, and a thousand of files that are broken:
//! nothing fails, nothing is mixed, memory stays.

#![cfg(all(feature = "onnx", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::iris::{Checker, version};
use common::memory::resident;
use modelserve::{ModelHandle, ModelManager, ReloadOptions};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const RELOADS: u64 = 10_000;
/// Before so many reloads there is one of a broken file.
const BROKEN_EVERY: u64 = 10;
/// Turns without a reload, before the first one: what a prediction takes then is held against what
/// it takes under reloads.
const QUIET: u64 = 1_000;
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

/// Buckets a doubling: their bounds are 4.4 % apart.
const FINE: f64 = 16.0;

/// How many single predictions took how long, without reloads and under them; counted, since a list
/// of the times would grow like a leak.
struct Took([[u64; 1024]; 2]);

impl Took {
    fn count(&mut self, reloading: bool, ns: u64) {
        let bucket = (FINE * (ns.max(1) as f64).log2()) as usize;
        self.0[usize::from(reloading)][bucket.min(1023)] += 1;
    }
}

fn predict(handle: &ModelHandle, checker: &Checker, shared: &Shared, thread: usize) -> Took {
    let mut last = 0;
    let mut made = 0;
    let mut took = Took([[0; 1024]; 2]);
    while !shared.stop.load(SeqCst) {
        if made >= shared.granted.load(SeqCst) {
            std::thread::park();
            continue;
        }
        let i = (made as usize * 7 + thread) % (checker.rows.rows - 4);
        let began = Instant::now();
        let (seen, verdict) = if made.is_multiple_of(8) {
            match handle.predict_batch(checker.some(i, 4)) {
                Ok(got) => (got.model_version, checker.batch_of(i, 4, &got)),
                Err(e) => (last, Err(format!("a batch: {e}"))),
            }
        } else {
            let got = handle.predict_row(checker.rows.row(i));
            let ns = began.elapsed().as_nanos() as u64;
            took.count(made >= QUIET * EACH, ns);
            match got {
                Ok(got) => (got.model_version, checker.row(i, &got)),
                Err(e) => (last, Err(format!("a row: {e}"))),
            }
        };
        if let Err(wrong) = verdict {
            shared.failed(wrong);
            break;
        }
        shared.changes.fetch_add(u64::from(seen != last), SeqCst);
        last = seen;
        made += 1;
        shared.made[thread].store(made, SeqCst);
    }
    took
}

/// The 99th percentile of all threads' times, in nanoseconds: the upper bound of its bucket.
fn p99(took: &[Took], reloading: bool) -> u64 {
    let counts =
        |bucket: usize| took.iter().map(|t| t.0[usize::from(reloading)][bucket]).sum::<u64>();
    let all: u64 = (0..1024).map(counts).sum();
    let mut before = 0;
    let at = (0..1024).find(|&bucket| {
        before += counts(bucket);
        before * 100 >= all * 99
    });
    ((at.unwrap_or(1023) + 1) as f64 / FINE).exp2() as u64
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
        let mut broken = 0;
        let cut = common::scratch("reload_long").join("cut.onnx");
        let whole = std::fs::read(version(1).0).unwrap();
        std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        let took = std::thread::scope(|scope| {
            let (handle, checker, shared) = (&handle, &checker, &shared);
            let threads: Vec<_> = (0..THREADS)
                .map(|i| scope.spawn(move || predict(handle, checker, shared, i)))
                .collect();
            let grant = || {
                let before = shared.granted.fetch_add(EACH, SeqCst);
                threads.iter().for_each(|t| t.thread().unpark());
                before
            };
            for _ in 0..QUIET {
                let before = grant();
                while !shared.all_made(before) {
                    std::thread::yield_now();
                }
            }
            for number in 2..RELOADS + 2 {
                // Granted before the load, so that the threads predict while it loads and swaps.
                let before = grant();
                if number.is_multiple_of(BROKEN_EVERY) {
                    let refused = manager.reload("iris", Some(&cut), &ReloadOptions::default());
                    let serving = handle.version().unwrap();
                    if refused.is_ok() || serving != number - 1 {
                        shared.failed(format!("{refused:?} of a broken file, {serving} serves"));
                    }
                    broken += 1;
                }
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
            while !shared.all_made((QUIET + RELOADS) * EACH) {
                std::thread::yield_now();
            }
            shared.stop.store(true, SeqCst);
            threads.iter().for_each(|t| t.thread().unpark());
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(*shared.problem.lock().unwrap(), None);
        let made: u64 = shared.made.iter().map(|made| made.load(SeqCst)).sum();
        let changes = shared.changes.load(SeqCst);
        let (quiet, reloading) = (p99(&took, false), p99(&took, true));
        println!(
            "{made} predictions, {changes} changes seen, {broken} broken files refused, resident \
             {warm} to {end} bytes, p99 of a row {quiet} ns without reloads, {reloading} ns under them"
        );
        assert_eq!(broken, RELOADS / BROKEN_EVERY);
        assert!(made >= PREDICTIONS, "{made} predictions");
        assert!(changes > RELOADS, "the versions hardly changed under load: {changes}");
        assert_eq!(handle.version().unwrap(), RELOADS + 1);
        assert!(end <= warm + warm / 20, "resident memory went from {warm} to {end} bytes");
    });
}
