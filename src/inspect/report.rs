//! What is known of a model file.

use crate::error::{Result, err};
use crate::graph::{Dim, ValueType};
use crate::model::{Classes, Format, Task};
use crate::problem::Problem;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a model file holds, and everything that keeps it from being loaded. Made by
/// [`inspect`](crate::inspect()). It prints itself for people; [`Inspection::to_json`] is for
/// programs.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Where the file is; `None` for bytes.
    #[serde(serialize_with = "lossy_path")]
    pub path: Option<PathBuf>,
    /// Its size.
    pub file_bytes: u64,
    /// SHA-256 of it, in lower-case hexadecimal.
    pub digest: String,
    /// The format; `None` for a file that is of none that is read.
    #[serde(serialize_with = "format_name")]
    pub format: Option<Format>,
    /// Whether the file's structure could be read: where it could not, only the problems say more
    /// than what stands above.
    pub readable: bool,
    /// Whether nothing was found that keeps it from being loaded.
    pub loadable: bool,
    /// What wrote it.
    pub producer: Option<String>,
    /// The version of that.
    pub producer_version: Option<String>,
    /// The version of ONNX's intermediate representation.
    pub ir_version: Option<i64>,
    /// The version that the file gives the model.
    pub model_version: Option<i64>,
    /// The domain that the file gives the model.
    pub domain: Option<String>,
    /// What the file's author says of it.
    pub doc_string: Option<String>,
    /// The graph's name.
    pub graph_name: Option<String>,
    /// What else the file says of itself.
    pub metadata: BTreeMap<String, String>,
    /// The operator sets that it imports, by domain.
    pub opsets: BTreeMap<String, i64>,
    /// What a caller gives, as the file declares it.
    pub inputs: Vec<NamedValue>,
    /// What a caller gets, as the file declares it.
    pub outputs: Vec<NamedValue>,
    /// What the outputs mean, where there is nothing that keeps the model from being loaded.
    pub meaning: Option<Meaning>,
    /// The operators, those used most first; nodes of sub-graphs and of local functions are
    /// counted.
    pub operators: Vec<OperatorUse>,
    /// The functions that the file defines.
    pub functions: Vec<LocalFunction>,
    /// Weights by element type, the most bytes first.
    pub weights: Vec<WeightKind>,
    /// How many tensors of weights there are.
    pub tensor_count: u64,
    /// How many numbers they hold together.
    pub parameters: u64,
    /// Tensors of weights, the largest first: the first 20 of an ONNX file, the first 10,000 of a
    /// safetensors file.
    pub tensors: Vec<StoredTensor>,
    /// The files of data beside it.
    pub external: Vec<ExternalData>,
    /// What it takes once loaded; `None` where even that is not known.
    pub memory: Option<Memory>,
    /// The boosters it holds: one for a native file, any number in ONNX files that
    /// `modelserve.convert` wrote.
    pub boosters: Vec<Booster>,
    /// Of a safetensors file: the description of its layers.
    pub description: Option<Description>,
    /// What keeps it from being loaded.
    pub problems: Vec<Problem>,
    /// How many problems are not in that list.
    pub more_problems: u64,
}

impl Inspection {
    /// All of it as JSON.
    ///
    /// # Errors
    /// None that is to be expected: `Internal`.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| err!(Internal, "an inspection as JSON: {e}"))
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.iter().map(|kind| kind.bytes).fold(0, u64::saturating_add)
    }
}

/// A named input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NamedValue {
    /// Its name.
    pub name: String,
    /// Its whole type as text: `float32[N, 4]`, `sequence<map<int64, float32>>`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The element type of a tensor: NumPy's name, or ONNX's for one that the library has not.
    pub dtype: Option<String>,
    /// The dimensions of a tensor of known rank: a size, a name, or nothing.
    #[serde(serialize_with = "dimensions")]
    pub shape: Option<Vec<Dim>>,
}

impl NamedValue {
    pub(super) fn new(name: &str, declared: Option<&ValueType>) -> NamedValue {
        let (dtype, shape) = match declared {
            Some(ValueType::Tensor { dtype, dims }) => {
                (Some(dtype.name().to_string()), dims.clone())
            }
            _ => (None, None),
        };
        let type_name = declared.map_or_else(|| "?".to_string(), ToString::to_string);
        NamedValue { name: name.to_string(), type_name, dtype, shape }
    }
}

