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
    ("Clip", clip),
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

/// Both bounds by comparison, which keeps NaN; candle's own `clamp` does not.
fn clip(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let by_input = spec.version >= 11;
    let attribute = |name| spec.attributes.float_opt(name).ok().map(|v| v.map(f64::from));
    let fixed = [attribute("min")?, attribute("max")?];
    boxed(move |_, inputs| {
        let x = floats(inputs, 0)?;
        serial(x.len())?;
        let bound = |i: usize| -> Option<Option<f64>> {
            if !by_input {
                return Some(fixed[i - 1]);
            }
            if !inputs.has(i) {
                return Some(None);
            }
            let bound = floats(inputs, i).filter(|b| b.len() == 1 && b.dtype() == x.dtype())?;
            bound.to_f64_vec().ok()?.first().copied().filter(|b| !b.is_nan()).map(Some)
        };
        let (low, high) = (bound(1)?, bound(2)?);
        let mut y = to_candle(x)?;
        let zeros = y.zeros_like().ok()?;
        let full = |v: f64| zeros.affine(1.0, v).ok();
        if let Some(low) = low {
            let low = full(low)?;
            y = y.lt(&low).ok()?.where_cond(&low, &y).ok()?;
        }
        if let Some(high) = high {
            let high = full(high)?;
            y = y.gt(&high).ok()?.where_cond(&high, &y).ok()?;
        }
        to_ours(Ok(y), x.dtype())
    })
}

fn relu(x: &Candle) -> Result<Candle> {
    replace_negative(x, &x.zeros_like()?)
}

fn leaky_relu(spec: &OpSpec<'_>) -> Option<OnCandle> {
    let alpha = spec.attributes.float("alpha", 0.01).ok()?;
    unary(move |x| replace_negative(x, &x.affine(alpha.into(), 0.0)?))
}
