//! Native files of boosting libraries as graphs: one input, one operator.

use super::{catboost, lightgbm, xgboost};
use crate::attribute::{Attribute, Attributes};
use crate::ensemble::{Booster, DOMAIN, Learner, Outcome, Precision};
use crate::error::{Result, ensure, err};
use crate::graph::{Dim, Graph, Node, ValueType};
use crate::limits::LoadLimits;
use crate::tensor::ElementType;
use std::sync::Arc;

/// A boosting library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// XGBoost: JSON and UBJSON.
    XgBoost,
    /// LightGBM: text.
    LightGbm,
    /// CatBoost: JSON.
    CatBoost,
}

impl Library {
    /// `xgboost`, `lightgbm` or `catboost`.
    pub fn name(self) -> &'static str {
        match self {
            Library::XgBoost => "xgboost",
            Library::LightGbm => "lightgbm",
            Library::CatBoost => "catboost",
        }
    }

    /// The library of that name.
    #[cfg(feature = "onnx")]
    pub fn from_name(name: &str) -> Option<Library> {
        let all = [Library::XgBoost, Library::LightGbm, Library::CatBoost];
        all.into_iter().find(|library| library.name() == name)
    }

    /// Whose file these bytes look like.
    pub fn sniff(bytes: &[u8]) -> Option<Library> {
        let head = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
        let text = head.trim_ascii_start();
        if text.starts_with(b"tree\n") || text.starts_with(b"tree\r\n") {
            return Some(Library::LightGbm);
        }
        let [b'{', rest @ ..] = text else { return None };
        // A key of UBJSON begins with the type of its length, one of JSON with a quote.
        match rest.trim_ascii_start().first() {
            Some(b'i' | b'U' | b'I' | b'l' | b'L' | b'$' | b'#') => Some(Library::XgBoost),
            Some(b'"') => {
                let has = |key: &[u8]| bytes.windows(key.len()).any(|w| w == key);
                let catboost = [b"\"oblivious_trees\"".as_slice(), b"\"features_info\""];
                if has(b"\"learner\"") {
                    Some(Library::XgBoost)
                } else {
                    catboost.iter().any(|key| has(key)).then_some(Library::CatBoost)
                }
            }
            _ => None,
        }
    }

    /// Reads a file of this library.
    ///
    /// # Errors
    /// `InvalidModel`, `Unsupported` or `LimitExceeded`, saying where and why.
    pub fn read(self, bytes: &[u8], limits: &LoadLimits) -> Result<Booster> {
        match self {
            Library::XgBoost => xgboost::read(bytes, limits),
            Library::LightGbm => lightgbm::read(bytes, limits),
            Library::CatBoost => catboost::read(bytes, limits),
        }
        .map_err(|e| e.context(self.name()))
    }
}

/// Refuses a file that is too large to be read.
pub(super) fn check_size(bytes: &[u8], limits: &LoadLimits) -> Result<()> {
    ensure!(
        bytes.len() as u64 <= limits.file_bytes,
        LimitExceeded,
        "a file of {} bytes (LoadLimits::file_bytes is {})",
        bytes.len(),
        limits.file_bytes
    );
    Ok(())
}

