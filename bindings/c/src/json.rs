//! What is known of models and values, as JSON text.

use modelserve::graph::ValueType;
use modelserve::tensor::{Data, Map, MapKey, Tensor, Value};
use modelserve::{Classes, ModelInfo, ModelStats, Signature, TensorSpec, VersionStats};
use serde_json::{Value as Json, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A model's description.
pub(crate) fn info(info: &ModelInfo) -> Json {
    json!({
        "name": info.name,
        "version": info.version,
        "display_version": info.display_version,
        "format": info.format.name(),
        "task": info.signature.task.name(),
        "signature": signature(&info.signature),
        "weight_bytes": info.weight_bytes,
        "digest": &*info.digest,
        "path": info.path.as_ref().map(|path| path.to_string_lossy()),
        "loaded_at_unix_seconds":
            info.loaded_at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        "load_duration_ns": nanoseconds(info.load_duration),
        "metadata": info.metadata,
        "fast_path": info.fast_path,
    })
}

fn signature(signature: &Signature) -> Json {
    json!({
        "inputs": signature.inputs.iter().map(spec).collect::<Vec<_>>(),
        "outputs": signature.outputs.iter().map(spec).collect::<Vec<_>>(),
        "classes": signature.classes.as_deref().map(|classes| match classes {
            Classes::Int(all) => json!(all),
            Classes::Str(all) => all.iter().map(|label| label.as_ref()).collect(),
        }),
        "feature_names": signature.feature_names,
        "targets": signature.targets,
        "has_probabilities": signature.has_probabilities,
    })
}

fn spec(spec: &TensorSpec) -> Json {
    json!({
        "name": spec.name,
        "type": spec.ty.as_ref().map(ValueType::to_string),
        "dtype": spec.dtype().map(|dtype| dtype.name()),
        "dims": spec.dims().map(|dims| dims.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "batch_axis": spec.batch_axis,
    })
}

/// A model's counters.
pub(crate) fn stats(stats: &ModelStats) -> Json {
    let versions: Vec<Json> = stats.versions.iter().map(version_stats).collect();
    json!({ "name": stats.name, "versions": versions })
}

fn version_stats(stats: &VersionStats) -> Json {
    json!({
        "version": stats.version,
        "requests": stats.requests,
        "rows": stats.rows,
        "errors": stats.errors,
        "last_error": stats.last_error,
        "total_ns": nanoseconds(stats.total),
        "p50_ns": nanoseconds(stats.p50),
        "p95_ns": nanoseconds(stats.p95),
        "p99_ns": nanoseconds(stats.p99),
        "serving": stats.serving,
    })
}

/// Nanoseconds since 1970; 0 before.
pub(crate) fn unix_ns(time: SystemTime) -> u64 {
    nanoseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A value: tensors as `{"dims": […], "data": […]}` with the elements row-major, sequences as
/// lists, maps as `{"keys": […], "values": […]}`, a missing optional as null. JSON has no NaN and
/// no infinities: they become null.
pub(crate) fn value(v: &Value) -> Json {
    match v {
        Value::Tensor(tensor) => tensor_json(tensor),
        Value::Sequence(values) => values.iter().map(value).collect(),
        Value::Map(map) => map_json(map),
        Value::Optional(Some(inner)) => value(inner),
        _ => Json::Null,
    }
}

fn map_json(map: &Map) -> Json {
    let key = |key: &MapKey| match key {
        MapKey::Int(key) => json!(key),
        MapKey::Str(key) => json!(key.as_ref()),
    };
    let keys: Vec<Json> = map.entries.iter().map(|(k, _)| key(k)).collect();
    let values: Vec<Json> = map.entries.iter().map(|(_, v)| value(v)).collect();
    json!({ "keys": keys, "values": values })
}

fn tensor_json(tensor: &Tensor) -> Json {
    let data = match tensor.data() {
        Data::String(all) => json!(all),
        Data::Bool(all) => json!(all),
        Data::U64(all) => json!(all),
        Data::F16(_) | Data::BF16(_) | Data::F32(_) | Data::F64(_) => {
            tensor.to_f64_vec().map_or(Json::Null, |all| json!(all))
        }
        Data::C64(all) => all.iter().map(|x| json!([x.re, x.im])).collect(),
        Data::C128(all) => all.iter().map(|x| json!([x.re, x.im])).collect(),
        Data::I4(_) | Data::U4(_) | Data::I2(_) | Data::U2(_) => {
            tensor.to_i64_vec().map_or(Json::Null, |all| json!(all))
        }
        data if data.small_bits().is_some() => {
            tensor.to_f64_vec().map_or(Json::Null, |all| json!(all))
        }
        _ => tensor.to_i64_vec().map_or(Json::Null, |all| json!(all)),
    };
    json!({ "dims": tensor.dims(), "data": data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_order_and_kind() {
        let tensor = Tensor::from_vec(&[1, 2], vec![0.5f32, f32::NAN]).unwrap();
        let map = Map { entries: vec![(MapKey::Int(3), tensor.into())] };
        let text = value(&Value::Sequence(vec![Value::Map(map)])).to_string();
        assert_eq!(text, r#"[{"keys":[3],"values":[{"data":[0.5,null],"dims":[1,2]}]}]"#);
    }
}
