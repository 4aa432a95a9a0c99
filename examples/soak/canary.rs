//! Canaries of `climb`, one after the other: a good one climbs and serves, the next one gets
//! worse on its way and is taken back.

use crate::fleet::{self, Behaviour, CLIMB, Fleet, NAMES, numbered};
use crate::tally::Shared;
use modelserve::policy::route::{PromotionOptions, PromotionReport, PromotionState, RouterOptions};
use modelserve::{Another, CanaryRule, Policies, ReloadOptions, Result};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a promoted version may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of the canaries.
#[derive(Default)]
pub struct Canaries {
    pub promoted: u64,
    pub rolled_back: u64,
    /// The last two promotions that ended, as they report themselves.
    pub reports: VecDeque<PromotionReport>,
    /// Requests that the canaries failed and stable answered.
    pub covered: u64,
}

fn promotion() -> PromotionOptions {
    PromotionOptions {
        steps: vec![5.0, 25.0, 50.0, 100.0],
        min_requests: 200,
        min_stable_requests: 100,
        min_duration: Duration::ZERO,
        evaluate_every: 25,
        // The versions answer differently on purpose, and the machine is busy.
        max_latency_ratio: None,
        max_disagreement: None,
        ..PromotionOptions::default()
    }
}

/// Sends canaries up until told to stop.
pub fn run(fleet: &Fleet, shared: &Shared) -> Canaries {
    let mut canaries = Canaries::default();
    let mut version = 2;
    while !shared.stopped() {
        // It has passed the first step by then.
        let worsens = version % 2 == 1;
        let behaviour = if worsens { Behaviour::Worsens(500) } else { Behaviour::Good };
        if let Err(e) = round(fleet, shared, version, behaviour, &mut canaries) {
            shared.problem(format!("a canary: {e}"));
            std::thread::sleep(Duration::from_millis(100));
        }
        version += 1;
    }
    canaries
}

fn round(
    fleet: &Fleet,
    shared: &Shared,
    version: u64,
    behaviour: Behaviour,
    canaries: &mut Canaries,
) -> Result<()> {
    let (manager, name) = (&fleet.manager, NAMES[CLIMB]);
    let beside = ReloadOptions { load: Some(numbered(version)), ..ReloadOptions::default() };
    manager.load_version(name, fleet::source(version, behaviour), &beside)?;
    let canary = CanaryRule {
        to: Another::Version(version),
        percent: 0.0,
        options: RouterOptions::default(),
        promotion: Some(promotion()),
    };
    manager.set_policies(name, Policies { canary: Some(canary), ..fleet::climb() })?;
    let report = loop {
        match manager.promotion(name)? {
            Some(report) if report.state != PromotionState::Running => break report,
            _ if shared.stopped() => return Ok(()),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let arm = format!("version {version}");
    let traffic = manager.traffic(name)?;
    canaries.covered += traffic.and_then(|t| t.arm(&arm).map(|a| a.errors)).unwrap_or_default();
    match (report.state, behaviour) {
        (PromotionState::Promoted, Behaviour::Good) => {
            // The pointer moves on another thread.
            let began = Instant::now();
            while manager.info(name)?.version != version {
                if began.elapsed() > PATIENCE {
                    shared.problem(format!("{arm} was promoted and does not serve"));
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            canaries.promoted += 1;
            manager.set_policies(name, fleet::climb())?;
        }
        (PromotionState::RolledBack, Behaviour::Worsens(_)) => {
            canaries.rolled_back += 1;
            manager.set_policies(name, fleet::climb())?;
            manager.unload_version(name, version)?;
        }
        // One good canary in a hundred may be taken back: that is what alpha says.
        (PromotionState::RolledBack, _) if canaries.promoted >= 20 => {
            manager.set_policies(name, fleet::climb())?;
            manager.unload_version(name, version)?;
        }
        (state, _) => shared.problem(format!("{arm}: {}: {report}", state.name())),
    }
    canaries.reports.push_back(report);
    if canaries.reports.len() > 2 {
        canaries.reports.pop_front();
    }
    Ok(())
}
