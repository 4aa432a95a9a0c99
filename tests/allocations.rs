//! Once warm, a prediction of one row allocates nothing, nor one into the caller's memory; and
//! memory that the allocator refuses to a load is an error.

#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;
#[cfg(all(unix, feature = "safetensors"))]
#[path = "allocations/refused.rs"]
mod refused;

use modelserve::tensor::Tensor;
use modelserve::{Buffers, Features, LoadOptions, Model, ModelManager, Policies, load};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

/// Counts the allocations of each thread, and refuses some where a test asks for that.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: every call is passed on as it came, or answered with null, which says that there is no
// memory; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        #[cfg(all(unix, feature = "safetensors"))]
        if refused::refuses(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    f();
    COUNT.with(Cell::get) - before
}

/// Linear models, a network, forests, and native boosters, whose rows are doubles for LightGBM. (A
/// prediction holds the scores of up to eight classes without memory of its own.)
const MODELS: [&str; 9] = [
    "data/logistic/model.onnx",
    "data/logistic_strings/model.onnx",
    "data/mlp/model.onnx",
    "data/gradient_boosting/model.onnx",
    "data/lgbm_classifier/model.onnx",
    "data/random_forest_regressor/model.onnx",
    "fuzz/seeds/booster_load/trees.ubj",
    "fuzz/seeds/booster_load/trees.txt",
    "fuzz/seeds/booster_load/categories.txt",
];

#[test]
fn a_warm_prediction_allocates_nothing() {
    let manager = ModelManager::default();
    // Without the sample of requests that gates replay, which keeps copies of some.
    let mut policies = Policies::default();
    policies.recent_inputs = 0;
    for file in MODELS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let model = load(&path, &LoadOptions::default()).unwrap();
        assert!(model.info().fast_path, "{file}");
        let width = model.signature().inputs[0].row_width().unwrap();
        let row = vec![0.25f32; width];
        let handle = manager.load("served", &path, &LoadOptions::default()).unwrap();
        manager.set_policies("served", policies.clone()).unwrap();
        for _ in 0..3 {
            model.predict_row(&row).unwrap();
            handle.predict_row(&row).unwrap();
        }
        let alone = allocations(|| {
            for _ in 0..100 {
                model.predict_row(&row).unwrap();
            }
        });
        assert_eq!(alone, 0, "{file}: allocations in 100 predictions");
        let served = allocations(|| {
            for _ in 0..100 {
                handle.predict_row(&row).unwrap();
            }
        });
        assert_eq!(served, 0, "{file}: allocations in 100 predictions through a manager");
        manager.unload("served").unwrap();
    }
}

/// Pipelines: the request has tensors of its own, and nothing is added to them.
#[test]
fn a_warm_prediction_of_columns_or_texts_allocates_nothing() {
    let text = |value: &str| Tensor::from_vec(&[1], vec![value.to_string()]).unwrap();
    let number = |value: f32| Tensor::from_vec(&[1], vec![value]).unwrap();
    let columns =
        [number(31.5), Tensor::from_vec(&[1], vec![4i64]).unwrap(), text("Ulm"), text("x")];
    let rows = [("columns", columns.to_vec()), ("words", vec![text("The fox is NOT a question")])];
    for (file, tensors) in rows {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pipelines");
        let model = load(path.join(file).with_extension("onnx"), &LoadOptions::default()).unwrap();
        assert!(model.info().fast_path, "{file}");
        let features = Features::Inputs(tensors);
        let own = allocations(|| drop(features.clone()));
        let ask = || {
            let (mut label, mut scores) = ([0; 1], [0f32; 2]);
            let mut out = Buffers::default().labels(&mut label).scores_f32(&mut scores);
            model.predict_into(features.clone(), &mut out).unwrap();
        };
        (0..3).for_each(|_| ask());
        let alone = allocations(|| (0..100).for_each(|_| ask()));
        assert_eq!(alone, 100 * own, "{file}: allocations in 100 predictions");
    }
}

#[test]
fn warm_predictions_into_the_callers_memory_allocate_nothing() {
    const ROWS: usize = 5;
    let manager = ModelManager::default();
    // The sample of requests that gates replay is as small as it can be and still be full: what it
    // takes later goes into the memory of what it has.
    let mut policies = Policies::default();
    policies.recent_inputs = 1;
    for file in MODELS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let model = load(&path, &LoadOptions::default()).unwrap();
        let width = model.signature().inputs[0].row_width().unwrap();
        let (floats, doubles) = (vec![0.25f32; ROWS * width], vec![0.25f64; ROWS * width]);
        let handle = manager.load("served", &path, &LoadOptions::default()).unwrap();
        manager.set_policies("served", policies.clone()).unwrap();
        let by_name = handle.model();
        let models: [(&str, &dyn Model); 2] = [("alone", &model), ("served", &*by_name)];
        let rows: [(&str, Features<'_>); 2] = [
            ("floats", Features::F32 { data: &floats, rows: ROWS, width }),
            ("doubles", Features::F64 { data: &doubles, rows: ROWS, width }),
        ];
        for (way, model) in models {
            for (numbers, rows) in &rows {
                let mut labels = [0; ROWS];
                let (mut scores, mut wide) = ([0f32; 64 * ROWS], [0f64; 64 * ROWS]);
                let mut ask = |times| {
                    for _ in 0..times {
                        let mut out = Buffers::default().labels(&mut labels);
                        out = out.scores_f32(&mut scores);
                        model.predict_into(rows.clone(), &mut out).unwrap();
                        let mut out = Buffers::default().scores_f64(&mut wide);
                        model.predict_into(rows.clone(), &mut out).unwrap();
                    }
                };
                // One request in 64 is taken into the sample, by chance.
                ask(1000);
                let count = allocations(|| ask(1000));
                assert_eq!(count, 0, "{file}, {way}: allocations in 2000 batches of {numbers}");
            }
        }
        manager.unload("served").unwrap();
    }
}
