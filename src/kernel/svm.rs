//! Support vector machines of ai.onnx.ml: SVMClassifier, SVMRegressor.

use super::classes::{
    Labels, PostTransform, RowKernel, RowModel, dot, first_max, logistic, squared_distance,
};
use super::registry::{Entry, ml};
use super::{Kernel, OpSpec};
use crate::error::{Result, bail, ensure};
use crate::room;
use smallvec::SmallVec;

pub(super) const OPS: &[Entry] =
    &[ml("SVMClassifier", 1, prepare_classifier), ml("SVMRegressor", 1, prepare_regressor)];

/// The kernel function of a machine.
#[derive(Debug, Clone, Copy)]
enum Function {
    Linear,
    Poly { gamma: f32, coef0: f32, degree: f32 },
    Rbf { gamma: f32 },
    Sigmoid { gamma: f32, coef0: f32 },
}

impl Function {
    fn read(spec: &OpSpec<'_>) -> Result<Function> {
        let params = spec.attributes.floats("kernel_params")?;
        let [gamma, coef0, degree] = match *params {
            [] => [0.0; 3],
            [gamma, coef0, degree, ..] => [gamma, coef0, degree],
            _ => {
                return Err(spec.invalid(format_args!(
                    "'kernel_params' has {} values, expected gamma, coef0 and degree",
                    params.len()
                )));
            }
        };
        Ok(match spec.attributes.str("kernel_type", "LINEAR")?.as_str() {
            "LINEAR" => Function::Linear,
            "POLY" => Function::Poly { gamma, coef0, degree },
            "RBF" => Function::Rbf { gamma },
            "SIGMOID" => Function::Sigmoid { gamma, coef0 },
            other => bail!(InvalidModel, "{}: kernel_type '{other}' is not known", spec.op),
        })
    }

    #[inline]
    fn of(self, x: &[f32], vector: &[f32]) -> f32 {
        match self {
            Function::Linear => dot(x, vector),
            Function::Rbf { gamma } => (-gamma * squared_distance(x, vector)).exp(),
            Function::Sigmoid { gamma, coef0 } => (gamma * dot(x, vector) + coef0).tanh(),
            Function::Poly { gamma, coef0, degree } => {
                let v = gamma * dot(x, vector) + coef0;
                match degree {
                    2.0 => v * v,
                    3.0 => v * v * v,
                    _ => v.powf(degree),
                }
            }
        }
    }
}

/// The support vectors, one after the other; without any the machine is a linear one.
struct Vectors {
    function: Function,
    values: Vec<f32>,
    count: usize,
    features: usize,
}

impl Vectors {
    fn new(spec: &OpSpec<'_>, count: usize, linear_features: usize) -> Result<Vectors> {
        if count == 0 {
            ensure!(linear_features > 0, InvalidModel, "{}: no coefficients", spec.op);
            let function = Function::Linear;
            return Ok(Vectors { function, values: vec![], count, features: linear_features });
        }
        let values = spec.attributes.floats("support_vectors")?;
        ensure!(
            !values.is_empty() && values.len().is_multiple_of(count),
            InvalidModel,
            "{}: {} values for {count} support vectors",
            spec.op,
            values.len()
        );
        let features = values.len() / count;
        Ok(Vectors {
            function: Function::read(spec)?,
            values: room::copied(values)?,
            count,
            features,
        })
    }

    fn kernels<'a>(&'a self, x: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.values.chunks_exact(self.features).map(move |v| self.function.of(x, v))
    }
}

struct SvmRegressor {
    vectors: Vectors,
    coefficients: Vec<f32>,
    rho: f32,
    one_class: bool,
}

fn first_rho(spec: &OpSpec<'_>) -> Result<f32> {
    let rho = spec.attributes.floats("rho")?;
    rho.first().copied().ok_or_else(|| spec.invalid("'rho' is empty"))
}

fn prepare_regressor(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let coefficients = room::copied(spec.attributes.floats("coefficients")?)?;
    let supports = spec.attributes.int("n_supports", 0)?;
    let count = usize::try_from(supports)
        .map_err(|_| spec.invalid(format_args!("'n_supports' is {supports}")))?;
    let vectors = Vectors::new(spec, count, coefficients.len())?;
    ensure!(
        count == 0 || coefficients.len() >= count,
        InvalidModel,
        "{}: {} coefficients for {count} support vectors",
        spec.op,
        coefficients.len()
    );
    // ONNX Runtime leaves `post_transform` out here; it must be a known one all the same.
    PostTransform::read(spec.attributes)?;
    Ok(Box::new(RowKernel(SvmRegressor {
        vectors,
        coefficients,
        rho: first_rho(spec)?,
        one_class: spec.attributes.flag("one_class", false)?,
    })))
}

