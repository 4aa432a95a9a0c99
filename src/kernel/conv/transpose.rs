//! ConvTranspose: the product of filters and input, folded onto the output ("col2im").

use super::product::{Matrix, MatrixMut, product};
use super::real::{Real, narrowed, widened, with_real};
use super::window::{AutoPad, Dims, Sliding, Window, sizes};
use super::{FirstError, group};
use crate::error::{Result, ensure};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;

struct ConvTranspose {
    window: Window,
    group: usize,
    output_padding: Dims,
    output_shape: Dims,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=3)?;
    let conv = ConvTranspose {
        window: Window::new(spec)?,
        group: group(spec)?,
        output_padding: sizes(spec, "output_padding", 0)?,
        output_shape: sizes(spec, "output_shape", 0)?,
    };
    if let Some(w) = spec.constant(1) {
        conv.check_weights(w.dims()).map_err(|e| spec.invalid(e.message()))?;
    }
    Ok(Box::new(conv))
}

/// Output channels folded at a time: a constant, so that the split over threads changes nothing.
const BLOCK: usize = 8;

impl ConvTranspose {
    fn check_weights(&self, dims: &[usize]) -> Result<Dims> {
        let kernel = self.window.kernel_of(dims, self.group, "input")?;
        let rank = kernel.len();
        let fits = |v: &Dims| v.is_empty() || v.len() == rank;
        ensure!(
            fits(&self.output_padding)
                && (fits(&self.output_shape) || self.output_shape.len() == rank + 2),
            InvalidInput,
            "weights of shape {dims:?} do not fit output_padding {:?} and output_shape {:?}",
            self.output_padding,
            self.output_shape
        );
        Ok(kernel)
    }

    /// The window as it would slide over the output to give the input.
    fn reverse(&self, kernel: &Dims, input: &[usize]) -> Result<Sliding> {
        let rank = input.len();
        let mut s = Sliding { kernel: kernel.clone(), ..Sliding::default() };
        for (axis, (&size, &kernel)) in input.iter().zip(kernel).enumerate() {
            let (stride, dilation, mut before, mut after) = self.window.axis(axis, rank);
            ensure!(
                (1..1 << 30).contains(&kernel) && size <= 1 << 31,
                InvalidInput,
                "a transposed convolution of {kernel} elements over {size}"
            );
            let extra = self.output_padding.get(axis).copied().unwrap_or(0);
            // Every factor is below 2^32: no overflow.
            let full = size.saturating_sub(1) * stride + extra + (kernel - 1) * dilation + 1;
            let given = match self.output_shape.len() {
                0 => None,
                n => self.output_shape.get(n - rank + axis).copied(),
            };
            let auto = self.window.auto_pad;
            let same = matches!(auto, AutoPad::SameUpper | AutoPad::SameLower);
            let output = match given {
                Some(output) => Some(output),
                None if same => Some(size * stride),
                None => None,
            };
            let output = if let Some(output) = output {
                let total = full.saturating_sub(output);
                let half = total / 2;
                before = if auto == AutoPad::SameUpper { half } else { total - half };
                after = total - before;
                output
            } else {
                if auto == AutoPad::Valid {
                    (before, after) = (0, 0);
                }
                full.saturating_sub(before.saturating_add(after))
            };
            ensure!(
                output > 0,
                InvalidInput,
                "padding {before} and {after} leaves nothing of spatial axis {axis}"
            );
            s.input.push(output);
            s.push(size, stride, dilation, before, after);
        }
        Ok(s)
    }

