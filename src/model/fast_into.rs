//! The tabular fast path into memory of the caller: no tensor is made, and nothing allocated.

use super::fast::{FastPath, Labels, Registers, bound, own_row};
use super::graph_model::contain;
use super::into::class_index;
use super::request::check_rows;
use super::{
    AnswerKind, Buffers, Classes, Ctx, GraphModel, Receipt, Request, RowAnswer, Task, Written,
};
use crate::error::Result;
use crate::plan::{RowInput, RowProgram, RowScratch};
use std::time::Duration;

impl GraphModel {
    /// Writes the answers of a row or batch, where its form and the model allow the fast path.
    pub(super) fn quick_into(
        &self,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &Ctx,
    ) -> Option<Result<Written>> {
        let fast = self.fast.as_ref()?;
        match self.plan.row_program() {
            Some(program) => self.write_by(fast, program, request, out, ctx),
            None => self.write_by(fast, self.plan.wide_row_program()?, request, out, ctx),
        }
    }

    fn write_by<T: Registers>(
        &self,
        fast: &FastPath,
        program: &RowProgram<T>,
        request: &Request<'_>,
        out: &mut Buffers<'_>,
        ctx: &Ctx,
    ) -> Option<Result<Written>> {
        let (features, single) = match request {
            Request::Row(features) => (features, true),
            Request::Batch(features) => (features, false),
            Request::Run { .. } => return None,
        };
        if let (true, Some(row)) = (single, own_row(program, features)) {
            return self.fill(fast, program, 1, true, &[RowInput::Numbers(row)], out);
        }
        T::converted(|converted| {
            let (rows, inputs) =
                bound(program, &self.signature, &self.limits, features, converted)?;
            if single && rows != 1 {
                return None;
            }
            // Nothing is written on an error: what may be refused, or end early, is not written
            // block by block.
            if (program.may_refuse() || ctx.may_end()) && rows > program.block_rows() {
                return None;
            }
            if !single && let Err(error) = check_rows(rows, &self.limits) {
                return Some(Err(error));
            }
            self.fill(fast, program, rows, single, &inputs, out)
        })
    }

    fn fill<T: Registers>(
        &self,
        fast: &FastPath,
        program: &RowProgram<T>,
        rows: usize,
        single: bool,
        inputs: &[RowInput<'_, T>],
        out: &mut Buffers<'_>,
    ) -> Option<Result<Written>> {
        let mut written = self.shape_of(fast, rows);
        if !written.measure(out) {
            return Some(Ok(written));
        }
        let ran = contain(|| match single {
            true => self.run_rows(program, 0..1, inputs, None, |at, _, scratch| {
                self.write_block(fast, at, scratch, out);
                written.row = Some(self.row_of(fast, scratch));
            }),
            false => self.run_batch(program, rows, inputs, None, |at, _, scratch| {
                self.write_block(fast, at, scratch, out);
            }),
        });
        match ran {
            Ok(true) => Some(Ok(written)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn shape_of(&self, fast: &FastPath, rows: usize) -> Written {
        let scores = fast.floats.map_or(0, |(_, width)| width);
        let (answer, labels) = match &fast.class {
            Some((_, Labels::Int(_))) => (AnswerKind::Int, 1),
            Some((_, Labels::Str(_))) => (AnswerKind::Str, 1),
            None if scores == 1 && self.signature.task != Task::Transform => (AnswerKind::Value, 0),
            None => (AnswerKind::Values, 0),
        };
        Written {
            rows,
            answer,
            labels,
            scores,
            scores_kind: (labels == 1 && fast.floats.is_some()).then_some(self.reading.kind),
            row: None,
            classes: self.signature.classes.clone(),
            model_version: self.info.version,
            latency: Duration::ZERO,
            receipt: Receipt::default(),
            too_short: None,
        }
    }

    /// Writes a block whose first row is `at`.
    fn write_block<T: Registers>(
        &self,
        fast: &FastPath,
        at: usize,
        scratch: &RowScratch<T>,
        out: &mut Buffers<'_>,
    ) {
        if let Some((offset, width)) = fast.floats {
            out.put_scores(at * width, scratch.floats(offset, width).iter().copied());
        }
        if let Some((index, labels)) = &fast.class {
            let picked = scratch.classes(*index).iter();
            out.put_labels(at, picked.map(|&class| self.label_of(labels, class)));
        }
    }

    /// The label of a class of the program, as [`Buffers::labels`] has it.
    fn label_of(&self, labels: &Labels, class: u32) -> i64 {
        let at = class as usize;
        match labels {
            Labels::Int(all) => all.get(at).copied().unwrap_or_default(),
            Labels::Str(all) => match (all.get(at), self.signature.classes.as_deref()) {
                // As good as always the classes stand in the program's order.
                (Some(label), Some(Classes::Str(known))) if known.get(at) == Some(label) => {
                    i64::from(class)
                }
                (Some(label), known) => class_index(known, label),
                (None, _) => -1,
            },
        }
    }

    /// The answer of the only row.
    fn row_of<T: Registers>(&self, fast: &FastPath, scratch: &RowScratch<T>) -> RowAnswer {
        let floats = fast.floats.map(|(offset, width)| scratch.floats(offset, width));
        let floats = floats.unwrap_or_default();
        let number = |i: usize| floats.get(i).map(|&x| x.into());
        let Some((index, labels)) = &fast.class else {
            let value = number(0).unwrap_or(f64::NAN);
            return RowAnswer { label: 0, text: None, value, probability: None };
        };
        let class = scratch.classes(*index).first().copied().unwrap_or(0);
        let text = match labels {
            Labels::Str(all) => all.get(class as usize).cloned(),
            Labels::Int(_) => None,
        };
        let likely = self.signature.has_probabilities;
        let probability = likely.then(|| number(class as usize)).flatten();
        RowAnswer { label: self.label_of(labels, class), text, value: f64::NAN, probability }
    }
}
