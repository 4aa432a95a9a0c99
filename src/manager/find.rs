//! Whom a request of a name is put to.

use super::follow::Follow;
use super::slot::{Serving, Slot};
use super::version::Version;
use crate::error::Result;
use crate::model::{Ctx, Model, Target};
use crate::policy::deadline::Deadline;
use std::sync::Arc;

/// What a target means at a moment.
pub(super) enum Found {
    /// This version.
    Ready(Arc<Version>),
    /// The version of this number, which was unloaded to make room.
    Parked(u64),
}

impl Slot {
    /// What `target` means now.
    pub(super) fn find(&self, target: &Target) -> Result<Found> {
        let mut state = self.cell.full();
        if state.is_foreign() {
            drop(self.change());
            state = self.cell.full();
        }
        let number = match target {
            Target::Serving => match &state.serving {
                Serving::Version(version) => return Ok(Found::Ready(version.clone())),
                Serving::Nobody => return Err(self.gone()),
                Serving::Parked(origin) => return Ok(Found::Parked(origin.version)),
            },
            Target::Version(number) => *number,
            Target::Label(label) => {
                *state.labels.get(label).ok_or_else(|| self.no_label(&state, label))?
            }
        };
        match (state.versions.get(&number), &state.serving) {
            (Some(version), _) => Ok(Found::Ready(version.clone())),
            (None, Serving::Parked(origin)) if origin.version == number => {
                Ok(Found::Parked(number))
            }
            (None, _) => Err(self.no_version(&state, number)),
        }
    }

    /// The version that `target` means now, to keep; loaded again where it was unloaded.
    pub(super) fn version(&self, target: &Target) -> Result<Arc<Version>> {
        loop {
            match self.find(target)? {
                Found::Ready(version) => return Ok(version),
                Found::Parked(number) => {
                    let version = self.revive()?;
                    if version.number() == number {
                        return Ok(version);
                    }
                    // Another one was made to serve meanwhile.
                }
            }
        }
    }

    /// As [`Slot::version`] as a model, without waiting for a load: a version that was unloaded is
    /// loaded when the model is asked.
    pub(super) fn resolved(&self, target: &Target) -> Result<Arc<dyn Model>> {
        Ok(match self.find(target)? {
            Found::Ready(version) => version,
            Found::Parked(_) => Arc::new(Follow { slot: self.me.clone(), target: target.clone() }),
        })
    }

    /// Whether `target` can be asked, as far as that is known without loading anything: not while
    /// it is being loaded, nor when that failed.
    ///
    /// # Errors
    /// `NotFound` for what is not there at all.
    pub(super) fn can_answer(&self, target: &Target) -> Result<bool> {
        match self.find(target) {
            Ok(Found::Ready(_)) => Ok(true),
            Ok(Found::Parked(number)) => Ok(!self.statuses.lock().awaited(Some(number))),
            Err(e) => {
                let awaited = match target {
                    Target::Version(number) => self.statuses.lock().awaited(Some(*number)),
                    Target::Serving => self.statuses.lock().awaited(None),
                    Target::Label(_) => false,
                };
                if awaited { Ok(false) } else { Err(e) }
            }
        }
    }

    /// The version that serves, to keep.
    pub(super) fn current(&self) -> Result<Arc<Version>> {
        self.version(&Target::Serving)
    }

    /// The model that answers this request: a version, or the policies above.
    pub(super) fn asked(&self, ctx: &Ctx) -> Result<Arc<dyn Model>> {
        self.settle();
        if ctx.target == Target::Serving
            && let Some(top) = self.cell.with(|state| state.live.top.clone())
        {
            return Ok(top);
        }
        Ok(self.in_time(self.resolved(&ctx.target)?, ctx))
    }

    /// A version that is asked past the policies above, held to the deadline that the request
    /// brings, or to the default one of the name.
    pub(super) fn in_time(&self, version: Arc<dyn Model>, ctx: &Ctx) -> Arc<dyn Model> {
        let options = self.cell.with(|state| state.live.policies.deadline.clone());
        if ctx.deadline.is_none() && options.is_none() {
            return version;
        }
        Arc::new(Deadline::new(version, options.unwrap_or_default()))
    }
}
