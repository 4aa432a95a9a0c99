//! Where answers are kept: one bounded table for all versions that share it.

use super::key::{self, Carried, Hashing, Key, Space};
use crate::model::{Answer, Answers, Prediction, Predictions, Receipt, Reply, Signature};
use crate::tensor::Tensor;
use parking_lot::Mutex;
use quick_cache::sync::Cache as Table;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};
use smallvec::SmallVec;
use std::hash::{Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How a [`CacheStore`] keeps answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Most bytes of keys, answers and what the table needs for them (64 MiB).
    pub capacity_bytes: u64,
    /// How long an answer may be given after it was made; `None` (the default): as long as its
    /// version is loaded.
    pub ttl: Option<Duration>,
    /// Most bytes of one entry, key and answer together (1 MiB). What is larger is answered by
    /// the model each time. At most nine tenths of `capacity_bytes` counts.
    pub max_entry_bytes: u64,
    /// Most rows of a batch that are looked up (4096). A larger one is a bulk job: it goes to
    /// the model as it is, and leaves what is kept alone.
    pub max_rows: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions {
            capacity_bytes: 64 << 20,
            ttl: None,
            max_entry_bytes: 1 << 20,
            max_rows: 4096,
        }
    }
}

/// What a [`CacheStore`] has done so far. Rows of a batch count one by one, a request that is
/// kept as a whole counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Answers found.
    pub hits: u64,
    /// Answers not found, or found too old.
    pub misses: u64,
    /// Answers of another caller's run that were shared (each was a miss first).
    pub shared: u64,
    /// Answers kept.
    pub inserts: u64,
    /// Answers that made room for others.
    pub evictions: u64,
    /// Answers kept now.
    pub entries: u64,
    /// Bytes of them, at most [`CacheOptions::capacity_bytes`].
    pub bytes: u64,
}

/// An answer as it is kept.
#[derive(Debug)]
pub(super) struct Entry {
    pub kept: Kept,
    expires: Option<Instant>,
    bytes: u64,
}

/// Receipt and latency are those of whom it is given to, and not kept.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all entries are rows: a box would cost every hit"
)]
pub(super) enum Kept {
    Row(Prediction),
    Whole(Reply),
}

/// Answers of the versions of a model, or of many models: each [`super::Cache`] on it has
/// entries of its own, and all share the room.
///
/// The table is `quick_cache`'s: a variant of Clock-PRO that admits what is asked for again
/// before what is asked for once, so that a scan does not drive out what is in use.
#[derive(Debug)]
pub struct CacheStore {
    table: Table<Key, Arc<Entry>, ByBytes, Carried, Evictions>,
    options: CacheOptions,
    hashing: Hashing,
    next_space: AtomicU64,
    /// The caches on this store: number and digest.
    spaces: Mutex<Vec<(u64, Arc<str>)>>,
    tallies: [Tally; TALLIES],
    inserts: AtomicU64,
    evictions: Arc<AtomicU64>,
}

const TALLIES: usize = 16;

/// Counters that many threads write: several of them, each on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    shared: AtomicU64,
}

/// What an entry takes beside key and answer: a slot of the table in three tables' worth (it
/// grows by doubling, and remembers half as many that left), and the allocations.
const OVERHEAD: u64 = 192;

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, _key: &Key, entry: &Arc<Entry>) -> u64 {
        entry.bytes
    }
}

#[derive(Debug, Clone)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Arc<Entry>> for Evictions {
    /// What left: dropped after the table's lock is free.
    type RequestState = SmallVec<[(Key, Arc<Entry>); 2]>;

    fn on_evict(&self, left: &mut Self::RequestState, key: Key, entry: Arc<Entry>) {
        self.0.fetch_add(1, Relaxed);
        left.push((key, entry));
    }
}

impl CacheStore {
    /// An empty store.
    pub fn new(options: CacheOptions) -> Arc<CacheStore> {
        CacheStore::with_hashing(options, Hashing::Keyed(RandomState::new()))
    }

    pub(super) fn with_hashing(mut options: CacheOptions, hashing: Hashing) -> Arc<CacheStore> {
        // The room is divided between parts with a lock each; four of the largest entries must
        // fit in one, or they would push each other out.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let parts = options.capacity_bytes / options.max_entry_bytes.saturating_mul(4).max(1);
        let parts = parts.clamp(1, cores.saturating_mul(4) as u64);
        let parts = if parts.is_power_of_two() { parts } else { parts.next_power_of_two() / 2 };
        let part = options.capacity_bytes / parts;
        options.max_entry_bytes = options.max_entry_bytes.min(part / 10 * 9);
        let evictions = Arc::new(AtomicU64::new(0));
        let items = usize::try_from(options.capacity_bytes / 512).unwrap_or(usize::MAX);
        let (shards, items) = (parts as usize, items.max(parts as usize * 32));
        let mut builder = OptionsBuilder::new();
        builder.shards(shards).estimated_items_capacity(items).weight_capacity(part * parts);
        let lifecycle = Evictions(evictions.clone());
        let table = match builder.build() {
            Ok(built) => Table::with_options(built, ByBytes, Carried::default(), lifecycle),
            // Both capacities are set; this is the same table with the default number of parts.
            Err(_) => Table::with(items, part * parts, ByBytes, Carried::default(), lifecycle),
        };
        Arc::new(CacheStore {
            table,
            options,
            hashing,
            next_space: AtomicU64::new(0),
            spaces: Mutex::default(),
            tallies: Default::default(),
            inserts: AtomicU64::new(0),
            evictions,
        })
    }

    /// The options, with what was adjusted to the capacity.
    pub fn options(&self) -> &CacheOptions {
        &self.options
    }

