//! Recurrent operators: RNN, GRU, LSTM.
//!
//! Each sequence of a batch runs on its own: the input's part of all its gates is one matrix
//! product, the steps are products of one row. So its result depends neither on the batch nor on
//! the threads, which take whole sequences.

pub(in crate::kernel) mod activation;
mod cell;
mod weights;

use super::conv::real::{Real, narrowed, widened, with_real};
use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::error::{Result, ensure, err};
use crate::tensor::{Element, ElementType, Shape, Tensor, Value};
use activation::Activation;
use cell::{Cell, Sequence, States};
use parking_lot::Mutex;
use weights::Weights;

pub(super) const OPS: &[Entry] =
    &[onnx("GRU", 1, prepare), onnx("LSTM", 1, prepare), onnx("RNN", 1, prepare)];

/// The kind of cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rnn,
    Gru { linear_before_reset: bool },
    Lstm { input_forget: bool },
}

impl Kind {
    fn gates(self) -> usize {
        match self {
            Kind::Rnn => 1,
            Kind::Gru { .. } => 3,
            Kind::Lstm { .. } => 4,
        }
    }
}

/// Constant weights, packed.
enum Packed {
    F32(Weights<f32>),
    F64(Weights<f64>),
}

struct Recurrent {
    op: String,
    kind: Kind,
    /// For each direction whether it runs backwards.
    reverse: Vec<bool>,
    /// The activations of all directions.
    activations: Vec<Activation>,
    clip: Option<f32>,
    hidden: Option<usize>,
    /// Whether the batch comes before the steps.
    batch_first: bool,
    packed: Option<Packed>,
    wanted: [bool; 3],
}

/// For each direction of a node whether it begins at the end, and the hidden size where the node
/// says it.
pub(super) fn layout(spec: &OpSpec<'_>) -> Result<(Vec<bool>, Option<usize>)> {
    let a = spec.attributes;
    let reverse = match a.str("direction", "forward")?.as_str() {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => return Err(spec.invalid(format_args!("direction '{other}' is none"))),
    };
    match a.int_opt("hidden_size")?.map(usize::try_from) {
        None => Ok((reverse, None)),
        Some(Ok(n)) => Ok((reverse, Some(n))),
        Some(Err(_)) => Err(spec.invalid("hidden_size is negative")),
    }
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    let a = spec.attributes;
    let (kind, functions): (Kind, &[&str]) = match spec.op {
        "LSTM" => {
            let input_forget = a.flag("input_forget", false)?;
            (Kind::Lstm { input_forget }, &["Sigmoid", "Tanh", "Tanh"])
        }
        "GRU" => {
            let linear_before_reset = a.flag("linear_before_reset", false)?;
            (Kind::Gru { linear_before_reset }, &["Sigmoid", "Tanh"])
        }
        _ => (Kind::Rnn, &["Tanh"]),
    };
    let lstm = matches!(kind, Kind::Lstm { .. });
    spec.arity(3..=if lstm { 8 } else { 6 })?;
    let (reverse, hidden) = layout(spec)?;
    // Weights can be packed when all there are are constant.
    let constant = |i: usize| !spec.has_input(i) || spec.constant(i).is_some();
    let packed = match (spec.constant(1), spec.constant(2)) {
        (Some(w), Some(r)) if constant(3) && (!lstm || constant(7)) => {
            let (b, p) = (spec.constant(3), spec.constant(7).filter(|_| lstm));
            let n = reverse.len();
            let packed = if w.dtype() == ElementType::F64 {
                Weights::new(kind, n, w, r, b, p).map(Packed::F64)
            } else {
                Weights::new(kind, n, w, r, b, p).map(Packed::F32)
            };
            Some(packed.map_err(|e| spec.invalid(e.message()))?)
        }
        _ => None,
    };
    Ok(Box::new(Recurrent {
        op: spec.op.to_string(),
        kind,
        activations: Activation::list(spec, functions, reverse.len())?,
        reverse,
        clip: a.float_opt("clip")?.filter(|&c| c > 0.0),
        hidden,
        batch_first: a.flag("layout", false)?,
        packed,
        wanted: [spec.wants(0), spec.wants(1), spec.wants(2)],
    }))
}

/// Element types that weights are packed in.
trait Packable: Real {
    fn packed(packed: &Packed) -> Option<&Weights<Self>>;
}

impl Packable for f32 {
    fn packed(packed: &Packed) -> Option<&Weights<f32>> {
        match packed {
            Packed::F32(w) => Some(w),
            Packed::F64(_) => None,
        }
    }
}

