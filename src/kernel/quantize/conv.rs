//! ConvInteger and QLinearConv: a product of the filters with the unfolded input, a tile of
//! output positions at a time.

use super::level::{Byte, scale, with_byte, with_bytes, zero, zeros};
use super::lines::{Direction, Lines};
use super::product::{Rows, centre, padded, product};
use crate::error::{Result, ensure};
use crate::kernel::channels_last::as_told;
use crate::kernel::conv::group;
use crate::kernel::conv::window::{Dims, SlidingMap, Window};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::{Shape, Tensor};
use crate::threads::Threads;

/// The filters, one a row, less their zero points.
struct Filters {
    dims: Dims,
    step: usize,
    data: Vec<i16>,
}

impl Filters {
    fn new(op: &str, w: &Tensor, zero: Option<&Tensor>) -> Result<Filters> {
        let channels = w.dims().first().copied().unwrap_or(1);
        let filter = w.len() / channels.max(1);
        let what = "the zero point of W";
        let zero = match zero {
            Some(t) => {
                let values = zeros(Some(t), w.dtype(), what)?;
                Lines::new(values, t.dims(), &[channels, filter], Direction::Row, what)?
            }
            None => Lines::all(0),
        };
        let step = padded(filter);
        let mut data = vec![0; Shape::new(&[channels, step])?.len()];
        with_bytes!(op, w, v => {
            let pairs = data.chunks_mut(step.max(1)).zip(v.chunks(filter.max(1)));
            for (channel, (data, v)) in pairs.enumerate() {
                centre(v, zero.at(0, channel).unwrap_or(0), data);
            }
            Ok(())
        })?;
        Ok(Filters { dims: Dims::from_slice(w.dims()), step, data })
    }
}

struct QuantisedConv {
    op: String,
    window: Window,
    group: usize,
    /// The numbers of the inputs W and their zero points, and of the zero point of X.
    places: [usize; 3],
    filters: Option<Filters>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let quantised = spec.op == "QLinearConv";
    spec.arity(if quantised { 8..=9 } else { 2..=4 })?;
    let places = if quantised { [3, 5, 2] } else { [1, 3, 2] };
    let mut conv = QuantisedConv {
        op: spec.op.to_string(),
        window: Window::new(spec)?,
        group: group(spec)?,
        places,
        filters: None,
    };
    let constant = !spec.has_input(places[1]) || spec.constant(places[1]).is_some();
    if let (Some(w), true) = (spec.constant(places[0]), constant) {
        let filters = conv
            .window
            .kernel_of(w.dims(), conv.group, "output")
            .and_then(|_| Filters::new(spec.op, w, spec.constant(places[1])));
        conv.filters = Some(filters.map_err(|e| spec.invalid(e.message()))?);
    }
    as_told(spec, Box::new(conv))
}

/// What convolving one image takes.
struct Plan<'a> {
    map: SlidingMap,
    /// Input and output channels of a group.
    channels: (usize, usize),
    /// Elements of one filter.
    filter: usize,
    /// Output positions worked on at a time.
    tile: usize,
    filters: &'a Filters,
}