    /// What was done so far.
    pub fn stats(&self) -> CacheStats {
        let sum =
            |f: fn(&Tally) -> &AtomicU64| self.tallies.iter().map(|t| f(t).load(Relaxed)).sum();
        CacheStats {
            hits: sum(|t| &t.hits),
            misses: sum(|t| &t.misses),
            shared: sum(|t| &t.shared),
            inserts: self.inserts.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            entries: self.table.len() as u64,
            bytes: self.table.weight(),
        }
    }

    /// Drops every answer of versions whose file has this digest. (Answers of a version are
    /// dropped with its last [`super::Cache`] anyway; until then requests that are under way may
    /// keep new ones.)
    pub fn forget(&self, digest: &str) {
        let spaces = self.spaces.lock();
        let ids: Vec<u64> = spaces.iter().filter(|(_, d)| &**d == digest).map(|s| s.0).collect();
        drop(spaces);
        if !ids.is_empty() {
            self.table.retain(|key, _| !ids.contains(&key.space()));
        }
    }

    /// Drops every answer.
    pub fn clear(&self) {
        self.table.clear();
    }

    pub(super) fn open_space(&self, digest: &Arc<str>, signature: &Signature) -> Space {
        // Only has to differ each time.
        let id = self.next_space.fetch_add(1, Relaxed);
        self.spaces.lock().push((id, digest.clone()));
        Space::new(id, digest, signature, &self.hashing)
    }

    pub(super) fn close_space(&self, id: u64) {
        self.spaces.lock().retain(|(other, _)| *other != id);
        self.table.retain(|key, _| key.space() != id);
    }

    /// The entry of `key`, unless it is too old at `now`. Counts nothing.
    pub(super) fn find<Q>(&self, key: &Q, now: Instant) -> Option<Arc<Entry>>
    where
        Q: Hash + Equivalent<Key>,
    {
        let entry = self.table.get(key)?;
        if entry.expires.is_some_and(|at| at <= now) {
            self.table.remove_if(key, |found| Arc::ptr_eq(found, &entry));
            return None;
        }
        Some(entry)
    }

    /// Counts what was looked up. `hash` only spreads the counting.
    pub(super) fn count(&self, hash: u64, hits: u64, misses: u64) {
        let tally = self.tally(hash);
        if hits > 0 {
            tally.hits.fetch_add(hits, Relaxed);
        }
        if misses > 0 {
            tally.misses.fetch_add(misses, Relaxed);
        }
    }

    pub(super) fn count_shared(&self, hash: u64) {
        self.tally(hash).shared.fetch_add(1, Relaxed);
    }

    fn tally(&self, hash: u64) -> &Tally {
        &self.tallies[key::part(hash, TALLIES)]
    }

    /// Keeps an answer made at `made`, where it is not too large.
    pub(super) fn keep(&self, key: &Key, mut kept: Kept, made: Instant) -> Arc<Entry> {
        strip(&mut kept);
        let bytes = OVERHEAD
            .saturating_add(key.byte_len())
            .saturating_add(size_of::<Entry>() as u64)
            .saturating_add(heap_bytes(&kept));
        let expires = self.options.ttl.and_then(|ttl| made.checked_add(ttl));
        let entry = Arc::new(Entry { kept, expires, bytes });
        if bytes <= self.options.max_entry_bytes {
            self.inserts.fetch_add(1, Relaxed);
            self.table.insert(key.clone(), entry.clone());
        }
        entry
    }
}

fn strip(kept: &mut Kept) {
    let (receipt, latency) = match kept {
        Kept::Row(p) => (&mut p.receipt, &mut p.latency),
        Kept::Whole(Reply::Row(p)) => (&mut p.receipt, &mut p.latency),
        Kept::Whole(Reply::Batch(p)) => (&mut p.receipt, &mut p.latency),
        Kept::Whole(Reply::Tensors(_)) => return,
    };
    *receipt = Receipt::default();
    *latency = Duration::ZERO;
}

/// Bytes of an answer beyond its own size, roughly.
fn heap_bytes(kept: &Kept) -> u64 {
    match kept {
        Kept::Row(p) => row_bytes(p),
        Kept::Whole(Reply::Row(p)) => row_bytes(p),
        Kept::Whole(Reply::Batch(p)) => batch_bytes(p),
        Kept::Whole(Reply::Tensors(outputs)) => outputs_bytes(outputs),
    }
}

fn row_bytes(p: &Prediction) -> u64 {
    let numbers = |n: usize| (n as u64).saturating_mul(8);
    let scores = p.scores.as_ref().map_or(0, |s| if s.spilled() { s.capacity() } else { 0 });
    let answer = match &p.answer {
        Answer::Int(_) | Answer::Value(_) => 0,
        Answer::Str(text) => text.len() as u64 + 32,
        Answer::Values(v) => numbers(v.capacity()),
        Answer::Labels(v) => numbers(v.capacity()),
        Answer::Outputs(outputs) => outputs_bytes(outputs),
    };
    answer.saturating_add(numbers(scores))
}

fn batch_bytes(p: &Predictions) -> u64 {
    let answers = match &p.answers {
        Answers::Labels(t) | Answers::Values(t) | Answers::Multilabel(t) => t.byte_len(),
        Answers::Outputs(outputs) => outputs_bytes(outputs),
    };
    answers.saturating_add(p.scores.as_ref().map_or(0, Tensor::byte_len)).saturating_add(256)
}

fn outputs_bytes(outputs: &[(String, crate::tensor::Value)]) -> u64 {
    let one = |(name, value): &(String, crate::tensor::Value)| {
        value.byte_len().saturating_add(name.len() as u64).saturating_add(256)
    };
    outputs.iter().map(one).fold(0, u64::saturating_add)
}
