//! TreeEnsembleClassifier: sums per class, a label, and scores.
//!
//! The specification leaves two-class models open; the rules here are ONNX Runtime's, against
//! which the exporters check their files.

use super::super::classes::{Labels, PostTransform, matrix};
use super::super::{Context, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape};
use super::forest::Forest;
use super::parse;
use super::real::Real;
use super::store::{Rows, Store, check_width};
use super::walk::Pair;
use crate::error::{Result, ensure};
use crate::tensor::{Tensor, Value};
use std::sync::atomic::{AtomicU32, Ordering};

struct TreeClassifier {
    store: Store,
    rule: Rule,
    /// The labels by the index that [`Rule::finish`] answers.
    labels: Labels,
}

/// How the sums of a row become scores and a class.
struct Rule {
    base: Vec<f64>,
    post: PostTransform,
    classes: usize,
    /// Two classes, and all weights are for one of them.
    one_column: bool,
    /// No weight is negative: scores are probabilities and 0.5 decides, else 0 does.
    positive: bool,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let given = Labels::read(spec.attributes, "classlabels_int64s", "classlabels_strings")?;
    let classes = given.len();
    let form = parse::by_tree_ids(spec, "class", classes)?;
    let (base, _) = parse::floats(spec, "base_values")?;
    ensure!(
        base.is_empty() || base.len() == classes || (classes == 2 && base.len() == 1),
        InvalidModel,
        "{}: {} base values for {classes} classes",
        spec.op,
        base.len()
    );
    let first = form.weights.first().map(|w| w.0);
    let one_class_weighted = first.is_some() && form.weights.iter().all(|w| Some(w.0) == first);
    let rule = Rule {
        base,
        post: PostTransform::read(spec.attributes)?,
        classes,
        one_column: classes == 2 && one_class_weighted,
        positive: form.weights.iter().all(|w| w.1 >= 0.0 || w.1.is_nan()),
    };
    let labels = match given {
        // Where both classes have weights, or there is but one class, the sign of the deciding
        // score answers 1 or 0, whatever the integer labels are.
        Labels::Ints(_) if classes == 1 || (classes == 2 && !rule.one_column) => {
            Labels::Ints(vec![0, 1])
        }
        Labels::Strings(_) if classes == 1 => {
            return Err(spec.unsupported("a single string label"));
        }
        given => given,
    };
    Ok(Box::new(TreeClassifier { store: Store::new(&form, spec.limits)?, rule, labels }))
}

impl Rule {
    /// Turns the sums of one row into `out` (one score a class) and answers the class's index.
    fn finish<T: Real>(&self, sums: &mut [T], seen: &mut [bool], out: &mut [f32]) -> u32 {
        match self.classes {
            1 => self.finish_one(sums, out),
            2 => self.finish_two(sums, seen, out),
            _ => self.finish_many(sums, seen, out),
        }
    }

    fn base<T: Real>(&self, i: usize) -> T {
        self.base.get(i).map_or(T::ZERO, |&b| T::of(b))
    }

    fn finish_one<T: Real>(&self, sums: &[T], out: &mut [f32]) -> u32 {
        let score = sums[0] + self.base(0);
        out[0] = self.post.apply_single(score.f32());
        u32::from(score > T::ZERO)
    }

    fn finish_many<T: Real>(&self, sums: &mut [T], seen: &mut [bool], out: &mut [f32]) -> u32 {
        let mut best: Option<usize> = None;
        for i in 0..self.classes {
            if !self.base.is_empty() {
                sums[i] = if seen[i] { sums[i] + self.base(i) } else { self.base(i) };
                seen[i] = true;
            }
            if seen[i] && best.is_none_or(|b| sums[i] > sums[b]) {
                best = Some(i);
            }
            out[i] = if seen[i] { sums[i].f32() } else { 0.0 };
        }
        self.post.apply(out);
        best.unwrap_or(0) as u32
    }

