//! The families: one table, from which a scrape is written.

use super::bucket::{coarse_bounds, row_bounds};
use super::model::ModelReading;
use super::registry::{OTHER, Shared};
use super::version::{Reading, VersionState};
use super::{OUTCOME_NAMES, OUTCOMES};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::Arc;

/// Counts by upper bound.
type Buckets = Vec<(f64, u64)>;

/// What a family's series are of, and how they are read.
enum Read {
    /// A counter of each version.
    Count(fn(&Reading) -> u64),
    /// A gauge of each version.
    Gauge(fn(&Reading) -> f64),
    /// A histogram of each version: counts by bucket, and the sum.
    Histogram(fn(&Reading) -> (Buckets, f64)),
    /// A counter of each version and value of a further label; values never seen have no series.
    Labelled(&'static str, fn(&Reading) -> Vec<(&'static str, u64)>),
    /// One gauge for each state of each version, 1 for the present one.
    State,
    /// A counter of each model and outcome; outcomes never seen have no series.
    Outcomes(&'static str, fn(&ModelReading) -> &[u64; OUTCOMES]),
    /// A gauge of the manager.
    Uptime,
    /// A counter of the manager.
    Dropped,
}

struct Family {
    /// Without the unit and `_total`, which the encoder writes.
    stem: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    read: Read,
}

const fn family(stem: &'static str, unit: Option<Unit>, help: &'static str, read: Read) -> Family {
    Family { stem, unit, help, read }
}

static FAMILIES: [Family; 24] = [
    family(
        "modelserve_requests",
        None,
        "Requests by how they ended.",
        Read::Labelled("outcome", |r| {
            let mut all = r.failed;
            if let Some(ok) = all.first_mut() {
                *ok = r.answered();
            }
            named(&all)
        }),
    ),
    family(
        "modelserve_request",
        Some(Unit::Seconds),
        "Time from a request to its answer, of answered requests.",
        Read::Histogram(|r| (times(&r.request_buckets()), seconds(r.latency_ns))),
    ),
    family(
        "modelserve_queue",
        Some(Unit::Seconds),
        "Time that answered requests waited for a turn.",
        Read::Histogram(|r| (times(&r.queue_buckets()), seconds(r.queue_ns))),
    ),
    family(
        "modelserve_infer",
        Some(Unit::Seconds),
        "Time of each run of the model.",
        Read::Histogram(|r| (times(&r.run_buckets()), seconds(r.run_ns))),
    ),
    family("modelserve_rows", None, "Rows answered.", Read::Count(|r| r.rows)),
    family("modelserve_batches", None, "Runs of the model.", Read::Count(Reading::runs)),
    family(
        "modelserve_batch_rows",
        None,
        "Rows of each run of the model.",
        Read::Histogram(|r| {
            let (counts, sum) = r.row_buckets();
            (row_bounds().into_iter().zip(counts).collect(), sum as f64)
        }),
    ),
    family(
        "modelserve_inflight",
        None,
        "Requests begun and not yet ended.",
        Read::Gauge(|r| r.totals().in_flight as f64),
    ),
    family(
        "modelserve_queue_depth",
        None,
        "Requests that wait for a turn.",
        Read::Gauge(|r| r.live.queue_depth as f64),
    ),
    family("modelserve_shed", None, "Requests refused at the door.", Read::Count(|r| r.shed)),
    family(
        "modelserve_cache_hits",
        None,
        "Requests that the cache answered.",
        Read::Count(|r| r.hits),
    ),
    family(
        "modelserve_cache_misses",
        None,
        "Requests for which the cache was asked and the model ran.",
        Read::Count(|r| r.misses),
    ),
    family(
        "modelserve_cache",
        Some(Unit::Bytes),
        "Bytes of kept answers.",
        Read::Gauge(|r| r.live.cache_bytes as f64),
    ),
    family("modelserve_model_state", None, "1 for the state a version is in.", Read::State),
    family(
        "modelserve_model",
        Some(Unit::Bytes),
        "Bytes of a loaded version.",
        Read::Gauge(|r| r.bytes as f64),
    ),
    family(
        "modelserve_load",
        Some(Unit::Seconds),
        "Time that loading a version took.",
        Read::Gauge(|r| seconds(r.load_ns)),
    ),
    family(
        "modelserve_routed",
        None,
        "Requests answered as a canary or as a fallback.",
        Read::Labelled("route", |r| vec![("canary", r.canary), ("fallback", r.fallback)]),
    ),
    family(
        "modelserve_reloads",
        None,
        "Reloads by how they ended.",
        Read::Outcomes("outcome", |r| &r.reloads),
    ),
    family(
        "modelserve_fallbacks",
        None,
        "Requests for which a fallback was asked, by what the first choice failed with.",
        Read::Outcomes("reason", |r| &r.fallbacks),
    ),
    family(
        "modelserve_refused",
        None,
        "Requests refused before a version was asked.",
        Read::Outcomes("reason", |r| &r.refused),
    ),
    family(
        "modelserve_shadow",
        None,
        "Answers of a shadow that were compared.",
        Read::Count(|r| r.shadow),
    ),
    family(
        "modelserve_shadow_diff",
        None,
        "Answers of a shadow that differed.",
        Read::Count(|r| r.shadow_diff),
    ),
    family("modelserve_uptime", Some(Unit::Seconds), "Age of the manager.", Read::Uptime),
    family(
        "modelserve_series_dropped",
        None,
        "Versions and models beyond the bound on series, which count as other.",
        Read::Dropped,
    ),
];

