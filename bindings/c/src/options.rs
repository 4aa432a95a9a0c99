//! Option structs: they may grow, so each begins with its size.

use crate::gate::{Reload, gate_options, modelserve_gate_options};
use crate::guard::guard;
use crate::pointer::{check, optional_text, slice, texts};
use crate::status::*;
use modelserve::limits::RequestLimits;
use modelserve::{Classes, Format, LoadOptions, OutputKind, PlanKind, ReloadOptions, Task};
use std::ffi::c_char;
use std::mem::offset_of;
use std::ops::RangeInclusive;
use std::ptr;

/// Told from the file's name and first bytes.
pub const MODELSERVE_FORMAT_AUTO: i32 = 0;
/// An ONNX file.
pub const MODELSERVE_FORMAT_ONNX: i32 = 1;
/// A safetensors file with a layer description.
pub const MODELSERVE_FORMAT_SAFETENSORS: i32 = 2;
/// A model of XGBoost: `.json` or `.ubj`, as its `save_model` writes them.
pub const MODELSERVE_FORMAT_XGBOOST: i32 = 3;
/// A model of LightGBM: `.txt`, as its `save_model` writes it.
pub const MODELSERVE_FORMAT_LIGHTGBM: i32 = 4;
/// A model of CatBoost: `.json`, as its `save_model` writes it when asked for JSON.
pub const MODELSERVE_FORMAT_CATBOOST: i32 = 5;

/// Told from the model.
pub const MODELSERVE_TASK_AUTO: i32 = 0;
/// One label a row, with scores or probabilities a class.
pub const MODELSERVE_TASK_CLASSIFIER: i32 = 1;
/// Several yes/no labels a row.
pub const MODELSERVE_TASK_MULTILABEL: i32 = 2;
/// One or more numbers a row.
pub const MODELSERVE_TASK_REGRESSOR: i32 = 3;
/// 1 for an inlier, -1 for an outlier, with a score.
pub const MODELSERVE_TASK_OUTLIER: i32 = 4;
/// The number of a cluster, with distances.
pub const MODELSERVE_TASK_CLUSTER: i32 = 5;
/// Features to features.
pub const MODELSERVE_TASK_TRANSFORM: i32 = 6;
/// Named tensors in and out.
pub const MODELSERVE_TASK_TENSORS: i32 = 7;

/// Told from the model.
pub const MODELSERVE_OUTPUT_AUTO: i32 = 0;
/// Probabilities.
pub const MODELSERVE_OUTPUT_PROBABILITIES: i32 = 1;
/// Logits: softmax (or the logistic function, for one column) makes them probabilities.
pub const MODELSERVE_OUTPUT_LOGITS: i32 = 2;
/// Scores that are no probabilities.
pub const MODELSERVE_OUTPUT_SCORES: i32 = 3;
/// Values of a regressor.
pub const MODELSERVE_OUTPUT_VALUES: i32 = 4;

/// The default: the optimised plan.
pub const MODELSERVE_PLAN_AUTO: i32 = 0;
/// The fastest way the library has.
pub const MODELSERVE_PLAN_OPTIMISED: i32 = 1;
/// Every operator for itself and unprepared, for comparing with the optimised plan: slow.
pub const MODELSERVE_PLAN_PLAIN: i32 = 2;

