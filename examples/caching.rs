//! Measures the response cache: what a hit and a miss cost, and when it pays.
//!
//! ```sh
//! cargo run --release --example caching
//! ```
//!
//! The figures in docs/caching.md come from here. One thread asks; the models are those of
//! tests/data, and a network of 512 hidden units written here.

use modelserve::policy::cache::{Cache, CacheOptions, CacheStore};
use modelserve::{Ctx, Features, LoadOptions, Model, Request, Result, load, load_bytes};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Different rows that are asked for.
const KEYS: usize = 200_000;
/// Requests of one measurement of traffic.
const REQUESTS: usize = 400_000;
/// Room for about an eighth of the rows.
const SMALL: u64 = 16 << 20;

fn main() -> Result<()> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let file = |name: &str| -> Result<Arc<dyn Model>> {
        Ok(Arc::new(load(data.join(name), &LoadOptions::default())?))
    };
    let models = [
        ("logistic", file("logistic/model.onnx")?),
        ("random_forest", file("random_forest/model.onnx")?),
        ("mlp", file("mlp/model.onnx")?),
        ("network 30-512-512-1", network(30, 512)?),
    ];
    println!("One row, nanoseconds (best of 100 rounds):\n");
    println!("| model | width | alone | miss | hit | hit of a row in a batch of 64 |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, model) in &models {
        costs(name, model)?;
    }
    println!(
        "\nZipf traffic, {KEYS} rows, cache of {} MiB, nanoseconds (median turn):\n",
        SMALL >> 20
    );
    println!("| model | s | hit rate | without | with |");
    println!("|---|---:|---:|---:|---:|");
    for (name, model) in &models {
        for s in [0.8, 1.0, 1.2] {
            traffic(name, model, s)?;
        }
    }
    Ok(())
}

/// The width of the only input.
fn width(model: &Arc<dyn Model>) -> usize {
    model.signature().inputs.first().and_then(|input| input.row_width()).unwrap_or(1)
}

fn cached(model: &Arc<dyn Model>, capacity: u64) -> Cache {
    let options = CacheOptions { capacity_bytes: capacity, ..CacheOptions::default() };
    Cache::new(model.clone(), CacheStore::new(options))
}

/// Nanoseconds of one of `n` calls, the best of many short rounds, so that what else the machine
/// does falls out; `round` makes what a round needs.
fn best<T>(
    n: usize,
    mut round: impl FnMut() -> T,
    mut call: impl FnMut(&T, usize) -> Result<()>,
) -> Result<f64> {
    let mut least = Duration::MAX;
    for _ in 0..100 {
        let made = round();
        let began = Instant::now();
        for i in 0..n {
            call(&made, i)?;
        }
        least = least.min(began.elapsed());
    }
    Ok(least.as_nanos() as f64 / n as f64)
}

fn costs(name: &str, model: &Arc<dyn Model>) -> Result<()> {
    let width = width(model);
    let n = if model.estimated_ns(1) > 20_000 { 64 } else { 512 };
    let rows = rows(n, width);
    let row = |i: usize| &rows[i * width..(i + 1) * width];
    let none = || ();
    let alone = best(n, none, |(), i| {
        black_box(model.predict_row(black_box(row(i)))?);
        Ok(())
    })?;
    let capacity = 64 << 20;
    let miss = best(
        n,
        || cached(model, capacity),
        |cache, i| {
            black_box(cache.predict_row(black_box(row(i)))?);
            Ok(())
        },
    )?;
    let warm = cached(model, capacity);
    for i in 0..n {
        warm.predict_row(row(i))?;
    }
    let hit = best(n, none, |(), i| {
        black_box(warm.predict_row(black_box(row(i)))?);
        Ok(())
    })?;
    let batch = Features::F32 { data: &rows[..64 * width], rows: 64, width };
    warm.predict_batch(batch.clone())?;
    let request = Request::Batch(batch);
    let in_batch = best(16, none, |(), _| {
        black_box(warm.call(black_box(&request), &mut Ctx::default())?);
        Ok(())
    })? / 64.0;
    println!("| {name} | {width} | {alone:.0} | {miss:.0} | {hit:.0} | {in_batch:.0} |");
    Ok(())
}

