//! What a model takes and answers, as a signature of TensorFlow.

use super::super::HttpResponse;
use super::super::ask::Asked;
use super::super::fault::Outcome;
use super::super::outputs::{Described, describe};
use super::SIGNATURE;
use super::status::pretty;
use crate::model::{Signature, TensorSpec};
use crate::tensor::ElementType;
use serde_json::{Map, Value as Json, json};

/// The metadata of an available version. `signature_def` within `signature_def` is the original's
/// nesting; sizes are strings there, as int64 is in protobuf's JSON.
pub(super) fn metadata(asked: &Asked<'_>) -> Outcome<HttpResponse> {
    let lease = asked.lease()?;
    let signature = lease.signature()?;
    let tensors = |specs: &[TensorSpec]| -> Map<String, Json> {
        specs.iter().map(|spec| (spec.name.clone(), info(spec, &signature))).collect()
    };
    let version = lease.version()?.to_string();
    Ok(pretty(&json!({
        "model_spec": { "name": asked.name, "signature_name": "", "version": version },
        "metadata": {
            "signature_def": {
                "signature_def": {
                    SIGNATURE: {
                        "inputs": tensors(&signature.inputs),
                        "outputs": tensors(&signature.outputs),
                        "method_name": "tensorflow/serving/predict",
                        "defaults": {},
                    },
                },
            },
        },
    })))
}

fn info(spec: &TensorSpec, signature: &Signature) -> Json {
    let described = describe(spec, signature);
    let dtype = described.as_ref().map_or("DT_INVALID", |d| dtype(d.dtype));
    let dims = described.and_then(|Described { dims, .. }| dims);
    let size = |dim: &Option<usize>| dim.map_or_else(|| "-1".to_string(), |n| n.to_string());
    let sizes: Vec<Json> =
        dims.iter().flatten().map(|dim| json!({ "size": size(dim), "name": "" })).collect();
    json!({
        "dtype": dtype,
        "tensor_shape": { "dim": sizes, "unknown_rank": dims.is_none() },
        "name": format!("{}:0", spec.name),
    })
}

fn dtype(dtype: ElementType) -> &'static str {
    match dtype {
        ElementType::F32 => "DT_FLOAT",
        ElementType::F64 => "DT_DOUBLE",
        ElementType::F16 => "DT_HALF",
        ElementType::BF16 => "DT_BFLOAT16",
        ElementType::I8 => "DT_INT8",
        ElementType::I16 => "DT_INT16",
        ElementType::I32 => "DT_INT32",
        ElementType::I64 => "DT_INT64",
        ElementType::U8 => "DT_UINT8",
        ElementType::U16 => "DT_UINT16",
        ElementType::U32 => "DT_UINT32",
        ElementType::U64 => "DT_UINT64",
        ElementType::Bool => "DT_BOOL",
        ElementType::String => "DT_STRING",
        ElementType::C64 => "DT_COMPLEX64",
        ElementType::C128 => "DT_COMPLEX128",
        ElementType::I4 => "DT_INT4",
        ElementType::U4 => "DT_UINT4",
        ElementType::I2 => "DT_INT2",
        ElementType::U2 => "DT_UINT2",
        ElementType::F8E4M3FN => "DT_FLOAT8_E4M3FN",
        ElementType::F8E4M3FNUZ => "DT_FLOAT8_E4M3FNUZ",
        ElementType::F8E5M2 => "DT_FLOAT8_E5M2",
        ElementType::F8E5M2FNUZ => "DT_FLOAT8_E5M2FNUZ",
        ElementType::F4E2M1 => "DT_FLOAT4_E2M1FN",
        // TensorFlow has no number for these.
        ElementType::F8E8M0 | ElementType::F6E2M3 | ElementType::F6E3M2 => "DT_INVALID",
    }
}