/// How to load a model. Begin with `modelserve_load_options_init`, then set what differs from
/// the defaults; everything that is left 0 or NULL is told from the model. What it points to
/// has to live during the call only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_load_options {
    /// `sizeof(modelserve_load_options)`; set by `modelserve_load_options_init`.
    pub struct_size: usize,
    /// The version's number; 0: one more than the last.
    pub version: u64,
    /// Worker threads for large predictions; 0: the process's CPU quota.
    pub threads: usize,
    /// One of `MODELSERVE_FORMAT_*`.
    pub format: i32,
    /// One of `MODELSERVE_TASK_*`.
    pub task: i32,
    /// One of `MODELSERVE_OUTPUT_*`: what the scores output holds.
    pub output_kind: i32,
    /// One of `MODELSERVE_PLAN_*`.
    pub plan: i32,
    /// The layer description (`config.json`) of a safetensors model given as bytes, or NULL.
    pub config: *const c_char,
    /// A free text to show beside the version, or NULL.
    pub display_version: *const c_char,
    /// The name of the output that holds labels, or NULL.
    pub label_output: *const c_char,
    /// The name of the output that holds scores, probabilities or values, or NULL.
    pub scores_output: *const c_char,
    /// `n_classes` class labels as integers, in the order of the scores, or NULL.
    pub class_ints: *const i64,
    /// `n_classes` class labels as text, or NULL; not together with `class_ints`.
    pub class_strings: *const *const c_char,
    /// How many class labels there are.
    pub n_classes: usize,
    /// Names of the `n_feature_names` features of a single wide input, or NULL.
    pub feature_names: *const *const c_char,
    /// How many feature names there are.
    pub n_feature_names: usize,
    /// 1: a model of XGBoost, LightGBM or CatBoost keeps what `modelserve_explain`,
    /// `modelserve_apply` and `modelserve_importance` need (some 50 bytes a node); else 0.
    pub explain: i32,
    /// 1: requests with NaN or infinities among their numbers are refused; else 0.
    pub finite_inputs: i32,
    /// Most rows of one request; 0: 65,536.
    pub max_rows: usize,
    /// Most bytes of one request; 0: 256 MiB.
    pub max_request_bytes: u64,
}

/// How to reload a model. Begin with `modelserve_reload_options_init`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_reload_options {
    /// `sizeof(modelserve_reload_options)`; set by `modelserve_reload_options_init`.
    pub struct_size: usize,
    /// How to load the new version; NULL: as the last.
    pub load: *const modelserve_load_options,
    /// Whether the new version may have another signature: 0 or 1.
    pub allow_signature_change: i32,
    /// Always 0.
    pub reserved: i32,
    /// What the new version has to show before it serves, or NULL.
    pub gate: *const modelserve_gate_options,
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_load_options_init(
    options: *mut modelserve_load_options,
    struct_size: usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults()) }
}

/// Sets `*options` to the defaults; `struct_size` is `sizeof *options`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_reload_options_init(
    options: *mut modelserve_reload_options,
    struct_size: usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(options, "options", struct_size, defaults()) }
}

/// A struct that begins with `struct_size`.
///
/// # Safety
/// All-zero bytes are a value of the type, it has no padding that matters, and its first field
/// is `struct_size: usize`.
pub(crate) unsafe trait Versioned: Copy {
    /// Its name, for messages.
    const NAME: &'static str;
    /// Its size in the first header that had it: fields have been added behind that.
    const FIRST_SIZE: usize = size_of::<Self>();
}

// SAFETY: integers and nullable pointers; the first field is `struct_size`.
unsafe impl Versioned for modelserve_load_options {
    const NAME: &'static str = "modelserve_load_options";
    const FIRST_SIZE: usize = offset_of!(modelserve_load_options, explain);
}

// SAFETY: as above.
unsafe impl Versioned for modelserve_reload_options {
    const NAME: &'static str = "modelserve_reload_options";
    const FIRST_SIZE: usize = offset_of!(modelserve_reload_options, gate);
}

/// The defaults: everything 0 or NULL but `struct_size`.
pub(crate) fn defaults<T: Versioned>() -> T {
    // SAFETY: all-zero bytes are a value (`Versioned`).
    let mut value: T = unsafe { std::mem::zeroed() };
    // SAFETY: the first field is a `usize` (`Versioned`).
    unsafe { (&raw mut value).cast::<usize>().write(size_of::<T>()) };
    value
}