/// What the outputs of a model mean. The same that a loaded model says of itself, unless an answer
/// for a row of zeros tells more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Meaning {
    /// What the answer is.
    #[serde(serialize_with = "task_name")]
    pub task: Task,
    /// The output that holds labels.
    pub label_output: Option<String>,
    /// The output that holds scores, probabilities or values.
    pub scores_output: Option<String>,
    /// Whether probabilities are made of the scores, which are logits.
    pub logits: bool,
    /// Whether the scores of a classifier are probabilities.
    pub has_probabilities: bool,
    /// The class labels, where known.
    #[serde(serialize_with = "class_labels")]
    pub classes: Option<Classes>,
    /// Names of the features of a single wide input.
    pub feature_names: Option<Vec<String>>,
    /// Values a row of a regressor or transform; 0 where unknown.
    pub targets: usize,
}

/// An operator that the file uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OperatorUse {
    /// Its domain: `ai.onnx`, `ai.onnx.ml`, …
    pub domain: String,
    /// Its name.
    pub name: String,
    /// The opset version that its nodes are written for; `None` where none is imported.
    pub opset: Option<i64>,
    /// How many nodes there are.
    pub count: u64,
    /// Whether it is a function that the file defines.
    pub local_function: bool,
    /// Whether it can be computed: implemented, or a function of the file.
    pub supported: bool,
}

/// A function that the file defines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LocalFunction {
    /// Its domain.
    pub domain: String,
    /// Its name, with its overload after a colon where it has one.
    pub name: String,
    /// Its inputs.
    pub inputs: Vec<String>,
    /// Its outputs.
    pub outputs: Vec<String>,
    /// How many nodes it has.
    pub nodes: u64,
    /// The operator sets that it imports itself, by domain.
    pub opsets: BTreeMap<String, i64>,
}

/// The weights of one element type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WeightKind {
    /// The element type.
    pub dtype: String,
    /// How many tensors there are.
    pub tensors: u64,
    /// How many elements they hold.
    pub elements: u64,
    /// How many bytes these take in the file, or beside it.
    pub bytes: u64,
}

/// A tensor of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoredTensor {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<i64>,
    /// The bytes of its elements.
    pub bytes: u64,
    /// The file that has them, where that is another one.
    pub external: Option<String>,
}

/// A file of data beside the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExternalData {
    /// Where it is, relative to the model's folder.
    pub location: String,
    /// Its size; `None` where it is not there or may not be read.
    pub bytes: Option<u64>,
    /// The size it has to have at least.
    pub needed: u64,
    /// How many tensors have their elements in it.
    pub tensors: u64,
    /// Whether there is no such file.
    pub missing: bool,
    /// Why it may not be read, where it may not.
    pub refused: Option<String>,
}

/// What a model takes once loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// Weights, with what is made of them for speed.
    pub bytes: u64,
    /// Whether the model was prepared as for running; otherwise this is what the file's weights
    /// take.
    pub prepared: bool,
}

/// A booster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Booster {
    /// What it was trained for, as its library calls it.
    pub objective: Option<String>,
    /// `trees` or `linear`.
    pub learner: String,
    /// Trees.
    pub trees: u64,
    /// Nodes of all trees, leaves included.
    pub nodes: u64,
    /// Leaves of all trees.
    pub leaves: u64,
    /// Features of a row.
    pub features: u64,
    /// Margins of a row.
    pub targets: u64,
    /// Classes of a classifier; 0 for anything else.
    pub classes: u64,
    /// The names of the features, where the file has them.
    pub feature_names: Option<Vec<String>>,
    /// Numbers of the features whose labels of categories the file has.
    pub categorical: Vec<u32>,
}

/// The file beside a safetensors model (or the text given instead) that describes its layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// Whether there is one.
    pub found: bool,
    /// Its size.
    pub bytes: u64,
    /// Its entries, shortened: numbers and texts as they are, lists and objects by their size.
    pub entries: BTreeMap<String, String>,
    /// The types of the layers it lists, in order.
    pub layers: Vec<String>,
}

fn lossy_path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(to)
}

fn format_name<S: Serializer>(format: &Option<Format>, to: S) -> Result<S::Ok, S::Error> {
    format.map(Format::name).serialize(to)
}

fn task_name<S: Serializer>(task: &Task, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(task.name())
}

fn class_labels<S: Serializer>(classes: &Option<Classes>, to: S) -> Result<S::Ok, S::Error> {
    match classes {
        None => to.serialize_none(),
        Some(Classes::Int(labels)) => labels.serialize(to),
        Some(Classes::Str(labels)) => to.collect_seq(labels.iter().map(|label| &**label)),
    }
}

fn dimensions<S: Serializer>(shape: &Option<Vec<Dim>>, to: S) -> Result<S::Ok, S::Error> {
    let Some(shape) = shape else { return to.serialize_none() };
    let mut list = to.serialize_seq(Some(shape.len()))?;
    for dim in shape {
        match dim {
            Dim::Fixed(n) => list.serialize_element(n)?,
            Dim::Symbol(name) => list.serialize_element(name)?,
            Dim::Unknown => list.serialize_element(&None::<u64>)?,
        }
    }
    list.end()
}
