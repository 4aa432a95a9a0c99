//! Times calls in turns: means of rounds, single calls, and calls a second of several threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What one figure of a round takes at least.
const SLICE: Duration = Duration::from_millis(1);
/// Single calls of a round.
const SINGLES: usize = 300;

/// ns a call, of each round and of single calls (the clock's own time is in those).
#[derive(Default)]
pub struct Times {
    /// One mean a round.
    pub rounds: Vec<f64>,
    singles: Vec<f64>,
}

impl Times {
    /// The 99th percentile of single calls.
    pub fn p99(&mut self) -> f64 {
        self.singles.sort_by(f64::total_cmp);
        self.singles[(self.singles.len() * 99 / 100).min(self.singles.len() - 1)]
    }
}

/// How many calls take about a slice; calls it for a while, too.
pub fn calls_of_a_slice(mut call: impl FnMut(usize)) -> usize {
    let start = Instant::now();
    let mut made = 0;
    while start.elapsed() < SLICE * 20 {
        call(made);
        made += 1;
    }
    (made / 20).max(1)
}

/// One round of `count` calls; the argument counts them.
pub fn round(times: &mut Times, count: usize, mut call: impl FnMut(usize)) {
    let start = Instant::now();
    for i in 0..count {
        call(i);
    }
    times.rounds.push(start.elapsed().as_nanos() as f64 / count as f64);
    for i in 0..SINGLES.min(count) {
        let start = Instant::now();
        call(i);
        times.singles.push(start.elapsed().as_nanos() as f64);
    }
}

/// Calls a second of `threads` threads together. Each makes a caller of its own with `make`.
pub fn rate<C: FnMut(usize)>(threads: usize, window: Duration, make: impl Fn() -> C + Sync) -> f64 {
    let gate = Barrier::new(threads + 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut call = make();
                    let mut made = 0;
                    gate.wait();
                    let start = Instant::now();
                    while !stop.load(Ordering::Relaxed) {
                        call(made);
                        made += 1;
                    }
                    made as f64 / start.elapsed().as_secs_f64()
                })
            })
            .collect();
        gate.wait();
        std::thread::sleep(window);
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().expect("a caller")).sum()
    })
}
