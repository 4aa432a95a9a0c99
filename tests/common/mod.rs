//! What the integration tests share: the test models and what their trainers answered.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub mod http;
pub mod iris;
pub mod memory;
pub mod onnx;
pub mod proto;
pub mod random;

use modelserve::{GraphModel, LoadOptions, Model, load};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The folder of the test models.
pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The file of the test model `name`.
pub fn model_path(name: &str) -> PathBuf {
    let folder = data().join(name);
    let onnx = folder.join("model.onnx");
    if onnx.is_file() { onnx } else { folder.join("model.safetensors") }
}

/// The names of all test models.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("expected.json").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The folder of the model zoo; `None`, said aloud, where it is not on this machine. Where CI runs
/// it has to be.
pub fn zoo() -> Option<PathBuf> {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/zoo");
    if zoo.is_dir() {
        return Some(zoo);
    }
    let required = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!required, "no model zoo at {}", zoo.display());
    println!("SKIPPED: no model zoo at {}", zoo.display());
    None
}

/// The folders of the zoo's models, sorted.
pub fn zoo_models(zoo: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = std::fs::read_dir(zoo)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("model.onnx").is_file())
        .collect();
    folders.sort();
    folders
}

/// Loads the test model `name` as its file stands.
pub fn load_model(name: &str) -> impl Model + 'static {
    load_as(name, &LoadOptions::default())
}

/// Loads the test model `name` with these options.
pub fn load_as(name: &str, options: &LoadOptions) -> GraphModel {
    load(model_path(name), options).unwrap_or_else(|error| panic!("{name} does not load: {error}"))
}

/// The test set of a model and its trainer's answers.
#[derive(Clone)]
pub struct Expected {
    json: Json,
    /// All rows, one after another.
    pub data: Vec<f32>,
    /// How many rows there are.
    pub rows: usize,
    /// Values a row.
    pub width: usize,
}

impl Expected {
    /// The expectations beside the test model `name`.
    pub fn of(name: &str) -> Expected {
        let text = std::fs::read_to_string(data().join(name).join("expected.json")).unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        let rows = json["rows"].as_array().unwrap();
        let width = rows[0].as_array().unwrap().len();
        let data: Vec<f32> = rows.iter().flat_map(numbers).map(|x| x as f32).collect();
        assert_eq!(data.len(), rows.len() * width, "{name}: ragged rows");
        Expected { rows: rows.len(), width, data, json }
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.width..(i + 1) * self.width]
    }

    /// The rows as a batch.
    pub fn features(&self) -> modelserve::Features<'_> {
        modelserve::Features::F32 { data: &self.data, rows: self.rows, width: self.width }
    }

    /// The name of the model's input.
    pub fn input_name(&self) -> &str {
        self.json["input_name"].as_str().unwrap()
    }

    /// The text of every label, where there are labels.
    pub fn labels(&self) -> Option<Vec<String>> {
        self.texts("labels")
    }

    /// The text of every class, where there are classes.
    pub fn classes(&self) -> Option<Vec<String>> {
        self.texts("classes")
    }

    /// The numbers under `key`, row after row, and how many there are in a row.
    pub fn matrix(&self, key: &str) -> Option<(Vec<f64>, usize)> {
        let rows = self.json.get(key)?.as_array()?;
        let values: Vec<f64> = rows.iter().flat_map(numbers).collect();
        let width = values.len() / rows.len();
        Some((values, width))
    }

    fn texts(&self, key: &str) -> Option<Vec<String>> {
        let items = self.json.get(key)?.as_array()?;
        Some(
            items
                .iter()
                .map(|item| match item {
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                })
                .collect(),
        )
    }
}

fn numbers(row: &Json) -> Vec<f64> {
    row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

/// Whether `got` is `want` within `tolerance`, absolute or relative. NaN is equal to NaN.
pub fn close(got: f64, want: f64, tolerance: f64) -> bool {
    (got.is_nan() && want.is_nan())
        || got == want
        || (got - want).abs() <= tolerance + tolerance * want.abs()
}

/// Runs `work` on a thread of its own and fails if it has not ended within `limit`: a test that
/// hangs says so instead of holding up all others.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let worker = std::thread::spawn(move || {
        let _ = sender.send(work());
    });
    match receiver.recv_timeout(limit) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("no end within {limit:?}"),
        Err(RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(worker.join().unwrap_err());
        }
    }
}

/// An empty folder of this build's own for the files of the test `name`.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// How often a test repeats what a campaign repeats more often (`MODELSERVE_TEST_TIMES`).
pub fn times(plainly: u64) -> u64 {
    match std::env::var("MODELSERVE_TEST_TIMES") {
        Ok(times) => times.parse().expect("MODELSERVE_TEST_TIMES is a number"),
        Err(_) => plainly,
    }
}

/// Waits for a future on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
