//! Models: loading without a manager, and what can be asked of any model handle.

use crate::guard::guard;
use crate::handle::{self, Object, Served, modelserve_model, with_model};
use crate::json;
use crate::options::{load_options, modelserve_load_options};
use crate::pointer::{Out, TextOut, path, slice};
use crate::status::*;
use modelserve::{Classes, Model, ModelInfo, Signature};
use std::ffi::c_char;
use std::sync::Arc;

impl Served {
    pub(crate) fn info(&self) -> modelserve::Result<ModelInfo> {
        match self {
            Served::Named(model) => model.info(),
            Served::Alone(model) => Ok(model.info()),
        }
    }

    pub(crate) fn version(&self) -> modelserve::Result<u64> {
        match self {
            Served::Named(model) => model.version(),
            Served::Alone(model) => Ok(model.info().version),
        }
    }

    pub(crate) fn signature(&self) -> modelserve::Result<Arc<Signature>> {
        match self {
            Served::Named(model) => model.signature(),
            Served::Alone(model) => Ok(model.info().signature),
        }
    }

    fn pin(&self) -> modelserve::Result<Served> {
        Ok(match self {
            Served::Named(model) => Served::Named(model.pin()?),
            Served::Alone(model) => Served::Alone(Arc::clone(model)),
        })
    }

    /// What this handle asks: its policies and its version.
    pub(crate) fn shared(&self) -> Arc<dyn Model> {
        match self {
            Served::Named(model) => model.model(),
            Served::Alone(model) => Arc::clone(model),
        }
    }

    fn estimated_ns(&self, rows: usize) -> u64 {
        match self {
            Served::Named(model) => model.estimated_ns(rows),
            Served::Alone(model) => model.estimated_ns(rows),
        }
    }
}

/// Gives `served` a handle.
pub(crate) fn hand_out(served: Served, out: Out<modelserve_model>) -> Outcome {
    out.write(modelserve_model { id: handle::insert(Object::Model(served))? });
    Ok(())
}

/// Loads the model file at `path` without a manager: it has no name and cannot be reloaded.
///
/// `options` may be NULL. `*model` is a new handle, to be freed with `modelserve_model_free`.
///
/// Errors: NOT_FOUND, IO, PERMISSION_DENIED for the file; INVALID_MODEL, UNSUPPORTED,
/// LIMIT_EXCEEDED for what is in it; INVALID_ARGUMENT for the options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_load(
    path: *const c_char,
    options: *const modelserve_load_options,
    model: *mut modelserve_model,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (path, options, out) = unsafe {
            (self::path(path, "path")?, load_options(options)?, Out::new(model, "model")?)
        };
        hand_out(Served::Alone(Arc::new(modelserve::load(path, &options)?)), out)
    })
}

/// Loads a model from the `len` bytes of a model file, which are copied. For safetensors
/// `options` has to carry the layer description as `config`.
///
/// Otherwise as `modelserve_model_load`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_load_bytes(
    bytes: *const u8,
    len: usize,
    options: *const modelserve_load_options,
    model: *mut modelserve_model,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (bytes, options, out) = unsafe {
            (slice(bytes, len, "bytes")?, load_options(options)?, Out::new(model, "model")?)
        };
        let model = modelserve::load_bytes(bytes.to_vec(), &options)?;
        hand_out(Served::Alone(Arc::new(model)), out)
    })
}

/// Frees a model handle. Calls that use it at this moment end normally; later ones answer
/// INVALID_HANDLE. The model itself goes when nobody uses it any more. A handle of id 0 is fine.
///
/// Errors: INVALID_HANDLE (a second free, too).
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_model_free(model: modelserve_model) -> modelserve_status {
    guard(|| handle::free_model(model))
}

/// A new handle that keeps answering with the version serving now, whatever is reloaded or
/// unloaded later. `*pinned` is to be freed with `modelserve_model_free`.
///
/// Errors: INVALID_HANDLE; NOT_FOUND after an unload.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_pin(
    model: modelserve_model,
    pinned: *mut modelserve_model,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(pinned, "pinned") }?;
        let served = with_model(model, |model| Ok(model.pin()?))?;
        hand_out(served, out)
    })
}

