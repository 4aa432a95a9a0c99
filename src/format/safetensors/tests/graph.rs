//! The graphs that descriptions become.

use super::{config, file, import};
use crate::attribute::Attribute;
use crate::graph::{Graph, Node, topological_order};
use crate::limits::LoadLimits;
use crate::source::Source;
use crate::tensor::Tensor;

/// Imports and checks what holds of every graph.
fn graph(tensors: &[(&str, &[usize])], config: &str) -> Graph {
    let graph = import(file(tensors), config).unwrap();
    topological_order(&graph).unwrap();
    assert_eq!(graph.opsets.get(""), Some(&22));
    assert_eq!((graph.inputs.len(), graph.outputs.len()), (1, 1));
    assert!(graph.nodes.iter().all(|n| n.version == 22 && n.domain.is_empty()));
    graph
}

fn ops(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|n| n.op.as_str()).collect()
}

fn declared(graph: &Graph, node: &Node) -> String {
    graph.value(node.outputs[0].unwrap()).declared.as_ref().unwrap().to_string()
}

fn constant<'a>(graph: &'a Graph, node: &Node, input: usize) -> &'a Tensor {
    graph.value(node.inputs[input].unwrap()).constant.as_ref().unwrap()
}

#[test]
fn a_classifier_keeps_what_the_description_says() {
    let layers = r#"{"type": "linear", "name": "fc1", "in": 3, "out": 4},
        {"type": "relu"}, {"type": "dropout", "p": 0.1},
        {"type": "linear", "name": "fc2", "in": 4, "out": 2, "bias": false}"#;
    let more = r#", "preprocess": {"mean": [1, 2, 3], "scale": 0.5}, "task": "classifier",
        "classes": ["no", "yes"], "output_kind": "logits", "output": "scores",
        "feature_names": ["a", "b", "c"]"#;
    let tensors: [(&str, &[usize]); 3] =
        [("fc1.weight", &[4, 3]), ("fc1.bias", &[4]), ("fc2.weight", &[2, 4])];
    let g = graph(&tensors, &config("[\"batch\", 3]", layers, more));
    assert_eq!(ops(&g), ["Sub", "Mul", "Gemm", "Relu", "Gemm"]);
    assert_eq!(constant(&g, &g.nodes[0], 1).as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    let scale = constant(&g, &g.nodes[1], 1);
    assert_eq!((scale.dims().len(), scale.as_slice::<f32>().unwrap()), (0, [0.5].as_slice()));
    let gemm = &g.nodes[2];
    assert_eq!(gemm.attributes.int("transB", 0).unwrap(), 1);
    assert_eq!(constant(&g, gemm, 1).dims(), [4, 3]);
    assert_eq!(constant(&g, gemm, 2).dims(), [4]);
    assert_eq!(g.nodes[4].inputs.len(), 2);
    assert_eq!(declared(&g, &g.nodes[4]), "float32[batch, 2]");
    assert_eq!(g.value(g.inputs[0]).name, "x");
    assert_eq!(g.value(g.outputs[0]).name, "scores");
    assert_eq!(g.nodes[4].outputs[0], Some(g.outputs[0]));
    let said: Vec<(&str, &str)> =
        g.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        said,
        [
            ("modelserve.classes", r#"["no","yes"]"#),
            ("modelserve.feature_names", r#"["a","b","c"]"#),
            ("modelserve.format", "safetensors"),
            ("modelserve.output_kind", "logits"),
            ("modelserve.task", "classifier"),
        ]
    );
}

#[test]
fn a_linear_layer_over_more_axes_turns_its_weight_once() {
    let layers = r#"{"type": "linear", "name": "fc", "in": 3, "out": 2}"#;
    let g = graph(
        &[("fc.weight", &[2, 3]), ("fc.bias", &[2])],
        &config("[\"batch\", \"length\", 3]", layers, ""),
    );
    assert_eq!(ops(&g), ["MatMul", "Add"]);
    let weight = constant(&g, &g.nodes[0], 1);
    assert_eq!(weight.dims(), [3, 2]);
    assert_eq!(weight.as_slice::<f32>().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(declared(&g, &g.nodes[1]), "float32[batch, length, 2]");
    assert_eq!(g.metadata.get("modelserve.output_kind").map(String::as_str), Some("values"));
}

#[test]
fn a_text_model_embeds_averages_and_normalises() {
    let layers = r#"{"type": "embedding", "name": "emb", "num": 10, "dim": 4},
        {"type": "mean", "axis": 1}, {"type": "layer_norm", "name": "ln", "size": 4, "eps": 1e-6},
        {"type": "rms_norm", "name": "rms", "size": 4}, {"type": "layer_norm", "name": "plain",
        "size": 4, "affine": false}"#;
    let text = config("[\"n\", 7]", layers, "")
        .replace("\"name\": \"x\"", "\"name\": \"x\", \"dtype\": \"int64\"");
    let tensors: [(&str, &[usize]); 4] =
        [("emb.weight", &[10, 4]), ("ln.weight", &[4]), ("ln.bias", &[4]), ("rms.weight", &[4])];
    let g = graph(&tensors, &text);
    assert_eq!(
        ops(&g),
        [
            "Gather",
            "ReduceMean",
            "LayerNormalization",
            "Mul",
            "ReduceMean",
            "Add",
            "Sqrt",
            "Div",
            "Mul",
            "LayerNormalization"
        ]
    );
    let gather = &g.nodes[0];
    assert_eq!(constant(&g, gather, 0).dims(), [10, 4]);
    assert_eq!(gather.inputs[1], Some(g.inputs[0]));
    assert_eq!(declared(&g, gather), "float32[n, 7, 4]");
    assert_eq!(constant(&g, &g.nodes[1], 1).as_slice::<i64>().unwrap(), [1]);
    assert_eq!(declared(&g, &g.nodes[1]), "float32[n, 4]");
    assert_eq!(g.nodes[2].attributes.float("epsilon", 0.0).unwrap(), 1e-6);
    assert_eq!(g.nodes[2].inputs.len(), 3);
    assert_eq!(declared(&g, &g.nodes[4]), "float32[n, 1]");
    assert_eq!(constant(&g, &g.nodes[9], 1).as_slice::<f32>().unwrap(), [1.0; 4]);
    assert_eq!(g.nodes[9].inputs.len(), 2);
}

#[test]
fn an_image_model_slides_its_windows() {
    let layers = r#"
        {"type": "conv2d", "name": "c", "in": 2, "out": 4, "kernel": [3, 5], "stride": 2,
         "padding": [1, 2], "groups": 2},
        {"type": "batch_norm", "name": "bn", "size": 4}, {"type": "prelu", "name": "p", "size": 4},
        {"type": "group_norm", "name": "gn", "size": 4, "groups": 2}, {"type": "relu6"},
        {"type": "max_pool2d", "kernel": 2}, {"type": "avg_pool2d", "kernel": 2, "stride": 1},
        {"type": "flatten"}, {"type": "log_softmax"}"#;
    let tensors: [(&str, &[usize]); 10] = [
        ("c.weight", &[4, 1, 3, 5]),
        ("c.bias", &[4]),
        ("bn.weight", &[4]),
        ("bn.bias", &[4]),
        ("bn.running_mean", &[4]),
        ("bn.running_var", &[4]),
        ("bn.num_batches_tracked", &[]),
        ("p.weight", &[4]),
        ("gn.weight", &[4]),
        ("gn.bias", &[4]),
    ];
    let more = r#", "preprocess": {"mean": [1, 2], "std": [3, 4], "axis": 1}"#;
    let text = config("[\"n\", 2, 11, 11]", layers, more)
        .replace("\"name\": \"x\"", "\"name\": \"x\", \"dtype\": \"uint8\"");
    let g = graph(&tensors, &text);
    assert_eq!(
        ops(&g),
        [
            "Cast",
            "Sub",
            "Div",
            "Conv",
            "BatchNormalization",
            "PRelu",
            "GroupNormalization",
            "Clip",
            "MaxPool",
            "AveragePool",
            "Flatten",
            "LogSoftmax"
        ]
    );
    assert_eq!(g.nodes[0].attributes.int("to", 0).unwrap(), 1);
    assert_eq!(constant(&g, &g.nodes[1], 1).dims(), [2, 1, 1]);
    let conv = &g.nodes[3];
    assert_eq!(conv.attributes.ints("pads").unwrap(), [1, 2, 1, 2]);
    assert_eq!(conv.attributes.ints("strides").unwrap(), [2, 2]);
    assert_eq!(conv.attributes.int("group", 1).unwrap(), 2);
    assert_eq!(declared(&g, conv), "float32[n, 4, 6, 6]");
    assert_eq!(g.nodes[4].inputs.len(), 5);
    assert_eq!(constant(&g, &g.nodes[5], 1).dims(), [4, 1, 1]);
    assert_eq!(declared(&g, &g.nodes[8]), "float32[n, 4, 3, 3]");
    assert_eq!(declared(&g, &g.nodes[9]), "float32[n, 4, 2, 2]");
    assert_eq!(declared(&g, &g.nodes[11]), "float32[n, 16]");
}

#[test]
fn activations_become_the_operators_of_their_names() {
    let layers = r#"{"type": "gelu"}, {"type": "gelu_tanh", "name": "act"}, {"type": "silu"},
        {"type": "tanh"}, {"type": "sigmoid"}, {"type": "elu", "alpha": 0.5},
        {"type": "leaky_relu"}, {"type": "hard_sigmoid"}, {"type": "hard_swish"},
        {"type": "mish"}, {"type": "softplus"}, {"type": "softsign"}, {"type": "softmax"}"#;
    let g = graph(&[], &config("[\"n\", 3]", layers, ""));
    assert_eq!(
        ops(&g),
        [
            "Gelu",
            "Gelu",
            "Sigmoid",
            "Mul",
            "Tanh",
            "Sigmoid",
            "Elu",
            "LeakyRelu",
            "HardSigmoid",
            "HardSwish",
            "Mish",
            "Softplus",
            "Softsign",
            "Softmax"
        ]
    );
    assert_eq!(g.nodes[0].attributes.str("approximate", "").unwrap(), "none");
    assert_eq!(g.nodes[1].attributes.str("approximate", "").unwrap(), "tanh");
    assert_eq!(g.nodes[3].inputs, [g.nodes[1].outputs[0], g.nodes[2].outputs[0]]);
    assert_eq!(g.nodes[6].attributes.get("alpha"), Some(&Attribute::Float(0.5)));
    assert_eq!(g.nodes[7].attributes.get("alpha"), Some(&Attribute::Float(0.01)));
    assert_eq!(g.nodes[13].attributes.get("axis"), Some(&Attribute::Int(1)));
}

#[test]
fn layers_of_one_name_share_their_weights() {
    let layer = r#"{"type": "linear", "name": "fc", "in": 3, "out": 3}"#;
    let layers = format!(r#"{layer}, {{"type": "tanh"}}, {layer}"#);
    let g = graph(&[("fc.weight", &[3, 3]), ("fc.bias", &[3])], &config("[\"n\", 3]", &layers, ""));
    assert_eq!(g.nodes[0].inputs[1], g.nodes[2].inputs[1]);
    assert_eq!(g.weight_bytes(), 4 * 12);
}

#[test]
fn a_chain_without_operators_still_has_an_output_of_its_own() {
    let g = graph(&[], &config("[\"n\", 3]", r#"{"type": "dropout"}"#, ""));
    assert_eq!(ops(&g), ["Identity"]);
    assert_ne!(g.inputs, g.outputs);
}

#[test]
fn double_precision_widens_the_weights() {
    let layer = r#"{"type": "linear", "name": "fc", "in": 3, "out": 1, "bias": false}"#;
    let g =
        graph(&[("fc.weight", &[1, 3])], &config("[\"n\", 3]", layer, r#", "dtype": "float64""#));
    assert_eq!(ops(&g), ["Cast", "Gemm"]);
    assert_eq!(constant(&g, &g.nodes[1], 1).as_slice::<f64>().unwrap(), [0.0, 1.0, 2.0]);
    assert_eq!(declared(&g, &g.nodes[1]), "float64[n, 1]");
}

/// What the trainer answered, `[rows][columns]`.
fn numbers(value: &serde_json::Value) -> Vec<Vec<f32>> {
    let row = |v: &serde_json::Value| {
        v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    value.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn a_trained_perceptron_answers_as_its_trainer_did() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/digits_mlp_safetensors");
    let folder = std::path::Path::new(folder);
    let limits = LoadLimits::default();
    let source = Source::open(&folder.join("model.safetensors"), &limits).unwrap();
    let g = super::super::import(&source, &limits).unwrap();
    assert_eq!(ops(&g), ["Sub", "Mul", "Gemm", "Relu", "Gemm", "Relu", "Gemm"]);
    let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let logits = numbers(&expected["logits"]);
    assert!(logits.len() > 20);
    // Row by row in plain loops: independent of every kernel.
    for (row, want) in numbers(&expected["rows"]).into_iter().zip(&logits) {
        let mut x = row;
        for node in &g.nodes {
            let with = |input: usize| constant(&g, node, input).as_slice::<f32>().unwrap();
            x = match node.op.as_str() {
                "Sub" => x.iter().zip(with(1)).map(|(a, b)| a - b).collect(),
                "Mul" => x.iter().zip(with(1)).map(|(a, b)| a * b).collect(),
                "Relu" => x.iter().map(|a| a.max(0.0)).collect(),
                "Gemm" => {
                    let product = |(w, b): (&[f32], &f32)| {
                        b + w.iter().zip(&x).map(|(w, a)| w * a).sum::<f32>()
                    };
                    with(1).chunks_exact(x.len()).zip(with(2)).map(product).collect()
                }
                other => panic!("{other}"),
            };
        }
        for (got, want) in x.iter().zip(want) {
            assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "{got} {want}");
        }
    }
}

#[test]
fn the_description_is_read_from_beside_the_file() {
    let folder = std::env::temp_dir().join(format!("modelserve-layers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.safetensors");
    std::fs::write(&path, file(&[("fc.weight", &[2, 3])])).unwrap();
    let limits = LoadLimits::default();
    let source = Source::open(&path, &limits).unwrap();
    let missing = super::super::import(&source, &limits).unwrap_err();
    assert!(missing.message().contains("needs the description of its layers"), "{missing}");
    let layer = r#"{"type": "linear", "name": "fc", "in": 3, "out": 2, "bias": false}"#;
    let text = config("[\"n\", 3]", layer, "");
    std::fs::write(folder.join("config.json"), text).unwrap();
    let graph = super::super::import(&source, &limits).unwrap();
    assert_eq!(ops(&graph), ["Gemm"]);
    std::fs::remove_dir_all(&folder).unwrap();
    let bytes = Source::from_bytes(file(&[]));
    assert!(super::super::import(&bytes, &limits).is_err());
}
