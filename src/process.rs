//! Telling a forked child from its parent.
//!
//! Locks, queues and counts of a parent are meaningless in a child: the threads that would
//! release or drain them do not exist there. Whoever holds such state notes the generation it was
//! made in, and makes it anew when the number has changed. The system call that would tell
//! (`getpid`) costs more than a small prediction, so the host says when it forked: the Python
//! module and the C library do this by themselves.

use crate::sync::{Mutex, MutexGuard, OnceLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Tells the library that this process is a fresh child of `fork`. Python's `os.fork` and the C
/// library's `fork` are noticed without this (when the host uses those faces); a Rust program
/// that forks calls it in the child before it predicts. Safe to call at any time.
pub fn after_fork() {
    // Pairs with the load in `generation`: only the number itself matters.
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Changes when the process has become a forked child.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// A lock that is held for long, of which each process has its own. A child of `fork` inherits one
/// that may be held by a thread that does not exist there; it makes another, and what that guards,
/// the first time it asks for it.
pub(crate) struct OwnLock<T>(Node<T>);

struct Node<T> {
    generation: u64,
    lock: Arc<Mutex<T>>,
    /// The child's, and from there its children's.
    next: OnceLock<Box<Node<T>>>,
}

impl<T> Node<T> {
    fn new(generation: u64, value: T) -> Node<T> {
        Node { generation, lock: Arc::new(Mutex::new(value)), next: OnceLock::new() }
    }
}

impl<T> Drop for Node<T> {
    fn drop(&mut self) {
        // What a parent's lock guards is the parent's to answer and to end.
        if self.generation != generation() {
            std::mem::forget(self.lock.clone());
        }
    }
}

impl<T> OwnLock<T> {
    pub(crate) fn new(value: T) -> OwnLock<T> {
        OwnLock(Node::new(generation(), value))
    }

    /// Locks this process's own; `anew` makes what it guards in a child.
    pub(crate) fn lock(&self, anew: impl Fn() -> T) -> MutexGuard<'_, T> {
        self.own(anew).lock()
    }

    /// As [`OwnLock::lock`], where that need not wait.
    pub(crate) fn try_lock(&self, anew: impl Fn() -> T) -> Option<MutexGuard<'_, T>> {
        self.own(anew).try_lock()
    }

    fn own(&self, anew: impl Fn() -> T) -> &Mutex<T> {
        let now = generation();
        let mut node = &self.0;
        while node.generation != now {
            node = node.next.get_or_init(|| Box::new(Node::new(now, anew())));
        }
        &node.lock
    }
}