/// The same requests without and with the cache in turns of a few hundred; the median turn of
/// each, so that what else the machine does falls on both alike.
fn traffic(name: &str, model: &Arc<dyn Model>, s: f64) -> Result<()> {
    const TURN: usize = 400;
    let width = width(model);
    let requests = if model.estimated_ns(1) > 20_000 { REQUESTS / 10 } else { REQUESTS };
    let rows = rows(KEYS, width);
    let asked = zipf(2 * requests, s);
    let row = |key: usize| &rows[key * width..(key + 1) * width];
    let mean = |model: &dyn Model, keys: &[usize]| -> Result<f64> {
        let began = Instant::now();
        for &key in keys {
            black_box(model.predict_row(black_box(row(key)))?);
        }
        Ok(began.elapsed().as_nanos() as f64 / keys.len() as f64)
    };
    let (warming, measured) = asked.split_at(requests);
    let cache = cached(model, SMALL);
    mean(&cache, warming)?;
    let before = cache.store().stats();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for turn in measured.chunks(TURN) {
        without.push(mean(&**model, turn)?);
        with.push(mean(&cache, turn)?);
    }
    let after = cache.store().stats();
    let rate = (after.hits - before.hits) as f64 / measured.len() as f64;
    println!(
        "| {name} | {s:.1} | {:.0} % | {:.0} | {:.0} |",
        rate * 100.0,
        median(without),
        median(with)
    );
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A generator of fixed seed, so that every run asks the same.
struct Random(u64);

impl Random {
    /// Uniform in `[0, 1)`.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn rows(n: usize, width: usize) -> Vec<f32> {
    let mut random = Random(1);
    (0..n * width).map(|_| (random.next() * 10.0) as f32).collect()
}

/// Keys whose frequencies fall as `rank^-s`; ranks are spread over the rows.
fn zipf(n: usize, s: f64) -> Vec<usize> {
    let mut sums = Vec::with_capacity(KEYS);
    let mut sum = 0.0;
    for rank in 1..=KEYS {
        sum += (rank as f64).powf(-s);
        sums.push(sum);
    }
    let mut random = Random(2);
    (0..n)
        .map(|_| {
            let at = random.next() * sum;
            let rank = sums.partition_point(|&upto| upto < at).min(KEYS - 1);
            rank * 7919 % KEYS
        })
        .collect()
}

/// A network of two hidden layers, as a safetensors file with its layer description.
fn network(inputs: usize, hidden: usize) -> Result<Arc<dyn Model>> {
    let mut random = Random(3);
    let layers = [(hidden, inputs), (hidden, hidden), (1, hidden)];
    let (mut header, mut bytes) = (serde_json::Map::new(), Vec::new());
    let mut add = |name: String, shape: Vec<usize>, scale: f64| {
        let begin = bytes.len();
        for _ in 0..shape.iter().product::<usize>() {
            bytes.extend_from_slice(&(((random.next() - 0.5) * scale) as f32).to_le_bytes());
        }
        let entry = serde_json::json!({
            "dtype": "F32", "shape": shape, "data_offsets": [begin, bytes.len()],
        });
        header.insert(name, entry);
    };
    for (i, (out, width)) in layers.into_iter().enumerate() {
        add(format!("{i}.weight"), vec![out, width], 0.2);
        add(format!("{i}.bias"), vec![out], 0.2);
    }
    let mut head = serde_json::Value::Object(header).to_string();
    head.push_str(&" ".repeat(8 - head.len() % 8));
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(head.as_bytes());
    file.extend_from_slice(&bytes);
    let config = serde_json::json!({
        "format": "modelserve-layers",
        "version": 1,
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", inputs]}],
        "layers": [
            {"type": "linear", "name": "0", "in": inputs, "out": hidden},
            {"type": "relu"},
            {"type": "linear", "name": "1", "in": hidden, "out": hidden},
            {"type": "relu"},
            {"type": "linear", "name": "2", "in": hidden, "out": 1},
        ],
        "task": "regressor",
    })
    .to_string();
    let options = LoadOptions { config: Some(config), ..LoadOptions::default() };
    Ok(Arc::new(load_bytes(file, &options)?))
}
