//! Models of several files.

use super::{config, file};
use crate::error::ErrorKind;
use crate::limits::LoadLimits;
use crate::source::Source;
use std::path::PathBuf;

const INDEX: &str = "model.safetensors.index.json";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("shards-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }

    fn import(&self) -> crate::Result<crate::graph::Graph> {
        let limits = LoadLimits::default();
        let source = Source::open(&self.0.join(INDEX), &limits)?;
        super::super::import(&source, &limits)
    }

    fn refused(&self, index: &str, kind: ErrorKind, says: &str) {
        self.write(INDEX, index);
        let e = self.import().unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
        assert!(e.message().contains(says), "'{e}' does not say '{says}'");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn tensors_come_from_the_files_that_the_index_names() {
    let folder = Folder::new("found");
    folder.write("one.safetensors", file(&[("a.weight", &[2, 3]), ("a.bias", &[2])]));
    folder.write("two.safetensors", file(&[("b.weight", &[1, 2])]));
    let layers = r#"{"type": "linear", "name": "a", "in": 3, "out": 2},
        {"type": "linear", "name": "b", "in": 2, "out": 1, "bias": false}"#;
    folder.write("config.json", config("[\"n\", 3]", layers, ""));
    let map = r#""a.weight": "one.safetensors", "a.bias": "one.safetensors""#;
    let good = format!(
        r#"{{"metadata": {{"total_size": 40}}, "weight_map": {{{map}, "b.weight": "two.safetensors"}}}}"#
    );
    folder.write(INDEX, &good);
    let graph = folder.import().unwrap();
    assert_eq!(graph.nodes.len(), 2);
    assert_eq!(graph.weight_bytes(), 4 * 10);

    let invalid = |index: &str, says: &str| {
        folder.refused(index, ErrorKind::InvalidModel, says);
    };
    invalid("{}", "the index: $: key \"weight_map\" is missing");
    invalid(r#"{"weight_map": {"a": 1}}"#, "the index: $.weight_map: 'a' is no string");
    invalid(&good.replace("b.weight", "c.weight"), "differ in 'b.weight', 'c.weight'");
    invalid(r#"{"weight_map": {"a.weight": "one.safetensors"}}"#, "differ in 'a.bias'");
    let leaves = r#"{"weight_map": {"a": "../one.safetensors"}}"#;
    folder.refused(leaves, ErrorKind::PermissionDenied, "leaves the model's folder");
    let absent = r#"{"weight_map": {"a": "three.safetensors"}}"#;
    folder.refused(absent, ErrorKind::NotFound, "three.safetensors");
}

#[test]
fn a_tensor_is_in_one_file() {
    let folder = Folder::new("twice");
    folder.write("one.safetensors", file(&[("a.weight", &[2, 3])]));
    folder.write("two.safetensors", file(&[("a.weight", &[2, 3]), ("b", &[1])]));
    folder.write("config.json", config("[\"n\", 3]", r#"{"type": "relu"}"#, ""));
    let index = r#"{"weight_map": {"a.weight": "one.safetensors", "b": "two.safetensors"}}"#;
    folder.refused(index, ErrorKind::InvalidModel, "two files have a tensor 'a.weight'");
}
