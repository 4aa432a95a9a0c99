//! NonMaxSuppression: of boxes that overlap, those with the highest scores.

use crate::error::{Result, bail, ensure};
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use std::cmp::Ordering;

struct NonMaxSuppression {
    /// Whether boxes are given as middle and size, instead of as two corners.
    centered: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(2..=5)?;
    let centered = match spec.attributes.int("center_point_box", 0)? {
        0 => false,
        1 => true,
        other => return Err(spec.invalid(format_args!("center_point_box of {other}"))),
    };
    Ok(Box::new(NonMaxSuppression { centered }))
}

/// A box between two corners.
#[derive(Debug, Clone, Copy)]
struct Rectangle {
    x: (f32, f32),
    y: (f32, f32),
    area: f32,
}

impl Rectangle {
    fn new(numbers: &[f32], centered: bool) -> Rectangle {
        let &[a, b, c, d] = numbers else {
            return Rectangle { x: (0.0, 0.0), y: (0.0, 0.0), area: 0.0 };
        };
        let ordered = |a: f32, b: f32| if a >= b { (b, a) } else { (a, b) };
        let around = |middle: f32, size: f32| (middle - size / 2.0, middle + size / 2.0);
        // Corners come with y first.
        let (x, y) =
            if centered { (around(a, c), around(b, d)) } else { (ordered(b, d), ordered(a, c)) };
        Rectangle { x, y, area: (x.1 - x.0) * (y.1 - y.0) }
    }

    /// Whether the part that both cover is more than `threshold` of what they cover together.
    fn overlaps(&self, other: &Rectangle, threshold: f32) -> bool {
        let common = |a: (f32, f32), b: (f32, f32)| a.1.min(b.1) - a.0.max(b.0);
        let (width, height) = (common(self.x, other.x), common(self.y, other.y));
        let intersection = width * height;
        let union = self.area + other.area - intersection;
        // Written so that a box without an area, or of NaN, overlaps none.
        width > 0.0
            && height > 0.0
            && intersection > 0.0
            && self.area > 0.0
            && other.area > 0.0
            && union > 0.0
            && intersection / union > threshold
    }
}

/// A number that may be left out: scalars of older files are tensors of one element.
fn number(inputs: &Inputs<'_>, i: usize, name: &str) -> Result<Option<f32>> {
    let Some(tensor) = inputs.tensor_opt(i)?.filter(|t| t.len() > 0) else { return Ok(None) };
    match tensor.to_f32_vec()?[..] {
        [v] => Ok(Some(v)),
        _ => bail!(InvalidInput, "NonMaxSuppression: {name} of shape {}", tensor.shape()),
    }
}

/// The highest scores first, equal ones in their order; NaN last.
fn by_score(a: &(f32, usize), b: &(f32, usize)) -> Ordering {
    let score = b.0.partial_cmp(&a.0).unwrap_or_else(|| a.0.is_nan().cmp(&b.0.is_nan()));
    score.then(a.1.cmp(&b.1))
}

