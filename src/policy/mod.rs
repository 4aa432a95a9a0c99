//! Policies: models that wrap other models.
//!
//! Each is a [`Model`] itself, so that they compose, and each can be tested around a stub
//! ([`crate::FnModel`]). A manager stacks them in one fixed order: deadline → fallback → route
//! (canary, shadow) → version [cache → admission → breaker → batching → plan].
//!
//! A policy answers [`Model::call`] in the calling thread and [`Model::submit`] without holding
//! the caller: what happens before and after the wrapped model is one rule, written once and used
//! by both.

pub mod admit;
pub mod batch;
pub mod breaker;
pub mod cache;
pub mod deadline;
pub mod fallback;
mod load;
pub mod route;

pub use load::Load;

use crate::error::Result;
use crate::model::Model;
use std::sync::Arc;

/// Finds a model at the moment of a request: the version that a name or label means just then.
/// What it answers serves that request to its end.
pub type Resolve = Arc<dyn Fn() -> Result<Arc<dyn Model>> + Send + Sync>;
