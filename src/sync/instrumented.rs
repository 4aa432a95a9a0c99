//! Locks that are compiled with this crate, for `make tsan` alone: see [`super`] for what they must
//! not do in a child of `fork`.

use parking_lot::{Condvar as Sleepers, Mutex as Lock};
use std::time::Instant;

pub use once_cell::sync::OnceCell as OnceLock;
pub use parking_lot::MutexGuard;

#[derive(Debug, Default)]
pub struct Mutex<T>(Lock<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex(Lock::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

#[derive(Debug, Default)]
pub struct Condvar(Sleepers);

impl Condvar {
    pub const fn new() -> Self {
        Condvar(Sleepers::new())
    }

    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    pub fn wait_until<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        until: Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        let ended = self.0.wait_until(&mut guard, until);
        (guard, ended.timed_out())
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
