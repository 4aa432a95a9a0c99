//! Sliding windows: kernel sizes, strides, dilations and padding, for convolutions and pools.

use crate::error::{Result, bail, ensure, err};
use crate::kernel::{Context, OpSpec};
use smallvec::SmallVec;
use std::ops::Range;

/// One number per spatial axis.
pub(in crate::kernel) type Dims = SmallVec<[usize; 4]>;

/// Most that a kernel size, stride, dilation or padding may be: their products stay far from
/// overflow.
const MOST: usize = 1 << 30;

/// How padding is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernel) enum AutoPad {
    /// As the attribute `pads` says.
    Explicit,
    /// Output size `ceil(input / stride)`, the odd element at the end.
    SameUpper,
    /// As `SameUpper`, the odd element at the beginning.
    SameLower,
    /// None.
    Valid,
}

/// The window attributes of a node.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct Window {
    pub auto_pad: AutoPad,
    pub kernel: Option<Dims>,
    strides: Dims,
    dilations: Dims,
    /// All beginnings, then all ends.
    pads: Dims,
    ceil: bool,
    /// Whether an axis may be too short for even one window; there is no output then.
    pub may_be_empty: bool,
}

/// A list of sizes of at least `least` from a node's attribute; empty where absent.
pub(in crate::kernel) fn sizes(spec: &OpSpec<'_>, name: &str, least: usize) -> Result<Dims> {
    let mut out = Dims::new();
    for &v in spec.attributes.ints(name)? {
        match usize::try_from(v) {
            Ok(v) if (least..=MOST).contains(&v) => out.push(v),
            _ => bail!(InvalidModel, "{}: attribute '{name}' holds {v}", spec.op),
        }
    }
    Ok(out)
}

impl Window {
    /// The window of a node, every number checked.
    pub fn new(spec: &OpSpec<'_>) -> Result<Window> {
        let auto_pad = match spec.attributes.str("auto_pad", "NOTSET")?.as_str() {
            "NOTSET" | "" => AutoPad::Explicit,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            other => return Err(spec.invalid(format_args!("auto_pad '{other}' is none"))),
        };
        let kernel = sizes(spec, "kernel_shape", 1)?;
        let window = Window {
            auto_pad,
            kernel: (!kernel.is_empty()).then_some(kernel),
            strides: sizes(spec, "strides", 1)?,
            dilations: sizes(spec, "dilations", 1)?,
            pads: sizes(spec, "pads", 0)?,
            ceil: spec.attributes.flag("ceil_mode", false)?,
            may_be_empty: false,
        };
        if let Some(kernel) = &window.kernel {
            window.check_rank(kernel.len()).map_err(|e| spec.invalid(e.message()))?;
        }
        Ok(window)
    }

    /// Refuses attributes made for another number of spatial axes.
    pub fn check_rank(&self, rank: usize) -> Result<()> {
        ensure!(rank > 0, InvalidInput, "there is no spatial axis");
        let fits = |n: usize| n == 0 || n == rank;
        ensure!(
            self.kernel.as_ref().is_none_or(|k| k.len() == rank)
                && fits(self.strides.len())
                && fits(self.dilations.len())
                && (self.pads.is_empty() || self.pads.len() == 2 * rank),
            InvalidInput,
            "window attributes do not fit {rank} spatial axes (kernel {:?}, strides {:?}, \
             dilations {:?}, pads {:?})",
            self.kernel,
            self.strides,
            self.dilations,
            self.pads
        );
        Ok(())
    }

    /// The kernel's sizes as weights of these dimensions say; refuses weights that do not fit the
    /// attributes, or whose first axis does not fall into `group` groups of `what`.
    pub fn kernel_of(&self, weights: &[usize], group: usize, what: &str) -> Result<Dims> {
        ensure!(
            weights.len() >= 3,
            InvalidInput,
            "weights of {} dimensions, expected at least 3",
            weights.len()
        );
        let kernel = Dims::from_slice(&weights[2..]);
        self.check_rank(kernel.len())?;
        ensure!(
            self.kernel.as_ref().is_none_or(|k| *k == kernel),
            InvalidInput,
            "weights of shape {weights:?} do not fit kernel_shape {:?}",
            self.kernel
        );
        ensure!(
            weights[0].is_multiple_of(group),
            InvalidInput,
            "{} {what} channels in {group} groups",
            weights[0]
        );
        Ok(kernel)
    }

    /// `(stride, dilation, padding before, padding after)` of a spatial axis, as written.
    pub fn axis(&self, axis: usize, rank: usize) -> (usize, usize, usize, usize) {
        let at = |v: &Dims, i: usize, default| v.get(i).copied().unwrap_or(default);
        (
            at(&self.strides, axis, 1),
            at(&self.dilations, axis, 1),
            at(&self.pads, axis, 0),
            at(&self.pads, axis + rank, 0),
        )
    }

