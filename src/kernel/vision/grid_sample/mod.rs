//! GridSample: an image of any number of axes, read at the positions that a grid gives.

mod taps;
#[cfg(test)]
mod tests;

use crate::error::{Result, ensure, err};
use crate::kernel::cast::cast;
use crate::kernel::conv::position::Position;
use crate::kernel::conv::real::{Real, narrowed, widened, with_real};
use crate::kernel::transpose::check_text;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Element, ElementType, Shape, Tensor, for_each_carrier};
use smallvec::{SmallVec, smallvec};
use taps::{Axis, Mode, OUTSIDE, Padding};

struct GridSample {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let mode = spec.attributes.str("mode", "linear")?;
    let padding = spec.attributes.str("padding_mode", "zeros")?;
    Ok(Box::new(GridSample {
        mode: Mode::parse(&mode).ok_or_else(|| spec.invalid(format_args!("mode '{mode}'")))?,
        padding: Padding::parse(&padding)
            .ok_or_else(|| spec.invalid(format_args!("padding_mode '{padding}'")))?,
        align_corners: spec.attributes.flag("align_corners", false)?,
    }))
}

/// Sizes of one run.
struct Geometry {
    axes: SmallVec<[Axis; 3]>,
    channels: usize,
    /// Elements of an input plane.
    plane: usize,
    /// Positions that the grid has for an image.
    positions: usize,
    shape: Shape,
}

/// What is read at one time: the places that positions read are kept for all channels.
const TAPS_AT_A_TIME: usize = 1 << 16;

impl Geometry {
    /// Computes `out` from `x`, a tile of positions at a time: `locate` finds the `count` places
    /// that a position reads, once for all channels, and `value` reads them from a plane (`None`
    /// leaves the element as it is).
    #[allow(clippy::too_many_arguments)] // three of them are the operator's tensors
    fn read<T: Element, P: Position, K: Clone + Send + Sync>(
        &self,
        ctx: &Context<'_>,
        x: &[T],
        grid: &[P],
        out: &mut [T],
        (count, nowhere): (usize, K),
        locate: impl Fn(&[P], &mut [K]) + Send + Sync,
        value: impl Fn(&[K], &[T]) -> Option<T> + Send + Sync,
    ) -> Result<()> {
        let rank = self.axes.len();
        let tile = (TAPS_AT_A_TIME / count.max(1)).clamp(1, self.positions.max(1));
        ctx.shape_of::<u64>(&[tile, count, 2])?;
        let mut places = vec![nowhere; tile * count];
        let images = out.chunks_mut(self.channels * self.positions);
        let planes = x.chunks(self.channels * self.plane);
        for ((out, x), grid) in images.zip(planes).zip(grid.chunks(self.positions * rank)) {
            for start in (0..self.positions).step_by(tile) {
                let width = tile.min(self.positions - start);
                let points = grid.get(start * rank..(start + width) * rank).unwrap_or(&[]);
                let places = places.get_mut(..width * count).unwrap_or(&mut []);
                ctx.threads.split_rows(places, count, 10 * (rank + count), |range, chunk| {
                    let points = points.get(range.start * rank..).unwrap_or(&[]);
                    for (point, places) in points.chunks(rank).zip(chunk.chunks_mut(count)) {
                        locate(point, places);
                    }
                });
                let places: &[K] = places;
                ctx.threads.split_rows(out, self.positions, width * count, |range, chunk| {
                    for (channel, out) in range.zip(chunk.chunks_mut(self.positions)) {
                        let plane = channel * self.plane;
                        let plane = x.get(plane..plane + self.plane).unwrap_or(&[]);
                        let out = out.get_mut(start..start + width).unwrap_or(&mut []);
                        for (out, places) in out.iter_mut().zip(places.chunks(count)) {
                            if let Some(value) = value(places, plane) {
                                *out = value;
                            }
                        }
                    }
                });
                ctx.check_deadline()?;
            }
        }
        Ok(())
    }
}

impl GridSample {
    fn geometry(&self, x: &Tensor, grid: &Tensor) -> Result<Geometry> {
        let (dims, points) = (x.dims(), grid.dims());
        ensure!(
            dims.len() >= 3,
            InvalidInput,
            "GridSample takes a batch, channels and spatial axes, got shape {}",
            x.shape()
        );
        let rank = dims.len() - 2;
        ensure!(
            points.len() == dims.len() && points[0] == dims[0] && points[rank + 1] == rank,
            InvalidInput,
            "GridSample: a grid of shape {} for an input of shape {}",
            grid.shape(),
            x.shape()
        );
        let mut out: SmallVec<[usize; 6]> = SmallVec::from_slice(&dims[..2]);
        out.extend_from_slice(&points[1..=rank]);
        let shape = Shape::new(&out)?;
        ensure!(
            shape.len() == 0 || x.len() > 0,
            InvalidInput,
            "GridSample: there is nothing to read in shape {}",
            x.shape()
        );
        let (padding, align_corners) = (self.padding, self.align_corners);
        Ok(Geometry {
            axes: dims[2..].iter().map(|&size| Axis { size, padding, align_corners }).collect(),
            channels: dims[1],
            plane: dims[2..].iter().product(),
            positions: points[1..=rank].iter().product(),
            shape,
        })
    }

