//! Two answers to one request, compared.

use super::{Answer, Answers, Prediction, Predictions, Reply};
use crate::tensor::{Data, Tensor, Value};

/// How far two numbers may lie apart and still count as the same answer:
/// `|a − b| ≤ absolute + relative · max(|a|, |b|)`. Two NaN are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// The part that does not depend on the numbers; 1e-6 by default.
    pub absolute: f64,
    /// The part in proportion to the larger number; 0.02 by default.
    pub relative: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Tolerance { absolute: 1e-6, relative: 0.02 }
    }
}

/// How two answers to one request differ.
///
/// A row *disagrees* when its label differs, or, where the answer is a number or a tensor, when
/// a number lies beyond the tolerance. Scores beside a label count as drift alone (`max_abs`,
/// `max_rel`): two models that choose the same label agree, however sure they are.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Rows compared.
    pub rows: usize,
    /// Rows that disagree.
    pub disagreed: usize,
    /// The largest `|a − b|` of any two numbers, scores included; infinite where one is NaN or
    /// infinite and the other is something else, or where the answers have different forms.
    pub max_abs: f64,
    /// The largest `|a − b| / max(|a|, |b|)`, from 0 to 2; infinite as `max_abs`.
    pub max_rel: f64,
    /// The row that differs most: a disagreeing one before any other, then by relative
    /// difference.
    pub worst_row: usize,
    /// Whether both answers have the same form (kind, number of rows, shapes, element types). If
    /// not, every row disagrees.
    pub comparable: bool,
}

impl Difference {
    /// The share of rows that disagree, 0 to 1.
    pub fn share(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.disagreed as f64 / self.rows as f64 }
    }

    /// Whether every row agrees.
    pub fn agrees(&self) -> bool {
        self.disagreed == 0
    }
}

/// Compares two answers to the same request; which of them is first makes no difference.
pub fn compare(a: &Reply, b: &Reply, tolerance: &Tolerance) -> Difference {
    let rows = match a {
        Reply::Row(_) => 1,
        Reply::Batch(p) => p.rows,
        Reply::Tensors(outputs) => named_rows(outputs),
    };
    let mut rows = Rows::new(rows, tolerance);
    let same = match (a, b) {
        (Reply::Row(a), Reply::Row(b)) => rows.prediction(a, b),
        (Reply::Batch(a), Reply::Batch(b)) => rows.predictions(a, b),
        (Reply::Tensors(a), Reply::Tensors(b)) => rows.named(a, b),
        _ => None,
    };
    rows.difference(same.is_some())
}

/// The rows that named outputs have together: the first dimension of the first tensor.
fn named_rows(outputs: &[(String, Value)]) -> usize {
    let first = outputs.first().and_then(|(_, value)| value.as_tensor().ok());
    first.and_then(|t| t.dims().first().copied()).unwrap_or(1)
}

/// What is known of each row so far.
struct Rows<'a> {
    tolerance: &'a Tolerance,
    disagree: Vec<bool>,
    rel: Vec<f64>,
    max_abs: f64,
}

/// The answers have the same form, as far as was looked: `None` stands for "not so".
type Same = Option<()>;

fn same(condition: bool) -> Same {
    condition.then_some(())
}

