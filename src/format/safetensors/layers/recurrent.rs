//! Recurrent layers: RNN, GRU and LSTM over sequences, and their cells over one step.

use super::join::concat;
use super::movement::{permute, slice, squeeze, unsqueeze};
use super::{Kind, Layer, Reader, kind};
use crate::attribute::Attribute;
use crate::error::{Result, ensure};
use crate::format::safetensors::arrange::{assembled, transposed};
use crate::format::safetensors::builder::{Builder, int};
use crate::format::safetensors::signal::{Signal, unified};
use crate::graph::{Dim, ValueId};
use crate::tensor::Tensor;
use bytes::Bytes;

pub(super) const KINDS: &[Kind] = &[
    kind("rnn", |r| read_sequence(r, &RNN)),
    kind("gru", |r| read_sequence(r, &GRU)),
    kind("lstm", |r| read_sequence(r, &LSTM)),
    kind("rnn_cell", |r| read_cell(r, &RNN)),
    kind("gru_cell", |r| read_cell(r, &GRU)),
    kind("lstm_cell", |r| read_cell(r, &LSTM)),
];

/// How PyTorch's weights become those of the operator.
#[derive(Debug)]
struct Cell {
    op: &'static str,
    /// For each gate in the operator's order where PyTorch has it.
    gates: &'static [usize],
    /// How many tensors the state is.
    states: usize,
}

const RNN: Cell = Cell { op: "RNN", gates: &[0], states: 1 };
/// ONNX: update, reset, hidden; PyTorch: reset, update, new.
const GRU: Cell = Cell { op: "GRU", gates: &[1, 0, 2], states: 1 };
/// ONNX: input, output, forget, cell; PyTorch: input, forget, cell, output.
const LSTM: Cell = Cell { op: "LSTM", gates: &[0, 3, 1, 2], states: 2 };

/// What sequences and single steps have in common.
#[derive(Debug)]
struct Core {
    cell: &'static Cell,
    name: String,
    input: usize,
    hidden: usize,
    bias: bool,
    /// The activation of a plain RNN, where it is not tanh.
    relu: bool,
    /// How many numbers a sequence's state is projected to; 0 where it is not.
    projection: usize,
    /// The names of the state that it begins with, and that its last state is given.
    state: Vec<String>,
    state_as: Vec<String>,
}

impl Core {
    fn read(r: &Reader<'_>, cell: &'static Cell) -> Result<Core> {
        let core = Core {
            cell,
            name: r.name()?,
            input: r.size("in")?,
            hidden: r.size("hidden")?,
            bias: r.flag_or("bias", true)?,
            relu: cell.op == "RNN" && r.one_of("nonlinearity", &["tanh", "relu"])? == "relu",
            projection: 0,
            state: r.names("state")?.unwrap_or_default(),
            state_as: r.names("state_as")?.unwrap_or_default(),
        };
        for (key, names) in [("state", &core.state), ("state_as", &core.state_as)] {
            if !names.is_empty() && names.len() != cell.states {
                return Err(r.error(format_args!(
                    "\"{key}\" names {} tensors, the state of {} is {}",
                    names.len(),
                    cell.op,
                    cell.states
                )));
            }
        }
        ensure!(
            (1..=MAX_HIDDEN).contains(&core.hidden),
            InvalidModel,
            "layer '{}' has a state of {} numbers",
            core.name,
            core.hidden
        );
        Ok(core)
    }

    /// The input's or the state's weights of some directions, as `[directions, gates · hidden,
    /// columns]`.
    fn weights(
        &self,
        b: &mut Builder<'_>,
        kind: &str,
        suffixes: &[String],
        columns: usize,
    ) -> Result<ValueId> {
        let rows = self.rows();
        let part =
            |suffix: &String| (format!("{}.weight_{kind}{suffix}", self.name), vec![rows, columns]);
        let parts: Vec<_> = suffixes.iter().map(part).collect();
        b.combined(&parts, ".gates", |tensors| {
            let stretches: Vec<_> = tensors
                .iter()
                .flat_map(|tensor| self.gates().map(move |gate| (tensor, gate)))
                .collect();
            assembled(&[tensors.len(), rows, columns], &stretches)
        })
    }

