//! What traffic control promises.

mod deadline;
mod handover;
mod promotion;
mod router;
mod shadow;
mod simulation;

use super::*;
use crate::error::{Result, err};
use crate::model::{Answer, Ctx, Done, Features, FnModel, Model, Reply, Request};
use crate::policy::Resolve;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// No test is to hang; none depends on how long anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A regressor of one feature.
fn model(version: u64, f: impl Fn(f32) -> Result<f32> + Send + Sync + 'static) -> Arc<dyn Model> {
    Arc::new(FnModel::regressor(1, move |row| f(row[0])).with_version(version))
}

fn always(model: Arc<dyn Model>) -> Resolve {
    Arc::new(move || Ok(model.clone()))
}

fn one(x: &f32) -> Request<'_> {
    Request::Row(Features::F32 { data: std::slice::from_ref(x), rows: 1, width: 1 })
}

fn keyed(key: &str) -> Ctx {
    Ctx { key: Some(key.into()), ..Ctx::default() }
}

fn call(model: &dyn Model, x: f32, mut ctx: Ctx) -> (Result<Reply>, Ctx) {
    (model.call(&one(&x), &mut ctx), ctx)
}

fn submit(model: Arc<dyn Model>, x: f32, ctx: Ctx) -> (Result<Reply>, Ctx) {
    let (tx, rx) = mpsc::channel();
    let done = Done::new(move |result, ctx| tx.send((result, ctx)).unwrap());
    model.submit(one(&x).into_owned().unwrap(), ctx, done);
    let answered = rx.recv_timeout(PATIENCE).unwrap();
    assert!(rx.recv().is_err(), "answered twice");
    answered
}

fn value(result: Result<Reply>) -> f64 {
    match result.unwrap().into_row().unwrap().answer {
        Answer::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

/// Waits for what happens on another thread.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A model that panics wherever it is asked, and contains nothing.
struct Panics(Arc<dyn Model>);

impl Model for Panics {
    fn signature(&self) -> Arc<crate::model::Signature> {
        self.0.signature()
    }

    fn info(&self) -> crate::model::ModelInfo {
        self.0.info()
    }

    fn call(&self, _: &Request<'_>, _: &mut Ctx) -> Result<Reply> {
        panic!("a defect of a model")
    }

    fn submit(self: Arc<Self>, _: Request<'static>, _: Ctx, _: Done) {
        panic!("a defect of a model")
    }
}
