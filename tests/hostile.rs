//! Broken model files are refused or load; none makes the library panic.

#![cfg(all(feature = "onnx", feature = "safetensors"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
// A case is a fuzz target's as well, and brings what it needs.
#![allow(clippy::duplicate_mod)]

mod common;

#[path = "fuzz/cases/booster_load.rs"]
mod booster_load;
#[path = "fuzz/cases/http.rs"]
mod http;
#[path = "fuzz/cases/layer_config.rs"]
mod layer_config;
#[path = "fuzz/cases/onnx_load.rs"]
mod onnx_load;
#[path = "fuzz/cases/operator_run.rs"]
mod operator_run;
#[cfg(unix)]
#[path = "fuzz/cases/repository.rs"]
mod repository;
#[path = "fuzz/cases/request_views.rs"]
mod request_views;
#[path = "fuzz/cases/safetensors_container.rs"]
mod safetensors_container;
#[path = "fuzz/cases/safetensors_load.rs"]
mod safetensors_load;
#[path = "fuzz/cases/v2_binary.rs"]
mod v2_binary;

use common::Expected;
use common::random::Random;
use modelserve::{
    ErrorKind, Features, Format, LoadOptions, Model, Result, load_bytes, tensor::Tensor,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

const FLIPS: usize = 2_000;
/// How many broken files are made of a good one, at least.
const MUTATIONS: usize = 10_000;
const MIB: u64 = 1 << 20;

/// A file may ask for much; these tests give it little, so that a refusal costs no memory.
fn options(format: Format) -> LoadOptions {
    let mut options = LoadOptions { format: Some(format), ..LoadOptions::default() };
    if format == Format::Safetensors {
        let config = common::data().join("digits_mlp_safetensors/config.json");
        options.config = Some(std::fs::read_to_string(config).unwrap());
    }
    options.limits.weight_bytes = 256 * MIB;
    options.request_limits.run_bytes = 256 * MIB;
    options.request_limits.loop_iterations = 10_000;
    options.explain = !matches!(format, Format::Onnx | Format::Safetensors);
    options
}

/// How often a file was refused, and how often it loaded.
#[derive(Default, Debug)]
struct Outcome {
    refused: usize,
    loaded: usize,
    failures: Vec<String>,
}

impl Outcome {
    /// Loads `bytes` and predicts with what loads. A panic, and an error that tells of one, is a
    /// failure of the file `what`.
    fn attempt(
        &mut self,
        what: impl Fn() -> String,
        bytes: &[u8],
        options: &LoadOptions,
        ask: impl Fn(&dyn Model) -> Result<()>,
    ) {
        let started = Instant::now();
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let model = match load_bytes(bytes.to_vec(), options) {
                Ok(model) => model,
                Err(error) => return (false, Err(error)),
            };
            (true, ask(&model))
        }));
        match attempt {
            Ok((loaded, result)) => {
                if loaded {
                    self.loaded += 1;
                } else {
                    self.refused += 1;
                }
                match result {
                    Err(e) if e.kind() == ErrorKind::Internal => {
                        self.failures.push(format!("{}: {e}", what()));
                    }
                    _ => {}
                }
            }
            Err(_) => self.failures.push(format!("{}: a panic", what())),
        }
        let took = started.elapsed();
        if took > Duration::from_secs(30) {
            self.failures.push(format!("{}: took {took:?}", what()));
        }
    }

    fn check(&self) {
        let some = self.failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.failures.is_empty(), "{} failures:\n{some}", self.failures.len());
    }
}