    /// The biases of some directions, the input's before the state's: `[directions, 2 · gates ·
    /// hidden]`.
    fn biases(&self, b: &mut Builder<'_>, suffixes: &[String]) -> Result<ValueId> {
        let rows = self.rows();
        let part = |name: String| (name, vec![rows]);
        let parts: Vec<_> = suffixes
            .iter()
            .flat_map(|suffix| {
                ["ih", "hh"].map(|kind| part(format!("{}.bias_{kind}{suffix}", self.name)))
            })
            .collect();
        b.combined(&parts, ".gates", |tensors| {
            let stretches: Vec<_> = tensors
                .iter()
                .flat_map(|tensor| self.gates().map(move |gate| (tensor, gate)))
                .collect();
            assembled(&[suffixes.len(), rows.saturating_mul(2)], &stretches)
        })
    }

    /// The projections of some directions: `[directions, projection, hidden]`, or with the last two
    /// axes exchanged.
    fn projections(
        &self,
        b: &mut Builder<'_>,
        suffixes: &[String],
        turned: bool,
    ) -> Result<ValueId> {
        let (from, to) = (self.hidden, self.projection);
        let part = |suffix: &String| (format!("{}.weight_hr{suffix}", self.name), vec![to, from]);
        let parts: Vec<_> = suffixes.iter().map(part).collect();
        let (form, [rows, columns]) =
            if turned { (".T", [from, to]) } else { (".stacked", [to, from]) };
        b.combined(&parts, form, |tensors| {
            let change = |tensor| if turned { transposed(tensor) } else { Ok(tensor.clone()) };
            let tensors = tensors.iter().map(change).collect::<Result<Vec<Tensor>>>()?;
            let stretches: Vec<_> = tensors.iter().map(|tensor| (tensor, 0..rows)).collect();
            assembled(&[tensors.len(), rows, columns], &stretches)
        })
    }

    /// The state's weights. Those that read a projected state are multiplied by the projection, which
    /// gives weights for the state as it is: the operator knows no projection.
    fn state_weights(&self, b: &mut Builder<'_>, suffixes: &[String]) -> Result<ValueId> {
        if self.projection == 0 {
            return self.weights(b, "hh", suffixes, self.hidden);
        }
        let weights = self.weights(b, "hh", suffixes, self.projection)?;
        let projections = self.projections(b, suffixes, false)?;
        let dims = [suffixes.len(), self.rows(), self.hidden].map(Dim::Fixed).to_vec();
        let dtype = b.dtype;
        b.value("MatMul", &[weights, projections], &[], dtype, dims)
    }

    fn rows(&self) -> usize {
        self.cell.gates.len().saturating_mul(self.hidden)
    }

    /// The rows of each gate in PyTorch's tensors, in the operator's order.
    fn gates(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let hidden = self.hidden;
        self.cell.gates.iter().map(move |&gate| gate * hidden..(gate + 1) * hidden)
    }

