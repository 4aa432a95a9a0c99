//! Requests of the Open Inference Protocol whose tensors follow their JSON as bytes.
//!
//! The bytes of an input say its type, shape and elements, and where the request lies about a
//! length. One that does not lie is answered with its own tensors, bit by bit; any other is
//! answered, and is never the server's fault.

mod echo;

use arbitrary::{Result, Unstructured};
use echo::echo;
use modelserve::graph::ValueType;
use modelserve::tensor::ElementType;
use modelserve::{
    Http, HttpOptions, HttpRequest, HttpResponse, LoadOptions, ModelManager, ModelSource,
    TensorSpec,
};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// The protocol's types and their names.
const TYPES: [(ElementType, &str); 14] = [
    (ElementType::F32, "FP32"),
    (ElementType::String, "BYTES"),
    (ElementType::Bool, "BOOL"),
    (ElementType::F16, "FP16"),
    (ElementType::BF16, "BF16"),
    (ElementType::F64, "FP64"),
    (ElementType::I8, "INT8"),
    (ElementType::I16, "INT16"),
    (ElementType::I32, "INT32"),
    (ElementType::I64, "INT64"),
    (ElementType::U8, "UINT8"),
    (ElementType::U16, "UINT16"),
    (ElementType::U32, "UINT32"),
    (ElementType::U64, "UINT64"),
];

const WORDS: [&str; 5] = ["x", "", "\u{e4}\u{1f600}", "a long text, longer than the others", "\0"];

/// What the length of the JSON may be said to be.
const LENGTHS: [&str; 9] =
    ["-1", "0", "+5", "", "1e2", "0x10", "18446744073709551616", "9223372036854775807", " "];

