//! The report of a route: its arms side by side.

use super::arm::Counts;
use super::print;
use super::proportion::{normal_upper, wilson};
use crate::error::{Result, err};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What one arm did. Durations are written in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ArmReport {
    /// The arm's name.
    pub name: String,
    /// Its weight now, in percent.
    pub percent: f64,
    /// Requests that it was given.
    pub requests: u64,
    /// Rows that it answered.
    pub rows: u64,
    /// Requests that it failed.
    pub errors: u64,
    /// Of those, the ones that stable answered instead.
    pub fell_back: u64,
    /// Requests refused for their own sake (invalid, too large), or cancelled.
    pub refused: u64,
    /// Errors a request, refused ones left out.
    pub error_rate: f64,
    /// The lower end of its Wilson interval (95 %).
    pub error_rate_low: f64,
    /// The upper end.
    pub error_rate_high: f64,
    /// Mean latency of the answered requests.
    #[serde(serialize_with = "print::seconds")]
    pub mean: Duration,
    /// Median latency, up to 12.5 % above (likewise the next two).
    #[serde(serialize_with = "print::seconds")]
    pub p50: Duration,
    /// 95th percentile.
    #[serde(serialize_with = "print::seconds")]
    pub p95: Duration,
    /// 99th percentile.
    #[serde(serialize_with = "print::seconds")]
    pub p99: Duration,
    /// Answers compared with stable's.
    pub compared: u64,
    /// The share of those that disagree; `None` where nothing was compared.
    pub disagreement: Option<f64>,
}

impl ArmReport {
    pub(super) fn new(
        name: &str,
        percent: f64,
        counts: &Counts,
        (compared, disagreement): (u64, f64),
    ) -> ArmReport {
        let (errors, eligible) = (counts.errors as f64, counts.eligible() as f64);
        let (low, high) = wilson(errors, eligible, normal_upper(0.025));
        ArmReport {
            name: name.to_string(),
            percent,
            requests: counts.requests,
            rows: counts.rows,
            errors: counts.errors,
            fell_back: counts.fell_back,
            refused: counts.refused,
            error_rate: counts.error_rate(),
            error_rate_low: low,
            error_rate_high: high,
            mean: counts.latency.mean(),
            p50: counts.latency.quantile(0.5),
            p95: counts.latency.quantile(0.95),
            p99: counts.latency.quantile(0.99),
            compared,
            disagreement: (compared > 0).then(|| disagreement / compared as f64),
        }
    }
}

/// A route's arms side by side. It prints as a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AbReport {
    /// The route's name.
    pub route: String,
    /// The arms: stable first, then the canaries in the order given.
    pub arms: Vec<ArmReport>,
    /// All arms together, under the name `all`.
    pub all: ArmReport,
}

impl AbReport {
    /// The arm of that name.
    pub fn arm(&self, name: &str) -> Option<&ArmReport> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// `Internal` (a defect).
    pub fn to_json(&self) -> Result<String> {
        json(self)
    }
}

pub(super) fn json(report: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(report).map_err(|e| err!(Internal, "a report as JSON: {e}"))
}

impl fmt::Display for AbReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = [
            "arm",
            "weight",
            "requests",
            "rows",
            "errors",
            "fell back",
            "refused",
            "error rate",
            "95 % interval",
            "mean",
            "p50",
            "p95",
            "p99",
            "compared",
            "disagreement",
        ];
        let mut rows = vec![heading.map(str::to_string).to_vec()];
        for arm in self.arms.iter().chain([&self.all]) {
            let (low, high) = (arm.error_rate_low * 100.0, arm.error_rate_high * 100.0);
            rows.push(vec![
                arm.name.clone(),
                format!("{} %", arm.percent),
                arm.requests.to_string(),
                arm.rows.to_string(),
                arm.errors.to_string(),
                arm.fell_back.to_string(),
                arm.refused.to_string(),
                print::percentage(arm.error_rate),
                format!("{low:.2} to {high:.2} %"),
                print::time(arm.mean),
                print::time(arm.p50),
                print::time(arm.p95),
                print::time(arm.p99),
                arm.compared.to_string(),
                arm.disagreement.map_or("-".to_string(), print::percentage),
            ]);
        }
        print::table(f, &rows)
    }
}
