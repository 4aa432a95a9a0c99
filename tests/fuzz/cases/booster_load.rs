//! Any bytes as a native file of each boosting library: loaded, asked and explained.

mod ask;

use modelserve::{ErrorKind, Features, Format, LoadOptions, Model, load_bytes};

pub fn run(file: &[u8]) {
    for format in [Format::XgBoost, Format::LightGbm, Format::CatBoost] {
        let options = LoadOptions { format: Some(format), explain: true, ..LoadOptions::default() };
        let options = ask::small(options);
        ask::ask(file, &options);
        let Ok(model) = load_bytes(file.to_vec(), &options) else { continue };
        let width = model.signature().inputs.first().and_then(|i| i.row_width()).unwrap_or(0);
        if width <= 64 {
            let row = vec![0.5; width];
            let row = || Features::F32 { data: &row, rows: 1, width };
            let told = model.explain(row()).map(|_| ()).err();
            let leaves = model.apply(row()).map(|_| ()).err();
            for error in told.into_iter().chain(leaves) {
                assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
            }
        }
    }
}
