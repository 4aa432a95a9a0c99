//! A manager from a configuration file: the file's words to the options of each part.

use super::load::ModelSource;
use super::policies::{Another, CanaryRule, FallbackRule, FallbackTo, Policies, ShadowRule};
use super::rules::{RepositoryModel, RepositoryRules};
use super::{Gate, ManagerOptions, MemoryPolicy, ModelManager, ReloadOptions};
use crate::config::{
    self, BatchingConfig, BreakerConfig, CanaryConfig, ClassList, Config, ConstantConfig,
    FallbackConfig, FormatName, GateConfig, HttpConfig, Label, ModelConfig, OutputKindName,
    PlanName, PromoteConfig, ShadowConfig, TargetConfig, TaskName, VersionPolicyConfig,
};
use crate::error::{Result, err};
use crate::metrics::MetricsOptions;
use crate::model::{Answer, Classes, Format, LoadOptions, OutputKind, Task, Tolerance};
use crate::plan::PlanKind;
use crate::policy::admit::AdmitOptions;
use crate::policy::batch::BatchOptions;
use crate::policy::breaker::BreakerOptions;
use crate::policy::cache::CacheOptions;
use crate::policy::deadline::DeadlineOptions;
use crate::policy::fallback::{Constant, FallbackOptions};
use crate::policy::route::{CanaryErrors, PromotionOptions, RouterOptions, ShadowOptions};
use crate::record::RecordOptions;
use crate::repo::{RepositoryOptions, VersionPolicy, WatchOptions};
use std::path::Path;
use std::sync::Arc;

/// Puts a value that the file gives in the place of a default.
macro_rules! set {
    ($($to:expr => $from:expr),+ $(,)?) => {
        $(if let Some(value) = $from.clone() {
            $to = value;
        })+
    };
}

impl ModelManager {
    /// A manager as a TOML file describes it (`docs/configuration.md`): its models are loaded,
    /// its repository is served, its policies are set.
    ///
    /// # Errors
    /// `InvalidArgument` naming line and key for the file's content; as
    /// [`ModelManager::load_from`] and [`ModelManager::serve_repository`] for what it names.
    /// Nothing is left running then.
    pub fn from_config(path: impl AsRef<Path>) -> Result<ModelManager> {
        ModelManager::with_config(&Config::from_path(path)?)
    }

    /// As [`ModelManager::from_config`], from a configuration that was read already.
    ///
    /// # Errors
    /// As [`ModelManager::from_config`].
    pub fn with_config(config: &Config) -> Result<ModelManager> {
        let manager = ModelManager::new(manager_options(config));
        // A fresh cell: nobody has set it.
        let _ = manager.registry.http.set(config.http.clone());
        let mut rules = repository_rules(config);
        for (name, model) in &config.models {
            match &model.path {
                Some(path) => {
                    let source = ModelSource::Path(path.clone());
                    manager.load_from(name, source, &load_options(model))?;
                    let own = model.gate.as_ref().map(gate).map(Arc::new);
                    manager.slot(name)?.gate.store(own);
                }
                None => {
                    rules.models.insert(name.clone(), repository_model(model));
                }
            }
        }
        if let Some(root) = &config.manager.model_repository {
            manager.serve_repository(root, rules)?;
        }
        // Policies may name other models: set when all are there.
        for (name, model) in &config.models {
            if manager.model(name).is_err() && model.path.is_none() {
                return Err(err!(
                    NotFound,
                    "no version of it could be loaded from the model repository"
                )
                .with_model(name));
            }
            for (label, version) in &model.labels {
                manager.set_label(name, label, *version)?;
            }
            manager.set_policies(name, policies(model))?;
            if let Some(record) = &model.record {
                let mut options = RecordOptions::default();
                set!(options.sample => record.sample, options.max_bytes => record.max_bytes);
                manager.record_to_free(name, &record.path, options)?;
            }
        }
        Ok(manager)
    }

    /// What the configuration file said of HTTP, where there was one.
    pub(crate) fn http_config(&self) -> Option<&HttpConfig> {
        self.registry.http.get()
    }

    /// Sets the policies of a model from text in the words of the configuration file: what a file
    /// has in the sections `[models.<name>.…]`, without that name in front (`[batching]`,
    /// `[[fallback]]`). Policies that the text does not name are off from then on.
    ///
    /// # Errors
    /// `InvalidArgument` naming line and key for the text, also for keys that say how a model is
    /// loaded or tried; else as [`ModelManager::set_policies`]. Nothing is changed then.
    pub fn configure(&self, name: &str, toml: &str) -> Result<()> {
        self.slot(name)?;
        let config = ModelConfig::policies_from_text(name, toml).map_err(|e| e.with_model(name))?;
        self.set_policies(name, policies(&config))
    }
}

