//! Running members together: join, run, cut apart; and finding the one that fails.

use super::group::{Group, Rows, Told, Want, request};
use crate::error::{Error, ErrorKind, Result, bail, ensure};
use crate::model::{Answers, Ctx, Model, Predictions, Reply, Request, Signature, contain};
use crate::tensor::{Tensor, Value};
use std::ops::Range;
use std::time::{Duration, Instant};

/// One member of a batch.
pub(super) struct Part<'a> {
    pub rows: &'a Rows,
    pub ctx: &'a Ctx,
    /// When it arrived.
    pub arrived: Instant,
}

/// How a batch is run.
pub(super) struct Runner<'a> {
    pub inner: &'a dyn Model,
    pub signature: &'a Signature,
    /// When the batch was taken from the queue.
    pub began: Instant,
    /// Is told of a group whose answers have not one entry a row.
    pub uncuttable: &'a dyn Fn(&Group),
}

enum Failure {
    /// The run failed: some member may be to blame.
    Run(Error),
    /// The answers cannot be told apart.
    Uncuttable,
}

/// Runs `inner`, and writes into the receipt what it left out.
pub(super) fn call(inner: &dyn Model, request: &Request<'_>, ctx: &mut Ctx) -> Result<Reply> {
    let began = ctx.begin_run();
    ctx.receipt.run = Duration::ZERO;
    let (reply, took) = ctx.time_run(began, |ctx| contain(|| inner.call(request, ctx)));
    if ctx.receipt.run.is_zero() {
        ctx.receipt.run = took;
    }
    reply
}

