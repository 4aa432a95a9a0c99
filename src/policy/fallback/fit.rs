//! Whether a constant fits a model: it must be what the model itself could answer.

use crate::error::{Result, bail, ensure, err};
use crate::graph::Dim;
use crate::model::{Answer, Answers, Classes, Signature, Task, TensorSpec};
use crate::tensor::Tensor;

/// How far a distribution may be from a sum of one: probabilities written by hand are rounded.
const SUM_TOLERANCE: f64 = 1e-3;

/// The answer where none was given.
pub(super) fn implied(
    signature: &Signature,
    probabilities: Option<&[f64]>,
    outputs: &[(String, Tensor)],
) -> Result<Answer> {
    if signature.task == Task::Tensors {
        for TensorSpec { name, .. } in &signature.outputs {
            ensure!(
                outputs.iter().any(|(given, _)| given == name),
                InvalidArgument,
                "the model answers named outputs, and the constant has none for '{name}'"
            );
        }
        return Ok(Answer::Outputs(Vec::new()));
    }
    if let (Some(p), Some(classes)) = (probabilities, signature.classes.as_deref()) {
        // The first of equal ones, as a model's own label does.
        let largest = p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let best = p.iter().position(|x| *x == largest).unwrap_or(0);
        let label = match classes {
            Classes::Int(v) => v.get(best).map(|c| Answer::Int(*c)),
            Classes::Str(v) => v.get(best).map(|c| Answer::Str(c.clone())),
        };
        if let Some(label) = label {
            return Ok(label);
        }
    }
    let given = if outputs.is_empty() { "nothing" } else { "named outputs only" };
    Err(err!(
        InvalidArgument,
        "a constant for a {} needs an answer (a label or value), got {given}",
        signature.task
    ))
}

/// The answer as one row, if the model could have given it.
pub(super) fn answers(signature: &Signature, answer: Answer) -> Result<Answers> {
    let task = signature.task;
    let classes = signature.classes.as_deref();
    Ok(match (task, answer) {
        (Task::Classifier, Answer::Int(label)) => {
            let known = match classes {
                Some(Classes::Int(all)) => all.contains(&label),
                Some(Classes::Str(_)) => false,
                None => true,
            };
            ensure!(known, InvalidArgument, "label {label} is no class: {}", listed(classes));
            Answers::Labels(Tensor::from_vec(&[1], vec![label])?)
        }
        (Task::Classifier, Answer::Str(label)) => {
            let known = match classes {
                Some(Classes::Str(all)) => all.contains(&label),
                Some(Classes::Int(_)) => false,
                None => true,
            };
            ensure!(known, InvalidArgument, "label '{label}' is no class: {}", listed(classes));
            Answers::Labels(Tensor::from_vec(&[1], vec![label.to_string()])?)
        }
        (Task::Outlier, Answer::Int(label)) => {
            ensure!(
                matches!(label, -1 | 1),
                InvalidArgument,
                "label {label}: expected 1 (an inlier) or -1 (an outlier)"
            );
            Answers::Labels(Tensor::from_vec(&[1], vec![label])?)
        }
        (Task::Cluster, Answer::Int(label)) => {
            Answers::Labels(Tensor::from_vec(&[1], vec![label])?)
        }
        (Task::Regressor | Task::Transform, Answer::Value(value)) => {
            values(signature, vec![value])?
        }
        (Task::Regressor | Task::Transform, Answer::Values(all)) => values(signature, all)?,
        (Task::Multilabel, Answer::Labels(labels)) => {
            let width = classes.map_or(labels.len(), Classes::len);
            ensure!(
                labels.len() == width && labels.iter().all(|l| matches!(l, 0 | 1)),
                InvalidArgument,
                "expected {width} labels of 0 or 1, got {labels:?}"
            );
            Answers::Multilabel(Tensor::from_vec(&[1, width], labels)?)
        }
        // Each answer is put together from the named outputs.
        (Task::Tensors, _) => Answers::Outputs(Vec::new()),
        (_, answer) => bail!(
            InvalidArgument,
            "{answer:?} is no answer of a {task}: expected {}",
            match task {
                Task::Classifier => "one label",
                Task::Outlier | Task::Cluster => "one integer label",
                Task::Multilabel => "one yes/no label a class",
                _ => "one or more values",
            }
        ),
    })
}

fn values(signature: &Signature, values: Vec<f64>) -> Result<Answers> {
    let targets = if signature.targets == 0 { values.len() } else { signature.targets };
    ensure!(
        values.len() == targets && targets > 0,
        InvalidArgument,
        "expected {targets} values a row, got {}",
        values.len()
    );
    Ok(Answers::Values(Tensor::from_vec(&[1, targets], values)?))
}

fn listed(classes: Option<&Classes>) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<String> = match classes {
        Some(Classes::Int(v)) => v.iter().take(SHOWN).map(ToString::to_string).collect(),
        Some(Classes::Str(v)) => v.iter().take(SHOWN).map(|s| format!("'{s}'")).collect(),
        None => Vec::new(),
    };
    let more = if classes.is_some_and(|c| c.len() > SHOWN) { ", …" } else { "" };
    format!("the model knows {}{more}", shown.join(", "))
}

/// One probability a class, together one.
pub(super) fn check_probabilities(signature: &Signature, probabilities: &[f64]) -> Result<()> {
    ensure!(
        signature.task == Task::Classifier,
        InvalidArgument,
        "probabilities for a {}: only a classifier has them",
        signature.task
    );
    if let Some(classes) = &signature.classes {
        ensure!(
            probabilities.len() == classes.len(),
            InvalidArgument,
            "expected {} probabilities, one a class, got {}",
            classes.len(),
            probabilities.len()
        );
    }
    let sum: f64 = probabilities.iter().sum();
    ensure!(
        probabilities.iter().all(|p| (0.0..=1.0).contains(p)) && (sum - 1.0).abs() <= SUM_TOLERANCE,
        InvalidArgument,
        "expected probabilities between 0 and 1 whose sum is 1, got {probabilities:?}"
    );
    Ok(())
}

/// One row of an output that the model has.
pub(super) fn check_output(signature: &Signature, name: &str, tensor: &Tensor) -> Result<()> {
    let Some(spec) = signature.outputs.iter().find(|o| o.name == name) else {
        let known: Vec<&str> = signature.outputs.iter().map(|o| o.name.as_str()).collect();
        bail!(InvalidArgument, "'{name}' is no output of the model; it has {}", known.join(", "));
    };
    ensure!(
        fits(spec, tensor),
        InvalidArgument,
        "output '{name}': expected one row of {spec}, got {}{}",
        tensor.dtype(),
        tensor.shape()
    );
    Ok(())
}

fn fits(spec: &TensorSpec, tensor: &Tensor) -> bool {
    if spec.dtype().is_some_and(|dtype| dtype != tensor.dtype()) {
        return false;
    }
    if let Some(axis) = spec.batch_axis
        && tensor.dims().get(axis) != Some(&1)
    {
        return false;
    }
    let Some(dims) = spec.dims() else { return true };
    let fits_one = |(axis, (dim, got)): (usize, (&Dim, &usize))| match dim {
        Dim::Fixed(n) => spec.batch_axis == Some(axis) || n == got,
        _ => true,
    };
    dims.len() == tensor.dims().len() && dims.iter().zip(tensor.dims()).enumerate().all(fits_one)
}
