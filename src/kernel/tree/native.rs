//! `ai.modelserve:Booster`: what a native file of a boosting library answers, in the trainer's own
//! arithmetic. `format::booster` makes graphs of it, and `format::onnx` reads the operators of that
//! domain into it.
//!
//! Input: rows `[N, F]` of `f32` or `f64`. Output: for values the rows of answers `[N, targets]`;
//! for classes the labels `[N]` and the probabilities `[N, classes]`. Answers are of the precision
//! of the sums.

use super::super::classes::{Labels, matrix};
use super::super::{Context, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape, one};
use super::forest::Forest;
use super::real::Real;
use super::store::{Rows, Store};
use super::walk::Pair;
use crate::ensemble::{Booster, Learner, LinearLearner, Link, Outcome, Precision};
use crate::error::{Result, ensure};
use crate::tensor::{Element, Tensor, Value};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU32, Ordering};

/// Values of rows that are rounded on the stack.
const ROUNDED: usize = 512;
/// Rows that are walked one by one.
const FEW: usize = 3;

#[expect(clippy::large_enum_variant, reason = "there is one a model")]
enum Margins {
    Trees(Store),
    Linear(LinearLearner),
}

struct NativeBooster {
    margins: Margins,
    rule: Rule,
    labels: Option<Labels>,
    features: usize,
}

/// How the margins of a row become its answers.
struct Rule {
    link: Link,
    outcome: Outcome,
    /// Margins a row has.
    targets: usize,
    /// Answers a row has.
    width: usize,
    /// Precision of the margins.
    precision: Precision,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let booster: &Booster =
        spec.attributes.booster_opt("booster")?.ok_or_else(|| spec.invalid("no booster"))?;
    let (margins, targets, features, precision) = match &booster.learner {
        Learner::Trees(form) => {
            let features = form.features.max(form.width());
            let store = Store::new(form, spec.limits)?;
            let precision = match form.arithmetic.sums {
                Precision::F32 => Precision::F32,
                Precision::F64 | Precision::Input => Precision::F64,
            };
            (Margins::Trees(store), form.targets, features, precision)
        }
        Learner::Linear(linear) => {
            (Margins::Linear(linear.clone()), linear.targets, linear.features, Precision::F32)
        }
    };
    let width = match booster.outcome {
        Outcome::Values | Outcome::Classes | Outcome::Outlier => targets,
        Outcome::Binary | Outcome::BinaryByMargin => 2,
    };
    let labels = match booster.outcome {
        Outcome::Values => None,
        _ => Some(Labels::read(spec.attributes, "classlabels_int64s", "classlabels_strings")?),
    };
    let classes = if booster.outcome == Outcome::Outlier { 2 } else { width };
    ensure!(
        labels.as_ref().is_none_or(|l| l.len() == classes),
        InvalidModel,
        "{}: {} class labels for {classes} classes",
        spec.op,
        labels.as_ref().map_or(0, Labels::len)
    );
    ensure!(
        targets == 1 || matches!(booster.outcome, Outcome::Values | Outcome::Classes),
        InvalidModel,
        "{}: {targets} margins for two classes",
        spec.op
    );
    let rule = Rule { link: booster.link, outcome: booster.outcome, targets, width, precision };
    Ok(Box::new(NativeBooster { margins, rule, labels, features }))
}

impl Rule {
    /// Margins to answers, and the class.
    fn finish<V: Real>(&self, margins: &[V], out: &mut [V]) -> u32 {
        let mut values: SmallVec<[f64; 16]> = margins.iter().map(|m| m.f64()).collect();
        self.link.apply(&mut values, self.precision);
        if matches!(self.outcome, Outcome::Binary | Outcome::BinaryByMargin) {
            let p = V::of(values[0]);
            (out[0], out[1]) = (p.complement(), p);
            let by_margin = self.outcome == Outcome::BinaryByMargin;
            return u32::from(if by_margin { margins[0].f64() >= 0.0 } else { p > V::of(0.5) });
        }
        let mut best = 0;
        for (i, (o, &v)) in out.iter_mut().zip(&values).enumerate() {
            *o = V::of(v);
            if v > values[best] {
                best = i;
            }
        }
        if self.outcome == Outcome::Outlier {
            return u32::from(values[0] >= 0.0);
        }
        best as u32
    }

