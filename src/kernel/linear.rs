//! Linear models of ai.onnx.ml: LinearClassifier, LinearRegressor.

use super::classes::{Labels, PostTransform, RowKernel, RowModel, first_max};
use super::registry::{Entry, ml};
use super::{Kernel, OpSpec, simd};
use crate::error::{Result, ensure};
use crate::room;

pub(super) const OPS: &[Entry] =
    &[ml("LinearClassifier", 1, prepare_classifier), ml("LinearRegressor", 1, prepare_regressor)];

/// Targets from which each feature is multiplied with the weights of several.
const WIDE: usize = 4;
/// Targets side by side in the weights of [`WIDE`] targets and more.
const PANEL: usize = 8;

/// Features from which the zeros of a row are looked for.
const MANY: usize = 512;
/// A row is summed without its zeros where they are all but one in so many.
const SPARSE: usize = 8;

/// `x · Wᵀ + b` for rows.
struct Affine {
    /// Target by target below [`WIDE`] targets, in panels of [`PANEL`] targets from there on, each
    /// feature by feature.
    weights: Vec<f32>,
    bias: Vec<f32>,
    features: usize,
    targets: usize,
    /// Whether the zeros of a row may be skipped: there are many features, and finite weights.
    skips_zeros: bool,
}

impl Affine {
    fn new(spec: &OpSpec<'_>, targets: usize, bias: &[f32]) -> Result<Affine> {
        let given = spec.attributes.floats("coefficients")?;
        ensure!(
            !given.is_empty() && targets > 0 && given.len().is_multiple_of(targets),
            InvalidModel,
            "{}: {} coefficients for {targets} targets",
            spec.op,
            given.len()
        );
        let features = given.len() / targets;
        let bias = if bias.is_empty() { room::filled(targets, 0.0) } else { room::copied(bias) }?;
        let skips_zeros = features >= MANY && given.iter().all(|w| w.is_finite());
        let mut affine = Affine { weights: Vec::new(), bias, features, targets, skips_zeros };
        if targets < WIDE {
            affine.weights = room::copied(given)?;
        } else {
            affine.weights = room::filled(targets.div_ceil(PANEL) * PANEL * features, 0.0)?;
            for (i, &w) in given.iter().enumerate() {
                let at = affine.place(i);
                affine.weights[at] = w;
            }
        }
        Ok(affine)
    }

    /// Where coefficient `i` of the file is.
    fn place(&self, i: usize) -> usize {
        if self.targets < WIDE {
            return i;
        }
        let (target, feature) = (i / self.features, i % self.features);
        (target / PANEL * self.features + feature) * PANEL + target % PANEL
    }

    /// Rows of fewer features than the file has coefficients for are taken all the same, the
    /// coefficients being read as if they were of that width: published models depend on it.
    fn accepts(&self, features: usize) -> bool {
        features <= self.features
    }

    fn narrow_row(&self, x: &[f32], out: &mut [f32]) {
        for (t, (o, b)) in out.iter_mut().zip(&self.bias).enumerate() {
            let terms = x.iter().zip(t * x.len()..);
            *o = terms.map(|(&x, i)| x * self.weights[self.place(i)]).sum::<f32>() + b;
        }
    }

    /// Whether a row with so many numbers that are not zero is summed without the zeros.
    fn is_sparse(&self, count: usize) -> bool {
        self.skips_zeros && count <= self.features / SPARSE
    }

    /// The scores of a row of which only these columns are not zero, by ascending column.
    fn sparse_row(&self, row: impl Iterator<Item = (usize, f32)> + Clone, out: &mut [f32]) {
        if self.targets < WIDE {
            let weights = self.weights.chunks_exact(self.features);
            for ((o, w), b) in out.iter_mut().zip(weights).zip(&self.bias) {
                *o = row.clone().fold(0.0, |sum, (i, x)| sum + x * w[i]) + b;
            }
            return;
        }
        let panels = self.weights.chunks_exact(PANEL * self.features);
        for ((out, panel), bias) in out.chunks_mut(PANEL).zip(panels).zip(self.bias.chunks(PANEL)) {
            let mut sums = [0f32; PANEL];
            for (i, x) in row.clone() {
                for (sum, w) in sums.iter_mut().zip(&panel[i * PANEL..(i + 1) * PANEL]) {
                    *sum += x * w;
                }
            }
            for ((o, sum), b) in out.iter_mut().zip(sums).zip(bias) {
                *o = sum + b;
            }
        }
    }

