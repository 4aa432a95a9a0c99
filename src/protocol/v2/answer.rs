//! The response to an inference: JSON, and behind it the outputs that are wanted in binary form.

use super::super::fault::{Fault, Outcome};
use super::super::json::{Style, string, values};
use super::super::{HttpResponse, outputs};
use super::request::InferRequest;
use super::{binary, classification, datatype};
use crate::model::Signature;
use crate::tensor::{Tensor, Value};
use std::io::Write as _;

pub(super) fn answer(
    model: &str,
    version: u64,
    request: &InferRequest,
    signature: Option<&Signature>,
    named: Vec<(String, Value)>,
) -> Outcome<HttpResponse> {
    let mut json = Vec::with_capacity(256);
    json.extend_from_slice(b"{\"model_name\":");
    string(model, &mut json);
    let _ = write!(json, ",\"model_version\":\"{version}\"");
    if let Some(id) = &request.id {
        json.extend_from_slice(b",\"id\":");
        string(id, &mut json);
    }
    json.extend_from_slice(b",\"outputs\":[");
    let mut blobs = Vec::new();
    let mut any_binary = false;
    for (i, (name, value)) in named.into_iter().enumerate() {
        let wanted = request.outputs.iter().find(|output| output.name == name);
        let mut tensor = outputs::tensor(&name, value)?;
        if let Some(classes) = wanted.and_then(|output| output.classes) {
            tensor = classification::highest(&name, &tensor, classes, signature)?;
        }
        if i > 0 {
            json.push(b',');
        }
        let binary = wanted.and_then(|output| output.binary).unwrap_or(request.binary_output);
        any_binary |= binary;
        output(&name, &tensor, binary.then_some(&mut blobs), &mut json)?;
    }
    json.extend_from_slice(b"]}");
    if !any_binary {
        return Ok(HttpResponse::json_text(200, json));
    }
    let json_bytes = json.len().to_string();
    json.append(&mut blobs);
    let response = HttpResponse::new(200, "application/octet-stream", json);
    Ok(response.with("Inference-Header-Content-Length", json_bytes))
}

/// One output, its elements in `blobs` where there are any.
fn output(
    name: &str,
    tensor: &Tensor,
    blobs: Option<&mut Vec<u8>>,
    json: &mut Vec<u8>,
) -> Outcome<()> {
    json.extend_from_slice(b"{\"name\":");
    string(name, json);
    let _ = write!(json, ",\"datatype\":\"{}\",\"shape\":[", datatype(tensor.dtype()));
    for (i, dim) in tensor.dims().iter().enumerate() {
        let _ = write!(json, "{}{dim}", if i > 0 { "," } else { "" });
    }
    json.push(b']');
    match blobs {
        Some(blobs) => {
            let before = blobs.len();
            binary::write(tensor, blobs);
            let size = blobs.len() - before;
            let _ = write!(json, ",\"parameters\":{{\"binary_data_size\":{size}}}}}");
        }
        None if binary::only(tensor.dtype()) => {
            return Err(Fault::bad(format!(
                "sending {} data via JSON is not supported. Please use the binary data format for \
                 output {name}",
                datatype(tensor.dtype())
            )));
        }
        None => {
            json.extend_from_slice(b",\"data\":");
            values(tensor, Style::Plain, json);
            json.push(b'}');
        }
    }
    Ok(())
}