impl Kernel for NonMaxSuppression {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let (boxes, scores) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (images, classes, count) = match (boxes.dims(), scores.dims()) {
            (&[images, count, 4], &[n, classes, m]) if n == images && m == count => {
                (images, classes, count)
            }
            _ => bail!(
                InvalidInput,
                "NonMaxSuppression: boxes of shape {} and scores of shape {}",
                boxes.shape(),
                scores.shape()
            ),
        };
        let most = match inputs.tensor_opt(2)?.filter(|t| t.len() > 0) {
            None => 0,
            Some(t) => match t.to_i64_vec()?[..] {
                [n] => usize::try_from(n).unwrap_or(0),
                _ => bail!(InvalidInput, "NonMaxSuppression: a maximum of shape {}", t.shape()),
            },
        };
        let overlap = number(inputs, 3, "iou_threshold")?.unwrap_or(0.0);
        ensure!(
            (0.0..=1.0).contains(&overlap),
            InvalidInput,
            "NonMaxSuppression: iou_threshold is {overlap}, expected 0 to 1"
        );
        let least = number(inputs, 4, "score_threshold")?;
        let (boxes, scores) = (boxes.as_slice::<f32>()?, scores.as_slice::<f32>()?);
        // Kept besides the result: a box and a candidate, twice, for each score of a class.
        ctx.shape_of::<u64>(&[count, 10])?;
        let mut selected: Vec<i64> = vec![];
        let images = if most == 0 { 0 } else { images };
        for image in 0..images {
            let boxes = boxes.get(image * count * 4..(image + 1) * count * 4).unwrap_or(&[]);
            let boxes: Vec<Rectangle> =
                boxes.chunks(4).map(|b| Rectangle::new(b, self.centered)).collect();
            for class in 0..classes {
                let at = (image * classes + class) * count;
                let scores = scores.get(at..at + count).unwrap_or(&[]);
                let mut candidates: Vec<(f32, usize)> = scores
                    .iter()
                    .copied()
                    .zip(0..)
                    .filter(|&(score, _)| least.is_none_or(|least| score > least))
                    .collect();
                candidates.sort_unstable_by(by_score);
                let mut kept: Vec<Rectangle> = vec![];
                for (turn, (_, index)) in candidates.into_iter().enumerate() {
                    let Some(new) = boxes.get(index) else { continue };
                    if !kept.iter().any(|old| new.overlaps(old, overlap)) {
                        kept.push(*new);
                        selected.extend([image as i64, class as i64, index as i64]);
                        if kept.len() == most {
                            break;
                        }
                    }
                    if turn % 256 == 0 {
                        ctx.check_deadline()?;
                    }
                }
                ctx.shape_of::<i64>(&[selected.len()])?;
            }
        }
        let shape = ctx.shape_of::<i64>(&[selected.len() / 3, 3])?;
        one(ctx.tensor(shape, selected)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Result;
    use crate::kernel::testing::{Op, t};
    use crate::tensor::{Tensor, Value};

    struct Call<'a> {
        op: Op,
        boxes: Tensor,
        scores: Tensor,
        most: Option<i64>,
        overlap: Option<f32>,
        least: Option<f32>,
        expected: &'a [i64],
    }

    fn run(op: &Op, inputs: [Option<Value>; 5]) -> Result<Tensor> {
        op.run_values(&inputs)?.remove(0).into_tensor()
    }

