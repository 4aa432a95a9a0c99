//! Putting recorded requests to another model.

use super::form::{self, Outcome, Record};
use crate::error::{Error, Result};
use crate::model::{Comparison, Ctx, Model, contain};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// How a recording is replayed.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// How far numbers may be apart, absolutely or relative to the recorded one (1e-5).
    pub tolerance: f64,
    /// Only the requests to the model of this name; all by default.
    pub model: Option<String>,
    /// Requests that are replayed at most (1 M).
    pub max_requests: usize,
    /// Bytes of one line (64 MiB); longer ones are skipped and counted as malformed. Reading a
    /// line takes at most some ten times its size in memory.
    pub max_line_bytes: usize,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        ReplayOptions {
            tolerance: 1e-5,
            model: None,
            max_requests: 1_000_000,
            max_line_bytes: 64 << 20,
        }
    }
}

/// What came of a replay.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Requests that were replayed.
    pub requests: u64,
    /// Of those, the ones that were answered otherwise than recorded.
    pub disagreements: u64,
    /// Of those, the ones that failed now and had not.
    pub failures: u64,
    /// Lines that could not be read, a truncated one at the end not counted.
    pub malformed: u64,
    /// Whether the last line was cut, as when a recording was killed or its disk was full.
    pub truncated: bool,
    /// The largest distance of two numbers; infinite where something other than a number differs.
    pub max_difference: f64,
    /// Where that was.
    pub worst: Option<Worst>,
    /// How long the recorded answers took.
    pub old: Latencies,
    /// How long the answers took now, without waiting in any queue.
    pub new: Latencies,
}

/// The answer that is furthest from the recorded one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Worst {
    /// The line of the file, counted from 1.
    pub line: u64,
    /// The entry: `output 'label'[0]`, `output 'scores'[2]`.
    pub entry: String,
    /// What was recorded there.
    pub old: String,
    /// What is answered now.
    pub new: String,
}

