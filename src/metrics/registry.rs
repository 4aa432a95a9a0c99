//! Which models and versions have series, and the text of a scrape.

use super::families::Scrape;
use super::model::ModelMetrics;
use super::version::VersionMetrics;
use parking_lot::Mutex;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The label value of everything beyond the bound on series.
pub(super) const OTHER: &str = "other";

/// How metrics are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsOptions {
    /// Most versions, of all models together, with series of their own (1,000). What is beyond is
    /// counted under `model="other", version="other"`, and in
    /// `modelserve_series_dropped_total`. A family with a further label (an outcome, a state, a
    /// bucket) has a series for each of its few values.
    pub max_series: usize,
    /// Retired versions whose series are kept, for each model (4).
    pub keep_versions: usize,
}

impl Default for MetricsOptions {
    fn default() -> MetricsOptions {
        MetricsOptions { max_series: 1000, keep_versions: 4 }
    }
}

/// A text format of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TextFormat {
    /// OpenMetrics 1.0, which current Prometheus asks for.
    #[default]
    OpenMetrics,
    /// The text format 0.0.4, which everything understands.
    Prometheus,
}

impl TextFormat {
    /// The value of the header `Content-Type` for this text.
    pub fn content_type(self) -> &'static str {
        match self {
            TextFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            TextFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What a scraper whose header `Accept` is this is to be sent.
    pub fn for_accept(accept: &str) -> TextFormat {
        if accept.contains("application/openmetrics-text") {
            TextFormat::OpenMetrics
        } else {
            TextFormat::Prometheus
        }
    }
}

/// The metrics of one manager.
pub struct Metrics {
    shared: Arc<Shared>,
    registry: Registry,
}

/// What requests reach and a scrape reads.
#[derive(Debug)]
pub(super) struct Shared {
    options: MetricsOptions,
    series: Mutex<Series>,
    other: Arc<VersionMetrics>,
    other_model: Arc<ModelMetrics>,
    dropped: AtomicU64,
    started: Instant,
}

#[derive(Debug, Default)]
struct Series {
    models: BTreeMap<Box<str>, Entry>,
    versions: usize,
}

#[derive(Debug)]
struct Entry {
    metrics: Arc<ModelMetrics>,
    versions: BTreeMap<u64, Arc<VersionMetrics>>,
    /// Versions that are gone, the oldest first.
    retired: VecDeque<u64>,
}

impl Metrics {
    /// Metrics without series.
    pub fn new(options: MetricsOptions) -> Metrics {
        let shared = Arc::new(Shared {
            options,
            series: Mutex::default(),
            other: Arc::new(VersionMetrics::new(OTHER, OTHER)),
            other_model: Arc::new(ModelMetrics::new(OTHER)),
            dropped: AtomicU64::new(0),
            started: Instant::now(),
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(shared.clone())));
        Metrics { shared, registry }
    }

    /// The metrics of a version, to be kept with it. The same for the same names; shared by all
    /// beyond [`MetricsOptions::max_series`].
    ///
    /// Names come from what is configured or loaded, never from a request: what a request names
    /// that is not there is counted by [`Metrics::unknown`].
    pub fn version(&self, model: &str, version: u64) -> Arc<VersionMetrics> {
        let shared = &self.shared;
        let mut series = shared.series.lock();
        let full = series.versions >= shared.options.max_series;
        if let Some(entry) = series.models.get_mut(model)
            && let Some(metrics) = entry.versions.get(&version)
        {
            entry.retired.retain(|v| *v != version);
            return metrics.clone();
        }
        if full || !series.admits(model, &shared.options) {
            shared.dropped.fetch_add(1, Relaxed);
            return shared.other.clone();
        }
        let metrics = Arc::new(VersionMetrics::new(model, &version.to_string()));
        series.entry(model).versions.insert(version, metrics.clone());
        series.versions += 1;
        metrics
    }

    /// The metrics of a model that are of no one version; shared by all models beyond
    /// [`MetricsOptions::max_series`].
    pub fn model(&self, model: &str) -> Arc<ModelMetrics> {
        let shared = &self.shared;
        let mut series = shared.series.lock();
        if model == OTHER {
            return shared.other_model.clone();
        }
        if !series.admits(model, &shared.options) {
            shared.dropped.fetch_add(1, Relaxed);
            return shared.other_model.clone();
        }
        series.entry(model).metrics.clone()
    }

    /// What requests are counted by that name no model or version there is: `other`.
    pub fn unknown(&self) -> &VersionMetrics {
        &self.shared.other
    }

    /// A version is gone. Its series stay until [`MetricsOptions::keep_versions`] later ones of
    /// the model are gone too, so that a scrape sees the end of its counts.
    pub fn remove_version(&self, model: &str, version: u64) {
        let keep = self.shared.options.keep_versions;
        let mut series = self.shared.series.lock();
        let Some(entry) = series.models.get_mut(model) else { return };
        if !entry.versions.contains_key(&version) {
            return;
        }
        entry.retired.retain(|v| *v != version);
        entry.retired.push_back(version);
        let mut gone = 0;
        while entry.retired.len() > keep
            && let Some(oldest) = entry.retired.pop_front()
        {
            gone += usize::from(entry.versions.remove(&oldest).is_some());
        }
        series.versions -= gone;
    }

    /// A model is gone, with all its versions and series.
    pub fn remove_model(&self, model: &str) {
        let mut series = self.shared.series.lock();
        if let Some(entry) = series.models.remove(model) {
            series.versions -= entry.versions.len();
        }
    }

    /// All families in the OpenMetrics text format: send it as
    /// [`TextFormat::OpenMetrics`]'s content type.
    pub fn encode(&self) -> String {
        self.encode_as(TextFormat::OpenMetrics)
    }

    /// All families in that text format.
    pub fn encode_as(&self, format: TextFormat) -> String {
        let mut out = String::new();
        // Writing to a string does not fail, and nothing else here does.
        let written = match format {
            TextFormat::OpenMetrics => text::encode(&mut out, &self.registry),
            TextFormat::Prometheus => prometheus_text::encode(&mut out, &self.registry),
        };
        debug_assert!(written.is_ok());
        out
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

impl Series {
    /// Whether a model has, or may have, series of its own.
    fn admits(&self, model: &str, options: &MetricsOptions) -> bool {
        self.models.contains_key(model) || self.models.len() < options.max_series
    }

    fn entry(&mut self, model: &str) -> &mut Entry {
        self.models.entry(model.into()).or_insert_with(|| Entry {
            metrics: Arc::new(ModelMetrics::new(model)),
            versions: BTreeMap::new(),
            retired: VecDeque::new(),
        })
    }
}

impl Shared {
    /// Everything with series, `other` last. The lock is held for the copying of pointers only.
    pub(super) fn snapshot(&self) -> (Vec<Arc<ModelMetrics>>, Vec<Arc<VersionMetrics>>) {
        let series = self.series.lock();
        let own = series.models.values().filter(|e| e.metrics.model() != OTHER);
        let mut models: Vec<_> = own.map(|e| e.metrics.clone()).collect();
        let mut versions: Vec<_> =
            series.models.values().flat_map(|e| e.versions.values().cloned()).collect();
        drop(series);
        models.push(self.other_model.clone());
        versions.push(self.other.clone());
        (models, versions)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
