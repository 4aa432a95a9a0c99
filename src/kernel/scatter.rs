//! Writing by index: Scatter, ScatterElements, ScatterND.

use super::gather::{Tuples, element_offsets, tuples};
use super::registry::{Entry, onnx};
use super::transpose::check_text;
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, ensure};
use crate::tensor::{
    Complex, Element, ElementType, Float4E2M1, Float6E2M3, Float6E3M2, Float8E4M3FN,
    Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float8E8M0, Int2, Int4, Tensor, UInt2, UInt4,
    for_each_type,
};
use half::{bf16, f16};

pub(super) const OPS: &[Entry] = &[
    onnx("Scatter", 9, prepare_elements),
    onnx("ScatterElements", 11, prepare_elements),
    onnx("ScatterND", 11, prepare_nd),
];

/// What happens where an update meets a value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduction {
    None,
    Add,
    Mul,
    Max,
    Min,
}

fn reduction(spec: &OpSpec<'_>) -> Result<Reduction> {
    let since = if spec.op == "Scatter" { i64::MAX } else { 16 };
    if spec.version < since {
        return Ok(Reduction::None);
    }
    match spec.attributes.str("reduction", "none")?.as_str() {
        "none" => Ok(Reduction::None),
        "add" => Ok(Reduction::Add),
        "mul" => Ok(Reduction::Mul),
        "max" => Ok(Reduction::Max),
        "min" => Ok(Reduction::Min),
        other => Err(spec.unsupported(format_args!("reduction '{other}'"))),
    }
}

/// Elements that can be combined. Strings only replace each other, which is checked before.
trait Combine: Element {
    fn combine(&mut self, update: &Self, reduction: Reduction);
}

macro_rules! combine_integers {
    ($($t:ty),+) => {$(
        impl Combine for $t {
            fn combine(&mut self, update: &Self, reduction: Reduction) {
                *self = match reduction {
                    Reduction::None => *update,
                    Reduction::Add => self.wrapping_add(*update),
                    Reduction::Mul => self.wrapping_mul(*update),
                    Reduction::Max => (*self).max(*update),
                    Reduction::Min => (*self).min(*update),
                };
            }
        }
    )+};
}
combine_integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! combine_floats {
    ($($t:ty),+) => {$(
        impl Combine for $t {
            // A NaN on either side stays, as in NumPy's maximum and minimum.
            fn combine(&mut self, update: &Self, reduction: Reduction) {
                let (a, b) = (*self, *update);
                *self = match reduction {
                    Reduction::None => b,
                    Reduction::Add => a + b,
                    Reduction::Mul => a * b,
                    Reduction::Max => if a.is_nan() || a >= b { a } else { b },
                    Reduction::Min => if a.is_nan() || a <= b { a } else { b },
                };
            }
        }
    )+};
}
combine_floats!(f32, f64, f16, bf16);

impl Combine for bool {
    fn combine(&mut self, update: &Self, reduction: Reduction) {
        *self = match reduction {
            Reduction::None => *update,
            Reduction::Add | Reduction::Max => *self || *update,
            Reduction::Mul | Reduction::Min => *self && *update,
        };
    }
}

/// Types that are moved only, which is checked before.
macro_rules! replaced {
    ($($t:ty),+) => {$(
        impl Combine for $t {
            fn combine(&mut self, update: &Self, _: Reduction) {
                *self = *update;
            }
        }
    )+};
}
replaced!(
    Int4,
    UInt4,
    Int2,
    UInt2,
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
    Float8E8M0,
    Float6E2M3,
    Float6E3M2,
    Float4E2M1,
    Complex<f32>,
    Complex<f64>
);

impl Combine for String {
    fn combine(&mut self, update: &Self, _: Reduction) {
        self.clone_from(update);
    }
}

fn check(op: &str, data: &Tensor, updates: &Tensor, reduction: Reduction) -> Result<()> {
    ensure!(
        data.dtype() == updates.dtype(),
        InvalidInput,
        "{op}: updates are {}, data is {}",
        updates.dtype(),
        data.dtype()
    );
    let dtype = data.dtype();
    ensure!(
        reduction == Reduction::None
            || dtype.is_float()
            || dtype.is_integer()
            || dtype == ElementType::Bool,
        Unsupported,
        "{op}: reduction of {dtype}"
    );
    Ok(())
}

/// Writes blocks of `updates` over `data`, in order: in place where nobody else reads `data`.
fn write(
    ctx: &mut Context<'_>,
    data: Tensor,
    updates: &Tensor,
    offsets: &[usize],
    block: usize,
    reduction: Reduction,
) -> Result<Tensor> {
    fn blocks<T: Combine>(
        out: &mut [T],
        updates: &Tensor,
        offsets: &[usize],
        block: usize,
        reduction: Reduction,
    ) -> Result<()> {
        let updates = updates.as_slice::<T>()?;
        for (&at, update) in offsets.iter().zip(updates.chunks_exact(block.max(1))) {
            for (to, from) in out[at..at + block].iter_mut().zip(update) {
                to.combine(from, reduction);
            }
        }
        Ok(())
    }
    let shape = data.shape().clone();
    check_text(ctx, updates, shape.len())?;
    ctx.shape_of::<u8>(shape.dims())?;
    let mut data = data.into_data();
    for_each_type!(&mut data, v => blocks(v, updates, offsets, block, reduction)?);
    ctx.tensor_from(shape, data)
}