/// Sets the struct of `struct_size` bytes at `pointer`, the caller's `argument`, to `defaults`: one
/// of this header, of an older one (which has no room for all of them) or of a newer one (the rest
/// is 0).
///
/// # Safety
/// `pointer` is NULL or points to memory for a struct of `struct_size` bytes.
pub(crate) unsafe fn init<T: Versioned>(
    pointer: *mut T,
    argument: &str,
    struct_size: usize,
    defaults: T,
) -> modelserve_status {
    guard(|| {
        let name = T::NAME;
        check(pointer, 1, argument)?;
        let known = size_of::<T>();
        if !sizes::<T>().contains(&struct_size) {
            return Err(Failure::argument(format!(
                "{name}_init got struct_size {struct_size}, expected {known}: pass sizeof({name})"
            )));
        }
        let bytes = pointer.cast::<u8>();
        // SAFETY: there are `struct_size` bytes (promised by the caller), and no fewer than a
        // `usize` has, which comes first (`Versioned`) and is aligned (`check`).
        unsafe {
            ptr::write_bytes(bytes, 0, struct_size);
            let size = struct_size.min(known);
            ptr::copy_nonoverlapping((&raw const defaults).cast::<u8>(), bytes, size);
            pointer.cast::<usize>().write(struct_size);
        }
        Ok(())
    })
}

/// The sizes that a struct may have in some header.
fn sizes<T: Versioned>() -> RangeInclusive<usize> {
    T::FIRST_SIZE..=size_of::<T>() + 4096
}

/// Reads an option struct of this header, of an older one (the fields it lacks are 0) or of a
/// newer one (the fields this library does not know have to be 0).
///
/// # Safety
/// `pointer` points to a struct of as many bytes as its first field says.
pub(crate) unsafe fn read<T: Versioned>(pointer: *const T) -> Outcome<T> {
    let name = T::NAME;
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{name} is not aligned for its type")));
    }
    // SAFETY: the first field is a `usize` (`Versioned`), aligned as just checked.
    let size = unsafe { pointer.cast::<usize>().read() };
    let known = size_of::<T>();
    if !sizes::<T>().contains(&size) {
        return Err(Failure::argument(format!(
            "{name}.struct_size is {size}, expected {known}: call {name}_init first"
        )));
    }
    // SAFETY: the struct has `size` bytes (promised by the caller).
    let bytes = unsafe { slice(pointer.cast::<u8>(), size, name) }?;
    if bytes.iter().skip(known).any(|byte| *byte != 0) {
        return Err(Failure::argument(format!(
            "{name} sets options that this version of the library does not know"
        )));
    }
    let mut value: T = defaults();
    // SAFETY: at most as many bytes as either has; they do not overlap.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast::<u8>(), size.min(known));
    }
    Ok(value)
}

/// A switch.
pub(crate) fn flag(value: i32, name: &str) -> Outcome<bool> {
    match value {
        0 | 1 => Ok(value == 1),
        _ => Err(Failure::argument(format!("'{name}' is {value}, expected 0 or 1"))),
    }
}

/// # Safety
/// `pointer` is NULL (the defaults) or points to options as their description says.
pub(crate) unsafe fn load_options(pointer: *const modelserve_load_options) -> Outcome<LoadOptions> {
    if pointer.is_null() {
        return Ok(LoadOptions::default());
    }
    // SAFETY: promised by the caller.
    let c = unsafe { read(pointer) }?;
    let mut request_limits = RequestLimits::default();
    if c.max_rows != 0 {
        request_limits.rows = c.max_rows;
    }
    if c.max_request_bytes != 0 {
        request_limits.request_bytes = c.max_request_bytes;
    }
    // SAFETY: promised by the caller, for every pointer in the options.
    unsafe {
        Ok(LoadOptions {
            format: choice(c.format, &Format::FILES, "format")?,
            config: owned(c.config, "config")?,
            task: choice(c.task, &Task::ALL, "task")?,
            classes: classes(&c)?,
            output_kind: choice(c.output_kind, &OUTPUT_KINDS, "output_kind")?,
            label_output: owned(c.label_output, "label_output")?,
            scores_output: owned(c.scores_output, "scores_output")?,
            feature_names: match c.feature_names.is_null() && c.n_feature_names == 0 {
                true => None,
                false => Some(
                    texts(c.feature_names, c.n_feature_names, "feature_names")?
                        .into_iter()
                        .map(str::to_string)
                        .collect(),
                ),
            },
            version: (c.version != 0).then_some(c.version),
            display_version: owned(c.display_version, "display_version")?,
            plan: choice(c.plan, &[PlanKind::Optimised, PlanKind::Plain], "plan")?
                .unwrap_or_default(),
            threads: c.threads,
            explain: flag(c.explain, "explain")?,
            finite_inputs: flag(c.finite_inputs, "finite_inputs")?,
            request_limits,
            ..LoadOptions::default()
        })
    }
}

