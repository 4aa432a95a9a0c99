//! What happens to models: an iterator, and callbacks.

use crate::asked::seconds;
use crate::attach::{attach, come_back};
use crate::reports::made;
use modelserve::{Event, EventKind};
use pyo3::prelude::*;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a wait goes before it looks for signals (Ctrl-C).
const SLICE: Duration = Duration::from_millis(100);

/// The events of a manager from the moment of `manager.events()` on. Iterating waits for the next
/// one, lets other threads run meanwhile, and ends when the manager is gone.
#[pyclass(frozen, module = "modelserve")]
pub(crate) struct Events(Mutex<modelserve::Events>);

impl Events {
    pub(crate) fn new(events: modelserve::Events) -> Events {
        Events(Mutex::new(events))
    }

    fn receive(&self, py: Python<'_>, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        py.detach(|| {
            let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(timeout);
            (next, come_back())
        })
        .0
    }
}

#[pymethods]
impl Events {
    /// The next event if there is one already, else None.
    fn try_next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.receive(py, Duration::ZERO).ok().map(|event| event_out(py, &event)).transpose()
    }

    /// Waits up to `timeout` seconds for the next event; None when none came.
    fn next_within<'py>(
        &self,
        py: Python<'py>,
        timeout: f64,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let until = Instant::now().checked_add(seconds(py, "timeout", timeout)?);
        loop {
            let left = until.map_or(SLICE, |u| u.saturating_duration_since(Instant::now()));
            match self.receive(py, left.min(SLICE)) {
                Ok(event) => return event_out(py, &event).map(Some),
                Err(RecvTimeoutError::Timeout) if left > SLICE || until.is_none() => {
                    py.check_signals()?;
                }
                Err(_) => return Ok(None),
            }
        }
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        loop {
            match self.receive(py, SLICE) {
                Ok(event) => return event_out(py, &event).map(Some),
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

/// `modelserve.Event`.
fn event_out<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyAny>> {
    made!(py, "Event", {
        "at": event.at,
        "model": &*event.model,
        "version": event.version,
        "kind": match &event.kind {
            EventKind::State { .. } => "state",
            EventKind::Serving { .. } => "serving",
            EventKind::Label { .. } => "label",
            EventKind::Rejected { .. } => "rejected",
            EventKind::Traffic { .. } => "traffic",
            EventKind::Circuit { .. } => "circuit",
            EventKind::Evicted => "evicted",
            _ => "other",
        },
        "state": match &event.kind {
            EventKind::State { state, .. } => Some(state.name()),
            EventKind::Circuit { state, .. } => Some(&**state),
            _ => None,
        },
        "sequence": match &event.kind {
            EventKind::Circuit { sequence, .. } => Some(*sequence),
            _ => None,
        },
        "error": match &event.kind {
            EventKind::State { error, .. } => error.map(|kind| kind.name()),
            _ => None,
        },
        "message": match &event.kind {
            EventKind::State { message, .. } => &**message,
            EventKind::Rejected { reason }
            | EventKind::Traffic { reason, .. }
            | EventKind::Circuit { reason, .. } => &**reason,
            _ => "",
        },
        "previous": match &event.kind {
            EventKind::Serving { previous } => *previous,
            _ => None,
        },
        "label": match &event.kind {
            EventKind::Label { label } => Some(&**label),
            _ => None,
        },
        "verdict": match &event.kind {
            EventKind::Traffic { verdict, .. } => Some(&**verdict),
            _ => None,
        },
    })
}

/// A Python callable as the library's callback. What it raises is logged.
pub(crate) fn callback(callable: Py<PyAny>) -> impl Fn(&Event) + Send + 'static {
    move |event| {
        attach(|py| {
            let called = event_out(py, event).and_then(|event| callable.call1(py, (event,)));
            if let Err(raised) = called {
                let logged = py.import("modelserve.logs").and_then(|logs| {
                    logs.call_method1("callback_failed", (raised.clone_ref(py).into_value(py),))
                });
                if logged.is_err() {
                    raised.write_unraisable(py, None);
                }
            }
        });
    }
}