impl Packable for f64 {
    fn packed(packed: &Packed) -> Option<&Weights<f64>> {
        match packed {
            Packed::F64(w) => Some(w),
            Packed::F32(_) => None,
        }
    }
}

/// The sizes of one run.
#[derive(Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    directions: usize,
    hidden: usize,
}

impl Recurrent {
    /// How many steps each sequence has.
    fn lengths(&self, inputs: &Inputs<'_>, s: Sizes) -> Result<Vec<usize>> {
        let Some(lens) = inputs.tensor_opt(4)? else { return Ok(vec![s.steps; s.batch]) };
        let lens = lens.to_i64_vec()?;
        ensure!(
            lens.len() == s.batch,
            InvalidInput,
            "{}: {} sequence lengths for a batch of {}",
            self.op,
            lens.len(),
            s.batch
        );
        lens.iter()
            .map(|&n| {
                usize::try_from(n).ok().filter(|&n| n <= s.steps).ok_or_else(|| {
                    err!(InvalidInput, "{}: a sequence of {n} steps of {}", self.op, s.steps)
                })
            })
            .collect()
    }

    /// The initial state of input `i` as `[directions, batch, hidden]` elements, by accessor.
    fn initial<T: Element>(
        &self,
        inputs: &Inputs<'_>,
        i: usize,
        s: Sizes,
    ) -> Result<Option<Vec<T>>> {
        let Some(state) = inputs.tensor_opt(i)? else { return Ok(None) };
        let dims = self.state_dims(s);
        ensure!(
            state.dims() == dims,
            InvalidInput,
            "{}: an initial state of shape {}, expected {dims:?}",
            self.op,
            state.shape()
        );
        widened(state)?.into_vec::<T>().map(Some)
    }

    fn state_dims(&self, s: Sizes) -> [usize; 3] {
        if self.batch_first {
            [s.batch, s.directions, s.hidden]
        } else {
            [s.directions, s.batch, s.hidden]
        }
    }

    fn compute<T: Packable>(
        &self,
        ctx: &mut Context<'_>,
        inputs: &Inputs<'_>,
        dtype: ElementType,
    ) -> Result<Outputs> {
        let fresh;
        let weights = match self.packed.as_ref().and_then(T::packed) {
            Some(weights) => weights,
            None => {
                let (b, p) = (inputs.tensor_opt(3)?, inputs.tensor_opt(7)?);
                let (w, r) = (inputs.tensor(1)?, inputs.tensor(2)?);
                fresh = Weights::<T>::new(self.kind, self.reverse.len(), w, r, b, p)?;
                &fresh
            }
        };
        let x = widened(inputs.tensor(0)?)?;
        ensure!(
            x.dims().len() == 3 && x.dims()[2] == weights.inputs,
            InvalidInput,
            "{}: an input of shape {}, expected three dimensions, the last of {}",
            self.op,
            x.shape(),
            weights.inputs
        );
        ensure!(
            self.hidden.is_none_or(|n| n == weights.hidden),
            InvalidInput,
            "{}: hidden_size {:?} with weights for {}",
            self.op,
            self.hidden,
            weights.hidden
        );
        let (first, second) = (x.dims()[0], x.dims()[1]);
        let (steps, batch) = if self.batch_first { (second, first) } else { (first, second) };
        let s = Sizes { steps, batch, directions: self.reverse.len(), hidden: weights.hidden };
        let n = s.hidden;
        let lengths = self.lengths(inputs, s)?;
        let hidden = self.initial::<T>(inputs, 5, s)?;
        let cell = self.initial::<T>(inputs, 6, s)?;
        let data = x.as_slice::<T>()?;
        // One record a sequence and direction: all hidden states, the last one, the cell.
        let record = ctx.shape_of::<T>(&[steps + 2, n])?.len();
        let total = ctx.shape_of::<T>(&[batch, s.directions, record])?.len();
        ctx.shape_of::<T>(&[steps, self.kind.gates(), n, ctx.threads.size()])?;
        let mut records = ctx.filled(total, T::ZERO)?;
        let error: Mutex<Option<crate::Error>> = Mutex::default();
        let per = self.activations.len() / s.directions.max(1);
        let cells: Vec<Cell<'_, T>> = weights
            .directions
            .iter()
            .zip(self.activations.chunks(per.max(1)))
            .zip(&self.reverse)
            .map(|((weights, activations), &reverse)| Cell {
                kind: self.kind,
                weights,
                activations,
                clip: self.clip.map(T::from_f32),
                reverse,
                inputs: x.dims()[2],
                hidden: n,
            })
            .collect();
        let place = |b: usize, d: usize| {
            let i = if self.batch_first { b * s.directions + d } else { d * batch + b };
            i * n..(i + 1) * n
        };
        let one = |index: usize, record: &mut [T]| -> Result<()> {
            let (b, d) = (index / s.directions, index % s.directions);
            let (all, last) = record.split_at_mut(steps * n);
            let (last_hidden, last_cell) = last.split_at_mut(n);
            for (initial, state) in [(&hidden, &mut *last_hidden), (&cell, &mut *last_cell)] {
                if let Some(initial) = initial.as_ref().and_then(|v| v.get(place(b, d))) {
                    state.copy_from_slice(initial);
                }
            }
            let width = x.dims()[2];
            let (start, step) = if self.batch_first {
                (b * steps * width, width)
            } else {
                (b * width, batch * width)
            };
            let Some(cell) = cells.get(d) else { return Ok(()) };
            let len = lengths.get(b).copied().unwrap_or(0);
            let states = States { all, hidden: last_hidden, cell: last_cell };
            cell.run(Sequence { data, start, step, len }, states)
        };
        let ns = steps.saturating_mul(n * self.kind.gates()).saturating_mul(x.dims()[2] + n) / 8;
        ctx.threads.split_rows(&mut records, record, ns, |range, chunk| {
            for (i, record) in range.zip(chunk.chunks_mut(record.max(1))) {
                if let Err(e) = one(i, record) {
                    error.lock().get_or_insert(e);
                }
            }
        });
        if let Some(e) = error.into_inner() {
            return Err(e);
        }
        self.outputs(ctx, s, &records, record, dtype)
    }