/// Every cut of a good file, and as many flipped bits as make it ten thousand broken files.
fn corrupt(name: &str, file: &[u8], format: Format, ask: impl Fn(&dyn Model) -> Result<()>) {
    let options = options(format);
    let mut whole = Outcome::default();
    whole.attempt(|| name.to_string(), file, &options, &ask);
    assert_eq!((whole.loaded, whole.refused), (1, 0), "{name} itself loads");
    whole.check();

    let mut truncated = Outcome::default();
    for length in 0..file.len() {
        let what = || format!("{name} cut to {length} bytes");
        truncated.attempt(what, &file[..length], &options, &ask);
    }
    println!("{name}, cut: {} refused, {} loaded", truncated.refused, truncated.loaded);
    truncated.check();
    assert!(truncated.refused > 0);

    let mut random = Random::new(20_240_101);
    let mut flipped = Outcome::default();
    for _ in 0..FLIPS.max(MUTATIONS.saturating_sub(file.len())) {
        let bit = random.below(file.len() * 8);
        let mut bytes = file.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let what = || format!("{name}, bit {} of byte {} flipped", bit % 8, bit / 8);
        flipped.attempt(what, &bytes, &options, &ask);
    }
    println!("{name}, flipped: {} refused, {} loaded", flipped.refused, flipped.loaded);
    flipped.check();
    assert!(flipped.refused > 0 && flipped.loaded > 0, "the flips reach both outcomes");
    let all = truncated.loaded + truncated.refused + flipped.loaded + flipped.refused;
    assert!(all >= MUTATIONS, "{all} broken files");
}

/// A test model, asked what its trainer was asked.
fn corrupt_trained(name: &str, format: Format) {
    let file = std::fs::read(common::model_path(name)).unwrap();
    let expected = Expected::of(name);
    corrupt(name, &file, format, |model| {
        model.predict_batch(expected.features())?;
        model.predict_row(expected.row(0)).map(|_| ())
    });
}

/// A native file of a boosting library, also asked why it answers as it does.
fn corrupt_booster(name: &str, format: Format) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/booster_load");
    let file = std::fs::read(seeds.join(name)).unwrap();
    corrupt(name, &file, format, |model| {
        // Files that are broken may ask for very wide rows.
        let width = model.signature().inputs.first().and_then(|i| i.row_width()).unwrap_or(3);
        let width = width.min(64);
        let data = [vec![0.5f32; width], vec![f32::NAN; width]].concat();
        let rows = || Features::F32 { data: &data, rows: 2, width };
        let answers = [
            model.predict_row(&data[..width]).map(|_| ()),
            model.predict_batch(rows()).map(|_| ()),
            model.explain(rows()).map(|_| ()),
            model.apply(rows()).map(|_| ()),
        ];
        let defect = |r: &Result<()>| matches!(r, Err(e) if e.kind() == ErrorKind::Internal);
        answers.into_iter().find(defect).unwrap_or(Ok(()))
    });
}

#[test]
fn no_cut_or_flip_of_a_linear_onnx_model_panics() {
    corrupt_trained("logistic", Format::Onnx);
}

#[test]
fn no_cut_or_flip_of_a_tree_onnx_model_panics() {
    corrupt_trained("gradient_boosting", Format::Onnx);
}

#[test]
fn no_cut_or_flip_of_a_safetensors_model_panics() {
    corrupt_trained("digits_mlp_safetensors", Format::Safetensors);
}

#[test]
fn no_cut_or_flip_of_an_xgboost_model_panics() {
    corrupt_booster("trees.ubj", Format::XgBoost);
}

#[test]
fn no_cut_or_flip_of_a_lightgbm_model_panics() {
    corrupt_booster("trees.txt", Format::LightGbm);
}

#[test]
fn no_cut_or_flip_of_a_catboost_model_panics() {
    corrupt_booster("trees_catboost.json", Format::CatBoost);
}

