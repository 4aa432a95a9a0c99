//! Measures what batching does to throughput and waiting: requests arrive at random times at a
//! given rate, whether or not earlier ones are answered, and each is timed from the moment it was
//! due. Prints CSV; `plot.py` beside this file draws it.
//!
//! ```sh
//! cargo run --release --example batching_curve > build/batching.csv
//! python examples/batching_curve/plot.py build/batching.csv docs/batching.svg
//! ```
//!
//! Arguments: `--seconds N` for each point (2 by default), then names of models (all by default).
//!
//! What other processes do meanwhile falsifies a point: how many CPUs they used stands in its last
//! column (Linux only). A point is measured up to five times, until that is little. Where it never
//! was, the last try stands (not the best one: on a busy machine the others use least where we got
//! most, so choosing would flatter), and the figures should not be published.

#![allow(clippy::expect_used, missing_docs)]

use modelserve::policy::Load;
use modelserve::policy::batch::{Batch, BatchOptions};
use modelserve::tensor::Tensor;
use modelserve::{Ctx, Done, Features, LoadOptions, Model, Request, load};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A model, one-row requests for it, and the loads to offer, in requests a second.
struct Case {
    name: &'static str,
    model: Arc<dyn Model>,
    requests: Vec<Request<'static>>,
    offered: &'static [u32],
}

const SMALL: &[u32] =
    &[1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 120_000, 160_000, 240_000];
const LARGE: &[u32] = &[200, 400, 800, 1_200, 1_600, 2_000, 2_400, 3_200, 4_800, 6_400];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A trained model of the tests, with its test set.
fn trained(name: &'static str) -> Case {
    let folder = root().join("tests/data").join(name);
    let model = load(folder.join("model.onnx"), &LoadOptions::default()).expect("the model");
    let text = std::fs::read_to_string(folder.join("expected.json")).expect("the test set");
    let expected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let requests = expected["rows"].as_array().expect("rows").iter().map(|row| {
        let row: Vec<f32> = row
            .as_array()
            .expect("a row")
            .iter()
            .map(|v| v.as_f64().map_or(f32::NAN, |x| x as f32))
            .collect();
        row_of(Tensor::from_vec(&[1, row.len()], row).expect("a row"))
    });
    Case { name, requests: requests.collect(), model: Arc::new(model), offered: SMALL }
}

fn transformer(random: &mut Random) -> Case {
    let path = root().join("examples/data/models/transformer/model.onnx");
    let model = load(path, &LoadOptions::default()).expect("the model");
    let requests = (0..64).map(|_| {
        let tokens: Vec<i64> = (0..32).map(|_| (random.next() % 64) as i64).collect();
        row_of(Tensor::from_vec(&[1, 32], tokens).expect("a row"))
    });
    Case {
        name: "transformer",
        requests: requests.collect(),
        model: Arc::new(model),
        offered: LARGE,
    }
}

fn row_of(tensor: Tensor) -> Request<'static> {
    Request::Row(Features::Tensor(tensor))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The time to the next arrival of a Poisson process.
    fn gap(&mut self, rate: f64) -> Duration {
        let uniform = ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        Duration::from_secs_f64(-uniform.ln() / rate)
    }
}

/// The ways of serving that are compared: name, most rows, runs side by side (0: the default),
/// longest wait.
const MODES: [(&str, usize, usize, Duration); 4] = [
    ("off", 1, 0, Duration::ZERO),
    ("batching", 64, 0, Duration::ZERO),
    ("batching, 2 runs", 64, 2, Duration::ZERO),
    ("batching, 1 ms", 64, 0, Duration::from_millis(1)),
];
const TRIES: usize = 5;
/// CPUs of other processes below which a point stands at once.
const QUIET: f64 = 0.1;

struct Point {
    achieved: f64,
    p50: f64,
    p99: f64,
    refused: usize,
    batch_rows: f64,
    others: f64,
}

#[derive(Default)]
struct Totals {
    finished: AtomicUsize,
    refused: AtomicUsize,
    batch_rows: AtomicU64,
}