    fn finish_two<T: Real>(&self, sums: &mut [T], seen: &mut [bool], out: &mut [f32]) -> u32 {
        // A lone score stands for the second class; the first gets its complement or negative.
        let lone = !seen[1] && self.base.len() < 2;
        match self.base.len() {
            2 if seen[1] => {
                sums[1] = self.base::<T>(1) + sums[0];
                sums[0] = sums[1].negated();
            }
            2 => {
                sums[1] += self.base(1);
                sums[0] += self.base(0);
            }
            1 => sums[0] += self.base(0),
            _ => {}
        }
        let deciding = match (seen[0], seen[1]) {
            (_, true) => sums[1],
            (true, false) => sums[0],
            _ => T::ZERO,
        };
        let probability = self.one_column && self.positive;
        let class = deciding > if probability { T::of(0.5) } else { T::ZERO };
        if lone {
            let score = if seen[0] { sums[0] } else { T::ZERO };
            let expanded = self.one_column || self.base.is_empty();
            (out[0], out[1]) = match self.post {
                PostTransform::Probit => (self.post.apply_single(score.f32()), 0.0),
                PostTransform::Logistic if expanded => {
                    let mut pair = [score.negated().f32(), score.f32()];
                    self.post.apply(&mut pair);
                    pair.into()
                }
                _ if probability => (score.complement().f32(), score.f32()),
                _ if expanded => (score.negated().f32(), score.f32()),
                _ => (score.f32(), 0.0),
            };
        } else {
            for i in 0..2 {
                out[i] = if seen[i] { sums[i].f32() } else { 0.0 };
            }
            self.post.apply(out);
        }
        u32::from(class)
    }

    /// Rows of features to rows of scores; `put` gets each row's class.
    fn rows<T: Pair<V>, V: Real>(
        &self,
        forest: &Forest<T, V>,
        rows: usize,
        x: &[T],
        stride: usize,
        out: &mut [f32],
        mut put: impl FnMut(usize, u32),
    ) {
        let width = self.classes;
        forest.score(rows, x, stride, |i, sums, seen| {
            put(i, self.finish(sums, seen, &mut out[i * width..(i + 1) * width]));
        });
    }
}

impl TreeClassifier {
    fn batch<T: Pair<V>, V: Real>(
        &self,
        ctx: &mut Context<'_>,
        forest: &Forest<T, V>,
        (rows, stride): (usize, usize),
        x: &[T],
    ) -> Result<Outputs> {
        check_width(forest, stride)?;
        let width = self.rule.classes;
        let shape = ctx.shape_of::<f32>(&[rows, width])?;
        let mut scores = ctx.filled(shape.len(), 0f32)?;
        let classes: Vec<AtomicU32> = (0..rows).map(|_| AtomicU32::new(0)).collect();
        ctx.threads.split_rows(&mut scores, width, forest.row_ns(), |range, out| {
            let x = &x[range.start * stride..range.end * stride];
            let classes = &classes[range.clone()];
            // Relaxed: the pool's scope ends before anybody reads.
            let put = |i: usize, class| classes[i].store(class, Ordering::Relaxed);
            self.rule.rows(forest, range.len(), x, stride, out, put);
        });
        let labels = self.labels.pick(classes.into_iter().map(AtomicU32::into_inner))?;
        Ok(smallvec::smallvec![Value::Tensor(labels), Value::Tensor(ctx.tensor(shape, scores)?)])
    }
}

impl Kernel for TreeClassifier {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let dims = matrix(tensor)?;
        match self.store.rows(tensor)? {
            Rows::F32(forest, x) => self.batch(ctx, forest, dims, &x),
            Rows::Mixed(forest, x) => self.batch(ctx, forest, dims, &x),
            Rows::F64(forest, x) => self.batch(ctx, forest, dims, &x),
        }
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.store.narrow().map(|_| self as &dyn RowOp)
    }

    fn packed_bytes(&self) -> u64 {
        self.store.bytes()
    }
}

impl RowOp for TreeClassifier {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let forest = self.store.narrow()?;
        let fits = inputs.len() == 1 && inputs[0] >= forest.width.max(1);
        fits.then(|| RowShape { width: self.rule.classes, classes: Some(self.labels.len()) })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], classes: &mut [u32]) {
        if let (Some(forest), [x], 1..) = (self.store.narrow(), inputs, rows) {
            let stride = x.len() / rows;
            self.rule.rows(forest, rows, x, stride, out, |i, class| classes[i] = class);
        }
    }

    fn labels(&self) -> Option<Tensor> {
        self.labels.tensor()
    }
}
