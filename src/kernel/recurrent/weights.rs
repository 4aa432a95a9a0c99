//! The weights of a recurrent operator, laid out for its steps.

use super::Kind;
use crate::error::{Result, ensure};
use crate::kernel::conv::real::{Real, widened};
use crate::room;
use crate::tensor::{Element, Shape, Tensor};

/// The weights of one direction.
pub(super) struct Direction<T> {
    /// Input weights, transposed: inputs × (gates · hidden).
    pub input: Vec<T>,
    /// Recurrent weights, transposed: hidden × (gates · hidden).
    pub recurrent: Vec<T>,
    /// What is added to the input's part before the steps.
    pub bias: Vec<T>,
    /// GRU with `linear_before_reset`: what is added to the hidden gate's recurrent part.
    pub hidden_bias: Vec<T>,
    /// LSTM: input, output and forget gate's weights of the cell; empty without.
    pub peepholes: Vec<T>,
}

/// The weights of all directions.
pub(super) struct Weights<T> {
    pub directions: Vec<Direction<T>>,
    pub inputs: usize,
    pub hidden: usize,
}

fn transposed<T: Copy>(data: &[T], rows: usize, cols: usize) -> Result<Vec<T>> {
    let mut out = room::with_room(data.len())?;
    for c in 0..cols {
        out.extend(data.iter().skip(c).step_by(cols.max(1)).take(rows));
    }
    Ok(out)
}

/// The elements of `tensor`, which must be of shape `dims`.
fn part<T: Element>(tensor: &Tensor, dims: &[usize], what: &str) -> Result<Vec<T>> {
    ensure!(
        tensor.dims() == dims,
        InvalidInput,
        "{what} is of shape {}, expected {dims:?}",
        tensor.shape()
    );
    widened(tensor)?.into_vec::<T>()
}

impl<T: Real> Weights<T> {
    /// Packs input weights `w`, recurrent weights `r`, biases `b` and peepholes `p`.
    pub fn new(
        kind: Kind,
        directions: usize,
        w: &Tensor,
        r: &Tensor,
        b: Option<&Tensor>,
        p: Option<&Tensor>,
    ) -> Result<Weights<T>> {
        let gates = kind.gates();
        ensure!(
            w.dims().len() == 3 && r.dims().len() == 3,
            InvalidInput,
            "weights of shapes {} and {}, expected three dimensions each",
            w.shape(),
            r.shape()
        );
        let (inputs, hidden) = (w.dims()[2], r.dims()[2]);
        let wide = Shape::new(&[gates, hidden])?.len();
        let w = part::<T>(w, &[directions, wide, inputs], "W")?;
        let r = part::<T>(r, &[directions, wide, hidden], "R")?;
        let b = b.map(|b| part::<T>(b, &[directions, 2 * wide], "B")).transpose()?;
        let p = p.map(|p| part::<T>(p, &[directions, 3 * hidden], "P")).transpose()?;
        fn slice<T>(v: &[T], i: usize, n: usize) -> &[T] {
            v.get(i * n..(i + 1) * n).unwrap_or_default()
        }
        let directions = (0..directions)
            .map(|d| {
                let mut bias = vec![T::ZERO; wide];
                let mut hidden_bias = vec![T::ZERO; hidden];
                if let Some(b) = &b {
                    let b = slice(b, d, 2 * wide);
                    let (input, recurrent) = b.split_at(wide);
                    bias = input.to_vec();
                    let apart = match kind {
                        Kind::Gru { linear_before_reset: true } => 2 * hidden,
                        _ => wide,
                    };
                    for (bias, &r) in bias.iter_mut().zip(&recurrent[..apart]) {
                        *bias += r;
                    }
                    if apart < wide {
                        hidden_bias = recurrent[apart..].to_vec();
                    }
                }
                let peepholes = p.as_deref().map(|p| slice(p, d, 3 * hidden).to_vec());
                Ok(Direction {
                    input: transposed(slice(&w, d, wide * inputs), wide, inputs)?,
                    recurrent: transposed(slice(&r, d, wide * hidden), wide, hidden)?,
                    bias,
                    hidden_bias,
                    peepholes: peepholes.unwrap_or_default(),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Weights { directions, inputs, hidden })
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let elements: usize =
            self.directions.iter().map(|d| d.input.len() + d.recurrent.len() + d.bias.len()).sum();
        (elements as u64).saturating_mul(T::TYPE.size() as u64)
    }
}
