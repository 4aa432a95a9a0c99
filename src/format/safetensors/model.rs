//! From a layer description and its weights to a graph.

use super::builder::Builder;
use super::container::Weights;
use super::description::{Description, Preprocess, Step};
use super::layers::{End, chain, in_model};
use super::signal::Signal;
use crate::error::{Result, ensure, err};
use crate::graph::{Dim, Graph};
use crate::limits::LoadLimits;

/// Builds the graph.
pub(super) fn build(
    description: &Description,
    weights: &mut Weights,
    limits: &LoadLimits,
) -> Result<Graph> {
    let mut b = Builder::new(description.dtype, weights, limits);
    let mut first: Option<Signal> = None;
    for (i, input) in description.inputs.iter().enumerate() {
        let signal = b
            .input(&input.name, input.dtype, input.dims.clone(), input.batch)
            .map_err(|e| e.context(format!("$.inputs[{i}]")))?;
        first.get_or_insert(signal);
    }
    let (Some(mut x), Some(input)) = (first, description.inputs.first()) else {
        return Err(err!(Internal, "a description without inputs"));
    };
    if let Some(steps) = &description.preprocess {
        b.enter("preprocess".into());
        x = preprocess(&mut b, x, steps).map_err(|e| in_model(e).context("$.preprocess"))?;
        b.replace(&input.name, x.clone());
    }
    let last = chain(&mut b, x, &description.layers)?;
    let mut outputs = Vec::new();
    for output in &description.outputs {
        let signal = match &output.from {
            None => last.clone(),
            Some(name) => b.named(name).map_err(|e| e.context(&output.path))?,
        };
        outputs.push((output.name.clone(), signal));
    }
    for (i, input) in description.inputs.iter().enumerate() {
        // The layers begin with the first input, unless they say otherwise.
        let begins = i == 0 && description.layers.first().is_some_and(|p| p.from.is_none());
        ensure!(
            begins || b.is_read(&input.name),
            InvalidModel,
            "$.inputs[{i}]: nothing reads '{}'",
            input.name
        );
    }
    if !description.ignore_unused {
        b.weights.all_used()?;
    }
    check_meaning(description, &outputs)?;
    b.outputs(outputs)?;
    b.say("format", "safetensors");
    b.say("output_kind", description.output_kind.as_str());
    if let Some(task) = &description.task {
        b.say("task", task.as_str());
    }
    if let Some(classes) = &description.classes {
        b.say("classes", classes.to_json().to_string());
    }
    if let Some(names) = &description.feature_names {
        b.say("feature_names", serde_json::Value::from(names.as_slice()).to_string());
    }
    Ok(b.graph)
}

fn preprocess(b: &mut Builder<'_>, x: Signal, preprocess: &Preprocess) -> Result<Signal> {
    let mut x = b.cast(x)?;
    for Step { key, op, values, scalar } in &preprocess.steps {
        let mut dims = Vec::new();
        let mut answer = x.dims.clone();
        if !scalar {
            let axis = x.axis(preprocess.axis)?;
            x.expect(axis, values.len()).map_err(|e| e.context(key))?;
            // One number an entry of `axis`, 1 for every axis after it.
            dims = vec![1; x.rank() - axis];
            if let Some(first) = dims.first_mut() {
                *first = values.len();
            }
            answer = x.with(axis, Dim::Fixed(values.len()));
        }
        let constant = b.made(key, &dims, values)?;
        x = b.then(op, &x, &[constant], &[], answer)?;
    }
    Ok(x)
}

/// Checks what the description says of the first output and the first input.
fn check_meaning(description: &Description, outputs: &[(String, Signal)]) -> Result<()> {
    let output = outputs.first().and_then(|(_, signal)| signal.dims.last());
    if let (Some(classes), Some(Dim::Fixed(d))) = (&description.classes, output) {
        let n = classes.len();
        // A single output tells two classes apart.
        let fits = *d == n || (*d == 1 && n == 2);
        ensure!(fits, InvalidModel, "$.classes: {n} classes for {d} outputs");
    }
    let named = description.outputs.iter().any(|output| output.from.is_some());
    if description.output_kind == "logits" && !named {
        let mut ends = description.layers.iter().rev().map(|placed| placed.layer.end());
        ensure!(
            ends.find(|end| *end != End::Nothing) != Some(End::Softmax),
            InvalidModel,
            "$.output_kind: the last layer is a softmax, so these are no logits; \
             say \"probabilities\""
        );
    }
    let input = description.inputs.first().and_then(|input| input.dims.last());
    if let (Some(names), Some(Dim::Fixed(d))) = (&description.feature_names, input) {
        ensure!(
            names.len() == *d,
            InvalidModel,
            "$.feature_names: {} names for {d} features",
            names.len()
        );
    }
    Ok(())
}
