//! Functions of one element.
//!
//! Left out: Round (candle rounds halves away from zero, ONNX to even) and candle's own `relu`
//! (0 for NaN). Its functions of integers panic.

use super::{Entry, OnCandle, boxed, floats, serial, to_candle, to_ours};
use crate::kernel::OpSpec;
use candle_core::{Result, Tensor as Candle};

pub(super) const OPS: &[Entry] = &[
    ("Abs", |_| unary(Candle::abs)),
    ("Ceil", |_| unary(Candle::ceil)),
    ("Cos", |_| unary(Candle::cos)),
    ("Erf", |_| unary(Candle::erf)),
    ("Exp", |_| unary(Candle::exp)),
    ("Floor", |_| unary(Candle::floor)),
    ("Gelu", gelu),
    ("LeakyRelu", leaky_relu),
    ("Log", |_| unary(Candle::log)),
    ("Neg", |_| unary(Candle::neg)),
    ("Reciprocal", |_| unary(Candle::recip)),
    ("Relu", |_| unary(relu)),
    ("Sigmoid", |_| unary(|x| x.neg()?.exp()?.affine(1.0, 1.0)?.recip())),
    ("Sin", |_| unary(Candle::sin)),
    ("Softsign", |_| unary(|x| x / x.abs()?.affine(1.0, 1.0)?)),
    ("Sqrt", |_| unary(Candle::sqrt)),
    ("Tanh", |_| unary(Candle::tanh)),
];

fn unary(f: impl Fn(&Candle) -> Result<Candle> + Send + Sync + 'static) -> Option<OnCandle> {
    boxed(move |_, inputs| {
        let x = floats(inputs, 0)?;
        serial(x.len())?;
        to_ours(f(&to_candle(x)?), x.dtype())
    })
}

fn gelu(spec: &OpSpec<'_>) -> Option<OnCandle> {
    match spec.attributes.str("approximate", "none").ok()?.as_str() {
        "none" => unary(Candle::gelu_erf),
        "tanh" => unary(Candle::gelu),
        _ => None,
    }
}

/// Negative elements replaced, all others and NaN kept.
fn replace_negative(x: &Candle, with: &Candle) -> Result<Candle> {
    x.lt(&x.zeros_like()?)?.where_cond(with, x)
}

fn relu(x: &Candle) -> Result<Candle> {
    replace_negative(x, &x.zeros_like()?)
}

fn leaky_relu(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let alpha = spec.attributes.float("alpha", 0.01).ok()?;
    unary(move |x| replace_negative(x, &x.affine(alpha.into(), 0.0)?))
}
