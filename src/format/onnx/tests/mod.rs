//! Models built message by message, read back as graphs.

mod functions;
mod graphs;
mod hostile;
mod native;
mod tensors;
mod zoo;

use super::proto::*;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, topological_order};
use crate::limits::LoadLimits;
use crate::problem::Problems;
use crate::source::Source;
use prost::Message;

fn bytes(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

fn load_with(model: &ModelProto, limits: &LoadLimits) -> Result<Graph> {
    super::import(&Source::from_bytes(bytes(model)), limits, &mut Problems::default())
}

fn load(model: &ModelProto) -> Result<Graph> {
    load_with(model, &LoadLimits::default())
}

fn refused(model: &ModelProto) -> Error {
    load(model).expect_err("a refusal")
}

/// Refused with that kind, and a message that holds all of `words`.
fn assert_refused(model: &ModelProto, kind: ErrorKind, words: &[&str]) {
    let e = refused(model);
    assert_eq!(e.kind(), kind, "{e}");
    for word in words {
        assert!(e.to_string().contains(word), "no '{word}' in: {e}");
    }
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version }
}

fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset("", 17)],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// A float tensor's type, of one dimension each: `-1` is unknown.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim =
        dims.iter().map(|&d| Dimension { dim_value: Some(d), ..Dimension::default() }).collect();
    let tensor = TensorType { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type }
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|s| s.to_string()).collect()
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: op.to_lowercase(),
        input: texts(inputs),
        output: texts(outputs),
        ..NodeProto::default()
    }
}

fn with(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    node.attribute = attributes;
    node
}

fn graph(inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: "g".into(),
        node: nodes,
        input: inputs.iter().map(|n| value(n, &[-1, 3])).collect(),
        output: outputs.iter().map(|n| value(n, &[-1, 3])).collect(),
        ..GraphProto::default()
    }
}

fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        raw_data: data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into(),
        ..TensorProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 2, i: Some(i), ..AttributeProto::default() }
}

fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: 5,
        g: Some(Box::new(graph)),
        ..AttributeProto::default()
    }
}

fn reference(name: &str, to: &str, r#type: i32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ref_attr_name: to.into(),
        r#type,
        ..AttributeProto::default()
    }
}

/// `y = Relu(x + w)`.
fn small() -> ModelProto {
    let mut g =
        graph(&["x"], &["y"], vec![node("Add", &["x", "w"], &["s"]), node("Relu", &["s"], &["y"])]);
    g.initializer.push(floats("w", &[3], &[1.0, -2.0, 3.0]));
    model(g)
}

fn order(graph: &Graph) -> Vec<usize> {
    topological_order(graph).unwrap()
}
