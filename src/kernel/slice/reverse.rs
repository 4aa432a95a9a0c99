//! ReverseSequence: each batch entry's first steps in reverse order.

use crate::error::{Result, ensure};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Tensor, for_each_carrier};

struct ReverseSequence {
    /// Whether time comes before batch.
    time_first: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let axes = (spec.attributes.int("batch_axis", 1)?, spec.attributes.int("time_axis", 0)?);
    let time_first = match axes {
        (1, 0) => true,
        (0, 1) => false,
        _ => return Err(spec.invalid("batch_axis and time_axis are not 0 and 1")),
    };
    Ok(Box::new(ReverseSequence { time_first }))
}

impl Kernel for ReverseSequence {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let shape = tensor.shape().clone();
        ensure!(shape.rank() >= 2, InvalidInput, "ReverseSequence: shape {shape} has no two axes");
        let (_, _, inner) = shape.split_at(1);
        let (first, second) = (shape.dim(0), shape.dim(1));
        let (time, batch) = if self.time_first { (first, second) } else { (second, first) };
        let lens = inputs.tensor(1)?.to_i64_vec()?;
        let lens: Vec<usize> =
            lens.iter().map_while(|&n| usize::try_from(n).ok().filter(|&n| n <= time)).collect();
        ensure!(
            lens.len() == batch && inputs.tensor(1)?.len() == batch,
            InvalidInput,
            "ReverseSequence: expected {batch} lengths of 0 to {time}"
        );
        for_each_carrier!(tensor.data(), v => {
            let mut out = ctx.buffer(shape.len())?;
            if shape.len() > 0 {
                for i in 0..first {
                    for j in 0..second {
                        let (t, b) = if self.time_first { (i, j) } else { (j, i) };
                        let t = if t < lens[b] { lens[b] - 1 - t } else { t };
                        let at = if self.time_first { t * second + b } else { b * second + t };
                        out.extend_from_slice(&v[at * inner..(at + 1) * inner]);
                    }
                }
            }
            one(Tensor::moved(shape, out, tensor.dtype())?)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, t};

    #[test]
    fn the_example_of_the_specification() {
        let x =
            t(&[4, 4], &[0., 4., 8., 12., 1., 5., 9., 13., 2., 6., 10., 14., 3., 7., 11., 15f32]);
        let y = Op::onnx("ReverseSequence", 10).run1(&[x.clone(), t(&[4], &[4i64, 3, 2, 1])]);
        let expected = [3., 6., 9., 12., 2., 5., 8., 13., 1., 4., 10., 14., 0., 7., 11., 15f32];
        assert_eq!(y, t(&[4, 4], &expected));
        for lens in [&[4i64, 3, 2][..], &[5, 1, 1, 1], &[-1, 1, 1, 1], &[1; 5]] {
            let lens = t(&[lens.len()], lens);
            assert!(Op::onnx("ReverseSequence", 10).run(&[x.clone(), lens]).is_err());
        }
    }
}
