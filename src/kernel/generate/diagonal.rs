//! EyeLike and Trilu: matrices by their diagonals.

use crate::error::{Result, bail, ensure};
use crate::kernel::cast::{cast, element_type};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Element, ElementType, Tensor, for_each_type};

struct EyeLike {
    dtype: Option<ElementType>,
    k: i64,
}

pub(super) fn prepare_eye(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let dtype = match spec.attributes.int_opt("dtype")? {
        Some(code) => Some(element_type(spec, code)?),
        None => None,
    };
    ensure!(dtype != Some(ElementType::String), InvalidModel, "EyeLike: a matrix of strings");
    Ok(Box::new(EyeLike { dtype, k: spec.attributes.int("k", 0)? }))
}

impl Kernel for EyeLike {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let like = inputs.tensor(0)?;
        let &[rows, cols] = like.dims() else {
            bail!(InvalidInput, "EyeLike: expected a matrix, got shape {}", like.shape());
        };
        let dtype = self.dtype.unwrap_or(like.dtype());
        ensure!(dtype != ElementType::String, InvalidInput, "EyeLike: a matrix of strings");
        let mut out = ctx.filled(like.len(), false)?;
        for (r, row) in out.chunks_mut(cols.max(1)).enumerate().take(rows) {
            let at = usize::try_from((r as i64).saturating_add(self.k)).ok();
            if let Some(v) = at.and_then(|at| row.get_mut(at)) {
                *v = true;
            }
        }
        let eye = ctx.tensor(like.shape().clone(), out)?;
        one(cast(ctx, eye, dtype)?)
    }
}

struct Trilu {
    upper: bool,
}

pub(super) fn prepare_trilu(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=2)?;
    Ok(Box::new(Trilu { upper: spec.attributes.flag("upper", true)? }))
}

impl Kernel for Trilu {
    fn run(&self, _: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let k = match inputs.tensor_opt(1)? {
            None => 0,
            Some(k) => match k.to_i64_vec()?[..] {
                [k] => k,
                _ => bail!(InvalidInput, "Trilu: k has {} elements, expected 1", k.len()),
            },
        };
        let tensor = inputs.take_tensor(0)?;
        let shape = tensor.shape().clone();
        let &[.., rows, cols] = shape.dims() else {
            bail!(InvalidInput, "Trilu: expected matrices, got shape {shape}");
        };
        // In place where nobody else reads the input.
        let mut data = tensor.into_data();
        for_each_type!(&mut data, v => clear(v, rows, cols, k, self.upper));
        one(Tensor::new(shape, data)?)
    }
}

/// Sets what lies below (or above) diagonal `k` of each matrix to zero.
fn clear<T: Element>(v: &mut [T], rows: usize, cols: usize, k: i64, upper: bool) {
    for (i, row) in v.chunks_mut(cols.max(1)).enumerate() {
        let diagonal = ((i % rows.max(1)) as i64).saturating_add(k);
        let edge = if upper { diagonal } else { diagonal.saturating_add(1) };
        let edge = edge.clamp(0, cols as i64) as usize;
        let zeroed = if upper { &mut row[..edge] } else { &mut row[edge..] };
        zeroed.fill(T::default());
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};
    use crate::tensor::Tensor;

    #[test]
    fn eyes_of_any_type_and_diagonal() {
        let x = t(&[2, 3], &[9i32; 6]);
        let op = Op::onnx("EyeLike", 9);
        assert_eq!(op.run1(std::slice::from_ref(&x)), t(&[2, 3], &[1, 0, 0, 0, 1, 0]));
        let op = Op::onnx("EyeLike", 9).int("dtype", 1).int("k", -1);
        assert_eq!(op.run1(std::slice::from_ref(&x)), t(&[2, 3], &[0f32, 0., 0., 1., 0., 0.]));
        let op = Op::onnx("EyeLike", 9).int("k", i64::MAX);
        assert_eq!(op.run1(&[x]), t(&[2, 3], &[0i32; 6]));
        assert!(Op::onnx("EyeLike", 9).run(&[t(&[2], &[0f32; 2])]).is_err());
    }

    #[test]
    fn triangles_of_batched_matrices() {
        let x = t(&[2, 2, 3], &[1i64; 12]);
        let y = Op::onnx("Trilu", 14).run1(std::slice::from_ref(&x));
        assert_eq!(y, t(&[2, 2, 3], &[1i64, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1]));
        let y = Op::onnx("Trilu", 14).int("upper", 0).run1(&[x.clone(), Tensor::scalar(-1i64)]);
        assert_eq!(y, t(&[2, 2, 3], &[0i64, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0]));
        for (k, upper, expected) in [(i64::MAX, 1, 0i64), (i64::MIN, 1, 1), (i64::MAX, 0, 1)] {
            let y = Op::onnx("Trilu", 14).int("upper", upper).run1(&[x.clone(), Tensor::scalar(k)]);
            assert_eq!(y, t(&[2, 2, 3], &[expected; 12]));
        }
        assert_eq!(Op::onnx("Trilu", 14).run1(&[t::<f32>(&[3, 0], &[])]).dims(), [3, 0]);
    }
}