    /// This window with kernel sizes `kernel` over a spatial input of sizes `input`.
    pub fn slide(&self, kernel: &[usize], input: &[usize]) -> Result<Sliding> {
        let rank = input.len();
        self.check_rank(rank)?;
        ensure!(
            kernel.len() == rank && kernel.iter().all(|k| (1..=MOST).contains(k)),
            InvalidInput,
            "a kernel of sizes {kernel:?} over {rank} spatial axes"
        );
        let mut s = Sliding {
            input: Dims::from_slice(input),
            kernel: Dims::from_slice(kernel),
            ..Sliding::default()
        };
        for (axis, (&size, &kernel)) in input.iter().zip(kernel).enumerate() {
            let (stride, dilation, mut before, mut after) = self.axis(axis, rank);
            let reach = (kernel - 1) * dilation + 1;
            let output = match self.auto_pad {
                AutoPad::SameUpper | AutoPad::SameLower => {
                    let output = size.div_ceil(stride);
                    let covered = output.saturating_sub(1).saturating_mul(stride);
                    let total = covered.saturating_add(reach).saturating_sub(size);
                    let half = total / 2;
                    before = if self.auto_pad == AutoPad::SameUpper { half } else { total - half };
                    after = total - before;
                    output
                }
                AutoPad::Valid | AutoPad::Explicit => {
                    if self.auto_pad == AutoPad::Valid {
                        (before, after) = (0, 0);
                    }
                    let whole = size + before + after;
                    let room = whole.checked_sub(reach);
                    // The specification's formula gives no window then, or rounds up to one.
                    let short = reach.saturating_sub(whole);
                    let steps = short / stride + usize::from(!self.ceil && short % stride > 0);
                    if self.may_be_empty && room.is_none() && steps <= 1 {
                        s.push(1 - steps, stride, dilation, before, after);
                        continue;
                    }
                    let Some(room) = room else {
                        bail!(
                            InvalidInput,
                            "a window of {reach} elements is larger than spatial axis {axis} of \
                             {size} elements with padding {before} and {after}"
                        );
                    };
                    if self.ceil {
                        // A window may not start in the padding at the end.
                        let last = room.div_ceil(stride);
                        last + usize::from(last * stride < size + before)
                    } else {
                        room / stride + 1
                    }
                }
            };
            s.push(output, stride, dilation, before, after);
        }
        Ok(s)
    }
}

/// A window and the sizes it slides over.
#[derive(Debug, Clone, Default)]
pub(in crate::kernel) struct Sliding {
    pub input: Dims,
    pub kernel: Dims,
    pub output: Dims,
    pub strides: Dims,
    pub dilations: Dims,
    pub before: Dims,
    pub after: Dims,
}

/// The places of one kernel column along the innermost axis.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// Output positions whose input lies inside.
    inside: (usize, usize),
    /// The input position of the first of them.
    input: usize,
}

const OUTSIDE: usize = usize::MAX;

/// Which input element each output position meets under each kernel element, as runs along the
/// innermost axis.
pub(in crate::kernel) struct SlidingMap {
    /// Start of the input row by kernel row and output row; `OUTSIDE` in the padding.
    rows: Vec<usize>,
    columns: Vec<Column>,
    /// Rows and width of the output.
    pub out_rows: usize,
    pub width: usize,
    /// Elements of the kernel.
    pub kernel: usize,
    /// Elements of one input channel.
    pub input: usize,
    /// Elements of one output channel.
    pub output: usize,
    /// Input elements between neighbours of a run.
    pub step: usize,
    /// Whether no place lies in the padding.
    pub dense: bool,
}

/// A run of output positions that meet input elements: `at` and `len` relative to the start of
/// the range asked for, `input` the first input element.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Run {
    pub at: usize,
    pub len: usize,
    pub input: usize,
}

/// `(lowest, one past the highest)` output position whose input lies inside, for the kernel
/// element at offset `offset` (in input elements).
fn inside(
    size: usize,
    output: usize,
    stride: usize,
    offset: usize,
    before: usize,
) -> (usize, usize) {
    let low = before.saturating_sub(offset).div_ceil(stride).min(output);
    let high = match (size + before).checked_sub(offset + 1) {
        Some(room) => (room / stride + 1).min(output),
        None => 0,
    };
    (low, high.max(low))
}

impl Sliding {
    /// Adds a spatial axis' output size, stride, dilation and padding.
    pub fn push(
        &mut self,
        output: usize,
        stride: usize,
        dilation: usize,
        before: usize,
        after: usize,
    ) {
        self.output.push(output);
        self.strides.push(stride);
        self.dilations.push(dilation);
        self.before.push(before);
        self.after.push(after);
    }

    /// Whether each output position sees just the input element at the same place.
    pub fn is_pointwise(&self) -> bool {
        self.kernel.iter().all(|&k| k == 1)
            && self.strides.iter().all(|&s| s == 1)
            && self.input == self.output
            && self.before.iter().all(|&p| p == 0)
    }

