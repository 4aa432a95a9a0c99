//! MaxUnpool: the values of a MaxPool put back to their places.

use super::window;
use crate::error::{Result, ensure, err};
use crate::kernel::conv::real::{Real, narrowed, widened, with_real};
use crate::kernel::conv::window::{Dims, Window};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Shape, Tensor};

struct MaxUnpool {
    window: Window,
    kernel: Dims,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=3)?;
    let (window, kernel) = window(spec)?;
    Ok(Box::new(MaxUnpool { window, kernel }))
}

impl MaxUnpool {
    /// The shape that the pool's input had: what the places count in.
    fn inferred(&self, dims: &[usize]) -> Result<Vec<usize>> {
        let rank = self.kernel.len();
        ensure!(
            dims.len() == rank + 2,
            InvalidInput,
            "MaxUnpool over {rank} spatial axes got an input of shape {dims:?}"
        );
        let mut out = dims[..2].to_vec();
        for (axis, (&size, &kernel)) in dims[2..].iter().zip(&self.kernel).enumerate() {
            let (stride, _, before, after) = self.window.axis(axis, rank);
            let full = size.saturating_sub(1).saturating_mul(stride).saturating_add(kernel);
            out.push(full.saturating_sub(before + after));
        }
        Ok(out)
    }

    fn compute<T: Real>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        places: &[i64],
        shape: Option<Shape>,
    ) -> Result<Tensor> {
        let inferred = ctx.shape_of::<T>(&self.inferred(x.dims())?)?;
        let shape = shape.unwrap_or_else(|| inferred.clone());
        ensure!(
            shape.rank() == inferred.rank()
                && shape.dims().iter().zip(inferred.dims()).all(|(a, b)| a >= b),
            InvalidInput,
            "MaxUnpool: output_shape {shape} is smaller than {inferred}"
        );
        let shape = ctx.shape_of::<T>(shape.dims())?;
        let values = x.as_slice::<T>()?;
        ensure!(
            places.len() == values.len(),
            InvalidInput,
            "MaxUnpool: {} places for {} values",
            places.len(),
            values.len()
        );
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        let steps = shape.strides();
        for (&place, &value) in places.iter().zip(values) {
            let mut rest =
                usize::try_from(place).ok().filter(|&p| p < inferred.len()).ok_or_else(|| {
                    err!(InvalidInput, "MaxUnpool: place {place} is outside {inferred}")
                })?;
            let mut at = 0;
            for (&size, &step) in inferred.dims().iter().zip(&steps).rev() {
                at += rest % size * step;
                rest /= size;
            }
            if let Some(out) = out.get_mut(at) {
                *out = value;
            }
        }
        ctx.tensor(shape, out)
    }
}

impl Kernel for MaxUnpool {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        let x = widened(x)?;
        let places = inputs.tensor(1)?.as_slice::<i64>()?;
        let shape = match inputs.tensor_opt(2)? {
            Some(t) => {
                let dims = t.to_i64_vec()?;
                Some(Shape::from_i64(&dims).map_err(|e| err!(InvalidInput, "{}", e.message()))?)
            }
            None => None,
        };
        let out = with_real!("MaxUnpool", dtype, T => self.compute::<T>(ctx, &x, places, shape))?;
        one(narrowed(out, dtype)?)
    }
}
