//! `include/modelserve.h` is what cbindgen makes of the sources. To write it anew:
//! `MODELSERVE_UPDATE_HEADER=1 cargo test -p modelserve-c --test header`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

/// The sources in the order in which a reader of the header meets them.
const SOURCES: &[&str] = &[
    "library",
    "status",
    "handle",
    "callback",
    "options",
    "gate",
    "request",
    "manager",
    "versions",
    "lease",
    "policies",
    "probe",
    "events",
    "log",
    "metrics",
    "repository",
    "record",
    "replay",
    "model",
    "signature",
    "inspect",
    "predict",
    "doubles",
    "prepared",
    "columns",
    "explain",
    "submit",
    "submit_batch",
    "submit_doubles",
    "submit_columns",
    "tensor",
    "outputs",
    "run_into",
    "submit_run",
    "dlpack",
    "http",
    "http_server",
];

#[test]
fn the_committed_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join(format!("src/{source}.rs")));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();

    let header = root.join("../../include/modelserve.h");
    if std::env::var_os("MODELSERVE_UPDATE_HEADER").is_some() {
        std::fs::create_dir_all(header.parent().unwrap()).unwrap();
        std::fs::write(&header, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&header).unwrap_or_default();
    assert!(
        committed == generated,
        "include/modelserve.h is not what the sources say; \
         run with MODELSERVE_UPDATE_HEADER=1 and commit it"
    );
}
