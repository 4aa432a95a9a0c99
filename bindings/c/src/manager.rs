//! The manager: named models that are loaded, reloaded and unloaded while others predict.

use crate::guard::guard;
use crate::handle::{
    self, Managed, Object, Served, modelserve_manager, modelserve_model, with_manager,
};
use crate::json;
use crate::model::hand_out;
use crate::options::{
    Versioned, defaults, init, load_options, modelserve_load_options, modelserve_reload_options,
    read, reload_options,
};
use crate::pointer::{Out, TextOut, path, slice, text};
use crate::report::report;
use crate::status::*;
use modelserve::{ManagerOptions, MemoryPolicy, ModelManager};
use parking_lot::Mutex;
use std::ffi::c_char;
use std::mem::offset_of;

/// A version that does not fit into the memory budget is refused.
pub const MODELSERVE_MEMORY_REFUSE: i32 = 0;
/// Idle models make room, the least recently used first, and are loaded again when asked.
pub const MODELSERVE_MEMORY_EVICT: i32 = 1;

/// How a manager is set up. Begin with `modelserve_manager_options_init`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_manager_options {
    /// `sizeof(modelserve_manager_options)`; set by `modelserve_manager_options_init`.
    pub struct_size: usize,
    /// Worker threads for large predictions; 0: the process's CPU quota.
    pub threads: usize,
    /// Versions of a model that stay available, the serving one included; 0 means 1. With 2,
    /// going back to the version before needs no loading.
    pub keep_versions: usize,
    /// Bytes that all versions may hold together; 0: no bound.
    pub memory_budget: u64,
    /// One of `MODELSERVE_MEMORY_*`.
    pub memory_policy: i32,
    /// Always 0.
    pub reserved: i32,
    /// Most versions, of all models together, with metric series of their own; 0: 1,000.
    pub max_series: usize,
}

// SAFETY: integers; the first field is `struct_size`.
unsafe impl Versioned for modelserve_manager_options {
    const NAME: &'static str = "modelserve_manager_options";
    const FIRST_SIZE: usize = offset_of!(modelserve_manager_options, max_series);
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_options_init(
    options: *mut modelserve_manager_options,
    struct_size: usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults()) }
}

fn hand_out_manager(manager: ModelManager, out: Out<modelserve_manager>) -> Outcome {
    let managed = Managed { manager, look: Mutex::default() };
    out.write(modelserve_manager { id: handle::insert(Object::Manager(managed))? });
    Ok(())
}

/// A manager without models. `options` may be NULL. `*manager` is to be freed with
/// `modelserve_manager_free`.
///
/// Errors: INVALID_ARGUMENT for the options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_new_with(
    options: *const modelserve_manager_options,
    manager: *mut modelserve_manager,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(manager, "manager") }?;
        let mut all = ManagerOptions::default();
        if !options.is_null() {
            // SAFETY: the caller's promise (crate documentation).
            let c = unsafe { read(options) }?;
            all.threads = c.threads;
            all.keep_versions = c.keep_versions.max(1);
            all.memory_budget = (c.memory_budget != 0).then_some(c.memory_budget);
            if c.max_series != 0 {
                all.metrics.max_series = c.max_series;
            }
            all.memory_policy = match (c.memory_policy, c.reserved) {
                (MODELSERVE_MEMORY_REFUSE, 0) => MemoryPolicy::Refuse,
                (MODELSERVE_MEMORY_EVICT, 0) => MemoryPolicy::Evict,
                _ => {
                    return Err(Failure::argument(
                        "modelserve_manager_options: memory_policy is 0 or 1, reserved is 0",
                    ));
                }
            };
        }
        hand_out_manager(ModelManager::new(all), out)
    })
}

/// A manager as the TOML file at `path` describes it: its models are loaded, its repository is
/// served, its policies are set. `*manager` is to be freed with `modelserve_manager_free`.
///
/// Errors: INVALID_ARGUMENT for the file's content, naming line and key; NOT_FOUND, IO,
/// PERMISSION_DENIED for the file; as `modelserve_manager_load` for the models it names. Nothing
/// is left running then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_from_config(
    path: *const c_char,
    manager: *mut modelserve_manager,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (path, out) = unsafe { (self::path(path, "path")?, Out::new(manager, "manager")?) };
        hand_out_manager(ModelManager::from_config(path)?, out)
    })
}

/// A manager without models. `threads` is the number of worker threads for large predictions,
/// 0 the process's CPU quota. `*manager` is to be freed with `modelserve_manager_free`.
///
/// Errors: NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_new(
    threads: usize,
    manager: *mut modelserve_manager,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(manager, "manager") }?;
        let options = ManagerOptions { threads, ..ManagerOptions::default() };
        hand_out_manager(ModelManager::new(options), out)
    })
}

/// Frees a manager handle. Model handles that came from it go on answering; calls that use it at
/// this moment end normally. A handle of id 0 is fine.
///
/// Errors: INVALID_HANDLE (a second free, too).
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_manager_free(manager: modelserve_manager) -> modelserve_status {
    guard(|| handle::free_manager(manager))
}

