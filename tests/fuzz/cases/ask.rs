//! What both targets do with a model that loads.

use modelserve::{ErrorKind, Features, LoadOptions, Model, Result, inspect_bytes, load_bytes};

/// Options under which no file can cost much: a refusal is quick, and so is a run.
pub fn small(options: LoadOptions) -> LoadOptions {
    let mut options = LoadOptions { threads: 1, ..options };
    options.limits.weight_bytes = 64 << 20;
    options.request_limits.run_bytes = 64 << 20;
    options.request_limits.loop_iterations = 1_000;
    options
}

/// Looks at the file, loads it and predicts zeros; fails on an error that tells of a panic inside.
pub fn ask(file: &[u8], options: &LoadOptions) {
    check(inspect_bytes(file.to_vec(), options).map(|found| {
        assert!(found.problems.iter().all(|p| p.kind != ErrorKind::Internal), "{found}");
    }));
    check(load_bytes(file.to_vec(), options).and_then(|model| {
        let signature = model.signature();
        let widths = signature.inputs.iter().map(|i| i.row_width().unwrap_or(4));
        let width = widths.fold(0usize, usize::saturating_add).min(1 << 16);
        let data = vec![0.0; 2 * width];
        check(model.predict_row(&data[..width]).map(|_| ()));
        model.predict_batch(Features::F32 { data: &data, rows: 2, width }).map(|_| ())
    }));
}

fn check(result: Result<()>) {
    if let Err(error) = result {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    }
}
