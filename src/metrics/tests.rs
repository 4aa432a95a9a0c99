use super::*;
use crate::model::{CacheUse, Receipt, Route};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One sample of a scrape: labels and value.
type Samples = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// A small reader of both text formats that accepts nothing odd: names, escapes, numbers, no
/// sample before its type, none twice, buckets that grow and end with the count.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines().filter(|l| *l != "# EOF") {
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            let rest = words.next().unwrap();
            if kind == "TYPE" {
                assert!(types.insert(name.to_string(), rest.to_string()).is_none(), "{line}");
            }
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            continue;
        }
        let name_end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(name_end);
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
        let family = ["_total", "_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|stem| types.contains_key(*stem))
            .unwrap_or(name);
        assert!(types.contains_key(family), "no type before {line}");
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                let (key, after) = rest.split_once("=\"").unwrap();
                let mut value = String::new();
                let mut chars = after.char_indices();
                let end = loop {
                    match chars.next().unwrap() {
                        (i, '"') => break i,
                        (_, '\\') => value.push(match chars.next().unwrap().1 {
                            'n' => '\n',
                            c @ ('\\' | '"') => c,
                            c => panic!("escape {c} in {line}"),
                        }),
                        (_, c) => value.push(c),
                    }
                };
                assert!(labels.insert(key.to_string(), value).is_none(), "{line}");
                rest = &after[end + 1..];
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break,
                }
            }
            rest = rest.strip_prefix('}').unwrap();
            normalise(&mut labels);
        }
        let number: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
        let key = (name.to_string(), labels);
        assert!(samples.insert(key, number).is_none(), "twice: {line}");
    }
    for (name, kind) in &types {
        if kind == "histogram" {
            check_histogram(&samples, name);
        }
    }
    samples
}

fn check_histogram(samples: &Samples, name: &str) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for ((sample, labels), value) in samples {
        if *sample == format!("{name}_bucket") {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap().parse().unwrap();
            series.entry(labels).or_default().push((bound, *value));
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.windows(2).all(|w| w[0].1 <= w[1].1), "{name} {labels:?} {buckets:?}");
        let (bound, last) = buckets[buckets.len() - 1];
        assert_eq!((bound, last), (f64::INFINITY, samples[&(format!("{name}_count"), labels)]));
    }
}

/// One way to write a bound: formats differ in it.
fn normalise(labels: &mut BTreeMap<String, String>) {
    if let Some(bound) = labels.get_mut("le") {
        *bound = bound.parse::<f64>().unwrap().to_string();
    }
}

fn key(name: &str, labels: &[(&str, &str)]) -> (String, BTreeMap<String, String>) {
    let mut labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    normalise(&mut labels);
    (name.to_string(), labels)
}

fn receipt(queue: Duration, cache: CacheUse, route: Route) -> Receipt {
    Receipt { queue, cache, route, ..Receipt::default() }
}

fn busy(metrics: &Metrics) {
    let v = metrics.version("churn", 7);
    let us = Duration::from_micros;
    v.set_state(VersionState::Available);
    v.loaded(4096, Duration::from_millis(1500));
    v.observe(|| Some(LiveGauges { queue_depth: 3, cache_bytes: 99 }));
    for _ in 0..4 {
        v.begin();
    }
    v.ran(1, us(2));
    v.answered(1, us(3), &receipt(Duration::ZERO, CacheUse::Miss, Route::Stable));
    v.answered(1, us(1), &receipt(Duration::ZERO, CacheUse::Hit, Route::Canary));
    v.ran(40, us(700));
    v.answered(8, us(900), &receipt(us(100), CacheUse::Off, Route::Fallback));
    v.begin();
    v.failed(ErrorKind::Overloaded);
    v.shed();
    v.shadowed(true);
    v.shadowed(false);
    let m = metrics.model("churn");
    m.reloaded(Ok(()));
    m.reloaded(Err(ErrorKind::InvalidModel));
    m.fell_back(ErrorKind::DeadlineExceeded);
    m.refused(ErrorKind::NotFound);
}