/// The number of the version that answers now.
///
/// Errors: INVALID_HANDLE; NOT_FOUND after an unload.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_version(
    model: modelserve_model,
    version: *mut u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(version, "version") }?;
        out.write(with_model(model, |model| Ok(model.version()?))?);
        Ok(())
    })
}

/// What is known of the model, as a JSON object: `name`, `version`, `display_version`, `format`,
/// `task`, `signature` (`inputs`, `outputs`, `classes`, `feature_names`, …), `weight_bytes`,
/// `digest`, `path`, `loaded_at_unix_seconds`, `load_duration_ns`, `metadata`, `fast_path`.
///
/// Errors: INVALID_HANDLE; NOT_FOUND after an unload; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_info(
    model: modelserve_model,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        out.write(&json::info(&with_model(model, |model| Ok(model.info()?))?).to_string())
    })
}

/// The name that the model is served under; empty for a model without a manager.
///
/// Errors: INVALID_HANDLE; BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_name(
    model: modelserve_model,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        with_model(model, |model| match model {
            Served::Named(model) => out.write(model.name()),
            Served::Alone(_) => out.write(""),
        })
    })
}

/// Whether the handle keeps answering with one version: 1 for a pinned one and for a model
/// without a manager, 0 for one that follows its name.
///
/// Errors: INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_is_pinned(
    model: modelserve_model,
    pinned: *mut i32,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(pinned, "pinned") }?;
        out.write(with_model(model, |model| {
            Ok(match model {
                Served::Named(model) => i32::from(model.is_pinned()),
                Served::Alone(_) => 1,
            })
        })?);
        Ok(())
    })
}

/// The counters of the model, as `modelserve_manager_stats` gives them: of all versions, or of the
/// pinned one.
///
/// Errors: INVALID_HANDLE; UNSUPPORTED for a model without a manager, which keeps none;
/// BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_stats(
    model: modelserve_model,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        with_model(model, |model| match model {
            Served::Named(model) => out.write(&json::stats(&model.stats()?).to_string()),
            Served::Alone(_) => Err(Failure::new(
                MODELSERVE_STATUS_UNSUPPORTED,
                "a model loaded without a manager keeps no statistics",
            )),
        })
    })
}

/// Roughly how many nanoseconds one core needs for `n_rows` rows, as measured at load.
///
/// Errors: INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_estimated_ns(
    model: modelserve_model,
    n_rows: usize,
    nanoseconds: *mut u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(nanoseconds, "nanoseconds") }?;
        out.write(with_model(model, |model| Ok(model.estimated_ns(n_rows)))?);
        Ok(())
    })
}

/// How many classes the model tells apart; 0 where it has none or they are not known.
///
/// Errors: INVALID_HANDLE; NOT_FOUND after an unload.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_class_count(
    model: modelserve_model,
    count: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(count, "count") }?;
        let signature = with_model(model, |model| Ok(model.signature()?))?;
        out.write(signature.classes.as_deref().map_or(0, Classes::len));
        Ok(())
    })
}

/// The label of class `index` (the order of the scores) as text; integers in decimal.
///
/// Errors: INVALID_HANDLE; NOT_FOUND where there is no such class or after an unload;
/// BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_model_class_label(
    model: modelserve_model,
    index: usize,
    buf: *mut c_char,
    len: usize,
    needed: *mut usize,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { TextOut::new(buf, len, needed) }?;
        let signature = with_model(model, |model| Ok(model.signature()?))?;
        let label = match signature.classes.as_deref() {
            Some(Classes::Int(all)) => all.get(index).map(i64::to_string),
            Some(Classes::Str(all)) => all.get(index).map(|label| label.to_string()),
            None => None,
        };
        let missing =
            || Failure::new(MODELSERVE_STATUS_NOT_FOUND, format!("the model has no class {index}"));
        out.write(&label.ok_or_else(missing)?)
    })
}
