//! The little of onnxruntime's C interface that one row needs, from a library opened at run time.

use ort_sys::{
    GraphOptimizationLevel, ONNXTensorElementDataType, OrtAllocatorType, OrtApi, OrtApiBase,
    OrtEnv, OrtLoggingLevel, OrtMemType, OrtMemoryInfo, OrtSession, OrtStatusPtr, OrtValue,
};
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;

/// The version of the C interface that is asked for: every newer library has it.
const API_VERSION: u32 = 17;

/// A model that is ready to run, shared by threads: `Run` may be called from any of them.
pub struct Session {
    api: &'static OrtApi,
    session: *mut OrtSession,
    memory: *mut OrtMemoryInfo,
    input: CString,
    outputs: Vec<CString>,
}

// SAFETY: onnxruntime documents `Run` as safe from many threads; the rest is read only.
unsafe impl Send for Session {}
// SAFETY: as above.
unsafe impl Sync for Session {}

/// Fails with onnxruntime's own message.
fn check(api: &OrtApi, status: OrtStatusPtr) {
    if !status.0.is_null() {
        // SAFETY: a status that is not null has a message, which is text that ends with NUL.
        let message = unsafe { CStr::from_ptr((api.GetErrorMessage)(status.0)) };
        panic!("onnxruntime: {}", message.to_string_lossy());
    }
}

/// The functions of the library at `path`, which stays loaded.
pub fn api(path: &Path) -> &'static OrtApi {
    // SAFETY: onnxruntime's library runs no code of ours when it is loaded.
    let library = unsafe { libloading::Library::new(path) }.expect("onnxruntime's library");
    let library: &'static libloading::Library = Box::leak(Box::new(library));
    type Base = unsafe extern "system" fn() -> *const OrtApiBase;
    // SAFETY: the function has this signature in every version.
    unsafe {
        let base: libloading::Symbol<'static, Base> =
            library.get(b"OrtGetApiBase\0").expect("OrtGetApiBase");
        let api = ((*base()).GetApi)(API_VERSION);
        api.as_ref().expect("onnxruntime 1.17 or newer")
    }
}

impl Session {
    /// Loads the ONNX file at `path` for one thread, with all optimisations.
    pub fn load(api: &'static OrtApi, path: &str) -> Session {
        let path = CString::new(path).expect("a path");
        let mut env: *mut OrtEnv = ptr::null_mut();
        let mut options = ptr::null_mut();
        let mut session = ptr::null_mut();
        let mut memory = ptr::null_mut();
        // SAFETY: every pointer is to a live value of the right type.
        unsafe {
            let level = OrtLoggingLevel::ORT_LOGGING_LEVEL_ERROR;
            check(api, (api.CreateEnv)(level, c"peers".as_ptr(), &mut env));
            check(api, (api.CreateSessionOptions)(&mut options));
            check(api, (api.SetIntraOpNumThreads)(options, 1));
            check(api, (api.SetInterOpNumThreads)(options, 1));
            let all = GraphOptimizationLevel::ORT_ENABLE_ALL;
            check(api, (api.SetSessionGraphOptimizationLevel)(options, all));
            check(api, (api.CreateSession)(env, path.as_ptr().cast(), options, &mut session));
            let (kind, place) =
                (OrtAllocatorType::OrtDeviceAllocator, OrtMemType::OrtMemTypeDefault);
            check(api, (api.CreateCpuMemoryInfo)(kind, place, &mut memory));
        }
        let mut made =
            Session { api, session, memory, input: CString::default(), outputs: Vec::new() };
        made.name_ends();
        made
    }

    fn name_ends(&mut self) {
        let api = self.api;
        let mut allocator = ptr::null_mut();
        let mut count = 0;
        let owned = |name: *mut c_char| {
            // SAFETY: onnxruntime gives text that ends with NUL.
            unsafe { CStr::from_ptr(name) }.to_owned()
        };
        // SAFETY: every pointer is to a live value of the right type.
        unsafe {
            check(api, (api.GetAllocatorWithDefaultOptions)(&mut allocator));
            let mut name = ptr::null_mut();
            check(api, (api.SessionGetInputName)(self.session, 0, allocator, &mut name));
            self.input = owned(name);
            check(api, (api.SessionGetOutputCount)(self.session, &mut count));
            for index in 0..count {
                check(api, (api.SessionGetOutputName)(self.session, index, allocator, &mut name));
                self.outputs.push(owned(name));
            }
        }
    }

    /// Memory for one row and its answers.
    pub fn bind(&self, width: usize) -> Bound<'_> {
        let mut row = vec![0.0_f32; width];
        let shape = [1_i64, width as i64];
        let mut input: *mut OrtValue = ptr::null_mut();
        let kind = ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
        // SAFETY: the vector's buffer does not move while the value lives: `Bound` owns both.
        unsafe {
            let (data, bytes) = (row.as_mut_ptr().cast::<c_void>(), width * 4);
            let create = self.api.CreateTensorWithDataAsOrtValue;
            let status = create(self.memory, data, bytes, shape.as_ptr(), 2, kind, &mut input);
            check(self.api, status);
        }
        let names = self.outputs.iter().map(|name| name.as_ptr()).collect();
        let values = vec![ptr::null_mut(); self.outputs.len()];
        Bound { session: self, row, input, names, values }
    }
}

/// An input and outputs that are made once: the first run allocates the outputs, and the later
/// ones write into them.
pub struct Bound<'a> {
    session: &'a Session,
    row: Vec<f32>,
    input: *mut OrtValue,
    names: Vec<*const c_char>,
    values: Vec<*mut OrtValue>,
}

impl Bound<'_> {
    /// Answers one row.
    pub fn run(&mut self, row: &[f32]) {
        self.row.copy_from_slice(row);
        let (api, session) = (self.session.api, self.session.session);
        let names = [self.session.input.as_ptr()];
        let inputs = [self.input.cast_const()];
        // SAFETY: names and values are as many as is said, and live during the call.
        let status = unsafe {
            (api.Run)(
                session,
                ptr::null(),
                names.as_ptr(),
                inputs.as_ptr(),
                1,
                self.names.as_ptr(),
                self.names.len(),
                self.values.as_mut_ptr(),
            )
        };
        check(api, status);
    }

    /// The numbers of the last output.
    pub fn scores(&self) -> Vec<f32> {
        let api = self.session.api;
        let value = *self.values.last().expect("an output");
        let (mut info, mut count, mut data) = (ptr::null_mut(), 0, ptr::null_mut());
        // SAFETY: the last output of these models is a tensor of float32 with `count` elements.
        unsafe {
            check(api, (api.GetTensorTypeAndShape)(value, &mut info));
            check(api, (api.GetTensorShapeElementCount)(info, &mut count));
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            check(api, (api.GetTensorMutableData)(value, &mut data));
            std::slice::from_raw_parts(data.cast::<f32>(), count).to_vec()
        }
    }
}
