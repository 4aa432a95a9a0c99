//! The protocol of a lane: a bounded number of runs side by side, and a bounded queue of those
//! that wait for one.
//!
//! A caller that finds a run free takes it and runs at once, in its own thread. Otherwise its
//! entry joins the queue, and a run that ends is handed to the head of the queue without ever
//! being free in between. Whoever gets it (the *leader*) takes more entries out of the queue, runs
//! them together, hands its run on, and then tells the others their answers.
//!
//! Invariants, all under the one lock: `running ≤ concurrency`; while anything waits, all runs are
//! taken (so that someone is there to hand one over); an entry is in the queue, or owned by
//! exactly one leader, or answered. An owned entry that is dropped unanswered wakes its waiter with
//! [`Turn::Lost`]: nobody waits for ever.
//!
//! `T` is what waits, `A` the answer that a blocked caller gets. Times are passed in; the lane
//! never looks at a clock and knows nothing of models, so that `tests/loom` checks this very file.

use crate::sync::{Arc, Condvar, Mutex};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Higher priority first, then the order of arrival.
type Key = (Reverse<i8>, u64);

/// Is told how many wait and run, under the lock, whenever either changes.
pub type Observe = Box<dyn Fn(usize, usize) + Send + Sync>;

/// See the module.
pub struct Lane<T, A> {
    state: Mutex<State<T, A>>,
    /// Signalled by each arrival, for leaders that wait for company.
    arrived: Condvar,
    concurrency: usize,
    capacity: usize,
    observe: Observe,
}

struct State<T, A> {
    running: usize,
    arrivals: u64,
    queue: BTreeMap<Key, Entry<T, A>>,
}

/// Something that waits, or that a leader has taken.
pub struct Entry<T, A> {
    /// What was queued.
    pub item: T,
    /// When it arrived.
    pub arrived: Instant,
    waiter: Option<Waiter<T, A>>,
}

impl<T, A> Entry<T, A> {
    /// An entry that found a run free and never queued.
    pub fn unqueued(item: T, now: Instant) -> Entry<T, A> {
        Entry { item, arrived: now, waiter: None }
    }

    /// The item apart from the means to answer its blocked caller; `None` where nobody is blocked
    /// on it (the item itself knows whom to tell, or its caller is the leader).
    pub fn split(self) -> (T, Instant, Option<Waiter<T, A>>) {
        (self.item, self.arrived, self.waiter)
    }
}

/// What a blocked caller wakes up to.
pub enum Turn<T, A> {
    /// It has the run now, and its own entry: it is the leader, and must [`Lane::release`].
    Lead(Entry<T, A>),
    /// Another leader ran its entry: here is the answer.
    Answered(A),
    /// Another leader took its entry and was lost with it.
    Lost,
}

/// What became of an entry that wanted in.
pub enum Enter<T, A> {
    /// A run was free: the caller has it now, and must [`Lane::release`].
    Run(T),
    /// It waits; the caller is to [`Lane::wait`].
    Wait(Ticket<T, A>),
    /// It waits, and whoever gets a run for it is told by [`Lane::release`].
    Queued,
    /// The queue is full.
    Full(T),
}

/// A blocked caller's place in the queue.
pub struct Ticket<T, A> {
    key: Key,
    seat: Arc<Seat<T, A>>,
}

/// Where a blocked caller sleeps. Locked after the lane, never before.
struct Seat<T, A> {
    turn: Mutex<Option<Turn<T, A>>>,
    woken: Condvar,
}

impl<T, A> Seat<T, A> {
    /// The first word counts: later ones find nobody who waits for them.
    fn wake(&self, turn: Turn<T, A>) {
        let mut slot = self.turn.lock();
        if slot.is_none() {
            *slot = Some(turn);
        }
        drop(slot);
        self.woken.notify_one();
    }
}

/// Answers a blocked caller, once; dropped unused it says [`Turn::Lost`].
pub struct Waiter<T, A>(Option<Arc<Seat<T, A>>>);

impl<T, A> Waiter<T, A> {
    /// Wakes the caller with its answer.
    pub fn answer(mut self, answer: A) {
        if let Some(seat) = self.0.take() {
            seat.wake(Turn::Answered(answer));
        }
    }
}