    /// The scores of a row that is zero but at the columns `support`.
    fn supported_row(&self, x: &[f32], support: &[u32], out: &mut [f32]) {
        let row = support.iter().filter_map(|&i| {
            let x = x.get(i as usize).copied()?;
            (x != 0.0).then_some((i as usize, x))
        });
        match x.len() == self.features && self.is_sparse(row.clone().count()) {
            true => self.sparse_row(row, out),
            false => self.rows(x, x.len(), out),
        }
    }

    /// The scores of rows of so many features, `targets` a row.
    fn rows(&self, x: &[f32], features: usize, out: &mut [f32]) {
        if features != self.features {
            for (x, out) in x.chunks_exact(features).zip(out.chunks_exact_mut(self.targets)) {
                self.narrow_row(x, out);
            }
        } else if self.skips_zeros {
            for (x, out) in x.chunks_exact(features).zip(out.chunks_exact_mut(self.targets)) {
                match self.is_sparse(x.iter().filter(|&&x| x != 0.0).count()) {
                    true => {
                        let row = x.iter().copied().enumerate().filter(|(_, x)| *x != 0.0);
                        self.sparse_row(row, out);
                    }
                    false => self.dense_rows(x, features, out),
                }
            }
        } else {
            self.dense_rows(x, features, out);
        }
    }

    fn dense_rows(&self, x: &[f32], features: usize, out: &mut [f32]) {
        if self.targets < WIDE {
            simd::affine_narrow(x, &self.weights, &self.bias, out);
        } else {
            simd::affine_wide(x, features, &self.weights, &self.bias, out);
        }
    }

    fn row_ns(&self) -> usize {
        self.weights.len() / 4 + 10
    }

    fn bytes(&self) -> u64 {
        ((self.weights.len() + self.bias.len()) * 4) as u64
    }
}

struct LinearRegressor {
    affine: Affine,
    post: PostTransform,
}

fn prepare_regressor(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let targets = spec.attributes.int("targets", 1)?;
    let targets = usize::try_from(targets)
        .map_err(|_| spec.invalid(format_args!("'targets' is {targets}")))?;
    // Intercepts of another number are left out, as elsewhere.
    let bias = spec.attributes.floats("intercepts")?;
    let bias = if bias.len() == targets { bias } else { &[] };
    let affine = Affine::new(spec, targets, bias)?;
    let post = PostTransform::read(spec.attributes)?;
    Ok(Box::new(RowKernel(LinearRegressor { affine, post })))
}

impl LinearRegressor {
    fn finish(&self, out: &mut [f32]) {
        match self.affine.targets {
            1 => out.iter_mut().for_each(|score| *score = self.post.apply_single(*score)),
            targets => self.post.apply_rows(out, targets),
        }
    }
}

impl RowModel for LinearRegressor {
    fn features(&self) -> usize {
        self.affine.features
    }

    fn accepts(&self, features: usize) -> bool {
        self.affine.accepts(features)
    }

    fn width(&self) -> usize {
        self.affine.targets
    }

    fn labels(&self) -> Option<&Labels> {
        None
    }

    fn row_ns(&self) -> usize {
        self.affine.row_ns()
    }

    fn row(&self, x: &[f32], out: &mut [f32]) -> u32 {
        let mut class = [0];
        self.rows(x, x.len(), out, &mut class);
        class[0]
    }

    fn rows(&self, x: &[f32], features: usize, out: &mut [f32], _: &mut [u32]) {
        self.affine.rows(x, features, out);
        self.finish(out);
    }

    fn skips_zeros(&self) -> bool {
        self.affine.skips_zeros
    }

    fn sparse_row(&self, x: &[f32], support: &[u32], out: &mut [f32]) -> u32 {
        self.affine.supported_row(x, support, out);
        self.finish(out);
        0
    }

    fn bytes(&self) -> u64 {
        self.affine.bytes()
    }
}

struct LinearClassifier {
    affine: Affine,
    post: PostTransform,
    labels: Labels,
    /// One score for two labels: its complement is written before it.
    expanded: bool,
}

