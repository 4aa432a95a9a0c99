//! As much of `include/modelserve.h` as is called.

use std::ffi::{c_char, c_void};

/// `modelserve_manager`, `modelserve_model` and the others are alike.
#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
pub struct Handle {
    pub id: u64,
}

/// Room for any result that is a struct.
pub type Place = [u64; 128];

/// `modelserve_load_options`.
#[repr(C)]
pub struct LoadOptions {
    pub struct_size: usize,
    pub version: u64,
    pub threads: usize,
    pub format: i32,
    pub task: i32,
    pub output_kind: i32,
    pub plan: i32,
    pub config: *const c_char,
    pub display_version: *const c_char,
    pub label_output: *const c_char,
    pub scores_output: *const c_char,
    pub class_ints: *const i64,
    pub class_strings: *const *const c_char,
    pub n_classes: usize,
    pub feature_names: *const *const c_char,
    pub n_feature_names: usize,
    pub explain: i32,
    pub reserved: i32,
}

/// `modelserve_request_options`.
#[repr(C)]
pub struct RequestOptions {
    pub struct_size: usize,
    pub version: u64,
    pub label: *const c_char,
    pub key: *const c_char,
    pub timeout_ns: u64,
    pub priority: i32,
    pub no_cache: i32,
}

/// `modelserve_tensor`.
#[repr(C)]
pub struct Tensor {
    pub name: *const c_char,
    pub data: *const c_void,
    pub dims: *const i64,
    pub strides: *const isize,
    pub rank: usize,
    pub dtype: i32,
    pub reserved: i32,
}

pub type Told = unsafe extern "C" fn(*mut c_void, i32, *const c_void, *const c_void, *const c_char);
pub type ToldOutputs = unsafe extern "C" fn(*mut c_void, i32, Handle, *const c_void, *const c_char);
pub type Text = unsafe extern "C" fn(Handle, *mut c_char, usize, *mut usize) -> i32;
pub type NamedText =
    unsafe extern "C" fn(Handle, *const c_char, *mut c_char, usize, *mut usize) -> i32;
pub type IndexedText = unsafe extern "C" fn(Handle, usize, *mut c_char, usize, *mut usize) -> i32;
pub type Count = unsafe extern "C" fn(Handle, *mut usize) -> i32;
pub type Number = unsafe extern "C" fn(Handle, *mut u64) -> i32;
pub type NameVersion = unsafe extern "C" fn(Handle, *const c_char, u64) -> i32;
pub type Free = unsafe extern "C" fn(Handle) -> i32;

