//! The statistics extension. What is not measured apart is counted under `compute_infer`, with
//! `compute_input` and `compute_output` left at 0.

use super::super::ask::Asked;
use super::super::fault::Outcome;
use super::super::{Http, HttpResponse};
use crate::manager::VersionStats;
use crate::model::Target;
use serde_json::{Value as Json, json};
use std::time::Duration;

/// The statistics of every version of every model that can be asked.
pub(super) fn all(http: &Http) -> HttpResponse {
    let names = http.manager.models();
    let stats = names.iter().flat_map(|name| of_model(http, name, None).unwrap_or_default());
    respond(stats.collect())
}

/// The statistics of one model, or of one version of it.
pub(super) fn model(asked: &Asked<'_>) -> Outcome<HttpResponse> {
    asked.known()?;
    let version = match asked.target {
        Target::Version(version) => Some(version),
        Target::Serving | Target::Label(_) => None,
    };
    Ok(respond(of_model(asked.http, asked.name, version)?))
}

fn respond(stats: Vec<Json>) -> HttpResponse {
    HttpResponse::json(200, &json!({ "model_stats": stats }))
}

fn of_model(http: &Http, name: &str, version: Option<u64>) -> Outcome<Vec<Json>> {
    let stats = http.manager.stats(name)?;
    let available: Vec<u64> = http
        .manager
        .versions(name)?
        .into_iter()
        .filter(|status| status.state == crate::VersionState::Available)
        .map(|status| status.version)
        .collect();
    let wanted = |v: &&VersionStats| {
        available.contains(&v.version) && version.is_none_or(|version| v.version == version)
    };
    Ok(stats.versions.iter().filter(wanted).map(|v| of_version(name, v)).collect())
}

fn of_version(name: &str, stats: &VersionStats) -> Json {
    let succeeded = stats.requests.saturating_sub(stats.errors);
    json!({
        "name": name,
        "version": stats.version.to_string(),
        // When that was is not kept: it would cost every prediction a look at the clock.
        "last_inference": 0,
        "inference_count": stats.rows,
        "execution_count": stats.runs,
        "inference_stats": {
            "success": counted(succeeded, stats.total),
            "fail": counted(stats.errors, Duration::ZERO),
            "queue": counted(succeeded, stats.queue),
            "compute_input": counted(stats.runs, Duration::ZERO),
            "compute_infer": counted(stats.runs, stats.run),
            "compute_output": counted(stats.runs, Duration::ZERO),
            "cache_hit": counted(stats.cache_hits, Duration::ZERO),
            "cache_miss": counted(stats.cache_misses, Duration::ZERO),
        },
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    })
}

fn counted(count: u64, time: Duration) -> Json {
    json!({ "count": count, "ns": u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) })
}