fn prepare_classifier(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let labels = Labels::read(spec.attributes, "classlabels_ints", "classlabels_strings")?;
    let bias = spec.attributes.floats("intercepts")?;
    let targets = if bias.is_empty() { labels.len() } else { bias.len() };
    let affine = Affine::new(spec, targets, bias)?;
    let post = PostTransform::read(spec.attributes)?;
    let expanded = targets == 1 && labels.len() == 2;
    let labels = match labels {
        labels if targets > 1 || expanded => {
            ensure!(
                labels.len() >= affine.targets.min(targets),
                InvalidModel,
                "{}: {} labels for {targets} scores",
                spec.op,
                labels.len()
            );
            labels
        }
        // One score without two labels: its sign is the label.
        Labels::Ints(_) => Labels::Ints(vec![0, 1]),
        Labels::Strings(_) => Labels::Strings(vec!["0".into(), "1".into()]),
    };
    Ok(Box::new(RowKernel(LinearClassifier { affine, post, labels, expanded })))
}

impl LinearClassifier {
    /// Where the scores of the rows lie until they are spread: in the first half of rows of two.
    fn scores<'a>(&self, out: &'a mut [f32], rows: usize) -> &'a mut [f32] {
        if self.affine.targets > 1 { out } else { &mut out[..rows] }
    }

    /// Scores to answers.
    fn finish(&self, out: &mut [f32], classes: &mut [u32]) {
        // The label is decided before the transform, which may round scores together.
        let targets = self.affine.targets;
        if targets > 1 {
            for (class, scores) in classes.iter_mut().zip(out.chunks_exact(targets)) {
                *class = first_max(scores) as u32;
            }
            return self.post.apply_rows(out, targets);
        }
        let scores = &mut out[..classes.len()];
        for (class, &score) in classes.iter_mut().zip(&*scores) {
            *class = u32::from(score > 0.0);
        }
        if !self.expanded {
            return scores.iter_mut().for_each(|score| *score = self.post.apply_single(*score));
        }
        for i in (0..classes.len()).rev() {
            let score = out[i];
            let pair = match self.post {
                PostTransform::Probit => [self.post.apply_single(score), 0.0],
                PostTransform::Logistic => [-score, score],
                _ => [1.0 - score, score],
            };
            out[2 * i..2 * i + 2].copy_from_slice(&pair);
        }
        if self.post == PostTransform::Logistic {
            self.post.apply_rows(out, 2);
        }
    }
}

impl RowModel for LinearClassifier {
    fn features(&self) -> usize {
        self.affine.features
    }

    fn accepts(&self, features: usize) -> bool {
        self.affine.accepts(features)
    }

    fn width(&self) -> usize {
        if self.expanded { 2 } else { self.affine.targets }
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }

    fn row_ns(&self) -> usize {
        self.affine.row_ns()
    }

    fn row(&self, x: &[f32], out: &mut [f32]) -> u32 {
        let mut class = [0];
        self.rows(x, x.len(), out, &mut class);
        class[0]
    }

    fn rows(&self, x: &[f32], features: usize, out: &mut [f32], classes: &mut [u32]) {
        self.affine.rows(x, features, self.scores(out, classes.len()));
        self.finish(out, classes);
    }

    fn skips_zeros(&self) -> bool {
        self.affine.skips_zeros
    }

    fn sparse_row(&self, x: &[f32], support: &[u32], out: &mut [f32]) -> u32 {
        let mut class = [0];
        self.affine.supported_row(x, support, self.scores(out, 1));
        self.finish(out, &mut class);
        class[0]
    }

    fn bytes(&self) -> u64 {
        self.affine.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Op, assert_close, strings, t};
    use crate::attribute::Attribute;

    fn floats(v: &[f32]) -> Attribute {
        Attribute::Floats(v.to_vec())
    }

