//! One operator with any attributes on any small tensors: as an ONNX file with a node, so that it
//! goes the whole way from bytes to an answer, through both plans.
//!
//! The bytes say which operator, in which opset, with which of its attributes, and what its inputs
//! are: variables, or constants that are packed at load.

mod protobuf;
mod values;

use arbitrary::{Result, Unstructured};
use modelserve::tensor::{Data, ElementType, Tensor, Value};
use modelserve::{ErrorKind, Format, LoadOptions, Model, PlanKind, load_bytes, operators};
use protobuf::Message;
use values::{float, int, tensor};

/// The attributes of each operator with their types, from the schemas of ONNX 1.23.
const ATTRIBUTES: &str = include_str!("../data/attributes.txt");

/// Words that attributes of text know.
const WORDS: [&str; 56] = [
    "constant",
    "reflect",
    "edge",
    "wrap",
    "nearest",
    "linear",
    "cubic",
    "bilinear",
    "bicubic",
    "zeros",
    "border",
    "reflection",
    "half_pixel",
    "align_corners",
    "asymmetric",
    "pytorch_half_pixel",
    "tf_crop_and_resize",
    "half_pixel_symmetric",
    "output_half_pixel",
    "round_prefer_floor",
    "round_prefer_ceil",
    "floor",
    "ceil",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "NOTSET",
    "forward",
    "reverse",
    "bidirectional",
    "none",
    "add",
    "mul",
    "min",
    "max",
    "sum",
    "mean",
    "avg",
    "DCR",
    "CRD",
    "tanh",
    "ij,jk->ik",
    "...ij->...ji",
    "ii->i",
    "ij->",
    "NONE",
    "SOFTMAX",
    "LOGISTIC",
    "SOFTMAX_ZERO",
    "PROBIT",
    "LINEAR",
    "RBF",
    "TF",
    "IDF",
    "BRANCH_LEQ",
    "LEAF",
];

