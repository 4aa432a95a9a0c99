//! The activation that a fused convolution ends with.

use super::real::Real;
use crate::error::Result;
use crate::kernel::OpSpec;

/// An element-wise function with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Activation {
    None,
    Relu,
    Sigmoid,
    Tanh,
    LeakyRelu { alpha: f32 },
    Clip { low: f32, high: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
}

impl Activation {
    /// The activation of a `FusedConv` node.
    pub fn new(spec: &OpSpec<'_>) -> Result<Activation> {
        let Some(name) = spec.attributes.str_opt("activation")? else {
            return Ok(Activation::None);
        };
        let params = spec.attributes.floats("activation_params")?;
        let param = |i: usize, default: f32| params.get(i).copied().unwrap_or(default);
        Ok(match name.as_str() {
            "" => Activation::None,
            "Relu" => Activation::Relu,
            "Sigmoid" => Activation::Sigmoid,
            "Tanh" => Activation::Tanh,
            "LeakyRelu" => Activation::LeakyRelu { alpha: param(0, 0.01) },
            "Clip" => Activation::Clip { low: param(0, f32::MIN), high: param(1, f32::MAX) },
            "HardSigmoid" => Activation::HardSigmoid { alpha: param(0, 0.2), beta: param(1, 0.5) },
            other => return Err(spec.unsupported(format_args!("activation '{other}'"))),
        })
    }

    /// Applies it to every element.
    pub fn apply<T: Real>(self, values: &mut [T]) {
        match self {
            Activation::None => {}
            Activation::Relu => map(values, |x| if x < T::ZERO { T::ZERO } else { x }),
            Activation::Sigmoid => map(values, T::sigmoid),
            Activation::Tanh => map(values, T::tanh),
            Activation::LeakyRelu { alpha } => {
                let alpha = T::from_f32(alpha);
                map(values, |x| if x < T::ZERO { x * alpha } else { x });
            }
            Activation::Clip { low, high } => {
                let (low, high) = (T::from_f32(low), T::from_f32(high));
                map(values, |x| x.between(low, high));
            }
            Activation::HardSigmoid { alpha, beta } => {
                let (alpha, beta) = (T::from_f32(alpha), T::from_f32(beta));
                map(values, |x| (x * alpha + beta).between(T::ZERO, T::ONE));
            }
        }
    }
}

fn map<T: Real>(values: &mut [T], f: impl Fn(T) -> T) {
    values.iter_mut().for_each(|x| *x = f(*x));
}
