//! Sequences of calls of the C interface: with good handles, freed, mistyped and invented ones,
//! with NULL wherever a pointer is taken, and with memory that is as the header asks for it.
//!
//! Which handles are live is known here, too: a call with any other fails, and a call that fails
//! says why, writes nothing, and leaves every handle as it was.

use arbitrary::{Result, Unstructured};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// `modelserve_manager`, `modelserve_model` and the others are alike.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
struct Handle {
    id: u64,
}

/// Room for any result that is a struct.
type Place = [u64; 128];

/// `modelserve_load_options`.
#[repr(C)]
struct LoadOptions {
    struct_size: usize,
    version: u64,
    threads: usize,
    format: i32,
    task: i32,
    output_kind: i32,
    plan: i32,
    config: *const c_char,
    display_version: *const c_char,
    label_output: *const c_char,
    scores_output: *const c_char,
    class_ints: *const i64,
    class_strings: *const *const c_char,
    n_classes: usize,
    feature_names: *const *const c_char,
    n_feature_names: usize,
    explain: i32,
    reserved: i32,
}

/// `modelserve_request_options`.
#[repr(C)]
struct RequestOptions {
    struct_size: usize,
    version: u64,
    label: *const c_char,
    key: *const c_char,
    timeout_ns: u64,
    priority: i32,
    no_cache: i32,
}

/// `modelserve_tensor`.
#[repr(C)]
struct Tensor {
    name: *const c_char,
    data: *const c_void,
    dims: *const i64,
    strides: *const isize,
    rank: usize,
    dtype: i32,
    reserved: i32,
}

type Told = unsafe extern "C" fn(*mut c_void, i32, *const c_void, *const c_void, *const c_char);
type ToldOutputs = unsafe extern "C" fn(*mut c_void, i32, Handle, *const c_void, *const c_char);
type Text = unsafe extern "C" fn(Handle, *mut c_char, usize, *mut usize) -> i32;
type NamedText = unsafe extern "C" fn(Handle, *const c_char, *mut c_char, usize, *mut usize) -> i32;
type IndexedText = unsafe extern "C" fn(Handle, usize, *mut c_char, usize, *mut usize) -> i32;
type Count = unsafe extern "C" fn(Handle, *mut usize) -> i32;
type Number = unsafe extern "C" fn(Handle, *mut u64) -> i32;
type NameVersion = unsafe extern "C" fn(Handle, *const c_char, u64) -> i32;
type Free = unsafe extern "C" fn(Handle) -> i32;

