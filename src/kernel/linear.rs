//! Linear models of ai.onnx.ml: LinearClassifier, LinearRegressor.

use super::classes::{Labels, PostTransform, RowKernel, RowModel, first_max};
use super::registry::{Entry, ml};
use super::{Kernel, OpSpec, simd};
use crate::error::{Result, ensure};

pub(super) const OPS: &[Entry] =
    &[ml("LinearClassifier", 1, prepare_classifier), ml("LinearRegressor", 1, prepare_regressor)];

/// Targets from which each feature is multiplied with the weights of several.
const WIDE: usize = 4;
/// Targets side by side in the weights of [`WIDE`] targets and more.
const PANEL: usize = 8;

/// `x · Wᵀ + b` for rows.
struct Affine {
    /// Target by target below [`WIDE`] targets, in panels of [`PANEL`] targets from there on, each
    /// feature by feature.
    weights: Vec<f32>,
    bias: Vec<f32>,
    features: usize,
    targets: usize,
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
        let bias = if bias.is_empty() { vec![0.0; targets] } else { bias.to_vec() };
        let mut affine = Affine { weights: Vec::new(), bias, features, targets };
        if targets < WIDE {
            affine.weights = given.to_vec();
        } else {
            affine.weights = vec![0.0; targets.div_ceil(PANEL) * PANEL * features];
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

    /// The scores of rows of so many features, `targets` a row.
    fn rows(&self, x: &[f32], features: usize, out: &mut [f32]) {
        if features != self.features {
            for (x, out) in x.chunks_exact(features).zip(out.chunks_exact_mut(self.targets)) {
                self.narrow_row(x, out);
            }
        } else if self.targets < WIDE {
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
        match self.affine.targets {
            1 => out.iter_mut().for_each(|score| *score = self.post.apply_single(*score)),
            targets => self.post.apply_rows(out, targets),
        }
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
        // The label is decided before the transform, which may round scores together.
        let targets = self.affine.targets;
        if targets > 1 {
            self.affine.rows(x, features, out);
            for (class, scores) in classes.iter_mut().zip(out.chunks_exact(targets)) {
                *class = first_max(scores) as u32;
            }
            return self.post.apply_rows(out, targets);
        }
        // The scores lie in the first half of rows of two until they are spread.
        let scores = &mut out[..classes.len()];
        self.affine.rows(x, features, scores);
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
