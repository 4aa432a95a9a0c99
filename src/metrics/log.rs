//! The log sink: life-cycle events for hosts without `tracing` (C, Python's `logging`).
//!
//! The library's threads never call foreign code: records go into a bounded ring, and one thread
//! of the sink's own hands them on. A sink that is slow or blocks costs records, which are
//! counted, and one that panics costs the record that it was given. Keyed by process id, as
//! threads do not survive `fork`: a child starts a thread of its own, and what was in the ring
//! stays the parent's.

use crate::sync::{Condvar, Mutex};
use arc_swap::ArcSwapOption;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// Records that may wait for the sink.
const RING: usize = 1024;
/// The target of the records about the log itself.
const TARGET: &str = "modelserve::log";

/// How much a record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LogLevel {
    /// Something failed, and a request or an operator notices.
    Error = 1,
    /// Something was refused or given up; what served before serves on.
    Warn = 2,
    /// Something changed as it was asked for.
    Info = 3,
    /// For those who look for a cause.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl LogLevel {
    /// Every level, the most important first.
    pub const ALL: [LogLevel; 5] =
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// How much it matters.
    pub level: LogLevel,
    /// What part of the library says it: `modelserve::lifecycle`, `modelserve::log`.
    pub target: &'static str,
    /// What happened, in a sentence that names neither model nor version.
    pub message: String,
    /// The model concerned.
    pub model: Option<Arc<str>>,
    /// The version concerned.
    pub version: Option<u64>,
    /// When it happened.
    pub time: SystemTime,
}

impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.model, self.version) {
            (Some(model), Some(version)) => write!(f, "model '{model}' version {version}: ")?,
            (Some(model), None) => write!(f, "model '{model}': ")?,
            _ => {}
        }
        f.write_str(&self.message)
    }
}

/// What records are handed to, one at a time and in order, on a thread of its own.
pub type LogSink = Arc<dyn Fn(&LogRecord) + Send + Sync>;

struct Logger {
    pid: u32,
    sink: LogSink,
    ring: Mutex<Ring>,
    /// Something to hand on, or the end.
    work: Condvar,
    /// Everything was handed on.
    idle: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Ring {
    records: VecDeque<LogRecord>,
    /// Records not yet reported as dropped.
    missed: u64,
    busy: bool,
    closed: bool,
    started: bool,
}

static LOGGER: ArcSwapOption<Logger> = ArcSwapOption::const_empty();
/// The least important level that is wanted; 0 without a sink.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Hands records of `level` and more important ones to `sink` from now on, in place of the sink
/// before; `None` ends it. One for the process.
///
/// Records that wait for the sink before are dropped. It is not called again once this has
/// returned, but a call that was under way may still be ([`flush_log`] before the change waits
/// for it).
pub fn set_log_sink(sink: Option<LogSink>, level: LogLevel) {
    let next = sink.map(|sink| Arc::new(Logger::new(sink)));
    LEVEL.store(if next.is_some() { level as u8 } else { 0 }, Relaxed);
    let before = LOGGER.swap(next);
    if let Some(before) = before {
        before.retire();
    }
}

/// Waits until every record so far was handed to the sink, at most for `timeout`; whether that
/// was so. True without a sink. From within the sink it waits in vain.
pub fn flush_log(timeout: Duration) -> bool {
    let Some(logger) = &*LOGGER.load() else { return true };
    if logger.pid != std::process::id() {
        return true;
    }
    logger.flush(timeout)
}

/// How many records the present sink did not get, because too many waited or it panicked.
pub fn log_dropped() -> u64 {
    LOGGER.load().as_ref().map_or(0, |logger| logger.dropped.load(Relaxed))
}

/// Whether a record of this level has somewhere to go.
pub(super) fn wanted(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Relaxed)
}

/// Hands a record over; drops it when too many wait. Never blocks on the sink.
pub(super) fn push(record: LogRecord) {
    if let Some(logger) = logger() {
        logger.push(record);
    }
}

