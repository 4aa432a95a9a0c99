//! What `src/sync.rs` exports, on loom's primitives: the same names and signatures.
//!
//! Loom has no clock. `wait_until` returns when it is woken; a protocol that relies on a timer
//! to make progress deadlocks here, which is what the tests are meant to show.

pub use loom::sync::Arc;
pub use loom::sync::atomic;
use std::ops::{Deref, DerefMut};

/// `parking_lot::Mutex`'s interface on loom's mutex.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// The guard is taken out while a condition variable waits.
pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("not poisoned")))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("held")
    }
}

/// `parking_lot::Condvar`'s interface on loom's.
#[derive(Debug, Default)]
pub struct Condvar(loom::sync::Condvar);

/// What `wait_until` answers: never timed out.
#[derive(Debug, Clone, Copy)]
pub struct WaitTimeoutResult;

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    pub fn new() -> Self {
        Condvar(loom::sync::Condvar::new())
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("held");
        guard.0 = Some(self.0.wait(held).expect("not poisoned"));
    }

    pub fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _until: std::time::Instant,
    ) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult
    }

    pub fn notify_one(&self) -> bool {
        self.0.notify_one();
        true
    }

    pub fn notify_all(&self) -> usize {
        self.0.notify_all();
        1
    }
}

/// `arc_swap::ArcSwap`'s interface on a mutex: each load and store is one step.
pub struct ArcSwap<T>(loom::sync::Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub fn from_pointee(value: T) -> Self {
        ArcSwap(loom::sync::Mutex::new(Arc::new(value)))
    }

    pub fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub fn load_full(&self) -> Arc<T> {
        self.0.lock().expect("not poisoned").clone()
    }

    pub fn store(&self, value: Arc<T>) {
        let old = std::mem::replace(&mut *self.0.lock().expect("not poisoned"), value);
        drop(old);
    }
}
