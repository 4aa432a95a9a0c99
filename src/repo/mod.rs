//! A folder of models and versions: what lies there, what of it is complete, and what should be
//! loaded.
//!
//! ```text
//! models/<name>/<version>/{model.onnx | model.safetensors + config.json}
//!                         [labels.txt] [golden.jsonl] [warmup.jsonl] [manifest.sha256]
//! ```
//!
//! Nothing here loads a model. [`Repository::scan`] looks, [`reconcile`] compares what it saw with
//! what is loaded and says what to do, and whoever holds the models does it:
//!
//! ```
//! use modelserve::repo::{Action, Policies, Repository, RepositoryOptions, States, reconcile};
//! use std::time::Instant;
//!
//! # fn main() -> modelserve::Result<()> {
//! # let root = std::env::temp_dir();
//! let repository = Repository::open(&root, RepositoryOptions::default())?;
//! let (policies, states) = (Policies::default(), States::new());
//! let now = Instant::now();
//! let scan = repository.scan(&policies, now);
//! let plan = reconcile(&scan, &policies, &states, now);
//! for action in &plan.actions {
//!     match action {
//!         Action::Load(found) => println!("load {}", found.model_path().display()),
//!         Action::Unload { model, version } => println!("unload {model} {version}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod contents;
mod golden;
mod labels;
mod layout;
mod manifest;
mod plan;
mod policy;
mod scan;
mod stability;
mod version;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

pub use backoff::{Backoff, Failure};
pub use contents::Fingerprint;
pub(crate) use golden::golden_files;
pub use labels::Labels;
pub use layout::Ignored;
pub use plan::{Action, Plan, States, VersionState, reconcile};
pub use policy::{Policies, VersionPolicy};
pub use scan::{Candidate, ModelScan, Readiness, Repository, RepositoryOptions, Scan};
pub use version::FoundVersion;
pub use watch::{OnChange, WatchMode, WatchOptions, Watcher};

/// Most entries that a folder of models or of versions may have.
pub const MAX_ENTRIES: usize = 1_000_000;
/// Most versions of one model that a scan looks into; the newest ones. Numbers beyond are listed
/// only.
pub const MAX_INSPECTED: usize = 1_000;
/// Most files of one version.
pub const MAX_FILES: usize = 4_096;
/// How deep the folders of a version may nest.
pub const MAX_DEPTH: usize = 8;
/// Most bytes of a manifest.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Most bytes of `labels.txt`.
pub const MAX_LABELS_BYTES: u64 = 16 << 20;
/// Most labels.
pub const MAX_LABELS: usize = 1_000_000;
/// Most bytes of one label.
pub const MAX_LABEL_BYTES: usize = 4_096;
/// Most bytes of `golden.jsonl`, and of `warmup.jsonl`.
pub const MAX_GOLDEN_BYTES: u64 = 64 << 20;
/// Most ignored entries that a scan names; the others are counted.
pub const MAX_IGNORED: usize = 1_000;
