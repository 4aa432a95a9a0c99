//! Trying a candidate before it serves: golden requests, and recent requests replayed against
//! the version that serves.

use super::recent::Recent;
use super::version::Version;
use crate::error::Result;
use crate::model::{Ctx, Golden, Reply, Request, Tolerance, compare};
use crate::repo;
use bytes::Bytes;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Most reasons that a report lists one by one.
const LISTED: usize = 8;
/// Each request is timed so many times, the two versions in turn; the fastest counts.
const ROUNDS: usize = 3;

/// What a candidate has to show before it may serve.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Requests with the answers that the candidate must give, beside those of the version's own
    /// folder; none by default.
    pub golden: Vec<Golden>,
    /// How many recent requests to ask both versions; 256 by default (see
    /// [`super::Policies::recent_inputs`] for how many are kept).
    pub replay_last: usize,
    /// The largest difference of a number from the serving version's, relative to the larger of
    /// the two; `None` (the default) allows any.
    pub max_drift: Option<f64>,
    /// The share of replayed rows that may be answered with another label, or a number beyond
    /// `tolerance`; `None` (the default) allows any.
    pub max_disagreement: Option<f64>,
    /// How many times as long as the serving version's the candidate's median time may be; `None`
    /// (the default) allows any.
    pub max_latency_ratio: Option<f64>,
    /// Which numbers count as the same.
    pub tolerance: Tolerance,
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            golden: Vec::new(),
            replay_last: 256,
            max_drift: None,
            max_disagreement: None,
            max_latency_ratio: None,
            tolerance: Tolerance::default(),
        }
    }
}

/// The replayed row on which the two versions differ most.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorstRow {
    /// The request it was in.
    pub request: Request<'static>,
    /// Its number in that request.
    pub row: usize,
    /// What the serving version answered.
    pub serving: Reply,
    /// What the candidate answered.
    pub candidate: Reply,
}

/// What a gate found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GateReport {
    /// Whether the candidate was let in.
    pub accepted: bool,
    /// The candidate's version.
    pub version: u64,
    /// The version it was compared with; `None` when none served.
    pub serving: Option<u64>,
    /// Golden and warm-up requests asked.
    pub golden: usize,
    /// Golden requests answered wrongly, or not at all.
    pub golden_failed: usize,
    /// Recent requests replayed.
    pub replayed: usize,
    /// Requests that the serving version answered and the candidate did not.
    pub failed: usize,
    /// Rows compared.
    pub rows: usize,
    /// Rows answered differently.
    pub disagreed: usize,
    /// The largest relative difference of a number.
    pub max_drift: f64,
    /// The row of that difference (or of another label).
    pub worst: Option<WorstRow>,
    /// Median time of a request on the serving version.
    pub p50_serving: Duration,
    /// Median time of a request on the candidate.
    pub p50_candidate: Duration,
    /// What speaks against the candidate; empty when it is accepted.
    pub reasons: Vec<String>,
}

impl GateReport {
    /// The candidate's median time over the serving version's; `None` where nothing was replayed.
    pub fn latency_ratio(&self) -> Option<f64> {
        let serving = self.p50_serving.as_secs_f64();
        (serving > 0.0).then(|| self.p50_candidate.as_secs_f64() / serving)
    }

    fn against(&mut self, reason: String) {
        if self.reasons.len() < LISTED {
            self.reasons.push(reason);
        }
    }
}

impl fmt::Display for GateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.accepted { "accepted" } else { "rejected" };
        writeln!(f, "version {} {verdict}", self.version)?;
        writeln!(f, "  golden requests  {} asked, {} failed", self.golden, self.golden_failed)?;
        writeln!(
            f,
            "  replayed         {} requests, {} rows, {} answered differently, {} failed",
            self.replayed, self.rows, self.disagreed, self.failed
        )?;
        writeln!(f, "  largest drift    {:.3e}", self.max_drift)?;
        writeln!(
            f,
            "  median latency   {:?} now, {:?} with the candidate",
            self.p50_serving, self.p50_candidate
        )?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  against it       {reason}"))
    }
}