impl RowModel for SvmRegressor {
    fn features(&self) -> usize {
        self.vectors.features
    }

    fn width(&self) -> usize {
        1
    }

    fn labels(&self) -> Option<&Labels> {
        None
    }

    fn row_ns(&self) -> usize {
        20 + self.vectors.count * (10 + self.vectors.features / 4)
    }

    fn row(&self, x: &[f32], out: &mut [f32]) -> u32 {
        let sum = if self.vectors.count == 0 {
            dot(x, &self.coefficients)
        } else {
            self.vectors.kernels(x).zip(&self.coefficients).fold(0f32, |s, (k, c)| s + k * c)
        };
        let score = sum + self.rho;
        out[0] = match self.one_class {
            true if score > 0.0 => 1.0,
            true => -1.0,
            false => score,
        };
        0
    }

    fn bytes(&self) -> u64 {
        ((self.vectors.values.len() + self.coefficients.len()) * 4) as u64
    }
}

struct SvmClassifier {
    vectors: Vectors,
    /// `[classes - 1, vectors]`, or `[classes, features]` of a linear machine.
    coefficients: Vec<f32>,
    /// The class of each support vector.
    class_of: Vec<u32>,
    rho: Vec<f32>,
    /// Platt's `(a, b)` of each pair of classes; empty where there are no probabilities.
    platt: Vec<(f32, f32)>,
    labels: Labels,
    post: PostTransform,
    /// No coefficient is negative.
    positive: bool,
}

fn prepare_classifier(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let a = spec.attributes;
    let labels = Labels::read(a, "classlabels_ints", "classlabels_strings")?;
    let classes = labels.len();
    ensure!(classes < 65_536, LimitExceeded, "{}: {classes} classes", spec.op);
    let coefficients = room::copied(a.floats("coefficients")?)?;
    let rho = a.floats("rho")?.to_vec();
    let mut class_of = Vec::new();
    let per_class = a.ints("vectors_per_class")?;
    let declared = a.floats("support_vectors")?.len();
    for (class, &n) in (0u32..).zip(per_class) {
        let n = usize::try_from(n)
            .ok()
            .filter(|n| class_of.len() + n <= declared)
            .ok_or_else(|| spec.invalid(format_args!("'vectors_per_class' has {n}")))?;
        class_of.resize(class_of.len() + n, class);
    }
    let vectors = Vectors::new(spec, class_of.len(), coefficients.len() / classes)?;
    let (prob_a, prob_b) = (a.floats("prob_a")?, a.floats("prob_b")?);
    ensure!(
        prob_a.len() == prob_b.len(),
        InvalidModel,
        "{}: 'prob_a' has {} values, 'prob_b' {}",
        spec.op,
        prob_a.len(),
        prob_b.len()
    );
    if vectors.count == 0 {
        first_rho(spec)?;
        ensure!(
            coefficients.len() == classes * vectors.features,
            InvalidModel,
            "{}: {} coefficients for {classes} classes",
            spec.op,
            coefficients.len()
        );
    } else {
        let pairs = classes * classes.saturating_sub(1) / 2;
        let expected = (classes - 1).saturating_mul(vectors.count);
        ensure!(
            classes >= 2 && per_class.len() == classes,
            InvalidModel,
            "{}: {} entries in 'vectors_per_class' for {classes} classes",
            spec.op,
            per_class.len()
        );
        ensure!(
            coefficients.len() >= expected
                && rho.len() >= pairs
                && (prob_a.is_empty() || prob_a.len() >= pairs),
            InvalidModel,
            "{}: {} coefficients (expected {expected}), {} values in 'rho' and {} in 'prob_a' \
             (expected {pairs})",
            spec.op,
            coefficients.len(),
            rho.len(),
            prob_a.len()
        );
    }
    Ok(Box::new(RowKernel(SvmClassifier {
        platt: prob_a.iter().copied().zip(prob_b.iter().copied()).collect(),
        positive: coefficients.iter().all(|&c| c >= 0.0),
        post: PostTransform::read(a)?,
        vectors,
        coefficients,
        class_of,
        rho,
        labels,
    })))
}

impl SvmClassifier {
    fn classes(&self) -> usize {
        self.labels.len()
    }

    fn pairs(&self) -> usize {
        self.classes() * (self.classes() - 1) / 2
    }

