//! From the outputs of a plan to scores, probabilities and labels by row.

use super::Classes;
use crate::error::{Result, bail, ensure};
use crate::tensor::{Data, Element, Shape, Tensor, Value};

/// Scores as `[rows, k]` of a float type: a tensor, or ZipMap's sequence of maps.
pub(super) fn score_tensor(value: Value, rows: usize) -> Result<Tensor> {
    let tensor = match value {
        Value::Tensor(tensor) => tensor,
        Value::Sequence(maps) => {
            let mut out: Vec<f32> = Vec::new();
            let n = maps.len();
            for map in maps {
                let Value::Map(map) = map else { bail!(Execution, "scores that are no maps") };
                for (_, v) in &map.entries {
                    out.extend(v.as_tensor()?.to_f32_vec()?);
                }
            }
            let width = out.len() / n.max(1);
            Tensor::from_vec(&[n, width], out)?
        }
        other => bail!(Execution, "scores that are a {}", other.type_name()),
    };
    let tensor = match tensor.data() {
        Data::F32(_) | Data::F64(_) => tensor,
        _ => {
            let dims = tensor.dims().to_vec();
            Tensor::from_vec(&dims, tensor.to_f32_vec()?)?
        }
    };
    let (len, dims) = (tensor.len(), tensor.dims());
    ensure!(
        dims.first() == Some(&rows) || (rows == 1 && dims.is_empty()),
        Execution,
        "the model answered scores of shape {} for {rows} rows",
        tensor.shape()
    );
    let shape = Shape::new(&[rows, len / rows.max(1)])?;
    if rows == 0 { Ok(tensor) } else { tensor.reshaped(shape) }
}

/// Softmax over the columns; one column is the logit of the second of two classes.
pub(super) fn probabilities_of(logits: &Tensor, rows: usize) -> Result<Tensor> {
    let width = logits.len() / rows.max(1);
    let mut out = Vec::with_capacity(rows * width.max(2));
    let all = logits.to_f64_vec()?;
    for row in all.chunks(width.max(1)) {
        if let [x] = row {
            let p = 1.0 / (1.0 + (-x).exp());
            out.extend([1.0 - p, p]);
            continue;
        }
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let from = out.len();
        out.extend(row.iter().map(|x| (x - top).exp()));
        let sum: f64 = out[from..].iter().sum();
        out[from..].iter_mut().for_each(|p| *p /= sum);
    }
    let columns = if width == 1 { 2 } else { width };
    Ok(match logits.data() {
        Data::F64(_) => Tensor::from_vec(&[rows, columns], out)?,
        _ => Tensor::from_vec(&[rows, columns], out.into_iter().map(|p| p as f32).collect())?,
    })
}

/// Labels as `int64` or strings; `[rows]` where a number of rows is given.
pub(super) fn as_labels(label: Tensor, rows: Option<usize>) -> Result<Tensor> {
    let label = match label.data() {
        Data::String(_) | Data::I64(_) => label,
        Data::Bool(v) => {
            let dims = label.dims().to_vec();
            Tensor::from_vec(&dims, v.iter().map(|&b| i64::from(b)).collect())?
        }
        _ => {
            let dims = label.dims().to_vec();
            Tensor::from_vec(&dims, label.to_i64_vec()?)?
        }
    };
    match rows {
        Some(rows) if label.len() == rows => label.reshaped(Shape::new(&[rows])?),
        _ => Ok(label),
    }
}

/// The label of the largest score of each row; one column means the second of two classes from
/// one half on.
pub(super) fn largest(scores: &Tensor, rows: usize, classes: Option<&Classes>) -> Result<Tensor> {
    let width = scores.len() / rows.max(1);
    let all = scores.to_f64_vec()?;
    let picks = all.chunks(width.max(1)).map(|row| match row {
        [p] => usize::from(*p >= 0.5),
        _ => row.iter().enumerate().fold(0, |best, (i, x)| if *x > row[best] { i } else { best }),
    });
    fn table<T: Element>(
        rows: usize,
        picks: impl Iterator<Item = usize>,
        labels: &[T],
    ) -> Result<Tensor> {
        let labels = picks.take(rows).map(|i| labels.get(i).cloned().unwrap_or_default()).collect();
        Tensor::from_vec::<T>(&[rows], labels)
    }
    match classes {
        Some(Classes::Int(v)) => table(rows, picks, v),
        Some(Classes::Str(v)) => {
            table(rows, picks, &v.iter().map(|s| s.to_string()).collect::<Vec<_>>())
        }
        None => Tensor::from_vec(&[rows], picks.take(rows).map(|i| i as i64).collect()),
    }
}