/// Files of golden and warm-up requests: each one's name and text.
pub(super) type GoldenFiles = Vec<(&'static str, Bytes)>;

/// Those of the folder that a model file lies in.
pub(super) fn golden_beside(model: &Path) -> Result<GoldenFiles> {
    model.parent().map_or_else(|| Ok(Vec::new()), repo::golden_files)
}

/// The requests in the files, as a version of this signature takes them.
pub(super) fn golden_requests(files: &GoldenFiles, version: &Version) -> Result<Vec<Golden>> {
    let mut all = Vec::new();
    for (name, text) in files {
        let parsed = Golden::parse(text, &version.info().signature);
        all.extend(parsed.map_err(|e| e.context(name))?);
    }
    Ok(all)
}

/// Tries the candidate; `None` when there was nothing to try.
pub(super) fn examine(
    gate: Option<&Gate>,
    beside: &[Golden],
    serving: Option<&Version>,
    candidate: &Version,
    recent: &Recent,
) -> Result<Option<GateReport>> {
    let mut report = GateReport {
        version: candidate.number(),
        serving: serving.map(Version::number),
        ..GateReport::default()
    };
    let golden = beside.iter().chain(gate.iter().flat_map(|g| &g.golden));
    for golden in golden {
        report.golden += 1;
        let outcome = golden.verify(&*candidate.core.model, &mut Ctx::default());
        if let Err(e) = outcome {
            report.golden_failed += 1;
            report.against(e.message().to_string());
        }
    }
    if let (Some(gate), Some(serving)) = (gate, serving) {
        replay(gate, serving, candidate, recent, &mut report);
    } else if gate.is_none() && report.golden == 0 {
        return Ok(None);
    }
    report.accepted = report.reasons.is_empty();
    Ok(Some(report))
}

fn replay(
    gate: &Gate,
    serving: &Version,
    candidate: &Version,
    recent: &Recent,
    report: &mut GateReport,
) {
    let (mut old_times, mut new_times) = (Vec::new(), Vec::new());
    for request in recent.last(gate.replay_last) {
        // A request that the serving version refuses says nothing about the candidate.
        let Ok((old, mut old_time)) = ask(serving, &request) else { continue };
        report.replayed += 1;
        let (new, mut new_time) = match ask(candidate, &request) {
            Ok(answered) => answered,
            Err(e) => {
                report.failed += 1;
                report.against(format!("a recent request failed: {}", e.message()));
                continue;
            }
        };
        for _ in 1..ROUNDS {
            if let (Ok((_, a)), Ok((_, b))) = (ask(serving, &request), ask(candidate, &request)) {
                (old_time, new_time) = (old_time.min(a), new_time.min(b));
            }
        }
        old_times.push(old_time);
        new_times.push(new_time);
        let difference = compare(&old, &new, &gate.tolerance);
        report.rows += difference.rows;
        report.disagreed += difference.disagreed;
        let worse = difference.max_rel > report.max_drift
            || (difference.disagreed > 0 && report.worst.is_none());
        report.max_drift = report.max_drift.max(difference.max_rel);
        if worse {
            report.worst =
                Some(WorstRow { request, row: difference.worst_row, serving: old, candidate: new });
        }
    }
    report.p50_serving = median(&mut old_times);
    report.p50_candidate = median(&mut new_times);
    judge(gate, report);
}

fn judge(gate: &Gate, report: &mut GateReport) {
    if let Some(most) = gate.max_drift
        && report.max_drift > most
    {
        report.against(format!("a number drifts by {:.3e} (at most {most:.3e})", report.max_drift));
    }
    let share = report.disagreed as f64 / report.rows.max(1) as f64;
    if let Some(most) = gate.max_disagreement
        && share > most
    {
        report.against(format!(
            "{} of {} rows are answered differently ({:.2} %, at most {:.2} %)",
            report.disagreed,
            report.rows,
            share * 100.0,
            most * 100.0
        ));
    }
    if let (Some(most), Some(ratio)) = (gate.max_latency_ratio, report.latency_ratio())
        && ratio > most
    {
        report.against(format!(
            "it takes {ratio:.2} times as long ({:?} against {:?}, at most {most:.2} times)",
            report.p50_candidate, report.p50_serving
        ));
    }
}

/// Asks the bare model: neither policies nor counts of the version are touched.
fn ask(version: &Version, request: &Request<'_>) -> Result<(Reply, Duration)> {
    let began = Instant::now();
    let reply = version.core.model.call(request, &mut Ctx::default())?;
    Ok((reply, began.elapsed()))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