impl<T, A> Drop for Waiter<T, A> {
    fn drop(&mut self) {
        if let Some(seat) = self.0.take() {
            seat.wake(Turn::Lost);
        }
    }
}

/// What a leader makes of an entry in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// It can join, with so many rows.
    Join(usize),
    /// Nobody wants its answer any more: it is taken out to be told so.
    Dead,
    /// It stays.
    Leave,
}

/// How long a leader waits for company.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// When the leader's own entry arrived.
    pub since: Instant,
    /// The longest wait, counted from the arrival of the oldest entry that is to run.
    pub delay: Duration,
    /// Never longer than this.
    pub before: Option<Instant>,
}

impl Patience {
    fn until(&self, oldest: Option<Instant>) -> Option<Instant> {
        let since = oldest.map_or(self.since, |oldest| oldest.min(self.since));
        let until = since.checked_add(self.delay)?;
        Some(self.before.map_or(until, |before| before.min(until)))
    }
}

/// What a leader took out of the queue.
pub struct Taken<T, A> {
    /// To be run with the leader's own.
    pub joined: Vec<Entry<T, A>>,
    /// To be told that it is too late.
    pub dead: Vec<Entry<T, A>>,
}

impl<T, A> Lane<T, A> {
    /// A lane of `concurrency` runs side by side (at least 1) and at most `capacity` entries that
    /// wait.
    pub fn new(concurrency: usize, capacity: usize, observe: Observe) -> Lane<T, A> {
        Lane {
            state: Mutex::new(State { running: 0, arrivals: 0, queue: BTreeMap::new() }),
            arrived: Condvar::new(),
            concurrency: concurrency.max(1),
            capacity,
            observe,
        }
    }

    fn note(&self, state: &State<T, A>) {
        (self.observe)(state.queue.len(), state.running);
    }

    /// Takes a run if one is free and nobody waits. Who gets one must [`Lane::release`] it.
    pub fn acquire(&self) -> bool {
        let mut state = self.state.lock();
        let free = state.running < self.concurrency;
        if free {
            state.running += 1;
            self.note(&state);
        }
        free
    }

    /// Takes a run, or else joins the queue: at a single point in time, so that a run that ends
    /// meanwhile is either seen here or sees the entry. `blocking` tells whether the caller will
    /// [`Lane::wait`].
    pub fn enter(&self, item: T, priority: i8, now: Instant, blocking: bool) -> Enter<T, A> {
        let mut state = self.state.lock();
        if state.running < self.concurrency {
            state.running += 1;
            self.note(&state);
            return Enter::Run(item);
        }
        if state.queue.len() >= self.capacity {
            return Enter::Full(item);
        }
        let key = (Reverse(priority), state.arrivals);
        state.arrivals += 1;
        let seat =
            blocking.then(|| Arc::new(Seat { turn: Mutex::new(None), woken: Condvar::new() }));
        let waiter = seat.clone().map(|seat| Waiter(Some(seat)));
        state.queue.insert(key, Entry { item, arrived: now, waiter });
        self.note(&state);
        drop(state);
        self.arrived.notify_all();
        match seat {
            Some(seat) => Enter::Wait(Ticket { key, seat }),
            None => Enter::Queued,
        }
    }

    /// Ends a run. It goes to the head of the queue: a blocked caller is woken to lead; any other
    /// entry is returned with the run, for the caller to start somewhere.
    #[must_use = "an entry that is returned holds the run"]
    pub fn release(&self) -> Option<Entry<T, A>> {
        let mut state = self.state.lock();
        let Some((_, mut head)) = state.queue.pop_first() else {
            // Nothing is left to give back after `abandon`.
            state.running = state.running.saturating_sub(1);
            self.note(&state);
            return None;
        };
        self.note(&state);
        match head.waiter.as_mut().and_then(|waiter| waiter.0.take()) {
            Some(seat) => {
                head.waiter = None;
                // Under the lane's lock, so that `leave` finds the entry in the queue or here.
                seat.wake(Turn::Lead(head));
                None
            }
            None => Some(head),
        }
    }