/// The types of the inputs of model `i`.
fn types(i: usize) -> [(ElementType, &'static str); 2] {
    [TYPES[i], TYPES[(5 * i + 3) % TYPES.len()]]
}

const NAMES: [&str; 2] = ["x", "y"];

static HTTP: LazyLock<Http> = LazyLock::new(|| {
    let manager = ModelManager::default();
    for i in 0..TYPES.len() {
        let spec = |(name, (dtype, _)): (&str, (ElementType, &str))| TensorSpec {
            name: name.to_string(),
            ty: Some(ValueType::Tensor { dtype, dims: None }),
            batch_axis: None,
        };
        let model = echo(NAMES.into_iter().zip(types(i)).map(spec).collect());
        let source = ModelSource::Model(Arc::new(model));
        manager.load_from(&format!("m{i}"), source, &LoadOptions::default()).unwrap();
    }
    manager.http(HttpOptions::default())
});

struct Input {
    name: &'static str,
    dtype: ElementType,
    datatype: &'static str,
    dims: Vec<usize>,
    count: usize,
    /// The elements as they are sent; zeros where they are sent in the JSON.
    bytes: Vec<u8>,
    binary: bool,
    /// How many bytes there are said to be.
    size: u64,
}

fn elements(u: &mut Unstructured<'_>, dtype: ElementType, n: usize) -> Result<Vec<u8>> {
    if dtype != ElementType::String {
        return (0..n * dtype.size()).map(|_| u.arbitrary()).collect();
    }
    let mut bytes = Vec::new();
    for _ in 0..n {
        let word = u.choose(&WORDS)?;
        bytes.extend((word.len() as u32).to_le_bytes());
        bytes.extend(word.bytes());
    }
    Ok(bytes)
}

impl Input {
    fn new(
        u: &mut Unstructured<'_>,
        name: &'static str,
        (dtype, datatype): (ElementType, &'static str),
    ) -> Result<Input> {
        let rank = u.int_in_range(0..=3)?;
        let dims = (0..rank).map(|_| u.int_in_range(0..=3)).collect::<Result<Vec<usize>>>()?;
        let count = dims.iter().product();
        let in_json = !matches!(dtype, ElementType::F16 | ElementType::BF16);
        let binary = !in_json || u.ratio(3, 4)?;
        let bytes = match (binary, dtype) {
            (true, _) => elements(u, dtype, count)?,
            (false, ElementType::String) => vec![0; 4 * count],
            (false, _) => vec![0; count * dtype.size()],
        };
        let size = bytes.len() as u64;
        Ok(Input { name, dtype, datatype, dims, count, bytes, binary, size })
    }

    fn json(&self, shape_last: bool) -> String {
        let zero = match self.dtype {
            ElementType::Bool => "false",
            ElementType::String => "\"\"",
            _ => "0",
        };
        let content = match self.binary {
            true => format!("\"parameters\":{{\"binary_data_size\":{}}}", self.size),
            false => format!("\"data\":[{}]", vec![zero; self.count].join(",")),
        };
        let shape = format!("\"shape\":{:?},\"datatype\":\"{}\"", self.dims, self.datatype);
        let (first, last) = if shape_last { (content, shape) } else { (shape, content) };
        format!("{{\"name\":\"{}\",{first},{last}}}", self.name)
    }

    /// The elements as they are answered.
    fn expected(&self) -> Vec<u8> {
        match self.dtype {
            ElementType::Bool => self.bytes.iter().map(|b| u8::from(*b != 0)).collect(),
            _ => self.bytes.clone(),
        }
    }
}

/// Whether the outputs are asked for in binary form, and how.
struct Wanted {
    binary: [bool; 2],
    json: String,
}

fn wanted(u: &mut Unstructured<'_>) -> Result<Wanted> {
    Ok(match u.int_in_range(0..=2)? {
        0 => Wanted { binary: [false; 2], json: String::new() },
        1 => Wanted {
            binary: [true; 2],
            json: ",\"parameters\":{\"binary_data_output\":true}".to_string(),
        },
        _ => {
            let binary: [bool; 2] = u.arbitrary()?;
            let one = |i: usize| {
                let parameters = format!("\"parameters\":{{\"binary_data\":{}}}", binary[i]);
                format!("{{\"name\":\"{}\",{parameters}}}", NAMES[i])
            };
            Wanted { binary, json: format!(",\"outputs\":[{},{}]", one(1), one(0)) }
        }
    })
}

/// JSON as other readers have it: numbers that are none are answered as bare `NaN` and `Infinity`,
/// as Triton does.
fn without_bare_tokens(json: &[u8]) -> String {
    let text = std::str::from_utf8(json).unwrap();
    ["-Infinity", "Infinity", "NaN"].iter().fold(text.into(), |t: String, x| t.replace(x, "null"))
}

/// Whether the answer is what was sent.
fn check(response: &HttpResponse, inputs: &[Input], wanted: &Wanted) {
    let place = |input: &Input| usize::from(input.name == NAMES[1]);
    let only_binary = |input: &Input| matches!(input.dtype, ElementType::F16 | ElementType::BF16);
    if inputs.iter().any(|input| only_binary(input) && !wanted.binary[place(input)]) {
        assert_eq!(response.status, 400, "{response:?}");
        return;
    }
    assert_eq!(response.status, 200, "{response:?}");
    let length = response.header("Inference-Header-Content-Length");
    let length = length.map_or(response.body.len(), |text| text.parse().unwrap());
    let (json, mut blobs) = response.body.split_at(length);
    let json: Value = serde_json::from_str(&without_bare_tokens(json)).unwrap();
    let outputs = json["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), inputs.len());
    for (output, input) in outputs.iter().zip(inputs) {
        assert_eq!(output["name"], input.name);
        assert_eq!(output["datatype"], input.datatype);
        assert_eq!(output["shape"], json!(input.dims));
        if wanted.binary[place(input)] {
            let size = output["parameters"]["binary_data_size"].as_u64().unwrap();
            let (bytes, rest) = blobs.split_at(usize::try_from(size).unwrap());
            assert_eq!(bytes, input.expected());
            blobs = rest;
        }
    }
    assert!(blobs.is_empty());
}

fn case(u: &mut Unstructured<'_>) -> Result<()> {
    let model = u.int_in_range(0..=TYPES.len() - 1)?;
    let mut inputs = Vec::new();
    for (name, types) in NAMES.into_iter().zip(types(model)) {
        inputs.push(Input::new(u, name, types)?);
    }
    if u.arbitrary()? {
        inputs.reverse();
    }
    let wanted = wanted(u)?;
    // The numbers up to here are those of lies.
    const LIES: u8 = 12;
    let lie = LIES.saturating_sub(u.int_in_range(0..=2 * LIES)?);
    match lie {
        1 => inputs[0].size = u.arbitrary()?,
        2 => inputs[0].size = inputs[0].size.saturating_sub(1),
        3 => inputs[0].dims.push(u.int_in_range(0..=4)?),
        4 => inputs[0].dims.push(*u.choose(&[1 << 20, 1 << 39, 1 << 63, usize::MAX])?),
        5 => inputs[0].datatype = TYPES[u.int_in_range(0..=TYPES.len() - 1)?].1,
        6 => drop(inputs.pop()),
        7 => inputs[0].name = NAMES[0],
        _ => {}
    }
    let shape_last: bool = u.arbitrary()?;
    let texts: Vec<String> = inputs.iter().map(|input| input.json(shape_last)).collect();
    let mut body = format!("{{\"inputs\":[{}]{}}}", texts.join(","), wanted.json).into_bytes();
    let mut length = body.len().to_string();
    if lie == 8 {
        let at = u.int_in_range(0..=body.len() - 1)?;
        body[at] = u.arbitrary()?;
    }
    let before = body.len();
    for input in inputs.iter().filter(|input| input.binary) {
        body.extend(&input.bytes);
    }
    let blobs = body.len() > before;
    match lie {
        9 => length = (*u.choose(&LENGTHS)?).to_string(),
        10 => length = u.int_in_range(0..=body.len() + 1)?.to_string(),
        11 => body.push(0),
        12 => body.truncate(u.int_in_range(0..=body.len())?),
        _ => {}
    }
    let headers = [("inference-header-content-length", length.as_str())];
    // Without binary tensors the length may be left out.
    let headers = if blobs || u.arbitrary()? { &headers[..] } else { &[][..] };
    let target = format!("/v2/models/m{model}/infer");
    let request = HttpRequest { method: "POST", target: &target, headers, body: &body };
    let response = HTTP.handle(&request);
    let fault = response.status >= 500 && !matches!(response.status, 501 | 503);
    assert!(!fault, "{response:?}");
    if lie == 0 {
        check(&response, &inputs, &wanted);
    }
    Ok(())
}

pub fn run(bytes: &[u8]) {
    // Too few bytes are no error: what they do not say is zero.
    let _ = case(&mut Unstructured::new(bytes));
}