impl Plan<'_> {
    fn image(&self, threads: &Threads, input: &[i16], out: &mut [i32]) {
        // With many filters a group the product is the faster way.
        if self.channels.0 == 1 && self.channels.1 <= 4 {
            return self.depthwise(threads, input, out);
        }
        let (inputs, outputs) = self.channels;
        let inputs = input.chunks((inputs * self.map.input).max(1));
        let outs = out.chunks_mut((outputs * self.map.output).max(1));
        for (group, (input, out)) in inputs.zip(outs).enumerate() {
            self.unfolded(threads, group, input, out);
        }
    }

    /// Each filter element times what it meets of its one channel.
    fn depthwise(&self, threads: &Threads, input: &[i16], out: &mut [i32]) {
        let positions = self.map.output;
        let filters = Rows::new(&self.filters.data, self.filters.step, 0);
        let ns = positions.saturating_mul(self.map.kernel) / 4;
        threads.split_rows(out, positions, ns, |channels, out| {
            for (channel, out) in channels.zip(out.chunks_mut(positions.max(1))) {
                let from = channel / self.channels.1.max(1) * self.map.input;
                let input = input.get(from..from + self.map.input).unwrap_or(&[]);
                for (k, &w) in filters.row(channel).iter().enumerate().take(self.map.kernel) {
                    let w = i32::from(w);
                    self.map.pairs(k, 0..positions, out, input, |out, &x| {
                        *out = out.wrapping_add(w * i32::from(x));
                    });
                }
            }
        });
    }

    fn unfolded(&self, threads: &Threads, group: usize, input: &[i16], out: &mut [i32]) {
        let (positions, step, outputs) = (self.map.output, self.filters.step, self.channels.1);
        let filters = Rows::new(&self.filters.data, step, 0).part(group * outputs, outputs);
        let tile = self.tile.min(positions);
        let mut columns = vec![0i16; tile * step];
        let mut sums = vec![0i32; tile * outputs];
        let mut start = 0;
        while start < positions {
            let width = tile.min(positions - start);
            let columns = columns.get_mut(..width * step).unwrap_or(&mut []);
            threads.split_rows(columns, step, self.filter, |rows, columns| {
                self.unfold(input, start + rows.start..start + rows.end, columns);
            });
            let sums = sums.get_mut(..width * outputs).unwrap_or(&mut []);
            product(threads, filters, Rows::new(columns, step, width), sums);
            for (out, sums) in out.chunks_mut(positions).zip(sums.chunks(width)) {
                if let Some(out) = out.get_mut(start..start + width) {
                    out.copy_from_slice(sums);
                }
            }
            start += width;
        }
    }

    /// Writes what a filter meets at each of the output `positions` as a row. The padding is the
    /// zero point, hence 0.
    fn unfold(&self, input: &[i16], positions: std::ops::Range<usize>, rows: &mut [i16]) {
        let (step, map) = (self.filters.step, &self.map);
        if !map.dense {
            rows.fill(0);
        }
        for (channel, input) in input.chunks(map.input.max(1)).enumerate() {
            for kernel in 0..map.kernel {
                let at = channel * map.kernel + kernel;
                map.runs(kernel, positions.clone(), |run| {
                    let rows = rows.get_mut(run.at * step + at..).unwrap_or(&mut []);
                    let input = input.get(run.input..).unwrap_or(&[]).iter().step_by(map.step);
                    let rows = rows.iter_mut().step_by(step).take(run.len);
                    rows.zip(input).for_each(|(to, &x)| *to = x);
                });
            }
        }
    }
}

impl QuantisedConv {
    /// The sums, all scales left out.
    fn sums(
        &self,
        ctx: &mut Context<'_>,
        x: &Tensor,
        x_zero: i16,
        filters: &Filters,
    ) -> Result<(Shape, Vec<i32>)> {
        let kernel = self.window.kernel_of(&filters.dims, self.group, "output")?;
        let dims = x.dims();
        ensure!(
            dims.len() == filters.dims.len()
                && filters.dims[1].checked_mul(self.group) == Some(dims[1]),
            InvalidInput,
            "{}: an input of shape {} does not fit weights of shape {:?} in {} groups",
            self.op,
            x.shape(),
            filters.dims,
            self.group
        );
        let (images, channels, out_channels) = (dims[0], dims[1], filters.dims[0]);
        let sliding = self.window.slide(&kernel, &dims[2..])?;
        let mut out_dims = Dims::from_slice(&[images, out_channels]);
        out_dims.extend_from_slice(&sliding.output);
        let shape = ctx.shape_of::<i32>(&out_dims)?;
        let mut out = ctx.filled(shape.len(), 0i32)?;
        if out.is_empty() || x.len() == 0 {
            return Ok((shape, out));
        }
        let mut input = ctx.filled(x.len(), 0i16)?;
        with_bytes!(&self.op, x, v => {
            centre(v, x_zero, &mut input);
            Ok(())
        })?;
        let map = sliding.map(ctx)?;
        let filter = filters.dims[1].saturating_mul(map.kernel);
        let step = filters.step;
        let plan = Plan {
            channels: (channels / self.group, out_channels / self.group),
            filter,
            // So much unfolded input stays in the second cache while the filters pass over it.
            tile: ((1 << 17) / step.max(1)).next_multiple_of(16).clamp(32, 1024),
            filters,
            map,
        };
        ctx.shape_of::<i16>(&[step, plan.tile, ctx.threads.size()])?;
        ctx.shape_of::<i32>(&[plan.channels.1, plan.tile, ctx.threads.size()])?;
        ctx.check_deadline()?;
        let row = out_channels * plan.map.output;
        let in_row = channels * plan.map.input;
        let image = |i: usize| input.get(i * in_row..(i + 1) * in_row).unwrap_or(&[]);
        if images >= 2 * ctx.threads.size() {
            let alone = Threads::new(1);
            let ns = row.saturating_mul(filter) / 16;
            ctx.threads.split_rows(&mut out, row, ns, |range, chunk| {
                for (i, out) in range.zip(chunk.chunks_mut(row)) {
                    plan.image(&alone, image(i), out);
                }
            });
        } else {
            for (i, out) in out.chunks_mut(row).enumerate() {
                plan.image(ctx.threads, image(i), out);
                ctx.check_deadline()?;
            }
        }
        ctx.recycle(input);
        Ok((shape, out))
    }

