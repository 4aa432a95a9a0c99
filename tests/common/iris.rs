//! Two versions of one model that answer every row differently, and what they answer.

use super::Expected;
use modelserve::{LoadOptions, Model, Prediction, Predictions};
use std::path::PathBuf;

/// What one version answers, precomputed: floats as bits.
struct Truth {
    answers: Vec<(String, Vec<u64>)>,
}

fn exact(prediction: &Prediction) -> (String, Vec<u64>) {
    let scores = prediction.scores.as_deref().unwrap_or_default();
    (format!("{:?}", prediction.answer), scores.iter().map(|x| x.to_bits()).collect())
}

/// The file and the options of version `number`: odd ones are `iris_v1`, even ones `iris_v2`.
pub fn version(number: u64) -> (PathBuf, LoadOptions) {
    let name = if number % 2 == 1 { "iris_v1" } else { "iris_v2" };
    let options = LoadOptions { version: Some(number), ..LoadOptions::default() };
    (super::model_path(name), options)
}

/// Tells whether an answer is wholly that of the version it names.
pub struct Checker {
    /// The rows to ask.
    pub rows: Expected,
    truths: [Truth; 2],
}

impl Checker {
    /// Asks both versions everything.
    pub fn new() -> Checker {
        let rows = Expected::of("iris_v1");
        let truth = |name| {
            let model = super::load_model(name);
            let answers =
                (0..rows.rows).map(|i| exact(&model.predict_row(rows.row(i)).unwrap())).collect();
            Truth { answers }
        };
        let truths = [truth("iris_v2"), truth("iris_v1")];
        for i in 0..rows.rows {
            assert_ne!(truths[0].answers[i], truths[1].answers[i], "row {i} cannot tell");
        }
        Checker { rows, truths }
    }

    /// `n` rows from `first` on.
    pub fn some(&self, first: usize, n: usize) -> modelserve::Features<'_> {
        let width = self.rows.width;
        let data = &self.rows.data[first * width..(first + n) * width];
        modelserve::Features::F32 { data, rows: n, width }
    }

    /// Holds the answer to row `i` against the table.
    pub fn row(&self, i: usize, got: &Prediction) -> Result<(), String> {
        let truth = &self.truths[(got.model_version % 2) as usize].answers[i];
        if exact(got) == *truth {
            return Ok(());
        }
        Err(format!("version {}, row {i}: {got:?}, not {truth:?}", got.model_version))
    }

    /// Holds the answers to all rows against the table.
    pub fn batch(&self, got: &Predictions) -> Result<(), String> {
        self.batch_of(0, self.rows.rows, got)
    }

    /// Holds the answers to `n` rows from `first` on against the table.
    pub fn batch_of(&self, first: usize, n: usize, got: &Predictions) -> Result<(), String> {
        if got.rows != n {
            return Err(format!("{} rows of {n}", got.rows));
        }
        (0..n).try_for_each(|i| self.row(first + i, &got.row(i).map_err(|e| e.to_string())?))
    }
}