    /// One layer over `[steps, batch, input]`: its answer `[steps, directions, batch, hidden]`, and
    /// its last states `[directions, batch, hidden]` where they are wanted.
    fn layer(
        &self,
        b: &mut Builder<'_>,
        x: &Signal,
        suffixes: &[String],
        state: &[Signal],
    ) -> Result<(Signal, Vec<Signal>)> {
        let columns = x.fixed(2).unwrap_or(self.input);
        let directions = suffixes.len();
        let mut inputs = vec![
            Some(x.value),
            Some(self.weights(b, "ih", suffixes, columns)?),
            Some(self.state_weights(b, suffixes)?),
            self.bias.then(|| self.biases(b, suffixes)).transpose()?,
            // The lengths of the sequences: all steps.
            None,
        ];
        inputs.extend(state.iter().map(|s| Some(s.value)));
        let both = directions == 2;
        let direction = if both { "bidirectional" } else { "forward" };
        let mut attributes = vec![
            ("hidden_size", Attribute::Int(int(self.hidden))),
            ("direction", Attribute::String(direction.into())),
        ];
        if self.cell.op == "GRU" {
            attributes.push(("linear_before_reset", Attribute::Int(1)));
        }
        if self.relu {
            let functions = vec![Bytes::from_static(b"Relu"); directions];
            attributes.push(("activations", Attribute::Strings(functions)));
        }
        let dim = |axis: usize| x.dims.get(axis).cloned().unwrap_or(Dim::Unknown);
        let (steps, batch) = (dim(0), dim(1));
        let hidden = Dim::Fixed(self.hidden);
        let all = vec![steps, Dim::Fixed(directions), batch.clone(), hidden.clone()];
        let last = vec![Dim::Fixed(directions), batch, hidden];
        let wanted = if self.state_as.is_empty() { 0 } else { self.cell.states };
        let mut outputs = vec![Some((x.dtype, all.clone()))];
        outputs.extend((0..wanted).map(|_| Some((x.dtype, last.clone()))));
        let values = b.node(self.cell.op, inputs, &attributes, &outputs)?;
        let mut values = values.into_iter().flatten();
        let first = values.next().unwrap_or(x.value);
        let mut y = Signal { value: first, dtype: x.dtype, dims: all, batch: 2 };
        let mut states: Vec<Signal> = values
            .map(|value| Signal { value, dtype: x.dtype, dims: last.clone(), batch: 1 })
            .collect();
        if self.projection > 0 {
            let projections = self.projections(b, suffixes, true)?;
            // Of the states the first one is what is answered.
            for signal in [Some(&mut y), states.first_mut()].into_iter().flatten() {
                let dims = signal.with_last(self.projection);
                *signal = b.then("MatMul", signal, &[projections], &[], dims)?;
            }
        }
        Ok((y, states))
    }

    /// The states that `state` names, in the computing type.
    fn begin(&self, b: &mut Builder<'_>) -> Result<Vec<Signal>> {
        let mut states = Vec::new();
        for name in &self.state {
            let state = b.named(name)?;
            states.push(b.cast(state)?);
        }
        Ok(states)
    }
}

/// The largest state taken for meant; sums of it cannot overflow.
const MAX_HIDDEN: usize = 1 << 24;
/// Most layers of a stack.
const MAX_STACK: usize = 1_000;

#[derive(Debug)]
struct Sequence {
    core: Core,
    layers: usize,
    bidirectional: bool,
    batch_first: bool,
}

fn read_sequence(r: &Reader<'_>, cell: &'static Cell) -> Result<Box<dyn Layer>> {
    let mut core = Core::read(r, cell)?;
    if cell.op == "LSTM" {
        core.projection = r.size_or("proj", 0)?;
        if core.projection >= core.hidden {
            return Err(r.error(format_args!(
                "\"proj\" is {}, expected less than the {} of \"hidden\"",
                core.projection, core.hidden
            )));
        }
        if core.projection > 0 && !core.state.is_empty() {
            // The operator's state is the one before its projection, which does not tell it.
            return Err(
                r.error("with \"proj\" the state begins with zeros, \"state\" is not known")
            );
        }
    }
    let layers = r.size_or("layers", 1)?;
    if !(1..=MAX_STACK).contains(&layers) {
        return Err(r.error(format_args!("\"layers\" is {layers}, expected 1 to {MAX_STACK}")));
    }
    Ok(Box::new(Sequence {
        core,
        layers,
        bidirectional: r.flag_or("bidirectional", false)?,
        batch_first: r.flag_or("batch_first", true)?,
    }))
}

