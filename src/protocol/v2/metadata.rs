//! What the server and its models are.

use super::super::HttpResponse;
use super::super::ask::Asked;
use super::super::fault::Outcome;
use super::super::outputs::describe;
use super::datatype;
use crate::manager::VersionState;
use crate::model::{Signature, Target, TensorSpec};
use crate::tensor::ElementType;
use serde_json::{Value as Json, json};

/// The extensions that are there, by Triton's names.
const EXTENSIONS: [&str; 5] = [
    "classification",
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "statistics",
];

pub(super) fn server() -> HttpResponse {
    HttpResponse::json(
        200,
        &json!({
            "name": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": EXTENSIONS,
        }),
    )
}

/// The metadata of the version that is meant, and which versions can be asked.
pub(super) fn model(asked: &Asked<'_>) -> Outcome<HttpResponse> {
    let lease = asked.lease()?;
    let info = lease.info()?;
    let versions: Vec<String> = match asked.target {
        Target::Version(version) => vec![version.to_string()],
        Target::Serving | Target::Label(_) => {
            let all = asked.http.manager.versions(asked.name)?;
            let available = all.iter().filter(|v| v.state == VersionState::Available);
            available.map(|v| v.version.to_string()).collect()
        }
    };
    let tensors = |specs: &[TensorSpec]| -> Vec<Json> {
        specs.iter().map(|spec| tensor(spec, &info.signature)).collect()
    };
    Ok(HttpResponse::json(
        200,
        &json!({
            "name": asked.name,
            "versions": versions,
            "platform": info.format.name(),
            "inputs": tensors(&info.signature.inputs),
            "outputs": tensors(&info.signature.outputs),
        }),
    ))
}

fn tensor(spec: &TensorSpec, signature: &Signature) -> Json {
    let (dtype, dims) = type_of(spec, signature);
    json!({ "name": spec.name, "datatype": dtype.map_or("", datatype), "shape": dims })
}

/// The element type, where there is one, and the sizes with -1 where they vary.
fn type_of(spec: &TensorSpec, signature: &Signature) -> (Option<ElementType>, Vec<i64>) {
    let Some(described) = describe(spec, signature) else { return (None, vec![-1]) };
    let size = |dim: Option<usize>| dim.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
    let dims = described.dims.map_or_else(|| vec![-1], |all| all.into_iter().map(size).collect());
    (Some(described.dtype), dims)
}

/// The model's configuration in Triton's form. `max_batch_size` is 0, which says that `dims` are
/// the whole shapes; how requests are batched is the server's own affair.
pub(super) fn config(asked: &Asked<'_>) -> Outcome<HttpResponse> {
    let lease = asked.lease()?;
    let info = lease.info()?;
    let tensors = |specs: &[TensorSpec]| -> Vec<Json> {
        specs
            .iter()
            .map(|spec| {
                let (dtype, dims) = type_of(spec, &info.signature);
                json!({ "name": spec.name, "data_type": dtype.map_or("TYPE_INVALID", config_type),
                        "dims": dims })
            })
            .collect()
    };
    Ok(HttpResponse::json(
        200,
        &json!({
            "name": asked.name,
            "platform": info.format.name(),
            "backend": env!("CARGO_PKG_NAME"),
            "max_batch_size": 0,
            "input": tensors(&info.signature.inputs),
            "output": tensors(&info.signature.outputs),
        }),
    ))
}

fn config_type(dtype: ElementType) -> &'static str {
    match dtype {
        ElementType::F32 => "TYPE_FP32",
        ElementType::F64 => "TYPE_FP64",
        ElementType::F16 => "TYPE_FP16",
        ElementType::BF16 => "TYPE_BF16",
        ElementType::I8 => "TYPE_INT8",
        ElementType::I16 => "TYPE_INT16",
        ElementType::I32 => "TYPE_INT32",
        ElementType::I64 => "TYPE_INT64",
        ElementType::U8 => "TYPE_UINT8",
        ElementType::U16 => "TYPE_UINT16",
        ElementType::U32 => "TYPE_UINT32",
        ElementType::U64 => "TYPE_UINT64",
        ElementType::Bool => "TYPE_BOOL",
        ElementType::String => "TYPE_STRING",
        // The protocol has no other types.
        _ => "TYPE_INVALID",
    }
}
