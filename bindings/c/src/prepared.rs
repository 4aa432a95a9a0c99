//! Requests of one form: what can be decided once is, and nothing is allocated by a call.

use crate::guard::guard;
use crate::handle::{
    self, Object, Served, modelserve_model, modelserve_prepared, with_model, with_prepared,
};
use crate::options::{Versioned, defaults, init, read};
use crate::pointer::{Out, buffer, slice};
use crate::predict::{Number, describe_batch, modelserve_batch, wanted, written};
use crate::request::{context, describe_receipt, modelserve_receipt, modelserve_request_options};
use crate::status::*;
use crate::tensor::{MODELSERVE_DTYPE_FLOAT32, MODELSERVE_DTYPE_FLOAT64, Strided};
use modelserve::{Ctx, Request, Target};
use parking_lot::Mutex;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the rows of a prepared request lie in the caller's memory. Begin with
/// `modelserve_layout_init`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_layout {
    /// `sizeof(modelserve_layout)`; set by `modelserve_layout_init`.
    pub struct_size: usize,
    /// Features of a row.
    pub width: usize,
    /// Most rows of a call; 0: 1.
    pub max_rows: usize,
    /// Bytes from a row to the next; 0: the rows follow each other without gaps. May be negative.
    pub row_stride: isize,
    /// Bytes from a feature of a row to the next; 0: without gaps. May be negative.
    pub feature_stride: isize,
    /// `MODELSERVE_DTYPE_FLOAT32` or `MODELSERVE_DTYPE_FLOAT64`; 0: the former.
    pub dtype: i32,
    /// Always 0.
    pub reserved: i32,
}

// SAFETY: integers; the first field is `struct_size`.
unsafe impl Versioned for modelserve_layout {
    const NAME: &'static str = "modelserve_layout";
}

/// Sets `*layout` to the defaults; `struct_size` is `sizeof *layout`.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a size that no header has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_layout_init(
    layout: *mut modelserve_layout,
    struct_size: usize,
) -> modelserve_status {
    // SAFETY: the caller's promise (crate documentation).
    unsafe { init(layout, "layout", struct_size, defaults()) }
}

/// Rows of one element type, and memory for those that have gaps.
struct Rows<T> {
    row_stride: isize,
    feature_stride: isize,
    /// Whether rows can be read where they lie.
    dense: bool,
    scratch: Mutex<Vec<T>>,
}

enum Form {
    F32(Rows<f32>),
    F64(Rows<f64>),
}

/// What a call needs beside its rows.
pub(crate) struct Prepared {
    model: Served,
    width: usize,
    max_rows: usize,
    form: Form,
    priority: i8,
    key: Option<Arc<str>>,
    target: Target,
    no_cache: bool,
    timeout: Option<Duration>,
    /// Version and digest of a model without a manager, which never change.
    alone: Option<(u64, Arc<str>)>,
}

