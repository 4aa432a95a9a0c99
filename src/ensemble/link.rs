//! From margins to answers, in the trainer's own arithmetic.

use super::Precision;
use super::exp::{fast_exp, fast_exp_all};

/// How margins become answers. Computed in the precision of the ensemble's sums.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Link {
    /// The margins themselves.
    Identity,
    /// `1 / (1 + exp(-slope·x))`, each margin on its own.
    Sigmoid {
        /// The factor of the margin.
        slope: f64,
    },
    /// Normalised exponentials over the margins of a row.
    Softmax,
    /// `exp(x)`.
    Exp,
    /// `exp(x)`, in double precision whatever that of the sums: XGBoost's `survival:aft`.
    WideExp,
    /// `-2^(-x / normal) - offset`: scikit-learn's isolation forest, whose margin is the sum of
    /// the depths at which a row is alone (Liu et al. 2008).
    Isolation {
        /// The depth of an unremarkable row, times the number of trees.
        normal: f64,
        /// What is taken off the score.
        offset: f64,
    },
    /// 1 for margins above 0, else 0.
    Hinge,
    /// `sign(x)·x²`: LightGBM's `reg_sqrt`.
    SignedSquare,
    /// `ln(1 + exp(x))`: LightGBM's `cross_entropy_lambda`.
    Log1pExp,
    /// `exp(x)` as CatBoost computes it.
    FastExp,
    /// Normalised exponentials as CatBoost computes them.
    FastSoftmax,
    /// The first margin itself and `exp(2x)` of the others, as CatBoost computes it: a mean and a
    /// variance (`RMSEWithUncertainty`).
    MeanVariance,
}

/// XGBoost's logistic function: the exponent is capped, and a tiny term keeps the divisor from
/// being exactly one (src/common/math.h).
fn sigmoid_f32(x: f32) -> f32 {
    let e = if -x < 88.7 { -x } else { 88.7 };
    1.0 / (e.exp() + 1.0 + 1e-16)
}

fn softmax(margins: &mut [f64], exp: impl Fn(&mut [f64])) {
    let max = margins.iter().fold(f64::NEG_INFINITY, |m, &x| if x > m { x } else { m });
    margins.iter_mut().for_each(|x| *x -= max);
    exp(margins);
    let sum = margins.iter().fold(0.0, |sum, x| sum + x);
    margins.iter_mut().for_each(|x| *x /= sum);
}

impl Link {
    /// Turns the margins of one row into answers, in place. `precision` is that of the sums:
    /// with [`Precision::F32`] every operation is one on `f32`, as XGBoost's are.
    pub fn apply(self, margins: &mut [f64], precision: Precision) {
        if precision == Precision::F32 {
            self.apply_f32(margins);
        } else {
            self.apply_f64(margins);
        }
    }

    fn apply_f64(self, margins: &mut [f64]) {
        let each = |margins: &mut [f64], f: &dyn Fn(f64) -> f64| {
            margins.iter_mut().for_each(|x| *x = f(*x));
        };
        match self {
            Link::Identity => {}
            Link::Sigmoid { slope } => each(margins, &|x| 1.0 / (1.0 + (-slope * x).exp())),
            Link::Softmax => softmax(margins, |all| all.iter_mut().for_each(|x| *x = x.exp())),
            Link::FastSoftmax => softmax(margins, fast_exp_all),
            Link::FastExp => each(margins, &fast_exp),
            Link::Exp | Link::WideExp => each(margins, &f64::exp),
            Link::Hinge => each(margins, &|x| f64::from(u8::from(x > 0.0))),
            Link::Isolation { normal, offset } => {
                each(margins, &|x| -((-x / normal).exp2()) - offset);
            }
            Link::SignedSquare => {
                each(margins, &|x| if x < 0.0 { -(x * x) } else { x * x });
            }
            Link::Log1pExp => each(margins, &|x| x.exp().ln_1p()),
            Link::MeanVariance => {
                if let [_, logs @ ..] = margins {
                    each(logs, &|x| fast_exp(2.0 * x));
                }
            }
        }
    }

    fn apply_f32(self, margins: &mut [f64]) {
        match self {
            Link::Identity => {}
            Link::Softmax | Link::FastSoftmax => {
                let max =
                    margins.iter().fold(f32::MIN, |m, &x| if x as f32 > m { x as f32 } else { m });
                // The sum is one of doubles, the divisor a float again (src/common/math.h).
                let mut sum = 0.0f64;
                for x in margins.iter_mut() {
                    let e = (*x as f32 - max).exp();
                    sum += f64::from(e);
                    *x = e.into();
                }
                margins.iter_mut().for_each(|x| *x = (*x as f32 / sum as f32).into());
            }
            _ => margins.iter_mut().for_each(|x| *x = self.one_f32(*x as f32).into()),
        }
    }

    fn one_f32(self, x: f32) -> f32 {
        match self {
            Link::Sigmoid { slope: 1.0 } => sigmoid_f32(x),
            Link::Sigmoid { slope } => sigmoid_f32(slope as f32 * x),
            Link::Exp | Link::FastExp => x.exp(),
            Link::WideExp => f64::from(x).exp() as f32,
            Link::Hinge => f32::from(u8::from(x > 0.0)),
            Link::SignedSquare => x.abs() * x,
            Link::Log1pExp => x.exp().ln_1p(),
            Link::Identity
            | Link::Softmax
            | Link::FastSoftmax
            | Link::MeanVariance
            | Link::Isolation { .. } => x,
        }
    }
}
