//! Calls that take a model.

use super::World;
use super::interface::*;
use super::memory::{AROUND, Buffer, Given, Memory, or_null};
use arbitrary::Result;
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Callbacks that came.
pub static TOLD: AtomicUsize = AtomicUsize::new(0);

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

impl World<'_, '_> {
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

    pub fn model_step(&mut self) -> Result<()> {
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
                        model,
                        memory.numbers(),
                        width,
                        pointer,
                        len,
                        &mut out,
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
                            model,
                            tensors,
                            n,
                            options,
                            null_mut(),
                            0,
                            to,
                            len,
                            &mut out,
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
                            model,
                            tensors,
                            n,
                            outputs,
                            n_outputs,
                            options,
                            place,
                            &mut receipt,
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
                            model,
                            memory.numbers(),
                            2,
                            width,
                            0,
                            to,
                            len,
                            &mut out,
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
                        model,
                        tensors,
                        n,
                        null(),
                        0,
                        options,
                        callback,
                        null_mut(),
                        place,
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
}