fn manager_options(config: &Config) -> ManagerOptions {
    let mut metrics = MetricsOptions::default();
    set!(
        metrics.max_series => config.metrics.max_series,
        metrics.keep_versions => config.metrics.keep_versions,
    );
    ManagerOptions {
        threads: config.manager.threads,
        memory_budget: config.manager.memory_budget,
        memory_policy: match config.manager.memory_policy {
            config::MemoryPolicy::Refuse => MemoryPolicy::Refuse,
            config::MemoryPolicy::Evict => MemoryPolicy::Evict,
        },
        metrics,
        ..ManagerOptions::default()
    }
}

fn version_policy(policy: &VersionPolicyConfig) -> VersionPolicy {
    match policy {
        VersionPolicyConfig::Latest(n) => VersionPolicy::Latest(*n),
        VersionPolicyConfig::All => VersionPolicy::All,
        VersionPolicyConfig::Specific(versions) => VersionPolicy::Specific(versions.clone()),
    }
}

fn repository_rules(config: &Config) -> RepositoryRules {
    let manager = &config.manager;
    let mut files = RepositoryOptions::default();
    set!(files.settle => manager.settle);
    let watch = manager.watch.then(|| {
        let mut watch = WatchOptions::default();
        set!(watch.poll_interval => manager.poll_interval);
        watch
    });
    let mut rules = RepositoryRules { files, watch, ..RepositoryRules::default() };
    set!(rules.version_policy => manager.version_policy.as_ref().map(version_policy));
    rules
}

fn repository_model(model: &ModelConfig) -> RepositoryModel {
    RepositoryModel {
        version_policy: model.version_policy.as_ref().map(version_policy),
        reload: ReloadOptions {
            load: Some(load_options(model)),
            allow_signature_change: false,
            gate: model.gate.as_ref().map(gate),
        },
        policies: None,
        labels: model.labels.clone(),
    }
}

fn load_options(model: &ModelConfig) -> LoadOptions {
    let mut options = LoadOptions {
        format: model.format.as_ref().map(|format| match format {
            FormatName::Onnx => Format::Onnx,
            FormatName::Safetensors => Format::Safetensors,
            FormatName::Xgboost => Format::XgBoost,
            FormatName::Lightgbm => Format::LightGbm,
            FormatName::Catboost => Format::CatBoost,
        }),
        task: model.task.as_ref().map(task),
        classes: model.classes.as_ref().map(|classes| match classes {
            ClassList::Int(v) => Classes::Int(v.clone()),
            ClassList::Str(v) => Classes::Str(v.iter().map(|s| s.as_str().into()).collect()),
        }),
        output_kind: model.output_kind.as_ref().map(|kind| match kind {
            OutputKindName::Probabilities => OutputKind::Probabilities,
            OutputKindName::Logits => OutputKind::Logits,
            OutputKindName::Scores => OutputKind::Scores,
            OutputKindName::Values => OutputKind::Values,
        }),
        label_output: model.label_output.clone(),
        scores_output: model.scores_output.clone(),
        feature_names: model.feature_names.clone(),
        version: model.version,
        display_version: model.display_version.clone(),
        ..LoadOptions::default()
    };
    set!(
        options.threads => model.threads,
        options.explain => model.explain,
        options.finite_inputs => model.finite_inputs,
        options.request_limits.rows => model.max_rows,
        options.request_limits.request_bytes => model.max_request_bytes,
    );
    if let Some(plan) = &model.plan {
        options.plan = match plan {
            PlanName::Optimised => PlanKind::Optimised,
            PlanName::Plain => PlanKind::Plain,
        };
    }
    options
}

fn task(name: &TaskName) -> Task {
    match name {
        TaskName::Classifier => Task::Classifier,
        TaskName::Multilabel => Task::Multilabel,
        TaskName::Regressor => Task::Regressor,
        TaskName::Outlier => Task::Outlier,
        TaskName::Cluster => Task::Cluster,
        TaskName::Transform => Task::Transform,
        TaskName::Tensors => Task::Tensors,
    }
}

