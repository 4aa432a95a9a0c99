//! What is watched from outside: queues, memory, events.

use crate::fleet::NAMES;
use modelserve::{EventKind, Events, ModelManager};
use std::collections::{BTreeMap, VecDeque};

/// Resident memory of this process in bytes; 0 where the system does not tell.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// File descriptors of this process; 0 where the system does not tell.
pub fn descriptors() -> u64 {
    // The listing itself has one.
    std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1) as u64)
}

/// What the process used, look by look, once it was warm.
#[derive(Default)]
pub struct Course {
    /// Seconds since the beginning, resident bytes, descriptors.
    looks: Vec<(f64, u64, u64)>,
}

impl Course {
    pub fn look(&mut self, seconds: f64) {
        self.looks.push((seconds, resident(), descriptors()));
    }

    /// Bytes that resident memory gains in an hour: the slope of the line through all looks
    /// (least squares).
    pub fn bytes_an_hour(&self) -> f64 {
        let n = self.looks.len().max(1) as f64;
        let mean =
            |of: &dyn Fn(&(f64, u64, u64)) -> f64| self.looks.iter().map(of).sum::<f64>() / n;
        let (time, memory) = (mean(&|look| look.0), mean(&|look| look.1 as f64));
        let (mut together, mut alone) = (0.0, 0.0);
        for (seconds, bytes, _) in &self.looks {
            together += (seconds - time) * (*bytes as f64 - memory);
            alone += (seconds - time) * (seconds - time);
        }
        if alone > 0.0 { together / alone * 3600.0 } else { 0.0 }
    }

    /// Most descriptors in the first and in the last quarter of the looks.
    pub fn descriptors(&self) -> (u64, u64) {
        let quarter = self.looks.len().div_ceil(4);
        let most = |looks: &[(f64, u64, u64)]| looks.iter().map(|l| l.2).max().unwrap_or(0);
        let (first, last) = (&self.looks[..quarter], &self.looks[self.looks.len() - quarter..]);
        (most(first), most(last))
    }
}

/// The largest number of waiting requests that a scrape saw, by name.
#[derive(Default)]
pub struct Queues {
    pub scrapes: u64,
    pub largest: [u64; NAMES.len()],
}

impl Queues {
    /// Scrapes the metrics once.
    pub fn look(&mut self, manager: &ModelManager) {
        self.scrapes += 1;
        for line in manager.metrics_text().lines() {
            let Some(rest) = line.strip_prefix("modelserve_queue_depth{") else { continue };
            let depth = rest.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok());
            for (name, largest) in NAMES.iter().zip(&mut self.largest) {
                if rest.contains(&format!("model=\"{name}\"")) {
                    *largest = (*largest).max(depth.unwrap_or(f64::INFINITY) as u64);
                }
            }
        }
    }
}

/// Decisions that are kept in words. More would be the soak's own growth.
const DECISIONS: usize = 200;

/// What the events told, and the last decisions among them in words.
#[derive(Default)]
pub struct Told {
    pub kinds: BTreeMap<&'static str, u64>,
    pub decisions: VecDeque<String>,
}

impl Told {
    fn decide(&mut self, decision: String) {
        self.decisions.push_back(decision);
        if self.decisions.len() > DECISIONS {
            self.decisions.pop_front();
        }
    }

    /// Listens until the manager is gone.
    pub fn listen(events: Events) -> Told {
        let mut told = Told::default();
        for event in events {
            let (model, version) = (&event.model, event.version);
            let kind = match event.kind {
                EventKind::State { error: None, .. } => "states",
                EventKind::State { .. } => "failed loads",
                EventKind::Serving { .. } => "changes of the serving version",
                EventKind::Label { .. } => "labels moved",
                EventKind::Rejected { .. } => "versions rejected by a gate",
                EventKind::Traffic { verdict, reason } => {
                    told.decide(format!("{model} version {version}: {verdict}: {reason}"));
                    "decisions on canaries"
                }
                EventKind::Circuit { state, reason, .. } => {
                    told.decide(format!("{model} version {version}: {state}: {reason}"));
                    "changes of circuits"
                }
                _ => "others",
            };
            *told.kinds.entry(kind).or_default() += 1;
        }
        told
    }
}
