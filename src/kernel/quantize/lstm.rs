//! DynamicQuantizeLSTM: an LSTM whose products take 8-bit weights and quantise the input, and at
//! each step the hidden state, before they multiply.

use super::columns::Columns;
use super::dynamic::Range;
use super::level::zeros;
use super::lines::Lines;
use super::needs;
use super::product::{Rows, product};
use crate::error::{Result, ensure, err};
use crate::kernel::recurrent::activation::Activation;
use crate::kernel::recurrent::layout;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs};
use crate::tensor::{Tensor, Value};

/// Gates: input, output, forget, cell.
const GATES: usize = 4;

struct DynamicLstm {
    reverse: Vec<bool>,
    activations: Vec<Activation>,
    clip: Option<f32>,
    input_forget: bool,
    hidden: Option<usize>,
    /// The weights W and R where they are constant.
    weights: Option<[Columns; 2]>,
    wanted: [bool; 3],
}

/// Zero points of weights: one a direction, or one a column of each.
fn columns(w: &Tensor, zero: &Tensor, what: &str) -> Result<Columns> {
    let &[directions, _, wide] = w.dims() else {
        return Err(err!(InvalidInput, "{what} is of shape {}, expected three axes", w.shape()));
    };
    let values = zeros(Some(zero), w.dtype(), what)?;
    let zero = Lines::stacked(values, zero.dims(), directions, wide, what)?;
    Columns::new("DynamicQuantizeLSTM", w, &zero)
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    needs(spec, &[0, 1, 2, 8, 9, 10, 11], 12)?;
    let a = spec.attributes;
    let (reverse, hidden) = layout(spec)?;
    let constant = |w: usize, zero: usize, what: &str| -> Result<Option<Columns>> {
        match (spec.constant(w), spec.constant(zero)) {
            (Some(w), Some(zero)) => {
                columns(w, zero, what).map(Some).map_err(|e| spec.invalid(e.message()))
            }
            _ => Ok(None),
        }
    };
    let weights = match (constant(1, 9, "W")?, constant(2, 11, "R")?) {
        (Some(w), Some(r)) => Some([w, r]),
        _ => None,
    };
    Ok(Box::new(DynamicLstm {
        activations: Activation::list(spec, &["Sigmoid", "Tanh", "Tanh"], reverse.len())?,
        reverse,
        clip: a.float_opt("clip")?.filter(|&c| c > 0.0),
        input_forget: a.flag("input_forget", false)?,
        hidden,
        weights,
        wanted: [spec.wants(0), spec.wants(1), spec.wants(2)],
    }))
}

/// The sizes of one run.
#[derive(Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    directions: usize,
}

/// One direction with its weights.
struct Direction<'a> {
    reverse: bool,
    activations: &'a [Activation],
    input: Rows<'a>,
    input_scale: &'a [f32],
    recurrent: Rows<'a>,
    /// Elements of a row of `recurrent`.
    step: usize,
    recurrent_scale: &'a [f32],
    bias: Vec<f32>,
    peepholes: &'a [f32],
}

/// What a direction leaves: all hidden states (step, sequence), the last ones, and the cells.
struct States<'a> {
    all: &'a mut [f32],
    hidden: &'a mut [f32],
    cell: &'a mut [f32],
}

/// Rows of floats quantised together, as the left-hand side of a product.
struct Quantised {
    range: Range,
    data: Vec<i16>,
    step: usize,
    rows: usize,
}

impl Quantised {
    fn new(x: &[f32], width: usize, step: usize) -> Quantised {
        let range = Range::of(x);
        let rows = x.len().checked_div(width).unwrap_or(0);
        let mut data = vec![0; rows * step];
        for (x, data) in x.chunks(width.max(1)).zip(data.chunks_mut(step.max(1))) {
            range.centred(x, data);
        }
        Quantised { range, data, step, rows }
    }

