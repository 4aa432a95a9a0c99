//! Clip.

use crate::error::{Result, bail, ensure};
use crate::kernel::elementwise::arithmetic::{Arithmetic, for_numeric};
use crate::kernel::elementwise::broadcast::owned;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape, one};
use crate::tensor::{Data, Tensor};

/// The bounds: attributes before version 11, inputs after.
struct Clip {
    attributes: Option<(f32, f32)>,
    /// Both bounds where they are known at load and of f32.
    fixed: Option<(Option<f32>, Option<f32>)>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    if spec.version < 11 {
        spec.arity(1..=1)?;
        let low = spec.attributes.float("min", f32::MIN)?;
        let high = spec.attributes.float("max", f32::MAX)?;
        // The versions' defaults are the largest finite numbers: absent leaves infinities alone.
        let present = |name| spec.attributes.get(name).is_some();
        let fixed = (present("min").then_some(low), present("max").then_some(high));
        let low = fixed.0.unwrap_or(f32::NEG_INFINITY);
        let high = fixed.1.unwrap_or(f32::INFINITY);
        return Ok(Box::new(Clip { attributes: Some((low, high)), fixed: Some(fixed) }));
    }
    spec.arity(1..=3)?;
    let known = |i: usize| match (spec.has_input(i), spec.constant(i).map(Tensor::data)) {
        (false, _) => Some(None),
        (true, Some(Data::F32(v))) => v.first().map(|&v| Some(v)),
        _ => None,
    };
    let fixed = known(1).zip(known(2));
    Ok(Box::new(Clip { attributes: None, fixed }))
}

fn clipped<T: Arithmetic>(data: &mut [T], low: Option<T>, high: Option<T>) {
    // Comparisons this way round keep NaN; where the bounds cross, the upper one wins.
    match (low, high) {
        (Some(low), Some(high)) => T::map(data, |v| {
            let v = if v < low { low } else { v };
            if v > high { high } else { v }
        }),
        (Some(low), None) => T::map(data, |v| if v < low { low } else { v }),
        (None, Some(high)) => T::map(data, |v| if v > high { high } else { v }),
        (None, None) => {}
    }
}

fn bound<T: Arithmetic>(inputs: &Inputs<'_>, i: usize) -> Result<Option<T>> {
    let Some(tensor) = inputs.tensor_opt(i)? else { return Ok(None) };
    let value = tensor.as_slice::<T>()?;
    ensure!(
        value.len() == 1,
        InvalidInput,
        "Clip: a bound must be one number, got shape {}",
        tensor.shape()
    );
    Ok(value.first().copied())
}

fn run<T: Arithmetic>(
    ctx: &mut Context<'_>,
    inputs: &mut Inputs<'_>,
    attributes: Option<(T, T)>,
) -> Result<Tensor> {
    let (low, high) = match attributes {
        Some((low, high)) => (Some(low), Some(high)),
        None => (bound::<T>(inputs, 1)?, bound::<T>(inputs, 2)?),
    };
    let input = inputs.take_tensor(0)?;
    let shape = input.shape().clone();
    let mut data = owned::<T>(ctx, input)?;
    ctx.threads.split_rows(&mut data, 64, 20, |_, data| clipped(data, low, high));
    ctx.tensor(shape, data)
}

impl Kernel for Clip {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        let Some((low, high)) = self.attributes else {
            return one(for_numeric!(
                dtype,
                T => run::<T>(ctx, inputs, None)?,
                other => bail!(InvalidInput, "Clip of {other}")
            ));
        };
        one(match inputs.tensor(0)?.data() {
            Data::F32(_) => run(ctx, inputs, Some((low, high)))?,
            Data::F64(_) => run(ctx, inputs, Some((f64::from(low), f64::from(high))))?,
            Data::F16(_) => {
                let (low, high) = (half::f16::from_f32(low), half::f16::from_f32(high));
                run(ctx, inputs, Some((low, high)))?
            }
            other => bail!(InvalidInput, "Clip of {} in this version", other.dtype()),
        })
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.fixed.is_some().then_some(self as &dyn RowOp)
    }
}

impl RowOp for Clip {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let &[width] = inputs else { return None };
        Some(RowShape { width, classes: None })
    }

    fn run_rows(&self, _: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        if let (Some((low, high)), [x]) = (self.fixed, inputs)
            && x.len() == out.len()
        {
            out.copy_from_slice(x);
            clipped(out, low, high);
        }
    }
}
