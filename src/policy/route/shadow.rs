//! Shadow: a fraction of the requests is asked of a candidate too, after they were answered.

use super::mirror::{Answered, DRIFT, Mirror};
use super::print;
use super::proportion::{normal_upper, wilson};
use crate::error::Result;
use crate::model::{
    Answer, Ctx, Difference, Done, Features, Model, ModelInfo, Reply, Request, Signature, Tolerance,
};
use crate::policy::Resolve;
use crate::tensor::Tensor;
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

/// What is mirrored, and what is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowOptions {
    /// The fraction of answered requests to mirror, 0 to 1; 0.1 by default.
    pub fraction: f64,
    /// Choose by the request's key, where it has one: a key is mirrored always or never. Off by
    /// default: each request is chosen by itself.
    pub sticky: bool,
    /// Sets this choice apart from those of other routes; empty by default.
    pub salt: Arc<str>,
    /// Requests that wait or are being compared; more are dropped and counted. 64 by default.
    pub max_pending: usize,
    /// Larger requests are not mirrored, only counted; 1 MiB by default. With `max_pending` this
    /// bounds the memory that waits.
    pub max_request_bytes: u64,
    /// How many of the worst examples are kept; 16 by default.
    pub max_kept_examples: usize,
    /// An example's input and answers are left out where they are larger; 64 KiB by default.
    pub max_example_bytes: u64,
    /// How long the candidate may take for a request; 5 s by default.
    pub timeout: Duration,
    /// Which numbers count as the same.
    pub tolerance: Tolerance,
}

impl Default for ShadowOptions {
    fn default() -> Self {
        ShadowOptions {
            fraction: 0.1,
            sticky: false,
            salt: "".into(),
            max_pending: 64,
            max_request_bytes: 1 << 20,
            max_kept_examples: 16,
            max_example_bytes: 64 << 10,
            timeout: Duration::from_secs(5),
            tolerance: Tolerance::default(),
        }
    }
}

/// A model with a candidate in its shadow. The wrapped model answers; the candidate is asked
/// afterwards, on a thread of its own, one request at a time, and its answers are compared and
/// counted. It can neither delay nor fail nor change an answer.
///
/// The candidate is asked at the lowest priority, without the response cache, and with a deadline
/// of its own. Requests that failed are not mirrored. Dropping the shadow drops what waits.
pub struct Shadow {
    inner: Arc<dyn Model>,
    mirror: Arc<Mirror>,
}

impl Shadow {
    /// `inner` with `candidate` in its shadow.
    ///
    /// # Errors
    /// `InvalidArgument` when `options.fraction` is not from 0 to 1.
    pub fn new(
        inner: Arc<dyn Model>,
        candidate: Resolve,
        options: ShadowOptions,
    ) -> Result<Shadow> {
        Ok(Shadow { inner, mirror: Mirror::new(candidate, options)? })
    }

    /// Mirrors another fraction from now on.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not from 0 to 1.
    pub fn set_fraction(&self, fraction: f64) -> Result<()> {
        self.mirror.set_fraction(fraction)
    }

    /// Tells `listener` of each comparison: the candidate's version, and whether the answers
    /// disagree. It is called aside, never on the way of a request; only the first one set is
    /// told.
    pub fn on_compared(&self, listener: impl Fn(u64, bool) + Send + Sync + 'static) {
        self.mirror.on_compared(listener);
    }

    /// What was found so far.
    pub fn report(&self) -> ShadowReport {
        ShadowReport::of(&self.mirror)
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.mirror.close();
    }
}

impl Model for Shadow {
    fn signature(&self) -> Arc<Signature> {
        self.inner.signature()
    }

    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
        let wanted = self.mirror.wants(ctx);
        let began = Instant::now();
        let reply = self.inner.call(request, ctx)?;
        if wanted && let Some(place) = self.mirror.reserve(request) {
            place.fill(request, Answered::new(&reply, ctx, began.elapsed()));
        }
        Ok(reply)
    }

    fn submit(self: Arc<Self>, request: Request<'static>, ctx: Ctx, done: Done) {
        if !self.mirror.wants(&ctx) {
            return self.inner.clone().submit(request, ctx, done);
        }
        let (kept, began) = (request.clone(), Instant::now());
        let mirror = self.mirror.clone();
        let then = Done::new(move |result, ctx| {
            let mirrored = result.as_ref().ok().and_then(|reply| {
                let place = mirror.reserve(&kept)?;
                Some((place, Answered::new(reply, &ctx, began.elapsed())))
            });
            done.call(result, ctx);
            if let Some((place, answered)) = mirrored {
                place.fill(&kept, answered);
            }
        });
        self.inner.clone().submit(request, ctx, then);
    }

    fn bind(&self, features: Features<'_>) -> Result<(Vec<Tensor>, usize)> {
        self.inner.bind(features)
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        self.inner.estimated_ns(rows)
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("options", &self.mirror.options).finish_non_exhaustive()
    }
}