/// # Safety
/// `pointer` is NULL (the defaults) or points to options as their description says, which stay
/// as they are during `'a`.
pub(crate) unsafe fn reload_options<'a>(
    pointer: *const modelserve_reload_options,
) -> Outcome<Reload<'a>> {
    if pointer.is_null() {
        return Ok(Reload::default());
    }
    // SAFETY: promised by the caller.
    let c = unsafe { read(pointer) }?;
    if c.reserved != 0 || !matches!(c.allow_signature_change, 0 | 1) {
        return Err(Failure::argument(
            "modelserve_reload_options: allow_signature_change is 0 or 1, reserved is 0",
        ));
    }
    let load = match c.load.is_null() {
        true => None,
        // SAFETY: promised by the caller.
        false => Some(unsafe { load_options(c.load) }?),
    };
    let (gate, golden) = match c.gate.is_null() {
        true => (None, &[][..]),
        false => {
            // SAFETY: promised by the caller.
            let (gate, golden) = unsafe { gate_options(c.gate) }?;
            (Some(gate), golden)
        }
    };
    let allow_signature_change = c.allow_signature_change == 1;
    Ok(Reload { options: ReloadOptions { load, allow_signature_change, gate }, golden })
}

const OUTPUT_KINDS: [OutputKind; 4] =
    [OutputKind::Probabilities, OutputKind::Logits, OutputKind::Scores, OutputKind::Values];

/// The `number`-th of `all`, counted from 1; 0 is "not said".
fn choice<T: Copy>(number: i32, all: &[T], name: &str) -> Outcome<Option<T>> {
    if number == 0 {
        return Ok(None);
    }
    let known = usize::try_from(number).ok().and_then(|n| all.get(n.checked_sub(1)?)).copied();
    known.map(Some).ok_or_else(|| {
        Failure::argument(format!("'{name}' is {number}, expected 0 to {}", all.len()))
    })
}

unsafe fn owned(pointer: *const c_char, name: &str) -> Outcome<Option<String>> {
    // SAFETY: promised by the caller.
    Ok(unsafe { optional_text(pointer, name) }?.map(str::to_string))
}

