//! Traffic: canary, shadow, promotion.
//!
//! A [`Router`] divides requests between a stable model and canaries, by key or evenly; a
//! [`Shadow`] asks a candidate the same questions aside; a promotion raises a canary step by step
//! or takes it back. `docs/traffic.md` has examples, every option, and the statistics.

mod arm;
mod decision;
mod driver;
mod gate;
mod handover;
mod mirror;
mod operate;
mod print;
mod promote;
mod proportion;
mod report;
mod router;
mod shadow;
mod split;
#[cfg(test)]
mod tests;

pub use arm::Arm;
pub use decision::{ArmFigures, Decision, OnDecision, PromotionReport, PromotionState, Verdict};
pub use gate::{Gate, GateFigures, GateVerdict};
pub use promote::PromotionOptions;
pub use report::{AbReport, ArmReport};
pub use router::{CanaryErrors, Router, RouterOptions};
pub use shadow::{DriftBucket, Example, Shadow, ShadowOptions, ShadowReport};