    /// Adds the product with `weights` (of these scales) to `out`.
    fn add_product(
        &self,
        ctx: &Context<'_>,
        weights: Rows<'_>,
        scales: &[f32],
        sums: &mut [i32],
        out: &mut [f32],
    ) {
        product(ctx.threads, Rows::new(&self.data, self.step, self.rows), weights, sums);
        let wide = out.len() / self.rows.max(1);
        for (out, sums) in out.chunks_mut(wide.max(1)).zip(sums.chunks(wide.max(1))) {
            for (column, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
                let scale = match scales {
                    &[scale] => scale,
                    more => more.get(column).copied().unwrap_or(0.0),
                };
                *out += sum as f32 * (self.range.scale * scale);
            }
        }
    }
}

impl DynamicLstm {
    /// Runs all sequences through one direction. They go step by step together, since the hidden
    /// states of a step are quantised together.
    fn run_direction(
        &self,
        ctx: &Context<'_>,
        direction: &Direction<'_>,
        x: &Quantised,
        lengths: &[usize],
        s: Sizes,
        states: States<'_>,
    ) -> Result<()> {
        let (n, wide) = (s.hidden, GATES * s.hidden);
        if n == 0 || s.batch == 0 || s.steps == 0 {
            return Ok(());
        }
        let mut sums = vec![0i32; s.steps * s.batch * wide];
        let mut gates = direction.bias.repeat(s.steps * s.batch);
        if s.inputs > 0 {
            x.add_product(ctx, direction.input, direction.input_scale, &mut sums, &mut gates);
        }
        let sums = sums.get_mut(..s.batch * wide).unwrap_or(&mut []);
        let mut recurrent = vec![0f32; s.batch * wide];
        for turn in 0..s.steps {
            ctx.check_deadline()?;
            recurrent.fill(0.0);
            let hidden = Quantised::new(states.hidden, n, direction.step);
            hidden.add_product(
                ctx,
                direction.recurrent,
                direction.recurrent_scale,
                sums,
                &mut recurrent,
            );
            for (b, (&length, recurrent)) in lengths.iter().zip(recurrent.chunks(wide)).enumerate()
            {
                if turn >= length {
                    continue;
                }
                let t = if direction.reverse { length - 1 - turn } else { turn };
                let row = t * s.batch + b;
                let (Some(gates), Some(state), Some(cell), Some(out)) = (
                    gates.get_mut(row * wide..(row + 1) * wide),
                    states.hidden.get_mut(b * n..(b + 1) * n),
                    states.cell.get_mut(b * n..(b + 1) * n),
                    states.all.get_mut(row * n..(row + 1) * n),
                ) else {
                    continue;
                };
                gates.iter_mut().zip(recurrent).for_each(|(g, r)| *g += r);
                self.cell(direction, gates, state, cell);
                out.copy_from_slice(state);
            }
        }
        Ok(())
    }

    /// One step of one sequence.
    fn cell(
        &self,
        direction: &Direction<'_>,
        gates: &mut [f32],
        state: &mut [f32],
        cell: &mut [f32],
    ) {
        let n = state.len();
        let (i, rest) = gates.split_at_mut(n);
        let (o, rest) = rest.split_at_mut(n);
        let (f, c) = rest.split_at_mut(n);
        // Their order is input, output, forget; the output gate sees the new cell.
        let peephole = |which: usize, gate: &mut [f32], cell: &[f32]| {
            if let Some(p) = direction.peepholes.get(which * n..(which + 1) * n) {
                gate.iter_mut().zip(p).zip(cell).for_each(|((g, &p), &c)| *g += p * c);
            }
        };
        let activate = |which: usize, values: &mut [f32], clip: Option<f32>| {
            if let Some(activation) = direction.activations.get(which) {
                activation.apply(values, clip);
            }
        };
        peephole(0, i, cell);
        peephole(2, f, cell);
        activate(0, i, self.clip);
        if self.input_forget {
            f.iter_mut().zip(&*i).for_each(|(f, &i)| *f = 1.0 - i);
        } else {
            activate(0, f, self.clip);
        }
        activate(1, c, self.clip);
        for (((cell, &f), &i), &c) in cell.iter_mut().zip(&*f).zip(&*i).zip(&*c) {
            *cell = f * *cell + i * c;
        }
        peephole(1, o, cell);
        activate(0, o, self.clip);
        state.copy_from_slice(cell);
        activate(2, state, None);
        state.iter_mut().zip(&*o).for_each(|(s, &o)| *s *= o);
    }

