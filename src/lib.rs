//! The serving layer as a library: load a model file, predict one row or a batch, and swap the
//! model for another under full load, inside your own process.
//!
//! ```no_run
//! use modelserve::{LoadOptions, ModelManager};
//!
//! # fn main() -> modelserve::Result<()> {
//! let manager = ModelManager::default();
//! let iris = manager.load("iris", "iris.onnx", &LoadOptions::default())?;
//! let p = iris.predict_row(&[5.1, 3.5, 1.4, 0.2])?;
//! println!("{:?} with probability {:?}", p.answer, p.probability);
//! manager.reload("iris", Some("iris_v2.onnx".as_ref()), &Default::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing in a model file is executed, every cost it can cause is bounded ([`limits`]), and no
//! input makes the library panic.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attribute;
pub mod config;
mod ensemble;
mod error;
mod executor;
mod format;
pub mod graph;
pub mod inspect;
mod kernel;
pub mod limits;
mod manager;
pub mod metrics;
mod model;
mod plan;
pub mod policy;
#[cfg_attr(
    not(feature = "onnx"),
    allow(dead_code, reason = "only ONNX files are read on after a problem")
)]
mod problem;
mod process;
pub mod protocol;
pub mod record;
pub mod repo;
mod room;
#[cfg_attr(
    not(all(feature = "onnx", feature = "safetensors")),
    allow(dead_code, reason = "only these formats have companion files, each in its own way")
)]
mod source;
mod sync;
pub mod tensor;
mod threads;

pub use error::{Error, ErrorKind, HttpStatus, Result};
pub use inspect::{Inspection, inspect, inspect_bytes, inspect_with};
pub use manager::{
    Another, CanaryRule, Event, EventKind, Events, FallbackRule, FallbackTo, Gate, GateReport,
    ManagerOptions, MemoryPolicy, MemoryUse, ModelHandle, ModelManager, ModelSource, ModelStats,
    Policies, RefreshReport, ReloadOptions, RepositoryModel, RepositoryRules, ShadowRule, Snapshot,
    VersionState, VersionStats, VersionStatus, WorstRow,
};
pub use metrics::log::{LogLevel, LogRecord, LogSink, flush_log, log_dropped, set_log_sink};
pub use metrics::{Metrics, MetricsOptions, TextFormat};
pub use model::golden::{self, Golden};
pub use model::{
    Answer, AnswerKind, Answers, Buffers, CacheUse, CancelToken, Classes, Ctx, Done, Explanations,
    FallbackReason, Features, FnModel, Format, GraphModel, ImportanceKind, LoadOptions, Model,
    ModelInfo, ModelMemory, OutputKind, Prediction, Predictions, Receipt, Reply, Request, Route,
    RowAnswer, ScoreKind, Signature, Target, Task, TensorSpec, TooShort, Written, convert_input,
    load, load_bytes,
};
pub use model::{Difference, Tolerance, compare};
pub use model::{ReplyFuture, call_async};
pub use plan::{PlanKind, PlanStep, operators};
pub use problem::Problem;
pub use process::after_fork;
pub use protocol::{Http, HttpOptions, HttpRequest, HttpRequestBuf, HttpResponse};

/// The Rust of the documents, compiled as doctests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/caching.md")]
    struct Caching;
    #[doc = include_str!("../docs/http.md")]
    struct Http;
    #[doc = include_str!("../docs/reference/rust.md")]
    struct Reference;
    #[doc = include_str!("../docs/resilience.md")]
    struct Resilience;
    #[doc = include_str!("../docs/traffic.md")]
    struct Traffic;
}