#[test]
fn a_scrape_says_what_was_recorded() {
    let metrics = Metrics::new(MetricsOptions::default());
    busy(&metrics);
    let open = metrics.encode();
    assert!(open.ends_with("# EOF\n"));
    let s = parse(&open);
    let v = [("model", "churn"), ("version", "7")];
    let with = |k, x| [v[0], v[1], (k, x)];
    for (name, labels, value) in [
        ("modelserve_requests_total", &with("outcome", "ok")[..], 3.0),
        ("modelserve_requests_total", &with("outcome", "overloaded"), 1.0),
        ("modelserve_request_seconds_count", &v, 3.0),
        ("modelserve_request_seconds_sum", &v, 904e-6),
        ("modelserve_request_seconds_bucket", &with("le", "1e-6"), 1.0),
        ("modelserve_request_seconds_bucket", &with("le", "5e-6"), 2.0),
        ("modelserve_request_seconds_bucket", &with("le", "0.001"), 3.0),
        ("modelserve_queue_seconds_bucket", &with("le", "5e-7"), 2.0),
        ("modelserve_queue_seconds_bucket", &with("le", "0.0001"), 3.0),
        ("modelserve_queue_seconds_sum", &v, 100e-6),
        ("modelserve_infer_seconds_count", &v, 2.0),
        ("modelserve_infer_seconds_sum", &v, 702e-6),
        ("modelserve_rows_total", &v, 10.0),
        ("modelserve_batches_total", &v, 2.0),
        ("modelserve_batch_rows_sum", &v, 41.0),
        ("modelserve_batch_rows_bucket", &with("le", "1.0"), 1.0),
        ("modelserve_batch_rows_bucket", &with("le", "32.0"), 1.0),
        ("modelserve_batch_rows_bucket", &with("le", "64.0"), 2.0),
        ("modelserve_inflight", &v, 1.0),
        ("modelserve_queue_depth", &v, 3.0),
        ("modelserve_shed_total", &v, 1.0),
        ("modelserve_cache_hits_total", &v, 1.0),
        ("modelserve_cache_misses_total", &v, 1.0),
        ("modelserve_cache_bytes", &v, 99.0),
        ("modelserve_model_state", &with("state", "available"), 1.0),
        ("modelserve_model_state", &with("state", "loading"), 0.0),
        ("modelserve_model_bytes", &v, 4096.0),
        ("modelserve_load_seconds", &v, 1.5),
        ("modelserve_routed_total", &with("route", "canary"), 1.0),
        ("modelserve_routed_total", &with("route", "fallback"), 1.0),
        ("modelserve_shadow_total", &v, 2.0),
        ("modelserve_shadow_diff_total", &v, 1.0),
        ("modelserve_reloads_total", &[v[0], ("outcome", "ok")], 1.0),
        ("modelserve_reloads_total", &[v[0], ("outcome", "invalid_model")], 1.0),
        ("modelserve_fallbacks_total", &[v[0], ("reason", "deadline_exceeded")], 1.0),
        ("modelserve_refused_total", &[v[0], ("reason", "not_found")], 1.0),
        ("modelserve_series_dropped_total", &[], 0.0),
    ] {
        let got = s.get(&key(name, labels));
        let close = got.is_some_and(|got| (got - value).abs() < 1e-12);
        assert!(close, "{name} {labels:?}: {got:?}, expected {value}");
    }
    assert!(s[&key("modelserve_uptime_seconds", &[])] >= 0.0);

    // The other format has the same samples in another order.
    let plain = metrics.encode_as(TextFormat::Prometheus);
    assert!(!plain.contains("# EOF") && plain.contains("# TYPE modelserve_requests_total counter"));
    let t = parse(&plain);
    assert!(t.keys().eq(s.keys()));
    for (key, value) in &t {
        assert!(key.0.contains("uptime") || *value == s[key], "{key:?}");
    }
}

#[test]
fn the_families_are_the_ones_written() {
    let metrics = Metrics::new(MetricsOptions::default());
    busy(&metrics);
    let text = metrics.encode();
    let samples = parse(&text);
    let mut written = BTreeSet::new();
    for (name, labels) in samples.keys() {
        let histogram =
            labels.contains_key("le") || name.ends_with("_sum") || name.ends_with("_count");
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
        let name = if histogram { stem.unwrap() } else { name };
        let labels: BTreeSet<String> = labels.keys().filter(|k| *k != "le").cloned().collect();
        written.insert((name.to_string(), labels));
    }
    let described: BTreeSet<_> = families()
        .into_iter()
        .map(|f| (f.name, f.labels.iter().map(|l| (*l).to_string()).collect::<BTreeSet<_>>()))
        .collect();
    assert_eq!(written, described);
}

