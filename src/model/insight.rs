//! What a boosted model can say of its answers: contributions of features, leaves, importance.

use super::Features;
use super::Model;
use crate::ensemble::explain::{Counted, Explainer, Importance, Leaves, Scratch};
use crate::ensemble::{Booster, Ensemble, Learner};
use crate::error::{Result, bail, ensure, err};
use crate::sync::OnceLock;
use std::sync::Arc;

/// Steps that explaining one batch may take (2^36: minutes of one core).
const MAX_STEPS: u64 = 1 << 36;

/// What each feature adds to the margins of some rows. A margin is what the trees add up to,
/// before the objective's link (a log-odds for a logistic objective).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanations {
    /// How many rows there are.
    pub rows: usize,
    /// Margins of a row: one, or one a class or target.
    pub targets: usize,
    /// Features of a row.
    pub features: usize,
    /// `[rows, targets, features + 1]` row-major: what each feature adds to the margin, and last
    /// what the margin is where nothing is known of the row. Together they are the margin.
    pub values: Vec<f64>,
}

/// How the importance of a feature is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImportanceKind {
    /// How many splits look at it.
    Splits,
    /// What its splits gained in training, together.
    TotalGain,
    /// The same by split, on average.
    MeanGain,
    /// How much of the training data its splits saw, together.
    TotalCover,
    /// The same by split, on average.
    MeanCover,
}

impl ImportanceKind {
    /// Every kind.
    pub const ALL: [ImportanceKind; 5] = [
        ImportanceKind::Splits,
        ImportanceKind::TotalGain,
        ImportanceKind::MeanGain,
        ImportanceKind::TotalCover,
        ImportanceKind::MeanCover,
    ];

    /// `splits`, `total_gain`, `gain`, `total_cover` or `cover`.
    pub fn name(self) -> &'static str {
        match self {
            ImportanceKind::Splits => "splits",
            ImportanceKind::TotalGain => "total_gain",
            ImportanceKind::MeanGain => "gain",
            ImportanceKind::TotalCover => "total_cover",
            ImportanceKind::MeanCover => "cover",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<ImportanceKind> {
        ImportanceKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A booster kept for explanations ([`super::LoadOptions::explain`]).
#[derive(Debug)]
pub struct Insight {
    booster: Arc<Booster>,
    explainer: OnceLock<Explainer<Arc<Ensemble>>>,
    leaves: OnceLock<Leaves<Arc<Ensemble>>>,
}

impl Insight {
    /// Keeps a booster.
    pub(super) fn new(booster: Arc<Booster>) -> Insight {
        Insight { booster, explainer: OnceLock::new(), leaves: OnceLock::new() }
    }

    /// The trees, for what linear boosters have not.
    fn trees(&self, what: &str) -> Result<&Arc<Ensemble>> {
        match &self.booster.learner {
            Learner::Trees(trees) => Ok(trees),
            Learner::Linear(_) => bail!(Unsupported, "a linear model has no {what}"),
        }
    }

    fn explain(&self, rows: usize, x: &[f64]) -> Result<Explanations> {
        let trees = match &self.booster.learner {
            Learner::Trees(trees) => trees,
            Learner::Linear(linear) => {
                let width = x.len() / rows.max(1);
                let mut values = Vec::new();
                for i in 0..rows {
                    values.extend(linear.explain(&x[i * width..(i + 1) * width])?.into_values());
                }
                let (targets, features) = (linear.targets, linear.features);
                return Ok(Explanations { rows, targets, features, values });
            }
        };
        let explainer = once(&self.explainer, || Explainer::new(trees.clone()))?;
        let steps = explainer.cost().saturating_mul(rows as u64);
        ensure!(
            steps <= MAX_STEPS,
            LimitExceeded,
            "explaining {rows} rows takes {steps} steps (at most {MAX_STEPS}): ask for fewer rows"
        );
        let (features, targets) = (explainer.features(), explainer.targets());
        let (width, each) = (x.len() / rows.max(1), targets * (features + 1));
        let len = rows.checked_mul(each).filter(|&n| n <= 1 << 28);
        let len = len.ok_or_else(|| {
            err!(LimitExceeded, "{rows} explanations of {each} numbers: ask for fewer rows")
        })?;
        let mut values = vec![0.0; len];
        let mut scratch = Scratch::default();
        for (i, out) in values.chunks_exact_mut(each).enumerate() {
            explainer.explain_into(&x[i * width..(i + 1) * width], &mut scratch, out)?;
        }
        Ok(Explanations { rows, targets, features, values })
    }

    fn apply(&self, rows: usize, x: &[f64]) -> Result<(usize, Vec<u32>)> {
        let trees = self.trees("leaves")?;
        let leaves = once(&self.leaves, || Leaves::new(trees.clone()))?;
        let width = x.len() / rows.max(1);
        let mut all = Vec::with_capacity(rows * trees.roots.len());
        for i in 0..rows {
            all.extend(leaves.apply(&x[i * width..(i + 1) * width])?);
        }
        Ok((trees.roots.len(), all))
    }

    fn importance(&self, kind: ImportanceKind) -> Result<Vec<f64>> {
        let by = match kind {
            ImportanceKind::Splits => Importance::Splits,
            ImportanceKind::TotalGain => Importance::TotalGain,
            ImportanceKind::MeanGain => Importance::MeanGain,
            ImportanceKind::TotalCover => Importance::TotalCover,
            ImportanceKind::MeanCover => Importance::MeanCover,
        };
        // LightGBM leaves out splits that gained nothing.
        let lightgbm = self.booster.metadata.get("library").is_some_and(|l| l == "LightGBM");
        let counted = if lightgbm { Counted::Gaining } else { Counted::All };
        self.trees("importance")?.importance(by, counted)
    }
}

/// What the cell holds, made by the first who succeeds.
fn once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(made) => Ok(made),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}

fn insight_of<M: Model + ?Sized>(model: &M) -> Result<Arc<Insight>> {
    model.insight().ok_or_else(|| {
        err!(
            Unsupported,
            "only a native model of XGBoost, LightGBM or CatBoost that was loaded with the option \
             'explain' can be explained"
        )
    })
}

/// The rows as doubles, and how many there are.
fn rows_of<M: Model + ?Sized>(model: &M, rows: Features<'_>) -> Result<(usize, Vec<f64>)> {
    let (tensors, count) = model.bind(rows)?;
    match tensors.as_slice() {
        [tensor] => Ok((count, tensor.to_f64_vec()?)),
        _ => bail!(Internal, "a booster with {} inputs", tensors.len()),
    }
}

/// See [`Model::explain`].
pub(super) fn explain<M: Model + ?Sized>(model: &M, rows: Features<'_>) -> Result<Explanations> {
    let insight = insight_of(model)?;
    let (count, x) = rows_of(model, rows)?;
    insight.explain(count, &x)
}

/// See [`Model::apply`].
pub(super) fn apply<M: Model + ?Sized>(model: &M, rows: Features<'_>) -> Result<(usize, Vec<u32>)> {
    let insight = insight_of(model)?;
    let (count, x) = rows_of(model, rows)?;
    insight.apply(count, &x)
}

/// See [`Model::importance`].
pub(super) fn importance<M: Model + ?Sized>(model: &M, kind: ImportanceKind) -> Result<Vec<f64>> {
    insight_of(model)?.importance(kind)
}
