//! Loading, one row, and a batch of 1,024 rows, for a linear pipeline, a small MLP and a forest.

#![allow(clippy::expect_used, reason = "a benchmark that cannot start should say so and stop")]

mod common;

use common::{Case, cases};
use criterion::{Criterion, Throughput};
use modelserve::{Features, LoadOptions, ManagerOptions, Model, ModelManager};
use std::hint::black_box;

const BATCH: usize = 1024;

fn options() -> LoadOptions {
    // One thread: the figures are of one core.
    LoadOptions { threads: 1, ..LoadOptions::default() }
}

fn load(criterion: &mut Criterion, cases: &[Case]) {
    let mut group = criterion.benchmark_group("load");
    for case in cases {
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| modelserve::load(black_box(&case.path), &options()).expect("a model"));
        });
    }
    group.finish();
}

fn one_row(criterion: &mut Criterion, cases: &[Case]) {
    let mut group = criterion.benchmark_group("one row");
    for case in cases {
        let row = case.rows(1);
        let model = modelserve::load(&case.path, &options()).expect("a model");
        group.bench_function(format!("{}/model", case.name), |bencher| {
            bencher.iter(|| model.predict_row(black_box(&row)).expect("an answer"));
        });
        // What a manager adds: the name, the lease on a version, the counters.
        let manager = ModelManager::new(ManagerOptions { threads: 1, ..ManagerOptions::default() });
        manager.load(case.name, &case.path, &options()).expect("a model");
        group.bench_function(format!("{}/manager", case.name), |bencher| {
            bencher.iter(|| {
                manager.predict_row(black_box(case.name), black_box(&row)).expect("an answer")
            });
        });
    }
    group.finish();
}

fn batch(criterion: &mut Criterion, cases: &[Case]) {
    let mut group = criterion.benchmark_group("batch of 1,024");
    group.throughput(Throughput::Elements(BATCH as u64));
    for case in cases {
        let data = case.rows(BATCH);
        let model = modelserve::load(&case.path, &options()).expect("a model");
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| {
                let rows = Features::F32 { data: &data, rows: BATCH, width: case.width };
                model.predict_batch(black_box(rows)).expect("answers")
            });
        });
    }
    group.finish();
}

fn main() {
    let cases = cases();
    let mut criterion = Criterion::default().configure_from_args();
    load(&mut criterion, &cases);
    one_row(&mut criterion, &cases);
    batch(&mut criterion, &cases);
    criterion.final_summary();
}
