//! What was asked and what came of it.

use crate::fleet::NAMES;
use modelserve::{CacheUse, Receipt, Route};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Problems that are told in words; the others are only counted.
const TOLD: usize = 20;

/// What the threads share.
#[derive(Default)]
pub struct Shared {
    pub stop: AtomicBool,
    /// Requests so far.
    pub requests: AtomicU64,
    /// What may not happen and did.
    problems: AtomicU64,
    first: Mutex<Vec<String>>,
}

impl Shared {
    pub fn stopped(&self) -> bool {
        self.stop.load(SeqCst)
    }

    pub fn problem(&self, what: String) {
        self.problems.fetch_add(1, SeqCst);
        if let Ok(mut first) = self.first.lock()
            && first.len() < TOLD
        {
            first.push(what);
        }
    }

    pub fn problems(&self) -> u64 {
        self.problems.load(SeqCst)
    }

    pub fn first(&self) -> Vec<String> {
        self.first.lock().map(|first| first.clone()).unwrap_or_default()
    }
}

/// How a request was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Form {
    Row,
    Handle,
    Batch,
    Run,
    Keyed,
    Label,
    Pinned,
    Submitted,
    Future,
}

/// What one form of requests to one name came to.
#[derive(Default, Clone, Copy)]
pub struct Count {
    pub answered: u64,
    pub rows: u64,
    pub wrong: u64,
    pub failed: u64,
}

/// Versions by number, a bit each: there are more than a hundred thousand in an hour, and what the
/// soak keeps of them would pass for a leak.
#[derive(Default)]
pub struct Versions(Vec<u64>);

impl Versions {
    fn insert(&mut self, version: u64) {
        let word = (version / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (version % 64);
    }

    fn extend(&mut self, other: &Versions) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// What one thread saw.
#[derive(Default)]
pub struct Tally {
    pub counts: BTreeMap<(usize, Form), Count>,
    /// Bad requests refused as they should be.
    pub refused: u64,
    /// Bad requests that were answered, or refused in another way.
    pub not_refused: u64,
    /// Futures that were dropped before their answer.
    pub dropped: u64,
    pub versions: [Versions; NAMES.len()],
    pub cache: BTreeMap<&'static str, u64>,
    pub routes: BTreeMap<(usize, &'static str), u64>,
    /// Answers from a run that held rows of other requests, too.
    pub shared_runs: u64,
    pub largest_batch: u32,
}

impl Tally {
    /// Notes the receipt of a right answer to `rows` rows.
    pub fn receipt(&mut self, name: usize, rows: usize, receipt: &Receipt) {
        if receipt.route != Route::Fallback {
            self.versions[name].insert(receipt.version);
        }
        if receipt.cache != CacheUse::Off {
            *self.cache.entry(receipt.cache.name()).or_default() += 1;
        }
        *self.routes.entry((name, receipt.route.name())).or_default() += 1;
        self.shared_runs += u64::from(receipt.batch_rows as usize > rows);
        self.largest_batch = self.largest_batch.max(receipt.batch_rows);
    }

    pub fn add(&mut self, other: Tally) {
        for (key, count) in other.counts {
            let sum = self.counts.entry(key).or_default();
            sum.answered += count.answered;
            sum.rows += count.rows;
            sum.wrong += count.wrong;
            sum.failed += count.failed;
        }
        self.refused += other.refused;
        self.not_refused += other.not_refused;
        self.dropped += other.dropped;
        for (mine, theirs) in self.versions.iter_mut().zip(&other.versions) {
            mine.extend(theirs);
        }
        for (key, n) in other.cache {
            *self.cache.entry(key).or_default() += n;
        }
        for (key, n) in other.routes {
            *self.routes.entry(key).or_default() += n;
        }
        self.shared_runs += other.shared_runs;
        self.largest_batch = self.largest_batch.max(other.largest_batch);
    }

    pub fn total(&self) -> Count {
        self.counts.values().fold(Count::default(), |sum, c| Count {
            answered: sum.answered + c.answered,
            rows: sum.rows + c.rows,
            wrong: sum.wrong + c.wrong,
            failed: sum.failed + c.failed,
        })
    }
}
