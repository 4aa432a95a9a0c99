//! Writing a sample of requests and their answers to a file.

use super::form::{FORMAT, Header, Outcome, Record, RequestForm};
use crate::error::{Error, ErrorKind, Result, ensure, err};
use crate::model::{Reply, Request};
use crate::sync::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is recorded, and at what cost at most.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// The share of requests that is recorded, 0 to 1 (0.01).
    pub sample: f64,
    /// Bytes of the file (1 GiB). The recording ends there.
    pub max_bytes: u64,
    /// Records that may wait for the disk (1,024). Further ones are dropped and counted.
    pub max_pending: usize,
    /// Bytes of values that may wait for the disk (64 MiB).
    pub max_pending_bytes: u64,
}

impl Default for RecordOptions {
    fn default() -> Self {
        RecordOptions {
            sample: 0.01,
            max_bytes: 1 << 30,
            max_pending: 1_024,
            max_pending_bytes: 64 << 20,
        }
    }
}

/// How a recording stands.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecordStatus {
    /// Records in the file, or on the way to it in a buffer of 64 KiB: what is there is lost when
    /// the disk fails.
    pub written: u64,
    /// Records that were sampled and dropped, since too many waited or the recording had ended.
    pub dropped: u64,
    /// Bytes of the file, those on the way to it counted.
    pub bytes: u64,
    /// Why the recording has ended: `LimitExceeded` at [`RecordOptions::max_bytes`], `Io` when
    /// the disk is full or broken. `None` while it goes on.
    pub ended: Option<Arc<Error>>,
}

/// Records a sample of requests, until it is dropped, finished, full, or the disk is. Any number
/// of threads may use it at once.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    /// The writing thread, until somebody has waited for its end.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Most names that [`Recorder::start_free`] tries.
const MAX_NAMES: usize = 10_000;

/// A request that will be recorded with its answer. Dropped without one, it is forgotten.
#[derive(Debug)]
pub struct Sampled {
    shared: Arc<Shared>,
    model: String,
    request: Request<'static>,
}

