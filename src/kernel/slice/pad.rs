//! Pad and CenterCropPad: more of a tensor, or less, at its edges.

use crate::error::{Result, bail, ensure};
use crate::kernel::cast::cast;
use crate::kernel::reshape::{Ints, mark_axes};
use crate::kernel::transpose::check_text;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::shape::resolve_axis;
use crate::tensor::{Carrier, Element, ElementType, Shape, Tensor, for_each_carrier};
use smallvec::{SmallVec, smallvec};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

struct Pad {
    mode: Mode,
    pads: Ints,
    axes: Ints,
    /// The padding of old opsets; later ones take it as input 2.
    value: Option<f32>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let mode = match spec.attributes.str("mode", "constant")?.as_str() {
        "constant" => Mode::Constant,
        "edge" => Mode::Edge,
        "reflect" => Mode::Reflect,
        "wrap" => Mode::Wrap,
        other => return Err(spec.unsupported(format_args!("mode '{other}'"))),
    };
    // ONNX Runtime's own one had the pads as an input from its first version on.
    let onnx = spec.domain.is_empty();
    let old = onnx && spec.version < 11;
    let axes = onnx && spec.version >= 18;
    let most = match (old, axes) {
        (true, _) => 1,
        (false, false) => 3,
        (false, true) => 4,
    };
    spec.arity(if old { 1..=most } else { 2..=most })?;
    let pads = if old { Ints::attribute(spec, "pads")? } else { Ints::input(spec, 1)? };
    ensure!(!matches!(pads, Ints::Absent), InvalidModel, "Pad: pads are missing");
    Ok(Box::new(Pad {
        mode,
        pads,
        axes: if axes { Ints::input(spec, 3)? } else { Ints::Absent },
        value: if old { Some(spec.attributes.float("value", 0.0)?) } else { None },
    }))
}

impl Kernel for Pad {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let pads = self.pads.get(inputs)?.unwrap_or_default();
        let axes = self.axes.get(inputs)?;
        let tensor = inputs.tensor(0)?;
        let rank = tensor.shape().rank();
        let n = axes.as_ref().map_or(rank, |a| a.len());
        ensure!(
            pads.len() == 2 * n,
            InvalidInput,
            "Pad: {} pads for {n} axes of shape {}",
            pads.len(),
            tensor.shape()
        );
        let mut both: SmallVec<[(i64, i64); 6]> = smallvec![(0, 0); rank];
        match &axes {
            None => {
                for (i, pair) in both.iter_mut().enumerate() {
                    *pair = (pads[i], pads[n + i]);
                }
            }
            Some(axes) => {
                mark_axes(axes, rank)?;
                for (i, &axis) in axes.iter().enumerate() {
                    both[resolve_axis(axis, rank)?] = (pads[i], pads[n + i]);
                }
            }
        }
        let value = match (inputs.tensor_opt(2)?, self.value) {
            (Some(value), _) if value.len() > 0 => {
                ensure!(
                    value.len() == 1 && value.dtype() == tensor.dtype(),
                    InvalidInput,
                    "Pad: constant_value is {} {}, expected one {}",
                    value.dtype(),
                    value.shape(),
                    tensor.dtype()
                );
                Some(value.clone())
            }
            (_, Some(value)) => Some(cast(ctx, Tensor::scalar(value), tensor.dtype())?),
            _ => None,
        };
        one(pad(ctx, tensor, self.mode, &both, value.as_ref())?)
    }
}

/// Where one padded axis takes its elements from; `usize::MAX` is padding.
struct Axis {
    sources: Vec<usize>,
    /// Elements from here on are a run of neighbours in the source …
    start: usize,
    /// … until here.
    end: usize,
}

const PADDING: usize = usize::MAX;

impl Axis {
    fn new(dim: usize, mode: Mode, (before, after): (i64, i64), len: usize) -> Result<Axis> {
        // Negative pads crop first; what is left repeats.
        let crop = |p: i64| usize::try_from(p.saturating_neg()).unwrap_or(0);
        let (low, high) = (crop(before), dim.saturating_sub(crop(after)));
        let kept = high.saturating_sub(low) as i128;
        if mode != Mode::Constant && kept == 0 && len > 0 {
            bail!(InvalidInput, "Pad: nothing is left of an axis of {dim} to repeat");
        }
        let shift = i128::from(before.max(0));
        let source = |i: usize| {
            let at = i as i128 - shift; // relative to the first kept element
            if (0..kept).contains(&at) {
                return low + at as usize;
            }
            let at = match mode {
                Mode::Constant => return PADDING,
                Mode::Edge => at.clamp(0, kept - 1),
                Mode::Wrap => at.rem_euclid(kept),
                Mode::Reflect if kept == 1 => 0,
                Mode::Reflect => {
                    let turn = at.rem_euclid(2 * (kept - 1));
                    turn.min(2 * (kept - 1) - turn)
                }
            };
            low + at as usize
        };
        let sources: Vec<usize> = (0..len).map(source).collect();
        let start = (shift.min(len as i128)) as usize;
        let end = (shift + kept).min(len as i128) as usize;
        Ok(Axis { sources, start, end: end.max(start) })
    }
}