impl Rows<'_> {
    fn new(rows: usize, tolerance: &Tolerance) -> Rows<'_> {
        Rows { tolerance, disagree: vec![false; rows], rel: vec![0.0; rows], max_abs: 0.0 }
    }

    fn difference(self, comparable: bool) -> Difference {
        let rows = self.rel.len();
        let mut d = Difference {
            rows,
            disagreed: self.disagree.iter().filter(|d| **d).count(),
            max_abs: self.max_abs,
            max_rel: 0.0,
            worst_row: 0,
            comparable,
        };
        if !comparable {
            (d.disagreed, d.max_abs, d.max_rel) = (rows, f64::INFINITY, f64::INFINITY);
            return d;
        }
        let mut worst = (false, 0.0);
        for (i, here) in self.disagree.iter().copied().zip(self.rel.iter().copied()).enumerate() {
            d.max_rel = d.max_rel.max(here.1);
            if here > worst {
                (worst, d.worst_row) = (here, i);
            }
        }
        d
    }

    fn prediction(&mut self, a: &Prediction, b: &Prediction) -> Same {
        match (&a.answer, &b.answer) {
            (Answer::Int(a), Answer::Int(b)) => self.label(0, a == b),
            (Answer::Str(a), Answer::Str(b)) => self.label(0, a == b),
            (Answer::Labels(a), Answer::Labels(b)) => self.label(0, a == b),
            (Answer::Value(a), Answer::Value(b)) => self.number(0, *a, *b, true),
            (Answer::Values(a), Answer::Values(b)) => self.numbers(a, b, true)?,
            (Answer::Outputs(a), Answer::Outputs(b)) => self.named(a, b)?,
            _ => return None,
        }
        match (&a.scores, &b.scores) {
            (Some(a), Some(b)) => self.numbers(a, b, false),
            (a, b) => same(a.is_none() && b.is_none()),
        }
    }

    fn predictions(&mut self, a: &Predictions, b: &Predictions) -> Same {
        same(a.rows == b.rows)?;
        match (&a.answers, &b.answers) {
            (Answers::Labels(a), Answers::Labels(b))
            | (Answers::Multilabel(a), Answers::Multilabel(b))
            | (Answers::Values(a), Answers::Values(b)) => self.tensor(a, b, true)?,
            (Answers::Outputs(a), Answers::Outputs(b)) => self.named(a, b)?,
            _ => return None,
        }
        match (&a.scores, &b.scores) {
            (Some(a), Some(b)) => self.tensor(a, b, false),
            (a, b) => same(a.is_none() && b.is_none()),
        }
    }

    fn named(&mut self, a: &[(String, Value)], b: &[(String, Value)]) -> Same {
        same(a.len() == b.len())?;
        for ((left, a), (right, b)) in a.iter().zip(b) {
            same(left == right)?;
            self.value(a, b)?;
        }
        Some(())
    }

    fn value(&mut self, a: &Value, b: &Value) -> Same {
        match (a, b) {
            (Value::Tensor(a), Value::Tensor(b)) => self.tensor(a, b, true),
            // ZipMap's sequence of maps, and what else holds numbers deeper: each entry is
            // compared by itself, and counted for all rows together.
            (Value::Sequence(a), Value::Sequence(b)) => {
                same(a.len() == b.len())?;
                a.iter().zip(b).try_for_each(|(a, b)| self.value(a, b))
            }
            (Value::Map(a), Value::Map(b)) => {
                same(a.entries.len() == b.entries.len())?;
                a.entries.iter().zip(&b.entries).try_for_each(|((left, a), (right, b))| {
                    same(left == right)?;
                    self.value(a, b)
                })
            }
            (Value::Optional(Some(a)), Value::Optional(Some(b))) => self.value(a, b),
            (Value::Optional(None), Value::Optional(None)) => Some(()),
            _ => None,
        }
    }

    /// Two tensors: floats by the tolerance, all else exactly. `decides`: a difference makes the
    /// row disagree.
    fn tensor(&mut self, a: &Tensor, b: &Tensor, decides: bool) -> Same {
        same(a.dims() == b.dims() && a.dtype() == b.dtype())?;
        if a.dtype().is_float() {
            return self.numbers(&a.to_f64_vec().ok()?, &b.to_f64_vec().ok()?, decides);
        }
        if let (Data::String(a), Data::String(b)) = (a.data(), b.data()) {
            self.labels(a, b);
        } else if let (Data::U64(a), Data::U64(b)) = (a.data(), b.data()) {
            self.labels(a, b);
        } else {
            self.labels(&a.to_i64_vec().ok()?, &b.to_i64_vec().ok()?);
        }
        Some(())
    }

    fn labels<T: PartialEq>(&mut self, a: &[T], b: &[T]) {
        let width = self.width(a.len());
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            self.label(i / width, a == b);
        }
    }

    fn numbers(&mut self, a: &[f64], b: &[f64], decides: bool) -> Same {
        same(a.len() == b.len())?;
        let width = self.width(a.len());
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            self.number(i / width, *a, *b, decides);
        }
        Some(())
    }

    /// Elements a row; values that are not by row count for the first.
    fn width(&self, len: usize) -> usize {
        let rows = self.rel.len().max(1);
        if len.is_multiple_of(rows) { (len / rows).max(1) } else { len }
    }

    fn label(&mut self, row: usize, equal: bool) {
        if !equal && let Some(disagree) = self.disagree.get_mut(row) {
            *disagree = true;
        }
    }

    fn number(&mut self, row: usize, a: f64, b: f64, decides: bool) {
        if a == b || (a.is_nan() && b.is_nan()) {
            return;
        }
        let larger = a.abs().max(b.abs());
        let (abs, rel) = match (a - b).abs() {
            abs if abs.is_finite() => (abs, abs / larger),
            _ => (f64::INFINITY, f64::INFINITY),
        };
        self.max_abs = self.max_abs.max(abs);
        if let Some(worst) = self.rel.get_mut(row) {
            *worst = worst.max(rel);
        }
        let allowed = self.tolerance.absolute + self.tolerance.relative * larger;
        let within = abs.is_finite() && abs <= allowed;
        self.label(row, within || !decides);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ctx, Features};
    use crate::model::{FnModel, Model, Request};

    fn reply(request: Request<'_>, f: impl Fn(f32) -> f32 + Send + Sync + 'static) -> Reply {
        let model = FnModel::regressor(1, move |row| Ok(f(row[0])));
        model.call(&request, &mut Ctx::default()).unwrap()
    }

    fn batch(f: impl Fn(f32) -> f32 + Send + Sync + 'static) -> Reply {
        let features = Features::F32 { data: &[1.0, 2.0, 3.0, 4.0], rows: 4, width: 1 };
        reply(Request::Batch(features), f)
    }

    fn labels(labels: Vec<i64>, scores: Vec<f32>) -> Reply {
        let Reply::Batch(mut p) = batch(|x| x) else { unreachable!() };
        p.rows = labels.len();
        p.answers = Answers::Labels(Tensor::from_vec(&[p.rows], labels).unwrap());
        let width = scores.len() / p.rows;
        p.scores = Some(Tensor::from_vec(&[p.rows, width], scores).unwrap());
        Reply::Batch(p)
    }

    #[test]
    fn numbers_disagree_beyond_the_tolerance_only() {
        let t = Tolerance::default();
        let d = compare(&batch(|x| x), &batch(|x| x * 1.01), &t);
        assert!(d.agrees() && d.comparable && (d.max_rel - 0.0099).abs() < 1e-4, "{d:?}");
        let d = compare(&batch(|x| x), &batch(|x| if x == 3.0 { 6.0 } else { x }), &t);
        assert_eq!((d.rows, d.disagreed, d.worst_row, d.share()), (4, 1, 2, 0.25));
        assert_eq!((d.max_abs, d.max_rel), (3.0, 0.5));
    }

    #[test]
    fn a_label_decides_and_scores_are_drift() {
        let t = Tolerance::default();
        let a = labels(vec![0, 1], vec![0.9, 0.1, 0.2, 0.8]);
        let unsure = labels(vec![0, 1], vec![0.6, 0.4, 0.2, 0.8]);
        let d = compare(&a, &unsure, &t);
        assert!(d.agrees() && (d.max_abs - 0.3).abs() < 1e-6 && d.worst_row == 0, "{d:?}");
        let flipped = labels(vec![0, 0], vec![0.9, 0.1, 0.2, 0.8]);
        let d = compare(&a, &flipped, &t);
        assert_eq!((d.disagreed, d.worst_row, d.max_abs), (1, 1, 0.0));
    }

    #[test]
    fn nan_agrees_with_nan_and_with_nothing_else() {
        let t = Tolerance::default();
        let nan = |x: f32| if x == 2.0 { f32::NAN } else { x };
        assert!(compare(&batch(nan), &batch(nan), &t).agrees());
        let d = compare(&batch(nan), &batch(|x| x), &t);
        assert_eq!((d.disagreed, d.worst_row, d.max_rel), (1, 1, f64::INFINITY));
        let inf = |x: f32| if x == 2.0 { f32::INFINITY } else { x };
        assert_eq!(compare(&batch(inf), &batch(|x| x), &t).disagreed, 1);
    }

    #[test]
    fn answers_of_different_forms_disagree_in_every_row() {
        let t = Tolerance::default();
        let row = reply(Request::Row(Features::F32 { data: &[1.0], rows: 1, width: 1 }), |x| x);
        let d = compare(&batch(|x| x), &row, &t);
        assert!(!d.comparable && d.disagreed == 4 && d.max_abs.is_infinite());
        let d = compare(&labels(vec![1], vec![1.0]), &batch(|x| x), &t);
        assert!(!d.comparable && d.disagreed == 1);
    }

    #[test]
    fn named_outputs_are_compared_by_row() {
        let tensors = |v: Vec<f32>| {
            Reply::Tensors(vec![("y".into(), Tensor::from_vec(&[2, 2], v).unwrap().into())])
        };
        let a = tensors(vec![1.0, 2.0, 3.0, 4.0]);
        let d = compare(&a, &tensors(vec![1.0, 2.0, 3.0, 5.0]), &Tolerance::default());
        assert_eq!((d.rows, d.disagreed, d.worst_row, d.max_abs), (2, 1, 1, 1.0));
    }
}
