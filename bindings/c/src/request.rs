//! What accompanies a request, and the receipt of its answer.

use crate::handle::Served;
use crate::json::nanoseconds;
use crate::options::{Versioned, defaults, flag, init, read};
use crate::pointer::{chars, optional_text};
use crate::status::*;
use modelserve::{CacheUse, Ctx, Done, Receipt, Reply, Request, Route, Target};
use std::ffi::c_char;
use std::time::{Duration, Instant};

/// From the version that serves, or the one that was asked for.
pub const MODELSERVE_ROUTE_STABLE: i32 = 0;
/// From a canary.
pub const MODELSERVE_ROUTE_CANARY: i32 = 1;
/// From a fallback.
pub const MODELSERVE_ROUTE_FALLBACK: i32 = 2;

/// The cache had nothing to do with the answer.
pub const MODELSERVE_CACHE_OFF: i32 = 0;
/// Not found: the model ran, and the answer is kept now.
pub const MODELSERVE_CACHE_MISS: i32 = 1;
/// All of the answer was found.
pub const MODELSERVE_CACHE_HIT: i32 = 2;
/// Some rows of the batch were found.
pub const MODELSERVE_CACHE_PARTIAL: i32 = 3;
/// Another caller was computing the same; its answer was shared.
pub const MODELSERVE_CACHE_SHARED: i32 = 4;

/// Bytes of `modelserve_receipt.model`: the longest name and its NUL.
pub const MODELSERVE_NAME_SIZE: usize = 129;
/// Bytes of `modelserve_receipt.digest`.
pub const MODELSERVE_DIGEST_SIZE: usize = 65;
/// Bytes of `modelserve_receipt.fallback_by`.
pub const MODELSERVE_FALLBACK_BY_SIZE: usize = 160;

/// What accompanies a request. Begin with `modelserve_request_options_init`. What it points to
/// has to live during the call only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_request_options {
    /// `sizeof(modelserve_request_options)`; set by `modelserve_request_options_init`.
    pub struct_size: usize,
    /// The version that is to answer, past any canary; 0: whatever serves.
    pub version: u64,
    /// The label whose version is to answer, past any canary, or NULL; not together with
    /// `version`.
    pub label: *const c_char,
    /// What sticky routing goes by (the id of a user or a session), or NULL.
    pub key: *const c_char,
    /// Nanoseconds from the call on after which the answer is of no use any more: one deadline
    /// for waiting and running. 0: none but the model's own.
    pub timeout_ns: u64,
    /// Higher ones are taken from queues first, from -128 to 127; 0 is normal.
    pub priority: i32,
    /// 1: neither look into the response cache nor keep the answer there; else 0.
    pub no_cache: i32,
}

// SAFETY: integers and nullable pointers; the first field is `struct_size`.
unsafe impl Versioned for modelserve_request_options {
    const NAME: &'static str = "modelserve_request_options";
}

/// How an answer came about. Holds no pointers: nothing to free.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_receipt {
    /// The version that answered.
    pub version: u64,
    /// Nanoseconds spent waiting for a turn.
    pub queue_ns: u64,
    /// Nanoseconds the model ran (the whole batch's); 0 where none ran.
    pub run_ns: u64,
    /// Rows of the batch that the request ran in, the rows of others included; 0 where no model
    /// ran.
    pub batch_rows: u32,
    /// One of `MODELSERVE_ROUTE_*`: which way the answer came.
    pub route: i32,
    /// One of `MODELSERVE_CACHE_*`: what the response cache had to do with it.
    pub cache: i32,
    /// Where a fallback answered: the status that the first choice failed with; else 0.
    pub fallback: modelserve_status,
    /// The model that answered, with a NUL; empty for a model without a manager.
    pub model: [c_char; MODELSERVE_NAME_SIZE],
    /// SHA-256 of the model file in hexadecimal, with a NUL; empty where it is not known.
    pub digest: [c_char; MODELSERVE_DIGEST_SIZE],
    /// Where a fallback answered: `version 7`, `label small`, `model small` or `constant`, with a
    /// NUL; else empty.
    pub fallback_by: [c_char; MODELSERVE_FALLBACK_BY_SIZE],
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_request_options_init(
    options: *mut modelserve_request_options,
    struct_size: usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults()) }
}

/// What is meant by a version (0: none is named) and a label.
pub(crate) fn target(version: u64, label: Option<&str>) -> Outcome<Target> {
    match (version, label) {
        (0, None) => Ok(Target::Serving),
        (version, None) => Ok(Target::Version(version)),
        (0, Some(label)) => Ok(Target::Label(label.into())),
        _ => Err(Failure::argument("'version' and 'label' cannot both be given")),
    }
}

