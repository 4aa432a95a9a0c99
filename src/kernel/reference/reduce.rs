//! Reductions along axes.

use super::{Entry, OnCandle, boxed, floats, has_nan, native, serial, to_candle, to_ours};
use crate::kernel::OpSpec;
use crate::kernel::reduce::Axes;
use crate::tensor::ElementType;
use candle_core::{DType, Result, Tensor as Candle};

pub(super) const OPS: &[Entry] = &[
    ("ArgMax", |s| arg(s, Candle::argmax_keepdim)),
    ("ArgMin", |s| arg(s, Candle::argmin_keepdim)),
    ("ReduceL1", |s| reduction(s, Kind::Map(|x, axes| x.abs()?.sum_keepdim(axes)))),
    ("ReduceL2", |s| reduction(s, Kind::Map(|x, axes| x.sqr()?.sum_keepdim(axes)?.sqrt()))),
    ("ReduceMax", |s| reduction(s, Kind::Extremum(Candle::max_keepdim))),
    ("ReduceMean", |s| reduction(s, Kind::Map(|x, axes| x.mean_keepdim(axes)))),
    ("ReduceMin", |s| reduction(s, Kind::Extremum(Candle::min_keepdim))),
    ("ReduceSum", |s| reduction(s, Kind::Map(|x, axes| x.sum_keepdim(axes)))),
    ("ReduceSumSquare", |s| reduction(s, Kind::Map(|x, axes| x.sqr()?.sum_keepdim(axes)))),
];

#[derive(Clone, Copy)]
enum Kind {
    /// All axes at once.
    Map(fn(&Candle, &[usize]) -> Result<Candle>),
    /// One axis after another; NaN is lost or not, by its place.
    Extremum(fn(&Candle, usize) -> Result<Candle>),
}

fn reduction(spec: &OpSpec<'_>, kind: Kind) -> Option<OnCandle> {
    let axes = Axes::new(spec, if spec.op == "ReduceSum" { 13 } else { 18 }).ok()?;
    boxed(move |_, inputs| {
        let x = floats(inputs, 0)?;
        // Some of them map the elements first.
        serial(x.len())?;
        let reduced = axes.reduced(inputs, x.shape()).ok()?;
        let list: Vec<usize> = (0..reduced.len()).filter(|&i| reduced[i]).collect();
        (!list.is_empty()).then_some(())?;
        let from = to_candle(x)?;
        let mut result = match kind {
            Kind::Map(f) => f(&from, &list).ok()?,
            Kind::Extremum(_) if has_nan(x) => return None,
            Kind::Extremum(f) => list.iter().try_fold(from, |x, &axis| f(&x, axis)).ok()?,
        };
        if !axes.keep_dims {
            let kept = x.dims().iter().zip(&reduced).filter(|(_, r)| !**r).map(|(d, _)| *d);
            result = result.reshape(kept.collect::<Vec<_>>()).ok()?;
        }
        to_ours(Ok(result), x.dtype())
    })
}

fn arg(spec: &OpSpec<'_>, f: fn(&Candle, usize) -> Result<Candle>) -> Option<OnCandle> {
    let axis = spec.attributes.int("axis", 0).ok()?;
    let keep_dims = spec.attributes.flag("keepdims", true).ok()?;
    if spec.attributes.flag("select_last_index", false).ok()? {
        return None;
    }
    boxed(move |_, inputs| {
        let x = native(inputs, 0).filter(|x| !has_nan(x))?;
        let axis = x.shape().axis(axis).ok()?;
        let mut result = f(&to_candle(x)?, axis).ok()?;
        if !keep_dims {
            result = result.squeeze(axis).ok()?;
        }
        to_ours(result.to_dtype(DType::I64), ElementType::I64)
    })
}