/// Offers `rate` requests a second for `time`.
fn offer(lane: &Arc<Batch>, case: &Case, rate: u32, time: Duration, random: &mut Random) -> Point {
    let due: Vec<Duration> =
        std::iter::successors(Some(Duration::ZERO), |at| Some(*at + random.gap(f64::from(rate))))
            .take_while(|at| *at < time)
            .collect();
    let count = due.len();
    let taken: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
    let totals = Arc::new(Totals::default());
    let before = cpu_ticks();
    let began = Instant::now();
    for (i, due) in due.into_iter().enumerate() {
        wait_until(began, due);
        let (taken, totals) = (taken.clone(), totals.clone());
        let done = Done::new(move |result, ctx| {
            match result {
                Ok(_) => {
                    let late = began.elapsed().saturating_sub(due).as_nanos();
                    taken[i].store(late.max(1) as u64, Relaxed);
                    totals.batch_rows.fetch_add(ctx.receipt.batch_rows.into(), Relaxed);
                }
                Err(_) => {
                    totals.refused.fetch_add(1, Relaxed);
                }
            }
            totals.finished.fetch_add(1, Relaxed);
        });
        lane.clone().submit(case.requests[i % case.requests.len()].clone(), Ctx::default(), done);
    }
    while totals.finished.load(Relaxed) < count {
        std::thread::sleep(Duration::from_micros(200));
    }
    let took = began.elapsed().as_secs_f64();
    let others = match (before, cpu_ticks()) {
        (Some(before), Some(after)) => (after - before) as f64 / 100.0 / took,
        _ => f64::NAN,
    };
    let mut taken: Vec<u64> = taken.iter().map(|ns| ns.load(Relaxed)).filter(|n| *n > 0).collect();
    taken.sort_unstable();
    let quantile = |q: f64| match taken.len() {
        0 => f64::NAN,
        n => taken[((n - 1) as f64 * q).round() as usize] as f64 / 1e3,
    };
    Point {
        achieved: taken.len() as f64 / took,
        p50: quantile(0.5),
        p99: quantile(0.99),
        refused: totals.refused.load(Relaxed),
        batch_rows: totals.batch_rows.load(Relaxed) as f64 / taken.len().max(1) as f64,
        others,
    }
}

/// Hundredths of a second that all CPUs have spent on other processes since the system started.
fn cpu_ticks() -> Option<i64> {
    let all = std::fs::read_to_string("/proc/stat").ok()?;
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let all: Vec<i64> =
        all.lines().next()?.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    let busy: i64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&i| all.get(i)).sum();
    // The name in brackets may hold spaces; utime and stime are the 14th and 15th field.
    let own = own.rsplit(')').next()?.split_whitespace().skip(11).take(2);
    Some(busy - own.filter_map(|n| n.parse::<i64>().ok()).sum::<i64>())
}

/// Sleeps through long gaps and gives way in short ones: a sleep is not exact enough for those.
fn wait_until(began: Instant, due: Duration) {
    loop {
        let left = due.saturating_sub(began.elapsed());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(Duration::from_micros(200)) {
            Some(left) => std::thread::sleep(left),
            None => std::thread::yield_now(),
        }
    }
}

fn main() {
    let mut time = Duration::from_secs(2);
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let seconds = arguments.next().and_then(|s| s.parse().ok());
                time = Duration::from_secs_f64(seconds.expect("--seconds takes a number"));
            }
            _ => names.push(argument),
        }
    }
    let mut random = Random(42);
    let cases = [trained("random_forest"), trained("mlp"), transformer(&mut random)];
    println!(
        "model,mode,offered_rps,achieved_rps,p50_us,p99_us,refused,mean_batch_rows,others_cpus"
    );
    for case in cases.iter().filter(|case| names.is_empty() || names.iter().any(|n| n == case.name))
    {
        let lanes = MODES.map(|(mode, max_batch_size, concurrency, max_queue_delay)| {
            let mut options = BatchOptions::default();
            options.max_batch_size = max_batch_size;
            options.concurrency = concurrency;
            options.max_queue_delay = max_queue_delay;
            let load = Arc::new(Load::default());
            let lane = Batch::new(case.model.clone(), options, load).expect("a lane");
            eprintln!("{}, {mode}: {}", case.name, lane.invariance());
            let lane = Arc::new(lane);
            let warm = Duration::from_millis(200);
            offer(&lane, case, case.offered[0], warm, &mut random);
            (mode, lane)
        });
        for &rate in case.offered {
            for (mode, lane) in &lanes {
                let p = undisturbed(|| offer(lane, case, rate, time, &mut random));
                println!(
                    "{},\"{mode}\",{rate},{:.0},{:.1},{:.1},{},{:.2},{:.2}",
                    case.name, p.achieved, p.p50, p.p99, p.refused, p.batch_rows, p.others
                );
            }
        }
    }
}

/// The first try that other processes left alone, else the last.
fn undisturbed(mut measure: impl FnMut() -> Point) -> Point {
    let mut point = measure();
    for _ in 1..TRIES {
        if point.others.is_nan() || point.others < QUIET {
            break;
        }
        point = measure();
    }
    point
}
