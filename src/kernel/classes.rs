//! What the models of ai.onnx.ml share: rows of features, post transforms, class labels.

use super::row::as_floats;
use super::{Context, Inputs, Kernel, Outputs, RowOp, RowShape, Sparsity, one, simd};
use crate::attribute::Attributes;
use crate::error::{Result, bail, ensure, err};
use crate::tensor::{Data, ElementType, Tensor, Value};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};

/// The rows and columns of a feature matrix; a vector is one row.
pub(super) fn matrix(tensor: &Tensor) -> Result<(usize, usize)> {
    match *tensor.dims() {
        [width] => Ok((1, width)),
        [rows, width] => Ok((rows, width)),
        _ => bail!(InvalidInput, "expected rows of features [N, F], got shape {}", tensor.shape()),
    }
}

/// The elements as `f32`, borrowed where they are that already.
pub(super) fn as_f32(tensor: &Tensor) -> Result<Cow<'_, [f32]>> {
    Ok(match tensor.data() {
        Data::F32(v) => Cow::Borrowed(v),
        _ => Cow::Owned(tensor.to_f32_vec()?),
    })
}

/// The transform that a model applies to its scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostTransform {
    /// Scores as they are.
    None,
    /// Normalised exponentials.
    Softmax,
    /// Each score through the logistic function.
    Logistic,
    /// Softmax over the scores that are not zero.
    SoftmaxZero,
    /// Each score through the inverse of the normal distribution.
    Probit,
}

impl PostTransform {
    /// Reads the attribute `post_transform`.
    pub(super) fn read(attributes: &Attributes) -> Result<PostTransform> {
        Ok(match attributes.str("post_transform", "NONE")?.as_str() {
            "NONE" => PostTransform::None,
            "SOFTMAX" => PostTransform::Softmax,
            "LOGISTIC" => PostTransform::Logistic,
            "SOFTMAX_ZERO" => PostTransform::SoftmaxZero,
            "PROBIT" => PostTransform::Probit,
            other => bail!(InvalidModel, "post_transform '{other}' is not known"),
        })
    }

    /// Transforms the scores of one row, two or more.
    pub(super) fn apply(self, scores: &mut [f32]) {
        self.apply_rows(scores, scores.len());
    }

    /// As [`PostTransform::apply`], for each row of `width` scores.
    pub(super) fn apply_rows(self, scores: &mut [f32], width: usize) {
        match self {
            PostTransform::None => {}
            PostTransform::Softmax => simd::softmax_rows(scores, width),
            PostTransform::Logistic => simd::sigmoid_in_place(scores),
            PostTransform::SoftmaxZero => {
                scores.chunks_exact_mut(width.max(1)).for_each(softmax_zero);
            }
            PostTransform::Probit => scores.iter_mut().for_each(|s| *s = probit(*s)),
        }
    }

    /// Transforms the only score of a row: the runtimes apply none but PROBIT there.
    pub(super) fn apply_single(self, score: f32) -> f32 {
        if self == PostTransform::Probit { probit(score) } else { score }
    }
}

/// The logistic function, exact at both ends.
pub(super) fn logistic(x: f32) -> f32 {
    let v = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - v } else { v }
}

/// The inverse of the normal distribution, by Winitzki's approximation of erf⁻¹: other runtimes
/// use the same constants, and the answers are theirs.
pub(super) fn probit(x: f32) -> f32 {
    let x = 2.0 * x - 1.0;
    let sign = if x < 0.0 { -1.0f32 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    #[allow(clippy::approx_constant)] // the constant of the definition, not π
    let v = 2.0f32 / (3.14159 * 0.147) + 0.5 * log;
    let v2 = 1.0f32 / 0.147 * log;
    std::f32::consts::SQRT_2 * (sign * (-v + (v * v - v2).sqrt()).sqrt())
}

fn max_score(scores: &[f32]) -> f32 {
    // Comparisons with NaN are false, so that NaN never becomes the maximum.
    scores.iter().fold(-f32::MAX, |m, &s| if s > m { s } else { m })
}

fn softmax_zero(scores: &mut [f32]) {
    let max = max_score(scores);
    let scale = (-max).exp();
    let mut sum = 0.0f32;
    for s in scores.iter_mut() {
        if *s > 0.000_000_1 || *s < -0.000_000_1 {
            *s = (*s - max).exp();
            sum += *s;
        } else {
            *s *= scale;
        }
    }
    scores.iter_mut().for_each(|s| *s /= sum);
}

/// The class labels of a classifier, in the order of their indices.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Labels {
    /// Integer labels.
    Ints(Vec<i64>),
    /// String labels.
    Strings(Vec<String>),
}