/// One of the requests whose answers differed most.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Example {
    /// When it was compared.
    pub at: SystemTime,
    /// How the answers differ; `None` where the candidate failed.
    pub difference: Option<Difference>,
    /// The row that differs most (the whole request where it has no rows); `None` where it was
    /// too large to keep.
    pub request: Option<Request<'static>>,
    /// The version that answered.
    pub primary_version: u64,
    /// Its answer for that row.
    pub primary: Option<Reply>,
    /// The candidate's version.
    pub candidate_version: u64,
    /// The candidate's answer for that row.
    pub candidate: Option<Reply>,
    /// What the candidate failed with.
    pub error: Option<String>,
}

impl Example {
    fn input_text(&self) -> Option<String> {
        let features = match self.request.as_ref()? {
            Request::Row(features) | Request::Batch(features) => features,
            Request::Run { inputs, .. } => return Some(print::named(inputs, print::value)),
        };
        Some(match features {
            Features::F32 { data, .. } => format!("{data:?}"),
            Features::F64 { data, .. } => format!("{data:?}"),
            Features::Tensor(tensor) => print::tensor(tensor),
            Features::Columns(columns) => print::named(columns, print::tensor),
            Features::Inputs(t) => t.iter().map(print::tensor).collect::<Vec<_>>().join(", "),
        })
    }

    fn answer_text(reply: Option<&Reply>) -> Option<String> {
        Some(match reply? {
            Reply::Tensors(outputs) => print::named(outputs, print::value),
            Reply::Batch(p) => format!("{} rows", p.rows),
            Reply::Row(p) => {
                let label = match &p.answer {
                    Answer::Int(label) => label.to_string(),
                    Answer::Str(label) => label.to_string(),
                    Answer::Value(value) => value.to_string(),
                    Answer::Values(values) => format!("{values:?}"),
                    Answer::Labels(labels) => format!("{labels:?}"),
                    Answer::Outputs(outputs) => print::named(outputs, print::value),
                };
                match p.probability {
                    Some(probability) => format!("{label} ({probability:.4})"),
                    None => label,
                }
            }
        })
    }
}

/// Values as text, as the printed report shows them.
impl Serialize for Example {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = s.serialize_struct("Example", 8)?;
        let at = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        fields.serialize_field("at", &at.as_secs_f64())?;
        fields.serialize_field("difference", &self.difference)?;
        fields.serialize_field("input", &self.input_text())?;
        fields.serialize_field("primary_version", &self.primary_version)?;
        fields.serialize_field("primary", &Self::answer_text(self.primary.as_ref()))?;
        fields.serialize_field("candidate_version", &self.candidate_version)?;
        fields.serialize_field("candidate", &Self::answer_text(self.candidate.as_ref()))?;
        fields.serialize_field("error", &self.error)?;
        fields.end()
    }
}

/// One bucket of relative drift.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DriftBucket {
    /// Its upper end, inclusive; `None` for the last, which has none.
    pub up_to: Option<f64>,
    /// Requests whose largest relative difference fell into it.
    pub requests: u64,
}

