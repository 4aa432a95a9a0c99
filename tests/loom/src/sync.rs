//! What `src/sync.rs` exports, on loom's primitives: the same names and signatures.
//!
//! Loom has no clock. `wait_until` returns when it is woken; a protocol that relies on a timer
//! to make progress deadlocks here, which is what the tests are meant to show.

pub use loom::sync::atomic;
pub use loom::sync::{Arc, MutexGuard};

/// A mutex that is never poisoned here: a panic ends the model.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("not poisoned")
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("not poisoned")
    }
}

#[derive(Debug, Default)]
pub struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub fn new() -> Self {
        Condvar(loom::sync::Condvar::new())
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).expect("not poisoned")
    }

    /// Never timed out.
    pub fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _until: std::time::Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        (self.wait(guard), false)
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
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
