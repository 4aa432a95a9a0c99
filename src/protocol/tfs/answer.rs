//! Named outputs as TensorFlow Serving writes them: four spaces a level, inner lists on a line.

use super::super::fault::{Fault, Outcome};
use super::super::json::{Style, empty_lists, nested, string};
use super::super::{HttpResponse, outputs};
use crate::error::ErrorKind;
use crate::tensor::{Data, Tensor, Value, for_each_type};

/// How a request gave its tensors, and how they are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// An entry a row: `instances`, `predictions`.
    Row,
    /// A value an output: `inputs`, `outputs`.
    Column,
}

/// Most lists that a tensor without elements is written as: they cost memory only here.
const MAX_EMPTY_LISTS: usize = 1 << 20;

/// The outputs of a model in that form. One output is answered bare, several by name.
///
/// # Errors
/// `InvalidInput` in row form for an output that has not one entry a row; `Unsupported` for one
/// that is no tensor; `LimitExceeded` for one of more empty lists than are written.
pub(super) fn outputs_json(form: Form, named: Vec<(String, Value)>) -> Outcome<HttpResponse> {
    let mut all = Vec::with_capacity(named.len());
    for (name, value) in named {
        let tensor = outputs::tensor(&name, value)?;
        if empty_lists(tensor.dims()) > MAX_EMPTY_LISTS {
            return Err(Fault::own(
                ErrorKind::LimitExceeded,
                format!(
                    "Tensor name: {name} of shape {} would be more than {MAX_EMPTY_LISTS} empty \
                     lists",
                    tensor.shape()
                ),
            ));
        }
        let bytes = name.ends_with("_bytes") && matches!(tensor.data(), Data::String(_));
        let style = if bytes { Style::TensorFlowBytes } else { Style::TensorFlow };
        all.push((name, tensor, style));
    }
    if all.is_empty() {
        return Err(Fault::bad("Cannot convert empty tensor map to JSON"));
    }
    let body = match form {
        Form::Row => rows(&all)?,
        Form::Column => columns(&all),
    };
    Ok(HttpResponse::json_text(200, body))
}

type Styled = (String, Tensor, Style);

fn rows(all: &[Styled]) -> Outcome<Vec<u8>> {
    let mut rows: Option<usize> = None;
    for (name, tensor, _) in all {
        let Some(&size) = tensor.dims().first() else {
            return Err(Fault::bad(format!("Tensor name: {name} has no shape information ")));
        };
        if let Some(expected) = rows.filter(|rows| *rows != size) {
            return Err(Fault::bad(format!(
                "Tensor name: {name} has inconsistent batch size: {size} expecting: {expected}"
            )));
        }
        rows = Some(size);
    }
    let mut out = b"{\n    \"predictions\": [".to_vec();
    for row in 0..rows.unwrap_or(0) {
        if row > 0 {
            out.extend_from_slice(b", ");
        }
        match all {
            [(_, tensor, style)] => write_row(tensor, row, *style, &mut out),
            several => {
                out.extend_from_slice(b"\n        {");
                for (i, (name, tensor, style)) in several.iter().enumerate() {
                    member(name, i, 12, &mut out);
                    write_row(tensor, row, *style, &mut out);
                }
                out.extend_from_slice(b"\n        }");
            }
        }
    }
    out.extend_from_slice(b"\n    ]\n}");
    Ok(out)
}

fn write_row(tensor: &Tensor, row: usize, style: Style, out: &mut Vec<u8>) {
    let (_, width) = tensor.row_layout();
    let tail = tensor.dims().get(1..).unwrap_or_default();
    for_each_type!(tensor.data(), v => {
        nested(v.get(row * width..(row + 1) * width).unwrap_or_default(), tail, style, out);
    });
}

fn columns(all: &[Styled]) -> Vec<u8> {
    let mut out = b"{\n    \"outputs\": ".to_vec();
    let whole = |tensor: &Tensor, style, out: &mut Vec<u8>| {
        for_each_type!(tensor.data(), v => nested(v, tensor.dims(), style, out));
    };
    match all {
        [(_, tensor, style)] => whole(tensor, *style, &mut out),
        several => {
            out.push(b'{');
            for (i, (name, tensor, style)) in several.iter().enumerate() {
                member(name, i, 8, &mut out);
                whole(tensor, *style, &mut out);
            }
            out.extend_from_slice(b"\n    }");
        }
    }
    out.extend_from_slice(b"\n}");
    out
}

/// The name of member `i` of an object, on a line of its own.
fn member(name: &str, i: usize, indent: usize, out: &mut Vec<u8>) {
    if i > 0 {
        out.push(b',');
    }
    out.push(b'\n');
    out.resize(out.len() + indent, b' ');
    string(name, out);
    out.extend_from_slice(b": ");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: Form, named: Vec<(&str, Tensor)>) -> Result<String, String> {
        let named = named.into_iter().map(|(name, t)| (name.to_string(), t.into())).collect();
        match outputs_json(form, named) {
            Ok(response) => Ok(String::from_utf8(response.body).unwrap()),
            Err(fault) => Err(fault.message().into_owned()),
        }
    }

    #[test]
    fn rows_and_columns() {
        let a = Tensor::from_vec(&[2, 2], vec![1f32, 2.5, 3.0, f32::NAN]).unwrap();
        let b = Tensor::from_vec(&[2], vec!["x".to_string(), "y".to_string()]).unwrap();
        let one = text(Form::Row, vec![("a", a.clone())]).unwrap();
        assert_eq!(one, "{\n    \"predictions\": [[1.0, 2.5], [3.0, NaN]\n    ]\n}");
        let two = text(Form::Row, vec![("a", a.clone()), ("b_bytes", b.clone())]).unwrap();
        assert!(two.contains("\"b_bytes\": {\"b64\": \"eA==\"}"), "{two}");
        let column = text(Form::Column, vec![("b", b.clone())]).unwrap();
        assert_eq!(column, "{\n    \"outputs\": [\"x\", \"y\"]\n}");
        let scalar = text(Form::Column, vec![("s", Tensor::scalar(3i64)), ("b", b)]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&scalar).unwrap();
        assert_eq!(json, serde_json::json!({"outputs": {"s": 3, "b": ["x", "y"]}}));
    }

    #[test]
    fn rows_have_to_be_rows() {
        let a = Tensor::from_vec(&[2], vec![1i64, 2]).unwrap();
        let b = Tensor::from_vec(&[3], vec![1i64, 2, 3]).unwrap();
        let uneven = text(Form::Row, vec![("a", a), ("b", b)]).unwrap_err();
        assert_eq!(uneven, "Tensor name: b has inconsistent batch size: 3 expecting: 2");
        let scalar = text(Form::Row, vec![("s", Tensor::scalar(1f32))]).unwrap_err();
        assert_eq!(scalar, "Tensor name: s has no shape information ");
        assert!(text(Form::Column, vec![]).is_err());
        let nothing = Tensor::from_vec(&[4_000_000_000, 0], Vec::<f32>::new()).unwrap();
        let far = text(Form::Column, vec![("n", nothing)]).unwrap_err();
        assert!(far.contains("empty lists"), "{far}");
    }
}
