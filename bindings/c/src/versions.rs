//! Versions of a model side by side: loading, serving, going back, labels, the gate, pins.

use crate::guard::guard;
use crate::handle::{
    self, Object, Served, free_model, modelserve_manager, modelserve_model, with_manager,
};
use crate::json::{nanoseconds, unix_ns};
use crate::options::{modelserve_reload_options, reload_options};
use crate::pointer::{Out, buffer, fill, path, slice, text, texts};
use crate::report::report;
use crate::status::*;
use crate::worst;
use modelserve::{GateReport, VersionStatus};
use serde_json::{Value as Json, json};
use std::ffi::c_char;

/// Loads another version of `name` beside the serving one. It can be asked by its number, and by
/// a label or policy that points to it; `modelserve_manager_serve` makes it serve.
///
/// `options` NULL means as before. `*version` is the new version's number.
///
/// Errors: as `modelserve_manager_reload`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_load_version(
    manager: modelserve_manager,
    name: *const c_char,
    path: *const c_char,
    options: *const modelserve_reload_options,
    version: *mut u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, path, options, out) = unsafe {
            (
                text(name, "name")?,
                self::path(path, "path")?,
                reload_options(options)?,
                Out::new(version, "version")?,
            )
        };
        let info = with_manager(manager, |manager| {
            Ok(manager.load_version(name, path, &options.of(manager, name)?)?)
        })?;
        out.write(info.version);
        Ok(())
    })
}

/// Loads another version of `name` from the `len` bytes of a model file, which are copied.
///
/// Otherwise as `modelserve_manager_load_version`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_load_version_bytes(
    manager: modelserve_manager,
    name: *const c_char,
    bytes: *const u8,
    len: usize,
    options: *const modelserve_reload_options,
    version: *mut u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, bytes, options, out) = unsafe {
            (
                text(name, "name")?,
                slice(bytes, len, "bytes")?,
                reload_options(options)?,
                Out::new(version, "version")?,
            )
        };
        let info = with_manager(manager, |manager| {
            Ok(manager.load_version(name, bytes.to_vec(), &options.of(manager, name)?)?)
        })?;
        out.write(info.version);
        Ok(())
    })
}

/// Lets an available version of `name` answer the requests that name none, at once.
///
/// Errors: NOT_FOUND for the name or the version; for a version that could not be loaded, the
/// error it ended with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_serve(
    manager: modelserve_manager,
    name: *const c_char,
    version: u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let name = unsafe { text(name, "name") }?;
        with_manager(manager, |manager| Ok(manager.serve(name, version)?))
    })
}

/// Lets the version of `name` serve again that served before the present one: at once where it is
/// still available (`modelserve_manager_options.keep_versions`), else its file is loaded again,
/// if it is still the same. `*version` is the number of the version that serves now.
///
/// Errors: NOT_FOUND for the name; NOT_READY when no version served before, or it cannot be
/// loaded again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_rollback(
    manager: modelserve_manager,
    name: *const c_char,
    version: *mut u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, out) = unsafe { (text(name, "name")?, Out::new(version, "version")?) };
        let info = with_manager(manager, |manager| Ok(manager.rollback(name)?))?;
        out.write(info.version);
        Ok(())
    })
}

/// Takes one version of `name` that does not serve out of service.
///
/// Errors: NOT_FOUND for the name or the version; INVALID_ARGUMENT for the serving one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_unload_version(
    manager: modelserve_manager,
    name: *const c_char,
    version: u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let name = unsafe { text(name, "name") }?;
        with_manager(manager, |manager| Ok(manager.unload_version(name, version)?))
    })
}

/// The versions of `name` as a JSON array, oldest first, of objects: `version`, `state` (`START`,
/// `LOADING`, `AVAILABLE`, `UNLOADING` or `END`), `serving`, `labels`, `since_unix_ns`, and
/// `error` (a kind, or null) with its `message` for one that could not be loaded.
///
/// Errors: NOT_FOUND; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_versions(
    manager: modelserve_manager,
    name: *const c_char,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            Ok(manager.versions(name)?.iter().map(version_json).collect::<Json>().to_string())
        })
    }
}

