//! The models that are measured, with rows of their test sets.

use std::path::{Path, PathBuf};

/// A model file and rows to predict.
pub struct Case {
    /// The name in the report.
    pub name: &'static str,
    /// The model's file.
    pub path: PathBuf,
    /// Values a row.
    pub width: usize,
    rows: Vec<f32>,
}

impl Case {
    fn open(name: &'static str, folder: &str) -> Case {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
        let text = std::fs::read_to_string(folder.join("expected.json")).expect("the test set");
        let expected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let lines = expected["rows"].as_array().expect("rows");
        let rows: Vec<f32> = lines
            .iter()
            .flat_map(|line| line.as_array().expect("a row"))
            // A missing value is null.
            .map(|value| value.as_f64().map_or(f32::NAN, |v| v as f32))
            .collect();
        Case { name, path: folder.join("model.onnx"), width: rows.len() / lines.len(), rows }
    }

    /// `count` rows, row-major: the test set over and over.
    pub fn rows(&self, count: usize) -> Vec<f32> {
        self.rows.iter().copied().cycle().take(count * self.width).collect()
    }
}

/// A linear pipeline, a small network and a forest.
pub fn cases() -> Vec<Case> {
    vec![
        Case::open("linear", "logistic"),
        Case::open("mlp", "mlp"),
        Case::open("forest", "random_forest"),
    ]
}