fn policies(model: &ModelConfig) -> Policies {
    let mut policies = Policies {
        deadline: model.deadline.as_ref().map(|deadline| DeadlineOptions {
            default: deadline.default,
            ..DeadlineOptions::default()
        }),
        fallback: model.fallback.iter().filter_map(fallback).collect(),
        fallback_options: FallbackOptions::default(),
        canary: model.canary.as_ref().and_then(canary),
        shadow: model.shadow.as_ref().and_then(shadow),
        cache: model.cache.as_ref().map(|cache| {
            let mut options = CacheOptions { ttl: cache.ttl, ..CacheOptions::default() };
            set!(options.capacity_bytes => cache.capacity);
            options
        }),
        admission: model.admission.as_ref().map(|admission| {
            let mut options = AdmitOptions::default();
            set!(
                options.max_in_flight => admission.max_in_flight,
                options.shed_on_predicted_wait => admission.shed_on_predicted_wait,
            );
            options
        }),
        breaker: model.breaker.as_ref().map(breaker),
        batching: model.batching.as_ref().map(batching),
        ..Policies::default()
    };
    // Each choice keeps a share of the deadline; the first one is left that much earlier.
    policies.fallback_options.reserve = model.fallback.iter().filter_map(|f| f.reserve).sum();
    if let Some(replayed) = model.gate.as_ref().and_then(|gate| gate.replay_last) {
        policies.recent_inputs = policies.recent_inputs.max(replayed);
    }
    set!(policies.recent_inputs => model.recent_inputs);
    policies
}

fn batching(config: &BatchingConfig) -> BatchOptions {
    let mut options = BatchOptions {
        max_batch_size: BatchingConfig::DEFAULT_MAX_BATCH_SIZE,
        preferred_batch_sizes: config.preferred_batch_sizes.clone(),
        batch_invariant: config.batch_invariant,
        ..BatchOptions::default()
    };
    set!(
        options.max_batch_size => config.max_batch_size,
        options.max_queue_delay => config.max_queue_delay,
        options.max_queue_size => config.max_queue_size,
        options.concurrency => config.concurrency,
    );
    options
}

fn breaker(config: &BreakerConfig) -> BreakerOptions {
    let mut options = BreakerOptions { slow_call: config.slow_call, ..BreakerOptions::default() };
    set!(
        options.window => config.window,
        options.min_requests => config.min_requests,
        options.failure_ratio => config.failure_ratio,
        options.slow_ratio => config.slow_ratio,
        options.open_for => config.open_for,
        options.probes => config.probes,
    );
    options.max_open_for =
        config.max_open_for.unwrap_or_else(|| options.max_open_for.max(options.open_for));
    options
}

fn another(target: Option<TargetConfig<'_>>) -> Option<Another> {
    match target? {
        TargetConfig::Version(version) => Some(Another::Version(version)),
        TargetConfig::Label(label) => Some(Another::Label(label.into())),
        TargetConfig::Model(model) => Some(Another::Model(model.into())),
        TargetConfig::Constant(_) => None,
    }
}

fn fallback(config: &FallbackConfig) -> Option<FallbackRule> {
    let to = match config.target()? {
        TargetConfig::Constant(c) => FallbackTo::Constant(constant(c)),
        target => FallbackTo::Another(another(Some(target))?),
    };
    let on = config.on.as_ref().map(|kinds| kinds.iter().map(|kind| kind.kind()).collect());
    Some(FallbackRule { to, on })
}

fn constant(config: &ConstantConfig) -> Constant {
    let answer = match (&config.label, config.value) {
        (Some(Label::Int(label)), _) => Some(Answer::Int(*label)),
        (Some(Label::Str(label)), _) => Some(Answer::Str(label.as_str().into())),
        (None, value) => value.map(Answer::Value),
    };
    Constant { answer, probabilities: config.probabilities.clone(), ..Constant::default() }
}

fn canary(config: &CanaryConfig) -> Option<CanaryRule> {
    let mut options =
        RouterOptions { salt: config.salt.as_deref().map(Into::into), ..RouterOptions::default() };
    if config.on_error_use_stable == Some(false) {
        options.canary_errors = CanaryErrors::Report;
    }
    Some(CanaryRule {
        to: another(config.target())?,
        percent: config.percent.unwrap_or(0.0),
        options,
        promotion: config.promote.as_ref().map(promotion),
    })
}

