//! What operators do meanwhile: reloads, bad versions, a disk in trouble, rollbacks, labels, other
//! policies.

use crate::disk::Disk;
use crate::fleet::{self, Behaviour, Fleet, IRIS, NAMES, SLOW, WINE, numbered};
use crate::random::Random;
use crate::tally::Shared;
use modelserve::golden::{Expected, Golden};
use modelserve::{Gate, ModelSource, ReloadOptions, Request, Result};
use std::time::{Duration, Instant};

/// What was done, and what was refused as it should be.
#[derive(Default, Debug)]
pub struct Done {
    pub reloads: u64,
    pub broken_refused: u64,
    /// Files that a disk in trouble had instead.
    pub disk_refused: u64,
    /// Files that were spoiled once they were loaded.
    pub spoiled: u64,
    pub wrong_rejected: u64,
    pub rollbacks: u64,
    pub labels: u64,
    pub policies: u64,
}

pub struct Operator<'a> {
    pub fleet: &'a Fleet,
    pub shared: &'a Shared,
    pub random: Random,
    pub done: Done,
}

impl<'a> Operator<'a> {
    pub fn new(fleet: &'a Fleet, shared: &'a Shared, seed: u64) -> Operator<'a> {
        Operator { fleet, shared, random: Random::new(seed), done: Done::default() }
    }

    fn try_to(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(e) = work(self) {
            self.shared.problem(format!("{what}: {e}"));
        }
    }

    fn pause(&mut self, least: u64, most: u64) {
        let ms = least + self.random.below((most - least) as usize) as u64;
        std::thread::sleep(Duration::from_millis(ms));
    }

    /// `iris`: a reload every few milliseconds, broken and wrong files in between, rollbacks.
    pub fn iris(mut self) -> Done {
        let good = std::fs::read(fleet::file(IRIS, 2)).expect("the test models");
        let disk = Disk::new().expect("a temporary folder");
        let mut last = 1;
        while !self.shared.stopped() {
            match self.random.below(24) {
                20..22 => self.disk(&disk),
                22.. => self.try_to("a reload of what is spoiled then", |me| {
                    disk.reload_and_spoil(me.fleet, last + 1, &mut me.random)?;
                    last += 1;
                    me.done.spoiled += 1;
                    Ok(())
                }),
                0..12 => self.try_to("a reload", |me| {
                    me.reload(IRIS, last + 1, None)?;
                    last += 1;
                    Ok(())
                }),
                12..15 => self.broken(&good),
                15..17 => self.try_to("a wrong version", |me| me.wrong(last + 1)),
                17 if last > 1 => self.try_to("a rollback", |me| {
                    me.fleet.manager.rollback(NAMES[IRIS])?;
                    me.done.rollbacks += 1;
                    Ok(())
                }),
                _ => self.try_to("a label", |me| {
                    let version = me.fleet.manager.info(NAMES[IRIS])?.version;
                    me.fleet.manager.set_label(NAMES[IRIS], "blue", version)?;
                    me.done.labels += 1;
                    Ok(())
                }),
            }
            self.pause(1, 8);
        }
        self.done
    }

    fn reload(&mut self, name: usize, version: u64, gate: Option<Gate>) -> Result<()> {
        let options = ReloadOptions { load: Some(numbered(version)), gate, ..Default::default() };
        let file = fleet::file(name, version);
        let manager = &self.fleet.manager;
        if version.is_multiple_of(5) {
            let bytes = std::fs::read(&file).expect("the test models");
            manager.reload_bytes(NAMES[name], bytes, &options)?;
        } else {
            manager.reload(NAMES[name], Some(&file), &options)?;
        }
        self.done.reloads += 1;
        Ok(())
    }

    fn serving(&self) -> Option<u64> {
        self.fleet.manager.info(NAMES[IRIS]).ok().map(|info| info.version)
    }

    /// A file that was cut off, or is none at all.
    fn broken(&mut self, good: &[u8]) {
        let before = self.serving();
        let cut = self.random.below(good.len() * 9 / 10);
        let mut bytes = good[..cut].to_vec();
        if self.random.below(3) == 0 {
            bytes.iter_mut().for_each(|b| *b ^= 0x5a);
        }
        let outcome =
            self.fleet.manager.reload_bytes(NAMES[IRIS], bytes, &ReloadOptions::default());
        match outcome {
            Err(_) if self.serving() == before => self.done.broken_refused += 1,
            outcome => self.shared.problem(format!("a file cut at {cut}: {outcome:?}")),
        }
    }

    /// What a disk in trouble has in the place of a file.
    fn disk(&mut self, disk: &Disk) {
        let before = self.serving();
        match disk.offer(self.fleet, &mut self.random) {
            (_, Err(_)) if self.serving() == before => self.done.disk_refused += 1,
            (what, outcome) => self.shared.problem(format!("{what}: {outcome:?}")),
        }
    }

    /// A file that loads and answers otherwise than its golden requests demand.
    fn wrong(&mut self, version: u64) -> Result<()> {
        let before = self.serving();
        let truth = &self.fleet.truths[IRIS];
        let mut golden = Vec::new();
        let right = modelserve::load(fleet::file(IRIS, version + 1), &numbered(1))?;
        for i in 0..4 {
            let p = modelserve::Model::predict(&right, truth.rows.features(i, 1))?;
            let mut expected = Expected::default();
            expected.probabilities = p.probabilities().map(|p| vec![p.to_vec()]);
            let request = Request::Row(truth.rows.features(i, 1)).into_owned()?;
            golden.push(Golden::new(request, expected));
        }
        let gate = Gate { golden, replay_last: 0, ..Gate::default() };
        let options =
            ReloadOptions { load: Some(numbered(version)), gate: Some(gate), ..Default::default() };
        let file = fleet::file(IRIS, version);
        match self.fleet.manager.reload(NAMES[IRIS], Some(&file), &options) {
            Err(e) if e.to_string().contains("rejected") && self.serving() == before => {
                self.done.wrong_rejected += 1;
            }
            outcome => self.shared.problem(format!("a wrong version: {outcome:?}")),
        }
        Ok(())
    }

    /// `wine` and `slow`: reloads, the shadow's label, other policies.
    pub fn others(mut self) -> Done {
        let (mut wine, mut slow) = (2, 1);
        let mut changed = Instant::now();
        while !self.shared.stopped() {
            self.try_to("a reload", |me| {
                let before = me.fleet.manager.info(NAMES[WINE])?.version;
                me.reload(WINE, wine + 1, None)?;
                wine += 1;
                me.fleet.manager.set_label(NAMES[WINE], "shadow", before)?;
                me.done.labels += 1;
                Ok(())
            });
            if changed.elapsed() > Duration::from_secs(1) {
                changed = Instant::now();
                self.try_to("policies", |me| {
                    me.done.policies += 1;
                    me.fleet.manager.set_policies(NAMES[WINE], fleet::wine(me.done.policies))
                });
                self.try_to("a reload", |me| {
                    let source: ModelSource = fleet::source(slow + 1, Behaviour::Slow);
                    let load = Some(numbered(slow + 1));
                    let options = ReloadOptions { load, ..Default::default() };
                    me.fleet.manager.reload_from(NAMES[SLOW], source, &options)?;
                    slow += 1;
                    me.done.reloads += 1;
                    Ok(())
                });
            }
            self.pause(20, 60);
        }
        self.done
    }
}

impl Done {
    pub fn add(&mut self, other: &Done) {
        self.reloads += other.reloads;
        self.broken_refused += other.broken_refused;
        self.disk_refused += other.disk_refused;
        self.spoiled += other.spoiled;
        self.wrong_rejected += other.wrong_rejected;
        self.rollbacks += other.rollbacks;
        self.labels += other.labels;
        self.policies += other.policies;
    }
}
