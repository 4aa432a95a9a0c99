//! What every version answers to every row, computed before anything is served.

use modelserve::tensor::{Tensor, Value};
use modelserve::{Answer, Features, Model, Prediction, Predictions, Result};
use std::path::Path;

/// The rows that are asked, one after another.
pub struct Rows {
    data: Vec<f32>,
    pub count: usize,
    pub width: usize,
}

impl Rows {
    /// The test set beside a test model.
    pub fn of(expected: &Path) -> Rows {
        let text = std::fs::read_to_string(expected).expect("the test data of the repository");
        let json: serde_json::Value = serde_json::from_str(&text).expect("a JSON file");
        let rows = json["rows"].as_array().expect("an array of rows");
        let data: Vec<f32> = rows
            .iter()
            .flat_map(|row| row.as_array().expect("a row"))
            .map(|x| x.as_f64().expect("a number") as f32)
            .collect();
        Rows { count: rows.len(), width: data.len() / rows.len(), data }
    }

    /// `count` rows of small numbers.
    pub fn made(count: usize, width: usize) -> Rows {
        let data = (0..count * width).map(|i| (i * 37 % 101) as f32 / 8.0).collect();
        Rows { data, count, width }
    }

    /// `n` rows from `first` on.
    pub fn some(&self, first: usize, n: usize) -> &[f32] {
        &self.data[first * self.width..(first + n) * self.width]
    }

    pub fn features(&self, first: usize, n: usize) -> Features<'_> {
        Features::F32 { data: self.some(first, n), rows: n, width: self.width }
    }

    pub fn tensor(&self, first: usize, n: usize) -> Tensor {
        Tensor::from_vec(&[n, self.width], self.some(first, n).to_vec()).expect("whole rows")
    }
}

/// The answers of one version: all their bits.
struct Table {
    rows: Vec<Vec<u64>>,
    outputs: Vec<Vec<Vec<u64>>>,
}

/// The answers of all versions of a name: those of version `v` stand in table `v % tables`.
pub struct Truth {
    pub rows: Rows,
    /// The name of the model's input.
    pub input: String,
    tables: Vec<Table>,
}

impl Truth {
    pub fn of(rows: Rows, models: &[&dyn Model]) -> Result<Truth> {
        let input = models[0].signature().inputs[0].name.clone();
        let table = |model: &&dyn Model| -> Result<Table> {
            let mut table = Table { rows: Vec::new(), outputs: Vec::new() };
            for i in 0..rows.count {
                table.rows.push(row_bits(&model.predict(rows.features(i, 1))?));
                let inputs = vec![(input.clone(), rows.tensor(i, 1).into())];
                let outputs = model.run(inputs, &[])?;
                table.outputs.push(outputs.iter().map(|(_, v)| value_bits(v)).collect());
            }
            Ok(table)
        };
        let tables = models.iter().map(table).collect::<Result<Vec<_>>>()?;
        Ok(Truth { input, tables, rows })
    }

    /// Rows that two tables answer alike cannot tell the versions apart.
    pub fn tells_apart(&self) -> usize {
        let differ = |i: usize| self.tables.windows(2).all(|t| t[0].rows[i] != t[1].rows[i]);
        (0..self.rows.count).filter(|&i| differ(i)).count()
    }

    /// Turns one bit of one expected answer.
    pub fn spoil(&mut self) {
        self.tables[0].rows[0][0] ^= 1;
    }

    fn table(&self, version: u64) -> &Table {
        &self.tables[(version % self.tables.len() as u64) as usize]
    }

    /// Whether `got` is what `version` answers to row `i`.
    pub fn is_row(&self, version: u64, i: usize, got: &Prediction) -> bool {
        got.model_version == version && row_bits(got) == self.table(version).rows[i]
    }

    /// Whether `got` is what `version` answers to `n` rows from `first` on.
    pub fn is_batch(&self, version: u64, first: usize, n: usize, got: &Predictions) -> bool {
        let row = |i: usize| got.row(i).is_ok_and(|p| self.is_row(version, first + i, &p));
        got.rows == n && (0..n).all(row)
    }

    /// Whether `got` is what `version` answers by name to `n` rows from `first` on.
    pub fn is_outputs(
        &self,
        version: u64,
        first: usize,
        n: usize,
        got: &[(String, Value)],
    ) -> bool {
        let table = self.table(version);
        let same = |(k, (_, value)): (usize, &(String, Value))| {
            let want: Vec<u64> =
                table.outputs[first..first + n].iter().flat_map(|row| row[k].clone()).collect();
            value_bits(value) == want
        };
        got.len() == table.outputs[first].len() && got.iter().enumerate().all(same)
    }
}

fn row_bits(p: &Prediction) -> Vec<u64> {
    let answer = match &p.answer {
        Answer::Int(label) => *label as u64,
        Answer::Value(value) => value.to_bits(),
        other => panic!("no model here answers {other:?}"),
    };
    let scores = p.scores.as_deref().unwrap_or_default();
    [answer, p.probability.map_or(0, f64::to_bits)]
        .into_iter()
        .chain(scores.iter().map(|x| x.to_bits()))
        .collect()
}

fn value_bits(value: &Value) -> Vec<u64> {
    let tensor = value.as_tensor().expect("the outputs here are tensors");
    match (tensor.as_slice::<i64>(), tensor.as_slice::<f32>()) {
        (Ok(labels), _) => labels.iter().map(|x| *x as u64).collect(),
        (_, Ok(numbers)) => numbers.iter().map(|x| u64::from(x.to_bits())).collect(),
        _ => panic!("the outputs here are int64 or float32"),
    }
}
