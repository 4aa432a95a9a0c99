//! The counters in Prometheus' text format.

use super::stats::{ModelStats, VersionStats};
use std::fmt::Write;
use std::time::Duration;

/// One metric family: name, help text, type, and the value of a version.
type Family = (&'static str, &'static str, &'static str, fn(&VersionStats) -> String);

const FAMILIES: [Family; 5] = [
    ("modelserve_requests_total", "Prediction calls, failed ones included.", "counter", |v| {
        v.requests.to_string()
    }),
    ("modelserve_rows_total", "Rows answered.", "counter", |v| v.rows.to_string()),
    ("modelserve_errors_total", "Prediction calls refused or failed.", "counter", |v| {
        v.errors.to_string()
    }),
    ("modelserve_latency_seconds_total", "Time spent in answered calls.", "counter", |v| {
        v.total.as_secs_f64().to_string()
    }),
    ("modelserve_serving", "1 for the version that serves now.", "gauge", |v| {
        u8::from(v.serving).to_string()
    }),
];

/// The text of all families; model names need no escaping, since their characters are checked.
pub(super) fn text(models: &[ModelStats], uptime: Duration) -> String {
    let mut out = String::new();
    for (name, help, kind, value) in FAMILIES {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for model in models {
            for version in &model.versions {
                let (m, v) = (&model.name, version.version);
                let _ = writeln!(out, "{name}{{model=\"{m}\",version=\"{v}\"}} {}", value(version));
            }
        }
    }
    let name = "modelserve_latency_seconds";
    let _ = writeln!(out, "# HELP {name} Latency of answered calls.\n# TYPE {name} summary");
    for model in models {
        for version in &model.versions {
            let (m, v) = (&model.name, version.version);
            for (q, d) in [("0.5", version.p50), ("0.95", version.p95), ("0.99", version.p99)] {
                let s = d.as_secs_f64();
                let _ =
                    writeln!(out, "{name}{{model=\"{m}\",version=\"{v}\",quantile=\"{q}\"}} {s}");
            }
        }
    }
    let name = "modelserve_uptime_seconds";
    let _ = writeln!(out, "# HELP {name} Age of the manager.\n# TYPE {name} gauge");
    let _ = writeln!(out, "{name} {}", uptime.as_secs_f64());
    out
}
