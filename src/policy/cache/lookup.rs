//! What a request comes to: what is there of its answer, and what is missing.

use super::key::{self, Carried, Content, Elements, Key, Kind};
use super::settle::join;
use super::store::Entry;
use super::{Cache, Scope};
use crate::error::Result;
use crate::model::{Ctx, Features, Predictions, Request};
use crate::tensor::{Tensor, Value, for_each_type};
use smallvec::{SmallVec, smallvec};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// What a request comes to. Small, as it is passed on by value on the way of a hit.
pub(super) enum Step<'a> {
    /// The model answers it as it is.
    Pass,
    /// A row or a whole answer is there.
    Found(Arc<Entry>),
    /// All rows of a batch are there.
    Joined(Box<Predictions>),
    Run(Box<Job<'a>>),
}

/// What is missing of a request.
pub(super) struct Job<'a> {
    /// What the model has to run.
    pub(super) request: Request<'a>,
    /// One for each row of it, or one for all.
    pub(super) keys: SmallVec<[Key; 1]>,
    pub(super) want: Want,
}

impl Job<'_> {
    /// The key of a job that has only one, so that others may wait for it.
    pub(super) fn only_key(&self) -> Option<&Key> {
        match self.keys.as_slice() {
            [key] => Some(key),
            _ => None,
        }
    }
}

/// What the request asked for.
pub(super) enum Want {
    Row,
    Batch(Vec<Slot>),
    Whole,
}

/// A row of a batch.
pub(super) enum Slot {
    Found(Arc<Entry>),
    /// The row's number among those that run.
    Missing(usize),
}

