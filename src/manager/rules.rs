//! How a folder of models is served, and what a look at it did.

use super::ReloadOptions;
use super::policies::Policies;
use crate::repo::{Backoff, RepositoryOptions, VersionPolicy, WatchOptions};
use std::collections::BTreeMap;

/// How the models of a repository are served.
#[derive(Debug, Clone, Default)]
pub struct RepositoryRules {
    /// When the files of a version count as complete, and which links are followed.
    pub files: RepositoryOptions,
    /// Which versions of a model without rules of its own are served; the newest by default.
    pub version_policy: VersionPolicy,
    /// What is special about single models, by name.
    pub models: BTreeMap<String, RepositoryModel>,
    /// Whether a model whose folder is gone is unloaded. Off by default: an emptied folder must
    /// not take down what serves.
    pub unload_missing: bool,
    /// When a version that could not be loaded is tried again.
    pub backoff: Backoff,
    /// Follow changes of the folder; `None` looks only when [`crate::ModelManager::refresh`] is
    /// called.
    pub watch: Option<WatchOptions>,
}

/// What is special about one model of a repository.
#[derive(Debug, Clone, Default)]
pub struct RepositoryModel {
    /// Which of its versions are served; `None` as [`RepositoryRules::version_policy`] says.
    pub version_policy: Option<VersionPolicy>,
    /// How its versions are loaded.
    pub reload: ReloadOptions,
    /// Its policies, from the first version on.
    pub policies: Option<Policies>,
    /// Labels to point to these versions as soon as they are there.
    pub labels: BTreeMap<String, u64>,
}

/// What a look at a repository did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RefreshReport {
    /// Versions loaded, as `(model, version)`.
    pub loaded: Vec<(String, u64)>,
    /// Versions taken out of service.
    pub unloaded: Vec<(String, u64)>,
    /// Versions that could not be loaded, with the reason.
    pub failed: Vec<(String, u64, String)>,
    /// Names in the folder that are no models or versions, with the reason.
    pub ignored: Vec<(String, String)>,
    /// Versions that serve and whose files have changed since: a changed model wants a new
    /// number.
    pub changed: Vec<(String, u64)>,
    /// Why the folder could not be read, where it could not.
    pub error: Option<String>,
}
