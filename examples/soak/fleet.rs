//! The models that are served, their policies, and what they answer.

use crate::truth::{Rows, Truth};
use modelserve::policy::batch::BatchOptions;
use modelserve::policy::cache::CacheOptions;
use modelserve::policy::deadline::DeadlineOptions;
use modelserve::policy::fallback::Constant;
use modelserve::policy::route::ShadowOptions;
use modelserve::{
    Another, Answer, Error, ErrorKind, FallbackRule, FallbackTo, FnModel, LoadOptions,
    ManagerOptions, Model, ModelManager, ModelSource, Policies, ReloadOptions, Result, ShadowRule,
    load,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Reloaded all the time, from good files and broken ones; cached and batched.
pub const IRIS: usize = 0;
/// A forest and a network in turn, batched, with a shadow; its policies change under way.
pub const WINE: usize = 1;
/// Canaries come, good ones and ones that get worse.
pub const CLIMB: usize = 2;
/// Slow, with a deadline, a short queue and a constant that answers in its place.
pub const SLOW: usize = 3;
pub const NAMES: [&str; 4] = ["iris", "wine", "climb", "slow"];

/// What answers in the place of the slow model.
pub const CONSTANT: f64 = -1.0;
/// Most requests that wait, by name.
pub const QUEUES: [usize; 4] = [512, 512, 1024, 16];
/// The versions of the models made in code repeat their answers after so many.
const RESIDUES: u64 = 8;
/// The first step of a panic that the soak makes itself.
pub const INJECTED: &str = "a panic made on purpose";

pub struct Fleet {
    pub manager: ModelManager,
    pub truths: Vec<Truth>,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The file of version `version` of `iris` or `wine`.
pub fn file(name: usize, version: u64) -> PathBuf {
    let folder = match (name, version % 2) {
        (IRIS, 1) => "iris_v1",
        (IRIS, _) => "iris_v2",
        (_, 1) => "random_forest",
        _ => "mlp",
    };
    data().join(folder).join("model.onnx")
}

/// Loading a version under its own number.
pub fn numbered(version: u64) -> LoadOptions {
    LoadOptions { version: Some(version), ..LoadOptions::default() }
}

/// How a model made in code behaves beside its answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Good,
    /// Takes milliseconds.
    Slow,
    /// Good for so many rows; then it fails one in three, and panics now and then.
    Worsens(u64),
}

/// Version `version` of `climb` or `slow`: the sum of the row and a number of the version.
pub fn made(version: u64, behaviour: Behaviour) -> FnModel {
    let offset = (version % RESIDUES) as f32;
    let asked = AtomicU64::new(0);
    let model = FnModel::regressor(4, move |row| {
        let sum: f32 = row.iter().sum();
        match behaviour {
            Behaviour::Good => {}
            Behaviour::Slow => {
                std::thread::sleep(Duration::from_millis(2 + sum.to_bits() as u64 % 23));
            }
            Behaviour::Worsens(after) => {
                let n = asked.fetch_add(1, Relaxed);
                if n >= after && n.is_multiple_of(3) {
                    if n.is_multiple_of(5) {
                        std::panic::panic_any(INJECTED);
                    }
                    return Err(Error::new(ErrorKind::Execution, "it has got worse"));
                }
            }
        }
        Ok(sum + offset)
    });
    model.with_version(version)
}

pub fn source(version: u64, behaviour: Behaviour) -> ModelSource {
    ModelSource::Model(Arc::new(made(version, behaviour)))
}

impl Fleet {
    /// Computes the tables, loads every model and sets its policies.
    pub fn new() -> Result<Fleet> {
        let mut truths = Vec::new();
        for (name, rows) in [(IRIS, "iris_v1"), (WINE, "random_forest")] {
            let [even, odd] = [2, 1].map(|v| load(file(name, v), &LoadOptions::default()));
            let rows = Rows::of(&data().join(rows).join("expected.json"));
            truths.push(Truth::of(rows, &[&even?, &odd?])?);
        }
        for _ in [CLIMB, SLOW] {
            let models: Vec<FnModel> = (0..RESIDUES).map(|v| made(v, Behaviour::Good)).collect();
            let models: Vec<&dyn Model> = models.iter().map(|m| m as &dyn Model).collect();
            truths.push(Truth::of(Rows::made(64, 4), &models)?);
        }
        let options = ManagerOptions { keep_versions: 2, ..ManagerOptions::default() };
        let manager = ModelManager::new(options);
        for name in [IRIS, WINE] {
            manager.load(NAMES[name], file(name, 1), &numbered(1))?;
        }
        manager.load_from(NAMES[CLIMB], source(1, Behaviour::Good), &numbered(1))?;
        manager.load_from(NAMES[SLOW], source(1, Behaviour::Slow), &numbered(1))?;
        manager.set_label(NAMES[IRIS], "blue", 1)?;
        let beside = ReloadOptions { load: Some(numbered(2)), ..ReloadOptions::default() };
        manager.load_version(NAMES[WINE], file(WINE, 2), &beside)?;
        manager.set_label(NAMES[WINE], "shadow", 2)?;
        for (name, policies) in [(IRIS, iris()), (WINE, wine(0)), (SLOW, slow())] {
            manager.set_policies(NAMES[name], policies)?;
        }
        manager.set_policies(NAMES[CLIMB], climb())?;
        Ok(Fleet { manager, truths })
    }
}

fn batching(name: usize, rows: usize, delay: Duration) -> Option<BatchOptions> {
    Some(BatchOptions {
        max_batch_size: rows,
        max_queue_delay: delay,
        max_queue_size: QUEUES[name],
        batch_invariant: true,
        ..BatchOptions::default()
    })
}

fn iris() -> Policies {
    // Too small for all answers, so that entries are evicted, too.
    let cache = CacheOptions { capacity_bytes: 64 << 10, ..CacheOptions::default() };
    Policies {
        cache: Some(cache),
        batching: batching(IRIS, 32, Duration::ZERO),
        ..Policies::default()
    }
}

/// The policies of `wine`, which change with `turn`.
pub fn wine(turn: u64) -> Policies {
    let delay = Duration::from_micros(200 * (turn % 3));
    let options = ShadowOptions { fraction: 0.1, ..ShadowOptions::default() };
    let shadow = ShadowRule { to: Another::Label("shadow".into()), options };
    Policies {
        shadow: Some(shadow),
        batching: batching(WINE, 16, delay),
        cache: turn.is_multiple_of(2).then(CacheOptions::default),
        ..Policies::default()
    }
}

/// The policies of `climb` while no canary is under way.
pub fn climb() -> Policies {
    Policies { batching: batching(CLIMB, 8, Duration::ZERO), ..Policies::default() }
}

fn slow() -> Policies {
    let constant = FallbackTo::Constant(Constant::new(Answer::Value(CONSTANT)));
    Policies {
        deadline: Some(DeadlineOptions {
            default: Some(Duration::from_millis(15)),
            ..DeadlineOptions::default()
        }),
        fallback: vec![FallbackRule { to: constant, on: None }],
        batching: Some(BatchOptions {
            concurrency: 2,
            max_queue_size: QUEUES[SLOW],
            ..BatchOptions::default()
        }),
        ..Policies::default()
    }
}
