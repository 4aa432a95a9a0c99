//! The report at the end, and whether the soak passed.

use crate::canary::Canaries;
use crate::fleet::{CLIMB, NAMES, QUEUES, SLOW};
use crate::operate::Done;
use crate::tally::{Shared, Tally};
use crate::watch::{Course, Queues, Told};
use modelserve::policy::route::ShadowReport;
use std::time::Duration;

/// How much more memory may be in use at the end than after the warm-up: a quarter, and this.
const SLACK: u64 = 32 << 20;

/// How many more files may be open in the last quarter than in the first: each load opens some for
/// moments, and the looks meet them or do not.
const DESCRIPTORS: u64 = 12;

/// How many versions of a name may be remembered at the end: the last that ended, and what lives.
const KNOWN: usize = 64 + 16;

/// Resident memory in bytes.
pub struct Memory {
    pub start: u64,
    pub warm: u64,
    pub end: u64,
}

pub struct Report {
    pub seconds: Duration,
    pub seed: u64,
    pub tally: Tally,
    pub done: Done,
    pub canaries: Canaries,
    pub queues: Queues,
    pub told: Told,
    /// Versions of each name that the manager remembers.
    pub known: [usize; NAMES.len()],
    pub events_dropped: u64,
    pub memory: Memory,
    pub course: Course,
    pub shadow: Option<ShadowReport>,
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Report {
    /// What speaks against passing.
    fn failures(&self, shared: &Shared) -> Vec<String> {
        let total = self.tally.total();
        let mut failures = Vec::new();
        let mut need = |holds: bool, what: String| {
            if !holds {
                failures.push(what);
            }
        };
        need(total.wrong == 0, format!("{} wrong answers", total.wrong));
        need(total.failed == 0, format!("{} failed good requests", total.failed));
        let not_refused = self.tally.not_refused;
        need(not_refused == 0, format!("{not_refused} bad requests not refused as bad"));
        need(shared.problems() == 0, format!("{} problems", shared.problems()));
        for ((name, bound), seen) in NAMES.iter().zip(QUEUES).zip(self.queues.largest) {
            need(seen <= bound as u64, format!("{seen} waited for {name}, at most {bound} may"));
        }
        let bound = self.memory.warm + self.memory.warm / 4 + SLACK;
        need(
            self.memory.end <= bound,
            format!("{:.1} MiB resident, at most {:.1} may be", mib(self.memory.end), mib(bound)),
        );
        let (first, last) = self.course.descriptors();
        need(last <= first + DESCRIPTORS, format!("{last} files open at the end, {first} before"));
        need(self.canaries.promoted > 0, "no good canary was promoted".to_string());
        need(self.canaries.rolled_back > 0, "no worse canary was rolled back".to_string());
        need(self.canaries.covered > 0, "no canary failed a request".to_string());
        let fell_back = self.tally.routes.get(&(SLOW, "fallback"));
        need(fell_back.is_some(), "no fallback answered".to_string());
        let asked = self.tally.routes.get(&(CLIMB, "canary"));
        need(asked.is_some(), "no canary answered".to_string());
        need(self.tally.cache.contains_key("hit"), "no answer from the cache".to_string());
        need(self.tally.shared_runs > 0, "nothing was batched".to_string());
        need(self.tally.refused > 0, "no bad request was made".to_string());
        need(self.done.broken_refused > 0, "no broken file was tried".to_string());
        need(self.done.disk_refused > 0, "the disk was in no trouble".to_string());
        need(self.done.spoiled > 0, "no file was spoiled after its load".to_string());
        need(self.done.wrong_rejected > 0, "no wrong version was tried".to_string());
        need(self.done.rollbacks > 0, "nothing was rolled back by hand".to_string());
        for (name, known) in NAMES.iter().zip(self.known) {
            need(known <= KNOWN, format!("{known} versions of {name} are remembered"));
        }
        let dropped = self.events_dropped;
        need(dropped == 0, format!("{dropped} events were dropped"));
        failures
    }

    /// Prints everything; answers whether the soak passed.
    pub fn print(&self, shared: &Shared) -> bool {
        let total = self.tally.total();
        let seconds = self.seconds.as_secs_f64();
        println!("\n== soak: {seconds:.1} s, seed {} ==", self.seed);
        println!(
            "requests: {} good ({} rows), {} bad; {:.0} a second",
            total.answered + total.failed,
            total.rows,
            self.tally.refused + self.tally.not_refused,
            (total.answered + total.failed) as f64 / seconds
        );
        println!(
            "{:<8}{:<12}{:>12}{:>12}{:>8}{:>8}",
            "", "", "answered", "rows", "wrong", "failed"
        );
        for ((name, form), c) in &self.tally.counts {
            let (name, form) = (NAMES[*name], format!("{form:?}").to_lowercase());
            println!(
                "{name:<8}{form:<12}{:>12}{:>12}{:>8}{:>8}",
                c.answered, c.rows, c.wrong, c.failed
            );
        }
        println!("wrong answers: {}", total.wrong);
        println!("failed good requests: {}", total.failed);
        println!(
            "bad requests: {} refused with InvalidInput, {} otherwise",
            self.tally.refused, self.tally.not_refused
        );
        println!("futures dropped: {}", self.tally.dropped);
        for (name, versions) in NAMES.iter().zip(&self.tally.versions) {
            let routes: Vec<String> = self
                .tally
                .routes
                .iter()
                .filter(|((n, _), _)| NAMES[*n] == *name)
                .map(|((_, route), n)| format!("{n} {route}"))
                .collect();
            println!("{name}: {} versions answered; {}", versions.count(), routes.join(", "));
        }
        for (name, known) in NAMES.iter().zip(self.known) {
            println!("{name}: {known} versions are remembered");
        }
        let asked: u64 = self.tally.cache.values().sum();
        let hits = ["hit", "shared"].iter().filter_map(|k| self.tally.cache.get(k)).sum::<u64>();
        println!(
            "cache: {:?}, {:.1} % without a run",
            self.tally.cache,
            hits as f64 / asked.max(1) as f64 * 100.0
        );
        println!(
            "batches: {} answers shared a run, the largest of {} rows",
            self.tally.shared_runs, self.tally.largest_batch
        );
        println!("operators: {:?}", self.done);
        println!(
            "canaries: {} promoted, {} rolled back, {} requests that they failed answered by stable",
            self.canaries.promoted, self.canaries.rolled_back, self.canaries.covered
        );
        println!("events: {:?}, {} dropped", self.told.kinds, self.events_dropped);
        let queues: Vec<String> = NAMES
            .iter()
            .zip(QUEUES)
            .zip(self.queues.largest)
            .map(|((name, bound), seen)| format!("{name} {seen} of {bound}"))
            .collect();
        println!("waiting at most ({} scrapes): {}", self.queues.scrapes, queues.join(", "));
        println!(
            "resident: {:.1} MiB at the start, {:.1} after the warm-up, {:.1} at the end",
            mib(self.memory.start),
            mib(self.memory.warm),
            mib(self.memory.end)
        );
        let (first, last) = self.course.descriptors();
        println!(
            "resident memory gains {:+.2} MiB an hour; files open at most: {first} in the first \
             quarter, {last} in the last",
            self.course.bytes_an_hour() / f64::from(1 << 20)
        );
        if let Some(shadow) = &self.shadow {
            println!(
                "the last shadow: {} sampled, {} compared, {} disagreed, {} dropped",
                shadow.sampled, shadow.compared, shadow.disagreed, shadow.dropped
            );
        }
        println!("\nthe last decisions, as the events told them:");
        self.told.decisions.iter().for_each(|d| println!("  {d}"));
        println!("\nthe last two promotions:");
        self.canaries.reports.iter().for_each(|r| println!("{r}"));
        shared.first().iter().for_each(|problem| println!("PROBLEM {problem}"));
        let failures = self.failures(shared);
        failures.iter().for_each(|failure| println!("FAILED {failure}"));
        if failures.is_empty() {
            let (first, last) = self.course.descriptors();
            println!(
                "soak: passed: {seconds:.0} s, seed {}, {} requests, 0 wrong answers, {} reloads, {} \
                 refused files, {:+.2} MiB an hour, {first} to {last} open files",
                self.seed,
                total.answered + self.tally.refused,
                self.done.reloads + self.done.spoiled,
                self.done.broken_refused + self.done.disk_refused + self.done.wrong_rejected,
                self.course.bytes_an_hour() / f64::from(1 << 20)
            );
        }
        failures.is_empty()
    }
}
