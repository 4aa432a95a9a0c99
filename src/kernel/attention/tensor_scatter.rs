//! TensorScatter: a run of entries written into a cache.

use crate::error::{Result, ensure, err};
use crate::kernel::transpose::check_text;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Element, Tensor, for_each_type};

struct TensorScatter {
    axis: i64,
    /// Whether entries beyond the end go to the start.
    circular: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=3)?;
    let circular = match spec.attributes.str("mode", "linear")?.as_str() {
        "linear" => false,
        "circular" => true,
        other => return Err(spec.invalid(format_args!("mode is '{other}'"))),
    };
    let axis = spec.attributes.int("axis", -2)?;
    if axis == 0 {
        return Err(spec.invalid("axis must not be that of the batch"));
    }
    Ok(Box::new(TensorScatter { axis, circular }))
}

/// Where each batch entry's update goes, as blocks of a cache and of the update.
struct Plan {
    /// The first entry written, for each batch entry.
    starts: Vec<usize>,
    /// Lines (places before the axis) of a batch entry.
    lines: usize,
    /// Entries along the axis: of the cache and of the update.
    length: usize,
    count: usize,
    /// Elements of an entry.
    inner: usize,
}

impl Plan {
    fn write<T: Element>(&self, cache: &mut [T], update: &Tensor) -> Result<()> {
        let update = update.as_slice::<T>()?;
        let (row, new) = (self.length * self.inner, self.count * self.inner);
        if new == 0 {
            return Ok(());
        }
        let lines = cache.chunks_exact_mut(row).zip(update.chunks_exact(new));
        for (i, (cache, update)) in lines.enumerate() {
            let start = self.starts.get(i / self.lines).copied().unwrap_or(0);
            // What does not fit behind the start goes to the front.
            let fits = self.count.min(self.length - start) * self.inner;
            let start = start * self.inner;
            cache[start..start + fits].clone_from_slice(&update[..fits]);
            cache[..new - fits].clone_from_slice(&update[fits..]);
        }
        Ok(())
    }
}

impl Kernel for TensorScatter {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let cache = inputs.take_tensor(0)?;
        let update = inputs.tensor(1)?;
        let shape = cache.shape().clone();
        let axis = shape.axis(self.axis)?;
        let fits = axis > 0
            && update.dtype() == cache.dtype()
            && update.shape().rank() == shape.rank()
            && shape
                .dims()
                .iter()
                .zip(update.dims())
                .enumerate()
                .all(|(i, (all, new))| if i == axis { new <= all } else { new == all });
        ensure!(
            fits,
            InvalidInput,
            "TensorScatter: an update of {} {} along axis {axis} for a cache of {} {shape}",
            update.dtype(),
            update.shape(),
            cache.dtype()
        );
        let (_, length, inner) = shape.split_at(axis);
        let (count, batch) = (update.shape().dim(axis), shape.dim(0));
        if update.len() == 0 {
            return one(cache);
        }
        let starts: Vec<usize> = match inputs.tensor_opt(2)? {
            Some(indices) => {
                ensure!(
                    indices.dims() == [batch],
                    InvalidInput,
                    "TensorScatter: write_indices of shape {} for a batch of {batch}",
                    indices.shape()
                );
                let indices = indices.to_i64_vec()?;
                let starts = indices.into_iter().map(|at| self.start(at, length, count));
                starts.collect::<Result<_>>()?
            }
            None => vec![0; batch],
        };
        let lines = shape.dims().iter().take(axis).skip(1).product();
        let plan = Plan { starts, lines, length, count, inner };
        check_text(ctx, update, shape.len())?;
        let mut data = cache.into_data();
        for_each_type!(&mut data, v => plan.write(v, update)?);
        one(ctx.tensor_from(shape, data)?)
    }
}

impl TensorScatter {
    /// The first entry that an update of `count` entries is written to.
    fn start(&self, at: i64, length: usize, count: usize) -> Result<usize> {
        if self.circular {
            return Ok(at.rem_euclid(length as i64) as usize);
        }
        let start = usize::try_from(at).ok();
        start.filter(|at| at.checked_add(count).is_some_and(|end| end <= length)).ok_or_else(|| {
            err!(InvalidInput, "TensorScatter: {count} entries at {at} of a cache of {length}")
        })
    }
}