/// Every family is in the documentation with its kind and labels, and the dashboard asks for
/// families that there are, with labels that they have.
#[test]
fn documentation_and_dashboard_name_what_is_exported() {
    let docs = include_str!("../../docs/metrics.md");
    for f in families() {
        let labels = if f.labels.is_empty() { "–".into() } else { f.labels.join(", ") };
        let line = format!("| `{}` | {} | {labels} |", f.name, f.kind);
        assert!(docs.contains(&line), "docs/metrics.md lacks: {line}");
    }
    let text = include_str!("../../examples/grafana/modelserve.json");
    let board: serde_json::Value = serde_json::from_str(text).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let mut expressions = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            expressions.push(target["expr"].as_str().unwrap().to_string());
        }
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        expressions.extend(variable["query"].as_str().map(str::to_string));
    }
    assert!(expressions.len() > 15, "{}", expressions.len());
    let mut known = BTreeMap::new();
    for f in families() {
        let mut labels = f.labels.clone();
        if f.kind == "histogram" {
            for suffix in ["_bucket", "_sum", "_count"] {
                let mut labels = labels.clone();
                labels.extend((suffix == "_bucket").then_some("le"));
                known.insert(format!("{}{suffix}", f.name), labels);
            }
        } else {
            labels.sort_unstable();
            known.insert(f.name, labels);
        }
    }
    let selector = regex::Regex::new(r"(modelserve_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let label = regex::Regex::new(r"([a-z_]+)\s*(?:=|!=|=~|!~)").unwrap();
    for expression in &expressions {
        for found in selector.captures_iter(expression) {
            let labels = known.get(&found[1]).unwrap_or_else(|| panic!("{}", &found[0]));
            let inside = found.get(2).map_or("", |m| m.as_str());
            for used in label.captures_iter(inside) {
                assert!(labels.contains(&&used[1]), "{} has no label {}", &found[1], &used[1]);
            }
        }
    }
    let text = expressions.join("\n");
    let shown = families().into_iter().filter(|f| text.contains(&f.name)).count();
    assert!(shown >= 18, "the dashboard shows {shown} families");
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new(MetricsOptions::default());
    let odd = "a\"b\\c\nd{e=\"f\"} λ";
    metrics.version(odd, 1).failed(ErrorKind::Io);
    metrics.model(odd).reloaded(Ok(()));
    for format in [TextFormat::OpenMetrics, TextFormat::Prometheus] {
        let samples = parse(&metrics.encode_as(format));
        let labels = [("model", odd), ("version", "1"), ("outcome", "io")];
        assert_eq!(samples.get(&key("modelserve_requests_total", &labels)), Some(&1.0));
    }
}

#[test]
fn a_million_unknown_names_make_no_more_series_than_allowed() {
    let options = MetricsOptions { max_series: 20, keep_versions: 2 };
    let metrics = Metrics::new(options);
    let first = metrics.version("m0", 1);
    first.failed(ErrorKind::NotFound);
    let other = metrics.unknown() as *const VersionMetrics;
    for i in 0..1_000_000u64 {
        let v = metrics.version(&format!("m{}", i % 500_000), i);
        v.failed(ErrorKind::NotFound);
        if i > 1000 {
            assert!(std::ptr::eq(&*v, other), "{i}");
        }
    }
    let models: BTreeSet<_> =
        (0..100_000).map(|i| metrics.model(&format!("n{i}")).model().to_string()).collect();
    // 19 models have the 20 versions: one more is let in.
    assert_eq!(models, BTreeSet::from(["n0".to_string(), "other".to_string()]));
    let samples = parse(&metrics.encode());
    let versions: BTreeSet<_> = samples
        .keys()
        .filter_map(|(_, labels)| Some((labels.get("model")?, labels.get("version")?)))
        .collect();
    assert_eq!(versions.len(), 21, "{versions:?}");
    let failed: f64 = samples
        .iter()
        .filter(|((name, l), _)| {
            name == "modelserve_requests_total"
                && l.get("outcome").is_some_and(|o| o == "not_found")
        })
        .map(|(_, v)| v)
        .sum();
    assert_eq!(failed, 1_000_001.0, "nothing is lost, only folded");
    let dropped = samples[&key("modelserve_series_dropped_total", &[])];
    assert_eq!(dropped, 1_000_000.0 - 19.0 + 99_999.0);
}

#[test]
fn retired_versions_keep_their_series_for_a_while() {
    let metrics = Metrics::new(MetricsOptions { max_series: 10, keep_versions: 2 });
    for version in 1..=100 {
        let v = metrics.version("m", version);
        assert_ne!(v.version(), "other", "retired ones make room");
        v.failed(ErrorKind::Io);
        if version > 1 {
            metrics.remove_version("m", version - 1);
        }
    }
    let present = |metrics: &Metrics| -> BTreeSet<String> {
        let samples = parse(&metrics.encode());
        samples.into_keys().filter_map(|(_, mut l)| l.remove("version")).collect()
    };
    let names = |all: &[&str]| all.iter().map(|s| (*s).to_string()).collect::<BTreeSet<_>>();
    assert_eq!(present(&metrics), names(&["98", "99", "100"]));
    // One that comes back goes on where it was, and is not the next to go.
    assert_eq!(metrics.version("m", 98).totals().failed, 1);
    metrics.remove_version("m", 100);
    metrics.remove_version("m", 100);
    metrics.remove_version("m", 7);
    metrics.remove_version("unknown", 7);
    assert_eq!(present(&metrics), names(&["98", "99", "100"]));
    metrics.remove_version("m", 98);
    assert_eq!(present(&metrics), names(&["98", "100"]));
    metrics.remove_model("m");
    assert_eq!(present(&metrics), names(&[]));
    let ten = (0..10).all(|i| metrics.version("x", i).version() != "other");
    assert!(ten, "removed series are given back");
}

