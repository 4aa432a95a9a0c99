//! Just enough of protobuf to write small ONNX models by hand.

const F32: u64 = 1;

/// A node: operator, inputs, outputs.
pub struct Node<'a>(pub &'a str, pub &'a [&'a str], pub &'a [&'a str]);

/// A float32 value of the interface: name and dimensions, `None` where they vary.
pub struct Float<'a>(pub &'a str, pub &'a [Option<u64>]);

/// A float32 weight: name, dimensions, values.
pub struct Weight<'a>(pub &'a str, pub &'a [u64], pub &'a [f32]);

/// The bytes of an ONNX model (opset 18) made of these parts.
pub fn model(
    nodes: &[Node<'_>],
    weights: &[Weight<'_>],
    inputs: &[Float<'_>],
    outputs: &[Float<'_>],
) -> Vec<u8> {
    let mut graph = Vec::new();
    for Node(operator, ins, outs) in nodes {
        let mut node = Vec::new();
        ins.iter().for_each(|name| field(&mut node, 1, name.as_bytes()));
        outs.iter().for_each(|name| field(&mut node, 2, name.as_bytes()));
        field(&mut node, 4, operator.as_bytes());
        field(&mut graph, 1, &node);
    }
    field(&mut graph, 2, b"graph");
    for Weight(name, dims, values) in weights {
        let mut tensor = Vec::new();
        dims.iter().for_each(|&dim| number(&mut tensor, 1, dim));
        number(&mut tensor, 2, F32);
        field(&mut tensor, 8, name.as_bytes());
        let raw: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        field(&mut tensor, 9, &raw);
        field(&mut graph, 5, &tensor);
    }
    inputs.iter().for_each(|input| field(&mut graph, 11, &value_info(input)));
    outputs.iter().for_each(|output| field(&mut graph, 12, &value_info(output)));

    let mut opset = Vec::new();
    number(&mut opset, 2, 18);
    let mut model = Vec::new();
    number(&mut model, 1, 8);
    field(&mut model, 7, &graph);
    field(&mut model, 8, &opset);
    model
}

fn value_info(Float(name, dims): &Float<'_>) -> Vec<u8> {
    let mut shape = Vec::new();
    for dim in *dims {
        let mut entry = Vec::new();
        match dim {
            Some(size) => number(&mut entry, 1, *size),
            None => field(&mut entry, 2, b"N"),
        }
        field(&mut shape, 1, &entry);
    }
    let mut tensor = Vec::new();
    number(&mut tensor, 1, F32);
    field(&mut tensor, 2, &shape);
    let mut ty = Vec::new();
    field(&mut ty, 1, &tensor);
    let mut info = Vec::new();
    field(&mut info, 1, name.as_bytes());
    field(&mut info, 2, &ty);
    info
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, tag: u64, value: u64) {
    varint(out, tag << 3);
    varint(out, value);
}

fn field(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    varint(out, tag << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
