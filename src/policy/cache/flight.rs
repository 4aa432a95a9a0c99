//! Single flight: of those who ask for the same thing at once, one works and the others wait.
//!
//! A flight is open as long as somebody leads it. Its leader either lands it, and everybody who
//! waits shares the result; or drops it (failed, was cancelled, panicked), and exactly one of
//! those who wait leads on. Failures are shared with nobody. A waiter that leaves while the lead
//! is on its way to it passes the lead on, so that none is lost.
//!
//! Whoever keeps results elsewhere keeps them *before* landing, and looks there again once it
//! leads: then a result that was just landed is not worked out again.

use crate::sync::{Arc, Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

/// The open flights by key. Clones are the same flights.
pub struct Flights<K: Clone + Eq + Hash, V: Clone>(Arc<Table<K, V>>);

/// Under one lock: who leads is whoever holds the key's [`Leader`], and the queue holds those
/// who have been told nothing yet.
struct Table<K: Clone + Eq + Hash, V: Clone> {
    open: Mutex<HashMap<K, VecDeque<Waiter<K, V>>>>,
}

enum Waiter<K: Clone + Eq + Hash, V: Clone> {
    Blocked(Arc<Seat<V>>),
    Call(Call<K, V>),
}

/// What is called when a waiter that does not block is told something: exactly once, without a
/// lock held, on the thread of the leader. It must not unwind.
pub type Call<K, V> = Box<dyn FnOnce(Turn<K, V>) + Send>;

/// What a waiter is told.
pub enum Turn<K: Clone + Eq + Hash, V: Clone> {
    /// The flight has landed.
    Shared(V),
    /// The leader gave up: it is this waiter's turn to work.
    Lead(Leader<K, V>),
}

/// What joining a flight comes to.
pub enum Joined<K: Clone + Eq + Hash, V: Clone> {
    /// Nobody was working on the key.
    Lead(Leader<K, V>),
    /// Somebody is.
    Wait(Ticket<K, V>),
}

/// What waiting comes to.
pub enum Waited<K: Clone + Eq + Hash, V: Clone> {
    /// Something was told.
    Told(Turn<K, V>),
    /// Nothing until the time given; the place in the queue is kept.
    TimedOut(Ticket<K, V>),
}

struct Seat<V> {
    told: Mutex<Option<Told<V>>>,
    wake: Condvar,
}

enum Told<V> {
    Shared(V),
    Lead,
}

impl<V> Seat<V> {
    fn tell(&self, what: Told<V>) {
        *self.told.lock() = Some(what);
        self.wake.notify_one();
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Default for Flights<K, V> {
    fn default() -> Self {
        Flights(Arc::new(Table { open: Mutex::new(HashMap::new()) }))
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Flights(self.0.clone())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Flights<K, V> {
    /// Leads the key's flight, or takes a place among those who wait for it.
    pub fn join(&self, key: &K) -> Joined<K, V> {
        let mut open = self.0.open.lock();
        let Some(queue) = open.get_mut(key) else {
            open.insert(key.clone(), VecDeque::new());
            return Joined::Lead(self.leader(key));
        };
        let seat = Arc::new(Seat { told: Mutex::new(None), wake: Condvar::new() });
        queue.push_back(Waiter::Blocked(seat.clone()));
        Joined::Wait(Ticket { table: self.0.clone(), key: Some(key.clone()), seat })
    }

    /// As [`Flights::join`], for those who do not block: leads and gives `asked` back, or leaves
    /// `call(asked)` to be called.
    pub fn join_with<A>(
        &self,
        key: &K,
        asked: A,
        call: impl FnOnce(A) -> Call<K, V>,
    ) -> Option<(Leader<K, V>, A)> {
        let mut open = self.0.open.lock();
        let Some(queue) = open.get_mut(key) else {
            open.insert(key.clone(), VecDeque::new());
            return Some((self.leader(key), asked));
        };
        queue.push_back(Waiter::Call(call(asked)));
        None
    }

    fn leader(&self, key: &K) -> Leader<K, V> {
        Leader { table: self.0.clone(), key: Some(key.clone()) }
    }
}

/// The one who works. Dropped without landing, it hands over.
pub struct Leader<K: Clone + Eq + Hash, V: Clone> {
    table: Arc<Table<K, V>>,
    key: Option<K>,
}

impl<K: Clone + Eq + Hash, V: Clone> Leader<K, V> {
    /// Ends the flight with a result for all who wait.
    pub fn land(mut self, value: V) {
        let Some(key) = self.key.take() else { return };
        let waiters = self.table.open.lock().remove(&key);
        for waiter in waiters.into_iter().flatten() {
            match waiter {
                Waiter::Blocked(seat) => seat.tell(Told::Shared(value.clone())),
                Waiter::Call(call) => call(Turn::Shared(value.clone())),
            }
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for Leader<K, V> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let call = {
            let mut open = self.table.open.lock();
            match open.get_mut(&key).and_then(VecDeque::pop_front) {
                None => {
                    open.remove(&key);
                    return;
                }
                Some(Waiter::Blocked(seat)) => {
                    // Under the lock, so that a waiter that leaves and is not in the queue any
                    // more finds the lead in its seat.
                    seat.tell(Told::Lead);
                    return;
                }
                Some(Waiter::Call(call)) => call,
            }
        };
        call(Turn::Lead(Leader { table: self.table.clone(), key: Some(key) }));
    }
}

/// A place among those who wait. Dropped, it is given up.
pub struct Ticket<K: Clone + Eq + Hash, V: Clone> {
    table: Arc<Table<K, V>>,
    /// `None` once something was told.
    key: Option<K>,
    seat: Arc<Seat<V>>,
}

impl<K: Clone + Eq + Hash, V: Clone> Ticket<K, V> {
    /// Waits until something is told, or until `until`.
    pub fn wait(mut self, until: Option<Instant>) -> Waited<K, V> {
        let seat = self.seat.clone();
        let mut told = seat.told.lock();
        loop {
            if let Some(what) = told.take() {
                drop(told);
                let key = self.key.take();
                return Waited::Told(match what {
                    Told::Shared(value) => Turn::Shared(value),
                    Told::Lead => Turn::Lead(Leader { table: self.table.clone(), key }),
                });
            }
            match until {
                None => told = seat.wake.wait(told),
                Some(until) => {
                    let timed_out;
                    (told, timed_out) = seat.wake.wait_until(told, until);
                    if timed_out && told.is_none() {
                        drop(told);
                        return Waited::TimedOut(self);
                    }
                }
            }
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for Ticket<K, V> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        {
            let mut open = self.table.open.lock();
            if let Some(queue) = open.get_mut(&key) {
                let here = |w: &Waiter<K, V>| matches!(w, Waiter::Blocked(seat) if Arc::ptr_eq(seat, &self.seat));
                if let Some(at) = queue.iter().position(here) {
                    queue.remove(at);
                    return;
                }
            }
        }
        let told = self.seat.told.lock().take();
        if let Some(Told::Lead) = told {
            drop(Leader { table: self.table.clone(), key: Some(key) });
        }
    }
}
