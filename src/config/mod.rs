//! The configuration file: one TOML file that sets up a manager and its models.
//!
//! The structs are plain data, and their field names are the file's keys; every section but
//! `[manager]`, `[metrics]` and `[http]` turns a policy on by being there. What a key means and what it is
//! when left out is in its field's description, from which the JSON schema
//! (`docs/modelserve.schema.json`) and the table of `docs/configuration.md` are made.
//!
//! A file is accepted whole or not at all. An error names the file, the line, the column and the
//! key, what was expected and what was found.
//!
//! ```
//! let config: modelserve::config::Config = r#"
//!     [models.churn]
//!     path = "churn.onnx"
//!     [models.churn.deadline]
//!     default = "50ms"
//! "#.parse()?;
//! let deadline = config.models["churn"].deadline.as_ref().and_then(|d| d.default);
//! assert_eq!(deadline, Some(std::time::Duration::from_millis(50)));
//!
//! let typo = "[models.churn.batching]\nmax_batchsize = 32".parse::<modelserve::config::Config>();
//! assert_eq!(
//!     typo.unwrap_err().to_string(),
//!     "unknown key 'max_batchsize' in [models.churn.batching] at line 2, column 1; \
//!      did you mean 'max_batch_size'?"
//! );
//! # Ok::<(), modelserve::Error>(())
//! ```

mod check;
mod locate;
mod model;
mod policy;
mod schema;
mod value;

pub use model::{
    ClassList, Config, FormatName, HttpConfig, ManagerConfig, MemoryPolicy, MetricsConfig,
    ModelConfig, OutputKindName, PlanName, TaskName,
};
pub use policy::{
    AdmissionConfig, BatchingConfig, BreakerConfig, CacheConfig, CanaryConfig, ConstantConfig,
    DeadlineConfig, ErrorName, FallbackConfig, GateConfig, Label, PromoteConfig, RecordConfig,
    ShadowConfig, TargetConfig,
};
pub use schema::schema;
pub use value::{Token, VersionPolicyConfig};

use crate::error::{Result, ensure, err};
use crate::limits::LoadLimits;
use crate::source::Source;
use locate::Document;
use std::path::{Path, PathBuf};

/// Most bytes of a configuration file (1 MiB).
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

impl Config {
    /// Reads a configuration from a file. Relative paths in it are relative to the file's
    /// folder, and are answered joined to it.
    ///
    /// # Errors
    /// `InvalidArgument` naming file, line, column and key; `LimitExceeded` above
    /// [`MAX_CONFIG_BYTES`]; `NotFound`, `PermissionDenied` or `Io` from the system.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        let limits = LoadLimits { file_bytes: MAX_CONFIG_BYTES as u64, ..LoadLimits::default() };
        let source = Source::open(path, &limits)?;
        let mut config =
            Config::from_bytes(source.bytes()).map_err(|e| e.context(path.display()))?;
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            config.join_paths(folder);
        }
        Ok(config)
    }

    /// Reads a configuration from the bytes of a TOML file. Relative paths stay as they are.
    ///
    /// # Errors
    /// `InvalidArgument` naming line, column and key; `LimitExceeded` above
    /// [`MAX_CONFIG_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Config> {
        ensure!(
            bytes.len() <= MAX_CONFIG_BYTES,
            LimitExceeded,
            "the configuration has {} bytes; at most {MAX_CONFIG_BYTES} are read",
            bytes.len()
        );
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let good = bytes.get(..e.valid_up_to()).unwrap_or_default();
            let at = locate::Position::after(&String::from_utf8_lossy(good));
            err!(InvalidArgument, "expected UTF-8 text, found another byte at {at}")
        })?;
        let document = Document::parse(text)?;
        let config = toml::from_str(text).map_err(|e| document.explain(&e))?;
        check::check(&config, &document)?;
        Ok(config)
    }

    fn join_paths(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&*path);
        if let Some(path) = &mut self.manager.model_repository {
            join(path);
        }
        if let Some(root) = &mut self.http.root {
            join(root);
        }
        for model in self.models.values_mut() {
            if let Some(path) = &mut model.path {
                join(path);
            }
            if let Some(record) = &mut model.record {
                join(&mut record.path);
            }
        }
    }
}

impl ModelConfig {
    /// Reads the policies of the model `name` from what a file has in its section, without the
    /// section's name: `[batching]` for `[models.<name>.batching]`, and so on.
    ///
    /// # Errors
    /// `InvalidArgument` naming line, column and key, also for keys that say how a model is
    /// loaded; `LimitExceeded` above [`MAX_CONFIG_BYTES`].
    pub(crate) fn policies_from_text(name: &str, text: &str) -> Result<ModelConfig> {
        ensure!(
            text.len() <= MAX_CONFIG_BYTES,
            LimitExceeded,
            "the policies have {} bytes; at most {MAX_CONFIG_BYTES} are read",
            text.len()
        );
        let document = Document::parse(text)?;
        let model = toml::from_str(text).map_err(|e| document.explain(&e))?;
        check::check_policies(name, &model, &document)?;
        Ok(model)
    }
}

impl std::str::FromStr for Config {
    type Err = crate::Error;

    /// As [`Config::from_bytes`].
    fn from_str(text: &str) -> Result<Config> {
        Config::from_bytes(text.as_bytes())
    }
}

#[cfg(test)]
mod tests;