    fn linear_row(&self, x: &[f32], out: &mut [f32]) -> u32 {
        let rows = self.coefficients.chunks_exact(self.vectors.features);
        for (o, w) in out.iter_mut().zip(rows) {
            *o = dot(x, w) + self.rho[0];
        }
        let mut class = first_max(out);
        if self.classes() == 2 && self.platt.is_empty() {
            let best = out[class];
            if if self.positive { best >= 0.5 } else { best > 0.0 } {
                class = 1;
            }
        }
        match out {
            [score] => *score = self.post.apply_single(*score),
            scores => self.post.apply(scores),
        }
        class as u32
    }

    /// The decision value of each pair of classes.
    fn decisions(&self, x: &[f32]) -> SmallVec<[f64; 64]> {
        let classes = self.classes();
        let mut sums: SmallVec<[f64; 64]> = SmallVec::from_elem(0.0, self.pairs());
        for (v, (k, &class)) in self.vectors.kernels(x).zip(&self.class_of).enumerate() {
            let class = class as usize;
            for other in (0..classes).filter(|&o| o != class) {
                let row = if other > class { other - 1 } else { other };
                let coefficient = self.coefficients[row * self.vectors.count + v];
                sums[pair(classes, class, other)] += f64::from(coefficient * k);
            }
        }
        for (sum, &rho) in sums.iter_mut().zip(&self.rho) {
            *sum += f64::from(rho);
        }
        sums
    }

    fn vector_row(&self, x: &[f32], out: &mut [f32]) -> u32 {
        let classes = self.classes();
        let decisions = self.decisions(x);
        let mut votes: SmallVec<[f32; 16]> = SmallVec::from_elem(0.0, classes);
        for i in 0..classes {
            for j in i + 1..classes {
                let winner = if decisions[pair(classes, i, j)] > 0.0 { i } else { j };
                votes[winner] += 1.0;
            }
        }
        let class = first_max(&votes);
        if !self.platt.is_empty() {
            self.couple(&decisions, out);
            self.post.apply(out);
        } else if classes == 2 {
            let score = decisions[0] as f32;
            let pair = match self.post {
                PostTransform::None => [-score, score],
                PostTransform::Logistic => [logistic(-score), logistic(score)],
                PostTransform::Probit => [self.post.apply_single(score), 0.0],
                _ => [1.0 - score, score],
            };
            out.copy_from_slice(&pair);
        } else {
            for (o, &d) in out.iter_mut().zip(&decisions) {
                *o = d as f32;
            }
            self.post.apply(out);
        }
        class as u32
    }

    /// Class probabilities from those of the pairs (Wu, Lin and Weng, 2004, second method).
    fn couple(&self, decisions: &[f64], p: &mut [f32]) {
        const LEAST: f32 = 1e-7;
        let n = self.classes();
        let zeros = || SmallVec::<[f32; 64]>::from_elem(0.0, n * n);
        // `r[i, j]`: how likely class i is when it is i or j.
        let mut r = zeros();
        for i in 0..n {
            for j in i + 1..n {
                let k = pair(n, i, j);
                let (a, b) = self.platt[k];
                let likely = 1.0 - logistic(decisions[k] as f32 * a + b);
                let likely = likely.clamp(LEAST, 1.0 - LEAST);
                r[i * n + j] = likely;
                r[j * n + i] = 1.0 - likely;
            }
        }
        let mut q = zeros();
        for i in 0..n {
            for j in (0..n).filter(|&j| j != i) {
                q[i * n + i] += r[j * n + i] * r[j * n + i];
                q[i * n + j] = -r[j * n + i] * r[i * n + j];
            }
        }
        p.fill(1.0 / n as f32);
        let enough = 0.005 / n as f32;
        let mut qp: SmallVec<[f32; 16]> = SmallVec::from_elem(0.0, n);
        for _ in 0..100 {
            let mut pqp = 0.0f32;
            for i in 0..n {
                qp[i] = 0.0;
                for j in 0..n {
                    qp[i] += q[i * n + j] * p[j];
                }
                pqp += p[i] * qp[i];
            }
            let error = qp.iter().fold(0.0f32, |e, v| e.max((v - pqp).abs()));
            if error < enough {
                break;
            }
            for i in 0..n {
                let diff = (pqp - qp[i]) / q[i * n + i];
                p[i] += diff;
                pqp = (pqp + diff * (diff * q[i * n + i] + 2.0 * qp[i]))
                    / (1.0 + diff)
                    / (1.0 + diff);
                for j in 0..n {
                    qp[j] = (qp[j] + diff * q[i * n + j]) / (1.0 + diff);
                    p[j] /= 1.0 + diff;
                }
            }
        }
    }
}

/// The position of a pair of classes among all pairs in order.
fn pair(classes: usize, a: usize, b: usize) -> usize {
    let (i, j) = (a.min(b), a.max(b));
    i * (2 * classes - i - 1) / 2 + j - i - 1
}

impl RowModel for SvmClassifier {
    fn features(&self) -> usize {
        self.vectors.features
    }