/// Asks a model of any signature with zeros, and with numbers, and with nothing.
fn ask_anything(model: &dyn Model) -> Result<()> {
    let signature = model.signature();
    let widths: Vec<usize> =
        signature.inputs.iter().map(|input| input.row_width().unwrap_or(4).min(10_000)).collect();
    let width: usize = widths.iter().sum();
    let mut worst = Ok(());
    let mut note = |result: Result<()>| {
        if matches!(&result, Err(e) if e.kind() == ErrorKind::Internal) {
            worst = result;
        }
    };
    for fill in [0.0f32, 1.5, -1e30, f32::NAN] {
        for rows in [1, 3] {
            let data = vec![fill; rows * width];
            let features = Features::F32 { data: &data, rows, width };
            note(model.predict_batch(features).map(|_| ()));
            let columns: Result<Vec<_>> = signature
                .inputs
                .iter()
                .zip(&widths)
                .map(|(input, &w)| {
                    let tensor = Tensor::from_vec(&[rows, w], vec![fill; rows * w])?;
                    Ok((input.name.clone(), tensor))
                })
                .collect();
            note(columns.and_then(|c| model.predict_batch(Features::Columns(c)).map(|_| ())));
        }
    }
    note(model.predict_row(&vec![0.0; width]).map(|_| ()));
    note(model.predict_row(&[]).map(|_| ()));
    note(model.run(Vec::new(), &[]).map(|_| ()));
    worst
}

fn replay(folder: &str, format: Format) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/replay").join(folder);
    let options = options(format);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    let mut outcome = Outcome::default();
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        let name = || file.file_name().unwrap().to_string_lossy().into_owned();
        let before = outcome.loaded;
        outcome.attempt(name, &bytes, &options, ask_anything);
        println!("{}: {}", name(), if outcome.loaded > before { "loads" } else { "refused" });
    }
    outcome.check();
}

#[test]
fn every_collected_onnx_file_loads_or_is_refused() {
    replay("onnx", Format::Onnx);
}

#[test]
fn every_collected_safetensors_file_loads_or_is_refused() {
    replay("safetensors", Format::Safetensors);
}

/// Runs a fuzz target's case on every file that is kept for it: its seeds, its finds of old, and
/// what a campaign on this machine has found.
fn replay_case(target: &str, run: fn(&[u8])) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files: Vec<_> = ["fuzz/seeds", "hostile/replay", "fuzz/artifacts"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(tests.join(folder).join(target)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files for {target}");
    let mut failures = Vec::new();
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        let started = Instant::now();
        if catch_unwind(|| run(&bytes)).is_err() {
            failures.push(format!("{}: a panic", file.display()));
        }
        let took = started.elapsed();
        if took > Duration::from_secs(30) {
            failures.push(format!("{}: took {took:?}", file.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_file_of_a_fuzz_target_that_loads_models_passes_its_case() {
    replay_case("onnx_load", onnx_load::run);
    replay_case("safetensors_load", safetensors_load::run);
    replay_case("safetensors_container", safetensors_container::run);
    replay_case("layer_config", layer_config::run);
    replay_case("booster_load", booster_load::run);
    replay_case("operator_run", operator_run::run);
    #[cfg(unix)]
    replay_case("repository", repository::run);
}

#[test]
fn every_file_of_a_fuzz_target_that_asks_models_passes_its_case() {
    replay_case("request_views", request_views::run);
    replay_case("http", http::run);
    replay_case("v2_binary", v2_binary::run);
}

/// A target that is added is replayed, too, or says here why not.
#[test]
fn every_fuzz_target_is_replayed() {
    /// Files of `wire_scan` go to `replay/onnx`: whatever is loaded is scanned first. The C
    /// interface is no Rust library: `make fuzz-replay` does it.
    const ELSEWHERE: [&str; 2] = ["wire_scan", "c_calls"];
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/fuzz_targets");
    let source = include_str!("hostile.rs");
    for entry in std::fs::read_dir(targets).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let target = file.strip_suffix(".rs").unwrap();
        let replayed = source.contains(&format!("replay_case(\"{target}\", {target}::run)"));
        assert!(replayed || ELSEWHERE.contains(&target), "{target} is not replayed");
    }
}