    fn trees<T: Pair<V>, V: Real>(
        &self,
        forest: &Forest<T, V>,
        rows: usize,
        x: &[T],
        out: &mut [V],
        mut put: impl FnMut(usize, u32),
    ) {
        let stride = x.len() / rows.max(1);
        forest.score(rows, x, stride, |i, margins, _| {
            put(i, self.finish(margins, &mut out[i * self.width..(i + 1) * self.width]));
        });
    }

    fn linear(
        &self,
        linear: &LinearLearner,
        rows: usize,
        x: &[f32],
        out: &mut [f32],
        mut put: impl FnMut(usize, u32),
    ) {
        let stride = x.len() / rows.max(1);
        let mut margins: SmallVec<[f32; 16]> = SmallVec::from_elem(0.0, self.targets);
        for (i, out) in out.chunks_exact_mut(self.width).enumerate() {
            let row = &x[i * stride..(i + 1) * stride];
            linear.margins_into(row.iter().copied(), &mut margins);
            put(i, self.finish(&margins, out));
        }
    }
}

impl NativeBooster {
    /// Answers rows of `f32` in `f32`, where that is the trainer's precision.
    fn narrow(&self, rows: usize, x: &[f32], out: &mut [f32], put: impl FnMut(usize, u32)) {
        match &self.margins {
            Margins::Trees(Store::F32(forest, _)) => self.rule.trees(forest, rows, x, out, put),
            Margins::Linear(linear) => self.rule.linear(linear, rows, x, out, put),
            // The precision of the rule is f64 then, and nobody asks.
            Margins::Trees(Store::Rounded(_) | Store::F64(..)) => {}
        }
    }

    /// Answers rows of `f64` in `f64`, where that is the precision of the sums.
    fn wide(&self, rows: usize, x: &[f64], out: &mut [f64], put: impl FnMut(usize, u32)) {
        match &self.margins {
            Margins::Trees(Store::F64(forest, narrow)) => match in_floats(rows, x) {
                Some(x) => self.rule.trees(narrow, rows, &x, out, put),
                None => self.rule.trees(forest, rows, x, out, put),
            },
            Margins::Trees(Store::Rounded(forest)) => {
                let x: SmallVec<[f32; ROUNDED]> = x.iter().map(|&x| x as f32).collect();
                self.rule.trees(forest, rows, &x, out, put);
            }
            Margins::Trees(Store::F32(..)) | Margins::Linear(_) => {}
        }
    }

    fn row_ns(&self) -> usize {
        match &self.margins {
            Margins::Trees(store) => store.row_ns(),
            Margins::Linear(linear) => linear.weights.len() + 20,
        }
    }

    fn batch<T: Element + Copy, V: Element + Copy + Default>(
        &self,
        ctx: &mut Context<'_>,
        rows: usize,
        x: &[T],
        score: impl Fn(usize, &[T], &mut [V], &mut dyn FnMut(usize, u32)) + Sync,
    ) -> Result<Outputs> {
        let width = self.rule.width;
        let stride = x.len() / rows.max(1);
        let shape = ctx.shape_of::<V>(&[rows, width])?;
        let mut out = ctx.filled(shape.len(), V::default())?;
        let wanted = if self.labels.is_some() { rows } else { 0 };
        let classes: Vec<AtomicU32> = (0..wanted).map(|_| AtomicU32::new(0)).collect();
        ctx.threads.split_rows(&mut out, width, self.row_ns(), |range, out| {
            let x = &x[range.start * stride..range.end * stride];
            let classes = classes.get(range.clone()).unwrap_or_default();
            // Relaxed: the pool's scope ends before anybody reads.
            let mut put = |i: usize, class: u32| {
                if let Some(c) = classes.get(i) {
                    c.store(class, Ordering::Relaxed);
                }
            };
            score(range.len(), x, out, &mut put);
        });
        let answers = ctx.tensor(shape, out)?;
        match &self.labels {
            None => one(answers),
            Some(labels) => {
                let labels = labels.pick(classes.into_iter().map(AtomicU32::into_inner))?;
                Ok(smallvec::smallvec![Value::Tensor(labels), Value::Tensor(answers)])
            }
        }
    }