unsafe extern "C" {
    pub fn modelserve_live_handles() -> usize;
    pub fn modelserve_last_error(buf: *mut c_char, len: usize) -> usize;
    pub fn modelserve_manager_new(threads: usize, manager: *mut Handle) -> i32;
    pub fn modelserve_manager_free(manager: Handle) -> i32;
    pub fn modelserve_manager_load_bytes(
        manager: Handle,
        name: *const c_char,
        bytes: *const u8,
        len: usize,
        options: *const LoadOptions,
        model: *mut Handle,
    ) -> i32;
    pub fn modelserve_manager_reload_bytes(
        manager: Handle,
        name: *const c_char,
        bytes: *const u8,
        len: usize,
        options: *const c_void,
        version: *mut u64,
    ) -> i32;
    pub fn modelserve_manager_load_version_bytes(
        manager: Handle,
        name: *const c_char,
        bytes: *const u8,
        len: usize,
        options: *const c_void,
        version: *mut u64,
    ) -> i32;
    pub fn modelserve_manager_unload(manager: Handle, name: *const c_char) -> i32;
    pub fn modelserve_manager_model(
        manager: Handle,
        name: *const c_char,
        model: *mut Handle,
    ) -> i32;
    pub fn modelserve_manager_models(m: Handle, buf: *mut c_char, len: usize, n: *mut usize)
    -> i32;
    pub fn modelserve_manager_metrics(
        m: Handle,
        buf: *mut c_char,
        len: usize,
        n: *mut usize,
    ) -> i32;
    pub fn modelserve_manager_memory(m: Handle, buf: *mut c_char, len: usize, n: *mut usize)
    -> i32;
    pub fn modelserve_manager_repository_report(
        m: Handle,
        buf: *mut c_char,
        len: usize,
        n: *mut usize,
    ) -> i32;
    pub fn modelserve_manager_uptime(manager: Handle, nanoseconds: *mut u64) -> i32;
    pub fn modelserve_manager_events_dropped(manager: Handle, dropped: *mut u64) -> i32;
    pub fn modelserve_manager_refresh(manager: Handle) -> i32;
    pub fn modelserve_manager_serve(manager: Handle, name: *const c_char, version: u64) -> i32;
    pub fn modelserve_manager_unload_version(m: Handle, name: *const c_char, version: u64) -> i32;
    pub fn modelserve_manager_rollback(m: Handle, name: *const c_char, version: *mut u64) -> i32;
    pub fn modelserve_manager_set_label(
        manager: Handle,
        name: *const c_char,
        label: *const c_char,
        version: u64,
    ) -> i32;
    pub fn modelserve_manager_remove_label(m: Handle, name: *const c_char, l: *const c_char)
    -> i32;
    pub fn modelserve_manager_set_canary_percent(
        m: Handle,
        name: *const c_char,
        percent: f64,
    ) -> i32;
    pub fn modelserve_manager_configure(m: Handle, name: *const c_char, toml: *const c_char)
    -> i32;
    pub fn modelserve_manager_pin(
        manager: Handle,
        names: *const *const c_char,
        n: usize,
        models: *mut Handle,
    ) -> i32;
    pub fn modelserve_manager_http_handle(
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
    pub fn modelserve_model_load_bytes(
        bytes: *const u8,
        len: usize,
        options: *const LoadOptions,
        model: *mut Handle,
    ) -> i32;
    pub fn modelserve_model_free(model: Handle) -> i32;
    pub fn modelserve_model_pin(model: Handle, pinned: *mut Handle) -> i32;
    pub fn modelserve_model_version(model: Handle, version: *mut u64) -> i32;
    pub fn modelserve_model_is_pinned(model: Handle, pinned: *mut i32) -> i32;
    pub fn modelserve_model_info(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    pub fn modelserve_model_name(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    pub fn modelserve_model_stats(m: Handle, buf: *mut c_char, len: usize, n: *mut usize) -> i32;
    pub fn modelserve_model_class_count(model: Handle, count: *mut usize) -> i32;
    pub fn modelserve_predict_with(
        model: Handle,
        row: *const f32,
        width: usize,
        options: *const RequestOptions,
        prediction: *mut Place,
        receipt: *mut Place,
    ) -> i32;
    pub fn modelserve_predict_scores_f64(
        model: Handle,
        row: *const f64,
        width: usize,
        scores: *mut f64,
        scores_len: usize,
        prediction: *mut Place,
    ) -> i32;
    pub fn modelserve_predict_batch_with(
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
    pub fn modelserve_predict_columns(
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
    pub fn modelserve_explain(
        model: Handle,
        rows: *const f32,
        n_rows: usize,
        width: usize,
        row_stride: isize,
        values: *mut f64,
        values_len: usize,
        explanation: *mut Place,
    ) -> i32;
    pub fn modelserve_importance(
        model: Handle,
        kind: i32,
        values: *mut f64,
        values_len: usize,
        n_features: *mut usize,
    ) -> i32;
    pub fn modelserve_predict_submit(
        model: Handle,
        row: *const f32,
        width: usize,
        options: *const RequestOptions,
        callback: Option<Told>,
        user_data: *mut c_void,
        request: *mut Handle,
    ) -> i32;
    pub fn modelserve_run_submit(
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
    pub fn modelserve_request_cancel(request: Handle) -> i32;
    pub fn modelserve_request_free(request: Handle) -> i32;
    pub fn modelserve_run_with(
        model: Handle,
        inputs: *const Tensor,
        n_inputs: usize,
        outputs: *const *const c_char,
        n_outputs: usize,
        options: *const RequestOptions,
        result: *mut Handle,
        receipt: *mut Place,
    ) -> i32;
    pub fn modelserve_outputs_free(outputs: Handle) -> i32;
    pub fn modelserve_outputs_count(outputs: Handle, count: *mut usize) -> i32;
    pub fn modelserve_outputs_dtype(outputs: Handle, index: usize, dtype: *mut i32) -> i32;
    pub fn modelserve_outputs_dims(
        outputs: Handle,
        index: usize,
        dims: *mut i64,
        dims_len: usize,
        rank: *mut usize,
    ) -> i32;
    pub fn modelserve_outputs_data(
        outputs: Handle,
        index: usize,
        data: *mut c_void,
        len: usize,
        needed: *mut usize,
    ) -> i32;
    pub fn modelserve_outputs_string(
        outputs: Handle,
        index: usize,
        element: usize,
        buf: *mut c_char,
        len: usize,
        needed: *mut usize,
    ) -> i32;
    pub fn modelserve_http_response_free(response: Handle) -> i32;
    pub fn modelserve_http_response_status(response: Handle, status: *mut i32) -> i32;
    pub fn modelserve_http_response_header_count(response: Handle, count: *mut usize) -> i32;
    pub fn modelserve_http_response_body(
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
            $($(pub fn $function($($argument: $of),*) -> i32;)+)+
        }
        $(pub const $list: &[$form] = &[$($function),+];)+
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

pub const MANAGER_TEXTS: [Text; 4] = [
    modelserve_manager_models,
    modelserve_manager_metrics,
    modelserve_manager_memory,
    modelserve_manager_repository_report,
];
pub const MODEL_TEXTS: [Text; 3] =
    [modelserve_model_info, modelserve_model_name, modelserve_model_stats];
pub const MANAGER_NUMBERS: [Number; 2] =
    [modelserve_manager_uptime, modelserve_manager_events_dropped];
pub const NAME_VERSIONS: [NameVersion; 2] =
    [modelserve_manager_serve, modelserve_manager_unload_version];

pub const OK: i32 = 0;
pub const INTERNAL: i32 = 15;
pub const INVALID_HANDLE: i32 = 101;

/// The kinds of handles.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Manager,
    Model,
    Outputs,
    Request,
    Response,
}

pub const KINDS: [Kind; 5] =
    [Kind::Manager, Kind::Model, Kind::Outputs, Kind::Request, Kind::Response];

impl Kind {
    pub fn free(self) -> Free {
        match self {
            Kind::Manager => modelserve_manager_free,
            Kind::Model => modelserve_model_free,
            Kind::Outputs => modelserve_outputs_free,
            Kind::Request => modelserve_request_free,
            Kind::Response => modelserve_http_response_free,
        }
    }

    pub fn count(self) -> Option<Count> {
        match self {
            Kind::Model => Some(modelserve_model_class_count),
            Kind::Outputs => Some(modelserve_outputs_count),
            Kind::Response => Some(modelserve_http_response_header_count),
            Kind::Manager | Kind::Request => None,
        }
    }
}

/// The message of the last call that failed on this thread.
pub fn last_error() -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: a buffer of that length.
    let len = unsafe { modelserve_last_error(buffer.as_mut_ptr().cast(), buffer.len()) };
    let text = String::from_utf8_lossy(&buffer[..len.min(buffer.len() - 1)]);
    text.trim_end_matches('\0').to_string()
}
