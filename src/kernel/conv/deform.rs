//! DeformConv: a convolution whose kernel elements each lie where an offset moves them.
//!
//! As in a plain convolution an image is unfolded a tile of output positions at a time and
//! multiplied with the filters; what differs is that an unfolded element is a mean of the corners
//! around the place it is read from.

use super::position::Position;
use super::product::{Matrix, MatrixMut, product};
use super::real::{narrowed, widened, with_real};
use super::window::{Dims, Sliding, Window};
use super::{FirstError, group};
use crate::error::{Result, ensure};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::Tensor;
use crate::threads::Threads;
use std::ops::Range;

struct DeformConv {
    window: Window,
    group: usize,
    offset_group: usize,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(3..=5)?;
    let offset_group = match usize::try_from(spec.attributes.int("offset_group", 1)?) {
        Ok(n) if n > 0 => n,
        _ => return Err(spec.invalid("attribute 'offset_group' must be positive")),
    };
    Ok(Box::new(DeformConv { window: Window::new(spec)?, group: group(spec)?, offset_group }))
}

/// Output channels that one thread multiplies at a time.
const BLOCK: usize = 32;

/// What one run works with.
struct Plan<'a, T> {
    sliding: Sliding,
    group: usize,
    offset_group: usize,
    channels: usize,
    /// Elements of the kernel, of an input plane and of an output plane.
    kernel: usize,
    input: usize,
    output: usize,
    weights: &'a [T],
    /// Where each kernel element is moved to: `[image, offset group, kernel element, axis]`
    /// planes.
    offset: &'a [T],
    /// What each kernel element counts: `[image, offset group, kernel element]` planes.
    mask: Option<&'a [T]>,
    bias: Option<&'a [T]>,
}

/// The indices along `sizes` of element `at`, innermost last.
fn split(mut at: usize, sizes: &[usize]) -> Dims {
    let mut out = Dims::from_elem(0, sizes.len());
    for (out, &size) in out.iter_mut().zip(sizes).rev() {
        *out = at % size.max(1);
        at /= size.max(1);
    }
    out
}