/// This process's logger: in a forked child a fresh one with the parent's sink.
fn logger() -> Option<Arc<Logger>> {
    let pid = std::process::id();
    loop {
        let current = LOGGER.load_full()?;
        if current.pid == pid {
            return Some(current);
        }
        let fresh = Arc::new(Logger::new(current.sink.clone()));
        let before = LOGGER.compare_and_swap(&current, Some(fresh));
        // The parent's ring may be locked by a thread that is not there: it is forgotten.
        if let Some(before) = &*before
            && before.pid != pid
        {
            std::mem::forget(before.clone());
        }
    }
}

impl Logger {
    fn new(sink: LogSink) -> Logger {
        Logger {
            pid: std::process::id(),
            sink,
            ring: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    fn push(self: &Arc<Self>, record: LogRecord) {
        let mut ring = self.ring.lock();
        if ring.closed {
            return;
        }
        if !ring.started {
            let logger = self.clone();
            let name = "modelserve-log".to_string();
            let spawned = std::thread::Builder::new().name(name).spawn(move || logger.serve());
            // Tried again with the next record; this one waits for that.
            ring.started = spawned.is_ok();
        }
        if ring.records.len() >= RING {
            ring.missed += 1;
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        ring.records.push_back(record);
        drop(ring);
        self.work.notify_one();
    }

    fn flush(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        let mut ring = self.ring.lock();
        while ring.busy || !ring.records.is_empty() {
            match until {
                Some(until) => {
                    let timed_out;
                    (ring, timed_out) = self.idle.wait_until(ring, until);
                    if timed_out {
                        return false;
                    }
                }
                None => ring = self.idle.wait(ring),
            }
        }
        true
    }

    fn retire(&self) {
        if self.pid != std::process::id() {
            return;
        }
        let mut ring = self.ring.lock();
        ring.closed = true;
        ring.records.clear();
        drop(ring);
        self.work.notify_all();
        self.idle.notify_all();
    }

    fn serve(&self) {
        let mut ring = self.ring.lock();
        while !ring.closed {
            let Some(record) = ring.records.pop_front() else {
                self.idle.notify_all();
                ring = self.work.wait(ring);
                continue;
            };
            let missed = std::mem::take(&mut ring.missed);
            ring.busy = true;
            drop(ring);
            self.hand_on(&record);
            if missed > 0 {
                self.hand_on(&LogRecord {
                    level: LogLevel::Warn,
                    target: TARGET,
                    message: format!("{missed} log records were dropped: the sink is too slow"),
                    model: None,
                    version: None,
                    time: SystemTime::now(),
                });
            }
            ring = self.ring.lock();
            ring.busy = false;
        }
        self.idle.notify_all();
    }

    fn hand_on(&self, record: &LogRecord) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.sink)(record))) {
            self.dropped.fetch_add(1, Relaxed);
            // Its drop may panic too.
            std::mem::forget(payload);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::mpsc::{self, RecvTimeoutError};

    /// The sink is one for the process, so tests that set it take turns. Other tests may log
    /// meanwhile: these look at their own model's records only.
    pub(in super::super) static TURN: Mutex<()> = Mutex::new(());
    const LONG: Duration = Duration::from_secs(60);

    fn record(message: &str) -> LogRecord {
        LogRecord {
            level: LogLevel::Info,
            target: "test",
            message: message.to_string(),
            model: Some("test-log".into()),
            version: Some(7),
            time: SystemTime::now(),
        }
    }

    fn logger(sink: impl Fn(&LogRecord) + Send + Sync + 'static) -> Arc<Logger> {
        Arc::new(Logger::new(Arc::new(sink)))
    }

    #[test]
    fn records_come_in_order_on_one_other_thread() {
        let (tx, rx) = mpsc::channel();
        let tx = Mutex::new(tx);
        let logger = logger(move |r| {
            tx.lock().send((r.to_string(), std::thread::current().id())).unwrap();
        });
        for i in 0..100 {
            logger.push(record(&format!("event {i}")));
        }
        assert!(logger.flush(LONG));
        let got: Vec<_> = rx.try_iter().collect();
        assert_eq!(got.len(), 100);
        for (i, (text, thread)) in got.iter().enumerate() {
            assert_eq!(text, &format!("model 'test-log' version 7: event {i}"));
            assert!(*thread == got[0].1 && *thread != std::thread::current().id());
        }
        logger.retire();
        logger.push(record("too late"));
        drop(logger);
        assert_eq!(rx.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_sink_that_blocks_costs_records_and_nothing_else() {
        let (entered, wait_entered) = mpsc::channel();
        let (release, wait_release) = mpsc::channel::<()>();
        let (tx, rx) = mpsc::channel();
        let ends = Mutex::new((entered, wait_release, tx));
        let logger = logger(move |r| {
            let (entered, wait_release, tx) = &*ends.lock();
            let _ = entered.send(());
            let _ = wait_release.recv();
            let _ = tx.send(r.message.clone());
        });
        logger.push(record("first"));
        wait_entered.recv_timeout(LONG).unwrap();
        // One is with the sink; the ring takes its fill, and five are too many.
        for _ in 0..RING + 5 {
            logger.push(record("more"));
        }
        assert_eq!(logger.dropped.load(Relaxed), 5);
        assert!(!logger.flush(Duration::ZERO));
        drop(release);
        assert!(logger.flush(LONG));
        let got: Vec<String> = rx.try_iter().collect();
        assert_eq!(got.len(), 1 + RING + 1);
        assert_eq!(got[2], "5 log records were dropped: the sink is too slow");
        logger.retire();
    }

    #[test]
    fn a_sink_that_panics_costs_one_record() {
        let (tx, rx) = mpsc::channel();
        let tx = Mutex::new(tx);
        let logger = logger(move |r| {
            assert!(r.message != "bad", "the sink fails");
            tx.lock().send(r.message.clone()).unwrap();
        });
        for message in ["good", "bad", "good"] {
            logger.push(record(message));
        }
        assert!(logger.flush(LONG));
        assert_eq!(rx.try_iter().count(), 2);
        assert_eq!(logger.dropped.load(Relaxed), 1);
        logger.retire();
    }

    #[test]
    fn a_replaced_sink_is_not_called_again() {
        let _turn = TURN.lock();
        let ours = |r: &LogRecord| r.model.as_deref() == Some("test-log");
        let (entered, wait_entered) = mpsc::channel();
        let (release, wait_release) = mpsc::channel::<()>();
        let ends = Mutex::new((entered, wait_release));
        let old = move |r: &LogRecord| {
            if ours(r) {
                let (entered, wait_release) = &*ends.lock();
                entered.send(()).unwrap();
                let _ = wait_release.recv();
            }
        };
        set_log_sink(Some(Arc::new(old)), LogLevel::Info);
        assert!(wanted(LogLevel::Warn) && wanted(LogLevel::Info) && !wanted(LogLevel::Debug));
        push(record("under way"));
        push(record("waits"));
        wait_entered.recv_timeout(LONG).unwrap();
        let (tx, rx) = mpsc::channel();
        let tx = Mutex::new(tx);
        let new = move |r: &LogRecord| {
            if ours(r) {
                tx.lock().send(r.message.clone()).unwrap();
            }
        };
        set_log_sink(Some(Arc::new(new)), LogLevel::Info);
        push(record("for the new one"));
        assert_eq!(rx.recv_timeout(LONG).unwrap(), "for the new one");
        drop(release);
        // The old sink's end of the channel goes with its thread, without a second call.
        assert_eq!(wait_entered.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        assert!(flush_log(LONG));
        set_log_sink(None, LogLevel::Trace);
        assert!(!wanted(LogLevel::Error));
        push(record("nobody listens"));
        assert_eq!(rx.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }
}
