//! OneHot: an axis that is on at the index and off elsewhere.

use crate::error::{Result, bail, ensure};
use crate::kernel::transpose::check_text;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::shape::resolve_axis;
use crate::tensor::{Element, Shape, Tensor, for_each_carrier};
use smallvec::SmallVec;

struct OneHot {
    axis: i64,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    Ok(Box::new(OneHot { axis: spec.attributes.int("axis", -1)? }))
}

/// Indices of any number type; fractions are cut off.
fn whole_numbers(tensor: &Tensor) -> Result<Vec<i64>> {
    if tensor.dtype().is_float() {
        return Ok(tensor.to_f64_vec()?.into_iter().map(|v| v as i64).collect());
    }
    tensor.to_i64_vec()
}

impl Kernel for OneHot {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (indices, values) = (inputs.tensor(0)?, inputs.tensor(2)?);
        let depth = match whole_numbers(inputs.tensor(1)?)?[..] {
            [depth] if depth >= 0 => depth,
            ref other => bail!(InvalidInput, "OneHot: depth {other:?}, expected one number"),
        };
        ensure!(values.len() == 2, InvalidInput, "OneHot: {} values, expected 2", values.len());
        let axis = resolve_axis(self.axis, indices.shape().rank() + 1)?;
        let mut dims: SmallVec<[usize; 6]> = SmallVec::from_slice(indices.dims());
        dims.insert(axis, depth as usize);
        let shape = Shape::new(&dims)?;
        check_text(ctx, values, shape.len())?;
        let at = whole_numbers(indices)?;
        for_each_carrier!(values.data(), v => {
            let out = fill(ctx, v, &at, &shape, axis)?;
            one(Tensor::moved(shape, out, values.dtype())?)
        })
    }
}

fn fill<T: Element>(
    ctx: &mut Context<'_>,
    values: &[T],
    at: &[i64],
    shape: &Shape,
    axis: usize,
) -> Result<Vec<T>> {
    let [off, on] = values else { bail!(InvalidInput, "OneHot: expected 2 values") };
    let mut out = ctx.filled(shape.len(), off.clone())?;
    if out.is_empty() {
        return Ok(out);
    }
    let (_, depth, inner) = shape.split_at(axis);
    for (i, &index) in at.iter().enumerate() {
        // An index out of range stays off everywhere.
        let index = if index < 0 { index.saturating_add(depth as i64) } else { index };
        if (0..depth as i64).contains(&index) {
            out[(i / inner * depth + index as usize) * inner + i % inner] = on.clone();
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};
    use crate::tensor::Tensor;

    #[test]
    fn on_at_the_index_and_off_elsewhere() {
        let values = t(&[2], &[2f32, 5.0]);
        let depth = Tensor::scalar(3i64);
        let at = t(&[2], &[-1i64, 7]);
        let y = Op::onnx("OneHot", 11).run1(&[at.clone(), depth.clone(), values.clone()]);
        assert_eq!(y, t(&[2, 3], &[2f32, 2., 5., 2., 2., 2.]));
        let op = Op::onnx("OneHot", 11).int("axis", 0);
        let y = op.run1(&[t(&[2], &[1.0f32, 0.0]), t(&[1], &[3f32]), values.clone()]);
        assert_eq!(y, t(&[3, 2], &[2f32, 5., 5., 2., 2., 2.]));
        let y = op.run1(&[at.clone(), Tensor::scalar(0i64), values.clone()]);
        assert_eq!(y.dims(), [0, 2]);
        for bad in [-1, i64::MAX] {
            assert!(op.run(&[at.clone(), Tensor::scalar(bad), values.clone()]).is_err());
        }
        let op = Op::onnx("OneHot", 11).int("axis", 2);
        assert!(op.run(&[at, depth, values]).is_err());
    }
}