fn word(u: &mut Unstructured<'_>) -> Result<&'static str> {
    u.choose(&WORDS).copied()
}

/// A `TensorProto`, as far as the element types go that have a field of numbers or text.
fn tensor_proto(name: &str, tensor: &Tensor) -> Option<Message> {
    let mut proto = Message::default().bytes(8, name.as_bytes());
    for dim in tensor.dims() {
        proto = proto.int(1, *dim as i64);
    }
    let proto = proto.int(2, tensor.dtype().onnx_number().into());
    Some(match tensor.data() {
        Data::F32(v) => v.iter().fold(proto, |p, x| p.float(4, *x)),
        Data::I64(v) => v.iter().fold(proto, |p, x| p.int(7, *x)),
        Data::I32(v) => v.iter().fold(proto, |p, x| p.int(5, i64::from(*x))),
        Data::U8(v) => v.iter().fold(proto, |p, x| p.int(5, i64::from(*x))),
        Data::I8(v) => v.iter().fold(proto, |p, x| p.int(5, i64::from(*x))),
        Data::Bool(v) => v.iter().fold(proto, |p, x| p.int(5, i64::from(*x))),
        Data::String(v) => v.iter().fold(proto, |p, x| p.bytes(6, x.as_bytes())),
        Data::F64(v) => {
            let raw: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
            proto.bytes(9, &raw)
        }
        _ => return None,
    })
}

fn attribute(u: &mut Unstructured<'_>, name: &str, kind: &str) -> Result<Option<Message>> {
    let attribute = Message::default().bytes(1, name.as_bytes());
    let count = u.int_in_range(0..=4)?;
    Ok(Some(match kind {
        "INT" => attribute.int(3, int(u)?).int(20, 2),
        "FLOAT" => attribute.float(2, float(u)?).int(20, 1),
        "STRING" => attribute.bytes(4, word(u)?.as_bytes()).int(20, 3),
        "TENSOR" => match tensor_proto("", &tensor(u, &WORDS)?) {
            Some(proto) => attribute.message(5, proto).int(20, 4),
            None => return Ok(None),
        },
        "INTS" => {
            let mut attribute = attribute;
            for _ in 0..count {
                attribute = attribute.int(8, int(u)?);
            }
            attribute.int(20, 7)
        }
        "FLOATS" => {
            let mut attribute = attribute;
            for _ in 0..count {
                attribute = attribute.float(7, float(u)?);
            }
            attribute.int(20, 6)
        }
        _ => {
            let mut attribute = attribute;
            for _ in 0..count {
                attribute = attribute.bytes(9, word(u)?.as_bytes());
            }
            attribute.int(20, 8)
        }
    }))
}

/// The attributes that the schemas know for an operator; for one of another domain, those of all.
fn attributes_of(domain: &str, op: &str) -> Vec<(&'static str, &'static str)> {
    let domain = if domain.is_empty() { "ai.onnx" } else { domain };
    let key = format!("{domain}:{op} ");
    let known = ATTRIBUTES.lines().find_map(|line| line.strip_prefix(&key));
    let all = |line: &'static str| line.split(' ').filter_map(|pair| pair.split_once('='));
    match known {
        Some(line) => all(line).collect(),
        None if domain == "com.microsoft" => ATTRIBUTES.lines().flat_map(all).collect(),
        None => Vec::new(),
    }
}

/// A value of the graph: its name, and that it is of that element type.
fn value_info(name: &str, dtype: ElementType) -> Message {
    let tensor = Message::default().int(1, dtype.onnx_number().into());
    Message::default().bytes(1, name.as_bytes()).message(2, Message::default().message(1, tensor))
}

struct Case {
    file: Vec<u8>,
    inputs: Vec<(String, Value)>,
}

fn case(u: &mut Unstructured<'_>) -> Result<Option<Case>> {
    let known = operators();
    let (domain, op) = *u.choose(&known)?;
    // The library's own operators are not written in this form.
    if domain == "ai.modelserve" {
        return Ok(None);
    }
    let mut node = Message::default().bytes(4, op.as_bytes()).bytes(7, domain.as_bytes());
    let mut graph = Message::default().bytes(2, b"operator");
    let mut inputs = Vec::new();
    for i in 0..u.int_in_range(0..=6)? {
        let name = format!("x{i}");
        if u.ratio(1, 8)? {
            node = node.bytes(1, b"");
            continue;
        }
        let tensor = tensor(u, &WORDS)?;
        node = node.bytes(1, name.as_bytes());
        match tensor_proto(&name, &tensor) {
            Some(proto) if u.ratio(1, 3)? => graph = graph.message(5, proto),
            _ => {
                graph = graph.message(11, value_info(&name, tensor.dtype()));
                inputs.push((name, Value::Tensor(tensor)));
            }
        }
    }
    for i in 0..u.int_in_range(1..=4)? {
        let name = format!("y{i}");
        node = node.bytes(2, name.as_bytes());
        graph = graph.message(12, Message::default().bytes(1, name.as_bytes()));
    }
    for (name, kind) in attributes_of(domain, op) {
        if u.ratio(1, 2)?
            && let Some(attribute) = attribute(u, name, kind)?
        {
            node = node.message(5, attribute);
        }
    }
    let version = u.int_in_range(6..=28)?;
    let opset =
        |domain: &str, version: i64| Message::default().bytes(1, domain.as_bytes()).int(2, version);
    let model = Message::default()
        .int(1, 10)
        .message(7, graph.message(1, node))
        .message(8, opset("", version))
        .message(8, opset("ai.onnx.ml", u.int_in_range(1..=5)?))
        .message(8, opset("com.microsoft", 1));
    Ok(Some(Case { file: model.finish(), inputs }))
}

pub fn run(bytes: &[u8]) {
    let Ok(Some(Case { file, inputs })) = case(&mut Unstructured::new(bytes)) else { return };
    for plan in [PlanKind::Optimised, PlanKind::Plain] {
        let mut options =
            LoadOptions { format: Some(Format::Onnx), threads: 1, plan, ..LoadOptions::default() };
        options.limits.weight_bytes = 64 << 20;
        options.request_limits.run_bytes = 64 << 20;
        let answer =
            load_bytes(file.clone(), &options).and_then(|model| model.run(inputs.clone(), &[]));
        if let Err(error) = answer {
            assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
        }
    }
}