/// Prepares requests of `layout->width` features a row to `model`, to be asked any number of times
/// by `modelserve_prepared_predict`. `options` may be NULL; of its time only the length is kept,
/// which each call counts from its own beginning. `*prepared` is to be freed with
/// `modelserve_prepared_free`; it outlives `model`.
///
/// A handle that follows its name goes on doing so: after a reload the new version answers.
///
/// Errors: INVALID_HANDLE; INVALID_ARGUMENT for the layout and the options; LIMIT_EXCEEDED where
/// `max_rows` rows pass what a request may have; NULL_ARGUMENT; for a handle that is bound to one
/// version, NOT_FOUND for another version or a label.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_prepare(
    model: modelserve_model,
    layout: *const modelserve_layout,
    options: *const modelserve_request_options,
    prepared: *mut modelserve_prepared,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (ctx, out) = unsafe { (context(options)?, Out::new(prepared, "prepared")?) };
        let timeout_ns = match options.is_null() {
            true => 0,
            // SAFETY: the caller's promise (crate documentation).
            false => unsafe { read(options) }?.timeout_ns,
        };
        if layout.is_null() {
            return Err(Failure::null("layout"));
        }
        // SAFETY: the caller's promise (crate documentation).
        let layout = unsafe { read(layout) }?;
        if layout.reserved != 0 {
            return Err(Failure::argument("modelserve_layout: reserved is 0"));
        }
        let form = match layout.dtype {
            0 | MODELSERVE_DTYPE_FLOAT32 => Form::F32(Rows::new(&layout)?),
            MODELSERVE_DTYPE_FLOAT64 => Form::F64(Rows::new(&layout)?),
            other => {
                return Err(Failure::argument(format!(
                    "'dtype' is {other}, expected {MODELSERVE_DTYPE_FLOAT32} or \
                     {MODELSERVE_DTYPE_FLOAT64}"
                )));
            }
        };
        let served = with_model(model, |model| {
            model.check_target(&ctx.target)?;
            Ok(model.clone())
        })?;
        let alone = match &served {
            Served::Named(_) => None,
            Served::Alone(model) => {
                let info = model.info();
                Some((info.version, info.digest))
            }
        };
        let prepared = Prepared {
            model: served,
            width: layout.width,
            max_rows: layout.max_rows.max(1),
            form,
            priority: ctx.priority,
            key: ctx.key,
            target: ctx.target,
            no_cache: ctx.no_cache,
            timeout: (timeout_ns != 0).then(|| Duration::from_nanos(timeout_ns)),
            alone,
        };
        let id = handle::insert(Object::Prepared(Box::new(prepared)))?;
        out.write(modelserve_prepared { id });
        Ok(())
    })
}

/// Predicts `n_rows` rows, at most `max_rows`, that lie from `rows` on as the layout says; every
/// row is answered by the same version. `labels`, `scores` and `batch` are as for
/// `modelserve_predict_batch`. `receipt` may be NULL.
///
/// For a model with the fast path (`fast_path` of `modelserve_model_info`) nothing is allocated,
/// with gaps between rows and features or without, once the first calls have been made; unless a
/// policy, a version or a label is asked for, a time is set, several threads use one prepared
/// request whose rows have gaps, or the batch is large enough to be split between threads.
///
/// Any number of threads may use one prepared request at once.
///
/// Errors: INVALID_HANDLE; INVALID_ARGUMENT for more rows than were prepared for; otherwise as
/// `modelserve_predict_batch_with`. Then nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_prepared_predict(
    prepared: modelserve_prepared,
    rows: *const c_void,
    n_rows: usize,
    labels: *mut i64,
    labels_len: usize,
    scores: *mut f64,
    scores_len: usize,
    batch: *mut modelserve_batch,
    receipt: *mut modelserve_receipt,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let (labels, scores, out, receipt) = unsafe {
            (
                buffer(labels, labels_len, "labels")?,
                buffer(scores, scores_len, "scores")?,
                Out::new(batch, "batch")?,
                Out::optional(receipt, "receipt")?,
            )
        };
        with_prepared(prepared, |prepared| {
            // SAFETY: the caller's promise (crate documentation).
            let (batch, how) = unsafe {
                match &prepared.form {
                    Form::F32(form) => prepared.ask(form, rows.cast(), n_rows, labels, scores),
                    Form::F64(form) => prepared.ask(form, rows.cast(), n_rows, labels, scores),
                }
            }?;
            out.write(batch);
            if let Some(receipt) = receipt {
                receipt.write(describe_receipt(&how.receipt));
            }
            Ok(())
        })
    })
}

/// Frees a prepared request. Calls that use it at this moment end normally. A handle of id 0 is
/// fine.
///
/// Errors: INVALID_HANDLE (a second free, too).
#[unsafe(no_mangle)]
pub extern "C" fn modelserve_prepared_free(prepared: modelserve_prepared) -> modelserve_status {
    guard(|| handle::free_prepared(prepared))
}