/// Threads record while others scrape: no count is lost, no counter ever falls, and recording
/// ends although a scrape is always under way.
#[test]
fn a_scrape_under_load_blocks_nobody_and_counters_never_fall() {
    const THREADS: u64 = 8;
    const EACH: u64 = 20_000;
    let metrics = Metrics::new(MetricsOptions::default());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut last = Samples::new();
            let mut scrapes = 0;
            while !stop.load(Ordering::Relaxed) || scrapes < 3 {
                let now = parse(&metrics.encode());
                for (key, value) in &last {
                    let gauge = ["inflight", "depth", "state"].iter().any(|g| key.0.contains(g));
                    assert!(gauge || now[key] >= *value, "{key:?} fell from {value}");
                }
                last = now;
                scrapes += 1;
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|t| {
                let v = metrics.version("m", 1);
                scope.spawn(move || {
                    for i in 0..EACH {
                        v.begin();
                        if i % 10 == 9 {
                            v.failed(ErrorKind::Execution);
                            continue;
                        }
                        let rows = (i % 3 + 1) as usize;
                        v.ran(rows, Duration::from_nanos(i));
                        let queue = Duration::from_nanos(if i % 2 == 0 { 0 } else { t + 1 });
                        let receipt = receipt(queue, CacheUse::Miss, Route::Stable);
                        v.answered(rows, Duration::from_nanos(i * 7), &receipt);
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|w| w.join().unwrap());
        stop.store(true, Ordering::Relaxed);
        scraper.join().unwrap();
    });
    let good: Vec<u64> = (0..EACH).filter(|i| i % 10 != 9).collect();
    let rows: u64 = good.iter().map(|i| i % 3 + 1).sum();
    let ns: u64 = good.iter().map(|i| i * 7).sum();
    let totals = metrics.version("m", 1).totals();
    assert_eq!(totals.answered, good.len() as u64 * THREADS);
    assert_eq!(totals.failed, EACH / 10 * THREADS);
    assert_eq!(totals.rows, rows * THREADS);
    assert_eq!(totals.latency, Duration::from_nanos(ns * THREADS));
    assert_eq!(totals.in_flight, 0);
    let samples = parse(&metrics.encode());
    let of = |name: &str| samples[&key(name, &[("model", "m"), ("version", "1")])];
    assert_eq!(of("modelserve_batch_rows_sum"), (rows * THREADS) as f64);
    assert_eq!(of("modelserve_queue_seconds_count"), totals.answered as f64);
    assert_eq!(of("modelserve_cache_misses_total"), totals.answered as f64);
}

#[test]
fn quantiles_are_near_the_truth() {
    let metrics = Metrics::new(MetricsOptions::default());
    let v = metrics.version("m", 1);
    assert_eq!(v.latency_quantile(0.5), Duration::ZERO);
    for us in 1..=1000 {
        v.answered(1, Duration::from_micros(us), &Receipt::default());
    }
    for (q, us) in [(0.001, 1.0), (0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
        let got = v.latency_quantile(q).as_secs_f64() * 1e6;
        assert!(got >= us && got <= us * 1.29, "{q}: {got} for {us}");
    }
}

#[test]
fn metrics_keep_no_version_in_memory() {
    let metrics = Metrics::new(MetricsOptions::default());
    let version = Arc::new(5u64);
    let weak = Arc::downgrade(&version);
    metrics
        .version("m", 1)
        .observe(move || weak.upgrade().map(|v| LiveGauges { queue_depth: *v, cache_bytes: 0 }));
    let depth = |m: &Metrics| {
        parse(&m.encode())[&key("modelserve_queue_depth", &[("model", "m"), ("version", "1")])]
    };
    assert_eq!(depth(&metrics), 5.0);
    assert_eq!(Arc::strong_count(&version), 1);
    drop(version);
    assert_eq!(depth(&metrics), 0.0);
}

#[test]
fn outcomes_are_the_kinds_in_snake_case() {
    for kind in ErrorKind::ALL {
        let mut snake = String::new();
        for c in kind.name().chars() {
            if c.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
        }
        assert_eq!(OUTCOME_NAMES[outcome_index(kind)], snake);
    }
}

#[test]
fn a_model_called_other_is_not_written_twice() {
    let metrics = Metrics::new(MetricsOptions::default());
    metrics.version("other", 1).failed(ErrorKind::Io);
    metrics.model("other").reloaded(Ok(()));
    metrics.unknown().failed(ErrorKind::NotFound);
    let samples = parse(&metrics.encode());
    assert_eq!(
        samples[&key("modelserve_reloads_total", &[("model", "other"), ("outcome", "ok")])],
        1.0
    );
}
