//! NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.

use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::error::{Result, bail, ensure, err};
use crate::kernel::cast::cast;
use crate::tensor::{Tensor, Value};

pub(super) const OPS: &[Entry] = &[
    onnx("NegativeLogLikelihoodLoss", 12, |s| prepare(s, false)),
    onnx("SoftmaxCrossEntropyLoss", 12, |s| prepare(s, true)),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

struct Loss {
    /// Whether the scores are normalised here, or are logarithms of probabilities already.
    softmax: bool,
    reduction: Reduction,
    ignored: Option<i64>,
    /// Whether the logarithms are an output too.
    answers_logs: bool,
}

fn prepare(spec: &OpSpec<'_>, softmax: bool) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=3)?;
    let reduction = match spec.attributes.str("reduction", "mean")?.as_str() {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => return Err(spec.invalid(format_args!("reduction is '{other}'"))),
    };
    Ok(Box::new(Loss {
        softmax,
        reduction,
        ignored: spec.attributes.int_opt("ignore_index")?,
        answers_logs: softmax && spec.wants(1),
    }))
}

/// Replaces scores by the logarithms of their softmax over the classes, which lie `inner` apart.
fn log_softmax(scores: &mut [f64], classes: usize, inner: usize) {
    for block in scores.chunks_exact_mut((classes * inner).max(1)) {
        for i in 0..inner {
            let line = || block.iter().skip(i).step_by(inner);
            let max = line().copied().fold(f64::NEG_INFINITY, f64::max);
            let shift = max + line().map(|v| (v - max).exp()).sum::<f64>().ln();
            block.iter_mut().skip(i).step_by(inner).for_each(|v| *v -= shift);
        }
    }
}

impl Loss {
    /// The loss of each label, and the weight it has in a mean.
    fn losses(
        &self,
        logs: &[f64],
        labels: &[i64],
        weights: Option<&[f64]>,
        classes: usize,
        inner: usize,
    ) -> Result<(Vec<f64>, f64)> {
        let mut total = 0.0;
        let mut losses = Vec::with_capacity(labels.len());
        for (i, &label) in labels.iter().enumerate() {
            if self.ignored == Some(label) {
                losses.push(0.0);
                continue;
            }
            let class = usize::try_from(label).ok().filter(|&c| c < classes).ok_or_else(|| {
                err!(InvalidInput, "label {label} is none of the {classes} classes")
            })?;
            let weight = weights.and_then(|w| w.get(class)).copied().unwrap_or(1.0);
            let at = (i / inner.max(1) * classes + class) * inner + i % inner.max(1);
            losses.push(-logs.get(at).copied().unwrap_or_default() * weight);
            total += weight;
        }
        Ok((losses, total))
    }
}

impl Kernel for Loss {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (scores, labels) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (dtype, shape) = (scores.dtype(), scores.shape());
        ensure!(dtype.is_float(), InvalidInput, "a loss of {dtype}, expected floats");
        let &[batch, classes, ref rest @ ..] = shape.dims() else {
            bail!(
                InvalidInput,
                "scores of shape {shape}, expected an axis of examples and classes"
            );
        };
        ensure!(
            labels.dims().first() == Some(&batch) && labels.dims().get(1..) == Some(rest),
            InvalidInput,
            "labels of shape {} for scores of shape {shape}",
            labels.shape()
        );
        let weights = match inputs.tensor_opt(2)? {
            Some(w) => {
                ensure!(
                    w.dims() == [classes],
                    InvalidInput,
                    "weights of shape {} for {classes} classes",
                    w.shape()
                );
                Some(w.to_f64_vec()?)
            }
            None => None,
        };
        let inner: usize = rest.iter().product();
        ctx.shape_of::<f64>(shape.dims())?;
        ctx.shape_of::<f64>(labels.dims())?;
        let mut logs = scores.to_f64_vec()?;
        if self.softmax {
            log_softmax(&mut logs, classes, inner);
        }
        let at = labels.to_i64_vec()?;
        let (losses, total) = self.losses(&logs, &at, weights.as_deref(), classes, inner)?;
        let sum = || losses.iter().sum::<f64>();
        let loss = match self.reduction {
            Reduction::Sum => Tensor::scalar(sum()),
            Reduction::Mean => Tensor::scalar(sum() / total),
            Reduction::None => ctx.tensor(labels.shape().clone(), losses)?,
        };
        let mut outputs = Outputs::new();
        let shape = shape.clone();
        outputs.push(Value::Tensor(cast(ctx, loss, dtype)?));
        if self.answers_logs {
            let logs = ctx.tensor(shape, logs)?;
            outputs.push(Value::Tensor(cast(ctx, logs, dtype)?));
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::Tensor;
    use half::f16;

    /// The example of the specification.
    fn example() -> [Tensor; 3] {
        let x = [1f32, 2.0, 2.0, 2.0, 3.0, 2.0, 0.0, 1.0, 2.0, 2.0, 1.0, 2.0];
        [t(&[2, 3, 2], &x), t(&[2, 2], &[2i64, 1, 0, 2]), t(&[3], &[0.2f32, 0.3, 0.1])]
    }

    #[test]
    fn likelihoods_by_reduction_and_weight() {
        let [x, labels, weights] = example();
        let op =
            |reduction| Op::onnx("NegativeLogLikelihoodLoss", 13).string("reduction", reduction);
        let plain = [x.clone(), labels.clone()];
        let weighted = [x.clone(), labels.clone(), weights.clone()];
        assert_close(&op("none").run1(&plain), &t(&[2, 2], &[-3f32, -2.0, 0.0, -2.0]));
        assert_close(&op("sum").run1(&plain), &Tensor::scalar(-7f32));
        assert_close(&op("mean").run1(&plain), &Tensor::scalar(-1.75f32));
        assert_close(&op("none").run1(&weighted), &t(&[2, 2], &[-0.3f32, -0.6, 0.0, -0.2]));
        assert_close(&op("sum").run1(&weighted), &Tensor::scalar(-1.1f32));
        let mean = Op::onnx("NegativeLogLikelihoodLoss", 22);
        assert_close(&mean.run1(&weighted), &Tensor::scalar(-1.1f32 / 0.7));
        // Class 2 does not count, nor does it for the weights.
        let ignoring = Op::onnx("NegativeLogLikelihoodLoss", 12).int("ignore_index", 2);
        assert_close(&ignoring.run1(&plain), &Tensor::scalar(-1f32));
        assert_close(&ignoring.run1(&weighted), &Tensor::scalar(-0.6f32 / 0.5));
        let far = t(&[2, 2], &[-100i32, 1, 0, -100]);
        let ignoring = Op::onnx("NegativeLogLikelihoodLoss", 12).int("ignore_index", -100);
        assert_close(&ignoring.run1(&[x.clone(), far.clone()]), &Tensor::scalar(-1f32));
        assert!(mean.run(&[x.clone(), far]).is_err());
        assert!(mean.run(&[x.clone(), t(&[2, 2], &[0i64, 1, 2, 3])]).is_err());
        assert!(mean.run(&[x.clone(), t(&[2], &[0i64, 1])]).is_err());
        assert!(mean.run(&[x.clone(), labels, t(&[2], &[1f32; 2])]).is_err());
        assert!(mean.run(&[t(&[3], &[1f32; 3]), t(&[3], &[0i64; 3])]).is_err());
        assert!(
            Op::onnx("NegativeLogLikelihoodLoss", 12).string("reduction", "x").run(&plain).is_err()
        );
    }

    #[test]
    fn cross_entropy_with_its_logarithms() {
        let x = t(&[2, 2], &[0f64, 3f64.ln(), 1000.0, 1000.0]);
        let labels = t(&[2], &[1i64, 0]);
        let op = Op::onnx("SoftmaxCrossEntropyLoss", 13).string("reduction", "none").outputs(2);
        let got = op.run(&[x.clone(), labels.clone()]).unwrap();
        let (quarter, half) = (0.25f64.ln(), 0.5f64.ln());
        let high = 0.75f64.ln();
        assert_close(&got[0], &t(&[2], &[-high, -half]));
        assert_close(&got[1], &t(&[2, 2], &[quarter, high, half, half]));
        let mean = Op::onnx("SoftmaxCrossEntropyLoss", 12);
        let got = mean.run1(&[x, labels, t(&[2], &[1f64, 3.0])]);
        assert_close(&got, &Tensor::scalar((-3.0 * high - half) / 4.0));
        // Classes with positions behind them: columns [0, ln 3] and [0, 0].
        let deep = t(&[1, 2, 2], &[0f64, 0.0, 3f64.ln(), 0.0]);
        let got = op.run(&[deep, t(&[1, 2], &[0i64, 1])]).unwrap();
        assert_close(&got[0], &t(&[1, 2], &[-quarter, -half]));
        assert_close(&got[1], &t(&[1, 2, 2], &[quarter, half, high, half]));
        let single = t(&[1, 2], &[f16::ONE; 2]);
        let got = mean.run1(&[single, t(&[1], &[0i64])]);
        assert_eq!(got, Tensor::scalar(f16::from_f64(-half)));
    }
}