impl Runner<'_> {
    /// Answers all members, in order. One that fails does so alone, with its own error.
    pub(super) fn run(&self, parts: &[Part<'_>], out: &mut Vec<Told>) {
        match parts {
            [] => {}
            [part] => out.push(self.alone(part)),
            _ => match self.together(parts) {
                Ok(told) => out.extend(told),
                Err(Failure::Uncuttable) => out.extend(parts.iter().map(|part| self.alone(part))),
                // The time was up for the last of them, or the model gave up: no member's fault.
                Err(Failure::Run(e))
                    if matches!(e.kind(), ErrorKind::DeadlineExceeded | ErrorKind::Cancelled) =>
                {
                    let same = || Error::new(e.kind(), e.message());
                    out.extend(parts.iter().map(|part| (Err(same()), part.ctx.receipt.clone())));
                }
                Err(Failure::Run(_)) => {
                    let (left, right) = parts.split_at(parts.len() / 2);
                    self.run(left, out);
                    self.run(right, out);
                }
            },
        }
    }

    fn alone(&self, part: &Part<'_>) -> Told {
        let mut ctx = part.ctx.clone();
        ctx.receipt.queue = self.began.saturating_duration_since(part.arrived);
        let reply = call(self.inner, &part.rows.request(self.signature), &mut ctx);
        (reply, ctx.receipt)
    }

    fn together(&self, parts: &[Part<'_>]) -> Result<Vec<Told>, Failure> {
        let (joined, total) = join(self.signature, parts).map_err(Failure::Run)?;
        let mut ctx = shared_ctx(parts);
        let reply = call(self.inner, &joined, &mut ctx).map_err(Failure::Run)?;
        let ran = ctx.receipt;
        let mut told = Vec::with_capacity(parts.len());
        let mut start = 0;
        for part in parts {
            let range = start..start + part.rows.count;
            start = range.end;
            let Ok(reply) = cut(&reply, part.rows.want, range, total) else {
                (self.uncuttable)(&part.rows.group);
                return Err(Failure::Uncuttable);
            };
            let mut receipt = part.ctx.receipt.clone();
            receipt.model = ran.model.clone().or(receipt.model);
            receipt.version = ran.version;
            receipt.digest.clone_from(&ran.digest);
            receipt.batch_rows = u32::try_from(total).unwrap_or(u32::MAX);
            receipt.run = ran.run;
            receipt.queue = self.began.saturating_duration_since(part.arrived);
            told.push((part.ctx.check().map(|()| reply), receipt));
        }
        Ok(told)
    }
}

/// The members' rows in one request, and how many there are.
fn join(signature: &Signature, parts: &[Part<'_>]) -> Result<(Request<'static>, usize)> {
    let Some(first) = parts.first().map(|part| part.rows) else {
        bail!(Internal, "a batch without members");
    };
    let inputs = (0..first.inputs.len())
        .map(|i| {
            let column: Vec<Tensor> =
                parts.iter().filter_map(|part| part.rows.inputs.get(i).cloned()).collect();
            Tensor::concat_rows(&column)
        })
        .collect::<Result<Vec<_>>>()?;
    let total = parts.iter().map(|part| part.rows.count).sum();
    let want = if first.group.outputs.is_some() { Want::Outputs } else { Want::Batch };
    Ok((request(signature, &first.group, want, inputs), total))
}

/// What a run for all members goes by: the latest of their deadlines, none where one has none.
/// It cannot be cancelled: others wait for it.
fn shared_ctx(parts: &[Part<'_>]) -> Ctx {
    let deadline = parts.iter().map(|part| part.ctx.deadline).collect::<Option<Vec<_>>>();
    let mut ctx = Ctx::default();
    ctx.deadline = deadline.and_then(|all| all.into_iter().max());
    ctx.priority = parts.iter().map(|part| part.ctx.priority).max().unwrap_or(0);
    ctx
}

/// One member's part of the reply to a batch of `total` rows.
pub(super) fn cut(reply: &Reply, want: Want, range: Range<usize>, total: usize) -> Result<Reply> {
    Ok(match (reply, want) {
        (Reply::Batch(all), Want::Row | Want::Batch) => {
            ensure!(
                all.rows == total,
                Execution,
                "the model answered {} rows for {total}",
                all.rows
            );
            ensure!(rowwise(all), Execution, "an answer has not one entry a row");
            match (want, &all.answers) {
                (Want::Row, Answers::Outputs(_)) => all.slice(range)?.row(0)?.into(),
                (Want::Row, _) => all.row(range.start)?.into(),
                _ => all.slice(range)?.into(),
            }
        }
        (Reply::Tensors(outputs), Want::Outputs) => {
            let cut = |(name, value): &(String, Value)| {
                Ok((name.clone(), cut_value(value, range.clone(), total)?))
            };
            Reply::Tensors(outputs.iter().map(cut).collect::<Result<_>>()?)
        }
        _ => bail!(Internal, "the model answered another kind of request"),
    })
}

/// Whether labels, values and scores have one entry a row.
fn rowwise(all: &Predictions) -> bool {
    let fits = |t: &Tensor| t.dims().first() == Some(&all.rows);
    let answers = match &all.answers {
        Answers::Labels(t) | Answers::Values(t) | Answers::Multilabel(t) => fits(t),
        Answers::Outputs(outputs) => {
            outputs.iter().all(|(_, value)| value.as_tensor().is_ok_and(fits))
        }
    };
    answers && all.scores.as_ref().is_none_or(fits)
}

fn cut_value(value: &Value, range: Range<usize>, total: usize) -> Result<Value> {
    match value {
        Value::Tensor(tensor) => {
            ensure!(
                tensor.dims().first() == Some(&total),
                Execution,
                "an output of shape {} has not one entry for each of {total} rows",
                tensor.shape()
            );
            Ok(tensor.rows(range)?.into())
        }
        // ZipMap: one map a row.
        Value::Sequence(rows)
            if rows.len() == total && rows.iter().all(|row| matches!(row, Value::Map(_))) =>
        {
            Ok(Value::Sequence(rows.get(range).unwrap_or_default().to_vec()))
        }
        other => bail!(Execution, "an output that is a {} has no rows", other.type_name()),
    }
}