    /// The outputs that somebody reads, from the records.
    fn outputs<T: Real>(
        &self,
        ctx: &mut Context<'_>,
        s: Sizes,
        records: &[T],
        record: usize,
        dtype: ElementType,
    ) -> Result<Outputs> {
        let n = s.hidden;
        let state = |b: usize, d: usize, t: usize| {
            let start = (b * s.directions + d) * record + t * n;
            records.get(start..start + n).unwrap_or(&[])
        };
        let mut outputs = Outputs::new();
        let count = if matches!(self.kind, Kind::Lstm { .. }) { 3 } else { 2 };
        for (which, &wanted) in self.wanted.iter().enumerate().take(count) {
            if !wanted {
                outputs.push(Value::Optional(None));
                continue;
            }
            let (shape, out) = if which == 0 {
                let (outer, inner) =
                    if self.batch_first { (s.batch, s.steps) } else { (s.steps, s.batch) };
                let dims = if self.batch_first {
                    [outer, inner, s.directions, n]
                } else {
                    [outer, s.directions, inner, n]
                };
                let shape = ctx.shape_of::<T>(&dims)?;
                let mut out = ctx.buffer::<T>(shape.len())?;
                for i in 0..outer {
                    for j in 0..dims[1] {
                        for k in 0..dims[2] {
                            let (b, d, t) = if self.batch_first { (i, k, j) } else { (k, j, i) };
                            out.extend_from_slice(state(b, d, t));
                        }
                    }
                }
                (shape, out)
            } else {
                let dims = self.state_dims(s);
                let shape = ctx.shape_of::<T>(&dims)?;
                let mut out = ctx.buffer::<T>(shape.len())?;
                for i in 0..dims[0] {
                    for j in 0..dims[1] {
                        let (b, d) = if self.batch_first { (i, j) } else { (j, i) };
                        out.extend_from_slice(state(b, d, s.steps + which - 1));
                    }
                }
                (shape, out)
            };
            outputs.push(rounded(shape, out, dtype)?.into());
        }
        while outputs.last().is_some_and(|v| matches!(v, Value::Optional(None))) {
            outputs.pop();
        }
        Ok(outputs)
    }
}

fn rounded<T: Real>(shape: Shape, data: Vec<T>, dtype: ElementType) -> Result<Tensor> {
    narrowed(Tensor::new(shape, T::wrap(data))?, dtype)
}

impl Kernel for Recurrent {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let dtype = inputs.tensor(0)?.dtype();
        with_real!(&self.op, dtype, T => self.compute::<T>(ctx, inputs, dtype))
    }

    fn packed_bytes(&self) -> u64 {
        match &self.packed {
            None => 0,
            Some(Packed::F32(w)) => w.bytes(),
            Some(Packed::F64(w)) => w.bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
