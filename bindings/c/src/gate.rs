//! The gate: what a new version has to show before it serves.

use crate::options::{Versioned, defaults, init, read};
use crate::pointer::slice;
use crate::status::*;
use modelserve::{Gate, Golden, ModelManager, ReloadOptions};
use std::ffi::c_char;
use std::mem::offset_of;

/// What a new version has to show before it serves. Begin with `modelserve_gate_options_init`.
/// The golden requests beside a version's file are asked in any case.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_gate_options {
    /// `sizeof(modelserve_gate_options)`; set by `modelserve_gate_options_init`.
    pub struct_size: usize,
    /// How many of the last requests are asked again, of the new version and of the serving one;
    /// 256 by default.
    pub replay_last: usize,
    /// The largest difference of a number from the serving version's, relative to the larger of
    /// the two. NaN, the default: any.
    pub max_drift: f64,
    /// The share of replayed rows, 0 to 1, that may be answered otherwise. NaN, the default: any.
    pub max_disagreement: f64,
    /// How many times as long as the serving version's the new version's median time may be. NaN,
    /// the default: any.
    pub max_latency_ratio: f64,
    /// Requests with the answers that the new version must give, beside those of its folder:
    /// `golden_len` bytes of lines as in a golden.jsonl (docs/repository.md), such as
    /// `{"row": [5.1, 3.5, 1.4, 0.2], "prediction": 0}`, without a NUL. Or NULL.
    pub golden: *const c_char,
    /// How many bytes of golden requests there are.
    pub golden_len: usize,
    /// How far numbers may be apart, relative to the larger one, and still count as the same in
    /// a replay. 0, the default: 0.02.
    pub tolerance: f64,
}

// SAFETY: integers, floats and a nullable pointer; the first field is `struct_size`.
unsafe impl Versioned for modelserve_gate_options {
    const NAME: &'static str = "modelserve_gate_options";
    const FIRST_SIZE: usize = offset_of!(modelserve_gate_options, golden);
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_gate_options_init(
    options: *mut modelserve_gate_options,
    struct_size: usize,
) -> modelserve_status {
    let defaults = modelserve_gate_options {
        replay_last: Gate::default().replay_last,
        max_drift: f64::NAN,
        max_disagreement: f64::NAN,
        max_latency_ratio: f64::NAN,
        ..defaults()
    };
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults) }
}

/// How to reload a model, all but its golden requests: only the model says how to read them.
#[derive(Debug, Default)]
pub(crate) struct Reload<'a> {
    pub(crate) options: ReloadOptions,
    pub(crate) golden: &'a [u8],
}

impl Reload<'_> {
    /// How to reload the model `name`.
    pub(crate) fn of(self, manager: &ModelManager, name: &str) -> Outcome<ReloadOptions> {
        let Reload { mut options, golden } = self;
        if let (Some(gate), false) = (&mut options.gate, golden.is_empty()) {
            let signature = manager.model(name)?.signature()?;
            gate.golden = Golden::parse(golden, &signature).map_err(|e| e.context("golden"))?;
        }
        Ok(options)
    }
}

/// The gate that was asked for, and its golden requests as text.
///
/// # Safety
/// `pointer` points to options as their description says, which stay as they are during `'a`.
pub(crate) unsafe fn gate_options<'a>(
    pointer: *const modelserve_gate_options,
) -> Outcome<(Gate, &'a [u8])> {
    // SAFETY: promised by the caller.
    let c = unsafe { read(pointer) }?;
    let bound = |value: f64, name: &str| match value {
        v if v.is_nan() => Ok(None),
        v if v < 0.0 => Err(Failure::argument(format!("'{name}' is {v}, expected 0 or more"))),
        v => Ok(Some(v)),
    };
    let mut gate = Gate {
        replay_last: c.replay_last,
        max_drift: bound(c.max_drift, "max_drift")?,
        max_disagreement: bound(c.max_disagreement, "max_disagreement")?,
        max_latency_ratio: bound(c.max_latency_ratio, "max_latency_ratio")?,
        ..Gate::default()
    };
    match bound(c.tolerance, "tolerance")? {
        None => return Err(Failure::argument("'tolerance' is NaN, expected 0 or more")),
        // An older header has no such field.
        Some(0.0) => {}
        Some(tolerance) => gate.tolerance.relative = tolerance,
    }
    // SAFETY: promised by the caller.
    let golden = unsafe { slice(c.golden.cast::<u8>(), c.golden_len, "golden") }?;
    Ok((gate, golden))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn a_gate_of_an_older_header_has_no_golden_requests() {
        let mut options: modelserve_gate_options = defaults();
        options.struct_size = offset_of!(modelserve_gate_options, golden);
        // What lies behind the older struct is not looked at.
        options.golden = ptr::without_provenance(1);
        options.golden_len = 9;
        options.tolerance = f64::NAN;
        // SAFETY: a value of at least the size it says.
        let (gate, golden) = unsafe { gate_options(&raw const options) }.unwrap();
        assert!(golden.is_empty());
        assert_eq!(gate.tolerance, Gate::default().tolerance);
    }

    #[test]
    fn golden_requests_and_tolerance_are_taken() {
        let text = "{\"row\": [1, 2]}\n";
        let mut options: modelserve_gate_options = defaults();
        options.golden = text.as_ptr().cast();
        options.golden_len = text.len();
        options.tolerance = 0.5;
        // SAFETY: a value of the right size, and text of that length.
        let (gate, golden) = unsafe { gate_options(&raw const options) }.unwrap();
        assert_eq!((golden, gate.tolerance.relative), (text.as_bytes(), 0.5));
        for wrong in [
            modelserve_gate_options { tolerance: f64::NAN, ..options },
            modelserve_gate_options { tolerance: -1.0, ..options },
            modelserve_gate_options { golden: ptr::null(), ..options },
        ] {
            // SAFETY: a value of the right size; NULL is refused.
            assert!(unsafe { gate_options(&raw const wrong) }.is_err());
        }
    }
}
