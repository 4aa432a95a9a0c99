//! Files that cannot be loaded, and what is found in them all the same.

#![cfg(feature = "onnx")]

use super::{Inspection, inspect_bytes, inspect_with};
use crate::error::ErrorKind;
use crate::format::onnx::proto::*;
use crate::model::{LoadOptions, load_bytes};
use prost::Message;

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn node(name: &str, op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        name: name.into(),
        op_type: op.into(),
        input: texts(inputs),
        output: texts(outputs),
        ..NodeProto::default()
    }
}

fn value(name: &str, elem_type: i32) -> ValueInfoProto {
    let dim = vec![
        Dimension { dim_param: "N".into(), ..Dimension::default() },
        Dimension { dim_value: Some(3), ..Dimension::default() },
    ];
    let tensor = TensorType { elem_type, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type }
}

fn weight(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        float_data: data.to_vec(),
        ..TensorProto::default()
    }
}

fn beside(name: &str, dims: &[i64], location: &str) -> TensorProto {
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        data_location: 1,
        external_data: vec![entry("location", location), entry("offset", "64")],
        ..TensorProto::default()
    }
}

fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: 5,
        g: Some(Box::new(graph)),
        ..AttributeProto::default()
    }
}

fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    ModelProto {
        ir_version: 8,
        producer_name: "maker".into(),
        producer_version: "1.2".into(),
        model_version: 7,
        domain: "org.example".into(),
        doc_string: "what it is for".into(),
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn graph(nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: "g".into(),
        node: nodes,
        input: vec![value("x", 1)],
        output: vec![value("y", 1)],
        ..GraphProto::default()
    }
}

fn found(model: &ModelProto) -> Inspection {
    inspect_bytes(model.encode_to_vec(), &LoadOptions::default()).unwrap()
}

/// The error of loading, which has to be there.
fn refused(model: &ModelProto) -> crate::Error {
    load_bytes(model.encode_to_vec(), &LoadOptions::default()).unwrap_err()
}

/// The operator's count, opset version and whether it can be computed.
fn used(found: &Inspection, domain: &str, name: &str) -> Option<(u64, Option<i64>, bool)> {
    let one = found.operators.iter().find(|o| o.domain == domain && o.name == name)?;
    Some((one.count, one.opset, one.supported))
}

#[test]
fn a_model_that_loads_is_told_whole() {
    let mut g =
        graph(vec![node("a", "Add", &["x", "w"], &["s"]), node("r", "Relu", &["s"], &["y"])]);
    g.initializer.push(weight("w", &[3], &[1.0, 2.0, 3.0]));
    let mut m = model(g);
    m.metadata_props.push(StringStringEntryProto { key: "k".into(), value: "v".into() });
    let found = found(&m);
    assert!(found.readable && found.loadable, "{found}");
    assert_eq!(found.format.map(|f| f.name()), Some("onnx"));
    assert_eq!(found.producer.as_deref(), Some("maker"));
    assert_eq!(found.producer_version.as_deref(), Some("1.2"));
    assert_eq!((found.ir_version, found.model_version), (Some(8), Some(7)));
    assert_eq!(found.domain.as_deref(), Some("org.example"));
    assert_eq!(found.doc_string.as_deref(), Some("what it is for"));
    assert_eq!(found.metadata["k"], "v");
    assert_eq!(found.opsets["ai.onnx"], 17);
    assert_eq!(found.inputs[0].type_name, "float32[N, 3]");
    assert_eq!(used(&found, "ai.onnx", "Add"), Some((1, Some(17), true)));
    assert_eq!((found.tensor_count, found.parameters, found.weight_bytes()), (1, 3, 12));
    assert_eq!(found.tensors[0].shape, [3]);
    assert!(found.memory.unwrap().prepared);
    assert_eq!(found.meaning.as_ref().unwrap().task.name(), "transform");
    let json: serde_json::Value = serde_json::from_str(&found.to_json().unwrap()).unwrap();
    assert_eq!(json["inputs"][0]["shape"], serde_json::json!(["N", 3]));
    assert_eq!(json["meaning"]["task"], "transform");
    assert_eq!(json["path"], serde_json::Value::Null);
}

