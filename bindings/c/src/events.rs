//! What happens to models, told to a callback.

use crate::callback::{UserData, modelserve_release_callback};
use crate::guard::guard;
use crate::handle::{modelserve_manager, with_manager};
use crate::json::unix_ns;
use crate::pointer::{Out, c_string};
use crate::status::*;
use modelserve::{Event, EventKind};
use std::ffi::{c_char, c_void};

/// Something that this header has no number for.
pub const MODELSERVE_EVENT_OTHER: i32 = 0;
/// A version changed its state: `word` is the new one (`START`, `LOADING`, `AVAILABLE`,
/// `UNLOADING` or `END`); for one that failed `error` and `text` say why.
pub const MODELSERVE_EVENT_STATE: i32 = 1;
/// The version serves from now on, in place of `previous` (0: none served).
pub const MODELSERVE_EVENT_SERVING: i32 = 2;
/// The label in `word` points to the version from now on.
pub const MODELSERVE_EVENT_LABEL: i32 = 3;
/// The version was not let in; `text` says what spoke against it.
pub const MODELSERVE_EVENT_REJECTED: i32 = 4;
/// A decision on a canary: `word` is `advance`, `promote` or `roll back`, `text` the figures; or
/// `stop`, when something else that was changed ended its promotion, which `text` names.
pub const MODELSERVE_EVENT_TRAFFIC: i32 = 5;
/// A circuit breaker changed: `word` is `closed`, `open` or `half_open`, `text` the figures. The
/// highest `sequence` tells how it stands: events of two changes may come in either order.
pub const MODELSERVE_EVENT_CIRCUIT: i32 = 6;
/// An idle model was unloaded to make room, and is loaded again when it is asked.
pub const MODELSERVE_EVENT_EVICTED: i32 = 7;

/// Something that happened to a model. Valid, with all texts, during the call of the callback
/// only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct modelserve_event {
    /// One of `MODELSERVE_EVENT_*`.
    pub kind: i32,
    /// The status that a version failed with; else 0.
    pub error: modelserve_status,
    /// The version.
    pub version: u64,
    /// The version that served until now; 0 where the kind has none.
    pub previous: u64,
    /// When it happened, in nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// The model's name.
    pub model: *const c_char,
    /// The state, label or verdict; empty where the kind has none.
    pub word: *const c_char,
    /// The reason; empty where there is none.
    pub text: *const c_char,
    /// Numbers the changes of the version's circuit from 1 on, and anew when policies are set; 0
    /// where the kind has none.
    pub sequence: u64,
}

/// Told of an event. Must not leave by an exception or a jump. It may call any function of this
/// library, and may block: events that it is too slow for are dropped.
pub type modelserve_event_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const modelserve_event)>;

/// Calls `callback` with each event of the manager from now on, one after the other on a thread
/// of its own, until the manager and the handles of its models are freed and idle.
///
/// `release`, which may be NULL, is called exactly once with `user_data`, after the last call of
/// `callback`, on any thread; also when this function fails.
///
/// Errors: INVALID_HANDLE; NULL_ARGUMENT; NOT_READY when no thread can be started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_on_event(
    manager: modelserve_manager,
    callback: modelserve_event_callback,
    user_data: *mut c_void,
    release: modelserve_release_callback,
) -> modelserve_status {
    guard(|| {
        let user_data = UserData::new(user_data, release);
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        with_manager(manager, |manager| {
            Ok(manager.on_event(move |event| tell(event, callback, &user_data))?)
        })
    })
}

/// How many events were dropped since the manager was made, because a callback was too slow for
/// them.
///
/// Errors: INVALID_HANDLE; NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn modelserve_manager_events_dropped(
    manager: modelserve_manager,
    dropped: *mut u64,
) -> modelserve_status {
    guard(|| {
        // SAFETY: the caller's promise (crate documentation).
        let out = unsafe { Out::new(dropped, "dropped") }?;
        out.write(with_manager(manager, |manager| Ok(manager.events_dropped()))?);
        Ok(())
    })
}

fn tell(
    event: &Event,
    callback: unsafe extern "C" fn(*mut c_void, *const modelserve_event),
    user_data: &UserData,
) {
    let empty = "";
    let (kind, error, previous, word, text): (_, _, _, &str, &str) = match &event.kind {
        EventKind::State { state, error, message } => {
            let error = error.map_or(MODELSERVE_STATUS_OK, |kind| kind.code());
            (MODELSERVE_EVENT_STATE, error, None, state.name(), message)
        }
        EventKind::Serving { previous } => (MODELSERVE_EVENT_SERVING, 0, *previous, empty, empty),
        EventKind::Label { label } => (MODELSERVE_EVENT_LABEL, 0, None, label, empty),
        EventKind::Rejected { reason } => (MODELSERVE_EVENT_REJECTED, 0, None, empty, reason),
        EventKind::Traffic { verdict, reason } => {
            (MODELSERVE_EVENT_TRAFFIC, 0, None, verdict, reason)
        }
        EventKind::Circuit { state, reason, .. } => {
            (MODELSERVE_EVENT_CIRCUIT, 0, None, state, reason)
        }
        EventKind::Evicted => (MODELSERVE_EVENT_EVICTED, 0, None, empty, empty),
        _ => (MODELSERVE_EVENT_OTHER, 0, None, empty, empty),
    };
    let sequence = match &event.kind {
        EventKind::Circuit { sequence, .. } => *sequence,
        _ => 0,
    };
    let (model, word, text) = (c_string(&event.model), c_string(word), c_string(text));
    let event = modelserve_event {
        kind,
        error,
        version: event.version,
        previous: previous.unwrap_or(0),
        at_unix_ns: unix_ns(event.at),
        model: model.as_ptr(),
        word: word.as_ptr(),
        text: text.as_ptr(),
        sequence,
    };
    // SAFETY: the caller's function with the caller's data, and an event whose texts outlive the
    // call.
    unsafe { callback(user_data.pointer(), &raw const event) }
}
