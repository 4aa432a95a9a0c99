//! What each policy costs on a model that costs nothing, alone and stacked; and what batching
//! gives a model that does cost something, with 64 callers.

#![allow(clippy::expect_used, reason = "a benchmark that cannot start should say so and stop")]

mod common;

use common::cases;
use criterion::{Criterion, Throughput};
use modelserve::policy::admit::AdmitOptions;
use modelserve::policy::batch::BatchOptions;
use modelserve::policy::breaker::BreakerOptions;
use modelserve::policy::cache::CacheOptions;
use modelserve::policy::deadline::DeadlineOptions;
use modelserve::policy::fallback::Constant;
use modelserve::policy::route::{RouterOptions, ShadowOptions};
use modelserve::tensor::Tensor;
use modelserve::{
    Another, Answer, CanaryRule, Ctx, FallbackRule, FallbackTo, Features, FnModel, LoadOptions,
    Model, ModelHandle, ModelManager, ModelSource, Policies, ReloadOptions, Request, ShadowRule,
};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model of 30 features that answers every row with the same prediction and does nothing else.
fn free() -> FnModel {
    let model = FnModel::regressor(30, |row| Ok(row[0]));
    let answer = model.predict_row(&[0.5; 30]).expect("an answer");
    let signature = (*model.signature()).clone();
    FnModel::new(signature, move |_, _| Ok(answer.clone().into())).with_digest("free")
}

fn manager(policies: Policies) -> ModelHandle {
    let manager = ModelManager::default();
    let source = || ModelSource::Model(Arc::new(free()));
    let handle = manager.load_from("m", source(), &LoadOptions::default()).expect("a model");
    manager.load_version("m", source(), &ReloadOptions::default()).expect("a version");
    manager.set_policies("m", policies).expect("policies");
    handle
}

/// Each policy alone, by name.
fn alone() -> Vec<(&'static str, Policies)> {
    let none = Policies::default;
    let second = Another::Version(2);
    let constant = FallbackTo::Constant(Constant::new(Answer::Value(0.0)));
    let promotion = None;
    let (to, percent, options) = (second.clone(), 50.0, RouterOptions::default());
    let canary = Some(CanaryRule { to, percent, options, promotion });
    let options = ShadowOptions { fraction: 0.0, ..ShadowOptions::default() };
    let shadow = Some(ShadowRule { to: second, options });
    vec![
        ("none (slot and metrics)", none()),
        ("recent inputs off", Policies { recent_inputs: 0, ..none() }),
        ("deadline, unset", Policies { deadline: Some(DeadlineOptions::default()), ..none() }),
        (
            "fallback",
            Policies { fallback: vec![FallbackRule { to: constant, on: None }], ..none() },
        ),
        ("canary", Policies { canary: canary.clone(), ..none() }),
        ("shadow, fraction 0", Policies { shadow, ..none() }),
        ("cache, hit", Policies { cache: Some(CacheOptions::default()), ..none() }),
        ("admission and lane", Policies { admission: Some(AdmitOptions::default()), ..none() }),
        ("breaker", Policies { breaker: Some(BreakerOptions::default()), ..none() }),
        ("batching, idle", Policies { batching: Some(batching()), ..none() }),
        (
            "all but the cache",
            Policies {
                deadline: Some(DeadlineOptions::default()),
                canary,
                admission: Some(AdmitOptions::default()),
                breaker: Some(BreakerOptions::default()),
                batching: Some(batching()),
                ..none()
            },
        ),
    ]
}

fn batching() -> BatchOptions {
    BatchOptions { max_batch_size: 32, ..BatchOptions::default() }
}

fn overhead(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("overhead of a policy");
    let row = [0.5f32; 30];
    let request = Request::Row(Features::F32 { data: &row, rows: 1, width: 30 });
    let bare = free();
    group.bench_function("the model alone", |bencher| {
        bencher.iter(|| bare.call(black_box(&request), &mut Ctx::default()).expect("an answer"));
    });
    for (name, policies) in alone() {
        let handle = manager(policies);
        group.bench_function(name, |bencher| {
            bencher
                .iter(|| handle.call(black_box(&request), &mut Ctx::default()).expect("an answer"));
        });
    }
    group.finish();
}

const CALLERS: usize = 64;

/// `CALLERS` threads ask `each` times; how long that took.
fn crowd(handle: &ModelHandle, request: &Request<'static>, each: u64) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                for _ in 0..each {
                    handle.call(request, &mut Ctx::default()).expect("an answer");
                }
            });
        }
    });
    began.elapsed()
}

fn throughput(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("64 callers");
    group.sample_size(10).throughput(Throughput::Elements(CALLERS as u64));
    for (name, path, request) in [mlp(), transformer()] {
        for (how, batching) in [("one call each", None), ("batched", Some(batching()))] {
            let manager = ModelManager::default();
            let options = LoadOptions::default();
            let handle = manager.load("m", &path, &options).expect("a model");
            let policies = Policies { batching, ..Policies::default() };
            manager.set_policies("m", policies).expect("policies");
            group.bench_function(format!("{name}/{how}"), |bencher| {
                bencher.iter_custom(|iterations| crowd(&handle, &request, iterations));
            });
        }
    }
    group.finish();
}

type Asked = (&'static str, PathBuf, Request<'static>);

fn mlp() -> Asked {
    let case = cases().into_iter().find(|case| case.name == "mlp").expect("the mlp");
    let row = Tensor::from_vec(&[1, case.width], case.rows(1)).expect("a row");
    ("mlp", case.path, Request::Row(Features::Tensor(row)))
}

fn transformer() -> Asked {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/models/transformer");
    let tokens = Tensor::from_vec(&[1, 32], (0..32i64).collect()).expect("a sequence");
    ("transformer", folder.join("model.onnx"), Request::Row(Features::Tensor(tokens)))
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    overhead(&mut criterion);
    throughput(&mut criterion);
    criterion.final_summary();
}