/// Percentiles of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Latencies {
    /// Half of the requests took no longer.
    pub p50: Duration,
    /// Nine in ten took no longer.
    pub p90: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latencies {
    fn of(mut ns: Vec<u64>) -> Latencies {
        ns.sort_unstable();
        let at = |percent: usize| {
            let rank = (ns.len() * percent).div_ceil(100).saturating_sub(1);
            Duration::from_nanos(ns.get(rank).copied().unwrap_or(0))
        };
        Latencies { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.disagreements as f64 / self.requests.max(1) as f64 * 100.0;
        writeln!(
            f,
            "{} requests, {} answered otherwise ({share:.3} %), {} of them failed",
            self.requests, self.disagreements, self.failures
        )?;
        if let Some(worst) = &self.worst {
            writeln!(
                f,
                "worst: line {}, {}: {} before, {} now",
                worst.line, worst.entry, worst.old, worst.new
            )?;
        }
        for (name, l) in [("before", self.old), ("now", self.new)] {
            let Latencies { p50, p90, p99, max } = l;
            writeln!(f, "{name}: p50 {p50:?}, p90 {p90:?}, p99 {p99:?}, max {max:?}")?;
        }
        if self.malformed > 0 || self.truncated {
            let cut = if self.truncated { "; the last one was cut" } else { "" };
            writeln!(f, "{} malformed lines{cut}", self.malformed)?;
        }
        Ok(())
    }
}

/// Puts the requests recorded in the file at `path` to `model`, one after another in this thread,
/// and compares the answers with the recorded ones.
///
/// # Errors
/// `InvalidArgument` for a file that is no recording, `Unsupported` for one of a later format;
/// `NotFound`, `PermissionDenied` or `Io` from the system. Malformed lines are counted, not
/// errors.
pub fn replay(path: &Path, model: &dyn Model, options: &ReplayOptions) -> Result<ReplayReport> {
    let file = File::open(path).map_err(|e| Error::io(path.display(), &e))?;
    let named = |e: Error| e.context(path.display());
    replay_lines(BufReader::with_capacity(1 << 16, file), model, options).map_err(named)
}

pub(super) fn replay_lines(
    reader: impl BufRead,
    model: &dyn Model,
    options: &ReplayOptions,
) -> Result<ReplayReport> {
    let mut lines = Lines { reader, most: options.max_line_bytes, buffer: Vec::new() };
    let mut report = ReplayReport::default();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    lines.read()?;
    form::check_header(&lines.buffer)?;
    let mut number = 1;
    while new.len() < options.max_requests {
        number += 1;
        let end = match lines.read()? {
            Line::None => break,
            end => end,
        };
        let record = match end {
            Line::TooLong => None,
            _ => serde_json::from_slice::<Record>(&lines.buffer).ok(),
        };
        let wanted = |r: &Record| options.model.as_ref().is_none_or(|name| *name == r.model);
        let took = match record {
            Some(record) if !wanted(&record) => continue,
            Some(record) => one(record, number, model, options, &mut report),
            None => None,
        };
        match took {
            Some((before, now)) => {
                old.push(before);
                new.push(now);
            }
            None if end == Line::Cut => report.truncated = true,
            None => report.malformed += 1,
        }
    }
    report.requests = new.len() as u64;
    report.old = Latencies::of(old);
    report.new = Latencies::of(new);
    Ok(report)
}

/// Replays one record; answers how long it took before and now, in nanoseconds. `None` for a
/// record that contradicts itself.
fn one(
    record: Record,
    line: u64,
    model: &dyn Model,
    options: &ReplayOptions,
    report: &mut ReplayReport,
) -> Option<(u64, u64)> {
    let request = record.request.request().ok()?;
    let old = Outcome::read(record.outcome).ok()?;
    let began = Instant::now();
    let outcome = contain(|| model.call(&request, &mut Ctx::default()));
    let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let new = Outcome::of(&outcome).unwrap_or_else(|e| Outcome::Error(e.kind()));
    let comparison = compare(&old, &new, options.tolerance);
    report.disagreements += u64::from(comparison.disagrees());
    report.failures += u64::from(matches!((&old, &new), (Outcome::Answer(_), Outcome::Error(_))));
    let furthest = comparison.furthest();
    if furthest > report.max_difference
        && let Some(worst) = comparison.worst()
    {
        report.max_difference = furthest;
        let (entry, old, new) = (worst.what, worst.expected, worst.got);
        report.worst = Some(Worst { line, entry, old, new });
    }
    Some((record.took, took))
}

fn compare(old: &Outcome, new: &Outcome, tolerance: f64) -> Comparison {
    let mut comparison = Comparison::new(tolerance);
    match (old, new) {
        (Outcome::Error(old), Outcome::Error(new)) if old == new => {}
        (Outcome::Answer(old), Outcome::Answer(new)) => {
            comparison.named(old, new);
            for (name, _) in new {
                if !old.iter().any(|(n, _)| n == name) {
                    comparison.unlike(format_args!("output '{name}'"), "none", "a value");
                }
            }
        }
        (old, new) => comparison.unlike("outcome", shown(old), shown(new)),
    }
    comparison
}

fn shown(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answer(_) => "an answer",
        Outcome::Error(kind) => kind.name(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// A line with its end.
    Whole,
    /// The last line, without one.
    Cut,
    /// Longer than allowed; passed over.
    TooLong,
    /// The end of the file.
    None,
}

/// Lines of limited length.
struct Lines<R> {
    reader: R,
    most: usize,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn read(&mut self) -> Result<Line> {
        let io = |e| Error::io("reading the recording", &e);
        self.buffer.clear();
        let most = (self.most as u64).saturating_add(1);
        self.reader.by_ref().take(most).read_until(b'\n', &mut self.buffer).map_err(io)?;
        if self.buffer.is_empty() {
            return Ok(Line::None);
        }
        if self.buffer.last() == Some(&b'\n') {
            return Ok(Line::Whole);
        }
        if self.buffer.len() <= self.most {
            return Ok(Line::Cut);
        }
        self.buffer.clear();
        self.reader.skip_until(b'\n').map_err(io)?;
        Ok(Line::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::tensor::Tensor;

    #[test]
    fn an_error_is_met_by_the_same_error_alone_and_an_output_by_its_name() {
        let answer = |name: &str| {
            Outcome::Answer(vec![(name.into(), Tensor::from_vec(&[1], vec![3i64]).unwrap().into())])
        };
        let error = Outcome::Error(ErrorKind::InvalidInput);
        assert!(!compare(&error, &error, 0.0).disagrees());
        assert!(compare(&error, &Outcome::Error(ErrorKind::Execution), 0.0).disagrees());
        let worst = compare(&answer("label"), &error, 0.0).worst().unwrap();
        assert_eq!((&*worst.expected, &*worst.got), ("an answer", "InvalidInput"));
        assert!(!compare(&answer("label"), &answer("label"), 0.0).disagrees());
        assert!(compare(&answer("label"), &answer("value"), 10.0).disagrees());
        assert!(compare(&Outcome::Answer(Vec::new()), &answer("label"), 0.0).disagrees());
    }
}