impl Labels {
    /// Reads the labels from the two attributes; strings win where both are there.
    pub(super) fn read(attributes: &Attributes, ints: &str, strings: &str) -> Result<Labels> {
        let names = attributes.strs(strings)?;
        let labels = if names.is_empty() {
            Labels::Ints(attributes.ints(ints)?.to_vec())
        } else {
            Labels::Strings(names)
        };
        ensure!(labels.len() > 0, InvalidModel, "neither '{ints}' nor '{strings}' is given");
        Ok(labels)
    }

    /// How many classes there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Labels::Ints(v) => v.len(),
            Labels::Strings(v) => v.len(),
        }
    }

    /// All labels as a tensor.
    pub(super) fn tensor(&self) -> Option<Tensor> {
        let data = match self {
            Labels::Ints(v) => Data::I64(v.clone()),
            Labels::Strings(v) => Data::String(v.clone()),
        };
        Tensor::new(crate::tensor::Shape::new(&[self.len()]).ok()?, data).ok()
    }

    /// The labels of these class indices, as the output of a classifier.
    pub(super) fn pick(&self, classes: impl ExactSizeIterator<Item = u32>) -> Result<Tensor> {
        let rows = classes.len();
        let missing = |i: u32| err!(Internal, "class index {i} of {} classes", self.len());
        match self {
            Labels::Ints(labels) => {
                let picked: Result<Vec<i64>> = classes
                    .map(|i| labels.get(i as usize).copied().ok_or_else(|| missing(i)))
                    .collect();
                Tensor::from_vec(&[rows], picked?)
            }
            Labels::Strings(labels) => {
                let picked: Result<Vec<String>> = classes
                    .map(|i| labels.get(i as usize).cloned().ok_or_else(|| missing(i)))
                    .collect();
                Tensor::from_vec(&[rows], picked?)
            }
        }
    }
}

/// A model that answers each row of `f32` features on its own.
pub(super) trait RowModel: Send + Sync {
    /// Features a row should have.
    fn features(&self) -> usize;
    /// Whether rows of that many features are answered.
    fn accepts(&self, features: usize) -> bool {
        features == self.features()
    }
    /// Scores a row gets.
    fn width(&self) -> usize;
    /// The class labels, for a classifier.
    fn labels(&self) -> Option<&Labels>;
    /// Rough cost of one row in nanoseconds.
    fn row_ns(&self) -> usize;
    /// Writes the scores of one row and answers its class's index (0 where there are none).
    fn row(&self, x: &[f32], out: &mut [f32]) -> u32;
    /// As [`RowModel::row`], for as many rows as there are `classes`; the bits are the same.
    fn rows(&self, x: &[f32], features: usize, out: &mut [f32], classes: &mut [u32]) {
        let rows = x.chunks_exact(features).zip(out.chunks_exact_mut(self.width()));
        for ((x, out), class) in rows.zip(classes) {
            *class = self.row(x, out);
        }
    }
    /// Whether it looks at the columns alone that are not zero, where these are few.
    fn skips_zeros(&self) -> bool {
        false
    }
    /// As [`RowModel::row`] for a row that is zero but at the columns `support`, which ascend; the
    /// bits are the same.
    fn sparse_row(&self, x: &[f32], _support: &[u32], out: &mut [f32]) -> u32 {
        self.row(x, out)
    }
    /// Bytes of coefficients held.
    fn bytes(&self) -> u64;
}

/// The kernel of a [`RowModel`]: whole batches and single rows go through the same function.
pub(super) struct RowKernel<M>(pub M);

impl<M: RowModel> RowKernel<M> {
    /// `features` is positive, as is the number of scores of every model; `put` gets the classes
    /// of the rows from a number on.
    fn rows(
        &self,
        x: &[f32],
        features: usize,
        out: &mut [f32],
        mut put: impl FnMut(usize, &[u32]),
    ) {
        /// Rows at once: their scores stay in the first-level cache.
        const BLOCK: usize = 64;
        let mut classes = [0; BLOCK];
        let blocks = x.chunks(BLOCK * features).zip(out.chunks_mut(BLOCK * self.0.width()));
        for (i, (x, out)) in blocks.enumerate() {
            let classes = &mut classes[..x.len() / features];
            self.0.rows(x, features, out, classes);
            put(i * BLOCK, classes);
        }
    }
}

