//! Hand-built files and descriptions.

mod container;
mod description;
mod graph;
mod shards;

use super::import_with_config;
use crate::error::Result;
use crate::graph::Graph;
use crate::limits::LoadLimits;
use crate::source::Source;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A file of `f32` tensors whose elements count up from 0.
fn file(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, dims)| {
            (0..dims.iter().product::<usize>()).flat_map(|i| (i as f32).to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, dims), data)| {
        (*name, TensorView::new(Dtype::F32, dims.to_vec(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A description with these layers (a JSON list without its brackets) over `shape`.
fn config(shape: &str, layers: &str, more: &str) -> String {
    format!(
        r#"{{"format": "modelserve-layers", "version": 1,
            "inputs": [{{"name": "x", "shape": {shape}}}], "layers": [{layers}]{more}}}"#
    )
}

fn import(bytes: Vec<u8>, config: &str) -> Result<Graph> {
    import_with_config(&Source::from_bytes(bytes), config, &LoadLimits::default())
}