    /// The tables of this window.
    pub fn map(&self, ctx: &Context<'_>) -> Result<SlidingMap> {
        let last = self.input.len().checked_sub(1);
        let last = last.ok_or_else(|| err!(InvalidInput, "there is no spatial axis"))?;
        let out_rows = ctx.shape_of::<f32>(&self.output[..last])?.len();
        let kernel_rows = ctx.shape_of::<f32>(&self.kernel[..last])?.len();
        let table = ctx.shape_of::<u64>(&[kernel_rows, out_rows])?.len();
        let input = ctx.shape_of::<u8>(&self.input)?.len();
        let output = ctx.shape_of::<u8>(&self.output)?.len();
        let kernel = ctx.shape_of::<u8>(&self.kernel)?.len();
        ctx.shape_of::<u64>(&[self.kernel[last], 3])?;
        let mut rows: Vec<usize> = Vec::with_capacity(table);
        let mut dense = true;
        for kernel_row in 0..kernel_rows {
            for out_row in 0..out_rows {
                let start = self.input_row(last, kernel_row, out_row);
                dense &= start.is_some();
                rows.push(start.unwrap_or(OUTSIDE));
            }
        }
        let (stride, before) = (self.strides[last], self.before[last]);
        let (size, width) = (self.input[last], self.output[last]);
        let columns: Vec<Column> = (0..self.kernel[last])
            .map(|k| {
                let offset = k * self.dilations[last];
                let inside = inside(size, width, stride, offset, before);
                dense &= inside == (0, width);
                Column { inside, input: (inside.0 * stride + offset).saturating_sub(before) }
            })
            .collect();
        Ok(SlidingMap {
            rows,
            columns,
            out_rows,
            width,
            kernel,
            input,
            output,
            step: stride,
            dense,
        })
    }

    fn input_row(&self, last: usize, kernel_row: usize, out_row: usize) -> Option<usize> {
        let (mut kernel_row, mut out_row) = (kernel_row, out_row);
        let mut start = 0;
        let mut pitch = self.input[last];
        for axis in (0..last).rev() {
            let k = kernel_row % self.kernel[axis];
            kernel_row /= self.kernel[axis];
            let o = out_row % self.output[axis];
            out_row /= self.output[axis];
            let at = o * self.strides[axis] + k * self.dilations[axis];
            let at = at.checked_sub(self.before[axis])?;
            if at >= self.input[axis] {
                return None;
            }
            start += at * pitch;
            pitch *= self.input[axis];
        }
        Some(start)
    }

    /// For each output position along `axis`: how many kernel elements meet the input, or the
    /// input and its padding (not what lies beyond the padding) with `padding`.
    pub fn counts(&self, axis: usize, padding: bool) -> Vec<usize> {
        let (size, kernel) = (self.input[axis], self.kernel[axis]);
        let (stride, dilation) = (self.strides[axis], self.dilations[axis]);
        let (before, after) = (self.before[axis], self.after[axis]);
        (0..self.output[axis])
            .map(|o| {
                let start = o * stride;
                // Positions are counted from the beginning of the padding.
                let (low, high) =
                    if padding { (0, size + before + after) } else { (before, before + size) };
                let below = |bound: usize| bound.saturating_sub(start).div_ceil(dilation);
                below(high).min(kernel).saturating_sub(below(low))
            })
            .collect()
    }
}

impl SlidingMap {
    /// Where the input row begins that an output row meets under a kernel row; `None` in the
    /// padding.
    pub fn input_row(&self, kernel_row: usize, out_row: usize) -> Option<usize> {
        let start = *self.rows.get(kernel_row * self.out_rows + out_row)?;
        (start != OUTSIDE).then_some(start)
    }

    /// Calls `each` for the runs under kernel element `kernel` among the output positions
    /// `range`.
    pub fn runs(&self, kernel: usize, range: Range<usize>, mut each: impl FnMut(Run)) {
        if range.is_empty() || self.width == 0 {
            return;
        }
        let (kernel_row, column) = (kernel / self.columns.len(), kernel % self.columns.len());
        let Some(column) = self.columns.get(column) else { return };
        for row in range.start / self.width..=(range.end - 1) / self.width {
            let Some(&base) = self.rows.get(kernel_row * self.out_rows + row) else { return };
            if base == OUTSIDE {
                continue;
            }
            let origin = row * self.width;
            let low = column.inside.0.max(range.start.saturating_sub(origin));
            let high = column.inside.1.min(range.end - origin);
            if low < high {
                each(Run {
                    at: origin + low - range.start,
                    len: high - low,
                    input: base + column.input + (low - column.inside.0) * self.step,
                });
            }
        }
    }

    /// Calls `each` with every pair of `out` (the output positions of `range`) and `input` (one
    /// channel) that meet under kernel element `kernel`.
    pub fn pairs<A, B>(
        &self,
        kernel: usize,
        range: Range<usize>,
        out: &mut [A],
        input: &[B],
        mut each: impl FnMut(&mut A, &B),
    ) {
        self.runs(kernel, range, |run| {
            let out = out.get_mut(run.at..run.at + run.len).unwrap_or(&mut []);
            let input = input.get(run.input..).unwrap_or(&[]);
            if self.step == 1 {
                out.iter_mut().zip(input).for_each(|(o, x)| each(o, x));
            } else {
                out.iter_mut().zip(input.iter().step_by(self.step)).for_each(|(o, x)| each(o, x));
            }
        });
    }
}