impl<T: Position> Plan<'_, T> {
    fn rank(&self) -> usize {
        self.sliding.input.len()
    }

    /// Elements around a place that is between them.
    fn corners(&self) -> usize {
        1 << self.rank()
    }

    /// Writes for each output position of `range` the elements that kernel element `element` of
    /// an image's offset group reads, and their weights (0 for what lies outside).
    fn locate(&self, image: usize, element: usize, range: Range<usize>, taps: &mut [(usize, T)]) {
        let (s, rank) = (&self.sliding, self.rank());
        let within = split(element % self.kernel, &s.kernel);
        let row = image * self.offset_group * self.kernel + element;
        let mut at = split(range.start, &s.output);
        for (position, taps) in range.zip(taps.chunks_mut(self.corners())) {
            let mask = self.mask.and_then(|m| m.get(row * self.output + position));
            taps.fill((0, mask.copied().unwrap_or(T::ONE)));
            let mut step = 1;
            for axis in (0..rank).rev() {
                let offset = self.offset.get((row * rank + axis) * self.output + position);
                let start = at[axis] * s.strides[axis] + within[axis] * s.dilations[axis];
                let start = T::from_f64(start as f64 - s.before[axis] as f64);
                let x = start + offset.copied().unwrap_or(T::ZERO);
                let floor = x.floor();
                let part = x - floor;
                let inside = |i: f64| i >= 0.0 && i < s.input[axis] as f64;
                let low = floor.to_f64();
                for (corner, (place, weight)) in taps.iter_mut().enumerate() {
                    let upper = corner >> axis & 1 == 1;
                    let i = if upper { low + 1.0 } else { low };
                    if inside(i) {
                        *place += i as usize * step;
                        *weight = *weight * if upper { part } else { T::ONE - part };
                    } else {
                        *weight = T::ZERO;
                    }
                }
                step *= s.input[axis];
            }
            for axis in (0..rank).rev() {
                at[axis] += 1;
                if at[axis] < s.output[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
    }

    /// Convolves one tile of one image: `taps` and `columns` are scratch, `out` is the image's
    /// result, which holds the bias.
    fn tile(
        &self,
        threads: &Threads,
        (image, input): (usize, &[T]),
        range: Range<usize>,
        (taps, columns): (&mut [(usize, T)], &mut [T]),
        out: &mut [T],
    ) -> Result<()> {
        let (width, corners) = (range.len(), self.corners());
        let rows = self.offset_group * self.kernel;
        let taps = taps.get_mut(..rows * width * corners).unwrap_or(&mut []);
        threads.split_rows(taps, width * corners, width * corners * 10, |elements, chunk| {
            for (element, taps) in elements.zip(chunk.chunks_mut(width * corners)) {
                self.locate(image, element, range.clone(), taps);
            }
        });
        let taps: &[(usize, T)] = taps;
        let columns = columns.get_mut(..self.channels * self.kernel * width).unwrap_or(&mut []);
        let per_group = self.channels / self.offset_group;
        threads.split_rows(columns, width, width * corners, |rows, chunk| {
            for (row, out) in rows.zip(chunk.chunks_mut(width)) {
                let (channel, k) = (row / self.kernel, row % self.kernel);
                let plane = channel * self.input;
                let plane = input.get(plane..plane + self.input).unwrap_or(&[]);
                let element = channel / per_group * self.kernel + k;
                let taps = taps.get(element * width * corners..).unwrap_or(&[]);
                for (out, taps) in out.iter_mut().zip(taps.chunks(corners)) {
                    *out = T::ZERO;
                    for &(place, weight) in taps {
                        if weight != T::ZERO
                            && let Some(&x) = plane.get(place)
                        {
                            *out += weight * x;
                        }
                    }
                }
            }
        });
        let columns: &[T] = columns;
        let filter = self.channels / self.group * self.kernel;
        let group_out = out.len() / self.group;
        let filters = group_out / self.output * filter;
        let groups = columns.chunks(filter * width).zip(out.chunks_mut(group_out));
        let error = FirstError::default();
        for ((columns, out), weights) in groups.zip(self.weights.chunks(filters)) {
            let columns = Matrix::new(columns, filter, width, width, 1)?;
            let block = BLOCK * self.output;
            let one = |index: usize, out: &mut [T]| -> Result<()> {
                let channels = out.len() / self.output;
                let weights = weights.get(index * BLOCK * filter..).unwrap_or(&[]);
                let out = out.get_mut(range.start..).unwrap_or(&mut []);
                product(
                    &Matrix::new(weights, channels, filter, filter, 1)?,
                    &columns,
                    &mut MatrixMut::new(out, channels, width, self.output, 1)?,
                    true,
                )
            };
            let ns = filter.saturating_mul(BLOCK * width) / 10;
            // The last chunk may hold a block with fewer channels.
            threads.split_rows(out, block, ns, |blocks, chunk| {
                for (i, out) in chunk.chunks_mut(block).enumerate() {
                    error.note(one(blocks.start + i, out));
                }
            });
        }
        error.into_result()
    }
}

/// Refuses a tensor that does not hold `planes` planes of `output` for each of `images`.
fn check(tensor: &Tensor, what: &str, images: usize, planes: usize, output: &Dims) -> Result<()> {
    let mut dims: Dims = Dims::from_slice(&[images, planes]);
    dims.extend_from_slice(output);
    ensure!(
        tensor.dims() == dims.as_slice(),
        InvalidInput,
        "DeformConv: {what} of shape {}, expected {dims:?}",
        tensor.shape()
    );
    Ok(())
}

impl DeformConv {
    fn compute<T: Position>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        w: &Tensor,
        offset: &Tensor,
        bias: Option<&Tensor>,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let kernel = self.window.kernel_of(w.dims(), self.group, "output")?;
        let (dims, out_channels) = (x.dims(), w.dims()[0]);
        ensure!(
            dims.len() == w.dims().len()
                && w.dims()[1].checked_mul(self.group) == Some(dims[1])
                && dims[1].is_multiple_of(self.offset_group),
            InvalidInput,
            "DeformConv: an input of shape {} for weights of shape {} in {} groups and {} groups \
             of offsets",
            x.shape(),
            w.shape(),
            self.group,
            self.offset_group
        );
        let (images, channels) = (dims[0], dims[1]);
        let sliding = self.window.slide(&kernel, &dims[2..])?;
        let elements = ctx.shape_of::<T>(&kernel)?.len();
        let rows = ctx.shape_of::<T>(&[self.offset_group, elements])?.len();
        check(offset, "offset", images, rows * kernel.len(), &sliding.output)?;
        if let Some(mask) = mask {
            check(mask, "mask", images, rows, &sliding.output)?;
        }
        let bias = bias.map(Tensor::as_slice::<T>).transpose()?;
        ensure!(
            bias.is_none_or(|b| b.len() == out_channels),
            InvalidInput,
            "DeformConv: a bias of {} elements for {out_channels} output channels",
            bias.map_or(0, <[T]>::len)
        );
        let mut out_dims = Dims::from_slice(&[images, out_channels]);
        out_dims.extend_from_slice(&sliding.output);
        let shape = ctx.shape_of::<T>(&out_dims)?;
        let mut out = ctx.filled(shape.len(), T::ZERO)?;
        if out.is_empty() {
            return ctx.tensor(shape, out);
        }
        let plan = Plan {
            group: self.group,
            offset_group: self.offset_group,
            channels,
            kernel: elements,
            input: dims[2..].iter().product(),
            output: sliding.output.iter().product(),
            weights: w.as_slice::<T>()?,
            offset: offset.as_slice::<T>()?,
            mask: mask.map(Tensor::as_slice::<T>).transpose()?,
            bias,
            sliding,
        };
        plan.run(ctx, x.as_slice::<T>()?, &mut out, out_channels)?;
        ctx.tensor(shape, out)
    }
}

impl<T: Position> Plan<'_, T> {
    fn run(&self, ctx: &Context<'_>, x: &[T], out: &mut [T], out_channels: usize) -> Result<()> {
        let image = out_channels * self.output;
        if let Some(bias) = self.bias {
            for (channel, &b) in out.chunks_mut(self.output).zip(bias.iter().cycle()) {
                channel.fill(b);
            }
        }
        let filter = self.channels / self.group * self.kernel;
        if filter == 0 || x.is_empty() {
            return Ok(());
        }
        // Tiles depend on the geometry alone: so do the bits of the result.
        let tile = ((1 << 17) / filter).next_multiple_of(16).clamp(32, 8192).min(self.output);
        let rows = self.offset_group * self.kernel;
        let columns = ctx.shape_of::<T>(&[self.channels, self.kernel, tile])?.len();
        let taps = ctx.shape_of::<u64>(&[rows, tile, self.corners(), 2])?.len() / 2;
        let mut columns = vec![T::ZERO; columns];
        let mut taps = vec![(0usize, T::ZERO); taps];
        let inputs = x.chunks(self.channels * self.input);
        for (i, (x, out)) in inputs.zip(out.chunks_mut(image)).enumerate() {
            for start in (0..self.output).step_by(tile) {
                let range = start..(start + tile).min(self.output);
                let scratch = (taps.as_mut_slice(), columns.as_mut_slice());
                self.tile(ctx.threads, (i, x), range, scratch, out)?;
                ctx.check_deadline()?;
            }
        }
        Ok(())
    }
}

impl Kernel for DeformConv {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        let (x, w) = (widened(inputs.tensor(0)?)?, widened(inputs.tensor(1)?)?);
        let offset = widened(inputs.tensor(2)?)?;
        let bias = inputs.tensor_opt(3)?.map(widened).transpose()?;
        let mask = inputs.tensor_opt(4)?.map(widened).transpose()?;
        let out = with_real!("DeformConv", dtype, T => {
            self.compute::<T>(ctx, &x, &w, &offset, bias.as_ref(), mask.as_ref())
        })?;
        one(narrowed(out, dtype)?)
    }
}

#[cfg(test)]
mod tests;
