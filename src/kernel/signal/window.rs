//! HannWindow, HammingWindow and BlackmanWindow.

use super::{length, output_type};
use crate::error::{Result, bail};
use crate::kernel::cast::cast;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::ElementType;

/// A window as a sum of cosines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    Hann,
    Hamming,
    Blackman,
}

impl Shape {
    /// The window at `turn` of a full circle.
    fn at(self, turn: f64) -> f64 {
        let cos = |k: f64| (std::f64::consts::TAU * k * turn).cos();
        match self {
            Shape::Hann => 0.5 - 0.5 * cos(1.0),
            // The exact fraction that 0.54 stands for.
            Shape::Hamming => 25.0 / 46.0 - 21.0 / 46.0 * cos(1.0),
            Shape::Blackman => 0.42 - 0.5 * cos(1.0) + 0.08 * cos(2.0),
        }
    }
}

struct Window {
    shape: Shape,
    periodic: bool,
    dtype: ElementType,
}

pub(super) fn prepare(spec: &OpSpec<'_>, shape: Shape) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let periodic = spec.attributes.flag("periodic", true)?;
    Ok(Box::new(Window { shape, periodic, dtype: output_type(spec)? }))
}

impl Kernel for Window {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let Some(size) = length(inputs, 0, 0)? else {
            bail!(InvalidInput, "a window without a size");
        };
        let shape = ctx.shape_of::<f64>(&[size])?;
        let mut out = ctx.buffer::<f64>(size)?;
        // A symmetric window ends where it began; one of a single element is at its peak.
        let (circle, shift) = match (self.periodic, size) {
            (false, 1) => (2, 1),
            (false, _) => (size.saturating_sub(1), 0),
            (true, _) => (size, 0),
        };
        let turn = |i: usize| (i + shift) as f64 / circle as f64;
        out.extend((0..size).map(|i| self.shape.at(turn(i))));
        let window = ctx.tensor(shape, out)?;
        one(cast(ctx, window, self.dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::Tensor;

    fn window(op: Op, size: i64) -> Tensor {
        op.run1(&[Tensor::scalar(size)])
    }

    #[test]
    fn windows_by_their_formulas() {
        let symmetric = |op| Op::onnx(op, 17).int("periodic", 0);
        assert_close(&window(Op::onnx("HannWindow", 17), 4), &t(&[4], &[0f32, 0.5, 1.0, 0.5]));
        assert_close(&window(symmetric("HannWindow"), 5), &t(&[5], &[0f32, 0.5, 1.0, 0.5, 0.0]));
        let (edge, side) = (4.0 / 46.0, 25.0 / 46.0);
        let expected = t(&[4], &[edge as f32, side as f32, 1.0, side as f32]);
        assert_close(&window(Op::onnx("HammingWindow", 17), 4), &expected);
        let expected = t(&[5], &[edge, side, 1f64, side, edge]);
        let wide = symmetric("HammingWindow").int("output_datatype", 11);
        assert_close(&window(wide, 5), &expected);
        let expected = t(&[4], &[0f32, 0.34, 1.0, 0.34]);
        assert_close(&window(Op::onnx("BlackmanWindow", 17), 4), &expected);
        let expected = t(&[5], &[0f32, 0.34, 1.0, 0.34, 0.0]);
        assert_close(&window(symmetric("BlackmanWindow"), 5), &expected);
    }

    #[test]
    fn sizes_and_types() {
        for op in ["HannWindow", "HammingWindow", "BlackmanWindow"] {
            assert_eq!(window(Op::onnx(op, 17), 0).dims(), [0]);
            let single = window(Op::onnx(op, 17).int("periodic", 0), 1);
            assert_close(&single, &t(&[1], &[1f32]));
            for bad in [-1, i64::MAX] {
                assert!(Op::onnx(op, 17).run(&[Tensor::scalar(bad)]).is_err());
            }
            assert!(
                Op::onnx(op, 17).int("output_datatype", 8).run(&[Tensor::scalar(1i64)]).is_err()
            );
        }
        let whole = Op::onnx("HannWindow", 17).int("output_datatype", 6);
        assert_eq!(whole.run1(&[t(&[1], &[4i32])]), t(&[4], &[0i32, 0, 1, 0]));
    }
}