/// What a shadow found. Durations are written in seconds.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ShadowReport {
    /// The fraction mirrored now.
    pub fraction: f64,
    /// Requests chosen. Each is pending, compared, an error, dropped or too large.
    pub sampled: u64,
    /// Requests compared.
    pub compared: u64,
    /// Requests that the candidate failed.
    pub errors: u64,
    /// Requests dropped because the queue was full.
    pub dropped: u64,
    /// Requests above `max_request_bytes`.
    pub too_large: u64,
    /// Requests of which some row disagrees.
    pub disagreed: u64,
    /// Rows compared.
    pub rows: u64,
    /// Rows that disagree.
    pub disagreed_rows: u64,
    /// The rate of disagreement: each request counts by the share of its rows that disagree.
    pub disagreement: f64,
    /// The lower end of its Wilson interval (95 %).
    pub disagreement_low: f64,
    /// The upper end.
    pub disagreement_high: f64,
    /// Requests by their largest relative difference.
    pub drift: Vec<DriftBucket>,
    /// Median latency of the answers given.
    #[serde(serialize_with = "print::seconds")]
    pub primary_p50: Duration,
    /// 99th percentile.
    #[serde(serialize_with = "print::seconds")]
    pub primary_p99: Duration,
    /// Median latency of the candidate, for the same requests.
    #[serde(serialize_with = "print::seconds")]
    pub candidate_p50: Duration,
    /// 99th percentile.
    #[serde(serialize_with = "print::seconds")]
    pub candidate_p99: Duration,
    /// The worst examples, the worst first.
    pub examples: Vec<Example>,
}

impl ShadowReport {
    pub(super) fn of(mirror: &Mirror) -> ShadowReport {
        let found = &mirror.found;
        let compared = found.compared.load(Relaxed);
        let disagreement = found.disagreement();
        let (low, high) = wilson(disagreement, compared as f64, normal_upper(0.025));
        let ends = DRIFT.iter().copied().map(Some).chain([None]);
        let drift = ends
            .zip(&found.drift)
            .map(|(up_to, requests)| DriftBucket { up_to, requests: requests.load(Relaxed) });
        let (primary, candidate) = (found.primary.snapshot(), found.candidate.snapshot());
        ShadowReport {
            fraction: mirror.fraction(),
            sampled: found.sampled.load(Relaxed),
            compared,
            errors: found.errors.load(Relaxed),
            dropped: found.dropped.load(Relaxed),
            too_large: found.too_large.load(Relaxed),
            disagreed: found.disagreed.load(Relaxed),
            rows: found.rows.load(Relaxed),
            disagreed_rows: found.disagreed_rows.load(Relaxed),
            disagreement: disagreement / compared.max(1) as f64,
            disagreement_low: low,
            disagreement_high: high,
            drift: drift.collect(),
            primary_p50: primary.quantile(0.5),
            primary_p99: primary.quantile(0.99),
            candidate_p50: candidate.quantile(0.5),
            candidate_p99: candidate.quantile(0.99),
            examples: mirror.examples(),
        }
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// `Internal` (a defect).
    pub fn to_json(&self) -> Result<String> {
        super::report::json(self)
    }
}

impl fmt::Display for ShadowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "mirrored {} %: {} sampled, {} compared, {} errors, {} dropped, {} too large",
            self.fraction * 100.0,
            self.sampled,
            self.compared,
            self.errors,
            self.dropped,
            self.too_large
        )?;
        writeln!(
            f,
            "disagreement {} ({} to {}): {} requests, {} of {} rows",
            print::percentage(self.disagreement),
            print::percentage(self.disagreement_low),
            print::percentage(self.disagreement_high),
            self.disagreed,
            self.disagreed_rows,
            self.rows
        )?;
        let time = print::time;
        let latency =
            |name: &str, p50, p99| print::row([&name as &dyn fmt::Display, &time(p50), &time(p99)]);
        print::table(
            f,
            &[
                print::row([&"latency" as &dyn fmt::Display, &"p50", &"p99"]),
                latency("answer", self.primary_p50, self.primary_p99),
                latency("candidate", self.candidate_p50, self.candidate_p99),
            ],
        )?;
        let mut rows = vec![print::row([&"relative drift" as &dyn fmt::Display, &"requests"])];
        for bucket in self.drift.iter().filter(|b| b.requests > 0) {
            let end = bucket.up_to.map_or("above".to_string(), |end| match end {
                0.0 => "none".to_string(),
                end => format!("to {end:e}"),
            });
            rows.push(print::row([&end as &dyn fmt::Display, &bucket.requests]));
        }
        print::table(f, &rows)?;
        for example in &self.examples {
            let text = |reply: &Option<Reply>| {
                Example::answer_text(reply.as_ref()).unwrap_or("(too large)".to_string())
            };
            writeln!(
                f,
                "version {}: {}; version {}: {}; input {}",
                example.primary_version,
                text(&example.primary),
                example.candidate_version,
                example.error.clone().unwrap_or_else(|| text(&example.candidate)),
                example.input_text().unwrap_or("(too large)".to_string())
            )?;
        }
        Ok(())
    }
}
