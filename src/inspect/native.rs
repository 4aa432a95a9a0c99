//! Boosters: native files of boosting libraries, and what `modelserve.convert` makes of estimators.

use super::from_graph;
use super::report::{Booster, Inspection};
use crate::ensemble::{self, Learner, Outcome};
use crate::graph::Graph;
use std::sync::Arc;

/// Boosters that are told of one file.
const MOST: usize = 1000;

/// What a native file says of itself.
pub(super) fn describe(graph: &Graph, report: &mut Inspection) {
    from_graph(graph, report);
    report.metadata = graph.metadata.clone();
    report.producer = report.metadata.remove("producer_name");
    report.producer_version = report.metadata.get("xgboost_version").cloned();
}

/// The boosters of a graph, bodies included.
pub(super) fn boosters(graph: &Graph) -> Vec<Booster> {
    let mut found = Vec::new();
    collect(graph, &mut found);
    found
}

fn collect(graph: &Graph, found: &mut Vec<Booster>) {
    for node in &graph.nodes {
        let booster = node.attributes.booster_opt("booster").ok().flatten();
        if let Some(booster) = booster.filter(|_| found.len() < MOST) {
            found.push(told(booster));
        }
        for (_, body) in &node.subgraphs {
            collect(body, found);
        }
    }
}

fn told(booster: &Arc<ensemble::Booster>) -> Booster {
    let (learner, trees, nodes, leaves, features, targets) = match &booster.learner {
        Learner::Trees(form) => (
            "trees",
            form.roots.len(),
            form.nodes.len(),
            form.leaves.len(),
            form.features.max(form.width()),
            form.targets,
        ),
        Learner::Linear(linear) => ("linear", 0, 0, 0, linear.features, linear.targets),
    };
    let classes = match booster.outcome {
        Outcome::Binary | Outcome::BinaryByMargin => 2,
        Outcome::Classes => targets,
        Outcome::Values | Outcome::Outlier => 0,
    };
    let said = |key: &str| booster.metadata.get(key).cloned();
    Booster {
        objective: said("objective").or_else(|| said("loss_function")),
        learner: learner.to_string(),
        trees: trees as u64,
        nodes: nodes as u64,
        leaves: leaves as u64,
        features: features as u64,
        targets: targets as u64,
        classes: classes as u64,
        feature_names: booster.feature_names.clone(),
        categorical: booster.categories.keys().copied().collect(),
    }
}
