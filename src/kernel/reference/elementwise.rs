//! Functions of two tensors under broadcasting: arithmetic of floats, comparisons, Where.

use super::{
    Entry, OnCandle, boxed, float_pair, floats, has_nan, movable, native, room, serial, to_candle,
    to_ours,
};
use crate::kernel::OpSpec;
use crate::kernel::elementwise::broadcast::legacy_axis;
use crate::tensor::ElementType;
use candle_core::{Result, Tensor as Candle};

pub(super) const OPS: &[Entry] = &[
    ("Add", |s| arithmetic(s, Candle::broadcast_add)),
    ("Div", |s| arithmetic(s, Candle::broadcast_div)),
    ("Mul", |s| arithmetic(s, Candle::broadcast_mul)),
    ("Sub", |s| arithmetic(s, Candle::broadcast_sub)),
    ("Max", |s| folded(s, Candle::broadcast_maximum)),
    ("Min", |s| folded(s, Candle::broadcast_minimum)),
    ("Sum", |s| folded(s, Candle::broadcast_add)),
    ("Equal", |s| comparison(s, Candle::broadcast_eq)),
    ("Greater", |s| comparison(s, Candle::broadcast_gt)),
    ("GreaterOrEqual", |s| comparison(s, Candle::broadcast_ge)),
    ("Less", |s| comparison(s, Candle::broadcast_lt)),
    ("LessOrEqual", |s| comparison(s, Candle::broadcast_le)),
    ("Where", choice),
];

type Binary = fn(&Candle, &Candle) -> Result<Candle>;

/// `None` for a node whose second operand is aligned in the way of old opsets.
fn plain_broadcast(spec: &OpSpec<'_>) -> Option<()> {
    legacy_axis(spec).ok()?.is_none().then_some(())
}

fn arithmetic(spec: &OpSpec<'_>, f: Binary) -> Option<OnCandle> {
    plain_broadcast(spec)?;
    boxed(move |_, inputs| {
        let (a, b) = float_pair(inputs, 0, 1)?;
        serial(a.shape().broadcast(b.shape()).ok()?.len())?;
        to_ours(f(&to_candle(a)?, &to_candle(b)?), a.dtype())
    })
}

/// A function of any number of tensors, from the left.
fn folded(spec: &OpSpec<'_>, f: Binary) -> Option<OnCandle> {
    let loses_nan = spec.op != "Sum";
    boxed(move |_, inputs| {
        let first = floats(inputs, 0)?;
        let mut shape = first.shape().clone();
        let mut result = to_candle(first)?;
        (!loses_nan || !has_nan(first)).then_some(())?;
        for i in 1..inputs.len() {
            let (_, next) = float_pair(inputs, 0, i)?;
            (!loses_nan || !has_nan(next)).then_some(())?;
            shape = shape.broadcast(next.shape()).ok()?;
            serial(shape.len())?;
            result = f(&result, &to_candle(next)?).ok()?;
        }
        to_ours(Ok(result), first.dtype())
    })
}

fn comparison(spec: &OpSpec<'_>, f: Binary) -> Option<OnCandle> {
    plain_broadcast(spec)?;
    boxed(move |ctx, inputs| {
        let (a, b) = (native(inputs, 0)?, native(inputs, 1)?);
        (a.dtype() == b.dtype()).then_some(())?;
        let shape = a.shape().broadcast(b.shape()).ok()?;
        room(ctx, shape.dims(), ElementType::Bool)?;
        to_ours(f(&to_candle(a)?, &to_candle(b)?), ElementType::Bool)
    })
}

fn choice(_: &OpSpec<'_>) -> Option<OnCandle> {
    boxed(|ctx, inputs| {
        let condition = movable(inputs, 0).filter(|c| c.dtype() == ElementType::Bool)?;
        let (x, y) = (movable(inputs, 1)?, movable(inputs, 2)?);
        (x.dtype() == y.dtype()).then_some(())?;
        let shape = x.shape().broadcast(y.shape()).ok()?.broadcast(condition.shape()).ok()?;
        room(ctx, shape.dims(), x.dtype())?;
        let spread = |t| to_candle(t)?.broadcast_as(shape.dims()).ok();
        to_ours(spread(condition)?.where_cond(&spread(x)?, &spread(y)?), x.dtype())
    })
}