impl<T> Rows<T> {
    /// Checks the layout, and takes the memory that rows with gaps need.
    fn new(layout: &modelserve_layout) -> Outcome<Self> {
        let beyond = || Failure::argument("'width' passes the address space");
        let size = isize::try_from(size_of::<T>()).map_err(|_| beyond())?;
        let row = isize::try_from(layout.width).ok().and_then(|width| width.checked_mul(size));
        let row = row.ok_or_else(beyond)?;
        let or = |stride: isize, otherwise: isize| if stride == 0 { otherwise } else { stride };
        let (row_stride, feature_stride) =
            (or(layout.row_stride, row), or(layout.feature_stride, size));
        let dense = (row_stride, feature_stride) == (row, size);
        let mut scratch = Vec::new();
        if !dense {
            let dims = [layout.max_rows.max(1), layout.width];
            let len = modelserve::tensor::Shape::new(&dims)?.len();
            let limit = modelserve::limits::RequestLimits::default().request_bytes;
            let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
            let refused = |why: &str| {
                let message = format!("'max_rows' rows have {bytes} bytes, {why}");
                Failure::new(MODELSERVE_STATUS_LIMIT_EXCEEDED, message)
            };
            if bytes > limit {
                return Err(refused(&format!("the limit is {limit}")));
            }
            scratch.try_reserve_exact(len).map_err(|_| refused("more than there is memory"))?;
        }
        Ok(Rows { row_stride, feature_stride, dense, scratch: Mutex::new(scratch) })
    }
}

impl Prepared {
    fn context(&self) -> Ctx {
        Ctx {
            // Beyond the clock is never.
            deadline: self.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            priority: self.priority,
            key: self.key.clone(),
            target: self.target.clone(),
            no_cache: self.no_cache,
            ..Ctx::default()
        }
    }

    /// # Safety
    /// `rows` is NULL, where there are none, or every offset of the layout holds a number.
    unsafe fn ask<T: Number>(
        &self,
        form: &Rows<T>,
        rows: *const T,
        n_rows: usize,
        labels: &mut [MaybeUninit<i64>],
        scores: &mut [MaybeUninit<f64>],
    ) -> Outcome<(modelserve_batch, Ctx)> {
        if n_rows > self.max_rows {
            let most = self.max_rows;
            return Err(Failure::argument(format!("{n_rows} rows, prepared for {most} at most")));
        }
        if form.dense && (rows.is_aligned() || rows.is_null()) {
            let total = n_rows.checked_mul(self.width);
            let total = total.ok_or_else(|| Failure::argument("n_rows * width overflows"))?;
            // SAFETY: promised by the caller.
            let data = unsafe { slice(rows, total, "rows") }?;
            return self.predict(data, n_rows, labels, scores);
        }
        let (dims, strides) = ([n_rows, self.width], [form.row_stride, form.feature_stride]);
        let strided = Strided::new(rows.cast(), &dims, &strides, "rows")?;
        // A thread that finds the memory taken, or lost to a fork, uses memory of its own.
        match form.scratch.try_lock() {
            Some(mut data) => {
                // SAFETY: promised by the caller.
                unsafe { strided.gather_into(&mut data) }?;
                self.predict(&data, n_rows, labels, scores)
            }
            None => {
                // SAFETY: promised by the caller.
                let data = unsafe { strided.gather::<T>() }?;
                self.predict(&data, n_rows, labels, scores)
            }
        }
    }