impl Cache {
    /// Looks the request up.
    pub(super) fn plan<'a>(
        &self,
        request: &Request<'a>,
        ctx: &Ctx,
        now: Instant,
    ) -> Result<Step<'a>> {
        if self.scope == Scope::Nothing || ctx.no_cache {
            return Ok(Step::Pass);
        }
        ctx.check()?;
        match (request, self.scope) {
            (Request::Row(features), Scope::Rows { f32 }) => {
                if f32 && let Some(row) = f32_row(features) {
                    let head = key::f32_row_head(row.len());
                    let content = Content { head: &head, elements: Elements::F32(row) };
                    let bytes = size_of_val(row) as u64;
                    let run = || request.clone();
                    return Ok(self.one(content, bytes, Want::Row, run, now));
                }
                let (tensors, rows) = self.inner.bind(features.clone())?;
                if rows != 1 {
                    return Ok(Step::Pass);
                }
                let head = key::row_head(&tensors);
                let content = Content { head: &head, elements: Elements::Row(&tensors, 0) };
                let run = || Request::Row(Features::Inputs(tensors.clone()));
                Ok(self.one(content, byte_len(&tensors), Want::Row, run, now))
            }
            (Request::Batch(features), Scope::Rows { .. }) => {
                if !(1..=self.store.options().max_rows).contains(&features.rows()) {
                    return Ok(Step::Pass);
                }
                let (tensors, rows) = self.inner.bind(features.clone())?;
                self.batch(tensors, rows, now)
            }
            (Request::Row(features), _) => {
                let (tensors, _) = self.inner.bind(features.clone())?;
                let run = |t: &[Tensor]| Request::Row(Features::Inputs(t.to_vec()));
                Ok(self.whole(Kind::WholeRow, &[], &tensors, &[], run, now))
            }
            (Request::Batch(features), _) => {
                let (tensors, _) = self.inner.bind(features.clone())?;
                let run = |t: &[Tensor]| Request::Batch(Features::Inputs(t.to_vec()));
                Ok(self.whole(Kind::WholeBatch, &[], &tensors, &[], run, now))
            }
            (Request::Run { inputs, outputs }, _) => {
                // In the order of their names: the order given makes no difference.
                let mut given: Vec<(&str, Tensor)> = Vec::with_capacity(inputs.len());
                for (name, value) in inputs {
                    let Value::Tensor(tensor) = value else { return Ok(Step::Pass) };
                    given.push((name, tensor.clone()));
                }
                given.sort_by_key(|(name, _)| *name);
                let (names, tensors): (Vec<&str>, Vec<Tensor>) = given.into_iter().unzip();
                let run = |_: &[Tensor]| request.clone();
                Ok(self.whole(Kind::WholeRun, &names, &tensors, outputs, run, now))
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one look-up")]
    fn whole<'a>(
        &self,
        kind: Kind,
        names: &[&str],
        tensors: &[Tensor],
        outputs: &[String],
        run: impl FnOnce(&[Tensor]) -> Request<'a>,
        now: Instant,
    ) -> Step<'a> {
        let head = key::whole_head(kind, names, tensors, outputs);
        let content = Content { head: &head, elements: Elements::All(tensors) };
        self.one(content, byte_len(tensors), Want::Whole, || run(tensors), now)
    }

    /// Looks up what has one entry.
    fn one<'a>(
        &self,
        content: Content<'_>,
        bytes: u64,
        want: Want,
        run: impl FnOnce() -> Request<'a>,
        now: Instant,
    ) -> Step<'a> {
        if bytes >= self.store.options().max_entry_bytes {
            return Step::Pass;
        }
        let probe = self.space.probe(content);
        if let Some(entry) = self.store.find(&probe, now) {
            self.store.count(probe.hash, 1, 0);
            return Step::Found(entry);
        }
        self.store.count(probe.hash, 0, 1);
        Step::Run(Box::new(Job { request: run(), keys: smallvec![probe.to_key()], want }))
    }

    /// Looks up each row of a batch.
    fn batch<'a>(&self, tensors: Vec<Tensor>, rows: usize, now: Instant) -> Result<Step<'a>> {
        let options = self.store.options();
        if byte_len(&tensors) / rows.max(1) as u64 >= options.max_entry_bytes {
            return Ok(Step::Pass);
        }
        let form = match self.form.get() {
            Some(None) => return Ok(Step::Pass),
            Some(Some(form)) => Some(form),
            None => None,
        };
        let head = key::row_head(&tensors);
        let mut slots = Vec::with_capacity(rows);
        let mut keys: SmallVec<[Key; 1]> = SmallVec::new();
        let mut missing: Vec<usize> = Vec::new();
        let mut seen: HashMap<Key, usize, Carried> = HashMap::default();
        let mut hash = 0;
        for row in 0..rows {
            let elements = Elements::Row(&tensors, row);
            let probe = self.space.probe(Content { head: &head, elements });
            hash = probe.hash;
            // Without a form, rows that are there cannot be put together: all run once.
            if form.is_some()
                && let Some(entry) = self.store.find(&probe, now)
            {
                slots.push(Slot::Found(entry));
                continue;
            }
            let key = probe.to_key();
            let at = *seen.entry(key.clone()).or_insert_with(|| {
                keys.push(key);
                missing.push(row);
                missing.len() - 1
            });
            slots.push(Slot::Missing(at));
        }
        let found = slots.iter().filter(|slot| matches!(slot, Slot::Found(_))).count();
        self.store.count(hash, found as u64, (rows - found) as u64);
        if let Some(form) = form
            && found == rows
        {
            return Ok(Step::Joined(Box::new(join(form, &slots, &[])?)));
        }
        let tensors = if missing.len() == rows {
            tensors
        } else {
            tensors.iter().map(|tensor| pick(tensor, &missing)).collect::<Result<_>>()?
        };
        let request = Request::Batch(Features::Inputs(tensors));
        Ok(Step::Run(Box::new(Job { request, keys, want: Want::Batch(slots) })))
    }
}

/// The values of exactly one row of `f32`, as [`Scope::Rows`] has it.
fn f32_row<'a>(features: &'a Features<'_>) -> Option<&'a [f32]> {
    let tensor = match features {
        Features::F32 { data, rows: 1, width } if data.len() == *width => return Some(data),
        Features::Tensor(tensor) => tensor,
        Features::Inputs(tensors) => match tensors.as_slice() {
            [tensor] => tensor,
            _ => return None,
        },
        _ => return None,
    };
    match tensor.dims() {
        [1, _] => tensor.as_slice().ok(),
        _ => None,
    }
}

/// The rows `wanted` of a tensor.
fn pick(tensor: &Tensor, wanted: &[usize]) -> Result<Tensor> {
    let (_, width) = tensor.row_layout();
    let mut dims = tensor.dims().to_vec();
    if let Some(first) = dims.first_mut() {
        *first = wanted.len();
    }
    for_each_type!(tensor.data(), v => {
        let mut rows = Vec::with_capacity(wanted.len() * width);
        for row in wanted {
            rows.extend_from_slice(v.get(row * width..(row + 1) * width).unwrap_or_default());
        }
        Tensor::from_vec(&dims, rows)
    })
}

fn byte_len(tensors: &[Tensor]) -> u64 {
    tensors.iter().map(Tensor::byte_len).fold(0, u64::saturating_add)
}