fn version_json(status: &VersionStatus) -> Json {
    json!({
        "version": status.version,
        "state": status.state.name(),
        "serving": status.serving,
        "labels": status.labels.iter().map(|label| &**label).collect::<Vec<_>>(),
        "since_unix_ns": unix_ns(status.since),
        "error": status.error.map(|kind| kind.name()),
        "message": status.message,
    })
}

/// Points `label` (a word like `stable` or `canary`) to an available version of `name`, at once.
///
/// Errors: NOT_FOUND for the name or a version that is not available; INVALID_ARGUMENT for a
/// label that has not the form of a model's name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_set_label(
    manager: modelserve_manager,
    name: *const c_char,
    label: *const c_char,
    version: u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, label) = unsafe { (text(name, "name")?, text(label, "label")?) };
        with_manager(manager, |manager| Ok(manager.set_label(name, label, version)?))
    })
}

/// Removes a label of `name`; the version that it points to stays.
///
/// Errors: NOT_FOUND for the name or the label.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_remove_label(
    manager: modelserve_manager,
    name: *const c_char,
    label: *const c_char,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, label) = unsafe { (text(name, "name")?, text(label, "label")?) };
        with_manager(manager, |manager| Ok(manager.remove_label(name, label)?))
    })
}

/// The labels of `name` as a JSON object: each label with the version it points to.
///
/// Errors: NOT_FOUND; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_labels(
    manager: modelserve_manager,
    name: *const c_char,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            let labels = manager.labels(name)?.into_iter();
            let labels = labels.map(|(label, version)| (label.to_string(), version.into()));
            Ok(Json::Object(labels.collect()).to_string())
        })
    }
}

/// What the last gate of `name` found, let in or not, as a JSON object: `accepted`, `version`,
/// `serving`, `golden`, `golden_failed`, `replayed`, `failed`, `rows`, `disagreed`, `max_drift`,
/// `p50_serving_ns`, `p50_candidate_ns`, `latency_ratio`, `reasons` (what speaks against the
/// version), `worst` (the replayed row on which the two versions differ most: its number `row` in
/// the `request`, and what `serving` and `candidate` answered; null where nothing differs), and
/// `text`, the same to read. `null` where nothing was tried yet.
///
/// Errors: NOT_FOUND; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_gate_report(
    manager: modelserve_manager,
    name: *const c_char,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            Ok(manager.gate_report(name)?.as_deref().map_or(Json::Null, gate_json).to_string())
        })
    }
}

fn gate_json(report: &GateReport) -> Json {
    json!({
        "accepted": report.accepted,
        "version": report.version,
        "serving": report.serving,
        "golden": report.golden,
        "golden_failed": report.golden_failed,
        "replayed": report.replayed,
        "failed": report.failed,
        "rows": report.rows,
        "disagreed": report.disagreed,
        "max_drift": report.max_drift,
        "p50_serving_ns": nanoseconds(report.p50_serving),
        "p50_candidate_ns": nanoseconds(report.p50_candidate),
        "latency_ratio": report.latency_ratio(),
        "reasons": report.reasons,
        "worst": report.worst.as_ref().map(worst::json),
        "text": report.to_string(),
    })
}

/// One consistent set of versions over the `n` models in `names`: versions that all served at one
/// and the same moment. Writes `n` handles to `models`, in the order of the names; each keeps
/// answering with its version, whatever is reloaded or unloaded later, and is to be freed with
/// `modelserve_model_free`.
///
/// Errors: NOT_FOUND for a name. Then nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_pin(
    manager: modelserve_manager,
    names: *const *const c_char,
    n: usize,
    models: *mut modelserve_model,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (names, models) = unsafe { (texts(names, n, "names")?, buffer(models, n, "models")?) };
        let pinned = with_manager(manager, |manager| Ok(manager.pin(&names)?))?;
        let mut handles = Vec::with_capacity(n);
        for model in pinned.models() {
            match handle::insert(Object::Model(Served::Named(model.clone()))) {
                Ok(id) => handles.push(modelserve_model { id }),
                Err(full) => {
                    handles.into_iter().try_for_each(free_model)?;
                    return Err(full);
                }
            }
        }
        fill(models, handles);
        Ok(())
    })
}
