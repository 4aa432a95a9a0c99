//! The steps of one sequence through one direction.

use super::Kind;
use super::activation::Activation;
use super::weights::Direction;
use crate::error::Result;
use crate::kernel::conv::product::{Matrix, MatrixMut, product};
use crate::kernel::conv::real::Real;

/// One direction of a recurrent operator.
pub(super) struct Cell<'a, T> {
    pub kind: Kind,
    pub weights: &'a Direction<T>,
    pub activations: &'a [Activation],
    pub clip: Option<T>,
    pub reverse: bool,
    pub inputs: usize,
    pub hidden: usize,
}

/// Where a sequence lies: step `t` starts at `start + t * step`.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'a, T> {
    pub data: &'a [T],
    pub start: usize,
    pub step: usize,
    /// Steps to be made.
    pub len: usize,
}

/// What a sequence leaves: the hidden state of every step, and the last states (which hold the
/// initial ones before).
pub(super) struct States<'a, T> {
    pub all: &'a mut [T],
    pub hidden: &'a mut [T],
    pub cell: &'a mut [T],
}

impl<T: Real> Cell<'_, T> {
    /// Runs the sequence; states beyond its length stay 0.
    pub fn run(&self, x: Sequence<'_, T>, states: States<'_, T>) -> Result<()> {
        let (n, wide) = (self.hidden, self.kind.gates() * self.hidden);
        if n == 0 || x.len == 0 {
            return Ok(());
        }
        let mut gates = Vec::with_capacity(x.len * wide);
        for _ in 0..x.len {
            gates.extend_from_slice(&self.weights.bias);
        }
        let data = x.data.get(x.start..).unwrap_or(&[]);
        product(
            &Matrix::new(data, x.len, self.inputs, x.step, 1)?,
            &Matrix::new(&self.weights.input, self.inputs, wide, wide, 1)?,
            &mut MatrixMut::new(&mut gates, x.len, wide, wide, 1)?,
            true,
        )?;
        let mut scratch = vec![T::ZERO; 2 * n];
        for i in 0..x.len {
            let t = if self.reverse { x.len - 1 - i } else { i };
            let Some(gates) = gates.get_mut(t * wide..(t + 1) * wide) else { continue };
            match self.kind {
                Kind::Rnn => {
                    self.recur(states.hidden, 0, n, gates)?;
                    self.activate(0, gates);
                    states.hidden.copy_from_slice(gates);
                }
                Kind::Gru { linear_before_reset } => {
                    self.gru(linear_before_reset, gates, states.hidden, &mut scratch)?;
                }
                Kind::Lstm { input_forget } => {
                    let cell = &mut *states.cell;
                    self.lstm(input_forget, gates, states.hidden, cell, &mut scratch)?;
                }
            }
            if let Some(out) = states.all.get_mut(t * n..(t + 1) * n) {
                out.copy_from_slice(states.hidden);
            }
        }
        Ok(())
    }

    /// Adds the recurrent part of gate columns `from..from + out.len()`.
    fn recur(&self, state: &[T], from: usize, cols: usize, out: &mut [T]) -> Result<()> {
        let wide = self.kind.gates() * self.hidden;
        let recurrent = self.weights.recurrent.get(from..).unwrap_or(&[]);
        product(
            &Matrix::new(state, 1, self.hidden, self.hidden, 1)?,
            &Matrix::new(recurrent, self.hidden, cols, wide, 1)?,
            &mut MatrixMut::new(out, 1, cols, cols, 1)?,
            true,
        )
    }

    fn activate(&self, which: usize, values: &mut [T]) {
        if let Some(activation) = self.activations.get(which) {
            activation.apply(values, self.clip);
        }
    }

    fn gru(&self, linear: bool, gates: &mut [T], state: &mut [T], scratch: &mut [T]) -> Result<()> {
        let n = self.hidden;
        let (zr, h) = gates.split_at_mut(2 * n);
        self.recur(state, 0, 2 * n, zr)?;
        self.activate(0, zr);
        let (z, r) = zr.split_at(n);
        let (part, _) = scratch.split_at_mut(n);
        if linear {
            part.copy_from_slice(&self.weights.hidden_bias);
            self.recur(state, 2 * n, n, part)?;
            for ((h, &r), &p) in h.iter_mut().zip(r).zip(&*part) {
                *h += r * p;
            }
        } else {
            for ((p, &r), &s) in part.iter_mut().zip(r).zip(&*state) {
                *p = r * s;
            }
            self.recur(part, 2 * n, n, h)?;
        }
        self.activate(1, h);
        for ((s, &z), &h) in state.iter_mut().zip(z).zip(&*h) {
            *s = (T::ONE - z) * h + z * *s;
        }
        Ok(())
    }

    fn lstm(
        &self,
        input_forget: bool,
        gates: &mut [T],
        state: &mut [T],
        cell: &mut [T],
        scratch: &mut [T],
    ) -> Result<()> {
        let n = self.hidden;
        self.recur(state, 0, 4 * n, gates)?;
        let (i, rest) = gates.split_at_mut(n);
        let (o, rest) = rest.split_at_mut(n);
        let (f, c) = rest.split_at_mut(n);
        let mut peepholes = self.weights.peepholes.chunks(n);
        let mut peephole = |gate: &mut [T], cell: &[T]| {
            if let Some(p) = peepholes.next() {
                gate.iter_mut().zip(p).zip(cell).for_each(|((g, &p), &c)| *g += p * c);
            }
        };
        // Their order is input, output, forget; the output gate sees the new cell.
        peephole(i, cell);
        let output = self.weights.peepholes.chunks(n).nth(1);
        peephole(&mut [], cell);
        peephole(f, cell);
        self.activate(0, i);
        if input_forget {
            f.iter_mut().zip(&*i).for_each(|(f, &i)| *f = T::ONE - i);
        } else {
            self.activate(0, f);
        }
        self.activate(1, c);
        for (((cell, &f), &i), &c) in cell.iter_mut().zip(&*f).zip(&*i).zip(&*c) {
            *cell = f * *cell + i * c;
        }
        if let Some(p) = output {
            o.iter_mut().zip(p).zip(&*cell).for_each(|((o, &p), &c)| *o += p * c);
        }
        self.activate(0, o);
        let (squashed, _) = scratch.split_at_mut(n);
        squashed.copy_from_slice(cell);
        // The cell itself is not clipped on its way to the output.
        if let Some(activation) = self.activations.get(2) {
            activation.apply(squashed, None);
        }
        for ((s, &o), &c) in state.iter_mut().zip(&*o).zip(&*squashed) {
            *s = o * c;
        }
        Ok(())
    }
}