impl Layer for Sequence {
    fn stores(&self) -> bool {
        !self.core.state_as.is_empty()
    }

    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let core = &self.core;
        x.expect_rank(3)?;
        x.expect_batch_at(usize::from(!self.batch_first))?;
        x.expect(2, core.input)?;
        // The operator's order: steps, batch, features.
        let mut x = if self.batch_first { permute(b, &x, &[1, 0, 2])? } else { x };
        x.dims = x.with(2, Dim::Fixed(core.input));
        let directions = if self.bidirectional { 2 } else { 1 };
        let begin = core.begin(b)?;
        for state in &begin {
            state.expect_rank(3)?;
            state.expect_batch_at(1)?;
            state.expect(0, self.layers.saturating_mul(directions))?;
            state.expect(2, core.hidden)?;
            same_batch(&x, state)?;
        }
        let mut ends: Vec<Vec<Signal>> = vec![Vec::new(); core.cell.states];
        for layer in 0..self.layers {
            let mut suffixes = vec![format!("_l{layer}")];
            if self.bidirectional {
                suffixes.push(format!("_l{layer}_reverse"));
            }
            let state = begin
                .iter()
                .map(|state| match self.layers {
                    1 => Ok(state.clone()),
                    _ => {
                        let (from, to) = (layer * directions, (layer + 1) * directions);
                        slice(b, state, 0, int(from), Some(int(to)), 1)
                    }
                })
                .collect::<Result<Vec<_>>>()?;
            let (y, last) = core.layer(b, &x, &suffixes, &state)?;
            for (end, state) in ends.iter_mut().zip(last) {
                end.push(state);
            }
            x = if self.bidirectional { side_by_side(b, &y)? } else { squeeze(b, &y, 1)? };
        }
        for (name, end) in core.state_as.iter().zip(ends) {
            let state = match end.as_slice() {
                [one] => one.clone(),
                all => concat(b, all, 0)?,
            };
            b.store(name, state)?;
        }
        if self.batch_first { permute(b, &x, &[1, 0, 2]) } else { Ok(x) }
    }
}

/// `[steps, directions, batch, hidden]` as `[steps, batch, directions · hidden]`.
fn side_by_side(b: &mut Builder<'_>, y: &Signal) -> Result<Signal> {
    let y = permute(b, y, &[0, 2, 1, 3])?;
    let width = y.fixed(2).unwrap_or(0).saturating_mul(y.fixed(3).unwrap_or(0));
    let shape = b.ints("shape", &[0, 0, int(width)])?;
    let mut dims: Vec<Dim> = y.dims.iter().take(2).cloned().collect();
    dims.push(Dim::Fixed(width));
    b.then("Reshape", &y, &[shape], &[], dims)
}

/// Checks that the state can have a row for each of the input's.
fn same_batch(x: &Signal, state: &Signal) -> Result<()> {
    let sizes = x.dims.get(x.batch).zip(state.dims.get(state.batch));
    let fits = sizes.is_some_and(|(m, n)| unified(m, n).is_some());
    ensure!(fits, InvalidModel, "the state has another number of rows than the input");
    Ok(())
}

/// One step: `[batch, in]` to `[batch, hidden]`.
#[derive(Debug)]
struct Step {
    core: Core,
}

fn read_cell(r: &Reader<'_>, cell: &'static Cell) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Step { core: Core::read(r, cell)? }))
}

impl Layer for Step {
    fn stores(&self) -> bool {
        !self.core.state_as.is_empty()
    }

    fn build(&self, b: &mut Builder<'_>, x: Signal) -> Result<Signal> {
        let core = &self.core;
        x.expect_rank(2)?;
        x.expect_batch_at(0)?;
        x.expect(1, core.input)?;
        let mut x = unsqueeze(b, &x, 0)?;
        x.dims = x.with(2, Dim::Fixed(core.input));
        let mut begin = Vec::new();
        for state in core.begin(b)? {
            state.expect_rank(2)?;
            state.expect_batch_at(0)?;
            state.expect(1, core.hidden)?;
            let state = unsqueeze(b, &state, 0)?;
            same_batch(&x, &state)?;
            begin.push(state);
        }
        let (y, last) = core.layer(b, &x, &[String::new()], &begin)?;
        for (name, state) in core.state_as.iter().zip(&last) {
            let state = squeeze(b, state, 0)?;
            b.store(name, state)?;
        }
        let y = squeeze(b, &y, 1)?;
        squeeze(b, &y, 0)
    }
}
