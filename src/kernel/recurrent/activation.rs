//! The activation functions of recurrent cells.

use crate::error::Result;
use crate::kernel::OpSpec;
use crate::kernel::conv::real::Real;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Sigmoid,
    Tanh,
    Relu,
    LeakyRelu,
    HardSigmoid,
    Elu,
    Affine,
    ThresholdedRelu,
    ScaledTanh,
    Softsign,
    Softplus,
}

/// An activation function with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::kernel) struct Activation {
    function: Function,
    alpha: f32,
    beta: f32,
}

impl Function {
    fn parse(name: &str) -> Option<Function> {
        const ALL: [(&str, Function); 11] = [
            ("sigmoid", Function::Sigmoid),
            ("tanh", Function::Tanh),
            ("relu", Function::Relu),
            ("leakyrelu", Function::LeakyRelu),
            ("hardsigmoid", Function::HardSigmoid),
            ("elu", Function::Elu),
            ("affine", Function::Affine),
            ("thresholdedrelu", Function::ThresholdedRelu),
            ("scaledtanh", Function::ScaledTanh),
            ("softsign", Function::Softsign),
            ("softplus", Function::Softplus),
        ];
        // Older exporters wrote the names in lower case.
        let name = name.to_ascii_lowercase();
        ALL.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
    }

    /// The parameters' defaults; `None` where the function has no such parameter.
    fn defaults(self) -> (Option<f32>, Option<f32>) {
        match self {
            Function::LeakyRelu => (Some(0.01), None),
            Function::HardSigmoid => (Some(0.2), Some(0.5)),
            Function::Elu | Function::ThresholdedRelu => (Some(1.0), None),
            Function::Affine => (Some(1.0), Some(0.0)),
            Function::ScaledTanh => (Some(1.0), Some(1.0)),
            _ => (None, None),
        }
    }
}

impl Activation {
    /// The `count` activations of a node for each of its directions.
    pub fn list(
        spec: &OpSpec<'_>,
        defaults: &[&str],
        directions: usize,
    ) -> Result<Vec<Activation>> {
        let names = match spec.attributes.strs_opt("activations")? {
            Some(names) if !names.is_empty() => names,
            _ => defaults.repeat(directions).into_iter().map(String::from).collect(),
        };
        if names.len() != defaults.len() * directions {
            return Err(spec.invalid(format_args!(
                "{} activations, expected {}",
                names.len(),
                defaults.len() * directions
            )));
        }
        // Each function takes the next value of the parameters it has.
        let mut alphas = spec.attributes.floats("activation_alpha")?.iter();
        let mut betas = spec.attributes.floats("activation_beta")?.iter();
        names
            .iter()
            .map(|name| {
                let function = Function::parse(name)
                    .ok_or_else(|| spec.unsupported(format_args!("activation '{name}'")))?;
                let (alpha, beta) = function.defaults();
                let alpha = alpha.map(|d| alphas.next().copied().unwrap_or(d));
                let beta = beta.map(|d| betas.next().copied().unwrap_or(d));
                Ok(Activation {
                    function,
                    alpha: alpha.unwrap_or_default(),
                    beta: beta.unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Applies it to every element, after bounding them by `clip`.
    pub fn apply<T: Real>(self, values: &mut [T], clip: Option<T>) {
        if let Some(clip) = clip {
            values.iter_mut().for_each(|x| *x = x.between(-clip, clip));
        }
        let (alpha, beta) = (T::from_f32(self.alpha), T::from_f32(self.beta));
        let zero = T::ZERO;
        match self.function {
            Function::Sigmoid => each(values, T::sigmoid),
            Function::Tanh => each(values, T::tanh),
            Function::Relu => each(values, |x| if x < zero { zero } else { x }),
            Function::LeakyRelu => each(values, |x| if x < zero { alpha * x } else { x }),
            Function::HardSigmoid => each(values, |x| (alpha * x + beta).between(zero, T::ONE)),
            Function::Elu => {
                each(values, |x| if x < zero { alpha * (x.exp() - T::ONE) } else { x });
            }
            Function::Affine => each(values, |x| alpha * x + beta),
            Function::ThresholdedRelu => each(values, |x| if x > alpha { x } else { zero }),
            Function::ScaledTanh => each(values, |x| alpha * (beta * x).tanh()),
            Function::Softsign => each(values, |x| x / (T::ONE + x.abs())),
            // Written so that a large x does not overflow.
            Function::Softplus => each(values, |x| {
                let positive = if x > zero { x } else { zero };
                positive + (-x.abs()).exp().ln_1p()
            }),
        }
    }
}

fn each<T: Real>(values: &mut [T], f: impl Fn(T) -> T) {
    values.iter_mut().for_each(|x| *x = f(*x));
}
