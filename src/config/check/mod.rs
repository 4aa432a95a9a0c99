//! What one key alone cannot tell: ranges, and keys that have to agree with each other.

mod model;

use super::locate::{Document, Position, Step, dotted};
use super::model::{Config, ModelConfig};
use crate::error::{Result, ensure};
use crate::limits::MAX_MODELS;
use model::ModelCheck;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// Most complaints of one error.
const MAX_PROBLEMS: usize = 8;

/// Checks a configuration that has the right keys and types.
///
/// # Errors
/// `InvalidArgument` that lists what is wrong, each with its key and place.
pub(super) fn check(config: &Config, document: &Document<'_>) -> Result<()> {
    let mut c = Checker { document, path: Vec::new(), problems: Vec::new() };
    c.within("manager", |c| {
        c.positive_time("poll_interval", config.manager.poll_interval);
        c.at_least("memory_budget", config.manager.memory_budget);
        let pointless = config.manager.watch && config.manager.model_repository.is_none();
        c.require("watch", !pointless, "needs a model_repository to watch");
    });
    c.within("metrics", |c| c.at_least("max_series", config.metrics.max_series.map(wide)));
    c.within("http", |c| {
        let http = &config.http;
        if let Some(name) = &http.default_model {
            let known = config.models.contains_key(name);
            let there = known || config.manager.model_repository.is_some();
            c.require("default_model", there, "is no model of this file");
        }
        let empty = http.token.as_ref().is_some_and(|token| token.as_str().is_empty());
        c.require("token", !empty, "expected a text that is not empty");
        c.at_least("max_body_bytes", http.max_body_bytes);
        c.at_least("max_string_bytes", http.max_string_bytes);
        c.at_least("max_rows", http.max_rows.map(wide));
        let depth = http.max_depth.is_none_or(|depth| (1..=256).contains(&depth));
        c.require("max_depth", depth, "expected a number from 1 to 256");
    });
    c.within("models", |c| {
        if config.models.len() > MAX_MODELS {
            c.complain(format!("expected at most {MAX_MODELS}, got {}", config.models.len()));
        }
        for (name, model) in &config.models {
            c.within(name, |c| ModelCheck { config, name, model }.check(c));
        }
    });
    c.finish()
}

/// Checks the policies of a model that is loaded already.
///
/// # Errors
/// As [`check`]; also for keys that say how a model is loaded.
pub(super) fn check_policies(
    name: &str,
    model: &ModelConfig,
    document: &Document<'_>,
) -> Result<()> {
    let mut c = Checker { document, path: Vec::new(), problems: Vec::new() };
    for (key, given) in model.keys_of_loading() {
        c.require(key, !given, "is no policy: give it where the model is loaded");
    }
    if c.problems.is_empty() {
        // Which other models there are is seen when the policies are set.
        let mut config = Config::default();
        config.manager.model_repository = Some(PathBuf::new());
        ModelCheck { config: &config, name, model }.check(&mut c);
    }
    c.finish()
}

/// Collects complaints while it walks the structs as the keys nest in the file.
struct Checker<'a> {
    document: &'a Document<'a>,
    path: Vec<Step>,
    problems: Vec<(Position, String)>,
}

impl Checker<'_> {
    fn step<R>(&mut self, step: Step, f: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(step);
        let answer = f(self);
        self.path.pop();
        answer
    }

    fn within<R>(&mut self, key: &str, f: impl FnOnce(&mut Self) -> R) -> R {
        self.step(Step::Key(key.to_string()), f)
    }

    fn complain(&mut self, message: impl Display) {
        let at = self.document.position(&self.path);
        self.problems.push((at, format!("{} at {at}: {message}", dotted(&self.path))));
    }

    fn require(&mut self, key: &str, holds: bool, message: impl Display) {
        if !holds {
            self.within(key, |c| c.complain(message));
        }
    }

    /// One or more.
    fn at_least(&mut self, key: &str, value: Option<u64>) {
        self.require(key, value != Some(0), "expected 1 or more, got 0");
    }

    fn positive_time(&mut self, key: &str, value: Option<Duration>) {
        let holds = value.is_none_or(|v| !v.is_zero());
        self.require(key, holds, "expected a time above 0, got 0");
    }

    fn between(&mut self, key: &str, value: Option<f64>, low: f64, high: f64) {
        if let Some(v) = value {
            let message = format_args!("expected a number from {low} to {high}, got {v}");
            self.require(key, (low..=high).contains(&v), message);
        }
    }

    fn no_less(&mut self, key: &str, value: Option<f64>, low: f64) {
        if let Some(v) = value {
            let message = format_args!("expected a number of {low} or more, got {v}");
            self.require(key, v >= low && v.is_finite(), message);
        }
    }

    /// A part below all.
    fn rate(&mut self, key: &str, value: Option<f64>) {
        if let Some(v) = value {
            let message = format_args!("expected a number from 0 to below 1, got {v}");
            self.require(key, (0.0..1.0).contains(&v), message);
        }
    }

    /// A part above none.
    fn part(&mut self, key: &str, value: Option<f64>) {
        if let Some(v) = value {
            let message = format_args!("expected a number above 0, at most 1, got {v}");
            self.require(key, v > 0.0 && v <= 1.0, message);
        }
    }

    fn above(&mut self, key: &str, value: Option<f64>, low: f64) {
        if let Some(v) = value {
            let message = format_args!("expected a number above {low}, got {v}");
            self.require(key, v > low && v.is_finite(), message);
        }
    }

    fn version(&mut self, key: &str, version: u64) {
        let holds = (1..=i64::MAX as u64).contains(&version);
        self.require(
            key,
            holds,
            format_args!("expected a version from 1 to 2^63-1, got {version}"),
        );
    }

    /// Exactly one of some keys.
    fn one_of(&mut self, keys: &[(&str, bool)]) {
        let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
        let set: Vec<&str> = keys.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        if set.len() != 1 {
            let got = if set.is_empty() { "none".to_string() } else { set.join(" and ") };
            self.complain(format!("expected exactly one of {}, got {got}", names.join(", ")));
        }
    }

    fn finish(mut self) -> Result<()> {
        self.problems.sort_by_key(|(at, _)| *at);
        let more = self.problems.len().saturating_sub(MAX_PROBLEMS);
        let mut lines: Vec<String> =
            self.problems.into_iter().take(MAX_PROBLEMS).map(|(_, message)| message).collect();
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        ensure!(lines.is_empty(), InvalidArgument, "{}", lines.join("\n"));
        Ok(())
    }
}

/// Whether a model may be called this.
fn is_model_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A count as the checks take them.
fn wide(count: usize) -> u64 {
    count as u64
}