    fn width(&self) -> usize {
        let by_pair = self.vectors.count > 0 && self.platt.is_empty() && self.classes() > 2;
        if by_pair { self.pairs() } else { self.classes() }
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }

    fn row_ns(&self) -> usize {
        100 + self.vectors.count * (10 + self.vectors.features / 4 + self.classes())
    }

    fn row(&self, x: &[f32], out: &mut [f32]) -> u32 {
        match self.vectors.count {
            0 => self.linear_row(x, out),
            _ => self.vector_row(x, out),
        }
    }

    fn bytes(&self) -> u64 {
        let floats = self.vectors.values.len() + self.coefficients.len() + self.class_of.len();
        (floats * 4) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Op, assert_close, t};
    use crate::attribute::Attribute;

    fn floats(v: &[f32]) -> Attribute {
        Attribute::Floats(v.to_vec())
    }

    fn machine(op: &'static str, kernel: &str, params: [f32; 3]) -> Op {
        Op::ml(op, 1)
            .attr("kernel_type", Attribute::String(kernel.into()))
            .attr("kernel_params", floats(&params))
    }

    // Expected values are ONNX Runtime's.
    #[test]
    fn votes_decide_and_pairs_are_coupled() {
        let op = machine("SVMClassifier", "RBF", [0.5, 0.0, 3.0])
            .attr("support_vectors", floats(&[0.0, 0.0, 1.0, 1.0, 2.0, 0.0]))
            .attr("vectors_per_class", Attribute::Ints(vec![1, 1, 1]))
            .attr("coefficients", floats(&[1.0, -0.5, -1.0, 0.5, 0.75, -0.25]))
            .attr("rho", floats(&[0.1, -0.2, 0.05]))
            .attr("classlabels_ints", Attribute::Ints(vec![5, 6, 7]))
            .attr("prob_a", floats(&[-1.0, -2.0, -1.5]))
            .attr("prob_b", floats(&[0.1, 0.0, -0.1]))
            .outputs(2);
        let outputs = op.run(&[t(&[3, 2], &[0f32, 0.0, 1.0, 0.5, 2.0, 0.0])]).unwrap();
        assert_eq!(outputs[0], t(&[3], &[5i64, 5, 5]));
        let expected = [
            0.473_883_36f32,
            0.272_594_54,
            0.253_522_13,
            0.269_837_14,
            0.442_772_03,
            0.287_390_8,
            0.152_007_01,
            0.402_706_62,
            0.445_286_4,
        ];
        assert_close(&outputs[1], &t(&[3, 3], &expected));
    }

    #[test]
    fn two_classes_without_probabilities() {
        let op = machine("SVMClassifier", "POLY", [0.5, 1.0, 2.0])
            .attr("support_vectors", floats(&[0.0, 1.0, 1.0, 1.0]))
            .attr("vectors_per_class", Attribute::Ints(vec![1, 1]))
            .attr("coefficients", floats(&[1.0, -0.5]))
            .attr("rho", floats(&[0.1]))
            .attr("classlabels_ints", Attribute::Ints(vec![5, 6]))
            .outputs(2);
        let outputs = op.run(&[t(&[3, 2], &[0f32, 0.0, 1.0, 0.5, 2.0, 0.0])]).unwrap();
        assert_eq!(outputs[0], t(&[3], &[5i64, 5, 6]));
        let expected = [-0.6f32, 0.6, -0.131_25, 0.131_25, 0.9, -0.9];
        assert_close(&outputs[1], &t(&[3, 2], &expected));
        let short = op.attr("rho", floats(&[]));
        assert!(short.run(&[t(&[1, 2], &[0f32, 0.0])]).is_err());
    }

    #[test]
    fn regressors() {
        let op = machine("SVMRegressor", "SIGMOID", [0.5, 0.1, 2.0])
            .int("n_supports", 2)
            .attr("support_vectors", floats(&[0.0, 1.0, 1.0, 1.0]))
            .attr("coefficients", floats(&[1.0, -0.5]))
            .attr("rho", floats(&[0.1]));
        let y = op.run1(&[t(&[2, 2], &[0f32, 0.0, 1.0, 0.5])]);
        assert_close(&y, &t(&[2, 1], &[0.149_834f32, 0.090_840_76]));
        let op = Op::ml("SVMRegressor", 1)
            .int("one_class", 1)
            .attr("coefficients", floats(&[1.0, -0.5]))
            .attr("rho", floats(&[0.1]));
        assert_eq!(op.run1(&[t(&[2, 2], &[0f32, 0.0, -1.0, 0.5])]), t(&[2, 1], &[1f32, -1.0]));
    }
}