fn pad(
    ctx: &mut Context<'_>,
    tensor: &Tensor,
    mode: Mode,
    pads: &[(i64, i64)],
    value: Option<&Tensor>,
) -> Result<Tensor> {
    if pads.iter().all(|&p| p == (0, 0)) {
        return Ok(tensor.clone());
    }
    let mut dims: SmallVec<[usize; 6]> = SmallVec::new();
    for (&dim, &(before, after)) in tensor.dims().iter().zip(pads) {
        let len = dim as i128 + i128::from(before) + i128::from(after);
        match usize::try_from(len) {
            Ok(len) => dims.push(len),
            Err(_) => bail!(InvalidInput, "Pad: ({before}, {after}) on an axis of {dim}"),
        }
    }
    let shape = Shape::new(&dims)?;
    check_text(ctx, tensor, shape.len())?;
    if let Some(value) = value {
        check_text(ctx, value, shape.len())?;
    }
    let dtype = tensor.dtype();
    for_each_carrier!(tensor.data(), v => {
        let mut out = ctx.buffer(shape.len())?;
        if shape.len() > 0 {
            for &len in shape.dims() {
                ctx.shape_of::<u64>(&[len])?;
            }
            let axes: SmallVec<[Axis; 6]> = tensor
                .dims()
                .iter()
                .zip(pads)
                .zip(shape.dims())
                .map(|((&dim, &p), &len)| Axis::new(dim, mode, p, len))
                .collect::<Result<_>>()?;
            let fill = match value {
                Some(value) => element(v, value, dtype)?,
                None => Default::default(),
            };
            copy(v, tensor.shape(), &axes, &fill, &mut out);
        }
        Tensor::moved(shape, out, dtype)
    })
}

/// The one element of `value`, which is of type `dtype`, for which `_like` stands.
fn element<T: Carrier>(_like: &[T], value: &Tensor, dtype: ElementType) -> Result<T> {
    Ok(value.carried::<T>(dtype)?.first().cloned().unwrap_or_default())
}

/// Appends the padded tensor to `out`, which has at least one element to come.
fn copy<T: Element>(source: &[T], shape: &Shape, axes: &[Axis], fill: &T, out: &mut Vec<T>) {
    let Some((last, outer)) = axes.split_last() else {
        out.extend_from_slice(source);
        return;
    };
    let strides = shape.strides();
    let len = last.sources.len();
    let mut index: SmallVec<[usize; 6]> = smallvec![0; outer.len()];
    loop {
        let mut base = Some(0);
        for ((axis, &i), &stride) in outer.iter().zip(&index).zip(&strides) {
            base = match (base, axis.sources[i]) {
                (Some(base), at) if at != PADDING => Some(base + at * stride),
                _ => None,
            };
        }
        match base {
            None => out.resize(out.len() + len, fill.clone()),
            Some(base) => {
                let one = |&at: &usize| match at {
                    PADDING => fill.clone(),
                    at => source[base + at].clone(),
                };
                out.extend(last.sources[..last.start].iter().map(one));
                if last.end > last.start {
                    let at = base + last.sources[last.start];
                    out.extend_from_slice(&source[at..at + last.end - last.start]);
                }
                out.extend(last.sources[last.end..].iter().map(one));
            }
        }
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < outer[axis].sources.len() {
                break;
            }
            index[axis] = 0;
        }
    }
}

struct CenterCropPad {
    axes: Option<Vec<i64>>,
}

pub(super) fn prepare_center(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=2)?;
    let axes = spec.attributes.ints_opt("axes")?.map(<[i64]>::to_vec);
    Ok(Box::new(CenterCropPad { axes }))
}

