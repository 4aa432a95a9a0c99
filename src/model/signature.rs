//! What a model takes, what it answers, and what that means.

use crate::graph::{Dim, ValueType};
use crate::tensor::ElementType;
use std::fmt;
use std::sync::Arc;

/// What kind of answer a model gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Task {
    /// One label a row, with scores or probabilities a class.
    Classifier,
    /// Several yes/no labels a row.
    Multilabel,
    /// One or more numbers a row.
    Regressor,
    /// 1 for an inlier, -1 for an outlier, with a score.
    Outlier,
    /// The number of a cluster, with distances.
    Cluster,
    /// Features to features.
    Transform,
    /// No such meaning is known: named tensors in and out.
    #[default]
    Tensors,
}

impl Task {
    /// Every task.
    pub const ALL: [Task; 7] = [
        Task::Classifier,
        Task::Multilabel,
        Task::Regressor,
        Task::Outlier,
        Task::Cluster,
        Task::Transform,
        Task::Tensors,
    ];

    /// The task's name: `classifier`, `multilabel`, `regressor`, `outlier`, `cluster`,
    /// `transform` or `tensors`.
    pub fn name(self) -> &'static str {
        match self {
            Task::Classifier => "classifier",
            Task::Multilabel => "multilabel",
            Task::Regressor => "regressor",
            Task::Outlier => "outlier",
            Task::Cluster => "cluster",
            Task::Transform => "transform",
            Task::Tensors => "tensors",
        }
    }

    /// The task of that name (`transformer` is understood too).
    pub fn from_name(name: &str) -> Option<Task> {
        if name == "transformer" {
            return Some(Task::Transform);
        }
        Task::ALL.into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The class labels of a classifier, in the order of its scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Classes {
    /// Integer labels.
    Int(Vec<i64>),
    /// String labels.
    Str(Vec<Arc<str>>),
}

impl Classes {
    /// How many classes there are.
    pub fn len(&self) -> usize {
        match self {
            Classes::Int(v) => v.len(),
            Classes::Str(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One named input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the file.
    pub name: String,
    /// Its type: as declared, corrected by what a probe answered; `None` where unknown.
    pub ty: Option<ValueType>,
    /// The axis that counts rows, where there is one.
    pub batch_axis: Option<usize>,
}

impl TensorSpec {
    /// The element type, for tensors.
    pub fn dtype(&self) -> Option<ElementType> {
        match &self.ty {
            Some(ValueType::Tensor { dtype, .. }) => Some(*dtype),
            _ => None,
        }
    }

    /// The declared dimensions, for tensors of known rank.
    pub fn dims(&self) -> Option<&[Dim]> {
        match &self.ty {
            Some(ValueType::Tensor { dims: Some(dims), .. }) => Some(dims),
            _ => None,
        }
    }

    /// The number of values a row, where fixed: the product of all dimensions but the batch axis.
    pub fn row_width(&self) -> Option<usize> {
        let dims = self.dims()?;
        let mut width = 1usize;
        for (axis, dim) in dims.iter().enumerate() {
            if Some(axis) == self.batch_axis {
                continue;
            }
            match dim {
                Dim::Fixed(n) => width = width.checked_mul(*n)?,
                _ => return None,
            }
        }
        Some(width)
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ty {
            Some(ty) => write!(f, "{}: {ty}", self.name),
            None => write!(f, "{}: ?", self.name),
        }
    }
}

/// A model's interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// The inputs, in order.
    pub inputs: Vec<TensorSpec>,
    /// The outputs, in order.
    pub outputs: Vec<TensorSpec>,
    /// What the answer means.
    pub task: Task,
    /// The class labels, for classifiers where known.
    pub classes: Option<Arc<Classes>>,
    /// Names of the features of a single wide input, where known.
    pub feature_names: Option<Vec<String>>,
    /// Values a row of a regressor or transform (0 where unknown).
    pub targets: usize,
    /// Whether the scores of a classifier are probabilities.
    pub has_probabilities: bool,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |specs: &[TensorSpec]| {
            specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        write!(f, "({}) -> ({}) [{}", list(&self.inputs), list(&self.outputs), self.task)?;
        if let Some(classes) = &self.classes {
            write!(f, ", {} classes", classes.len())?;
        }
        f.write_str("]")
    }
}
