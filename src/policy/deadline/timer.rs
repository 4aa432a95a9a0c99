//! The clock of submitted requests: one thread that acts when a deadline passes.
//!
//! Started by the first submitted request that has a deadline, ended when there was none for a
//! while. Keyed by process id, as threads do not survive `fork`.

use crate::model::contain;
use crate::sync::{Condvar, Mutex};
use arc_swap::ArcSwapOption;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the thread waits without a deadline before it ends.
const IDLE: Duration = Duration::from_secs(10);

type Action = Box<dyn FnOnce() + Send>;
/// When, and a number that tells equal moments apart.
type Key = (Instant, u64);

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Action>,
    next: u64,
    /// Until when the thread sleeps; `None` while it is awake or there is none.
    sleeps_until: Option<Instant>,
    alive: bool,
}

struct Timer {
    pid: u32,
    state: Mutex<State>,
    earlier: Condvar,
}

static TIMER: ArcSwapOption<Timer> = ArcSwapOption::const_empty();

fn timer() -> Arc<Timer> {
    let pid = std::process::id();
    loop {
        let current = TIMER.load();
        if let Some(timer) = &*current
            && timer.pid == pid
        {
            return timer.clone();
        }
        let fresh = Arc::new(Timer { pid, state: Mutex::default(), earlier: Condvar::new() });
        let before = TIMER.compare_and_swap(&current, Some(fresh));
        // After a fork: the entries are requests of the parent, which its own timer answers.
        if let Some(parents) = &*before
            && parents.pid != pid
        {
            std::mem::forget(parents.clone());
        }
    }
}

/// An action that waits for its moment.
pub(super) struct Entry {
    timer: Arc<Timer>,
    key: Key,
}

impl Entry {
    /// Takes the action back, unless its moment has come.
    pub(super) fn disarm(self) {
        let action = self.timer.state.lock().entries.remove(&self.key);
        // What it holds is dropped outside the lock.
        drop(action);
    }
}

/// Runs `action` on the timer's thread at `when`, or at once when that has passed. It must not
/// block: the deadlines of others wait for it. Where no thread can be started it waits until one
/// can, which the next call tries.
pub(super) fn at(when: Instant, action: impl FnOnce() + Send + 'static) -> Entry {
    let timer = timer();
    let mut state = timer.state.lock();
    let key = (when, state.next);
    state.next = state.next.wrapping_add(1);
    state.entries.insert(key, Box::new(action));
    let starts = !state.alive;
    state.alive = true;
    // The thread is left asleep over entries that are taken back, so that requests answered in
    // time wake nobody.
    let wakes = state.sleeps_until.is_some_and(|until| when < until);
    drop(state);
    if wakes {
        timer.earlier.notify_one();
    }
    if starts {
        let worker = timer.clone();
        let started = std::thread::Builder::new()
            .name("modelserve-timer".to_string())
            .spawn(move || worker.serve());
        if started.is_err() {
            timer.state.lock().alive = false;
        }
    }
    Entry { timer, key }
}

impl Timer {
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            let due = take_due(&mut state.entries, Instant::now());
            if !due.is_empty() {
                drop(state);
                for action in due {
                    // A panic of one request's completion must not take the clock from others.
                    let _ = contain(|| {
                        action();
                        Ok(())
                    });
                }
                state = self.state.lock();
                continue;
            }
            let next = state.entries.first_key_value().map(|(key, _)| key.0);
            let until = next.unwrap_or_else(|| Instant::now() + IDLE);
            state.sleeps_until = Some(until);
            let timed_out;
            (state, timed_out) = self.earlier.wait_until(state, until);
            state.sleeps_until = None;
            if timed_out && next.is_none() && state.entries.is_empty() {
                state.alive = false;
                return;
            }
        }
    }
}

fn take_due(entries: &mut BTreeMap<Key, Action>, now: Instant) -> Vec<Action> {
    let mut due = Vec::new();
    while let Some(first) = entries.first_entry()
        && first.key().0 <= now
    {
        due.push(first.remove());
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const HANG: Duration = Duration::from_secs(60);

    #[test]
    fn actions_run_in_the_order_of_their_moments() {
        let (tx, rx) = mpsc::channel();
        let now = Instant::now();
        let entries: Vec<Entry> = [30u64, 10, 20, 10]
            .into_iter()
            .map(|ms| {
                let tx = tx.clone();
                at(now + Duration::from_millis(200 + ms), move || tx.send(ms).unwrap())
            })
            .collect();
        let order: Vec<u64> = (0..4).map(|_| rx.recv_timeout(HANG).unwrap()).collect();
        assert_eq!(order, [10, 10, 20, 30]);
        entries.into_iter().for_each(Entry::disarm);
    }

    #[test]
    fn an_action_taken_back_is_dropped_at_once() {
        let (tx, rx) = mpsc::channel::<()>();
        at(Instant::now() + Duration::from_secs(3600), move || drop(tx)).disarm();
        assert_eq!(rx.recv_timeout(HANG), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn an_earlier_moment_is_not_missed_and_a_panic_stops_nothing() {
        let far = at(Instant::now() + Duration::from_secs(3600), || ());
        at(Instant::now(), || panic!("a completion that panics"));
        let (tx, rx) = mpsc::channel();
        at(Instant::now(), move || tx.send(()).unwrap());
        rx.recv_timeout(HANG).unwrap();
        far.disarm();
    }
}
