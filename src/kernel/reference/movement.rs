//! Moving elements and converting them: Transpose, Expand, Concat, Gather, Cast.
//!
//! Reshape and its kin are not here: the library's own copy nothing, so there is nothing that
//! candle could do otherwise.

use super::{Entry, OnCandle, boxed, movable, room, tensor, to_candle, to_ours};
use crate::kernel::OpSpec;
use crate::kernel::cast::element_type;
use crate::kernel::gather::resolve_index;
use crate::kernel::reshape::Ints;
use crate::tensor::{ElementType, Shape, Tensor};
use candle_core::{DType, Tensor as Candle};
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    ("Cast", cast),
    ("Concat", concat),
    ("Expand", expand),
    ("Gather", gather),
    ("Transpose", transpose),
];

fn transpose(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let perm: Option<Vec<usize>> = match spec.attributes.ints_opt("perm").ok()? {
        Some(perm) => {
            Some(perm.iter().map(|&p| usize::try_from(p)).collect::<Result<_, _>>().ok()?)
        }
        None => None,
    };
    boxed(move |ctx, inputs| {
        let x = movable(inputs, 0)?;
        let rank = x.shape().rank();
        let perm = perm.clone().unwrap_or_else(|| (0..rank).rev().collect());
        (perm.len() == rank && rank > 0).then_some(())?;
        room(ctx, x.dims(), x.dtype())?;
        to_ours(to_candle(x)?.permute(perm), x.dtype())
    })
}

fn expand(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let shape = Ints::input(spec, 1).ok()?;
    boxed(move |ctx, inputs| {
        let x = movable(inputs, 0)?;
        let target = Shape::from_i64(&shape.get(inputs).ok()??).ok()?;
        let shape = x.shape().broadcast(&target).ok()?;
        (shape.len() > 0).then_some(())?;
        room(ctx, shape.dims(), x.dtype())?;
        to_ours(to_candle(x)?.broadcast_as(shape.dims()), x.dtype())
    })
}

fn concat(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let axis = spec.attributes.int("axis", 0).ok()?;
    boxed(move |ctx, inputs| {
        let parts: Vec<&Tensor> =
            (0..inputs.len()).map(|i| movable(inputs, i)).collect::<Option<_>>()?;
        let (first, rest) = parts.split_first()?;
        let axis = first.shape().axis(axis).ok()?;
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(first.dims());
        for part in rest {
            let fits = part.shape().rank() == dims.len() && part.dtype() == first.dtype();
            fits.then_some(())?;
            dims[axis] = dims[axis].saturating_add(part.shape().dim(axis));
        }
        room(ctx, &dims, first.dtype())?;
        let parts: Vec<Candle> = parts.iter().map(|t| to_candle(t)).collect::<Option<_>>()?;
        to_ours(Candle::cat(&parts, axis), first.dtype())
    })
}

fn gather(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let axis = spec.attributes.int("axis", 0).ok()?;
    boxed(move |ctx, inputs| {
        let (x, indices) = (movable(inputs, 0)?, tensor(inputs, 1)?);
        let axis = x.shape().axis(axis).ok()?;
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(&x.dims()[..axis]);
        dims.extend_from_slice(indices.dims());
        dims.extend_from_slice(&x.dims()[axis + 1..]);
        room(ctx, &dims, x.dtype())?;
        // candle's indices never count from the end.
        let at: Vec<i64> = indices
            .to_i64_vec()
            .ok()?
            .into_iter()
            .map(|i| resolve_index(i, x.shape().dim(axis)).map(|i| i as i64))
            .collect::<Result<_, _>>()
            .ok()?;
        let at = to_candle(&Tensor::from_vec(&[at.len()], at).ok()?)?;
        let picked = to_candle(x)?.index_select(&at, axis).ok()?;
        to_ours(picked.reshape(dims.as_slice()), x.dtype())
    })
}

/// The types between which candle's conversions are Rust's `as`, which is what ours are.
fn convertible(dtype: ElementType) -> Option<DType> {
    Some(match dtype {
        ElementType::F32 => DType::F32,
        ElementType::F64 => DType::F64,
        ElementType::I32 => DType::I32,
        ElementType::I64 => DType::I64,
        ElementType::U8 => DType::U8,
        ElementType::U32 => DType::U32,
        _ => return None,
    })
}

fn cast(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let to = element_type(spec, spec.attributes.int("to", 0).ok()?).ok()?;
    let candle_type = convertible(to)?;
    boxed(move |ctx, inputs| {
        let x = movable(inputs, 0)?;
        if x.dtype() != ElementType::Bool {
            convertible(x.dtype())?;
        }
        room(ctx, x.dims(), to)?;
        to_ours(to_candle(x)?.to_dtype(candle_type), to)
    })
}
