//! Handles: numbers that are looked up in one table before anything is dereferenced.
//!
//! A number is `type | serial | slot`. A slot's entry knows its whole number, and serials are
//! never used twice, so a stale, invented or mistyped handle matches no entry. Looking up takes
//! no lock: calls on any number of threads do not wait for each other. A `fork` waits for a
//! number that is being given out, so that the child finds the table whole and unlocked.

use crate::fork;
use crate::prepared::Prepared;
use crate::status::*;
use arc_swap::ArcSwapOption;
use modelserve::tensor::Value;
use modelserve::{
    CancelToken, Http, HttpResponse, Model, ModelHandle, ModelManager, RefreshReport,
};
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
#[cfg(not(modelserve_tsan))]
use std::sync::{Mutex as Lock, MutexGuard as Guard, PoisonError};

// ThreadSanitizer does not see into the precompiled standard library: its lock is none to it
// (`make tsan`, where no forked child meets a thread that sleeps here).
#[cfg(modelserve_tsan)]
use parking_lot::{Mutex as Lock, MutexGuard as Guard};

/// A manager of named models. Made by `modelserve_manager_new`, freed by
/// `modelserve_manager_free`. A small value: copy it freely.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct modelserve_manager {
    /// A number of the library's; 0 is "none".
    pub id: u64,
}

/// A model to predict with: a name in a manager (it always answers with the version serving
/// now), one pinned version of it, or a model loaded without a manager. Freed by
/// `modelserve_model_free`. A small value: copy it freely.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct modelserve_model {
    /// A number of the library's; 0 is "none".
    pub id: u64,
}

/// The named outputs of one run. Freed by `modelserve_outputs_free`. A small value:
/// copy it freely.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct modelserve_outputs {
    /// A number of the library's; 0 is "none".
    pub id: u64,
}

/// A request that was submitted: by `modelserve_predict_submit`,
/// `modelserve_predict_batch_submit` or `modelserve_run_submit`. Freed by
/// `modelserve_request_free`. A small value: copy it freely.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct modelserve_request {
    /// A number of the library's; 0 is "none".
    pub id: u64,
}

/// The response to one HTTP request. Freed by `modelserve_http_response_free`. A small value:
/// copy it freely.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct modelserve_http_response {
    /// A number of the library's; 0 is "none".
    pub id: u64,
}

/// A form of request that is asked many times. Made by `modelserve_prepare`, freed by
/// `modelserve_prepared_free`. A small value: copy it freely.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct modelserve_prepared {
    /// A number of the library's; 0 is "none".
    pub id: u64,
}

/// A manager's models as HTTP knows them. Made by `modelserve_manager_http`, freed by
/// `modelserve_http_free`. A small value: copy it freely.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct modelserve_http {
    /// A number of the library's; 0 is "none".
    pub id: u64,
}

/// What a model handle stands for.
#[derive(Clone)]
pub(crate) enum Served {
    /// A name in a manager, or a pinned version of it.
    Named(ModelHandle),
    /// A model loaded without a manager.
    Alone(Arc<dyn Model>),
}

/// Named outputs, as `run` answers them.
pub(crate) type Named = Vec<(String, Value)>;

/// A manager, and what the last look at its repository did.
pub(crate) struct Managed {
    pub(crate) manager: ModelManager,
    pub(crate) look: Mutex<Option<RefreshReport>>,
}

pub(crate) enum Object {
    Manager(Managed),
    Model(Served),
    Outputs(Named),
    Request(CancelToken),
    HttpResponse(Box<HttpResponse>),
    Prepared(Box<Prepared>),
    Http(Http),
}

impl Object {
    fn kind(&self) -> u64 {
        match self {
            Object::Manager(_) => 1,
            Object::Model(_) => 2,
            Object::Outputs(_) => 3,
            Object::Request(_) => 4,
            Object::HttpResponse(_) => 5,
            Object::Prepared(_) => 6,
            Object::Http(_) => 7,
        }
    }
}

struct Entry {
    id: u64,
    object: Object,
}

const SLOT_BITS: u32 = 20;
const KIND_SHIFT: u32 = 60;
const SERIAL_MASK: u64 = (1 << (KIND_SHIFT - SLOT_BITS)) - 1;
const BLOCK: usize = 1 << 10;
const BLOCKS: usize = (1 << SLOT_BITS) / BLOCK;

type Slot = ArcSwapOption<Entry>;

