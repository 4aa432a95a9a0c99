//! The checks of one model and of its policies.

use super::super::locate::{Step, suggestion};
use super::super::model::{ClassList, Config, ModelConfig};
use super::super::policy::{
    BatchingConfig, BreakerConfig, CanaryConfig, ConstantConfig, FallbackConfig, GateConfig, Label,
    PromoteConfig, RecordConfig, ShadowConfig, TargetConfig,
};
use super::super::value::VersionPolicyConfig;
use super::{Checker, is_model_name, wide};
use crate::policy::batch::MAX_CONCURRENCY;
use crate::policy::breaker::BreakerOptions;
use crate::policy::fallback::FallbackChoice;
use std::collections::BTreeSet;

/// How far from 1 the sum of a constant's probabilities may be: what writing them with a few
/// digits costs.
const SUM_TOLERANCE: f64 = 1e-3;

pub(super) struct ModelCheck<'a> {
    pub(super) config: &'a Config,
    pub(super) name: &'a str,
    pub(super) model: &'a ModelConfig,
}

impl ModelCheck<'_> {
    pub(super) fn check(&self, c: &mut Checker<'_>) {
        let m = self.model;
        if !is_model_name(self.name) {
            c.complain("expected a model's name: 1 to 128 of A-Z a-z 0-9 . _ - and no dot first");
        }
        self.origin(c);
        self.labels(c);
        self.meaning(c);
        c.at_least("max_rows", m.max_rows.map(wide));
        c.at_least("max_request_bytes", m.max_request_bytes);
        if let Some(deadline) = &m.deadline {
            c.within("deadline", |c| c.positive_time("default", deadline.default));
        }
        c.within("fallback", |c| {
            for (i, fallback) in m.fallback.iter().enumerate() {
                c.step(Step::Index(i), |c| {
                    c.one_of(&[
                        ("version", fallback.version.is_some()),
                        ("label", fallback.label.is_some()),
                        ("model", fallback.model.is_some()),
                        ("constant", fallback.constant.is_some()),
                    ]);
                    self.target(c, fallback.target());
                    check_on(c, fallback);
                });
            }
        });
        if let Some(canary) = &m.canary {
            c.within("canary", |c| self.canary(c, canary));
        }
        if let Some(shadow) = &m.shadow {
            c.within("shadow", |c| self.shadow(c, shadow));
        }
        if let Some(cache) = &m.cache {
            c.within("cache", |c| {
                c.at_least("capacity", cache.capacity);
                c.positive_time("ttl", cache.ttl);
            });
        }
        if let Some(admission) = &m.admission {
            let most = admission.max_in_flight.map(wide);
            c.within("admission", |c| c.at_least("max_in_flight", most));
        }
        if let Some(breaker) = &m.breaker {
            c.within("breaker", |c| check_breaker(c, breaker));
        }
        if let Some(batching) = &m.batching {
            c.within("batching", |c| check_batching(c, batching));
        }
        if let Some(gate) = &m.gate {
            c.within("gate", |c| check_gate(c, gate));
        }
        if let Some(record) = &m.record {
            c.within("record", |c| check_record(c, record));
        }
    }

    /// Where the model comes from, and which versions of it.
    fn origin(&self, c: &mut Checker<'_>) {
        let m = self.model;
        let repository = self.config.manager.model_repository.is_some();
        if m.path.is_none() && !repository {
            c.complain("expected a path, or a model_repository in [manager], got neither");
        }
        if m.path.as_ref().is_some_and(|p| p.as_os_str().is_empty()) {
            c.within("path", |c| c.complain("expected a path, got \"\""));
        }
        let policy = "is for models of the repository, and this one has a path";
        c.require("version_policy", m.path.is_none() || m.version_policy.is_none(), policy);
        if let Some(version) = m.version {
            c.version("version", version);
            let message = format_args!(
                "is for models with a path; version_policy = \"specific({version})\" asks the \
                 repository for this version"
            );
            c.require("version", m.path.is_some(), message);
        }
        let message = "is for models with a path";
        c.require("display_version", m.path.is_some() || m.display_version.is_none(), message);
    }

    /// The versions that there can be, where the file tells.
    fn versions(&self) -> Option<Vec<u64>> {
        if self.model.path.is_some() {
            return self.model.version.map(|v| vec![v]);
        }
        let of_manager = self.config.manager.version_policy.as_ref();
        match self.model.version_policy.as_ref().or(of_manager) {
            Some(VersionPolicyConfig::Specific(versions)) => Some(versions.clone()),
            _ => None,
        }
    }

    /// Fallbacks and routes may name versions that come later, labels may not: they are what the
    /// file itself promises.
    fn labels(&self, c: &mut Checker<'_>) {
        let versions = self.versions();
        c.within("labels", |c| {
            for (label, &version) in &self.model.labels {
                let message = "expected a label of 1 to 128 of A-Z a-z 0-9 . _ - and no dot first";
                c.require(label, is_model_name(label), message);
                c.version(label, version);
                if let Some(versions) = &versions
                    && !versions.contains(&version)
                {
                    let known = list(versions);
                    let message =
                        format_args!("expected a version that is loaded ({known}), got {version}");
                    c.require(label, false, message);
                }
            }
        });
    }

    /// Classes and features.
    fn meaning(&self, c: &mut Checker<'_>) {
        if let Some(repeated) = self.model.classes.as_ref().and_then(repeated_class) {
            c.within("classes", |c| c.complain(format_args!("{repeated} is there twice")));
        }
        if let Some(names) = &self.model.feature_names {
            c.require("feature_names", !names.is_empty(), "expected one name or more, got []");
            if let Some(name) = repeated(names) {
                c.within("feature_names", |c| c.complain(format_args!("{name:?} is there twice")));
            }
        }
    }

    fn target(&self, c: &mut Checker<'_>, target: Option<TargetConfig<'_>>) {
        match target {
            Some(TargetConfig::Version(version)) => c.version("version", version),
            Some(TargetConfig::Label(label)) => {
                let known: Vec<String> = self.model.labels.keys().cloned().collect();
                // Labels can be set while serving, so one is missed only beside others.
                let holds = known.is_empty() || known.iter().any(|k| k == label);
                let message =
                    format_args!("there is no label '{label}'{}", suggestion(label, &known));
                c.require("label", holds, message);
            }
            Some(TargetConfig::Model(model)) => {
                c.require("model", model != self.name, "expected another model than this one");
                let known: Vec<String> =
                    self.config.models.keys().filter(|k| *k != self.name).cloned().collect();
                let holds = self.config.models.contains_key(model)
                    || (self.config.manager.model_repository.is_some() && is_model_name(model));
                let message =
                    format_args!("there is no model '{model}'{}", suggestion(model, &known));
                c.require("model", holds, message);
            }
            Some(TargetConfig::Constant(constant)) => {
                c.within("constant", |c| self.constant(c, constant));
            }
            None => {}
        }
    }

    fn constant(&self, c: &mut Checker<'_>, constant: &ConstantConfig) {
        c.one_of(&[("label", constant.label.is_some()), ("value", constant.value.is_some())]);
        if constant.value.is_some_and(|v| !v.is_finite()) {
            c.within("value", |c| c.complain("expected a finite number"));
        }
        if let (Some(label), Some(classes)) = (&constant.label, &self.model.classes) {
            let known = match (label, classes) {
                (Label::Int(label), ClassList::Int(classes)) => classes.contains(label),
                (Label::Str(label), ClassList::Str(classes)) => classes.contains(label),
                _ => false,
            };
            c.require("label", known, "expected one of the model's classes");
        }
        let Some(probabilities) = &constant.probabilities else { return };
        let message = "are for a label, and this constant has a value";
        c.require("probabilities", constant.value.is_none(), message);
        let sum: f64 = probabilities.iter().sum();
        let fits = probabilities.iter().all(|p| (0.0..=1.0).contains(p));
        let message = format_args!("expected numbers from 0 to 1 with sum 1, got sum {sum}");
        c.require("probabilities", fits && (sum - 1.0).abs() <= SUM_TOLERANCE, message);
        if let Some(classes) = &self.model.classes {
            let (expected, got) = (classes.len(), probabilities.len());
            let message = format_args!("expected one for each of {expected} classes, got {got}");
            c.require("probabilities", expected == got, message);
        }
    }

    fn canary(&self, c: &mut Checker<'_>, canary: &CanaryConfig) {
        c.one_of(&[
            ("version", canary.version.is_some()),
            ("label", canary.label.is_some()),
            ("model", canary.model.is_some()),
        ]);
        self.target(c, canary.target());
        c.between("percent", canary.percent, 0.0, 100.0);
        if canary.percent.is_none() && canary.promote.is_none() {
            c.complain("expected percent, or the steps of a [promote] section, got neither");
        }
        if let Some(promote) = &canary.promote {
            c.within("promote", |c| check_promote(c, promote));
        }
    }

    fn shadow(&self, c: &mut Checker<'_>, shadow: &ShadowConfig) {
        c.one_of(&[
            ("version", shadow.version.is_some()),
            ("label", shadow.label.is_some()),
            ("model", shadow.model.is_some()),
        ]);
        self.target(c, shadow.target());
        c.between("percent", shadow.percent, 0.0, 100.0);
        c.at_least("max_pending", shadow.max_pending.map(wide));
        c.positive_time("timeout", shadow.timeout);
        c.no_less("tolerance", shadow.tolerance, 0.0);
    }
}