impl<M: RowModel> Kernel for RowKernel<M> {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let (rows, features) = matrix(tensor)?;
        ensure!(
            features > 0 && self.0.accepts(features),
            InvalidInput,
            "expected rows of {} features, got {features}",
            self.0.features()
        );
        let x = as_f32(tensor)?;
        let width = self.0.width();
        let shape = ctx.shape_of::<f32>(&[rows, width])?;
        let mut scores = ctx.filled(shape.len(), 0f32)?;
        let Some(labels) = self.0.labels() else {
            ctx.threads.split_rows(&mut scores, width, self.0.row_ns(), |range, out| {
                let x = &x[range.start * features..range.end * features];
                self.rows(x, features, out, |_, _| {});
            });
            return one(ctx.tensor(shape, scores)?);
        };
        let classes: Vec<AtomicU32> = (0..rows).map(|_| AtomicU32::new(0)).collect();
        ctx.threads.split_rows(&mut scores, width, self.0.row_ns(), |range, out| {
            let classes = &classes[range.clone()];
            let x = &x[range.start * features..range.end * features];
            // Relaxed: the pool's scope ends before anybody reads.
            self.rows(x, features, out, |at, found| {
                for (to, class) in classes.iter().skip(at).zip(found) {
                    to.store(*class, Ordering::Relaxed);
                }
            });
        });
        let picked = labels.pick(classes.into_iter().map(AtomicU32::into_inner))?;
        let scores = ctx.tensor(shape, scores)?;
        Ok(smallvec::smallvec![Value::Tensor(picked), Value::Tensor(scores)])
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        Some(self)
    }

    fn packed_bytes(&self) -> u64 {
        self.0.bytes()
    }
}

impl<M: RowModel> RowOp for RowKernel<M> {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let classes = self.0.labels().map(Labels::len);
        let fits = matches!(*inputs, [width] if width > 0 && self.0.accepts(width));
        fits.then(|| RowShape { width: self.0.width(), classes })
    }

    fn typed(&self, inputs: &[ElementType]) -> Option<ElementType> {
        as_floats(inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], classes: &mut [u32]) {
        if let ([x], 1..) = (inputs, rows) {
            self.rows(x, (x.len() / rows).max(1), out, |at, found| {
                if let Some(to) = classes.get_mut(at..at + found.len()) {
                    to.copy_from_slice(found);
                }
            });
        }
    }

    fn sparsity(&self) -> Option<Sparsity> {
        self.0.skips_zeros().then_some(Sparsity::Lost)
    }

    fn run_sparse(
        &self,
        support: &[u32],
        inputs: &[&[f32]],
        out: &mut [f32],
        classes: &mut [u32],
    ) -> bool {
        let [x] = inputs else { return false };
        let class = self.0.sparse_row(x, support, out);
        if let Some(to) = classes.first_mut() {
            *to = class;
        }
        true
    }

    fn labels(&self) -> Option<Tensor> {
        self.0.labels()?.tensor()
    }
}

/// The inner product, in eight running sums whose order depends on the length alone.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |x, y| x * y)
}

/// The squared distance, summed as [`dot`].
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |x, y| (x - y) * (x - y))
}

#[inline(always)]
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0f32; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (x, y) in a8.iter().zip(b8) {
        for k in 0..8 {
            sums[k] += term(x[k], y[k]);
        }
    }
    let mut sum =
        ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
    for (&x, &y) in a_rest.iter().zip(b_rest) {
        sum += term(x, y);
    }
    sum
}

/// The index of the first largest score; a leading NaN stays, as in a plain scan.
pub(super) fn first_max(scores: &[f32]) -> usize {
    let (mut best, mut top) = (0, scores.first().copied().unwrap_or_default());
    for (i, &s) in scores.iter().enumerate().skip(1) {
        // Both are chosen without a branch: which score wins cannot be foreseen.
        let better = s > top;
        top = if better { s } else { top };
        best = if better { i } else { best };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_match_their_definitions() {
        let mut s = [1.0f32, 2.0, 3.0];
        PostTransform::Softmax.apply(&mut s);
        for (got, want) in s.iter().zip([0.090_030_57f32, 0.244_728_48, 0.665_240_94]) {
            assert!((got - want).abs() < 1e-6);
        }
        let mut z = [0.3f32, 0.0];
        PostTransform::SoftmaxZero.apply(&mut z);
        assert_eq!(z, [1.0, 0.0]);
        assert_eq!(logistic(0.0), 0.5);
        assert_eq!(logistic(-200.0), 0.0);
        assert!((logistic(0.3) - 0.574_442_5).abs() < 1e-6);
        // The quantile of 0.3, as the approximation gives it.
        assert!((probit(0.3) + 0.524_445_9).abs() < 1e-6);
        assert_eq!(probit(0.0), f32::NEG_INFINITY);
        assert_eq!(PostTransform::Logistic.apply_single(3.0), 3.0);
        let mut ends = [f32::INFINITY, f32::NEG_INFINITY, 0.0, f32::NAN, 0.3];
        PostTransform::Logistic.apply(&mut ends);
        assert_eq!(ends[..3], [1.0, 0.0, 0.5]);
        assert!(ends[3].is_nan());
        assert!((ends[4] - 0.574_442_5).abs() < 1e-6);
    }

    #[test]
    fn the_first_maximum_wins() {
        assert_eq!(first_max(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(first_max(&[2.0]), 0);
        assert_eq!(first_max(&[f32::NAN, 1.0, 2.0]), 0);
        assert_eq!(first_max(&[1.0, f32::NAN, 2.0, 2.0]), 2);
    }
}
