//! Networks that others trained, with their recorded answers, where the zoo is there.

use super::common::{self, data, proto, scratch};
use super::{nearly, run};
use modelserve::tensor::Tensor;
use modelserve::{LoadOptions, load};
use std::path::Path;

fn tensors(set: &Path, kind: &str) -> Vec<(String, Tensor)> {
    (0..)
        .map(|i| set.join(format!("{kind}_{i}.pb")))
        .take_while(|file| file.is_file())
        .map(|file| proto::tensor(&std::fs::read(&file).unwrap()).unwrap())
        .collect()
}

#[test]
fn a_voice_detector_of_several_inputs_and_outputs() {
    let Some(zoo) = common::zoo() else { return };
    let model = zoo.join("silero_vad_16k_safetensors");
    let folder = scratch("silero");
    std::fs::create_dir_all(&folder).unwrap();
    let copy = |from: &Path, name: &str| {
        std::fs::copy(from.join(name), folder.join(name)).unwrap();
    };
    copy(&model, "model.safetensors");
    copy(&data().join("layers/silero_vad_16k"), "config.json");
    let ours = load(&folder, &LoadOptions::default()).unwrap();
    for set in ["test_data_set_0", "test_data_set_1"] {
        let set = model.join(set);
        let inputs = tensors(&set, "input");
        let given: Vec<(&str, Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let got = run(&ours, &given);
        let want = tensors(&set, "output");
        assert_eq!((got.len(), want.len()), (2, 2));
        for ((name, got), (expected, want)) in got.iter().zip(&want) {
            assert_eq!(name, expected);
            let values: Vec<f64> =
                want.as_slice::<f32>().unwrap().iter().map(|&v| v.into()).collect();
            nearly(name, got, want.dims(), &values, 1e-3);
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
