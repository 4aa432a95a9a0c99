//! From what the model, memory or another caller answered to the answer of a request.

use super::Cache;
use super::key::Key;
use super::lookup::{Job, Slot, Want};
use super::rows;
use super::store::{Entry, Kept};
use crate::error::{Result, ensure, err};
use crate::model::{CacheUse, Ctx, Prediction, Predictions, Reply};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lead of a flight of this cache.
pub(super) type Lead = super::flight::Leader<Key, Arc<Entry>>;

impl Cache {
    /// Notes in the receipt an answer for which no model ran.
    pub(super) fn sign(&self, ctx: &mut Ctx, how: CacheUse) {
        let receipt = &mut ctx.receipt;
        receipt.version = self.version;
        receipt.digest = Some(self.digest.clone());
        receipt.cache = how;
        receipt.batch_rows = 0;
        receipt.run = Duration::ZERO;
    }

    /// Answers a job from the entry of its only key, which another caller's run made; `None`
    /// for a batch while the form of batches is not known.
    pub(super) fn share(
        &self,
        job: &Job<'_>,
        entry: &Arc<Entry>,
        ctx: &mut Ctx,
        began: Instant,
    ) -> Result<Option<Reply>> {
        let reply = match &job.want {
            Want::Batch(slots) => match self.form.get() {
                Some(Some(form)) => {
                    let batch = join(form, slots, std::slice::from_ref(entry))?;
                    Predictions { latency: began.elapsed(), ..batch }.into()
                }
                _ => return Ok(None),
            },
            Want::Row | Want::Whole => whole_reply(entry, ctx, began),
        };
        self.sign(ctx, CacheUse::Shared);
        ctx.receipt.queue = began.elapsed();
        self.store.count_shared(job.keys.first().map_or(0, Key::hash));
        Ok(Some(reply))
    }

    /// The answer of a new leader, where another run landed between its look-up and its lead.
    pub(super) fn landed(
        &self,
        job: &Job<'_>,
        leader: Lead,
        ctx: &mut Ctx,
        began: Instant,
    ) -> std::result::Result<Result<Reply>, Lead> {
        let key = job.keys.first();
        let Some(entry) = key.and_then(|key| self.store.find(key, Instant::now())) else {
            return Err(leader);
        };
        match self.share(job, &entry, ctx, began).transpose() {
            Some(result) => {
                leader.land(entry);
                Ok(result)
            }
            None => Err(leader),
        }
    }

    /// After the model: keeps what it answered, tells those who wait, and makes the answer. A
    /// leader that is not landed here hands over.
    pub(super) fn settle(
        &self,
        job: &Job<'_>,
        leader: Option<Lead>,
        result: Result<Reply>,
        ctx: &mut Ctx,
        began: Instant,
    ) -> Result<Reply> {
        let reply = result?;
        let receipt = &ctx.receipt;
        // A cache wraps one version; what a fallback or another version answered is not its own.
        let own =
            receipt.fallback.is_none() && (receipt.version == 0 || receipt.version == self.version);
        let made = Instant::now();
        let keep = |key: &Key, kept: Kept| self.store.keep(key, kept, made);
        let (reply, entry, how) = match (&job.want, reply, job.keys.as_slice()) {
            (Want::Batch(slots), Reply::Batch(fresh), keys) => {
                ensure!(
                    fresh.rows == keys.len(),
                    Execution,
                    "the model answered {} rows for {}",
                    fresh.rows,
                    keys.len()
                );
                let partly = slots.iter().any(|slot| matches!(slot, Slot::Found(_)));
                let how = if partly { CacheUse::Partial } else { CacheUse::Miss };
                let fits = rows::fits(&fresh);
                let (batch, entry) = if own && fits {
                    self.settle_rows(slots, keys, *fresh, keep)?
                } else {
                    if own {
                        // Where a form is known already, only this answer is not kept.
                        let _ = self.form.set(None);
                    }
                    (repeat(*fresh, slots)?, None)
                };
                let how = if fits { how } else { CacheUse::Off };
                (Predictions { latency: began.elapsed(), ..batch }.into(), entry, how)
            }
            (Want::Row, Reply::Row(mut row), [key]) if own => {
                let entry = keep(key, Kept::Row((*row).clone()));
                row.latency = began.elapsed();
                (Reply::Row(row), Some(entry), CacheUse::Miss)
            }
            (Want::Whole, reply, [key]) if own => {
                let entry = keep(key, Kept::Whole(reply.clone()));
                (reply, Some(entry), CacheUse::Miss)
            }
            (_, reply, _) => return Ok(reply),
        };
        if own {
            ctx.receipt.cache = how;
        }
        if let (Some(leader), Some(entry)) = (leader, entry) {
            leader.land(entry);
        }
        Ok(reply)
    }

    /// Keeps the rows of `fresh`, and puts them together with those that were found. The entry
    /// is that of the only key, where there is one.
    fn settle_rows(
        &self,
        slots: &[Slot],
        keys: &[Key],
        fresh: Predictions,
        keep: impl Fn(&Key, Kept) -> Arc<Entry>,
    ) -> Result<(Predictions, Option<Arc<Entry>>)> {
        let mut entries = Vec::with_capacity(keys.len());
        for (i, key) in keys.iter().enumerate() {
            entries.push(keep(key, Kept::Row(fresh.row(i)?)));
        }
        if self.form.get().is_none() {
            let form = fresh.slice(0..0)?;
            // Another batch that set it meanwhile set the same.
            let _ = self.form.set(Some(form));
        }
        let batch = if slots.len() == keys.len() { fresh } else { join(&fresh, slots, &entries)? };
        let only = if entries.len() == 1 { entries.pop() } else { None };
        Ok((batch, only))
    }
}

/// The answer that an entry is, of the caller that began at `began`.
pub(super) fn whole_reply(entry: &Entry, ctx: &mut Ctx, began: Instant) -> Reply {
    let mut reply = match &entry.kept {
        Kept::Row(row) => row.clone().into(),
        Kept::Whole(reply) => reply.clone(),
    };
    reply.set_latency(ctx.end_run(began));
    reply
}

/// The rows found and those that ran, in the order asked for.
pub(super) fn join(form: &Predictions, slots: &[Slot], ran: &[Arc<Entry>]) -> Result<Predictions> {
    let rows: Vec<&Prediction> = slots
        .iter()
        .map(|slot| {
            let entry = match slot {
                Slot::Found(entry) => Some(entry),
                Slot::Missing(at) => ran.get(*at),
            };
            match entry.map(|entry| &entry.kept) {
                Some(Kept::Row(row)) => Ok(row),
                _ => Err(err!(Internal, "a row of a cached batch is missing")),
            }
        })
        .collect::<Result<_>>()?;
    rows::assemble(form, rows.iter().copied())
}

/// What ran, once for each time that it was asked for: for answers that are not kept.
fn repeat(fresh: Predictions, slots: &[Slot]) -> Result<Predictions> {
    if slots.len() == fresh.rows {
        return Ok(fresh);
    }
    let parts = slots
        .iter()
        .map(|slot| match slot {
            Slot::Missing(at) => fresh.slice(*at..at.saturating_add(1)),
            Slot::Found(_) => Err(err!(
                Internal,
                "the model under a cache answered as another version: a cache wraps one"
            )),
        })
        .collect::<Result<Vec<_>>>()?;
    Predictions::concat(&parts)
}
