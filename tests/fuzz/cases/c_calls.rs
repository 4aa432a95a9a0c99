//! Sequences of calls of the C interface: with good handles, freed, mistyped and invented ones,
//! with NULL wherever a pointer is taken, and with memory that is as the header asks for it.
//!
//! Which handles are live is known here, too: a call with any other fails, and a call that fails
//! says why, writes nothing, and leaves every handle as it was.

#[path = "c_calls/interface.rs"]
mod interface;
#[path = "c_calls/memory.rs"]
mod memory;
#[path = "c_calls/model.rs"]
mod model;

use arbitrary::{Result, Unstructured};
use interface::*;
use memory::{Buffer, or_null};
use model::TOLD;
use std::ffi::{CStr, c_char};
use std::ptr::null;
use std::sync::atomic::Ordering::SeqCst;

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
        let own: Vec<u64> =
            self.live.iter().filter(|(k, _)| *k == kind).map(|(_, id)| *id).collect();
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
                        manager,
                        name,
                        file.as_ptr(),
                        file.len(),
                        options,
                        place,
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