    /// Input `i` as floats, which must be of shape `dims`.
    fn floats<'a>(inputs: &'a Inputs<'_>, i: usize, dims: &[usize]) -> Result<Option<&'a [f32]>> {
        let Some(tensor) = inputs.tensor_opt(i)? else { return Ok(None) };
        ensure!(
            tensor.dims() == dims,
            InvalidInput,
            "DynamicQuantizeLSTM: input {i} is of shape {}, expected {dims:?}",
            tensor.shape()
        );
        tensor.as_slice().map(Some)
    }

    fn lengths(inputs: &Inputs<'_>, s: Sizes) -> Result<Vec<usize>> {
        let Some(lengths) = inputs.tensor_opt(4)? else { return Ok(vec![s.steps; s.batch]) };
        let lengths = lengths.to_i64_vec()?;
        ensure!(
            lengths.len() == s.batch,
            InvalidInput,
            "DynamicQuantizeLSTM: {} sequence lengths for a batch of {}",
            lengths.len(),
            s.batch
        );
        let length = |&n: &i64| {
            usize::try_from(n).ok().filter(|&n| n <= s.steps).ok_or_else(|| {
                err!(InvalidInput, "DynamicQuantizeLSTM: a sequence of {n} steps of {}", s.steps)
            })
        };
        lengths.iter().map(length).collect()
    }

