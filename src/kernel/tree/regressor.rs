//! TreeEnsembleRegressor and TreeEnsemble: scores per target.

use super::super::classes::{PostTransform, matrix};
use super::super::{Context, Inputs, Kernel, OpSpec, Outputs, RowOp, RowShape, one};
use super::forest::Forest;
use super::parse;
use super::real::Real;
use super::store::{Rows, Store, check_width};
use super::walk::Pair;
use crate::ensemble::Aggregate;
use crate::error::{Result, bail, ensure};
use crate::tensor::Element;

struct TreeRegressor {
    store: Store,
    rule: Rule,
    /// TreeEnsemble answers in the type of its input, TreeEnsembleRegressor always in `f32`.
    typed: bool,
}

/// How the leaves of a row become its scores.
struct Rule {
    base: Vec<f64>,
    post: PostTransform,
    targets: usize,
}

fn targets(spec: &OpSpec<'_>) -> Result<usize> {
    let n = spec.attributes.int("n_targets", 0)?;
    match usize::try_from(n) {
        // A row of scores, one a target, is made for every row of features.
        Ok(n) if (1..=1 << 20).contains(&n) => Ok(n),
        _ => Err(spec.invalid(format_args!("'n_targets' is {n}, expected 1 to 2^20"))),
    }
}

pub(super) fn prepare_regressor(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let targets = targets(spec)?;
    let mut form = parse::by_tree_ids(spec, "target", targets)?;
    let (base, _) = parse::floats(spec, "base_values")?;
    ensure!(
        base.is_empty() || base.len() == targets,
        InvalidModel,
        "{}: {} base values for {targets} targets",
        spec.op,
        base.len()
    );
    form.aggregate = match spec.attributes.str("aggregate_function", "SUM")?.as_str() {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => bail!(InvalidModel, "aggregate_function '{other}' is not known"),
    };
    let post = PostTransform::read(spec.attributes)?;
    let store = Store::new(&form, spec.limits)?;
    Ok(Box::new(TreeRegressor { store, rule: Rule { base, post, targets }, typed: false }))
}

pub(super) fn prepare_ensemble(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let targets = targets(spec)?;
    let mut form = parse::by_positions(spec, targets)?;
    form.aggregate = match spec.attributes.int("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => bail!(InvalidModel, "aggregate_function {other} is not known"),
    };
    // ONNX Runtime reads 1 as LOGISTIC and 2 as SOFTMAX, the reverse of the specification's
    // text; files are checked against what it answers.
    let post = match spec.attributes.int("post_transform", 0)? {
        0 => PostTransform::None,
        1 => PostTransform::Logistic,
        2 => PostTransform::Softmax,
        3 => PostTransform::SoftmaxZero,
        4 => PostTransform::Probit,
        other => bail!(InvalidModel, "post_transform {other} is not known"),
    };
    let store = Store::new(&form, spec.limits)?;
    Ok(Box::new(TreeRegressor { store, rule: Rule { base: vec![], post, targets }, typed: true }))
}

impl Rule {
    /// Turns the aggregated leaves of one row into its scores, in place.
    fn finish<T: Real>(&self, scores: &mut [T], seen: &[bool]) {
        if let [score] = scores {
            *score += self.base.first().map_or(T::ZERO, |&b| T::of(b));
            if self.post == PostTransform::Probit {
                *score = T::of(self.post.apply_single(score.f32()).into());
            }
            return;
        }
        for (i, score) in scores.iter_mut().enumerate() {
            // A target that no leaf reached answers 0, its base value left out.
            if !seen[i] {
                *score = T::ZERO;
                continue;
            }
            if let Some(&base) = self.base.get(i) {
                *score += T::of(base);
            }
        }
        if self.post != PostTransform::None {
            self.transform(scores);
        }
    }

    /// Post transforms are computed in `f32` whatever the precision of the trees.
    fn transform<T: Real>(&self, scores: &mut [T]) {
        let mut narrow: smallvec::SmallVec<[f32; 64]> = scores.iter().map(|s| s.f32()).collect();
        self.post.apply(&mut narrow);
        for (score, v) in scores.iter_mut().zip(narrow) {
            *score = T::of(v.into());
        }
    }

    fn rows<T: Pair<V>, V: Real, O>(
        &self,
        forest: &Forest<T, V>,
        rows: usize,
        x: &[T],
        stride: usize,
        out: &mut [O],
        convert: impl Fn(V) -> O,
    ) {
        let width = self.targets;
        forest.score(rows, x, stride, |i, scores, seen| {
            self.finish(scores, seen);
            for (o, &s) in out[i * width..(i + 1) * width].iter_mut().zip(scores.iter()) {
                *o = convert(s);
            }
        });
    }

    fn batch<T: Pair<V>, V: Real, O: Element>(
        &self,
        ctx: &mut Context<'_>,
        forest: &Forest<T, V>,
        (rows, stride): (usize, usize),
        x: &[T],
        convert: impl Fn(V) -> O + Sync,
    ) -> Result<Outputs> {
        check_width(forest, stride)?;
        let shape = ctx.shape_of::<O>(&[rows, self.targets])?;
        let mut out = ctx.filled(shape.len(), O::default())?;
        ctx.threads.split_rows(&mut out, self.targets, forest.row_ns(), |range, out| {
            let x = &x[range.start * stride..range.end * stride];
            self.rows(forest, range.len(), x, stride, out, &convert);
        });
        one(ctx.tensor(shape, out)?)
    }
}

impl Kernel for TreeRegressor {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let tensor = inputs.tensor(0)?;
        let dims = matrix(tensor)?;
        let f64_out = self.typed && tensor.dtype() == crate::tensor::ElementType::F64;
        let rule = &self.rule;
        match self.store.rows(tensor)? {
            Rows::F32(forest, x) => rule.batch(ctx, forest, dims, &x, |v| v),
            Rows::Mixed(forest, x) if f64_out => rule.batch(ctx, forest, dims, &x, |v| v),
            Rows::Mixed(forest, x) => rule.batch(ctx, forest, dims, &x, |v: f64| v as f32),
            Rows::F64(forest, x) if f64_out => rule.batch(ctx, forest, dims, &x, |v| v),
            Rows::F64(forest, x) => rule.batch(ctx, forest, dims, &x, |v: f64| v as f32),
        }
    }

    fn row_op(&self) -> Option<&dyn RowOp> {
        self.store.narrow().map(|_| self as &dyn RowOp)
    }

    fn packed_bytes(&self) -> u64 {
        self.store.bytes()
    }
}

impl RowOp for TreeRegressor {
    fn shape(&self, inputs: &[usize]) -> Option<RowShape> {
        let forest = self.store.narrow()?;
        let fits = inputs.len() == 1 && inputs[0] >= forest.width.max(1);
        fits.then_some(RowShape { width: self.rule.targets, classes: None })
    }

    fn run_rows(&self, rows: usize, inputs: &[&[f32]], out: &mut [f32], _: &mut [u32]) {
        if let (Some(forest), [x], 1..) = (self.store.narrow(), inputs, rows) {
            self.rule.rows(forest, rows, x, x.len() / rows, out, |v| v);
        }
    }
}