    /// The sums and the bias in the output's scale, as levels.
    fn quantised<T: Byte>(
        &self,
        ctx: &mut Context<'_>,
        inputs: &Inputs<'_>,
        shape: Shape,
        sums: Vec<i32>,
    ) -> Result<Tensor> {
        let channels = shape.dim(1);
        let x = scale(inputs.tensor(1)?, "the scale of X")?;
        let y = scale(inputs.tensor(6)?, "the scale of Y")?;
        let w = inputs.tensor(4)?;
        let of = [channels, 1];
        let w = Lines::new(w.to_f32_vec()?, w.dims(), &of, Direction::Row, "the scale of W")?;
        let zero: i16 = zero(inputs.tensor_opt(7)?, T::TYPE, "the zero point of Y")?;
        let zero = f32::from(zero);
        let bias = match inputs.tensor_opt(8)? {
            Some(bias) => {
                let bias = bias.as_slice::<i32>()?;
                ensure!(
                    bias.len() == channels,
                    InvalidInput,
                    "{}: a bias of {} elements for {channels} output channels",
                    self.op,
                    bias.len()
                );
                Some(bias)
            }
            None => None,
        };
        let (_, _, positions) = shape.split_at(1);
        let mut out = ctx.filled(sums.len(), T::default())?;
        ctx.threads.split_rows(&mut out, positions, positions, |rows, out| {
            for (row, out) in rows.zip(out.chunks_mut(positions.max(1))) {
                let channel = row % channels.max(1);
                let by = x * w.at(0, channel).unwrap_or(1.0) / y;
                let bias = bias.and_then(|b| b.get(channel)).copied().unwrap_or(0);
                let sums = sums.get(row * positions..(row + 1) * positions).unwrap_or(&[]);
                for (out, &sum) in out.iter_mut().zip(sums) {
                    *out = T::quantised(sum.wrapping_add(bias) as f32 * by, zero);
                }
            }
        });
        ctx.recycle(sums);
        ctx.tensor(shape, out)
    }
}

impl Kernel for QuantisedConv {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let [w, w_zero, x_zero] = self.places;
        let fresh;
        let filters = match &self.filters {
            Some(filters) => filters,
            None => {
                let w = inputs.tensor(w)?;
                ctx.shape_of::<i16>(&[w.len(), 2])?;
                fresh = Filters::new(&self.op, w, inputs.tensor_opt(w_zero)?)?;
                &fresh
            }
        };
        let x = inputs.tensor(0)?;
        let x_zero = zero(inputs.tensor_opt(x_zero)?, x.dtype(), "the zero point of X")?;
        let (shape, sums) = self.sums(ctx, x, x_zero, filters)?;
        if self.op == "ConvInteger" {
            return one(ctx.tensor(shape, sums)?);
        }
        let dtype = inputs.tensor(7)?.dtype();
        one(with_byte!(&self.op, dtype, T => self.quantised::<T>(ctx, inputs, shape, sums))?)
    }

    fn packed_bytes(&self) -> u64 {
        self.filters.as_ref().map_or(0, |f| (f.data.len() * size_of::<i16>()) as u64)
    }

    fn holds(&self, i: usize) -> bool {
        i == self.places[0] && self.filters.is_some()
    }
}