    fn compute(&self, ctx: &mut Context<'_>, inputs: &Inputs<'_>) -> Result<Outputs> {
        let fresh;
        let [w, r] = match &self.weights {
            Some(weights) => weights,
            None => {
                let (w, r) = (inputs.tensor(1)?, inputs.tensor(2)?);
                ctx.shape_of::<i16>(&[w.len(), 2])?;
                ctx.shape_of::<i16>(&[r.len(), 2])?;
                fresh = [columns(w, inputs.tensor(9)?, "W")?, columns(r, inputs.tensor(11)?, "R")?];
                &fresh
            }
        };
        let s = self.sizes(inputs, w, r)?;
        let wide = GATES * s.hidden;
        let scales = |i: usize, what: &str| -> Result<Lines<f32>> {
            let t = inputs.tensor(i)?;
            Lines::stacked(t.to_f32_vec()?, t.dims(), s.directions, wide, what)
        };
        let (w_scale, r_scale) = (scales(8, "W_scale")?, scales(10, "R_scale")?);
        let bias = Self::floats(inputs, 3, &[s.directions, 2 * wide])?;
        let peepholes = Self::floats(inputs, 7, &[s.directions, 3 * s.hidden])?.unwrap_or(&[]);
        let state_dims = [s.directions, s.batch, s.hidden];
        let size = ctx.shape_of::<f32>(&state_dims)?.len();
        let all = ctx.shape_of::<f32>(&[s.steps, s.directions, s.batch, s.hidden])?.len();
        // Gates as integers and as floats, and the quantised input.
        ctx.shape_of::<f32>(&[s.steps, s.batch, wide, 2])?;
        ctx.shape_of::<i16>(&[s.steps, s.batch, w.step()])?;
        let mut state = |i: usize| -> Result<Vec<f32>> {
            let mut state = ctx.filled(size, 0f32)?;
            if let Some(initial) = Self::floats(inputs, i, &state_dims)? {
                state.copy_from_slice(initial);
            }
            Ok(state)
        };
        let (mut hidden, mut cell) = (state(5)?, state(6)?);
        let lengths = Self::lengths(inputs, s)?;
        let mut outputs = ctx.filled(all, 0f32)?;
        let x = Quantised::new(inputs.tensor(0)?.as_slice()?, s.inputs, w.step());
        let per = s.batch * s.hidden;
        let activations = self.activations.len() / s.directions.max(1);
        for (d, &reverse) in self.reverse.iter().enumerate() {
            let mut own = vec![0.0; wide];
            if let Some(b) = bias.and_then(|b| b.get(2 * wide * d..2 * wide * (d + 1))) {
                let (input, recurrent) = b.split_at(wide);
                own.iter_mut().zip(input).zip(recurrent).for_each(|((o, a), b)| *o = a + b);
            }
            let direction = Direction {
                reverse,
                activations: self
                    .activations
                    .get(d * activations..(d + 1) * activations)
                    .unwrap_or(&[]),
                input: w.matrix(d),
                input_scale: w_scale.of(d),
                recurrent: r.matrix(d),
                step: r.step(),
                recurrent_scale: r_scale.of(d),
                bias: own,
                peepholes: peepholes.get(d * 3 * s.hidden..(d + 1) * 3 * s.hidden).unwrap_or(&[]),
            };
            let mut states = vec![0f32; s.steps * per];
            let own = d * per..(d + 1) * per;
            self.run_direction(
                ctx,
                &direction,
                &x,
                &lengths,
                s,
                States {
                    all: &mut states,
                    hidden: hidden.get_mut(own.clone()).unwrap_or(&mut []),
                    cell: cell.get_mut(own.clone()).unwrap_or(&mut []),
                },
            )?;
            let steps = outputs.chunks_mut((s.directions * per).max(1));
            for (out, states) in steps.zip(states.chunks(per.max(1))) {
                if let Some(out) = out.get_mut(own.clone()) {
                    out.copy_from_slice(states);
                }
            }
        }
        let all = ([s.steps, s.directions, s.batch, s.hidden].to_vec(), outputs);
        let last = |state: Vec<f32>| (state_dims.to_vec(), state);
        let mut outputs = Outputs::new();
        let results = [all, last(hidden), last(cell)];
        for ((dims, data), &wanted) in results.into_iter().zip(&self.wanted) {
            outputs.push(match wanted {
                true => ctx.tensor(ctx.shape_of::<f32>(&dims)?, data)?.into(),
                false => Value::Optional(None),
            });
        }
        while outputs.last().is_some_and(|v| matches!(v, Value::Optional(None))) {
            outputs.pop();
        }
        Ok(outputs)
    }

    /// The sizes of a run, all of which agree with each other.
    fn sizes(&self, inputs: &Inputs<'_>, w: &Columns, r: &Columns) -> Result<Sizes> {
        let x = inputs.tensor(0)?;
        let (
            &[steps, batch, width],
            [w_directions, w_depth, w_wide],
            [r_directions, hidden, r_wide],
        ) = (x.dims(), w.dims.as_slice(), r.dims.as_slice())
        else {
            return Err(err!(
                InvalidInput,
                "DynamicQuantizeLSTM: an input of shape {}, expected three axes",
                x.shape()
            ));
        };
        let directions = self.reverse.len();
        let fits = [*w_directions, *r_directions] == [directions; 2]
            && hidden.checked_mul(GATES) == Some(*r_wide)
            && w_wide == r_wide
            && *w_depth == width
            && self.hidden.is_none_or(|n| n == *hidden);
        ensure!(
            fits,
            InvalidInput,
            "DynamicQuantizeLSTM: an input of shape {} with weights {:?} and {:?}, {directions} \
             directions and hidden_size {:?}",
            x.shape(),
            w.dims,
            r.dims,
            self.hidden
        );
        Ok(Sizes { steps, batch, inputs: width, hidden: *hidden, directions })
    }
}

impl Kernel for DynamicLstm {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        self.compute(ctx, inputs)
    }

    fn packed_bytes(&self) -> u64 {
        self.weights.as_ref().map_or(0, |[w, r]| w.bytes() + r.bytes())
    }

    fn holds(&self, i: usize) -> bool {
        matches!(i, 1 | 2) && self.weights.is_some()
    }
}