/// Errors that no fallback may hide from the caller.
fn check_on(c: &mut Checker<'_>, fallback: &FallbackConfig) {
    let kinds = fallback.on.iter().flatten().map(|name| name.kind());
    for (i, kind) in kinds.enumerate() {
        if FallbackChoice::NEVER_ON.contains(&kind) {
            c.within("on", |c| {
                c.step(Step::Index(i), |c| {
                    c.complain("is the caller's doing, and the caller must see it");
                });
            });
        }
    }
}

fn check_promote(c: &mut Checker<'_>, promote: &PromoteConfig) {
    if let Some(steps) = &promote.steps {
        let ascending = steps.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        let holds =
            ascending && steps.first().is_some_and(|s| *s > 0.0) && steps.last() == Some(&100.0);
        let message =
            format_args!("expected percents that ascend from above 0 to 100, got {steps:?}");
        c.require("steps", holds, message);
    }
    c.at_least("min_requests", promote.min_requests);
    if let Some(alpha) = promote.alpha {
        let message = format_args!("expected a number between 0 and 1, got {alpha}");
        c.require("alpha", alpha > 0.0 && alpha < 1.0, message);
    }
    c.no_less("max_latency_ratio", promote.max_latency_ratio, 1.0);
    c.rate("max_disagreement", promote.max_disagreement);
    c.rate("max_error_increase", promote.max_error_increase);
}

