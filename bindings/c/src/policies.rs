//! Policies of a model, set in the words of the configuration file, and what they did.

use crate::guard::guard;
use crate::handle::{modelserve_manager, with_manager};
use crate::json::nanoseconds;
use crate::pointer::{TextOut, text};
use crate::report::report;
use crate::status::*;
use modelserve::policy::breaker::BreakerSnapshot;
use modelserve::policy::cache::CacheStats;
use modelserve::{MemoryUse, Target};
use serde_json::{Value as Json, json};
use std::ffi::c_char;

/// Sets the policies of `name` from text in the words of the configuration file
/// (docs/configuration.md): what a file has below `models.NAME`, without that in front, such as
/// `[batching]` and, in the next line, `max_batch_size = 32`.
///
/// Policies that the text does not name are off from then on: empty text ends all of them.
/// Requests under way finish under the old ones.
///
/// Errors: INVALID_ARGUMENT naming line and key, also for policies that contradict themselves or
/// the model; NOT_FOUND for the name, or another version or model that the text names. Nothing
/// is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_configure(
    manager: modelserve_manager,
    name: *const c_char,
    toml: *const c_char,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, toml) = unsafe { (text(name, "name")?, text(toml, "toml")?) };
        with_manager(manager, |manager| Ok(manager.configure(name, toml)?))
    })
}

/// Sets the share of the requests that the canary of `name` gets, from 0 to 100. A promotion
/// ends with it.
///
/// Errors: NOT_FOUND for the name or where there is no canary; INVALID_ARGUMENT for another
/// share.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_set_canary_percent(
    manager: modelserve_manager,
    name: *const c_char,
    percent: f64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let name = unsafe { text(name, "name") }?;
        with_manager(manager, |manager| Ok(manager.set_canary_percent(name, percent)?))
    })
}

fn or_null(report: Option<modelserve::Result<String>>) -> Outcome<String> {
    Ok(report.transpose()?.unwrap_or_else(|| "null".to_string()))
}

/// What each arm of the canary of `name` did, as a JSON object: `route`, `arms` and `all`, each
/// with `name`, `percent`, `requests`, `rows`, `errors`, `fell_back`, `refused`, `error_rate`
/// with its interval, latencies in seconds, `compared` and `disagreement`. `null` without a
/// canary.
///
/// Errors: NOT_FOUND; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_traffic(
    manager: modelserve_manager,
    name: *const c_char,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            or_null(manager.traffic(name)?.map(|report| report.to_json()))
        })
    }
}

/// Where the promotion of the canary of `name` stands, as a JSON object: `arm`, `state`, `step`,
/// `steps`, and `decisions` with the figures each rests on. `null` without a promotion.
///
/// Errors: NOT_FOUND; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_promotion(
    manager: modelserve_manager,
    name: *const c_char,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            or_null(manager.promotion(name)?.map(|report| report.to_json()))
        })
    }
}

/// What the shadow of `name` found so far, as a JSON object: `sampled`, `compared`, `disagreed`,
/// `disagreement` with its interval, `drift`, latencies in seconds, `examples`, and more. `null`
/// without a shadow.
///
/// Errors: NOT_FOUND; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_shadow(
    manager: modelserve_manager,
    name: *const c_char,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            or_null(manager.shadow(name)?.map(|report| report.to_json()))
        })
    }
}

/// What the response cache of `name` did so far, as a JSON object: `hits`, `misses`, `shared`,
/// `inserts`, `evictions`, `entries`, `bytes`. `null` without a cache.
///
/// Errors: NOT_FOUND; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_cache(
    manager: modelserve_manager,
    name: *const c_char,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            Ok(manager.cache(name)?.map_or(Json::Null, |stats| cache_json(&stats)).to_string())
        })
    }
}

fn cache_json(stats: &CacheStats) -> Json {
    json!({
        "hits": stats.hits,
        "misses": stats.misses,
        "shared": stats.shared,
        "inserts": stats.inserts,
        "evictions": stats.evictions,
        "entries": stats.entries,
        "bytes": stats.bytes,
    })
}

/// Where the circuit breaker of a version of `name` stands (`version` 0: the serving one), as a
/// JSON object: `state` (`closed`, `open` or `half_open`), `calls`, `failures` and `slow` in its
/// window, `openings` in a row, calls `refused`, and `retry_in_ns` (null unless open). `null`
/// without a breaker.
///
/// Errors: NOT_FOUND for the name or the version; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_circuit(
    manager: modelserve_manager,
    name: *const c_char,
    version: u64,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    let target = if version == 0 { Target::Serving } else { Target::Version(version) };
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            let circuit = manager.circuit(name, &target)?;
            Ok(circuit.as_ref().map_or(Json::Null, circuit_json).to_string())
        })
    }
}

fn circuit_json(circuit: &BreakerSnapshot) -> Json {
    json!({
        "state": circuit.state.name(),
        "calls": circuit.calls,
        "failures": circuit.failures,
        "slow": circuit.slow,
        "openings": circuit.openings,
        "refused": circuit.refused,
        "retry_in_ns": circuit.retry_in.map(nanoseconds),
    })
}

/// What each available version holds in memory, as a JSON array of objects: `model`, `version`,
/// and bytes of `weights`, of `packed` copies, of `scratch` space.
///
/// Errors: BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_memory(
    manager: modelserve_manager,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        let all = with_manager(manager, |manager| Ok(manager.memory()))?;
        out.write(&all.iter().map(memory_json).collect::<Json>().to_string())
    })
}

fn memory_json(used: &MemoryUse) -> Json {
    json!({
        "model": used.model,
        "version": used.version,
        "weights": used.weights,
        "packed": used.packed,
        "scratch": used.scratch,
    })
}