    // Expected values are ONNX Runtime's.
    #[test]
    fn classes_are_decided_before_the_transform() {
        let x = t(&[2, 2], &[1f32, 2.0, -1.0, 0.5]);
        let names = ["a", "b", "c"].iter().map(|s| s.as_bytes().to_vec().into()).collect();
        let outputs = Op::ml("LinearClassifier", 1)
            .attr("coefficients", floats(&[0.5, -0.25, 1.0, 0.75, -0.5, 0.125]))
            .attr("intercepts", floats(&[0.1, 0.2, 0.3]))
            .attr("classlabels_strings", Attribute::Strings(names))
            .attr("post_transform", Attribute::String("SOFTMAX".into()))
            .outputs(2)
            .run(std::slice::from_ref(&x))
            .unwrap();
        assert_eq!(outputs[0], strings(&[2], &["b", "c"]));
        let expected = [0.064_872, 0.873_419_8, 0.061_708_2, 0.163_666_2, 0.180_879_1, 0.655_454_6];
        assert_close(&outputs[1], &t(&[2, 3], &expected.map(|v: f32| v)));
        let one = Op::ml("LinearClassifier", 1)
            .attr("coefficients", floats(&[0.5, -0.25]))
            .attr("intercepts", floats(&[0.1]))
            .attr("classlabels_ints", Attribute::Ints(vec![4, 9]))
            .attr("post_transform", Attribute::String("LOGISTIC".into()))
            .outputs(2);
        let outputs = one.run(std::slice::from_ref(&x)).unwrap();
        assert_eq!(outputs[0], t(&[2], &[9i64, 4]));
        let expected = [0.475_020_83f32, 0.524_979_2, 0.628_316_16, 0.371_683_84];
        assert_close(&outputs[1], &t(&[2, 2], &expected));
        assert!(one.run(&[t(&[1, 3], &[0f32; 3])]).is_err());
        // Integers are taken as they are.
        assert_eq!(one.run(&[t(&[1, 2], &[1i64, 2])]).unwrap()[0], t(&[1], &[9i64]));
    }

    /// A row with few numbers is summed without its zeros, which must not show.
    #[test]
    fn zeros_are_skipped_only_where_they_add_nothing() {
        let n = 1024;
        let w = |targets: usize| -> Vec<f32> {
            (0..targets * n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect()
        };
        let mut x = vec![0f32; 3 * n];
        x[5] = 0.5;
        x[700] = -2.25;
        x[n..2 * n].iter_mut().zip(0..).for_each(|(x, i)| *x = (i % 7) as f32 / 8.0);
        x[2 * n + 9] = f32::NAN;
        for targets in [1, 3, 5, 9] {
            let weights = w(targets);
            let op = Op::ml("LinearRegressor", 1)
                .int("targets", targets as i64)
                .attr("coefficients", floats(&weights));
            let all = op.run1(&[t(&[3, n], &x)]);
            let all = all.as_slice::<f32>().unwrap();
            for (t, w) in weights.chunks(n).enumerate() {
                // Exact: few terms, of few bits.
                assert_eq!(all[t], 0.5 * w[5] - 2.25 * w[700]);
                let dense: f64 = x[n..2 * n].iter().zip(w).map(|(x, w)| f64::from(x * w)).sum();
                assert!((f64::from(all[targets + t]) - dense).abs() < 1e-3);
                assert!(all[2 * targets + t].is_nan());
            }
            let mut infinite = weights.clone();
            infinite[3] = f32::INFINITY;
            let op = Op::ml("LinearRegressor", 1)
                .int("targets", targets as i64)
                .attr("coefficients", floats(&infinite));
            assert!(op.run1(&[t(&[3, n], &x)]).as_slice::<f32>().unwrap()[0].is_nan());
        }
    }

    #[test]
    fn many_targets_and_one_agree() {
        let w: Vec<f32> = (0..5 * 19).map(|i| ((i * 37 % 23) as f32 - 11.0) / 7.0).collect();
        let x: Vec<f32> = (0..19).map(|i| (i as f32 - 9.0) / 3.0).collect();
        let all = Op::ml("LinearRegressor", 1)
            .int("targets", 5)
            .attr("coefficients", floats(&w))
            .run1(&[t(&[1, 19], &x)]);
        for (k, row) in w.chunks(19).enumerate() {
            let one = Op::ml("LinearRegressor", 1)
                .attr("coefficients", floats(row))
                .run1(&[t(&[1, 19], &x)]);
            let (one, all) = (one.as_slice::<f32>().unwrap(), all.as_slice::<f32>().unwrap());
            assert!((one[0] - all[k]).abs() < 1e-4);
        }
    }
}