    fn compute<T: Real>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let kernel = self.check_weights(w.dims())?;
        let dims = x.dims();
        ensure!(
            dims.len() == w.dims().len() && dims[1] == w.dims()[0],
            InvalidInput,
            "an input of shape {} does not fit weights of shape {}",
            x.shape(),
            w.shape()
        );
        let (channels, group_out) = (dims[1] / self.group, w.dims()[1]);
        let out_channels = ctx.shape_of::<T>(&[group_out, self.group])?.len();
        let bias = bias.map(Tensor::as_slice::<T>).transpose()?;
        ensure!(
            bias.is_none_or(|b| b.len() == out_channels),
            InvalidInput,
            "a bias of {} elements for {out_channels} output channels",
            bias.map_or(0, <[T]>::len)
        );
        let sliding = self.reverse(&kernel, &dims[2..])?;
        let mut out_dims: Dims = Dims::from_slice(&[dims[0], out_channels]);
        out_dims.extend_from_slice(&sliding.input);
        let shape = ctx.shape_of::<T>(&out_dims)?;
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        let map = sliding.map(ctx)?;
        // From here "output" is the map's input and the other way round.
        let (size, positions) = (map.input, map.output);
        if let Some(bias) = bias {
            for (channel, &b) in out.chunks_mut(size.max(1)).zip(bias.iter().cycle()) {
                channel.fill(b);
            }
        }
        if out.is_empty() || x.len() == 0 {
            return ctx.tensor(shape, out);
        }
        let (input, weights) = (x.as_slice::<T>()?, w.as_slice::<T>()?);
        let scratch = ctx.shape_of::<T>(&[BLOCK.min(group_out), map.kernel, positions])?.len();
        ctx.shape_of::<T>(&[scratch, ctx.threads.size()])?;
        let block = BLOCK * size;
        let ns = scratch.saturating_mul(channels) / 10;
        let filters = group_out * map.kernel;
        let parts = out.chunks_mut(group_out * size).zip(input.chunks(channels * positions));
        for (i, (out, input)) in parts.enumerate() {
            ctx.check_deadline()?;
            let at = (i % self.group) * channels * filters;
            let weights = weights.get(at..at + channels * filters).unwrap_or(&[]);
            let input = Matrix::new(input, channels, positions, positions, 1)?;
            let error = FirstError::default();
            let one = |index: usize, out: &mut [T], columns: &mut [T]| -> Result<()> {
                let rows = out.len() / size * map.kernel;
                let weights = weights.get(index * BLOCK * map.kernel..).unwrap_or(&[]);
                let filters = Matrix::new(weights, rows, channels, 1, filters)?;
                let mut folded = MatrixMut::new(columns, rows, positions, positions, 1)?;
                product(&filters, &input, &mut folded, false)?;
                for (row, values) in columns.chunks(positions).take(rows).enumerate() {
                    let channel = row / map.kernel * size;
                    let out = out.get_mut(channel..channel + size).unwrap_or(&mut []);
                    fold(&map, row % map.kernel, values, out);
                }
                Ok(())
            };
            ctx.threads.split_rows(out, block, ns, |blocks, chunk| {
                let mut columns = vec![T::ZERO; scratch];
                for (i, out) in chunk.chunks_mut(block).enumerate() {
                    error.note(one(blocks.start + i, out, &mut columns));
                }
            });
            error.into_result()?;
        }
        ctx.tensor(shape, out)
    }
}

/// Adds the products of one kernel element to the output channel they meet.
fn fold<T: Real>(map: &super::window::SlidingMap, kernel: usize, values: &[T], out: &mut [T]) {
    map.runs(kernel, 0..map.output, |run| {
        let values = values.get(run.at..run.at + run.len).unwrap_or(&[]);
        let out = out.get_mut(run.input..).unwrap_or(&mut []);
        for (o, &v) in out.iter_mut().step_by(map.step).zip(values) {
            *o += v;
        }
    });
}

impl Kernel for ConvTranspose {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        let (x, w) = (widened(x)?, widened(inputs.tensor(1)?)?);
        let bias = inputs.tensor_opt(2)?.map(widened).transpose()?;
        let out = with_real!("ConvTranspose", dtype, T => {
            self.compute::<T>(ctx, &x, &w, bias.as_ref())
        })?;
        one(narrowed(out, dtype)?)
    }
}
