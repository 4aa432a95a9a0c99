//! Parts of a tensor and the reverse: Slice, Pad, CenterCropPad, ReverseSequence.

mod pad;
mod reverse;

use super::registry::{Entry, microsoft, onnx};
use super::reshape::Ints;
use super::transpose::View;
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Result, ensure};
use crate::tensor::Shape;
use crate::tensor::shape::resolve_axis;
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] = &[
    onnx("CenterCropPad", 18, pad::prepare_center),
    // What Slice became in version 10, as an experiment of before.
    onnx("DynamicSlice", 1, |s| prepare(&OpSpec { version: 10, ..*s })),
    onnx("Pad", 2, pad::prepare),
    onnx("ReverseSequence", 10, reverse::prepare),
    onnx("Slice", 1, prepare),
    microsoft("Pad", pad::prepare),
];

struct Slice {
    starts: Ints,
    ends: Ints,
    axes: Ints,
    steps: Ints,
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    if spec.version < 10 {
        spec.arity(1..=1)?;
    } else {
        spec.arity(3..=5)?;
    }
    let slice = Slice {
        starts: Ints::moved(spec, "starts", 1, 10)?,
        ends: Ints::moved(spec, "ends", 2, 10)?,
        axes: Ints::moved(spec, "axes", 3, 10)?,
        steps: if spec.version < 10 { Ints::Absent } else { Ints::input(spec, 4)? },
    };
    if matches!(slice.starts, Ints::Absent) || matches!(slice.ends, Ints::Absent) {
        return Err(spec.invalid("starts or ends are missing"));
    }
    if let Ints::Known(steps) = &slice.steps {
        ensure!(!steps.contains(&0), InvalidModel, "Slice: a step of 0");
    }
    Ok(Box::new(slice))
}

/// First element and number of elements of one sliced axis, by ONNX's clamping rules.
fn extent(dim: usize, start: i64, end: i64, step: i64) -> (usize, usize) {
    // In i128 nothing a model can say overflows.
    let (d, step) = (dim as i128, i128::from(step));
    let from_end = |v: i64| i128::from(v) + if v < 0 { d } else { 0 };
    if d == 0 {
        return (0, 0);
    }
    if step > 0 {
        let start = from_end(start).clamp(0, d);
        let n = (from_end(end).clamp(0, d) - start + step - 1).max(0) / step;
        (start.min(d - 1) as usize, n as usize)
    } else {
        let start = from_end(start).clamp(0, d - 1);
        let n = (start - from_end(end).clamp(-1, d - 1) - step - 1).max(0) / -step;
        (start as usize, n as usize)
    }
}

impl Kernel for Slice {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let starts = self.starts.get(inputs)?.unwrap_or_default();
        let ends = self.ends.get(inputs)?.unwrap_or_default();
        let axes = self.axes.get(inputs)?;
        let steps = self.steps.get(inputs)?;
        let n = starts.len();
        ensure!(
            ends.len() == n
                && axes.as_ref().is_none_or(|a| a.len() == n)
                && steps.as_ref().is_none_or(|s| s.len() == n),
            InvalidInput,
            "Slice: starts, ends, axes and steps are not of one length"
        );
        let tensor = inputs.tensor(0)?;
        let shape = tensor.shape();
        let whole = |&d: &usize| (0usize, d, 1i64);
        let mut cuts: SmallVec<[(usize, usize, i64); 6]> = shape.dims().iter().map(whole).collect();
        let mut seen: SmallVec<[bool; 6]> = SmallVec::from_elem(false, cuts.len());
        for i in 0..n {
            let axis = axes.as_ref().map_or(i as i64, |a| a[i]);
            let axis = resolve_axis(axis, shape.rank())?;
            let step = steps.as_ref().map_or(1, |s| s[i]);
            ensure!(step != 0, InvalidInput, "Slice: a step of 0");
            ensure!(!seen[axis], InvalidInput, "Slice: axis {axis} is named twice");
            seen[axis] = true;
            let (first, count) = extent(shape.dim(axis), starts[i], ends[i], step);
            cuts[axis] = (first, count, step);
        }
        let dims: SmallVec<[usize; 6]> = cuts.iter().map(|c| c.1).collect();
        let strides = shape.strides();
        let offset = cuts.iter().zip(&strides).map(|(c, s)| c.0 * s).sum();
        let mut view = View::new(offset);
        for (&(_, count, step), &stride) in cuts.iter().zip(&strides) {
            // A single element is not stepped from, however far the step would go.
            let step = if count > 1 { step as isize } else { 1 };
            view.push(count, step * stride as isize);
        }
        let shape = Shape::new(&dims)?;
        one(view.tensor(ctx, tensor, shape)?)
    }
}

