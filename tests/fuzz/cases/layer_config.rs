//! Any bytes as the `config.json` of a fixed safetensors file, whose tensors have the names and
//! shapes that the seeds' layers ask for.

mod ask;

use modelserve::{Format, LoadOptions};
use safetensors::tensor::{Dtype, TensorView};
use std::sync::LazyLock;

/// The tensors of the file. Those of one layer have its name in front.
const TENSORS: &[(&str, &[usize])] = &[
    ("fc.weight", &[3, 4]),
    ("fc.bias", &[3]),
    ("e.weight", &[5, 2]),
    ("c.weight", &[2, 1, 3, 3]),
    ("c.bias", &[2]),
    ("n.weight", &[4]),
    ("n.bias", &[4]),
    ("n.running_mean", &[4]),
    ("n.running_var", &[4]),
    ("p", &[4]),
    ("r.weight_ih_l0", &[8, 4]),
    ("r.weight_hh_l0", &[8, 2]),
    ("r.bias_ih_l0", &[8]),
    ("r.bias_hh_l0", &[8]),
    ("a.in_proj_weight", &[12, 4]),
    ("a.in_proj_bias", &[12]),
    ("a.out_proj.weight", &[4, 4]),
    ("a.out_proj.bias", &[4]),
    ("embeddings.word_embeddings.weight", &[5, 4]),
];

static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let data: Vec<Vec<u8>> = TENSORS
        .iter()
        .map(|(_, dims)| {
            let element = |i: usize| ((i as f32) * 0.25 - 1.0).to_le_bytes();
            (0..dims.iter().product::<usize>()).flat_map(element).collect()
        })
        .collect();
    let views = TENSORS.iter().zip(&data).map(|((name, dims), data)| {
        (*name, TensorView::new(Dtype::F32, dims.to_vec(), data).expect("as many bytes"))
    });
    safetensors::serialize(views, None).expect("tensors of distinct names")
});

pub fn run(config: &[u8]) {
    let options = LoadOptions {
        format: Some(Format::Safetensors),
        config: Some(String::from_utf8_lossy(config).into_owned()),
        ..LoadOptions::default()
    };
    ask::ask(&FILE, &ask::small(options));
}
