//! The one pointer of a slot.
//!
//! Readers take the whole state in one step and never wait. Writers make the next state from the
//! present one while no other writer does, and publish it in one step: an update is never lost,
//! and no reader sees half of one. (Model-checked in `tests/loom`.)

use crate::sync::{Arc, ArcSwap, Mutex};

/// A state that is read without a lock and replaced as a whole.
pub struct Cell<T> {
    state: ArcSwap<T>,
    /// Held while the next state is made from the present one: short, and never by readers.
    writer: Mutex<()>,
}

impl<T> Cell<T> {
    /// A cell that holds `state`.
    pub fn new(state: T) -> Self {
        Cell { state: ArcSwap::from_pointee(state), writer: Mutex::new(()) }
    }

    /// Reads the state of this moment. It stays as it is until `read` returns, whatever is
    /// published meanwhile.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let state = self.state.load();
        read(&state)
    }

    /// The state of this moment, to keep.
    pub fn full(&self) -> Arc<T> {
        self.state.load_full()
    }

    /// Publishes the state that `next` makes of the present one, and answers what it answers
    /// beside. With `None` nothing changes.
    pub fn update<R>(&self, next: impl FnOnce(&T) -> (Option<T>, R)) -> R {
        let _writer = self.writer.lock();
        let (state, answer) = {
            let present = self.state.load();
            next(&present)
        };
        if let Some(state) = state {
            self.state.store(Arc::new(state));
        }
        answer
    }
}