/// Slots come in blocks that are made when needed and never move.
static TABLE: [OnceLock<Box<[Slot]>>; BLOCKS] = [const { OnceLock::new() }; BLOCKS];
/// Of the standard library, as a forked child may unlock it: its state is one word of its own.
static ISSUE: Lock<Issue> = Lock::new(Issue { free: Vec::new(), fresh: 0, serial: 0 });
/// A figure to read only: it orders nothing.
static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Issue {
    free: Vec<usize>,
    fresh: usize,
    serial: u64,
}

thread_local! {
    /// The lock on `ISSUE` of a thread that forks, from before the fork until after it.
    static FORKING: Cell<Option<Guard<'static, Issue>>> = const { Cell::new(None) };
}

#[cfg(not(modelserve_tsan))]
fn issue() -> Guard<'static, Issue> {
    // A panic while it is locked leaves at most a slot unused.
    ISSUE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(modelserve_tsan)]
fn issue() -> Guard<'static, Issue> {
    ISSUE.lock()
}

/// Waits until no thread is giving out or taking back a number, and lets none begin: the child
/// must not find that half done, nor locked by a thread that it does not have.
pub(crate) fn before_fork() {
    let locked = issue();
    // A thread without locals is ending: it forks unlocked.
    let _ = FORKING.try_with(|forking| forking.set(Some(locked)));
}

/// Undoes [`before_fork`], in the parent and in the child.
pub(crate) fn after_fork() {
    let _ = FORKING.try_with(Cell::take);
}

fn slot_of(index: usize) -> Option<&'static Slot> {
    TABLE.get(index / BLOCK)?.get()?.get(index % BLOCK)
}

/// Gives `object` a number.
pub(crate) fn insert(object: Object) -> Outcome<u64> {
    fork::watch()?;
    let full = || Failure::new(MODELSERVE_STATUS_LIMIT_EXCEEDED, "2^20 handles are live already");
    let mut issue = issue();
    let index = match issue.free.pop() {
        Some(index) => index,
        None => {
            let block = TABLE.get(issue.fresh / BLOCK).ok_or_else(full)?;
            block.get_or_init(|| (0..BLOCK).map(|_| Slot::empty()).collect());
            issue.fresh += 1;
            issue.fresh - 1
        }
    };
    issue.serial = (issue.serial + 1) & SERIAL_MASK;
    let id = object.kind() << KIND_SHIFT | issue.serial << SLOT_BITS | index as u64;
    let slot = slot_of(index).ok_or_else(full)?;
    slot.store(Some(Arc::new(Entry { id, object })));
    LIVE.fetch_add(1, Ordering::Relaxed);
    Ok(id)
}

fn index_of(id: u64) -> usize {
    (id & ((1 << SLOT_BITS) - 1)) as usize
}

fn invalid(what: &str, id: u64) -> Failure {
    let message = format!("{id:#x} is not the handle of a live {what}: freed, or never given out");
    Failure::new(MODELSERVE_STATUS_INVALID_HANDLE, message)
}

/// Calls `body` with the object of that number. The object lives until `body` returns, even if
/// its handle is freed meanwhile.
fn with<R>(what: &str, id: u64, body: impl FnOnce(&Object) -> Option<Outcome<R>>) -> Outcome<R> {
    let slot = slot_of(index_of(id)).ok_or_else(|| invalid(what, id))?;
    let entry = slot.load();
    match entry.as_ref() {
        Some(entry) if entry.id == id => body(&entry.object).ok_or_else(|| invalid(what, id))?,
        _ => Err(invalid(what, id)),
    }
}

pub(crate) fn with_manager<R>(
    handle: modelserve_manager,
    body: impl FnOnce(&ModelManager) -> Outcome<R>,
) -> Outcome<R> {
    with_managed(handle, |managed| body(&managed.manager))
}

pub(crate) fn with_managed<R>(
    handle: modelserve_manager,
    body: impl FnOnce(&Managed) -> Outcome<R>,
) -> Outcome<R> {
    with("manager", handle.id, |object| match object {
        Object::Manager(managed) => Some(body(managed)),
        _ => None,
    })
}

pub(crate) fn with_model<R>(
    handle: modelserve_model,
    body: impl FnOnce(&Served) -> Outcome<R>,
) -> Outcome<R> {
    with("model", handle.id, |object| match object {
        Object::Model(served) => Some(body(served)),
        _ => None,
    })
}

pub(crate) fn with_outputs<R>(
    handle: modelserve_outputs,
    body: impl FnOnce(&Named) -> Outcome<R>,
) -> Outcome<R> {
    with("modelserve_outputs", handle.id, |object| match object {
        Object::Outputs(outputs) => Some(body(outputs)),
        _ => None,
    })
}