struct ScatterElements {
    axis: i64,
    reduction: Reduction,
}

fn prepare_elements(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    let axis = spec.attributes.int("axis", 0)?;
    Ok(Box::new(ScatterElements { axis, reduction: reduction(spec)? }))
}

impl Kernel for ScatterElements {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let updates = inputs.take_tensor(2)?;
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        check("ScatterElements", data, &updates, self.reduction)?;
        ensure!(
            updates.shape() == indices.shape(),
            InvalidInput,
            "ScatterElements: updates of shape {} for indices of shape {}",
            updates.shape(),
            indices.shape()
        );
        let offsets = element_offsets(data.shape(), indices, self.axis)?;
        let data = inputs.take_tensor(0)?;
        one(write(ctx, data, &updates, &offsets, 1, self.reduction)?)
    }
}

struct ScatterNd {
    reduction: Reduction,
}

fn prepare_nd(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=3)?;
    Ok(Box::new(ScatterNd { reduction: reduction(spec)? }))
}

impl Kernel for ScatterNd {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let updates = inputs.take_tensor(2)?;
        let (data, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        check("ScatterND", data, &updates, self.reduction)?;
        let Tuples { offsets, block, shape } = tuples(ctx, data.shape(), indices, 0)?;
        ensure!(
            updates.shape() == &shape,
            InvalidInput,
            "ScatterND: updates of shape {}, expected {shape}",
            updates.shape()
        );
        let data = inputs.take_tensor(0)?;
        one(write(ctx, data, &updates, &offsets, block, self.reduction)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};

    #[test]
    fn elements_are_replaced_or_combined() {
        let x = t(&[1, 5], &[1f32, 2., 3., 4., 5.]);
        let at = t(&[1, 3], &[1i64, -2, 1]);
        let up = t(&[1, 3], &[1.5f32, 2.5, 3.0]);
        for (reduction, expected) in [
            ("none", [1f32, 3.0, 3., 2.5, 5.]),
            ("add", [1., 6.5, 3., 6.5, 5.]),
            ("mul", [1., 9.0, 3., 10., 5.]),
            ("max", [1., 3.0, 3., 4., 5.]),
            ("min", [1., 1.5, 3., 2.5, 5.]),
        ] {
            let op = Op::onnx("ScatterElements", 18).int("axis", 1).string("reduction", reduction);
            assert_eq!(op.run1(&[x.clone(), at.clone(), up.clone()]), t(&[1, 5], &expected));
        }
        let op = Op::onnx("Scatter", 9).int("axis", 1);
        assert_eq!(op.run1(&[x.clone(), at, up.clone()]), t(&[1, 5], &[1f32, 3.0, 3., 2.5, 5.]));
        assert!(op.run(&[x.clone(), t(&[1, 3], &[0i64, 5, 0]), up.clone()]).is_err());
        assert!(op.run(&[x.clone(), t(&[1, 2], &[0i64, 1]), up]).is_err());
        assert_eq!(x, t(&[1, 5], &[1f32, 2., 3., 4., 5.]));
    }

    #[test]
    fn blocks_are_replaced_or_combined() {
        let x = t(&[3, 2], &[1i64, 2, 3, 4, 5, 6]);
        let (at, up) = (t(&[2, 1], &[-1i64, 0]), t(&[2, 2], &[10i64, 20, 30, 40]));
        let y = Op::onnx("ScatterND", 13).run1(&[x.clone(), at.clone(), up.clone()]);
        assert_eq!(y, t(&[3, 2], &[30i64, 40, 3, 4, 10, 20]));
        let op = Op::onnx("ScatterND", 16).string("reduction", "add");
        let y = op.run1(&[x.clone(), at, up.clone()]);
        assert_eq!(y, t(&[3, 2], &[31i64, 42, 3, 4, 15, 26]));
        assert!(op.run(&[x.clone(), t(&[2, 1], &[3i64, 0]), up.clone()]).is_err());
        assert!(op.run(&[x, t(&[2, 3], &[0i64; 6]), up]).is_err());
    }

    #[test]
    fn strings_are_only_replaced() {
        let x = strings(&[2], &["a", "b"]);
        let inputs = [x, t(&[1], &[1i64]), strings(&[1], &["c"])];
        let y = Op::onnx("ScatterElements", 18).run1(&inputs);
        assert_eq!(y, strings(&[2], &["a", "c"]));
        assert!(Op::onnx("ScatterElements", 18).string("reduction", "add").run(&inputs).is_err());
    }
}
