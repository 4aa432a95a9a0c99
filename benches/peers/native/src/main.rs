//! One row through the Rust interface and through onnxruntime's C interface, in turns.
//!
//!     one_row_rust LIBONNXRUNTIME ROUNDS KEY OUR_MODEL ONNX_MODEL ROWS WIDTH
//!
//! Prints one JSON object. ROWS is a file of float32, row after row. Answers are compared first.

mod ort;
mod timing;

use modelserve::{LoadOptions, Model};
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use timing::{Times, calls_of_a_slice, rate, round};

/// The rows that calls go through in turn.
const ROWS: usize = 64;
const TOLERANCE: f64 = 1e-4;
const CALLERS: [usize; 2] = [1, 8];
const WINDOW: Duration = Duration::from_millis(200);

fn rows_of(path: &str, width: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).expect("the rows");
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .take(ROWS * width)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    values.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

/// Stops where the two answer differently: their times would mean nothing.
fn agree(model: &impl Model, session: &ort::Session, rows: &[Vec<f32>]) {
    let mut bound = session.bind(rows[0].len());
    for (i, row) in rows.iter().enumerate() {
        bound.run(row);
        let theirs = bound.scores();
        let answer = model.predict_row(row).expect("an answer");
        let ours = answer.scores.expect("scores");
        // One may give both classes' probabilities where the other gives the second one's.
        for (a, b) in ours.iter().rev().zip(theirs.iter().rev()) {
            let b = f64::from(*b);
            let off = (a - b).abs() / b.abs().max(1.0);
            assert!(off <= TOLERANCE, "row {i}: modelserve {ours:?}, onnxruntime {theirs:?}");
        }
    }
}

fn list(values: &[f64]) -> String {
    let texts: Vec<String> = values.iter().map(|v| format!("{v:.1}")).collect();
    format!("[{}]", texts.join(", "))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, rounds, _key, ours, onnx, rows, width] = arguments.as_slice() else {
        eprintln!("usage: one_row_rust LIBONNXRUNTIME ROUNDS KEY OUR_MODEL ONNX_MODEL ROWS WIDTH");
        std::process::exit(2);
    };
    let rounds: usize = rounds.parse().expect("a number of rounds");
    let rows = rows_of(rows, width.parse().expect("a width"));
    let options = LoadOptions { threads: 1, ..LoadOptions::default() };
    let model = modelserve::load(ours, &options).expect("a model");
    let session = ort::Session::load(ort::api(Path::new(library)), onnx);
    agree(&model, &session, &rows);

    let mut bound = session.bind(rows[0].len());
    let mut ask = |i: usize| {
        black_box(model.predict_row(black_box(&rows[i % rows.len()])).expect("an answer"));
    };
    let mut ask_ort = |i: usize| bound.run(black_box(&rows[i % rows.len()]));
    let (count, count_ort) = (calls_of_a_slice(&mut ask), calls_of_a_slice(&mut ask_ort));
    let (mut times, mut times_ort) = (Times::default(), Times::default());
    for number in 0..rounds {
        if number % 2 == 0 {
            round(&mut times, count, &mut ask);
            round(&mut times_ort, count_ort, &mut ask_ort);
        } else {
            round(&mut times_ort, count_ort, &mut ask_ort);
            round(&mut times, count, &mut ask);
        }
    }

    let mut rates = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..rounds.div_ceil(3) {
        for (at, callers) in CALLERS.into_iter().enumerate() {
            rates[0][at].push(rate(callers, WINDOW, || {
                |i: usize| {
                    black_box(model.predict_row(&rows[i % rows.len()]).expect("an answer"));
                }
            }));
            rates[1][at].push(rate(callers, WINDOW, || {
                let mut bound = session.bind(rows[0].len());
                let rows = &rows;
                move |i: usize| bound.run(&rows[i % rows.len()])
            }));
        }
    }
    println!(
        "{{\"row_ns\": {{\"modelserve\": {}, \"onnxruntime\": {}}}, \
         \"p99_ns\": {{\"modelserve\": {:.1}, \"onnxruntime\": {:.1}}}, \
         \"rate\": {{\"modelserve\": {{\"1\": {}, \"8\": {}}}, \
         \"onnxruntime\": {{\"1\": {}, \"8\": {}}}}}}}",
        list(&times.rounds),
        list(&times_ort.rounds),
        times.p99(),
        times_ort.p99(),
        list(&rates[0][0]),
        list(&rates[0][1]),
        list(&rates[1][0]),
        list(&rates[1][1]),
    );
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    /// The C program knows functions by their place in the table, which this compares.
    #[test]
    fn places_of_the_c_program() {
        let header = include_str!("../ort_table.h");
        macro_rules! places {
            ($($name:ident),* $(,)?) => {$(
                let place = offset_of!(ort_sys::OrtApi, $name) / size_of::<usize>();
                let line = format!("ORT_{} = {place},", stringify!($name));
                assert!(header.contains(&line), "{line}");
            )*};
        }
        places!(
            GetErrorMessage,
            CreateEnv,
            CreateSession,
            Run,
            CreateSessionOptions,
            SetSessionGraphOptimizationLevel,
            SetIntraOpNumThreads,
            SetInterOpNumThreads,
            SessionGetOutputCount,
            SessionGetInputName,
            SessionGetOutputName,
            CreateTensorWithDataAsOrtValue,
            GetTensorMutableData,
            GetTensorShapeElementCount,
            GetTensorTypeAndShape,
            CreateCpuMemoryInfo,
            GetAllocatorWithDefaultOptions,
            ReleaseTensorTypeAndShapeInfo,
        );
    }
}