/// # Safety
/// `pointer` is NULL (the defaults) or points to options as their description says.
pub(crate) unsafe fn context(pointer: *const modelserve_request_options) -> Outcome<Ctx> {
    if pointer.is_null() {
        return Ok(Ctx::default());
    }
    // SAFETY: promised by the caller.
    let c = unsafe { read(pointer) }?;
    // SAFETY: promised by the caller, for every pointer in the options.
    let (label, key) = unsafe { (optional_text(c.label, "label")?, optional_text(c.key, "key")?) };
    let target = target(c.version, label)?;
    let priority = i8::try_from(c.priority).map_err(|_| {
        Failure::argument(format!("'priority' is {}, expected -128 to 127", c.priority))
    })?;
    let timeout = (c.timeout_ns != 0).then(|| Duration::from_nanos(c.timeout_ns));
    Ok(Ctx {
        // Beyond the clock is never.
        deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        priority,
        key: key.map(Into::into),
        target,
        no_cache: flag(c.no_cache, "no_cache")?,
        ..Ctx::default()
    })
}

/// The receipt in the words of C.
pub(crate) fn describe_receipt(receipt: &Receipt) -> modelserve_receipt {
    let fallback = receipt.fallback.as_deref();
    modelserve_receipt {
        version: receipt.version,
        queue_ns: nanoseconds(receipt.queue),
        run_ns: nanoseconds(receipt.run),
        batch_rows: receipt.batch_rows,
        route: match receipt.route {
            Route::Canary => MODELSERVE_ROUTE_CANARY,
            Route::Fallback => MODELSERVE_ROUTE_FALLBACK,
            _ => MODELSERVE_ROUTE_STABLE,
        },
        cache: match receipt.cache {
            CacheUse::Miss => MODELSERVE_CACHE_MISS,
            CacheUse::Hit => MODELSERVE_CACHE_HIT,
            CacheUse::Partial => MODELSERVE_CACHE_PARTIAL,
            CacheUse::Shared => MODELSERVE_CACHE_SHARED,
            _ => MODELSERVE_CACHE_OFF,
        },
        fallback: fallback.map_or(MODELSERVE_STATUS_OK, |reason| reason.kind.code()),
        model: chars(receipt.model.as_deref().unwrap_or_default()),
        digest: chars(receipt.digest.as_deref().unwrap_or_default()),
        fallback_by: chars(fallback.map_or("", |reason| &reason.by)),
    }
}

impl Served {
    /// Answers a request in the calling thread.
    pub(crate) fn call(&self, request: &Request<'_>, ctx: &mut Ctx) -> Outcome<Reply> {
        self.check_target(&ctx.target)?;
        Ok(match self {
            Served::Named(model) => model.call(request, ctx)?,
            Served::Alone(model) => model.call(request, ctx)?,
        })
    }

    /// Answers a request on another thread.
    pub(crate) fn submit(self, request: Request<'static>, ctx: Ctx, done: Done) {
        match self {
            Served::Named(model) => model.submit(request, ctx, done),
            Served::Alone(model) => model.submit(request, ctx, done),
        }
    }

    /// Refuses a version or label that this handle, bound to one version, cannot answer with.
    pub(crate) fn check_target(&self, target: &Target) -> Outcome {
        let follows = matches!(self, Served::Named(model) if !model.is_pinned());
        let known = match target {
            _ if follows => true,
            Target::Serving => true,
            Target::Version(version) => *version == self.version()?,
            Target::Label(_) => false,
        };
        if known {
            return Ok(());
        }
        Err(Failure::new(
            MODELSERVE_STATUS_NOT_FOUND,
            "the handle is bound to one version: other versions and labels are asked through a \
             handle bound to the name",
        ))
    }
}

/// What a receipt says of a model without a manager, which writes none itself.
pub(crate) fn complete(receipt: &mut Receipt, model: &Served) {
    if let Served::Alone(model) = model
        && receipt.version == 0
    {
        let info = model.info();
        receipt.version = info.version;
        receipt.digest.get_or_insert(info.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_context() {
        let mut options: modelserve_request_options = defaults();
        // SAFETY: a value of the right size.
        let ctx = unsafe { context(&raw const options) }.unwrap();
        assert_eq!((ctx.deadline, ctx.priority, ctx.no_cache), (None, 0, false));
        assert_eq!((ctx.target, ctx.key), (Target::Serving, None));
        options.version = 7;
        options.timeout_ns = u64::MAX;
        options.priority = -128;
        options.no_cache = 1;
        // SAFETY: a value of the right size.
        let ctx = unsafe { context(&raw const options) }.unwrap();
        assert_eq!((ctx.target, ctx.priority, ctx.no_cache), (Target::Version(7), -128, true));
        for wrong in [
            modelserve_request_options { label: c"x".as_ptr(), ..options },
            modelserve_request_options { priority: 128, ..options },
            modelserve_request_options { no_cache: 2, ..options },
        ] {
            // SAFETY: a value of the right size.
            let refused = unsafe { context(&raw const wrong) }.unwrap_err();
            assert_eq!(refused.status, MODELSERVE_STATUS_INVALID_ARGUMENT);
        }
    }
}