    /// The nearest elements, of whatever type.
    fn nearest<T: Element, P: Position>(
        &self,
        ctx: &mut Context<'_>,
        x: &[T],
        grid: &[P],
        g: &Geometry,
    ) -> Result<Vec<T>> {
        let mut out = ctx.filled(g.shape.len(), T::default())?;
        if out.is_empty() {
            return Ok(out);
        }
        let locate = |point: &[P], places: &mut [usize]| {
            let mut place = 0;
            // The grid counts the innermost axis first.
            for (axis, &n) in g.axes.iter().zip(point.iter().rev()) {
                let mut tap = [(OUTSIDE, 0.0)];
                axis.taps(Mode::Nearest, n, &mut tap);
                if tap[0].0 == OUTSIDE {
                    place = OUTSIDE;
                    break;
                }
                place = place * axis.size + tap[0].0;
            }
            places.fill(place);
        };
        let value = |places: &[usize], plane: &[T]| plane.get(*places.first()?).cloned();
        g.read(ctx, x, grid, &mut out, (1, OUTSIDE), locate, value)?;
        Ok(out)
    }

    /// Weighted sums of elements.
    fn interpolated<T: Real, P: Position>(
        &self,
        ctx: &mut Context<'_>,
        x: &[T],
        grid: &[P],
        g: &Geometry,
    ) -> Result<Vec<T>> {
        let mut out = ctx.filled(g.shape.len(), T::ZERO)?;
        if out.is_empty() {
            return Ok(out);
        }
        let width = self.mode.width();
        let count = u32::try_from(g.axes.len()).ok().and_then(|rank| width.checked_pow(rank));
        let count =
            count.ok_or_else(|| err!(LimitExceeded, "GridSample over {} axes", g.axes.len()))?;
        let locate = |point: &[P], taps: &mut [(usize, T)]| {
            let mut along: SmallVec<[(usize, f64); 12]> = smallvec![(0, 0.0); point.len() * width];
            let axes = g.axes.iter().zip(point.iter().rev());
            for ((axis, &n), out) in axes.zip(along.chunks_mut(width)) {
                axis.taps(self.mode, n, out);
            }
            for (i, tap) in taps.iter_mut().enumerate() {
                let (mut rest, mut place, mut step, mut weight) = (i, 0, 1, 1.0);
                for (axis, along) in g.axes.iter().zip(along.chunks(width)).rev() {
                    match along.get(rest % width) {
                        Some(&(at, w)) if at != OUTSIDE => {
                            place += at * step;
                            weight *= w;
                        }
                        _ => {
                            (place, weight) = (0, 0.0);
                            break;
                        }
                    }
                    rest /= width;
                    step *= axis.size;
                }
                *tap = (place, T::from_f64(weight));
            }
        };
        let value = |taps: &[(usize, T)], plane: &[T]| {
            let mut sum = T::ZERO;
            for &(place, weight) in taps {
                if weight != T::ZERO
                    && let Some(&x) = plane.get(place)
                {
                    sum += weight * x;
                }
            }
            Some(sum)
        };
        g.read(ctx, x, grid, &mut out, (count, (0, T::ZERO)), locate, value)?;
        Ok(out)
    }

    fn sample<P: Position>(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        grid: &[P],
        g: &Geometry,
    ) -> Result<Tensor> {
        if self.mode == Mode::Nearest {
            check_text(ctx, x, g.shape.len())?;
            return for_each_carrier!(x.data(), v => {
                let out = self.nearest(ctx, v, grid, g)?;
                Tensor::moved(g.shape.clone(), out, x.dtype())
            });
        }
        match x.dtype() {
            ElementType::F64 => {
                let out = self.interpolated::<f64, P>(ctx, x.as_slice()?, grid, g)?;
                ctx.tensor(g.shape.clone(), out)
            }
            dtype if dtype.is_float() => {
                let x = widened(x)?;
                let out = self.interpolated::<f32, P>(ctx, x.as_slice()?, grid, g)?;
                narrowed(ctx.tensor(g.shape.clone(), out)?, dtype)
            }
            dtype => {
                ctx.shape_of::<f64>(x.dims())?;
                let x = x.to_f64_vec()?;
                let out = self.interpolated::<f64, P>(ctx, &x, grid, g)?;
                let out = ctx.tensor(g.shape.clone(), out)?;
                cast(ctx, out, dtype)
            }
        }
    }
}

impl Kernel for GridSample {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let x = inputs.tensor(0)?;
        let grid = widened(inputs.tensor(1)?)?;
        let g = self.geometry(x, &grid)?;
        let out = with_real!("GridSample", grid.dtype(), P => {
            self.sample::<P>(ctx, x, grid.as_slice::<P>()?, &g)
        })?;
        one(out)
    }
}