    fn shape_of_rows(&self, inputs: &[usize]) -> Option<RowShape> {
        let fits = inputs.len() == 1 && inputs[0] == self.features && self.features > 0;
        let classes = self.labels.as_ref().map(Labels::len);
        fits.then_some(RowShape { width: self.rule.width, classes })
    }
}

impl Kernel for NativeBooster {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let (rows, width) = matrix(tensor)?;
        ensure!(
            width == self.features,
            InvalidInput,
            "the model takes {} features, the rows have {width}",
            self.features
        );
        match &self.margins {
            Margins::Linear(_) => {
                let x = super::super::classes::as_f32(tensor)?;
                self.batch(ctx, rows, &x, |n, x, out, put| self.narrow(n, x, out, put))
            }
            Margins::Trees(store) => match store.rows(tensor)? {
                Rows::F32(_, x) => {
                    self.batch(ctx, rows, &x, |n, x, out, put| self.narrow(n, x, out, put))
                }
                Rows::Mixed(forest, x) => self.batch(ctx, rows, &x, |n, x, out, put| {
                    self.rule.trees(forest, n, x, out, put);
                }),
                Rows::F64(_, x) => {
                    self.batch(ctx, rows, &x, |n, x, out, put| self.wide(n, x, out, put))
                }
            },
        }
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        (self.rule.precision == Precision::F32).then_some(self as &dyn RowOp)
    }

    fn wide_row_op(&self) -> Option<&dyn RowOp<f64>> {
        (self.rule.precision == Precision::F64).then_some(self as &dyn RowOp<f64>)
    }

    fn packed_bytes(&self) -> u64 {
        match &self.margins {
            Margins::Trees(store) => store.bytes(),
            Margins::Linear(linear) => linear.weights.len() as u64 * 4,
        }
    }
}

/// A few rows as floats, where these hold them exactly.
fn in_floats(rows: usize, x: &[f64]) -> Option<SmallVec<[f32; ROUNDED]>> {
    if rows > FEW {
        return None;
    }
    let narrow: SmallVec<[f32; ROUNDED]> = x.iter().map(|&x| x as f32).collect();
    let same = narrow.iter().zip(x).all(|(&n, &x)| f64::from(n) == x || x.is_nan());
    same.then_some(narrow)
}

/// Where a row's class goes.
fn into(classes: &mut [u32]) -> impl FnMut(usize, u32) + '_ {
    |i, class| {
        if let Some(c) = classes.get_mut(i) {
            *c = class;
        }
    }
}

impl RowOp<f32> for NativeBooster {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        self.shape_of_rows(inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], classes: &mut [u32]) {
        if let ([x], 1..) = (inputs, rows) {
            self.narrow(rows, x, out, into(classes));
        }
    }

    fn labels(&self) -> Option<Tensor> {
        self.labels.as_ref()?.tensor()
    }
}

impl RowOp<f64> for NativeBooster {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        self.shape_of_rows(inputs)
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f64]], out: &mut [f64], classes: &mut [u32]) {
        if let ([x], 1..) = (inputs, rows) {
            self.wide(rows, x, out, into(classes));
        }
    }

    fn labels(&self) -> Option<Tensor> {
        self.labels.as_ref()?.tensor()
    }
}