impl Kernel for CenterCropPad {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let target = inputs.tensor(1)?.to_i64_vec()?;
        let rank = tensor.shape().rank();
        let all: Vec<i64> = (0..rank as i64).collect();
        let axes = self.axes.as_deref().unwrap_or(&all);
        mark_axes(axes, rank)?;
        ensure!(
            target.len() == axes.len() && target.iter().all(|&n| n >= 0),
            InvalidInput,
            "CenterCropPad: sizes {target:?} for axes {axes:?}"
        );
        let mut pads: SmallVec<[(i64, i64); 6]> = smallvec![(0, 0); rank];
        for (&axis, &n) in axes.iter().zip(&target) {
            let axis = resolve_axis(axis, rank)?;
            let more = n - tensor.shape().dim(axis) as i64; // both are 0 or more
            // Half before, rounded down in size either way; the rest behind.
            pads[axis] = (more / 2, more - more / 2);
        }
        one(pad(ctx, tensor, Mode::Constant, &pads, None)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, strings, t};
    use crate::tensor::Tensor;

    fn row(mode: &str, pads: [i64; 2]) -> Option<Vec<i64>> {
        let x = t(&[3], &[1i64, 2, 3]);
        let op = Op::onnx("Pad", 19).string("mode", mode);
        let y = op.run(&[x, t(&[2], &pads)]).ok()?.remove(0);
        Some(y.into_vec().unwrap())
    }

    #[test]
    fn modes_agree_with_numpy() {
        assert_eq!(row("constant", [2, 1]).unwrap(), [0, 0, 1, 2, 3, 0]);
        assert_eq!(row("edge", [2, 1]).unwrap(), [1, 1, 1, 2, 3, 3]);
        assert_eq!(row("reflect", [2, 1]).unwrap(), [3, 2, 1, 2, 3, 2]);
        assert_eq!(row("reflect", [5, 0]).unwrap(), [2, 1, 2, 3, 2, 1, 2, 3]);
        assert_eq!(row("wrap", [2, 4]).unwrap(), [2, 3, 1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(row("constant", [-1, 1]).unwrap(), [2, 3, 0]);
        assert_eq!(row("edge", [-1, 1]).unwrap(), [2, 3, 3]);
        assert_eq!(row("constant", [-5, 4]).unwrap(), [0, 0]);
        assert_eq!(row("constant", [-2, -1]).unwrap(), [0i64; 0]);
        assert_eq!(row("constant", [-2, -2]), None);
        assert_eq!(row("edge", [-3, 1]), None);
        assert_eq!(row("constant", [i64::MAX, i64::MAX]), None);
        assert_eq!(row("constant", [i64::MIN, 1]), None);
    }

    #[test]
    fn old_opsets_pad_by_attributes_and_new_ones_by_axes() {
        let x = t(&[2, 2], &[1f32, 2., 3., 4.]);
        let op = Op::onnx("Pad", 10).ints("pads", &[0, 1, 1, 0]).float("value", 9.0);
        let expected = t(&[3, 3], &[9f32, 1., 2., 9., 3., 4., 9., 9., 9.]);
        assert_eq!(op.run1(std::slice::from_ref(&x)), expected);
        let (pads, nine) = (t(&[2], &[1i64, 0]), Tensor::scalar(9f32));
        let y = Op::onnx("Pad", 18).run1(&[x, pads, nine, t(&[1], &[-1i64])]);
        assert_eq!(y, t(&[2, 3], &[9f32, 1., 2., 9., 3., 4.]));
        let x = strings(&[1], &["a"]);
        let y = Op::onnx("Pad", 13).run1(&[x, t(&[2], &[1i64, 0])]);
        assert_eq!(y, strings(&[2], &["", "a"]));
    }

    #[test]
    fn the_contrib_operator_takes_its_pads_as_an_input() {
        let x = t(&[2], &[1f32, 2.]);
        let op = Op::new("com.microsoft", "Pad", 1);
        let pads = t(&[2], &[1i64, 2]);
        let y = op.run1(&[x.clone(), pads, t(&[1], &[9f32])]);
        assert_eq!(y, t(&[5], &[9f32, 1., 2., 9., 9.]));
        let row = t(&[1, 2], &[1i64, 2]);
        let y = op.string("mode", "edge").run1(&[x, row]);
        assert_eq!(y, t(&[5], &[1f32, 1., 2., 2., 2.]));
    }

    #[test]
    fn center_crops_and_pads() {
        let x = t(&[1, 5], &[1i64, 2, 3, 4, 5]);
        let y = Op::onnx("CenterCropPad", 18).run1(&[x, t(&[2], &[2i64, 2])]);
        assert_eq!(y, t(&[2, 2], &[2i64, 3, 0, 0]));
    }
}
