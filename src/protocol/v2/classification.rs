//! The classification extension: an output's highest values as `value:index[:label]`.

use super::super::fault::{Fault, Outcome};
use super::super::outputs::class_label;
use super::datatype;
use crate::model::{Classes, Signature};
use crate::tensor::{Data, Tensor};

/// The `classes` highest values of each row of an output with rows, else of all of it, highest
/// first; of equal ones the first goes first.
pub(super) fn highest(
    name: &str,
    tensor: &Tensor,
    classes: usize,
    signature: &Signature,
) -> Outcome<Tensor> {
    if matches!(tensor.data(), Data::String(_) | Data::Bool(_) | Data::F16(_) | Data::BF16(_)) {
        return Err(Fault::bad(format!(
            "class result not available for output '{name}' due to unsupported type '{}'",
            datatype(tensor.dtype())
        )));
    }
    let spec = signature.outputs.iter().find(|output| output.name == name);
    let rows_first = spec.is_none_or(|output| output.batch_axis.is_none_or(|axis| axis == 0));
    let (rows, width) = match tensor.dims().len() {
        0 => (1, 1),
        _ if rows_first => tensor.row_layout(),
        _ => (1, tensor.len()),
    };
    let labels = signature.classes.as_deref().filter(|classes| Classes::len(classes) == width);
    let values = tensor.to_f64_vec()?;
    let kept = classes.min(width);
    let mut out = Vec::with_capacity(rows * kept);
    for row in 0..rows {
        let row = row * width..(row + 1) * width;
        let values = values.get(row.clone()).unwrap_or_default();
        let mut order: Vec<usize> = (0..values.len()).collect();
        let value = |i: &usize| values.get(*i).copied().unwrap_or(f64::NAN);
        // NaN is no class's score: last, whatever its sign.
        let key = |i: &usize| if value(i).is_nan() { f64::NEG_INFINITY } else { value(i) };
        order.sort_by(|a, b| key(b).total_cmp(&key(a)));
        for i in order.into_iter().take(kept) {
            let mut text = format!("{}:{i}", shown(tensor, row.start + i));
            if let Some(label) = class_label(labels, i) {
                text.push(':');
                text.push_str(&label);
            }
            out.push(text);
        }
    }
    let dims: &[usize] =
        if tensor.dims().is_empty() || !rows_first { &[kept] } else { &[rows, kept] };
    Ok(Tensor::from_vec(dims, out)?)
}

/// A value as C++'s `to_string` writes it: floats with six digits after the point.
fn shown(tensor: &Tensor, i: usize) -> String {
    match tensor.data() {
        Data::F32(v) => v.get(i).map(|x| format!("{x:.6}")),
        Data::F64(v) => v.get(i).map(|x| format!("{x:.6}")),
        Data::U64(v) => v.get(i).map(u64::to_string),
        _ => tensor.to_i64_vec().ok().and_then(|v| v.get(i).map(i64::to_string)),
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_highest_go_first_with_their_labels() {
        let classes = Classes::Str(vec!["a".into(), "b".into(), "c".into()]);
        let signature = Signature { classes: Some(Arc::new(classes)), ..Signature::default() };
        let t = Tensor::from_vec(&[2, 3], vec![0.1f32, 0.7, 0.2, f32::NAN, 0.5, 0.5]).unwrap();
        let top = highest("p", &t, 2, &signature).unwrap();
        assert_eq!(top.dims(), [2, 2]);
        let text = top.as_slice::<String>().unwrap();
        assert_eq!(text, ["0.700000:1:b", "0.200000:2:c", "0.500000:1:b", "0.500000:2:c"]);
        let all = highest("p", &t, 99, &signature).unwrap();
        assert_eq!(all.dims(), [2, 3]);
        let ints = Tensor::from_vec(&[1, 2], vec![3i64, -4]).unwrap();
        let top = highest("p", &ints, 1, &signature).unwrap();
        assert_eq!(top.as_slice::<String>().unwrap(), ["3:0"]);
        let text = Tensor::from_vec(&[1], vec![String::new()]).unwrap();
        assert!(highest("p", &text, 1, &signature).is_err());
    }
}