unsafe extern "C" {
    fn modelserve_live_handles() -> usize;
    fn modelserve_last_error(buf: *mut c_char, len: usize) -> usize;
    fn modelserve_manager_new(threads: usize, manager: *mut Handle) -> i32;
    fn modelserve_manager_free(manager: Handle) -> i32;
    fn modelserve_manager_load_bytes(
        manager: Handle,
        name: *const c_char,
        bytes: *const u8,
        len: usize,
        options: *const LoadOptions,
        model: *mut Handle,
    ) -> i32;
    fn modelserve_manager_reload_bytes(
        manager: Handle,
        name: *const c_char,
        bytes: *const u8,
        len: usize,
        options: *const c_void,
        version: *mut u64,
    ) -> i32;
    fn modelserve_manager_load_version_bytes(
        manager: Handle,
        name: *const c_char,
        bytes: *const u8,
        len: usize,
        options: *const c_void,
        version: *mut u64,
    ) -> i32;
    fn modelserve_manager_unload(manager: Handle, name: *const c_char) -> i32;
    fn modelserve_manager_model(manager: Handle, name: *const c_char, model: *mut Handle) -> i32;
    fn modelserve_manager_models(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    fn modelserve_manager_metrics(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    fn modelserve_manager_memory(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    fn modelserve_manager_repository_report(
        m: Handle,
        buf: *mut c_char,
        len: usize,
        n: *mut usize,
    ) -> i32;
    fn modelserve_manager_uptime(manager: Handle, nanoseconds: *mut u64) -> i32;
    fn modelserve_manager_events_dropped(manager: Handle, dropped: *mut u64) -> i32;
    fn modelserve_manager_refresh(manager: Handle) -> i32;
    fn modelserve_manager_serve(manager: Handle, name: *const c_char, version: u64) -> i32;
    fn modelserve_manager_unload_version(m: Handle, name: *const c_char, version: u64) -> i32;
    fn modelserve_manager_rollback(m: Handle, name: *const c_char, version: *mut u64) -> i32;
    fn modelserve_manager_set_label(
        manager: Handle,
        name: *const c_char,
        label: *const c_char,
        version: u64,
    ) -> i32;
    fn modelserve_manager_remove_label(m: Handle, name: *const c_char, l: *const c_char) -> i32;
    fn modelserve_manager_set_canary_percent(m: Handle, name: *const c_char, percent: f64) -> i32;
    fn modelserve_manager_configure(m: Handle, name: *const c_char, toml: *const c_char) -> i32;
    fn modelserve_manager_pin(
        manager: Handle,
        names: *const *const c_char,
        n: usize,
        models: *mut Handle,
    ) -> i32;
    fn modelserve_manager_http_handle(
        manager: Handle,
        method: *const c_char,
        target: *const c_char,
        header_names: *const *const c_char,
        header_values: *const *const c_char,
        n_headers: usize,
        body: *const u8,
        body_len: usize,
        response: *mut Handle,
    ) -> i32;
    fn modelserve_model_load_bytes(
        bytes: *const u8,
        len: usize,
        options: *const LoadOptions,
        model: *mut Handle,
    ) -> i32;
    fn modelserve_model_free(model: Handle) -> i32;
    fn modelserve_model_pin(model: Handle, pinned: *mut Handle) -> i32;
    fn modelserve_model_version(model: Handle, version: *mut u64) -> i32;
    fn modelserve_model_is_pinned(model: Handle, pinned: *mut i32) -> i32;
    fn modelserve_model_info(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    fn modelserve_model_name(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    fn modelserve_model_stats(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    fn modelserve_model_class_count(model: Handle, count: *mut usize) -> i32;
    fn modelserve_predict_with(
        model: Handle,
        row: *const f32,
        width: usize,
        options: *const RequestOptions,
        prediction: *mut Place,
        receipt: *mut Place,
    ) -> i32;
    fn modelserve_predict_scores_f64(
        model: Handle,
        row: *const f64,
        width: usize,
        scores: *mut f64,
        scores_len: usize,
        prediction: *mut Place,
    ) -> i32;
    fn modelserve_predict_batch_with(
        model: Handle,
        rows: *const f32,
        n_rows: usize,
        width: usize,
        row_stride: isize,
        options: *const RequestOptions,
        labels: *mut i64,
        labels_len: usize,
        scores: *mut f64,
        scores_len: usize,
        batch: *mut Place,
        receipt: *mut Place,
    ) -> i32;
    fn modelserve_predict_columns(
        model: Handle,
        columns: *const Tensor,
        n_columns: usize,
        options: *const RequestOptions,
        labels: *mut i64,
        labels_len: usize,
        scores: *mut f64,
        scores_len: usize,
        batch: *mut Place,
        receipt: *mut Place,
    ) -> i32;
    fn modelserve_explain(
        model: Handle,
        rows: *const f32,
        n_rows: usize,
        width: usize,
        row_stride: isize,
        values: *mut f64,
        values_len: usize,
        explanation: *mut Place,
    ) -> i32;
    fn modelserve_importance(
        model: Handle,
        kind: i32,
        values: *mut f64,
        values_len: usize,
        n_features: *mut usize,
    ) -> i32;
    fn modelserve_predict_submit(
        model: Handle,
        row: *const f32,
        width: usize,
        options: *const RequestOptions,
        callback: Option<Told>,
        user_data: *mut c_void,
        request: *mut Handle,
    ) -> i32;
    fn modelserve_run_submit(
        model: Handle,
        inputs: *const Tensor,
        n_inputs: usize,
        outputs: *const *const c_char,
        n_outputs: usize,
        options: *const RequestOptions,
        callback: Option<ToldOutputs>,
        user_data: *mut c_void,
        request: *mut Handle,
    ) -> i32;
    fn modelserve_request_cancel(request: Handle) -> i32;
    fn modelserve_request_free(request: Handle) -> i32;
    fn modelserve_run_with(
        model: Handle,
        inputs: *const Tensor,
        n_inputs: usize,
        outputs: *const *const c_char,
        n_outputs: usize,
        options: *const RequestOptions,
        result: *mut Handle,
        receipt: *mut Place,
    ) -> i32;
    fn modelserve_outputs_free(outputs: Handle) -> i32;
    fn modelserve_outputs_count(outputs: Handle, count: *mut usize) -> i32;
    fn modelserve_outputs_dtype(outputs: Handle, index: usize, dtype: *mut i32) -> i32;
    fn modelserve_outputs_dims(
        outputs: Handle,
        index: usize,
        dims: *mut i64,
        dims_len: usize,
        rank: *mut usize,
    ) -> i32;
    fn modelserve_outputs_data(
        outputs: Handle,
        index: usize,
        data: *mut c_void,
        len: usize,
        needed: *mut usize,
    ) -> i32;
    fn modelserve_outputs_string(
        outputs: Handle,
        index: usize,
        element: usize,
        buf: *mut c_char,
        len: usize,
        needed: *mut usize,
    ) -> i32;
    fn modelserve_http_response_free(response: Handle) -> i32;
    fn modelserve_http_response_status(response: Handle, status: *mut i32) -> i32;
    fn modelserve_http_response_header_count(response: Handle, count: *mut usize) -> i32;
    fn modelserve_http_response_body(
        response: Handle,
        data: *mut u8,
        len: usize,
        needed: *mut usize,
    ) -> i32;
}

/// Functions of one form.
macro_rules! forms {
    ($($form:ty: $list:ident = $($function:ident($($argument:ident: $of:ty),*)),+;)+) => {
        unsafe extern "C" {
            $($(fn $function($($argument: $of),*) -> i32;)+)+
        }
        $(const $list: &[$form] = &[$($function),+];)+
    };
}

forms! {
    NamedText: NAMED_TEXTS =
        modelserve_manager_stats(m: Handle, a: *const c_char, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_manager_versions(m: Handle, a: *const c_char, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_manager_labels(m: Handle, a: *const c_char, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_manager_gate_report(m: Handle, a: *const c_char, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_manager_traffic(m: Handle, a: *const c_char, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_manager_promotion(m: Handle, a: *const c_char, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_manager_shadow(m: Handle, a: *const c_char, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_manager_cache(m: Handle, a: *const c_char, b: *mut c_char, l: usize, n: *mut usize);
    IndexedText: CLASS_LABELS =
        modelserve_model_class_label(m: Handle, i: usize, b: *mut c_char, l: usize, n: *mut usize);
    IndexedText: OUTPUT_TEXTS =
        modelserve_outputs_name(m: Handle, i: usize, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_outputs_json(m: Handle, i: usize, b: *mut c_char, l: usize, n: *mut usize);
    IndexedText: RESPONSE_TEXTS =
        modelserve_http_response_header_name(m: Handle, i: usize, b: *mut c_char, l: usize, n: *mut usize),
        modelserve_http_response_header_value(m: Handle, i: usize, b: *mut c_char, l: usize, n: *mut usize);
}

const MANAGER_TEXTS: [Text; 4] = [
    modelserve_manager_models,
    modelserve_manager_metrics,
    modelserve_manager_memory,
    modelserve_manager_repository_report,
];
const MODEL_TEXTS: [Text; 3] =
    [modelserve_model_info, modelserve_model_name, modelserve_model_stats];
const MANAGER_NUMBERS: [Number; 2] =
    [modelserve_manager_uptime, modelserve_manager_events_dropped];
const NAME_VERSIONS: [NameVersion; 2] =
    [modelserve_manager_serve, modelserve_manager_unload_version];

const OK: i32 = 0;
const INTERNAL: i32 = 15;
const INVALID_HANDLE: i32 = 101;

/// The kinds of handles.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Manager,
    Model,
    Outputs,
    Request,
    Response,
}

const KINDS: [Kind; 5] =
    [Kind::Manager, Kind::Model, Kind::Outputs, Kind::Request, Kind::Response];

impl Kind {
    fn free(self) -> Free {
        match self {
            Kind::Manager => modelserve_manager_free,
            Kind::Model => modelserve_model_free,
            Kind::Outputs => modelserve_outputs_free,
            Kind::Request => modelserve_request_free,
            Kind::Response => modelserve_http_response_free,
        }
    }

    fn count(self) -> Option<Count> {
        match self {
            Kind::Model => Some(modelserve_model_class_count),
            Kind::Outputs => Some(modelserve_outputs_count),
            Kind::Response => Some(modelserve_http_response_header_count),
            Kind::Manager | Kind::Request => None,
        }
    }
}

const MODELS: [&[u8]; 4] = [
    include_bytes!("../../data/iris_v1/model.onnx"),
    include_bytes!("../../data/logistic_strings/model.onnx"),
    include_bytes!("../seeds/booster_load/trees.txt"),
    b"no model",
];
const NAMES: [&CStr; 7] = [c"m", c"n", c"m", c"X", c"", c"a/b", c"\xff"];
const TOML: [&CStr; 6] = [
    c"",
    c"[cache]\n",
    c"[batching]\nmax_batch_size = 4\n",
    c"[deadline]\ndefault = \"1s\"\n",
    c"[[fallback]]\nconstant = { label = 1 }\n",
    c"[nonsense]\n",
];
const TARGETS: [&CStr; 6] = [
    c"/v2/models/m/infer",
    c"/v1/models/m:predict",
    c"/predict",
    c"/v2/health/ready",
    c"/metrics",
    c"%",
];
const BODIES: [&[u8]; 4] = [
    b"",
    br#"{"features": [5.1, 3.5, 1.4, 0.2]}"#,
    br#"{"instances": [[5.1, 3.5, 1.4, 0.2]]}"#,
    br#"{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#,
];

/// Callbacks that came.
static TOLD: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn told(
    _: *mut c_void,
    status: i32,
    prediction: *const c_void,
    _: *const c_void,
    error: *const c_char,
) {
    assert_ne!(status, INTERNAL);
    assert_eq!(prediction.is_null(), status != OK);
    assert_eq!(error.is_null(), status == OK);
    TOLD.fetch_add(1, SeqCst);
}

unsafe extern "C" fn told_outputs(
    _: *mut c_void,
    status: i32,
    outputs: Handle,
    _: *const c_void,
    error: *const c_char,
) {
    assert_ne!(status, INTERNAL);
    assert_eq!(outputs.id == 0, status != OK);
    assert_eq!(error.is_null(), status == OK);
    // SAFETY: a handle that was given to this function.
    assert_eq!(unsafe { modelserve_outputs_free(outputs) }, OK);
    TOLD.fetch_add(1, SeqCst);
}

/// Memory of the caller: numbers, and texts, with as much before the place that is given as
/// behind it.
struct Memory {
    numbers: Vec<u64>,
    texts: Vec<*const c_char>,
}

/// Elements of each on either side.
const AROUND: usize = 512;

impl Memory {
    fn new(u: &mut Unstructured<'_>) -> Result<Memory> {
        let words: [u64; 4] = u.arbitrary()?;
        let numbers = words.iter().copied().cycle().take(2 * AROUND).collect();
        let texts = NAMES[..6].iter().map(|name| name.as_ptr()).cycle().take(2 * AROUND).collect();
        Ok(Memory { numbers, texts })
    }

    fn numbers<T>(&self) -> *const T {
        self.numbers[AROUND..].as_ptr().cast()
    }
}

/// A tensor's parts, to which the struct points.
struct Given {
    name: *const c_char,
    data: *const c_void,
    dims: Vec<i64>,
    strides: Option<Vec<isize>>,
    dtype: i32,
    reserved: i32,
}

impl Given {
    fn tensor(&self) -> Tensor {
        Tensor {
            name: self.name,
            data: self.data,
            dims: self.dims.as_ptr(),
            strides: self.strides.as_ref().map_or(null(), |strides| strides.as_ptr()),
            rank: self.dims.len(),
            dtype: self.dtype,
            reserved: self.reserved,
        }
    }
}

/// A buffer for results, with a margin that must stay as it is.
struct Buffer<T> {
    all: Vec<T>,
    len: usize,
    null: bool,
}

const MARGIN: usize = 4;

impl<T: Copy + PartialEq> Buffer<T> {
    fn new(u: &mut Unstructured<'_>, sizes: &[usize], empty: T) -> Result<Buffer<T>> {
        let len = *u.choose(sizes)?;
        Ok(Buffer { all: vec![empty; len + MARGIN], len, null: u.ratio(1, 12)? })
    }

    fn pointer(&mut self) -> *mut T {
        if self.null { null_mut() } else { self.all.as_mut_ptr() }
    }

    /// Nothing was written behind it, nor into it where the call failed.
    fn check(&self, status: i32, empty: T) {
        let untouched = if status == OK { self.len } else { 0 };
        assert!(self.all[untouched..].iter().all(|x| *x == empty), "written where it must not be");
    }
}

/// A place for one result: the pointer to it, or NULL.
fn or_null<T>(u: &mut Unstructured<'_>, place: &mut T) -> Result<*mut T> {
    Ok(if u.ratio(1, 16)? { null_mut() } else { place })
}

struct World<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    live: Vec<(Kind, u64)>,
    freed: Vec<u64>,
    /// Handles that others hold.
    before: usize,
    /// Callbacks that have to come.
    submitted: usize,
}

impl World<'_, '_> {
    /// A handle for a function that takes this kind, and whether it is one.
    fn handle(&mut self, kind: Kind) -> Result<(Handle, bool)> {
        let own: Vec<u64> = self.live.iter().filter(|(k, _)| *k == kind).map(|(_, id)| *id).collect();
        let id = match self.u.int_in_range(0..=19)? {
            0 => 0,
            1 if !self.freed.is_empty() => *self.u.choose(&self.freed)?,
            2 => self.u.arbitrary()?,
            3 if !self.live.is_empty() => self.u.choose(&self.live)?.1,
            4 if !own.is_empty() => *self.u.choose(&own)? ^ 1 << self.u.int_in_range(0..=63)?,
            _ if !own.is_empty() => *self.u.choose(&own)?,
            _ => 0,
        };
        Ok((Handle { id }, own.contains(&id)))
    }

    fn name(&mut self) -> Result<*const c_char> {
        Ok(match self.u.ratio(1, 24)? {
            true => null(),
            false => self.u.choose(&NAMES)?.as_ptr(),
        })
    }

    /// What every call keeps to.
    fn judge(&self, status: i32, valid: bool) {
        assert_ne!(status, INTERNAL, "{}", last_error());
        match valid {
            true => assert_ne!(status, INVALID_HANDLE),
            false => assert_ne!(status, OK),
        }
        assert_eq!(last_error().is_empty(), status == OK);
    }

    /// Notes a handle that was handed out, or that none was.
    fn add(&mut self, kind: Kind, status: i32, handle: Handle) {
        assert_eq!(handle.id == 0, status != OK);
        if status == OK {
            self.live.push((kind, handle.id));
        }
    }

    fn free(&mut self) -> Result<()> {
        let kind = *self.u.choose(&KINDS)?;
        let (handle, valid) = self.handle(kind)?;
        // SAFETY: any handle may be given.
        let status = unsafe { kind.free()(handle) };
        self.judge(status, valid || handle.id == 0);
        assert_eq!(status == OK, valid || handle.id == 0);
        if valid {
            self.live.retain(|(_, id)| *id != handle.id);
            self.freed.push(handle.id);
        }
        Ok(())
    }

    /// A function that copies a text out.
    fn text(
        &mut self,
        valid: bool,
        call: impl FnOnce(*mut c_char, usize, *mut usize) -> i32,
    ) -> Result<()> {
        const EMPTY: c_char = 0x55;
        let mut buffer = Buffer::new(self.u, &[0, 1, 8, 100, 1 << 16], EMPTY)?;
        let (mut needed, len) = (usize::MAX, buffer.len);
        let place = or_null(self.u, &mut needed)?;
        let status = call(buffer.pointer(), len, place);
        self.judge(status, valid);
        buffer.check(status, EMPTY);
        if status == OK && len > 0 {
            assert_eq!(buffer.all[needed], 0, "no end of the text");
            assert!(!buffer.all[..needed].contains(&0), "more than one end of the text");
        }
        Ok(())
    }

    /// Options to load with.
    fn load_options(&mut self) -> Result<LoadOptions> {
        static CLASSES: [i64; 4] = [0, 1, 2, 2];
        let size = size_of::<LoadOptions>();
        let u = &mut *self.u;
        let n_classes = u.int_in_range(0..=4)?;
        let with_classes = u.ratio(1, 4)?;
        Ok(LoadOptions {
            struct_size: *u.choose(&[size, size, size, size - 8, 8, 0, usize::MAX])?,
            version: *u.choose(&[0, 0, 0, 1, 7, i64::MAX as u64, u64::MAX])?,
            threads: 1,
            format: *u.choose(&[0, 0, 0, 1, 2, 3, 4, 9, -1])?,
            task: *u.choose(&[0, 0, 0, 1, 3, 7, 8, -1])?,
            output_kind: *u.choose(&[0, 0, 0, 1, 2, 3, 4, 5])?,
            plan: *u.choose(&[0, 0, 1, 2, 3])?,
            config: null(),
            display_version: *u.choose(&[null(), null(), c"one".as_ptr(), c"\xff".as_ptr()])?,
            label_output: *u.choose(&[null(), null(), null(), c"label".as_ptr()])?,
            scores_output: *u.choose(&[null(), null(), null(), c"no".as_ptr()])?,
            class_ints: if with_classes { CLASSES.as_ptr() } else { null() },
            class_strings: null(),
            n_classes: if with_classes || u.ratio(1, 16)? { n_classes } else { 0 },
            feature_names: null(),
            n_feature_names: usize::from(u.ratio(1, 16)?),
            explain: *u.choose(&[0, 1, 1, 2])?,
            reserved: i32::from(u.ratio(1, 16)?),
        })
    }

    fn request_options(&mut self) -> Result<RequestOptions> {
        let size = size_of::<RequestOptions>();
        let u = &mut *self.u;
        Ok(RequestOptions {
            struct_size: *u.choose(&[size, size, size, 8, 0, usize::MAX])?,
            version: *u.choose(&[0, 0, 0, 1, 2, u64::MAX])?,
            label: *u.choose(&[null(), null(), null(), c"m".as_ptr(), c"".as_ptr()])?,
            key: *u.choose(&[null(), null(), c"user".as_ptr()])?,
            timeout_ns: *u.choose(&[0, 0, 1, 1_000_000_000, u64::MAX])?,
            priority: *u.choose(&[0, 0, 5, -128, 127, 128])?,
            no_cache: *u.choose(&[0, 0, 1, 2])?,
        })
    }

    /// A tensor of few elements that lie in this memory, or of so many that it is refused.
    fn given(&mut self, memory: &Memory) -> Result<Given> {
        const TEXT: i32 = 8;
        let dtype = match self.u.int_in_range(0..=3)? {
            0 => self.u.int_in_range(-1..=30)?,
            _ => *self.u.choose(&[1, 1, 7, 11, TEXT])?,
        };
        let sizes = [4, 1, 4, 2, 3, 0, -1, i64::MAX];
        let rank = self.u.int_in_range(0..=3)?;
        let mut dims: Vec<i64> = Vec::new();
        for _ in 0..rank {
            dims.push(*self.u.choose(&sizes)?);
        }
        if self.u.ratio(1, 2)? {
            dims = vec![1, 4];
        }
        // Texts are pointers: they stay whole.
        let steps = if dtype == TEXT { [8, 0, -8, 16] } else { [4, 0, -4, 9] };
        let mut strides = Vec::new();
        for _ in 0..dims.len() {
            strides.push(*self.u.choose(&steps)?);
        }
        let data = match (self.u.ratio(1, 16)?, dtype) {
            (true, _) => null(),
            (false, TEXT) => memory.texts[AROUND..].as_ptr().cast(),
            (false, _) => memory.numbers(),
        };
        Ok(Given {
            name: if self.u.ratio(7, 8)? { c"X".as_ptr() } else { self.name()? },
            data,
            dims,
            strides: self.u.ratio(1, 2)?.then_some(strides),
            dtype,
            reserved: i32::from(self.u.ratio(1, 24)?),
        })
    }

    /// Calls a function with some tensors; one of NULL where there should be some.
    fn with_tensors(
        &mut self,
        memory: &Memory,
        call: impl FnOnce(*const Tensor, usize) -> i32,
    ) -> Result<i32> {
        let mut given = Vec::new();
        for _ in 0..self.u.int_in_range(0..=2)? {
            given.push(self.given(memory)?);
        }
        let tensors: Vec<Tensor> = given.iter().map(Given::tensor).collect();
        let pointer = if self.u.ratio(1, 16)? { null() } else { tensors.as_ptr() };
        Ok(call(pointer, tensors.len()))
    }

    fn manager_step(&mut self) -> Result<()> {
        let (manager, valid) = self.handle(Kind::Manager)?;
        let name = self.name()?;
        match self.u.int_in_range(0..=11)? {
            0 | 1 => {
                let file = *self.u.choose(&MODELS)?;
                let options = self.load_options()?;
                let options: *const LoadOptions =
                    if self.u.ratio(1, 2)? { null() } else { &raw const options };
                let mut model = Handle { id: 0 };
                let place = or_null(self.u, &mut model)?;
                // SAFETY: the memory is as the header asks for it.
                let status = unsafe {
                    modelserve_manager_load_bytes(
                        manager, name, file.as_ptr(), file.len(), options, place,
                    )
                };
                self.judge(status, valid);
                self.add(Kind::Model, status, model);
            }
            2 => {
                let file = *self.u.choose(&MODELS)?;
                let mut version = 0;
                let place = or_null(self.u, &mut version)?;
                let load = match self.u.arbitrary()? {
                    true => modelserve_manager_reload_bytes,
                    false => modelserve_manager_load_version_bytes,
                };
                // SAFETY: as above.
                let status =
                    unsafe { load(manager, name, file.as_ptr(), file.len(), null(), place) };
                self.judge(status, valid);
            }
            3 => {
                // SAFETY: as above.
                let status = unsafe { modelserve_manager_unload(manager, name) };
                self.judge(status, valid);
            }
            4 => {
                let mut model = Handle { id: 0 };
                let place = or_null(self.u, &mut model)?;
                // SAFETY: as above.
                let status = unsafe { modelserve_manager_model(manager, name, place) };
                self.judge(status, valid);
                self.add(Kind::Model, status, model);
            }
            5 => {
                let call = *self.u.choose(&MANAGER_TEXTS)?;
                // SAFETY: as above.
                self.text(valid, |buf, len, needed| unsafe { call(manager, buf, len, needed) })?;
            }
            6 => {
                let call = *self.u.choose(NAMED_TEXTS)?;
                self.text(valid, |buf, len, needed| {
                    // SAFETY: as above.
                    unsafe { call(manager, name, buf, len, needed) }
                })?;
            }
            7 => {
                let call = *self.u.choose(&MANAGER_NUMBERS)?;
                let mut number = 0;
                let place = or_null(self.u, &mut number)?;
                // SAFETY: as above.
                let status = unsafe { call(manager, place) };
                self.judge(status, valid);
            }
            8 => {
                let call = *self.u.choose(&NAME_VERSIONS)?;
                let version = *self.u.choose(&[1, 2, 0, u64::MAX])?;
                let label = self.name()?;
                let mut back = 0;
                // SAFETY: as above.
                let status = unsafe {
                    match self.u.int_in_range(0..=5)? {
                        0 | 1 => call(manager, name, version),
                        2 => modelserve_manager_rollback(manager, name, &mut back),
                        3 => modelserve_manager_set_label(manager, name, label, version),
                        4 => modelserve_manager_remove_label(manager, name, label),
                        _ => modelserve_manager_set_canary_percent(manager, name, f64::NAN),
                    }
                };
                self.judge(status, valid);
            }
            9 => {
                let toml = self.u.choose(&TOML)?.as_ptr();
                // SAFETY: as above.
                let status = unsafe {
                    match self.u.ratio(1, 8)? {
                        true => modelserve_manager_refresh(manager),
                        false => modelserve_manager_configure(manager, name, toml),
                    }
                };
                self.judge(status, valid);
            }
            10 => {
                let names = [name, self.name()?];
                let n = self.u.int_in_range(0..=2)?;
                let mut models = [Handle { id: 0 }; 2];
                // SAFETY: as above.
                let status = unsafe {
                    modelserve_manager_pin(manager, names.as_ptr(), n, models.as_mut_ptr())
                };
                self.judge(status, valid);
                for model in &models[..n] {
                    self.add(Kind::Model, status, *model);
                }
            }
            _ => self.http(manager, valid)?,
        }
        Ok(())
    }

    fn http(&mut self, manager: Handle, valid: bool) -> Result<()> {
        let method = *self.u.choose(&[c"POST", c"GET", c""])?;
        let target = *self.u.choose(&TARGETS)?;
        let body = *self.u.choose(&BODIES)?;
        let names = [c"inference-header-content-length".as_ptr()];
        let values = [self.u.choose(&[c"70", c"x", c""])?.as_ptr()];
        let n = usize::from(self.u.ratio(1, 4)?);
        let mut response = Handle { id: 0 };
        let place = or_null(self.u, &mut response)?;
        // SAFETY: the memory is as the header asks for it.
        let status = unsafe {
            modelserve_manager_http_handle(
                manager,
                method.as_ptr(),
                target.as_ptr(),
                names.as_ptr(),
                values.as_ptr(),
                n,
                body.as_ptr(),
                body.len(),
                place,
            )
        };
        self.judge(status, valid);
        self.add(Kind::Response, status, response);
        Ok(())
    }

    fn model_step(&mut self) -> Result<()> {
        let (model, valid) = self.handle(Kind::Model)?;
        let memory = Memory::new(self.u)?;
        let mut out = [0u64; 128];
        let mut receipt = [0u64; 128];
        let options = self.request_options()?;
        let options: *const RequestOptions =
            if self.u.ratio(3, 4)? { null() } else { &raw const options };
        let width = *self.u.choose(&[4, 4, 4, 13, 0, usize::MAX / 2])?;
        match self.u.int_in_range(0..=11)? {
            0 => {
                let call = *self.u.choose(&MODEL_TEXTS)?;
                // SAFETY: the memory is as the header asks for it.
                self.text(valid, |buf, len, needed| unsafe { call(model, buf, len, needed) })?;
            }
            1 => {
                let index = *self.u.choose(&[0, 1, usize::MAX])?;
                let call = *self.u.choose(CLASS_LABELS)?;
                self.text(valid, |buf, len, needed| {
                    // SAFETY: as above.
                    unsafe { call(model, index, buf, len, needed) }
                })?;
            }
            2 => {
                let mut pinned = Handle { id: 0 };
                let place = or_null(self.u, &mut pinned)?;
                // SAFETY: as above.
                let status = unsafe { modelserve_model_pin(model, place) };
                self.judge(status, valid);
                self.add(Kind::Model, status, pinned);
            }
            3 => {
                let (mut version, mut pinned) = (0, 7);
                // SAFETY: as above.
                let status = unsafe {
                    match self.u.arbitrary()? {
                        true => modelserve_model_version(model, &mut version),
                        false => modelserve_model_is_pinned(model, &mut pinned),
                    }
                };
                self.judge(status, valid);
            }
            4 | 5 => {
                let row = if self.u.ratio(1, 16)? { null() } else { memory.numbers() };
                let place = or_null(self.u, &mut out)?;
                let told = or_null(self.u, &mut receipt)?;
                // SAFETY: as above; a width that memory has not is refused.
                let status =
                    unsafe { modelserve_predict_with(model, row, width, options, place, told) };
                self.judge(status, valid);
                assert!(status == OK || out.iter().chain(&receipt).all(|word| *word == 0));
            }
            6 => {
                let mut scores = Buffer::new(self.u, &[0, 1, 3, 16], 0.25)?;
                let (pointer, len) = (scores.pointer(), scores.len);
                // SAFETY: as above.
                let status = unsafe {
                    modelserve_predict_scores_f64(
                        model, memory.numbers(), width, pointer, len, &mut out,
                    )
                };
                self.judge(status, valid);
                scores.check(status, 0.25);
            }
            7 => self.batch(model, valid, &memory, options, width)?,
            8 => {
                let mut scores = Buffer::new(self.u, &[0, 12, 64], 0.25)?;
                let (to, len) = (scores.pointer(), scores.len);
                let status = self.with_tensors(&memory, |tensors, n| {
                    // SAFETY: as above.
                    unsafe {
                        modelserve_predict_columns(
                            model, tensors, n, options, null_mut(), 0, to, len, &mut out,
                            &mut receipt,
                        )
                    }
                })?;
                self.judge(status, valid);
                scores.check(status, 0.25);
            }
            9 => {
                let outputs = [self.name()?];
                let n_outputs = usize::from(self.u.ratio(1, 4)?);
                let mut result = Handle { id: 0 };
                let place = or_null(self.u, &mut result)?;
                let status = self.with_tensors(&memory, |tensors, n| {
                    let outputs = outputs.as_ptr();
                    // SAFETY: as above.
                    unsafe {
                        modelserve_run_with(
                            model, tensors, n, outputs, n_outputs, options, place, &mut receipt,
                        )
                    }
                })?;
                self.judge(status, valid);
                self.add(Kind::Outputs, status, result);
            }
            10 => {
                let kind = self.u.int_in_range(-1..=6)?;
                let mut values = Buffer::new(self.u, &[0, 4, 64], 0.25)?;
                let (to, len) = (values.pointer(), values.len);
                let mut features = 0;
                // SAFETY: as above.
                let status = unsafe {
                    match self.u.arbitrary()? {
                        true => modelserve_importance(model, kind, to, len, &mut features),
                        false => modelserve_explain(
                            model, memory.numbers(), 2, width, 0, to, len, &mut out,
                        ),
                    }
                };
                self.judge(status, valid);
                values.check(status, 0.25);
            }
            _ => self.submit(model, valid, &memory, options, width)?,
        }
        Ok(())
    }

    fn batch(
        &mut self,
        model: Handle,
        valid: bool,
        memory: &Memory,
        options: *const RequestOptions,
        width: usize,
    ) -> Result<()> {
        let n_rows = *self.u.choose(&[1, 2, 3, 0, usize::MAX])?;
        let stride = *self.u.choose(&[0, 0, 16, -16, 20, 4, isize::MIN, isize::MAX])?;
        let mut labels = Buffer::new(self.u, &[0, 1, 3, 8], -7i64)?;
        let mut scores = Buffer::new(self.u, &[0, 1, 9, 64], 0.25)?;
        let (labels_to, labels_len) = (labels.pointer(), labels.len);
        let (scores_to, scores_len) = (scores.pointer(), scores.len);
        let (mut batch, mut receipt) = ([0u64; 128], [0u64; 128]);
        let place = or_null(self.u, &mut batch)?;
        // SAFETY: the memory is as the header asks for it; what it has not is refused.
        let status = unsafe {
            modelserve_predict_batch_with(
                model,
                memory.numbers(),
                n_rows,
                width,
                stride,
                options,
                labels_to,
                labels_len,
                scores_to,
                scores_len,
                place,
                &mut receipt,
            )
        };
        self.judge(status, valid);
        labels.check(status, -7);
        scores.check(status, 0.25);
        Ok(())
    }

    /// Asks on the library's threads, and waits for the callback.
    fn submit(
        &mut self,
        model: Handle,
        valid: bool,
        memory: &Memory,
        options: *const RequestOptions,
        width: usize,
    ) -> Result<()> {
        let mut request = Handle { id: 0 };
        let place = or_null(self.u, &mut request)?;
        let wanted = !self.u.ratio(1, 16)?;
        let status = if self.u.arbitrary()? {
            let callback = wanted.then_some(told as Told);
            let row = memory.numbers();
            // SAFETY: the memory is as the header asks for it.
            unsafe {
                modelserve_predict_submit(model, row, width, options, callback, null_mut(), place)
            }
        } else {
            let callback = wanted.then_some(told_outputs as ToldOutputs);
            self.with_tensors(memory, |tensors, n| {
                // SAFETY: as above.
                unsafe {
                    modelserve_run_submit(
                        model, tensors, n, null(), 0, options, callback, null_mut(), place,
                    )
                }
            })?
        };
        self.judge(status, valid);
        self.submitted += usize::from(status == OK);
        if !place.is_null() {
            self.add(Kind::Request, status, request);
        }
        if request.id != 0 && self.u.arbitrary()? {
            // SAFETY: any handle may be given.
            let status = unsafe { modelserve_request_cancel(request) };
            self.judge(status, true);
        }
        let since = Instant::now();
        while TOLD.load(SeqCst) < self.submitted {
            assert!(since.elapsed() < Duration::from_secs(30), "a callback never comes");
            std::thread::yield_now();
        }
        assert_eq!(TOLD.load(SeqCst), self.submitted, "a callback that nobody waits for");
        Ok(())
    }

    fn outputs_step(&mut self) -> Result<()> {
        let (outputs, valid) = self.handle(Kind::Outputs)?;
        let index = *self.u.choose(&[0, 1, usize::MAX])?;
        match self.u.int_in_range(0..=4)? {
            0 => {
                let call = *self.u.choose(OUTPUT_TEXTS)?;
                self.text(valid, |buf, len, needed| {
                    // SAFETY: the memory is as the header asks for it.
                    unsafe { call(outputs, index, buf, len, needed) }
                })?;
            }
            1 => {
                let element = *self.u.choose(&[0, 1, usize::MAX])?;
                self.text(valid, |buf, len, needed| {
                    // SAFETY: as above.
                    unsafe { modelserve_outputs_string(outputs, index, element, buf, len, needed) }
                })?;
            }
            2 => {
                let mut dtype = 0;
                let place = or_null(self.u, &mut dtype)?;
                // SAFETY: as above.
                let status = unsafe { modelserve_outputs_dtype(outputs, index, place) };
                self.judge(status, valid);
            }
            3 => {
                let mut dims = Buffer::new(self.u, &[0, 1, 2, 8], -7i64)?;
                let (to, len) = (dims.pointer(), dims.len);
                let mut rank = 0;
                let place = or_null(self.u, &mut rank)?;
                // SAFETY: as above.
                let status = unsafe { modelserve_outputs_dims(outputs, index, to, len, place) };
                self.judge(status, valid);
                dims.check(status, -7);
            }
            _ => {
                let mut data = Buffer::new(self.u, &[0, 4, 8, 256], 0x55u8)?;
                let (to, len) = (data.pointer().cast(), data.len);
                let mut needed = 0;
                let place = or_null(self.u, &mut needed)?;
                // SAFETY: as above.
                let status = unsafe { modelserve_outputs_data(outputs, index, to, len, place) };
                self.judge(status, valid);
                data.check(status, 0x55);
            }
        }
        Ok(())
    }

    fn response_step(&mut self) -> Result<()> {
        let (response, valid) = self.handle(Kind::Response)?;
        match self.u.int_in_range(0..=2)? {
            0 => {
                let index = *self.u.choose(&[0, 1, usize::MAX])?;
                let call = *self.u.choose(RESPONSE_TEXTS)?;
                self.text(valid, |buf, len, needed| {
                    // SAFETY: the memory is as the header asks for it.
                    unsafe { call(response, index, buf, len, needed) }
                })?;
            }
            1 => {
                let mut code = 0;
                let place = or_null(self.u, &mut code)?;
                // SAFETY: as above.
                let status = unsafe { modelserve_http_response_status(response, place) };
                self.judge(status, valid);
                assert!(status != OK || (100..600).contains(&code));
            }
            _ => {
                let mut data = Buffer::new(self.u, &[0, 4, 1 << 16], 0x55u8)?;
                let (to, len) = (data.pointer(), data.len);
                let mut needed = 0;
                let place = or_null(self.u, &mut needed)?;
                // SAFETY: as above.
                let status = unsafe { modelserve_http_response_body(response, to, len, place) };
                self.judge(status, valid);
                data.check(status, 0x55);
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        match self.u.int_in_range(0..=15)? {
            0 => {
                let mut manager = Handle { id: 0 };
                let place = or_null(self.u, &mut manager)?;
                // SAFETY: the memory is as the header asks for it.
                let status = unsafe { modelserve_manager_new(1, place) };
                assert_eq!(status == OK, !place.is_null());
                self.add(Kind::Manager, status, manager);
            }
            1 => {
                let file = *self.u.choose(&MODELS)?;
                let options = self.load_options()?;
                let mut model = Handle { id: 0 };
                let place = or_null(self.u, &mut model)?;
                // SAFETY: as above.
                let status = unsafe {
                    modelserve_model_load_bytes(file.as_ptr(), file.len(), &options, place)
                };
                self.judge(status, true);
                self.add(Kind::Model, status, model);
            }
            2 | 3 => self.free()?,
            4..=7 => self.manager_step()?,
            8..=11 => self.model_step()?,
            12 => self.outputs_step()?,
            13 => self.response_step()?,
            14 => {
                let kind = *self.u.choose(&KINDS)?;
                let (handle, valid) = self.handle(kind)?;
                if let Some(count) = kind.count() {
                    let mut n = 0;
                    let place = or_null(self.u, &mut n)?;
                    // SAFETY: as above.
                    let status = unsafe { count(handle, place) };
                    self.judge(status, valid);
                }
            }
            _ => {
                let (request, valid) = self.handle(Kind::Request)?;
                // SAFETY: any handle may be given.
                let status = unsafe { modelserve_request_cancel(request) };
                self.judge(status, valid);
            }
        }
        // SAFETY: takes nothing.
        assert_eq!(unsafe { modelserve_live_handles() }, self.before + self.live.len());
        Ok(())
    }
}

fn last_error() -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: a buffer of that length.
    let len = unsafe { modelserve_last_error(buffer.as_mut_ptr().cast(), buffer.len()) };
    let text = String::from_utf8_lossy(&buffer[..len.min(buffer.len() - 1)]);
    text.trim_end_matches('\0').to_string()
}

pub fn run(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let mut world = World {
        u: &mut u,
        live: Vec::new(),
        freed: Vec::new(),
        // SAFETY: takes nothing.
        before: unsafe { modelserve_live_handles() },
        submitted: TOLD.load(SeqCst),
    };
    let mut manager = Handle { id: 0 };
    // SAFETY: a place for a handle.
    let status = unsafe { modelserve_manager_new(1, &mut manager) };
    world.add(Kind::Manager, status, manager);
    for _ in 0..64 {
        if world.u.is_empty() || world.step().is_err() {
            break;
        }
    }
    for (kind, id) in world.live.drain(..) {
        // SAFETY: any handle may be given.
        assert_eq!(unsafe { kind.free()(Handle { id }) }, OK);
    }
    // SAFETY: takes nothing.
    assert_eq!(unsafe { modelserve_live_handles() }, world.before);
}