#[test]
fn every_problem_is_told_with_its_nodes_and_loading_tells_the_same() {
    let wrong =
        AttributeProto { name: "axis".into(), r#type: 1, f: Some(0.5), ..Default::default() };
    let branch = || GraphProto {
        node: vec![node("deep", "Nowhere", &["x"], &["b"])],
        output: vec![value("b", 1)],
        ..GraphProto::default()
    };
    let mut nodes = vec![node("first", "Fancy", &["x"], &["v0"])];
    for i in 1..25 {
        let (from, to) = (format!("v{}", i - 1), format!("v{i}"));
        nodes.push(node(&format!("f{i}"), "Fancy", &[&from], &[&to]));
    }
    for (i, (from, to)) in [("v24", "s1"), ("s1", "s2")].into_iter().enumerate() {
        let mut softmax = node(&format!("soft{i}"), "Softmax", &[from], &[to]);
        softmax.attribute.push(wrong.clone());
        nodes.push(softmax);
    }
    let mut choice = node("choice", "If", &["c"], &["chosen"]);
    choice.attribute = vec![body("then_branch", branch()), body("else_branch", branch())];
    nodes.push(choice);
    nodes.push(node("last", "Add", &["s2", "chosen"], &["y"]));
    let mut g = graph(nodes);
    let mut condition = weight("c", &[], &[]);
    (condition.data_type, condition.int32_data) = (9, vec![1]);
    g.initializer.push(condition);
    let m = model(g);

    let found = found(&m);
    assert!(found.readable && !found.loadable);
    let problem = |op: &str| {
        let op = format!("ai.onnx:{op}");
        found.problems.iter().find(|p| p.operator.as_ref() == Some(&op)).unwrap()
    };
    let fancy = problem("Fancy");
    assert!(fancy.is_missing_operator());
    assert_eq!((fancy.count, fancy.nodes.len(), fancy.opset), (25, 20, Some(17)));
    assert_eq!(&fancy.nodes[..2], ["first", "f1"]);
    assert_eq!((problem("Nowhere").count, problem("Nowhere").nodes.len()), (2, 2));
    let softmax = problem("Softmax");
    assert_eq!(softmax.kind, ErrorKind::InvalidModel);
    assert_eq!(softmax.nodes, ["soft0", "soft1"]);
    assert!(softmax.message.contains("axis") && !softmax.message.contains("soft0"));
    assert_eq!(found.problems.len(), 3, "{found}");
    assert_eq!(used(&found, "ai.onnx", "Fancy"), Some((25, Some(17), false)));

    let error = refused(&m);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for problem in &found.problems {
        assert!(error.message().contains(problem.operator.as_ref().unwrap()), "{error}");
        for node in &problem.nodes {
            assert!(error.message().contains(&format!("'{node}'")), "no {node} in {error}");
        }
    }
    assert!(error.message().contains("and 5 more"), "{error}");
}

#[test]
fn versions_that_are_not_known_do_not_hide_what_else_is_wrong() {
    let mut m = model(graph(vec![node("n", "Fancy", &["x"], &["y"])]));
    m.opset_import[0].version = 99;
    m.ir_version = 2;
    let found = found(&m);
    assert_eq!(used(&found, "ai.onnx", "Fancy"), Some((1, Some(99), false)));
    let error = refused(&m);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for words in ["IR version 2", "opset 99 of ai.onnx", "ai.onnx:Fancy"] {
        assert!(found.problems.iter().any(|p| p.to_string().contains(words)), "{words}: {found}");
        assert!(error.message().contains(words), "{words}: {error}");
    }
}

#[test]
fn data_that_is_missing_is_told_and_its_readers_are_not_accused() {
    let folder = std::env::temp_dir().join(format!("modelserve-inspect-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.onnx");
    // Reshape's target is computed from what is missing, inside of a body too.
    let inner = GraphProto {
        node: vec![node("in", "Reshape", &["x", "target"], &["b"])],
        output: vec![value("b", 1)],
        ..GraphProto::default()
    };
    let mut choice = node("choice", "If", &["c"], &["chosen"]);
    choice.attribute = vec![body("then_branch", inner.clone()), body("else_branch", inner)];
    let mut g = graph(vec![
        node("m", "MatMul", &["x", "w"], &["h"]),
        node("t", "Add", &["gone", "gone"], &["target"]),
        node("r", "Reshape", &["h", "target"], &["q"]),
        choice,
        node("odd", "Fancy", &["q", "chosen"], &["y"]),
    ]);
    g.input.push(value("c", 9));
    g.initializer.push(beside("w", &[3, 3], "weights.bin"));
    g.initializer.push(beside("gone", &[2], "weights.bin"));
    let m = model(g);
    std::fs::write(&path, m.encode_to_vec()).unwrap();
    let missing = inspect_with(&path, &LoadOptions::default()).unwrap();
    std::fs::write(folder.join("weights.bin"), [0; 80]).unwrap();
    let short = inspect_with(&path, &LoadOptions::default()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();

    let [file] = missing.external.as_slice() else { panic!("{missing}") };
    assert_eq!((file.location.as_str(), file.missing, file.bytes), ("weights.bin", true, None));
    assert_eq!((file.needed, file.tensors), (100, 2));
    assert_eq!((missing.parameters, missing.weight_bytes()), (11, 44));
    assert_eq!(missing.tensors[0].external.as_deref(), Some("weights.bin"));
    assert!(missing.problems.iter().any(|p| p.kind == ErrorKind::NotFound), "{missing}");
    let operators: Vec<_> = missing.problems.iter().filter_map(|p| p.operator.as_ref()).collect();
    assert_eq!(operators, ["ai.onnx:Fancy"], "{missing}");
    assert!(!missing.memory.unwrap().prepared);

    assert_eq!(short.external[0].bytes, Some(80));
    assert!(short.problems.iter().any(|p| p.message.contains("36 bytes at 64")), "{short}");
}

#[test]
fn nodes_that_cannot_be_read_are_told_beside_those_that_cannot_be_prepared() {
    let graphs = AttributeProto { name: "bodies".into(), r#type: 10, ..Default::default() };
    let mut odd = node("odd", "Relu", &["x"], &["a"]);
    odd.attribute.push(graphs);
    let m = model(graph(vec![
        odd,
        node("lost", "Relu", &["nowhere"], &["b"]),
        node("fancy", "Fancy", &["a", "b"], &["y"]),
    ]));
    let found = found(&m);
    let told: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("'odd'") && told[0].contains("a list of graphs"), "{told:?}");
    assert!(told[1].contains("'lost'") && told[1].contains("nothing produces"), "{told:?}");
    assert!(told[2].contains("ai.onnx:Fancy"), "{told:?}");
}

#[test]
fn functions_and_bodies_are_counted() {
    let mut m = model(graph(vec![
        NodeProto { domain: "own".into(), ..node("one", "Twice", &["x"], &["h"]) },
        NodeProto { domain: "own".into(), ..node("two", "Twice", &["h"], &["y"]) },
    ]));
    m.opset_import.push(OperatorSetIdProto { domain: "own".into(), version: 3 });
    m.functions.push(FunctionProto {
        name: "Twice".into(),
        domain: "own".into(),
        input: texts(&["a"]),
        output: texts(&["b"]),
        node: vec![node("sum", "Add", &["a", "a"], &["b"])],
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        ..FunctionProto::default()
    });
    let found = found(&m);
    assert!(found.loadable, "{found}");
    assert_eq!(used(&found, "own", "Twice"), Some((2, Some(3), true)));
    assert_eq!(used(&found, "ai.onnx", "Add"), Some((1, Some(13), true)));
    let [function] = found.functions.as_slice() else { panic!("{found}") };
    assert_eq!((function.domain.as_str(), function.name.as_str()), ("own", "Twice"));
    assert_eq!((function.nodes, function.opsets["ai.onnx"]), (1, 13));
}

#[test]
fn element_types_and_values_of_any_kind_are_named() {
    let sequence = ElementTypeProto { elem_type: value("", 16).r#type };
    let mut g = graph(vec![node("n", "Relu", &["x"], &["y"])]);
    g.input.push(ValueInfoProto {
        name: "s".into(),
        r#type: Some(TypeProto { sequence_type: Some(Box::new(sequence)), ..TypeProto::default() }),
    });
    let mut odd = weight("w", &[5], &[]);
    // ONNX has no such type.
    odd.data_type = 77;
    g.initializer.push(odd);
    let found = found(&model(g));
    assert_eq!(found.inputs[1].type_name, "sequence<bfloat16[N, 3]>");
    assert_eq!(found.inputs[1].dtype, None);
    assert_eq!(found.weights[0].dtype, "type 77");
    assert!(!found.loadable);
}

#[test]
fn limits_hold_and_what_is_known_before_stays() {
    let mut g = graph(vec![node("a", "Fancy", &["x"], &["h"]), node("b", "Relu", &["h"], &["y"])]);
    g.initializer.push(weight("w", &[3], &[1.0, 2.0, 3.0]));
    let bytes = model(g).encode_to_vec();
    let mut options = LoadOptions::default();
    options.limits.nodes = 1;
    let few = inspect_bytes(bytes.clone(), &options).unwrap();
    assert!(few.readable && few.problems.iter().any(|p| p.kind == ErrorKind::LimitExceeded));
    assert!(few.problems.iter().any(|p| p.is_missing_operator() && p.nodes == ["a"]), "{few}");
    assert_eq!(used(&few, "ai.onnx", "Relu"), Some((1, Some(17), true)));
    options.limits.proto_bytes = 10;
    let small = inspect_bytes(bytes, &options).unwrap();
    assert!(!small.readable && small.problems[0].kind == ErrorKind::LimitExceeded);
}

#[test]
fn no_cut_of_a_file_panics() {
    let mut g = graph(vec![node("a", "Fancy", &["x", "w"], &["y"])]);
    g.initializer.push(beside("w", &[3, 3], "weights.bin"));
    let bytes = model(g).encode_to_vec();
    for length in 0..bytes.len() {
        let found = inspect_bytes(bytes[..length].to_vec(), &LoadOptions::default()).unwrap();
        assert!(!found.loadable);
        assert!(found.problems.iter().all(|p| p.kind != ErrorKind::Internal), "{length}: {found}");
        found.to_json().unwrap();
    }
}

#[cfg(feature = "safetensors")]
mod safetensors {
    use super::*;
    use crate::model::Format;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(vec![0; data]);
        bytes
    }

    #[test]
    fn tensors_are_listed_whatever_their_type_and_without_a_description() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "a":{"dtype":"F99","shape":[2,2],"data_offsets":[0,4]},
            "b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]}}"#;
        let options = LoadOptions { format: Some(Format::Safetensors), ..LoadOptions::default() };
        let found = inspect_bytes(file(header, 12), &options).unwrap();
        assert!(found.readable && !found.loadable);
        assert_eq!(found.metadata["format"], "pt");
        assert_eq!((found.tensor_count, found.parameters), (2, 7));
        assert_eq!(found.tensors[0].name, "b");
        assert_eq!((found.tensors[0].dtype.as_str(), found.tensors[0].bytes), ("float32", 12));
        assert_eq!(found.tensors[1].dtype, "F99");
        assert!(!found.description.as_ref().unwrap().found);
        let config =
            r#"{"model_type":"bert","architectures":["BertModel"],"layers":[{"type":"relu"}]}"#;
        let options = LoadOptions { config: Some(config.into()), ..options };
        let found = inspect_bytes(file(header, 12), &options).unwrap();
        let description = found.description.as_ref().unwrap();
        assert!(description.found && !found.loadable);
        assert_eq!(description.entries["model_type"], "bert");
        assert_eq!(description.entries["architectures"], "BertModel");
        assert_eq!(description.layers, ["relu"]);
    }
}
