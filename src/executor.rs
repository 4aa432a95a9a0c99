//! Threads on which submitted requests run, so that asynchronous callers never run a model on
//! their own.
//!
//! One process-wide set that grows with the work and shrinks when idle. It bounds nothing: each
//! version's lane admits a limited number of runs at once, and that is what keeps a slow model
//! from taking the threads of others. Keyed by process id, as threads do not survive `fork`.

use crate::sync::{Condvar, Mutex};
use arc_swap::ArcSwapOption;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most threads of the executor; jobs beyond wait for one. Far above what lanes of a sensible
/// number of models ask for together.
const MAX_THREADS: usize = 512;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
}

struct Executor {
    pid: u32,
    state: Mutex<State>,
    work: Condvar,
}

static EXECUTOR: ArcSwapOption<Executor> = ArcSwapOption::const_empty();

fn executor() -> Arc<Executor> {
    let pid = std::process::id();
    loop {
        let current = EXECUTOR.load();
        if let Some(executor) = &*current
            && executor.pid == pid
        {
            return executor.clone();
        }
        let fresh = Arc::new(Executor { pid, state: Mutex::default(), work: Condvar::new() });
        let before = EXECUTOR.compare_and_swap(&current, Some(fresh));
        // After a fork: the parent's executor is forgotten with its jobs, which are the parent's.
        if let Some(parents) = &*before
            && parents.pid != pid
        {
            std::mem::forget(parents.clone());
        }
    }
}

/// Runs `job` on a thread of the executor. Where no thread can be started and none exists, the
/// job runs here.
pub(crate) fn spawn(job: impl FnOnce() + Send + 'static) {
    let executor = executor();
    let mut state = executor.state.lock();
    state.jobs.push_back(Box::new(job));
    if state.idle >= state.jobs.len() {
        drop(state);
        executor.work.notify_one();
        return;
    }
    if state.threads >= MAX_THREADS {
        return;
    }
    state.threads += 1;
    let threads = state.threads;
    drop(state);
    let worker = executor.clone();
    let started = std::thread::Builder::new()
        .name("modelserve-exec".to_string())
        .spawn(move || worker.serve());
    if started.is_err() {
        executor.state.lock().threads -= 1;
        if threads == 1 {
            executor.run_queued();
        }
    }
}

fn run(job: Job) {
    // A job contains its own panics; this is for what it forgot.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
        std::mem::forget(payload);
    }
}

impl Executor {
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                run(job);
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            let timed_out;
            (state, timed_out) = self.work.wait_until(state, Instant::now() + IDLE);
            state.idle -= 1;
            if timed_out && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn run_queued(&self) {
        loop {
            let job = self.state.lock().jobs.pop_front();
            match job {
                Some(job) => run(job),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[test]
    fn every_job_runs_and_a_panic_takes_nothing_with_it() {
        let done = Arc::new(AtomicUsize::new(0));
        let (tx, rx) = mpsc::channel();
        for i in 0..100 {
            let (done, tx) = (done.clone(), tx.clone());
            spawn(move || {
                done.fetch_add(1, Ordering::SeqCst);
                tx.send(()).unwrap();
                assert!(i % 10 != 0, "one in ten panics");
            });
        }
        for _ in 0..100 {
            rx.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        assert_eq!(done.load(Ordering::SeqCst), 100);
    }

    #[test]
    fn jobs_run_beside_one_that_blocks() {
        let (release, blocked) = mpsc::channel::<()>();
        let (tx, rx) = mpsc::channel();
        spawn(move || {
            let _ = blocked.recv();
        });
        spawn(move || tx.send(()).unwrap());
        rx.recv_timeout(Duration::from_secs(60)).unwrap();
        drop(release);
    }
}