/// Class labels as an operator's attribute: `classlabels_int64s` or `classlabels_strings`.
pub type Labels = (&'static str, Attribute);

/// The file as a graph: input `features` `[N, F]`, and outputs `values` `[N, targets]`, or `label`
/// `[N]` and `probabilities` `[N, classes]`. `labels` replaces the labels of the classes.
///
/// # Errors
/// As [`Library::read`]; `InvalidArgument` for more or fewer labels than there are classes.
pub fn import(
    library: Library,
    bytes: &[u8],
    labels: Option<Labels>,
    limits: &LoadLimits,
) -> Result<Graph> {
    let booster = library.read(bytes, limits)?;
    let (features, precision, targets) = match &booster.learner {
        Learner::Trees(form) => {
            (form.features.max(form.width()), form.arithmetic.sums, form.targets)
        }
        Learner::Linear(linear) => (linear.features, Precision::F32, linear.targets),
    };
    let number = match precision {
        Precision::F32 => ElementType::F32,
        Precision::F64 | Precision::Input => ElementType::F64,
    };
    let rows = |dtype: ElementType, width: Option<usize>| {
        let mut dims = vec![Dim::Symbol("N".to_string())];
        dims.extend(width.map(Dim::Fixed));
        Some(ValueType::Tensor { dtype, dims: Some(dims) })
    };
    let mut graph = Graph { name: library.name().to_string(), ..Graph::default() };
    graph.metadata.insert("producer_name".to_string(), library.name().to_string());
    graph.metadata.extend(booster.metadata.clone());
    graph.opsets.insert(DOMAIN.to_string(), 1);
    if let Some(names) = booster.feature_names.as_ref().filter(|n| n.len() == features) {
        graph.metadata.insert("modelserve.feature_names".to_string(), json(names)?);
    }
    if !booster.categories.is_empty() {
        graph.metadata.insert("modelserve.categories".to_string(), json(&booster.categories)?);
    }
    let input = graph.add_value("features", rows(number, Some(features)));
    graph.inputs.push(input);
    let mut attributes = Attributes::default();
    let mut outputs = Vec::new();
    let classes = match booster.outcome {
        Outcome::Values | Outcome::Outlier => None,
        Outcome::Binary | Outcome::BinaryByMargin => Some(2),
        Outcome::Classes => Some(targets),
    };
    match classes {
        None => outputs.push(graph.add_value("values", rows(number, Some(targets)))),
        Some(count) => {
            let (name, labels) = labels.unwrap_or_else(|| own_labels(&booster, count));
            let given = match &labels {
                Attribute::Ints(v) => v.len(),
                Attribute::Strings(v) => v.len(),
                _ => 0,
            };
            ensure!(
                given == count,
                InvalidArgument,
                "{given} class labels for a model of {count} classes"
            );
            let dtype = match &labels {
                Attribute::Strings(_) => ElementType::String,
                _ => ElementType::I64,
            };
            attributes.set(name, labels);
            outputs.push(graph.add_value("label", rows(dtype, None)));
            outputs.push(graph.add_value("probabilities", rows(number, Some(count))));
        }
    }
    let task = if classes.is_some() { "classifier" } else { "regressor" };
    graph.metadata.insert("modelserve.task".to_string(), task.to_string());
    if classes.is_some() {
        let kind = "probabilities".to_string();
        graph.metadata.insert("modelserve.output_kind".to_string(), kind);
    }
    attributes.set("booster", Attribute::Booster(Arc::new(booster)));
    graph.outputs.clone_from(&outputs);
    graph.nodes.push(Node {
        name: library.name().to_string(),
        op: "Booster".to_string(),
        domain: DOMAIN.to_string(),
        version: 1,
        inputs: vec![Some(input)],
        outputs: outputs.into_iter().map(Some).collect(),
        attributes,
        subgraphs: Vec::new(),
    });
    Ok(graph)
}

/// The labels of the file, else the classes' numbers.
fn own_labels(booster: &Booster, count: usize) -> Labels {
    match &booster.classes {
        Some(names) => {
            // CatBoost keeps whole numbers as text.
            let numbers: Option<Vec<i64>> = names.iter().map(|n| n.parse().ok()).collect();
            match numbers {
                Some(numbers) => ("classlabels_int64s", Attribute::Ints(numbers)),
                None => {
                    let names = names.iter().map(|n| n.clone().into()).collect();
                    ("classlabels_strings", Attribute::Strings(names))
                }
            }
        }
        None => ("classlabels_int64s", Attribute::Ints((0..count as i64).collect())),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| err!(Internal, "metadata: {e}"))
}
