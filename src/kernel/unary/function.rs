//! The functions of one element themselves.

use crate::kernel::simd;

/// A function of one element, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // ONNX's operators
pub enum Function {
    Abs,
    Neg,
    Sign,
    Ceil,
    Floor,
    Round,
    Sqrt,
    Reciprocal,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Relu,
    LeakyRelu {
        alpha: f32,
    },
    Elu {
        alpha: f32,
    },
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Celu {
        alpha: f32,
    },
    ThresholdedRelu {
        alpha: f32,
    },
    Sigmoid,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    Softplus,
    Softsign,
    Gelu,
    GeluTanh,
    Mish,
    /// x·σ(αx); QuickGelu is this too.
    Swish {
        alpha: f32,
    },
    Shrink {
        lambd: f32,
        bias: f32,
    },
}

/// `x = f(x, g(x))` where `g` works on whole slices.
fn with(x: &mut [f32], g: impl Fn(&mut [f32]), f: impl Fn(f32, f32) -> f32 + Copy) {
    let mut scratch = [0f32; 256];
    for x in x.chunks_mut(scratch.len()) {
        let of = &mut scratch[..x.len()];
        of.copy_from_slice(x);
        g(of);
        simd::zip(x, of, f);
    }
}

fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for v in x {
        *v = f(*v);
    }
}

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        // Zero gives 0, NaN itself.
        if x.is_nan() { x } else { 0.0 }
    }
}

/// log(1 + eˣ) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
}

/// The error function to about 1e-15: a series of positive terms for small arguments, the
/// complement's continued fraction for large ones.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let root_pi = std::f64::consts::PI.sqrt();
    let y = if a.is_nan() {
        a
    } else if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..100 {
            term *= 2.0 * a * a / f64::from(2 * n + 1);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        2.0 / root_pi * (-a * a).exp() * sum
    } else if a > 6.5 {
        1.0
    } else {
        let fraction = (1..60).rev().fold(a, |f, k| a + f64::from(k) / 2.0 / f);
        1.0 - (-a * a).exp() / (root_pi * fraction)
    };
    y.copysign(x)
}

impl Function {
    /// Applies the function in place. An element's result does not depend on its neighbours.
    pub fn apply_f32(self, x: &mut [f32]) {
        use simd::map;
        match self {
            Function::Abs => map(x, f32::abs),
            Function::Neg => map(x, |v| -v),
            Function::Ceil => map(x, f32::ceil),
            Function::Floor => map(x, f32::floor),
            Function::Round => map(x, f32::round_ties_even),
            Function::Sqrt => map(x, f32::sqrt),
            Function::Reciprocal => map(x, |v| 1.0 / v),
            Function::Exp => simd::exp_in_place(x),
            Function::Log => simd::log_in_place(x),
            Function::Sin => each(x, f32::sin),
            Function::Cos => each(x, f32::cos),
            Function::Tanh => simd::tanh_in_place(x),
            Function::Erf => simd::erf_in_place(x),
            // Comparisons this way round keep NaN.
            Function::Relu => map(x, |v| if v < 0.0 { 0.0 } else { v }),
            Function::LeakyRelu { alpha } => map(x, |v| if v < 0.0 { alpha * v } else { v }),
            Function::Elu { alpha } => {
                with(x, simd::exp_in_place, |v, e| if v < 0.0 { alpha * (e - 1.0) } else { v })
            }
            Function::Selu { alpha, gamma } => with(x, simd::exp_in_place, |v, e| {
                if v <= 0.0 { gamma * (alpha * e - alpha) } else { gamma * v }
            }),
            Function::Celu { alpha } => {
                let exp = |x: &mut [f32]| {
                    map(x, |v| v / alpha);
                    simd::exp_in_place(x);
                };
                with(x, exp, |v, e| if v < 0.0 { alpha * (e - 1.0) } else { v });
            }
            Function::ThresholdedRelu { alpha } => {
                map(x, |v| if v > alpha { v } else { 0.0 });
            }
            Function::Sigmoid => simd::sigmoid_in_place(x),
            Function::HardSigmoid { alpha, beta } => {
                map(x, |v| hard_sigmoid(v, alpha, beta));
            }
            Function::HardSwish => map(x, |v| v * hard_sigmoid(v, 1.0 / 6.0, 0.5)),
            Function::Softsign => map(x, |v| v / (1.0 + v.abs())),
            Function::Gelu => simd::gelu_in_place(x),
            Function::GeluTanh => simd::gelu_tanh_in_place(x),
            Function::Swish { alpha } => {
                let gate = |x: &mut [f32]| {
                    map(x, |v| alpha * v);
                    simd::sigmoid_in_place(x);
                };
                with(x, gate, |v, s| v * s);
            }
            Function::Shrink { lambd, bias } => map(x, |v| {
                if v < -lambd {
                    v + bias
                } else if v > lambd {
                    v - bias
                } else {
                    0.0
                }
            }),
            // Rarely hot: in double precision, then rounded once.
            _ => each(x, |v| self.of_f64(v.into()) as f32),
        }
    }

