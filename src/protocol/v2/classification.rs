//! The classification extension: an output's highest values as `value:index[:label]`.

use super::super::fault::{Fault, Outcome};
use super::super::outputs::class_label;
use super::{binary, datatype};
use crate::model::{Classes, Signature};
use crate::tensor::{Data, ElementType, Tensor, for_each_type};
use std::cmp::Ordering;

/// The `classes` highest values of each row of an output with rows, else of all of it, highest
/// first; of equal ones the first goes first. `signature` is that of the version that answered, where
/// it is still there.
pub(super) fn highest(
    name: &str,
    tensor: &Tensor,
    classes: usize,
    signature: Option<&Signature>,
) -> Outcome<Tensor> {
    if binary::only(tensor.dtype())
        || matches!(tensor.dtype(), ElementType::String | ElementType::Bool)
    {
        return Err(Fault::bad(format!(
            "class result not available for output '{name}' due to unsupported type '{}'",
            datatype(tensor.dtype())
        )));
    }
    let outputs = signature.map_or(&[][..], |signature| &signature.outputs);
    let spec = outputs.iter().find(|output| output.name == name);
    let rows_first = spec.is_none_or(|output| output.batch_axis.is_none_or(|axis| axis == 0));
    let (rows, width) = match tensor.dims().len() {
        0 => (1, 1),
        _ if rows_first => tensor.row_layout(),
        _ => (1, tensor.len()),
    };
    let labels = signature.and_then(|signature| signature.classes.as_deref());
    let labels = labels.filter(|classes| Classes::len(classes) == width);
    let scores = Scores::of(tensor)?;
    let kept = classes.min(width);
    let mut out = Vec::with_capacity(rows * kept);
    for row in 0..rows {
        let row = row * width..(row + 1) * width;
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|a, b| scores.descending(row.start + a, row.start + b));
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

/// What classes are ordered by: integers as they are, which doubles could not tell apart.
enum Scores {
    Floats(Vec<f64>),
    Ints(Vec<i128>),
}

impl Scores {
    fn of(tensor: &Tensor) -> Outcome<Scores> {
        Ok(match tensor.data() {
            Data::F32(_) | Data::F64(_) => Scores::Floats(tensor.to_f64_vec()?),
            Data::U64(v) => Scores::Ints(v.iter().map(|x| i128::from(*x)).collect()),
            _ => Scores::Ints(tensor.to_i64_vec()?.into_iter().map(i128::from).collect()),
        })
    }

    /// How elements `a` and `b` stand, the higher one first. NaN is no class's score: last.
    fn descending(&self, a: usize, b: usize) -> Ordering {
        match self {
            Scores::Ints(v) => v.get(b).cmp(&v.get(a)),
            Scores::Floats(v) => {
                let of = |i: usize| v.get(i).copied().unwrap_or(f64::NAN);
                let (a, b) = (of(a), of(b));
                a.is_nan()
                    .cmp(&b.is_nan())
                    .then_with(|| b.partial_cmp(&a).unwrap_or(Ordering::Equal))
            }
        }
    }
}

/// A value as C++'s `to_string` writes it: floats with six digits after the point.
fn shown(tensor: &Tensor, i: usize) -> String {
    let float = |x: f64| if x.is_nan() { "nan".to_string() } else { format!("{x:.6}") };
    match tensor.data() {
        Data::F32(v) => v.get(i).map(|x| float(f64::from(*x))),
        Data::F64(v) => v.get(i).map(|x| float(*x)),
        data => for_each_type!(data, v => v.get(i).map(ToString::to_string)),
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;
    use std::sync::Arc;

    #[test]
    fn the_highest_go_first_with_their_labels() {
        let classes = Classes::Str(vec!["a".into(), "b".into(), "c".into()]);
        let signature = Signature { classes: Some(Arc::new(classes)), ..Signature::default() };
        let t = Tensor::from_vec(&[2, 3], vec![0.1f32, 0.7, 0.2, f32::NAN, 0.5, 0.5]).unwrap();
        let top = highest("p", &t, 2, Some(&signature)).unwrap();
        assert_eq!(top.dims(), [2, 2]);
        let text = top.as_slice::<String>().unwrap();
        assert_eq!(text, ["0.700000:1:b", "0.200000:2:c", "0.500000:1:b", "0.500000:2:c"]);
        let all = highest("p", &t, 99, Some(&signature)).unwrap();
        assert_eq!(all.dims(), [2, 3]);
        // Beyond what doubles tell apart.
        let far = 1i64 << 53;
        let ints = Tensor::from_vec(&[1, 3], vec![far, far + 1, far + 2]).unwrap();
        let top = highest("p", &ints, 3, None).unwrap();
        let order = [format!("{}:2", far + 2), format!("{}:1", far + 1), format!("{far}:0")];
        assert_eq!(top.as_slice::<String>().unwrap(), order);
        let odd = Tensor::from_vec(&[3], vec![f32::NAN, f32::NEG_INFINITY, 1.0]).unwrap();
        let top = highest("p", &odd.reshaped(Shape::new(&[1, 3]).unwrap()).unwrap(), 3, None);
        assert_eq!(top.unwrap().as_slice::<String>().unwrap(), ["1.000000:2", "-inf:1", "nan:0"]);
        let text = Tensor::from_vec(&[1], vec![String::new()]).unwrap();
        assert!(highest("p", &text, 1, Some(&signature)).is_err());
    }
}