pub(crate) fn with_request<R>(
    handle: modelserve_request,
    body: impl FnOnce(&CancelToken) -> Outcome<R>,
) -> Outcome<R> {
    with("request", handle.id, |object| match object {
        Object::Request(token) => Some(body(token)),
        _ => None,
    })
}

pub(crate) fn with_http_response<R>(
    handle: modelserve_http_response,
    body: impl FnOnce(&HttpResponse) -> Outcome<R>,
) -> Outcome<R> {
    with("modelserve_http_response", handle.id, |object| match object {
        Object::HttpResponse(response) => Some(body(response)),
        _ => None,
    })
}

pub(crate) fn with_prepared<R>(
    handle: modelserve_prepared,
    body: impl FnOnce(&Prepared) -> Outcome<R>,
) -> Outcome<R> {
    with("modelserve_prepared", handle.id, |object| match object {
        Object::Prepared(prepared) => Some(body(prepared)),
        _ => None,
    })
}

pub(crate) fn with_http<R>(
    handle: modelserve_http,
    body: impl FnOnce(&Http) -> Outcome<R>,
) -> Outcome<R> {
    with("modelserve_http", handle.id, |object| match object {
        Object::Http(http) => Some(body(http)),
        _ => None,
    })
}

/// Frees the handle `id` of the kind `kind` (0: nothing to free).
fn free(what: &str, kind: u64, id: u64) -> Outcome {
    if id == 0 {
        return Ok(());
    }
    let slot = slot_of(index_of(id)).ok_or_else(|| invalid(what, id))?;
    let mut issue = issue();
    let live = slot.load().as_ref().is_some_and(|entry| entry.id == id);
    if !live || id >> KIND_SHIFT != kind {
        return Err(invalid(what, id));
    }
    let entry = slot.swap(None);
    issue.free.push(index_of(id));
    drop(issue);
    LIVE.fetch_sub(1, Ordering::Relaxed);
    // Outside the lock: dropping a model can take a while.
    drop(entry);
    Ok(())
}

pub(crate) fn free_manager(handle: modelserve_manager) -> Outcome {
    free("manager", 1, handle.id)
}

pub(crate) fn free_model(handle: modelserve_model) -> Outcome {
    free("model", 2, handle.id)
}

pub(crate) fn free_outputs(handle: modelserve_outputs) -> Outcome {
    free("modelserve_outputs", 3, handle.id)
}

pub(crate) fn free_request(handle: modelserve_request) -> Outcome {
    free("request", 4, handle.id)
}

pub(crate) fn free_http_response(handle: modelserve_http_response) -> Outcome {
    free("modelserve_http_response", 5, handle.id)
}

pub(crate) fn free_prepared(handle: modelserve_prepared) -> Outcome {
    free("modelserve_prepared", 6, handle.id)
}

pub(crate) fn free_http(handle: modelserve_http) -> Outcome {
    free("modelserve_http", 7, handle.id)
}

/// How many handles are live.
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> modelserve_outputs {
        modelserve_outputs { id: insert(Object::Outputs(Vec::new())).unwrap() }
    }

    #[test]
    fn a_number_opens_only_its_own_object() {
        let first = outputs();
        with_outputs(first, |_| Ok(())).unwrap();
        let mistyped = with_model(modelserve_model { id: first.id }, |_| Ok(())).unwrap_err();
        assert_eq!(mistyped.status, MODELSERVE_STATUS_INVALID_HANDLE);
        assert!(free_model(modelserve_model { id: first.id }).is_err());
        for bit in 0..64 {
            let other = modelserve_outputs { id: first.id ^ (1 << bit) };
            assert!(with_outputs(other, |_| Ok(())).is_err(), "bit {bit}");
        }
        free_outputs(first).unwrap();
        assert!(with_outputs(first, |_| Ok(())).is_err());
        assert!(free_outputs(first).is_err());
        free_outputs(modelserve_outputs { id: 0 }).unwrap();
        let second = outputs();
        assert_ne!(second.id, first.id);
        assert!(with_outputs(first, |_| Ok(())).is_err());
        free_outputs(second).unwrap();
    }

    #[test]
    fn an_object_outlives_its_handle_while_in_use() {
        let handle = outputs();
        with_outputs(handle, |named| {
            free_outputs(handle).unwrap();
            assert!(named.is_empty());
            Ok(())
        })
        .unwrap();
        assert!(with_outputs(handle, |_| Ok(())).is_err());
    }
}