    fn predict<T: Number>(
        &self,
        data: &[T],
        n_rows: usize,
        labels: &mut [MaybeUninit<i64>],
        scores: &mut [MaybeUninit<f64>],
    ) -> Outcome<(modelserve_batch, Ctx)> {
        let mut ctx = self.context();
        let request = Request::Batch(T::features(data, n_rows, self.width));
        let answers = self.model.call_into(&request, &mut wanted(labels, scores), &mut ctx)?;
        if let Some((version, digest)) = &self.alone
            && ctx.receipt.version == 0
        {
            ctx.receipt.version = *version;
            ctx.receipt.digest.get_or_insert_with(|| Arc::clone(digest));
        }
        Ok((describe_batch(&written(answers)?), ctx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::free_model;
    use modelserve::FnModel;

    fn summing() -> modelserve_model {
        let model = FnModel::regressor(2, |row| Ok(row[0] + 10.0 * row[1]));
        let id = handle::insert(Object::Model(Served::Alone(Arc::new(model)))).unwrap();
        modelserve_model { id }
    }

    fn layout(row_stride: isize, feature_stride: isize, dtype: i32) -> modelserve_layout {
        modelserve_layout { width: 2, max_rows: 2, row_stride, feature_stride, dtype, ..defaults() }
    }

    fn sums(model: modelserve_model, layout: &modelserve_layout, rows: *const c_void) -> [f64; 2] {
        let mut prepared = modelserve_prepared { id: 0 };
        let mut scores = [0.0; 2];
        let mut batch = MaybeUninit::uninit();
        // SAFETY: all pointers are valid, or NULL where that is allowed.
        unsafe {
            let made = modelserve_prepare(model, layout, std::ptr::null(), &raw mut prepared);
            assert_eq!(made, MODELSERVE_STATUS_OK);
            let (none, no_receipt) = (std::ptr::null_mut(), std::ptr::null_mut());
            let (to, batch) = (scores.as_mut_ptr(), batch.as_mut_ptr());
            let told =
                modelserve_prepared_predict(prepared, rows, 2, none, 0, to, 2, batch, no_receipt);
            assert_eq!(told, MODELSERVE_STATUS_OK);
        }
        handle::free_prepared(prepared).unwrap();
        scores
    }

    #[test]
    fn rows_are_read_in_any_layout() {
        let model = summing();
        let floats = [1f32, 2.0, 3.0, 4.0];
        let rows = floats.as_ptr().cast();
        assert_eq!(sums(model, &layout(0, 0, 0), rows), [21.0, 43.0]);
        assert_eq!(sums(model, &layout(4, 8, MODELSERVE_DTYPE_FLOAT32), rows), [31.0, 42.0]);
        let last = floats.as_ptr().wrapping_add(3).cast();
        assert_eq!(sums(model, &layout(-8, -4, 0), last), [34.0, 12.0]);
        let doubles = [1f64, 2.0, 3.0, 4.0];
        let rows = doubles.as_ptr().cast();
        assert_eq!(sums(model, &layout(0, 0, MODELSERVE_DTYPE_FLOAT64), rows), [21.0, 43.0]);
        free_model(model).unwrap();
    }

    #[test]
    fn layouts_that_make_no_sense_are_refused() {
        let model = summing();
        let refused = |layout: &modelserve_layout| {
            let mut prepared = modelserve_prepared { id: 0 };
            // SAFETY: all pointers are valid, or NULL where that is allowed.
            unsafe { modelserve_prepare(model, layout, std::ptr::null(), &raw mut prepared) }
        };
        let good = layout(0, 0, 0);
        let wide = modelserve_layout { width: usize::MAX, ..good };
        assert_eq!(refused(&wide), MODELSERVE_STATUS_INVALID_ARGUMENT);
        let dtype = modelserve_layout { dtype: 7, ..good };
        assert_eq!(refused(&dtype), MODELSERVE_STATUS_INVALID_ARGUMENT);
        let reserved = modelserve_layout { reserved: 1, ..good };
        assert_eq!(refused(&reserved), MODELSERVE_STATUS_INVALID_ARGUMENT);
        let many = modelserve_layout { max_rows: 1 << 38, ..layout(4, 8, 0) };
        assert_eq!(refused(&many), MODELSERVE_STATUS_LIMIT_EXCEEDED);
        free_model(model).unwrap();
    }
}