    impl Call<'_> {
        fn check(self) {
            let float = |v: Option<f32>| v.map(|v| t(&[1], &[v]).into());
            let inputs = [
                Some(self.boxes.into()),
                Some(self.scores.into()),
                self.most.map(|v| Tensor::scalar(v).into()),
                float(self.overlap),
                float(self.least),
            ];
            let out = run(&self.op, inputs).unwrap();
            assert_eq!(out, t(&[self.expected.len() / 3, 3], self.expected));
        }
    }

    /// Three pairs of boxes, at 0, 10 and 100 of the y axis (the specification's example).
    const CORNERS: [f32; 24] = [
        0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 0.0,
        10.1, 1.0, 11.1, 0.0, 100.0, 1.0, 101.0,
    ];
    const SCORES: [f32; 6] = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];

    fn call(expected: &[i64]) -> Call<'_> {
        Call {
            op: Op::onnx("NonMaxSuppression", 11),
            boxes: t(&[1, 6, 4], &CORNERS),
            scores: t(&[1, 1, 6], &SCORES),
            most: Some(3),
            overlap: Some(0.5),
            least: Some(0.0),
            expected,
        }
    }

    #[test]
    fn the_best_of_boxes_that_overlap() {
        call(&[0, 0, 3, 0, 0, 0, 0, 0, 5]).check();
        Call { least: Some(0.4), ..call(&[0, 0, 3, 0, 0, 0]) }.check();
        // A score that is just the threshold is not enough.
        Call { least: Some(0.3), ..call(&[0, 0, 3, 0, 0, 0]) }.check();
        Call { most: Some(2), ..call(&[0, 0, 3, 0, 0, 0]) }.check();
        // Any corner first.
        let mut turned = CORNERS;
        turned.swap(0, 2);
        turned.swap(5, 7);
        Call { boxes: t(&[1, 6, 4], &turned), ..call(&[0, 0, 3, 0, 0, 0, 0, 0, 5]) }.check();
        let centered = [
            0.5f32, 0.5, 1.0, 1.0, 0.5, 0.6, 1.0, 1.0, 0.5, 0.4, 1.0, 1.0, 0.5, 10.5, 1.0, 1.0,
            0.5, 10.6, 1.0, 1.0, 0.5, 100.5, 1.0, 1.0,
        ];
        Call {
            op: Op::onnx("NonMaxSuppression", 10).int("center_point_box", 1),
            boxes: t(&[1, 6, 4], &centered),
            ..call(&[0, 0, 3, 0, 0, 0, 0, 0, 5])
        }
        .check();
    }

    #[test]
    fn what_is_left_out() {
        Call { most: None, ..call(&[]) }.check();
        Call { most: Some(0), ..call(&[]) }.check();
        Call { most: Some(-1), ..call(&[]) }.check();
        let all = Call { least: None, most: Some(9), ..call(&[0, 0, 3, 0, 0, 0, 0, 0, 5]) };
        all.check();
        // Without a threshold any overlap is too much: 1 and 2 overlap 0, 4 overlaps 3.
        Call { overlap: None, most: Some(9), ..call(&[0, 0, 3, 0, 0, 0, 0, 0, 5]) }.check();
        // With the highest only what is more than all of it.
        let all = [0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 4, 0, 0, 5];
        Call { overlap: Some(1.0), most: Some(9), ..call(&all) }.check();
    }

    #[test]
    fn ties_keep_their_order_and_equal_overlaps_are_kept() {
        // The two share a third of what they cover together: 0.5 / 1.5.
        let boxes = t(&[1, 2, 4], &[0f32, 0., 1., 1., 0., 0.5, 1., 1.5]);
        let scores = t(&[1, 1, 2], &[0.5f32, 0.5]);
        let both = [0, 0, 0, 0, 0, 1];
        let pair = |overlap: f32, expected| Call {
            boxes: boxes.clone(),
            scores: scores.clone(),
            overlap: Some(overlap),
            ..call(expected)
        };
        pair(0.5 / 1.5, &both).check();
        pair(0.3, &both[..3]).check();
        // A box without an area overlaps none, nor does NaN; NaN scores come last.
        let boxes = t(&[1, 3, 4], &[0f32, 0., 0., 1., 0., 0., 0., 1., f32::NAN, 0., 1., 1.]);
        Call {
            boxes,
            scores: t(&[1, 1, 3], &[f32::NAN, -1.0, 0.5]),
            least: None,
            ..call(&[0, 0, 2, 0, 0, 1, 0, 0, 0])
        }
        .check();
    }

    #[test]
    fn images_and_classes_are_apart() {
        let boxes = [0f32, 0., 1., 1., 0., 0., 1., 1., 0., 0., 1., 1., 5., 5., 6., 6.];
        Call {
            boxes: t(&[2, 2, 4], &boxes),
            scores: t(&[2, 2, 2], &[0.1f32, 0.2, 0.4, 0.3, 0.5, 0.6, 0.8, 0.7]),
            ..call(&[0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1])
        }
        .check();
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let op = Op::onnx("NonMaxSuppression", 11);
        let inputs = |boxes: &[usize], scores: &[usize], overlap: f32| {
            let ones = |dims: &[usize]| t(dims, &vec![1f32; dims.iter().product()]);
            let most = Some(Tensor::scalar(3i64).into());
            let overlap = Some(Tensor::scalar(overlap).into());
            [Some(ones(boxes).into()), Some(ones(scores).into()), most, overlap, None]
        };
        assert!(run(&op, inputs(&[1, 2, 4], &[1, 1, 2], 0.5)).is_ok());
        assert!(run(&op, inputs(&[1, 0, 4], &[1, 1, 0], 0.5)).is_ok());
        for (boxes, scores, overlap) in [
            (&[1, 2, 3][..], &[1, 1, 2][..], 0.5),
            (&[1, 2, 4], &[1, 1, 3], 0.5),
            (&[1, 2, 4], &[2, 1, 2], 0.5),
            (&[2, 4], &[1, 1, 2], 0.5),
            (&[1, 2, 4], &[1, 1, 2], 1.5),
            (&[1, 2, 4], &[1, 1, 2], f32::NAN),
        ] {
            assert!(run(&op, inputs(boxes, scores, overlap)).is_err(), "{boxes:?} {scores:?}");
        }
        let odd = Op::onnx("NonMaxSuppression", 11).int("center_point_box", 2);
        assert!(run(&odd, inputs(&[1, 2, 4], &[1, 1, 2], 0.5)).is_err());
    }
}
