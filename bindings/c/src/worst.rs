//! The row on which two versions differ most, as JSON.

use crate::json::value;
use modelserve::tensor::{Tensor, Value};
use modelserve::{Answer, Answers, Features, Reply, Request, WorstRow};
use serde_json::{Value as Json, json};

/// The row's number, the request that it was in, and both answers.
pub(crate) fn json(worst: &WorstRow) -> Json {
    json!({
        "row": worst.row,
        "request": request(&worst.request),
        "serving": reply(&worst.serving),
        "candidate": reply(&worst.candidate),
    })
}

/// What went in: a tensor, a list of tensors, or an object of them by name.
fn request(request: &Request<'_>) -> Json {
    match request {
        Request::Row(rows) | Request::Batch(rows) => features(rows),
        Request::Run { inputs, .. } => named(inputs),
        _ => Json::Null,
    }
}

fn features(rows: &Features<'_>) -> Json {
    match rows {
        Features::F32 { data, rows, width } => json!({ "dims": [rows, width], "data": data }),
        Features::F64 { data, rows, width } => json!({ "dims": [rows, width], "data": data }),
        Features::Tensor(all) => tensor(all),
        Features::Columns(columns) => {
            Json::Object(columns.iter().map(|(name, t)| (name.clone(), tensor(t))).collect())
        }
        Features::Inputs(all) => all.iter().map(tensor).collect(),
        _ => Json::Null,
    }
}

/// What came out: `answer` and `scores`, or the outputs by name.
fn reply(reply: &Reply) -> Json {
    match reply {
        Reply::Row(row) => {
            let answer = match &row.answer {
                Answer::Int(label) => json!(label),
                Answer::Str(label) => json!(**label),
                Answer::Value(value) => json!(value),
                Answer::Values(values) => json!(values),
                Answer::Labels(labels) => json!(labels),
                Answer::Outputs(outputs) => return named(outputs),
                _ => Json::Null,
            };
            json!({ "answer": answer, "scores": row.scores.as_deref() })
        }
        Reply::Batch(batch) => {
            let answer = match &batch.answers {
                Answers::Labels(all) | Answers::Values(all) | Answers::Multilabel(all) => {
                    tensor(all)
                }
                Answers::Outputs(outputs) => return named(outputs),
                _ => Json::Null,
            };
            json!({ "answer": answer, "scores": batch.scores.as_ref().map(tensor) })
        }
        Reply::Tensors(outputs) => named(outputs),
        _ => Json::Null,
    }
}

fn named(values: &[(String, Value)]) -> Json {
    Json::Object(values.iter().map(|(name, v)| (name.clone(), value(v))).collect())
}

fn tensor(tensor: &Tensor) -> Json {
    value(&Value::Tensor(tensor.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_every_form_are_told() {
        let column = Tensor::from_vec(&[2], vec![1i64, 2]).unwrap();
        let of = |features| request(&Request::Batch(features)).to_string();
        assert_eq!(
            of(Features::F32 { data: &[0.5, 1.0], rows: 1, width: 2 }),
            r#"{"data":[0.5,1.0],"dims":[1,2]}"#
        );
        assert_eq!(of(Features::Tensor(column.clone())), r#"{"data":[1,2],"dims":[2]}"#);
        assert_eq!(
            of(Features::Columns(vec![("a".into(), column.clone())])),
            r#"{"a":{"data":[1,2],"dims":[2]}}"#
        );
        assert_eq!(of(Features::Inputs(vec![column.clone()])), r#"[{"data":[1,2],"dims":[2]}]"#);
        let run = Request::Run { inputs: vec![("x".into(), column.into())], outputs: [].into() };
        assert_eq!(request(&run).to_string(), r#"{"x":{"data":[1,2],"dims":[2]}}"#);
    }
}