/// Loads the model file at `path` and serves it as `name`. `options` may be NULL. `*model` is a
/// handle bound to the name, to be freed with `modelserve_model_free`.
///
/// Errors: ALREADY_EXISTS when the name is taken; otherwise as `modelserve_model_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_load(
    manager: modelserve_manager,
    name: *const c_char,
    path: *const c_char,
    options: *const modelserve_load_options,
    model: *mut modelserve_model,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, path, options, out) = unsafe {
            (
                text(name, "name")?,
                self::path(path, "path")?,
                load_options(options)?,
                Out::new(model, "model")?,
            )
        };
        let model = with_manager(manager, |manager| Ok(manager.load(name, path, &options)?))?;
        hand_out(Served::Named(model), out)
    })
}

/// Loads a model from the `len` bytes of a model file, which are copied, and serves it as `name`.
///
/// Otherwise as `modelserve_manager_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_load_bytes(
    manager: modelserve_manager,
    name: *const c_char,
    bytes: *const u8,
    len: usize,
    options: *const modelserve_load_options,
    model: *mut modelserve_model,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, bytes, options, out) = unsafe {
            (
                text(name, "name")?,
                slice(bytes, len, "bytes")?,
                load_options(options)?,
                Out::new(model, "model")?,
            )
        };
        let model = with_manager(manager, |manager| {
            Ok(manager.load_bytes(name, bytes.to_vec(), &options)?)
        })?;
        hand_out(Served::Named(model), out)
    })
}

/// Loads a new version of `name` and, when all is well, lets it answer from then on. Until then,
/// and whenever this fails, the present version answers; requests under way end with the version
/// they began with.
///
/// `path` NULL means the same file again; `options` NULL means as before. `*version` is the new
/// version's number.
///
/// Errors: NOT_FOUND for the name; INVALID_MODEL when the signature changed and that is not
/// allowed, or the gate rejected the version; INVALID_INPUT for golden requests in the options
/// that do not fit the model, naming the line; otherwise as `modelserve_model_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_reload(
    manager: modelserve_manager,
    name: *const c_char,
    path: *const c_char,
    options: *const modelserve_reload_options,
    version: *mut u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, path, options, out) = unsafe {
            let path = match path.is_null() {
                true => None,
                false => Some(self::path(path, "path")?),
            };
            (text(name, "name")?, path, reload_options(options)?, Out::new(version, "version")?)
        };
        let info = with_manager(manager, |manager| {
            Ok(manager.reload(name, path, &options.of(manager, name)?)?)
        })?;
        out.write(info.version);
        Ok(())
    })
}

/// Reloads `name` from the `len` bytes of a model file, which are copied.
///
/// Otherwise as `modelserve_manager_reload`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_reload_bytes(
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
            Ok(manager.reload_bytes(name, bytes.to_vec(), &options.of(manager, name)?)?)
        })?;
        out.write(info.version);
        Ok(())
    })
}

/// Stops serving `name`. Requests under way end normally; handles bound to the name answer
/// NOT_FOUND from then on, pinned ones go on.
///
/// Errors: NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_unload(
    manager: modelserve_manager,
    name: *const c_char,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let name = unsafe { text(name, "name") }?;
        with_manager(manager, |manager| Ok(manager.unload(name)?))
    })
}

/// A handle bound to `name`, to be freed with `modelserve_model_free`. Get it once and keep it:
/// predicting by handle needs no look-up by name.
///
/// Errors: NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_model(
    manager: modelserve_manager,
    name: *const c_char,
    model: *mut modelserve_model,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (name, out) = unsafe { (text(name, "name")?, Out::new(model, "model")?) };
        let model = with_manager(manager, |manager| Ok(manager.model(name)?))?;
        hand_out(Served::Named(model), out)
    })
}

/// The names of all models as a sorted JSON array.
///
/// Errors: BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_models(
    manager: modelserve_manager,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        let models = with_manager(manager, |manager| Ok(manager.models()))?;
        out.write(&serde_json::json!(models).to_string())
    })
}

/// The counters of `name` as a JSON object: `name`, and `versions` (newest last) with `version`,
/// `requests`, `rows`, `errors`, `last_error`, `total_ns`, `p50_ns`, `p95_ns`, `p99_ns`,
/// `serving`.
///
/// Errors: NOT_FOUND; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_stats(
    manager: modelserve_manager,
    name: *const c_char,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe {
        report(manager, name, (buf, len, needed), |manager, name| {
            Ok(json::stats(&manager.stats(name)?).to_string())
        })
    }
}

/// All counters in Prometheus's text format.
///
/// Errors: BUFFER_TOO_SMALL (the text can grow between two calls).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_metrics(
    manager: modelserve_manager,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        out.write(&with_manager(manager, |manager| Ok(manager.metrics_text()))?)
    })
}