#[cfg(test)]
mod tests {
    use super::extent;
    use crate::kernel::testing::{Op, t};
    use crate::tensor::Tensor;

    fn ints(v: &[i64]) -> Tensor {
        t(&[v.len()], v)
    }

    #[test]
    fn extents_clamp_as_the_specification_says() {
        for (dim, start, end, step, expected) in [
            (5, 1, 4, 1, (1, 3)),
            (5, 0, i64::MAX, 2, (0, 3)),
            (5, -1, i64::MIN, -1, (4, 5)),
            (5, i64::MAX, 0, -2, (4, 2)),
            (5, i64::MIN, i64::MAX, i64::MAX, (0, 1)),
            (5, i64::MAX, i64::MIN, i64::MIN, (4, 1)),
            (5, 3, 1, 1, (3, 0)),
            (5, 10, 20, 1, (4, 0)),
            (0, 0, 5, 1, (0, 0)),
            (0, -1, i64::MIN, -1, (0, 0)),
        ] {
            assert_eq!(extent(dim, start, end, step), expected, "{dim} {start} {end} {step}");
        }
    }

    #[test]
    fn slices_by_attributes_and_inputs() {
        let x = t(&[3, 4], &(0..12).collect::<Vec<i64>>());
        let op = Op::onnx("Slice", 9).ints("starts", &[1, -2]).ints("ends", &[3, 100]);
        assert_eq!(op.run1(std::slice::from_ref(&x)), t(&[2, 2], &[6i64, 7, 10, 11]));
        let op = Op::onnx("Slice", 13);
        let y = op.run1(&[x.clone(), ints(&[-1]), ints(&[i64::MIN]), ints(&[1]), ints(&[-2])]);
        assert_eq!(y, t(&[3, 2], &[3i64, 1, 7, 5, 11, 9]));
        let y =
            op.run1(&[x.clone(), ints(&[2, 3]), ints(&[-9, -9]), ints(&[0, 1]), ints(&[-1, -3])]);
        assert_eq!(y, t(&[3, 2], &[11i64, 8, 7, 4, 3, 0]));
        let y = op.run1(&[x.clone(), ints(&[2]), ints(&[1]), ints(&[0])]);
        assert_eq!(y.dims(), [0, 4]);
        let steps = [x.clone(), ints(&[0]), ints(&[1]), ints(&[0]), ints(&[0])];
        assert!(op.run(&steps).is_err());
        assert!(op.run(&[x.clone(), ints(&[0, 0]), ints(&[1, 1]), ints(&[0, -2])]).is_err());
        assert!(op.run(&[x, ints(&[0, 0]), ints(&[1])]).is_err());
    }

    #[test]
    fn the_whole_is_shared() {
        let x = t(&[2, 2], &[1f32, 2., 3., 4.]);
        let at = x.as_slice::<f32>().unwrap().as_ptr();
        let y = Op::onnx("Slice", 13).run1(&[x, ints(&[0]), ints(&[9])]);
        assert_eq!(y.as_slice::<f32>().unwrap().as_ptr(), at);
    }
}