unsafe fn classes(c: &modelserve_load_options) -> Outcome<Option<Classes>> {
    // SAFETY: promised by the caller.
    match (c.class_ints.is_null(), c.class_strings.is_null()) {
        (true, true) if c.n_classes == 0 => Ok(None),
        (true, true) => Err(Failure::null("class_ints")),
        (false, true) => {
            let ints = unsafe { slice(c.class_ints, c.n_classes, "class_ints") }?;
            Ok(Some(Classes::Int(ints.to_vec())))
        }
        (true, false) => {
            let all = unsafe { texts(c.class_strings, c.n_classes, "class_strings") }?;
            Ok(Some(Classes::Str(all.into_iter().map(Into::into).collect())))
        }
        (false, false) => {
            Err(Failure::argument("class_ints and class_strings cannot both be given"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::MaybeUninit;

    #[test]
    fn defaults_are_defaults() {
        let options: modelserve_load_options = defaults();
        assert_eq!(options.struct_size, size_of::<modelserve_load_options>());
        // SAFETY: a value of the right size.
        let read = unsafe { load_options(&raw const options) }.unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", LoadOptions::default()));
    }

    #[test]
    fn options_of_an_older_header_are_read() {
        let mut options: modelserve_reload_options = defaults();
        options.allow_signature_change = 1;
        options.struct_size = offset_of!(modelserve_reload_options, gate);
        // What lies behind the older struct is not looked at.
        options.gate = ptr::without_provenance(1);
        // SAFETY: a value of at least the size it says.
        let read = unsafe { reload_options(&raw const options) }.unwrap().options;
        assert!(read.allow_signature_change && read.gate.is_none());
        options.struct_size -= 1;
        // SAFETY: refused by its size.
        assert!(unsafe { reload_options(&raw const options) }.is_err());
    }

    #[test]
    fn only_the_bytes_of_the_callers_struct_are_written() {
        let older = offset_of!(modelserve_reload_options, gate);
        let mut options: modelserve_reload_options = defaults();
        let there = ptr::without_provenance(8);
        (options.allow_signature_change, options.gate) = (7, there);
        // SAFETY: memory of more bytes than that.
        assert_eq!(
            unsafe { modelserve_reload_options_init(&raw mut options, older) },
            MODELSERVE_STATUS_OK
        );
        assert_eq!((options.struct_size, options.allow_signature_change), (older, 0));
        assert_eq!(options.gate, there);

        let mut newer = [MaybeUninit::new(options), MaybeUninit::new(options)];
        let size = size_of_val(&newer);
        let first = newer.as_mut_ptr().cast::<modelserve_reload_options>();
        // SAFETY: memory of that many bytes, all of which is initialised.
        assert_eq!(unsafe { modelserve_reload_options_init(first, size) }, MODELSERVE_STATUS_OK);
        // SAFETY: as above; the struct is a value of the size it says.
        unsafe {
            assert_eq!(newer[0].assume_init_ref().struct_size, size);
            assert!(newer[1].assume_init_ref().gate.is_null());
            assert!(reload_options(first).is_ok());
        }
        for size in [0, older - 1, 1 << 20] {
            // SAFETY: refused by the size.
            let status = unsafe { modelserve_reload_options_init(&raw mut options, size) };
            assert_eq!(status, MODELSERVE_STATUS_INVALID_ARGUMENT);
        }
    }

    #[test]
    fn unknown_numbers_and_sizes_are_refused() {
        let mut options: modelserve_load_options = defaults();
        options.task = 8;
        // SAFETY: a value of the right size.
        assert!(unsafe { load_options(&raw const options) }.is_err());
        options.task = -1;
        // SAFETY: a value of the right size.
        assert!(unsafe { load_options(&raw const options) }.is_err());
        options.task = MODELSERVE_TASK_TENSORS;
        // SAFETY: a value of the right size.
        let read = unsafe { load_options(&raw const options) }.unwrap();
        assert_eq!((read.task, read.plan), (Some(Task::Tensors), PlanKind::Optimised));
        options.plan = MODELSERVE_PLAN_PLAIN;
        // SAFETY: a value of the right size.
        let read = unsafe { load_options(&raw const options) }.unwrap();
        assert_eq!(read.plan, PlanKind::Plain);
        options.plan = 3;
        // SAFETY: a value of the right size.
        assert!(unsafe { load_options(&raw const options) }.is_err());
        options.plan = 0;
        options.explain = 1;
        // SAFETY: a value of the right size.
        assert!(unsafe { load_options(&raw const options) }.unwrap().explain);
        // One of the first header, which ends before `explain`.
        options.struct_size = offset_of!(modelserve_load_options, explain);
        // SAFETY: a value of at least the size it says.
        assert!(!unsafe { load_options(&raw const options) }.unwrap().explain);
        options.struct_size = size_of::<modelserve_load_options>();
        options.explain = 2;
        // SAFETY: a value of the right size.
        assert!(unsafe { load_options(&raw const options) }.is_err());
        options.explain = 0;
        options.finite_inputs = -1;
        // SAFETY: a value of the right size.
        assert!(unsafe { load_options(&raw const options) }.is_err());
        (options.finite_inputs, options.max_rows, options.max_request_bytes) = (1, 7, 8);
        // SAFETY: a value of the right size.
        let read = unsafe { load_options(&raw const options) }.unwrap();
        assert!(read.finite_inputs);
        assert_eq!((read.request_limits.rows, read.request_limits.request_bytes), (7, 8));
        options.struct_size = 8;
        // SAFETY: refused by its size.
        assert!(unsafe { load_options(&raw const options) }.is_err());
    }
}
