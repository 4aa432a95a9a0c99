//! BatchNormalization at inference: a scale and a shift per channel.

use super::real::{Real, parameter};
use super::{Normalization, Normalize, Run, epsilon};
use crate::error::Result;
use crate::kernel::{Kernel, OpSpec, RowOp, RowShape, simd};
use crate::tensor::{ElementType, Tensor};

struct Batch {
    epsilon: f64,
    /// Scale and shift where all four parameters are constants of f32.
    fixed: Option<[Tensor; 2]>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(5..=5)?;
    // `is_test` and `momentum` of old versions say nothing at inference.
    if spec.attributes.flag("training_mode", false)? {
        return Err(spec.unsupported("training_mode=1"));
    }
    if spec.version < 9 && !spec.attributes.flag("spatial", true)? {
        return Err(spec.unsupported("spatial=0 (statistics per activation)"));
    }
    let epsilon = epsilon(spec)?;
    let constants: Option<Vec<&Tensor>> = (1..5).map(|i| spec.constant(i)).collect();
    let mut fixed = None;
    if let Some(constants) = constants {
        if constants.iter().any(|c| c.len() != constants[0].len()) {
            return Err(spec.invalid("scale, bias, mean and variance must be of equal length"));
        }
        if constants.iter().all(|c| c.dtype() == ElementType::F32) {
            let mut read = constants.iter().map(|c| c.to_f32_vec());
            if let (Some(s), Some(b), Some(m), Some(v)) =
                (read.next(), read.next(), read.next(), read.next())
            {
                let (scale, shift) = folded(&s?, &b?, &m?, &v?, epsilon);
                let n = scale.len();
                fixed = Some([Tensor::from_vec(&[n], scale)?, Tensor::from_vec(&[n], shift)?]);
            }
        }
    }
    Ok(Box::new(Normalize(Batch { epsilon, fixed })))
}

/// Scale and shift of each channel.
fn folded<T: Real>(
    scale: &[T],
    bias: &[T],
    mean: &[T],
    variance: &[T],
    e: f64,
) -> (Vec<T>, Vec<T>) {
    let deviation = |v: &T| T::of((v.wide() + e).sqrt());
    let scale: Vec<T> = scale.iter().zip(variance).map(|(s, v)| *s / deviation(v)).collect();
    let shift = bias.iter().zip(mean).zip(&scale).map(|((b, m), s)| *b - *m * *s).collect();
    (scale, shift)
}

impl Normalization for Batch {
    fn apply<T: Real>(
        &self,
        Run { ctx, shape, data, inputs }: Run<'_, '_, T>,
    ) -> Result<Vec<Tensor>> {
        let channels = if shape.rank() < 2 { 1 } else { shape.dim(1) };
        let inner: usize = shape.dims().iter().skip(2).product();
        let owned;
        let (scale, shift) = match &self.fixed {
            Some([scale, shift]) if scale.len() == channels => (T::read(scale)?, T::read(shift)?),
            _ => {
                let p = |i| parameter::<T>(inputs, i, channels);
                owned = folded(&p(1)?, &p(2)?, &p(3)?, &p(4)?, self.epsilon);
                (owned.0.as_slice().into(), owned.1.as_slice().into())
            }
        };
        if data.is_empty() {
            return Ok(vec![]);
        }
        let width = channels * inner;
        ctx.threads.split_rows(data, width, width / 4 + 1, |_, data| {
            for image in data.chunks_exact_mut(width) {
                if inner == 1 {
                    T::zip(image, &scale, |x, s| x * s);
                    T::zip(image, &shift, |x, b| x + b);
                    continue;
                }
                for (plane, (&s, &b)) in
                    image.chunks_exact_mut(inner).zip(scale.iter().zip(shift.iter()))
                {
                    T::map(plane, |x| x * s + b);
                }
            }
        });
        Ok(vec![])
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.fixed.is_some().then_some(self as &dyn RowOp)
    }
}

impl RowOp for Batch {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let [scale, _] = self.fixed.as_ref()?;
        (inputs == [scale.len()]).then_some(RowShape { width: scale.len(), classes: None })
    }

    fn run_rows(&self, _: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        let Some([scale, shift]) = &self.fixed else { return };
        let (Ok(scale), Ok(shift)) = (scale.as_slice::<f32>(), shift.as_slice::<f32>()) else {
            return;
        };
        if let [x] = inputs
            && x.len() == out.len()
            && !scale.is_empty()
        {
            out.copy_from_slice(x);
            for row in out.chunks_exact_mut(scale.len()) {
                simd::zip(row, scale, |x, s| x * s);
                simd::zip(row, shift, |x, b| x + b);
            }
        }
    }
}
