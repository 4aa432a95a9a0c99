//! Serving a folder of models.

use crate::guard::guard;
use crate::handle::{modelserve_manager, with_managed};
use crate::options::{Versioned, defaults, flag, init, read};
use crate::pointer::{TextOut, optional_text, path, text};
use crate::status::*;
use modelserve::repo::WatchOptions;
use modelserve::{RefreshReport, RepositoryRules};
use serde_json::{Value as Json, json};
use std::ffi::c_char;
use std::time::Duration;

/// How a folder of models is served. Begin with `modelserve_repository_options_init`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_repository_options {
    /// `sizeof(modelserve_repository_options)`; set by `modelserve_repository_options_init`.
    pub struct_size: usize,
    /// Which versions of a model are served: `latest(n)`, `all`, or `specific(7, 8)`. NULL:
    /// `latest(1)`.
    pub version_policy: *const c_char,
    /// How often the folder is looked at where the system reports no changes, in nanoseconds; 0:
    /// every 2 seconds.
    pub poll_interval_ns: u64,
    /// How long the files of a version must have rested before it is loaded, in nanoseconds; 0:
    /// half a second.
    pub settle_ns: u64,
    /// 1: follow changes of the folder; 0: look only when `modelserve_manager_refresh` is called.
    pub watch: i32,
    /// 1: unload a model whose folder is gone; 0: it goes on serving.
    pub unload_missing: i32,
}

// SAFETY: integers and nullable pointers; the first field is `struct_size`.
unsafe impl Versioned for modelserve_repository_options {
    const NAME: &'static str = "modelserve_repository_options";
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_repository_options_init(
    options: *mut modelserve_repository_options,
    struct_size: usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults()) }
}

/// # Safety
/// `pointer` is NULL (the defaults) or points to options as their description says.
unsafe fn rules(pointer: *const modelserve_repository_options) -> Outcome<RepositoryRules> {
    let mut rules = RepositoryRules::default();
    if pointer.is_null() {
        return Ok(rules);
    }
    // SAFETY: promised by the caller.
    let c = unsafe { read(pointer) }?;
    // SAFETY: promised by the caller.
    if let Some(policy) = unsafe { optional_text(c.version_policy, "version_policy") }? {
        rules.version_policy = policy.parse()?;
    }
    if c.settle_ns != 0 {
        rules.files.settle = Duration::from_nanos(c.settle_ns);
    }
    rules.unload_missing = flag(c.unload_missing, "unload_missing")?;
    if flag(c.watch, "watch")? {
        let mut watch = WatchOptions::default();
        if c.poll_interval_ns != 0 {
            watch.poll_interval = Duration::from_nanos(c.poll_interval_ns);
        }
        rules.watch = Some(watch);
    }
    Ok(rules)
}

/// Serves the folder `root`, laid out as `<root>/<model>/<version>/model.onnx` (or
/// `model.safetensors` with `config.json`). Versions that are there and complete are loaded before
/// this returns; what could not be loaded is in `modelserve_manager_repository_report`, and is
/// tried again. `options` may be NULL.
///
/// Errors: ALREADY_EXISTS when the manager serves a folder already; NOT_FOUND, PERMISSION_DENIED,
/// IO for the folder; INVALID_ARGUMENT for the options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_serve_repository(
    manager: modelserve_manager,
    root: *const c_char,
    options: *const modelserve_repository_options,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (root, rules) = unsafe { (path(root, "root")?, rules(options)?) };
        with_managed(manager, |managed| {
            let report = managed.manager.serve_repository(root, rules)?;
            *managed.look.lock() = Some(report);
            Ok(())
        })
    })
}

/// Looks at the folder now, and does what there is to do; what it was is in
/// `modelserve_manager_repository_report`. A version whose files changed of late is left for a
/// later look: they may still be being copied.
///
/// Errors: NOT_FOUND when the manager serves no folder.
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_manager_refresh(manager: modelserve_manager) -> modelserve_status {
    guard(|| {
        with_managed(manager, |managed| {
            let report = managed.manager.refresh()?;
            *managed.look.lock() = Some(report);
            Ok(())
        })
    })
}

/// Looks at the folder as `modelserve_manager_refresh`, for the sake of the model `name`: one that
/// was unloaded by name is loaded again.
///
/// Errors: INVALID_HANDLE; NOT_FOUND when the manager serves no folder, or no version of the model
/// can be loaded from it; INVALID_ARGUMENT for what is no name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_load_from_repository(
    manager: modelserve_manager,
    name: *const c_char,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let name = unsafe { text(name, "name") }?;
        with_managed(manager, |managed| {
            let report = managed.manager.load_from_repository(name)?;
            *managed.look.lock() = Some(report);
            Ok(())
        })
    })
}

/// What the last look at the folder that was asked for did
/// (`modelserve_manager_serve_repository`, `modelserve_manager_refresh`,
/// `modelserve_manager_load_from_repository`), as a JSON object:
/// `loaded`, `unloaded` and `changed` (lists of `{"model", "version"}`), `failed` (with `error`
/// too), `ignored` (lists of `{"name", "reason"}`), and `error` (null, or why the folder could
/// not be read). `null` before the first look.
///
/// Errors: BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_repository_report(
    manager: modelserve_manager,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        let report = with_managed(manager, |managed| Ok(managed.look.lock().clone()))?;
        out.write(&report.as_ref().map_or(Json::Null, report_json).to_string())
    })
}

fn report_json(report: &RefreshReport) -> Json {
    let versions = |all: &[(String, u64)]| -> Json {
        all.iter().map(|(model, version)| json!({ "model": model, "version": version })).collect()
    };
    let failed: Json = report
        .failed
        .iter()
        .map(
            |(model, version, error)| json!({ "model": model, "version": version, "error": error }),
        )
        .collect();
    let ignored: Json = report
        .ignored
        .iter()
        .map(|(name, reason)| json!({ "name": name, "reason": reason }))
        .collect();
    json!({
        "loaded": versions(&report.loaded),
        "unloaded": versions(&report.unloaded),
        "changed": versions(&report.changed),
        "failed": failed,
        "ignored": ignored,
        "error": report.error,
    })
}
