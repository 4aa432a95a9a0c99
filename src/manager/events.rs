//! What happens to models, told to whoever listens.

use crate::error::{Error, ErrorKind};
pub use crate::metrics::VersionState;
use crate::metrics::trace;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

/// Events that a listener may be behind before further ones are dropped for it.
const QUEUE: usize = 4096;

/// A version's state, and the error that ended it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VersionStatus {
    /// The version's number.
    pub version: u64,
    /// Where it is in its life.
    pub state: VersionState,
    /// Why it could not be loaded, where it could not.
    pub error: Option<ErrorKind>,
    /// That error's message; empty without one.
    pub message: String,
    /// The message without paths of the host, for remote readers ([`Error::remote_message`]).
    pub remote_message: String,
    /// When it came into this state.
    pub since: SystemTime,
    /// Whether it answers requests that name no version.
    pub serving: bool,
    /// The labels that point to it.
    pub labels: Vec<Arc<str>>,
}

/// Something that happened to a model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// A version changed its state.
    State {
        /// The new state.
        state: VersionState,
        /// Why it ended, where it failed.
        error: Option<ErrorKind>,
        /// That error's message.
        message: String,
    },
    /// Requests that name no version are answered by this version from now on.
    Serving {
        /// The version that answered until now.
        previous: Option<u64>,
    },
    /// A label points to this version from now on.
    Label {
        /// The label.
        label: Arc<str>,
    },
    /// A candidate was not let in.
    Rejected {
        /// What spoke against it.
        reason: String,
    },
    /// A decision on a canary.
    Traffic {
        /// `advance`, `promote`, `roll back`; or `stop`, when a promotion was given up, or a
        /// promoted canary does not serve, because something else was changed meanwhile.
        verdict: String,
        /// The figures it rests on.
        reason: String,
    },
    /// A circuit breaker changed its state.
    Circuit {
        /// `closed`, `open` or `half_open`.
        state: String,
        /// Numbers the changes of this version's circuit from 1 on: events of two changes may come
        /// in either order. Begins anew when policies are set.
        sequence: u64,
        /// The figures it rests on.
        reason: String,
    },
    /// An idle model was unloaded to make room, and will be loaded again when it is asked.
    Evicted,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// When it happened.
    pub at: SystemTime,
    /// The model.
    pub model: Arc<str>,
    /// The version.
    pub version: u64,
    /// What happened.
    pub kind: EventKind,
}

/// The events of a manager from the moment of [`crate::ModelManager::events`] on. Iterating waits
/// for the next one, and ends when the manager is gone.
#[derive(Debug)]
pub struct Events(Receiver<Event>);

impl Events {
    /// The next event if there is one already.
    pub fn try_next(&self) -> Option<Event> {
        self.0.try_recv().ok()
    }

    /// Waits up to `timeout` for the next event; `None` when none came.
    pub fn next_within(&self, timeout: Duration) -> Option<Event> {
        self.recv_timeout(timeout).ok()
    }

    /// As [`Events::next_within`], for those who want to know why there is none.
    ///
    /// # Errors
    /// `Timeout` when none came in time, `Disconnected` when none will come: the manager is gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.0.recv().ok()
    }
}

/// Sends events to listeners without ever waiting for one.
#[derive(Default)]
pub(super) struct EventBus {
    listeners: Mutex<Vec<SyncSender<Event>>>,
    dropped: AtomicU64,
}

impl EventBus {
    pub(super) fn listen(&self) -> Events {
        let (tx, rx) = sync_channel(QUEUE);
        self.listeners.lock().push(tx);
        Events(rx)
    }

    pub(super) fn send(&self, model: &Arc<str>, version: u64, kind: EventKind) {
        log(model, version, &kind);
        let mut listeners = self.listeners.lock();
        if listeners.is_empty() {
            return;
        }
        let event = Event { at: SystemTime::now(), model: model.clone(), version, kind };
        listeners.retain(|listener| match listener.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }

    /// Events that a listener was too slow for.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// Tells of an event as the host's logs know it.
fn log(model: &str, version: u64, kind: &EventKind) {
    match kind {
        EventKind::State { error: Some(error), message, .. } => {
            trace::load_failed(model, Some(version), &Error::new(*error, message.as_str()));
        }
        EventKind::State { state: VersionState::End, .. } => trace::unloaded(model, version),
        // Loading ends in one of the others.
        EventKind::State { .. } => {}
        EventKind::Serving { previous } => trace::swapped(model, *previous, version),
        EventKind::Label { label } => trace::labelled(model, label, version),
        EventKind::Rejected { reason } => {
            let error = Error::new(ErrorKind::InvalidModel, reason.as_str());
            trace::refused(model, Some(version), &error);
        }
        EventKind::Traffic { verdict, reason } => match verdict.as_str() {
            "promote" => trace::promoted(model, version),
            "roll back" => trace::rolled_back(model, version, reason),
            "stop" => trace::promotion_stopped(model, version, reason),
            _ => trace::canary_step(model, version, reason),
        },
        EventKind::Circuit { state, reason, .. } => match state.as_str() {
            "closed" => trace::breaker_closed(model, version),
            "open" => trace::breaker_opened(model, version, reason),
            _ => trace::breaker_probes(model, version),
        },
        EventKind::Evicted => trace::evicted(model, version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_listener_loses_events_and_holds_nobody_up() {
        let bus = EventBus::default();
        let events = bus.listen();
        let gone = bus.listen();
        drop(gone);
        let name: Arc<str> = "m".into();
        for version in 0..QUEUE as u64 + 10 {
            bus.send(&name, version, EventKind::Evicted);
        }
        assert_eq!(bus.dropped(), 10);
        assert_eq!(events.try_next().map(|e| e.version), Some(0));
        assert_eq!(events.next_within(Duration::ZERO).map(|e| e.version), Some(1));
        assert_eq!(bus.listeners.lock().len(), 1);
        drop(bus);
        assert_eq!(events.count(), QUEUE - 2);
    }
}