    /// The function of one `f64`.
    pub fn of_f64(self, x: f64) -> f64 {
        match self {
            Function::Abs => x.abs(),
            Function::Neg => -x,
            Function::Sign => sign(x),
            Function::Ceil => x.ceil(),
            Function::Floor => x.floor(),
            Function::Round => x.round_ties_even(),
            Function::Sqrt => x.sqrt(),
            Function::Reciprocal => 1.0 / x,
            Function::Exp => x.exp(),
            Function::Log => x.ln(),
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
            Function::Tan => x.tan(),
            Function::Asin => x.asin(),
            Function::Acos => x.acos(),
            Function::Atan => x.atan(),
            Function::Sinh => x.sinh(),
            Function::Cosh => x.cosh(),
            Function::Tanh => x.tanh(),
            // Where x² is out of range, asinh x = ln 2x.
            Function::Asinh if x.abs() > 1e150 && x.is_finite() => {
                (x.abs().ln() + std::f64::consts::LN_2).copysign(x)
            }
            Function::Asinh => x.asinh(),
            Function::Acosh => x.acosh(),
            Function::Atanh => x.atanh(),
            Function::Erf => erf(x),
            Function::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Function::LeakyRelu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x
                } else {
                    x
                }
            }
            Function::Elu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x.exp_m1()
                } else {
                    x
                }
            }
            Function::Selu { alpha, gamma } => {
                let gamma = f64::from(gamma);
                if x <= 0.0 { gamma * f64::from(alpha) * x.exp_m1() } else { gamma * x }
            }
            Function::Celu { alpha } => {
                let alpha = f64::from(alpha);
                if x < 0.0 { alpha * (x / alpha).exp_m1() } else { x }
            }
            Function::ThresholdedRelu { alpha } => {
                if x > f64::from(alpha) {
                    x
                } else {
                    0.0
                }
            }
            Function::Sigmoid => {
                let e = (-x.abs()).exp();
                if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
            }
            Function::HardSigmoid { alpha, beta } => {
                let v = f64::from(alpha) * x + f64::from(beta);
                if v.is_nan() { v } else { v.clamp(0.0, 1.0) }
            }
            Function::HardSwish => {
                let v = x / 6.0 + 0.5;
                x * if v.is_nan() { v } else { v.clamp(0.0, 1.0) }
            }
            Function::Softplus => softplus(x),
            Function::Softsign => x / (1.0 + x.abs()),
            Function::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Function::GeluTanh => {
                let root = (2.0 / std::f64::consts::PI).sqrt();
                0.5 * x * (1.0 + (root * (x + 0.044715 * x * x * x)).tanh())
            }
            Function::Mish => x * softplus(x).tanh(),
            Function::Swish { alpha } => x / (1.0 + (-f64::from(alpha) * x).exp()),
            Function::Shrink { lambd, bias } => {
                if x < -f64::from(lambd) {
                    x + f64::from(bias)
                } else if x > f64::from(lambd) {
                    x - f64::from(bias)
                } else {
                    0.0
                }
            }
        }
    }

    /// The function of an integer, where it has one.
    pub fn of_integer(self, x: i64) -> Option<i64> {
        match self {
            Function::Abs => Some(x.wrapping_abs()),
            Function::Neg => Some(x.wrapping_neg()),
            Function::Sign => Some(x.signum()),
            Function::Relu => Some(x.max(0)),
            Function::Shrink { .. } | Function::Erf => Some(self.of_f64(x as f64) as i64),
            _ => None,
        }
    }

    /// Rough nanoseconds for 64 elements of `f32`.
    pub fn cost(self) -> usize {
        match self {
            Function::Exp
            | Function::Log
            | Function::Tanh
            | Function::Erf
            | Function::Sigmoid
            | Function::Gelu
            | Function::GeluTanh
            | Function::Elu { .. }
            | Function::Selu { .. }
            | Function::Celu { .. }
            | Function::Swish { .. } => 60,
            Function::Sin
            | Function::Cos
            | Function::Tan
            | Function::Asin
            | Function::Acos
            | Function::Atan
            | Function::Sinh
            | Function::Cosh
            | Function::Asinh
            | Function::Acosh
            | Function::Atanh
            | Function::Softplus
            | Function::Mish => 800,
            _ => 15,
        }
    }
}

#[inline(always)]
fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    let v = alpha * x + beta;
    let v = if v < 0.0 { 0.0 } else { v };
    if v > 1.0 { 1.0 } else { v }
}
