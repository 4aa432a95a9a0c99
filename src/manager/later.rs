//! Submitted requests that cannot be passed on at once: their version has to be loaded again, or
//! the policies made anew in a forked child. Both take long, so that they wait in one bounded list
//! beside one job of the executor, and neither their callers' threads nor more of the executor's
//! are held.

use super::find::Found;
use super::slot::Slot;
use super::version::Version;
use crate::error::{Error, Result, err};
use crate::executor;
use crate::model::{Ctx, Done, Model, Request, Target, contain};
use std::sync::Arc;

/// Requests that may wait for one model, as many as a version's queue takes.
const MAX_WAITING: usize = 1024;

/// The requests that wait, and whether somebody works for them.
#[derive(Default)]
pub(super) struct Waiting {
    requests: Vec<Later>,
    working: bool,
}

struct Later {
    /// The version that is meant; `None` for whatever the policies of the name choose.
    target: Option<Target>,
    request: Request<'static>,
    ctx: Ctx,
    done: Done,
}

impl Later {
    fn refuse(self, slot: &Slot, e: Error) {
        self.done.call(Err(slot.refused(e)), self.ctx);
    }
}

impl Slot {
    /// Submits a request once the slot is ready for it: see [`Later::target`].
    pub(super) fn submit_later(
        self: &Arc<Self>,
        target: Option<&Target>,
        request: Request<'static>,
        ctx: Ctx,
        done: Done,
    ) {
        let later = Later { target: target.cloned(), request, ctx, done };
        let mut waiting = self.waiting.lock(Waiting::default);
        // Those whom nobody waits for any more must not keep others out.
        let mut dead = Vec::new();
        if waiting.requests.len() >= MAX_WAITING {
            let all = std::mem::take(&mut waiting.requests);
            for later in all {
                match later.ctx.check() {
                    Ok(()) => waiting.requests.push(later),
                    Err(e) => dead.push((later, e)),
                }
            }
        }
        let full = waiting.requests.len() >= MAX_WAITING;
        let mut start = false;
        if full {
            let e = err!(
                Overloaded,
                "{MAX_WAITING} requests wait already for the model to be loaded: ask later"
            );
            dead.push((later, e));
        } else {
            waiting.requests.push(later);
            start = !std::mem::replace(&mut waiting.working, true);
        }
        drop(waiting);
        dead.into_iter().for_each(|(later, e)| later.refuse(self, e));
        if start {
            let slot = self.clone();
            executor::spawn(move || slot.serve_waiting());
        }
    }

    /// Makes the slot ready and passes on what waits, until nothing does.
    fn serve_waiting(self: Arc<Self>) {
        loop {
            // What waits is taken only then: it counts towards the bound meanwhile.
            let revived = contain(|| {
                self.settle();
                self.revive()
            });
            let requests = std::mem::take(&mut self.waiting.lock(Waiting::default).requests);
            for later in requests {
                // A host's completion that panics does not take those after it along.
                let _ = contain(|| {
                    self.pass_on(later, &revived);
                    Ok(())
                });
            }
            let mut waiting = self.waiting.lock(Waiting::default);
            waiting.working = !waiting.requests.is_empty();
            if !waiting.working {
                return;
            }
        }
    }

    fn pass_on(self: &Arc<Self>, later: Later, revived: &Result<Arc<Version>>) {
        let Some(target) = &later.target else {
            return self.clone().submit_settled(later.request, later.ctx, later.done);
        };
        let version = self.find(target).and_then(|found| match (found, revived) {
            (Found::Ready(version), _) => Ok(version),
            (Found::Parked(number), Ok(version)) if version.number() == number => {
                Ok(version.clone())
            }
            (Found::Parked(number), Ok(_)) => {
                Err(err!(NotReady, "version {number} was unloaded again to make room"))
            }
            (Found::Parked(_), Err(e)) => Err(Error::new(e.kind(), e.message())),
        });
        match version {
            Ok(version) => version.submit(later.request, later.ctx, later.done),
            Err(e) => later.refuse(self, e),
        }
    }
}