/// What a metric family is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricFamily {
    /// The name that queries use: of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The labels, a histogram's `le` aside.
    pub labels: Vec<&'static str>,
    /// What it means.
    pub help: &'static str,
}

/// Every metric family that is exported.
pub fn families() -> Vec<MetricFamily> {
    let describe = |f: &Family| {
        let (kind, suffix) = match f.metric_type() {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Histogram => ("histogram", ""),
            _ => ("gauge", ""),
        };
        let unit = f.unit.as_ref().map(|u| format!("_{}", u.as_str())).unwrap_or_default();
        let labels = match f.read {
            Read::Count(_) | Read::Gauge(_) | Read::Histogram(_) => vec!["model", "version"],
            Read::Labelled(label, _) => vec!["model", "version", label],
            Read::State => vec!["model", "version", "state"],
            Read::Outcomes(label, _) => vec!["model", label],
            Read::Uptime | Read::Dropped => vec![],
        };
        MetricFamily { name: format!("{}{unit}{suffix}", f.stem), kind, labels, help: f.help }
    };
    FAMILIES.iter().map(describe).collect()
}

impl Family {
    fn metric_type(&self) -> MetricType {
        match self.read {
            Read::Count(_) | Read::Labelled(..) | Read::Outcomes(..) | Read::Dropped => {
                MetricType::Counter
            }
            Read::Gauge(_) | Read::State | Read::Uptime => MetricType::Gauge,
            Read::Histogram(_) => MetricType::Histogram,
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn times(counts: &[u64]) -> Buckets {
    coarse_bounds().into_iter().zip(counts.iter().copied()).collect()
}

/// Counts with their outcomes' names.
fn named(counts: &[u64; OUTCOMES]) -> Vec<(&'static str, u64)> {
    OUTCOME_NAMES.into_iter().zip(counts.iter().copied()).collect()
}

/// What the encoder asks for at each scrape.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Arc<Shared>);

type NoExemplar = [(&'static str, &'static str); 0];

fn counter(m: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    m.encode_family(labels)?.encode_counter::<NoExemplar, u64, u64>(&value, None)
}

fn gauge(m: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: f64) -> fmt::Result {
    m.encode_family(labels)?.encode_gauge(&value)
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (models, versions) = self.0.snapshot();
        // Read once, so that the families of one scrape agree.
        let versions: Vec<_> = versions.iter().map(|v| (v, v.reading())).collect();
        let models: Vec<_> = models.iter().map(|m| (m, m.reading())).collect();
        for family in &FAMILIES {
            let unit = family.unit.as_ref();
            let kind = family.metric_type();
            let mut m = encoder.encode_descriptor(family.stem, family.help, unit, kind)?;
            match &family.read {
                Read::Uptime => m.encode_gauge(&self.0.uptime().as_secs_f64())?,
                Read::Dropped => {
                    m.encode_counter::<NoExemplar, u64, u64>(&self.0.dropped(), None)?;
                }
                Read::Outcomes(label, read) => {
                    for (model, reading) in &models {
                        for (outcome, n) in named(read(reading)).into_iter().filter(|c| c.1 > 0) {
                            counter(&mut m, &[("model", model.model()), (label, outcome)], n)?;
                        }
                    }
                }
                read => {
                    for (version, reading) in &versions {
                        // `other` has no series until something is counted there.
                        if version.version() == OTHER && reading.begun == 0 {
                            let t = reading.totals();
                            if t.answered + t.failed + reading.runs() + reading.shed == 0 {
                                continue;
                            }
                        }
                        let labels = [("model", version.model()), ("version", version.version())];
                        encode_version(&mut m, read, labels, reading)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The series of one version in one family.
fn encode_version(
    m: &mut MetricEncoder<'_>,
    read: &Read,
    labels: [(&'static str, &str); 2],
    reading: &Reading,
) -> fmt::Result {
    let [model, version] = labels;
    match read {
        Read::Count(read) => counter(m, &labels, read(reading)),
        Read::Gauge(read) => gauge(m, &labels, read(reading)),
        Read::Histogram(read) => {
            let (buckets, sum) = read(reading);
            let total = buckets.iter().map(|b| b.1).sum();
            m.encode_family(&labels)?.encode_histogram::<NoExemplar>(sum, total, &buckets, None)
        }
        Read::Labelled(label, read) => {
            // `ok` from the start: a rate needs a first value.
            for (value, n) in read(reading).into_iter().filter(|c| c.1 > 0 || c.0 == "ok") {
                counter(m, &[model, version, (label, value)], n)?;
            }
            Ok(())
        }
        Read::State => {
            for state in VersionState::ALL {
                let value = f64::from(u8::from(state == reading.state));
                gauge(m, &[model, version, ("state", state.label())], value)?;
            }
            Ok(())
        }
        Read::Outcomes(..) | Read::Uptime | Read::Dropped => Ok(()),
    }
}