    /// Sleeps until the ticket's turn, at most until `until`; `None` when that has come first.
    pub fn wait(&self, ticket: &Ticket<T, A>, until: Option<Instant>) -> Option<Turn<T, A>> {
        let mut turn = ticket.seat.turn.lock();
        loop {
            if let Some(turn) = turn.take() {
                return Some(turn);
            }
            match until {
                None => turn = ticket.seat.woken.wait(turn),
                Some(until) => {
                    let timed_out;
                    (turn, timed_out) = ticket.seat.woken.wait_until(turn, until);
                    if timed_out {
                        return turn.take();
                    }
                }
            }
        }
    }

    /// Gives up waiting. What came in the same moment is returned: a leader's run must be
    /// released. An entry that another leader runs is answered into the void.
    pub fn leave(&self, ticket: Ticket<T, A>) -> Option<Turn<T, A>> {
        let mut state = self.state.lock();
        let mine = state.queue.remove(&ticket.key);
        if mine.is_some() {
            self.note(&state);
        }
        let turn = ticket.seat.turn.lock().take();
        drop(state);
        // Dropped outside the lock: what an item does when it goes is not ours to know.
        drop(mine);
        turn
    }

    /// Takes out of the queue, in its order, what joins a leader: `pick` judges each entry, and
    /// `limit` answers how many rows to take, given how many could join (`most` at most) and
    /// whether the leader can still wait. `None` means to wait for more arrivals, with `patience`.
    pub fn gather(
        &self,
        most: usize,
        patience: Option<Patience>,
        pick: impl Fn(&T) -> Pick,
        limit: impl Fn(usize, bool) -> Option<usize>,
    ) -> Taken<T, A> {
        let mut dead = Vec::new();
        let mut can_wait = patience.is_some();
        let mut state = self.state.lock();
        loop {
            let mut rows = 0usize;
            let mut oldest = None;
            let mut picks: Vec<(Key, Option<usize>)> = Vec::new();
            for (key, entry) in &state.queue {
                match pick(&entry.item) {
                    Pick::Join(n) if n <= most - rows => {
                        rows += n;
                        oldest = oldest.into_iter().chain([entry.arrived]).min();
                        picks.push((*key, Some(n)));
                    }
                    Pick::Dead => picks.push((*key, None)),
                    Pick::Join(_) | Pick::Leave => {}
                }
                if rows == most {
                    break;
                }
            }
            let wanted = limit(rows, can_wait);
            let mut left = wanted.unwrap_or(0);
            let mut joined = Vec::new();
            for (key, rows) in picks {
                match rows {
                    None => dead.extend(state.queue.remove(&key)),
                    Some(n) if n <= left => {
                        left -= n;
                        joined.extend(state.queue.remove(&key));
                    }
                    Some(_) => {}
                }
            }
            if wanted.is_some() || !can_wait {
                self.note(&state);
                return Taken { joined, dead };
            }
            let until = patience.as_ref().and_then(|patience| patience.until(oldest));
            let seen = state.arrivals;
            while can_wait && state.arrivals == seen {
                let Some(until) = until else {
                    can_wait = false;
                    break;
                };
                let timed_out;
                (state, timed_out) = self.arrived.wait_until(state, until);
                can_wait = !timed_out;
            }
        }
    }

    /// Takes everything out of the queue that `dead` says nobody wants any more.
    pub fn sweep(&self, dead: impl Fn(&T) -> bool) -> Vec<Entry<T, A>> {
        let mut state = self.state.lock();
        let keys: Vec<Key> =
            state.queue.iter().filter(|(_, e)| dead(&e.item)).map(|(key, _)| *key).collect();
        let swept = keys.iter().filter_map(|key| state.queue.remove(key)).collect();
        self.note(&state);
        swept
    }

    /// Forgets all runs and all that wait: they belong to threads that do not exist in this
    /// process, the child of a fork. Nothing is dropped, as nobody here may be told.
    pub fn abandon(&self) {
        let mut state = self.state.lock();
        state.running = 0;
        std::mem::take(&mut state.queue).into_values().for_each(std::mem::forget);
        self.note(&state);
    }

    /// As [`Lane::abandon`], of a lane that goes.
    pub fn forget(&mut self) {
        let queue = std::mem::take(&mut self.state.get_mut().queue);
        queue.into_values().for_each(std::mem::forget);
    }

    /// How many wait, and how many runs are under way.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.queue.len(), state.running)
    }
}