fn check_batching(c: &mut Checker<'_>, batching: &BatchingConfig) {
    c.at_least("max_batch_size", batching.max_batch_size.map(wide));
    let sizes = &batching.preferred_batch_sizes;
    let ascending = sizes.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    let message = format_args!("expected sizes that ascend from 1 or more, got {sizes:?}");
    c.require("preferred_batch_sizes", ascending && sizes.first() != Some(&0), message);
    if let Some(&largest) = sizes.last() {
        let most = batching.max_batch_size.unwrap_or(BatchingConfig::DEFAULT_MAX_BATCH_SIZE);
        let message = format_args!("expected at most max_batch_size, {most}, got {largest}");
        c.require("preferred_batch_sizes", largest <= most, message);
    }
    if let Some(runs) = batching.concurrency {
        let message = format_args!("expected at most {MAX_CONCURRENCY}, got {runs}");
        c.require("concurrency", runs <= MAX_CONCURRENCY, message);
    }
}

fn check_breaker(c: &mut Checker<'_>, breaker: &BreakerConfig) {
    c.positive_time("window", breaker.window);
    c.at_least("min_requests", breaker.min_requests);
    c.part("failure_ratio", breaker.failure_ratio);
    c.positive_time("slow_call", breaker.slow_call);
    c.part("slow_ratio", breaker.slow_ratio);
    let pointless = breaker.slow_ratio.is_some() && breaker.slow_call.is_none();
    c.require("slow_ratio", !pointless, "needs slow_call, which says what a slow answer is");
    c.positive_time("open_for", breaker.open_for);
    c.positive_time("max_open_for", breaker.max_open_for);
    if let Some(most) = breaker.max_open_for {
        let first = breaker.open_for.unwrap_or(BreakerOptions::default().open_for);
        let message = format_args!("expected at least open_for, {first:?}, got {most:?}");
        c.require("max_open_for", first <= most, message);
    }
    c.at_least("probes", breaker.probes.map(u64::from));
}

fn check_gate(c: &mut Checker<'_>, gate: &GateConfig) {
    c.no_less("max_drift", gate.max_drift, 0.0);
    c.between("max_disagreement", gate.max_disagreement, 0.0, 1.0);
    c.above("max_latency_ratio", gate.max_latency_ratio, 0.0);
    let judges = [gate.max_drift, gate.max_disagreement, gate.max_latency_ratio];
    let replays = gate.replay_last != Some(0);
    let message = "expected 1 or more, by which the gate is measured, got 0";
    c.require("replay_last", replays || judges.iter().all(Option::is_none), message);
}

fn check_record(c: &mut Checker<'_>, record: &RecordConfig) {
    let empty = record.path.as_os_str().is_empty();
    c.require("path", !empty, "expected a path, got \"\"");
    c.between("sample", record.sample, 0.0, 1.0);
    c.at_least("max_bytes", record.max_bytes);
}

fn repeated<T: Ord>(all: &[T]) -> Option<&T> {
    let mut seen = BTreeSet::new();
    all.iter().find(|item| !seen.insert(*item))
}

fn repeated_class(classes: &ClassList) -> Option<String> {
    match classes {
        ClassList::Int(classes) => repeated(classes).map(i64::to_string),
        ClassList::Str(classes) => repeated(classes).map(|c| format!("{c:?}")),
    }
}

fn list(versions: &[u64]) -> String {
    versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}
