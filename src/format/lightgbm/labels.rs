//! Labels of categories: the last line of a model that Python trained on a pandas frame.

use super::sections::{Head, Tail};
use crate::error::{Result, err};
use serde_json::Value;
use std::collections::BTreeMap;

/// Labels by feature.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) categories: BTreeMap<u32, Vec<String>>,
    /// Whether every list of the file is among them.
    pub(super) whole: bool,
}

/// Reads the line `pandas_categorical:[[label…]…]`: one list for each column of pandas' category
/// type, in the order of columns. The file does not say which columns those are: they are taken to
/// be the categorical features, where there are as many of them as lists and no feature has a code
/// beyond its list. Lists of other things than strings are left out.
pub(super) fn read(head: &Head<'_>, tail: &Tail<'_>, features: usize) -> Result<Labels> {
    let Some(json) = tail.pandas_categorical else {
        return Ok(Labels { whole: true, ..Labels::default() });
    };
    let lists: Option<Vec<Vec<Value>>> = serde_json::from_str(json.trim())
        .map_err(|e| err!(InvalidModel, "pandas_categorical: {e}"))?;
    let lists = lists.unwrap_or_default();
    if lists.is_empty() {
        return Ok(Labels { whole: true, ..Labels::default() });
    }
    let infos: Vec<&str> =
        head.feature_infos.unwrap_or_default().split_ascii_whitespace().collect();
    let columns = [named(tail), listed(&infos)]
        .into_iter()
        .find(|columns| columns.len() == lists.len() && fits(columns, &infos, &lists));
    let mut labels = Labels { whole: columns.is_some(), ..Labels::default() };
    for (column, list) in columns.into_iter().flatten().zip(lists) {
        let strings = list.iter().map(|v| v.as_str().map(String::from)).collect::<Option<Vec<_>>>();
        match strings {
            Some(strings) if (column as usize) < features => {
                labels.categories.insert(column, strings);
            }
            _ => labels.whole = false,
        }
    }
    Ok(labels)
}

/// The features that the training's parameters name, ascending.
fn named(tail: &Tail<'_>) -> Vec<u32> {
    let list = tail.categorical_feature.unwrap_or_default();
    let mut columns: Vec<u32> = list.split(',').filter_map(|c| c.trim().parse().ok()).collect();
    columns.sort_unstable();
    columns
}

/// Whether this is a list of codes, `a:b:c`, and not a range, `[a:b]`, or `none`.
fn is_list(info: &str) -> bool {
    !info.starts_with('[') && info != "none"
}

/// The features that have codes.
fn listed(infos: &[&str]) -> Vec<u32> {
    infos.iter().zip(0u32..).filter(|(info, _)| is_list(info)).map(|(_, i)| i).collect()
}

fn fits(columns: &[u32], infos: &[&str], lists: &[Vec<Value>]) -> bool {
    columns.iter().zip(lists).all(|(&column, list)| {
        let info = infos.get(column as usize).copied().unwrap_or("none");
        let mut codes = info.split(':').filter_map(|c| c.parse::<i64>().ok());
        !is_list(info) || codes.all(|code| code < list.len() as i64)
    })
}
