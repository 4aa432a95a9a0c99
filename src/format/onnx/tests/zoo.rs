//! Real models, where they lie beside the repository.

use super::*;
use std::path::Path;

fn all_ordered(graph: &Graph) {
    order(graph);
    for (_, inner) in graph.nodes.iter().flat_map(|n| &n.subgraphs) {
        all_ordered(inner);
    }
}

#[test]
fn every_model_of_the_zoo_is_read() {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/zoo");
    if !zoo.is_dir() {
        let required = std::env::var("CI").is_ok_and(|v| v == "true");
        assert!(!required, "no model zoo at {}", zoo.display());
        eprintln!("SKIPPED: no model zoo at {}", zoo.display());
        return;
    }
    let mut count = 0;
    let mut failures = vec![];
    for entry in std::fs::read_dir(&zoo).unwrap() {
        let path = entry.unwrap().path().join("model.onnx");
        if !path.is_file() {
            continue;
        }
        count += 1;
        let limits = LoadLimits::default();
        let source = Source::open(&path, &limits).unwrap();
        match crate::format::onnx::import(&source, &limits, &mut Problems::default()) {
            Ok(graph) => all_ordered(&graph),
            Err(e) => failures.push(e.to_string()),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 0, "the model zoo at {} is empty", zoo.display());
    eprintln!("{count} models read");
}