#[derive(Debug)]
struct Shared {
    options: RecordOptions,
    /// Threads do not survive a fork: in another process nothing is recorded.
    pid: u32,
    /// Whether records are taken. Relaxed like all counters here: it orders nothing.
    active: AtomicBool,
    /// The state of the sequence that decides what is sampled.
    chance: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicU64,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Entry>,
    bytes: u64,
    stop: Option<Stop>,
    ended: Option<Arc<Error>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stop {
    /// Write what waits, then end.
    Drain,
    /// End.
    Discard,
}

#[derive(Debug)]
struct Entry {
    at: SystemTime,
    model: String,
    version: u64,
    took: Duration,
    request: Request<'static>,
    outcome: Outcome,
    bytes: u64,
}

impl Recorder {
    /// Records to a new file at `path`, readable by its owner alone.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a file; `InvalidArgument` for a share outside 0 to 1;
    /// `NotFound`, `PermissionDenied` or `Io` from the system.
    pub fn start(path: &Path, options: RecordOptions) -> Result<Recorder> {
        check(&options)?;
        let mut open = OpenOptions::new();
        open.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
        let file = open.open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                err!(AlreadyExists, "{} exists: name another file, or remove it", path.display())
            }
            _ => Error::io(path.display(), &e),
        })?;
        Recorder::to(Box::new(file), options)
    }

    /// As [`Recorder::start`]; where there is a file of that name, to the first free one of
    /// `path.1`, `path.2` and so on, so that a program can be started again.
    ///
    /// # Errors
    /// As [`Recorder::start`]; `AlreadyExists` when 10,000 names are taken.
    pub(crate) fn start_free(path: &Path, options: RecordOptions) -> Result<Recorder> {
        let mut name = path.to_path_buf();
        for number in 1..=MAX_NAMES {
            match Recorder::start(&name, options.clone()) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => name = numbered(path, number),
                done => return done,
            }
        }
        let last = numbered(path, MAX_NAMES - 1);
        Err(err!(
            AlreadyExists,
            "all names from {} to {} are taken: move the recordings away",
            path.display(),
            last.display()
        ))
    }

    /// Records to anything that can be written to, on a thread of its own.
    ///
    /// # Errors
    /// `InvalidArgument` for a share outside 0 to 1; `Io` when no thread can be started.
    pub fn to(writer: Box<dyn Write + Send>, options: RecordOptions) -> Result<Recorder> {
        check(&options)?;
        let shared = Arc::new(Shared {
            options,
            pid: std::process::id(),
            active: AtomicBool::new(true),
            chance: AtomicU64::new(RandomState::new().hash_one(0u8)),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            queue: Mutex::default(),
            wake: Condvar::new(),
        });
        let writing = shared.clone();
        let thread = std::thread::Builder::new()
            .name("modelserve-record".to_string())
            .spawn(move || writing.write_all(BufWriter::with_capacity(1 << 16, writer)))
            .map_err(|e| Error::io("starting a thread to record", &e))?;
        Ok(Recorder { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Decides whether this request is recorded, and keeps a copy of it then. To be called before
    /// the model is; a few nanoseconds when the request is not sampled.
    pub fn sample(&self, model: &str, request: &Request<'_>) -> Option<Sampled> {
        let shared = &self.shared;
        if !shared.active.load(Relaxed) || !shared.draw() || shared.is_forked() {
            return None;
        }
        if request.byte_len() > shared.options.max_pending_bytes {
            shared.dropped.fetch_add(1, Relaxed);
            return None;
        }
        // A request that contradicts itself is refused by the model; there is nothing to keep.
        let request = request.clone().into_owned().ok()?;
        Some(Sampled { shared: shared.clone(), model: model.to_string(), request })
    }

    /// How the recording stands.
    pub fn status(&self) -> RecordStatus {
        self.shared.status()
    }

    /// Writes what still waits, and ends the recording: whoever still holds the recorder drops it
    /// without waiting.
    pub fn finish(&self) -> RecordStatus {
        self.end(Stop::Drain);
        self.shared.status()
    }

    fn end(&self, stop: Stop) {
        // Asked first: another thread may have held the lock when the process was forked.
        if self.shared.is_forked() {
            return;
        }
        // Held during the wait: who ends it at the same time has the same end to wait for.
        let mut thread = self.thread.lock();
        let Some(thread) = thread.take() else { return };
        self.shared.active.store(false, Relaxed);
        self.shared.queue.lock().stop = Some(stop);
        self.shared.wake.notify_one();
        // It does not panic; if it did, there would be nobody to tell.
        let _ = thread.join();
    }
}

impl Drop for Recorder {
    /// Ends the recording; what waits for the disk is dropped.
    fn drop(&mut self) {
        if self.shared.is_forked() {
            // The thread is the parent's, and so may be whoever holds the lock.
            std::mem::forget(std::mem::take(&mut self.thread));
            return;
        }
        self.end(Stop::Discard);
    }
}

impl Sampled {
    /// Hands the request over with what version `version` answered and how long that took. Never
    /// waits for the disk.
    pub fn finish(self, version: u64, outcome: &Result<Reply>, took: Duration) {
        let Sampled { shared, model, request } = self;
        if shared.is_forked() {
            return;
        }
        let Ok(outcome) = Outcome::of(outcome) else { return };
        let bytes = request.byte_len().saturating_add(outcome.byte_len());
        let at = SystemTime::now();
        shared.push(Entry { at, model, version, took, request, outcome, bytes });
    }
}

/// `path` with a number behind its name.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{number}"));
    name.into()
}

fn check(options: &RecordOptions) -> Result<()> {
    ensure!(
        (0.0..=1.0).contains(&options.sample),
        InvalidArgument,
        "a share of {} of the requests: expected 0 to 1",
        options.sample
    );
    Ok(())
}

impl Shared {
    fn is_forked(&self) -> bool {
        self.pid != std::process::id()
    }

    /// Whether chance picks this request.
    fn draw(&self) -> bool {
        // SplitMix64 (Steele, Lea, Flood 2014): good enough for sampling, and one atomic addition.
        let mut z = self.chance.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 53 bits: below 1, so that a share of 1 takes all and one of 0 none.
        ((z >> 11) as f64) * (-53f64).exp2() < self.options.sample
    }

    fn push(&self, entry: Entry) {
        let mut queue = self.queue.lock();
        let full = queue.waiting.len() >= self.options.max_pending
            || queue.bytes.saturating_add(entry.bytes) > self.options.max_pending_bytes;
        if full || queue.stop.is_some() || queue.ended.is_some() {
            drop(queue);
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        queue.bytes += entry.bytes;
        queue.waiting.push_back(entry);
        drop(queue);
        self.wake.notify_one();
    }

    fn status(&self) -> RecordStatus {
        RecordStatus {
            written: self.written.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            ended: if self.is_forked() { None } else { self.queue.lock().ended.clone() },
        }
    }

    fn write_all(&self, mut out: BufWriter<Box<dyn Write + Send>>) {
        let mut ended = self.write_until_stopped(&mut out).err();
        if ended.as_ref().is_some_and(|e| e.kind() != ErrorKind::Io) {
            // The disk is well: what is in the buffer belongs to the recording.
            ended = out.flush().err().map(io).or(ended);
        }
        self.active.store(false, Relaxed);
        let left = {
            let mut queue = self.queue.lock();
            queue.ended = ended.map(Arc::new);
            queue.bytes = 0;
            std::mem::take(&mut queue.waiting)
        };
        self.dropped.fetch_add(left.len() as u64, Relaxed);
        // After an error the buffer would be written once more.
        let _ = out.into_parts();
    }

    fn write_until_stopped(&self, out: &mut BufWriter<Box<dyn Write + Send>>) -> Result<()> {
        self.put(out, &Header { modelserve_record: FORMAT })?;
        let mut unflushed = true;
        loop {
            let entry = {
                let mut queue = self.queue.lock();
                loop {
                    if queue.stop == Some(Stop::Discard) {
                        drop(queue);
                        return out.flush().map_err(io);
                    }
                    if let Some(entry) = queue.waiting.pop_front() {
                        queue.bytes = queue.bytes.saturating_sub(entry.bytes);
                        break Some(entry);
                    }
                    if unflushed {
                        break None;
                    }
                    if queue.stop.is_some() {
                        return Ok(());
                    }
                    queue = self.wake.wait(queue);
                }
            };
            match entry {
                Some(entry) => {
                    self.put(out, &record(entry)?)?;
                    self.written.fetch_add(1, Relaxed);
                    unflushed = true;
                }
                // Nothing waits: what was written may be read.
                None => {
                    out.flush().map_err(io)?;
                    unflushed = false;
                }
            }
        }
    }

    fn put(&self, out: &mut impl Write, line: &impl serde::Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)
            .map_err(|e| err!(Internal, "a record cannot be written as JSON: {e}"))?;
        text.push(b'\n');
        let bytes = self.bytes.load(Relaxed).saturating_add(text.len() as u64);
        ensure!(
            bytes <= self.options.max_bytes,
            LimitExceeded,
            "the recording is full ({} bytes, RecordOptions::max_bytes)",
            self.options.max_bytes
        );
        out.write_all(&text).map_err(io)?;
        self.bytes.store(bytes, Relaxed);
        Ok(())
    }
}

fn io(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("the recording: {error}"))
}

fn record(entry: Entry) -> Result<Record> {
    let since = entry.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Record {
        at: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
        model: entry.model,
        version: entry.version,
        took: u64::try_from(entry.took.as_nanos()).unwrap_or(u64::MAX),
        request: RequestForm::of(&entry.request)?,
        outcome: entry.outcome.form(),
    })
}