fn promotion(config: &PromoteConfig) -> PromotionOptions {
    let mut options = PromotionOptions::default();
    set!(
        options.steps => config.steps,
        options.min_requests => config.min_requests,
        options.min_duration => config.min_duration,
        options.alpha => config.alpha,
        options.max_error_increase => config.max_error_increase,
    );
    if config.max_latency_ratio.is_some() {
        options.max_latency_ratio = config.max_latency_ratio;
    }
    if config.max_disagreement.is_some() {
        options.max_disagreement = config.max_disagreement;
    }
    options
}

fn shadow(config: &ShadowConfig) -> Option<ShadowRule> {
    let mut options = ShadowOptions::default();
    set!(
        options.fraction => config.percent.map(|percent| percent / 100.0),
        options.max_pending => config.max_pending,
        options.timeout => config.timeout,
        options.max_kept_examples => config.max_kept_examples,
        options.tolerance => config.tolerance.map(tolerance),
    );
    Some(ShadowRule { to: another(config.target())?, options })
}

fn tolerance(relative: f64) -> Tolerance {
    Tolerance { relative, ..Tolerance::default() }
}

fn gate(config: &GateConfig) -> Gate {
    let mut gate = Gate {
        max_drift: config.max_drift,
        max_disagreement: config.max_disagreement,
        max_latency_ratio: config.max_latency_ratio,
        ..Gate::default()
    };
    set!(gate.replay_last => config.replay_last);
    gate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FnModel;
    use std::sync::Arc;

    fn manager() -> ModelManager {
        let manager = ModelManager::new(ManagerOptions { keep_versions: 2, ..Default::default() });
        let model = |factor: f32| -> ModelSource {
            ModelSource::Model(Arc::new(FnModel::regressor(1, move |row| Ok(factor * row[0]))))
        };
        manager.load_from("m", model(1.0), &LoadOptions::default()).unwrap();
        manager.load_version("m", model(2.0), &ReloadOptions::default()).unwrap();
        manager
    }

    #[test]
    fn a_program_that_records_can_be_started_again() {
        let folder = std::env::temp_dir().join(format!("modelserve-again-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let iris = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/iris_v1/model.onnx");
        let file = folder.join("modelserve.toml");
        let text = format!("[models.m]\npath = {iris:?}\n[models.m.record]\npath = \"r\"\n");
        std::fs::write(&file, text).unwrap();
        for start in ["r", "r.1", "r.2"] {
            let manager = ModelManager::from_config(&file).unwrap();
            manager.stop_recording("m").unwrap().unwrap();
            assert!(folder.join(start).exists(), "{start}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// The last values that the check of a file lets pass: whatever it accepts has to be accepted
    /// by the policies too, or the error has no line and comes after models were loaded.
    #[test]
    fn what_the_file_check_accepts_the_policies_accept() {
        let manager = manager();
        for text in [
            "[batching]",
            "[batching]\npreferred_batch_sizes = [1, 32]",
            "[batching]\nmax_batch_size = 1\nconcurrency = 1024",
            "[breaker]\nopen_for = \"1h\"",
            "[breaker]\nmax_open_for = \"5s\"",
            "[breaker]\nfailure_ratio = 1\nslow_call = 1\nslow_ratio = 1\nmin_requests = 1\n\
             probes = 1",
            "[canary]\nversion = 2\n[canary.promote]\nmax_latency_ratio = 1\n\
             max_disagreement = 0.999\nmax_error_increase = 0.999\nalpha = 0.999\n\
             min_requests = 1\nsteps = [100]",
            "[canary]\nversion = 2\npercent = 100",
            "[shadow]\nversion = 2\npercent = 0\nmax_pending = 1\ntolerance = 0",
            "[[fallback]]\nversion = 2\non = [\"invalid_model\", \"unsupported\", \
             \"limit_exceeded\", \"not_found\", \"already_exists\", \"not_ready\", \"overloaded\", \
             \"deadline_exceeded\", \"permission_denied\", \"io\", \"execution\", \"internal\"]",
            "[admission]\nmax_in_flight = 1",
            "[cache]\ncapacity = 1\nttl = \"1ns\"",
        ] {
            manager.configure("m", text).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
        // What passes neither is told with its place.
        for (text, place) in [
            ("[batching]\npreferred_batch_sizes = [33]", "line 2, column 25"),
            ("[breaker]\nmax_open_for = \"4s\"", "line 2, column 16"),
            ("[[fallback]]\nversion = 2\non = [\"io\", \"cancelled\"]", "line 3, column 13"),
        ] {
            let e = manager.configure("m", text).expect_err(text);
            assert!(e.to_string().contains(place), "{text}: {e}");
        }
    }
}
