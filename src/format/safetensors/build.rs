//! From a description and its weights to a graph of ordinary ONNX operators.

use super::container::Weights;
use super::description::{Description, Preprocess, Step};
use super::spec::{LayerSpec, Placed};
use crate::attribute::{Attribute, Attributes};
use crate::error::{Error, ErrorKind, Result, ensure, err};
use crate::graph::{Dim, Graph, Node, ValueId, ValueType};
use crate::limits::LoadLimits;
use crate::tensor::{ElementType, Shape, Tensor, shape};
use std::collections::HashMap;

/// The opset whose operators the graph is written in.
const OPSET: i64 = 22;

/// A graph under construction: a chain that grows at `current`.
pub(super) struct Builder<'a> {
    graph: Graph,
    weights: &'a mut Weights,
    limits: &'a LoadLimits,
    /// The type the layers compute in.
    pub(super) dtype: ElementType,
    /// The type of `current`.
    pub(super) current_dtype: ElementType,
    current: ValueId,
    /// The dimensions of `current`; the rank is always known.
    pub(super) dims: Vec<Dim>,
    /// Weights that are in the graph already, so that layers of one name share them.
    constants: HashMap<String, ValueId>,
    weight_bytes: u64,
    /// Bytes of vectors that the file does not hold.
    filled_bytes: u64,
    /// The layer being built, in names of values.
    layer: String,
}

/// Builds the graph.
pub(super) fn build(
    description: &Description,
    weights: &mut Weights,
    limits: &LoadLimits,
) -> Result<Graph> {
    let input = &description.input;
    let mut graph = Graph::default();
    graph.opsets.insert(String::new(), OPSET);
    let declared = ValueType::Tensor { dtype: input.dtype, dims: Some(input.dims.clone()) };
    let current = graph.add_value(&input.name, Some(declared));
    graph.inputs.push(current);
    let mut builder = Builder {
        graph,
        weights,
        limits,
        dtype: description.dtype,
        current_dtype: input.dtype,
        current,
        dims: input.dims.clone(),
        constants: HashMap::new(),
        weight_bytes: 0,
        filled_bytes: 0,
        layer: "preprocess".into(),
    };
    if let Some(preprocess) = &description.preprocess {
        builder.preprocess(preprocess).map_err(|e| in_model(e).context("$.preprocess"))?;
    }
    for (i, placed) in description.layers.iter().enumerate() {
        builder.layer = format!("layers.{i}.{}", placed.kind);
        builder
            .add(&placed.layer)
            .map_err(|e| in_model(e).context(format!("{} ({})", placed.path, placed.kind)))?;
    }
    builder.finish(description)
}

/// Checks shared with run time speak of inputs; here the file is at fault.
fn in_model(e: Error) -> Error {
    match e.kind() {
        ErrorKind::InvalidInput => Error::new(ErrorKind::InvalidModel, e.message()),
        _ => e,
    }
}

impl Builder<'_> {
    /// Appends an operator that reads `current` and then `others`, and whose answer has these
    /// dimensions.
    pub(super) fn push(
        &mut self,
        op: &str,
        others: &[ValueId],
        attributes: &[(&str, Attribute)],
        dims: Vec<Dim>,
    ) -> Result<()> {
        let mut inputs = vec![self.current];
        inputs.extend_from_slice(others);
        let value = self.apply(op, &inputs, attributes, dims.clone())?;
        self.advance(value, dims);
        Ok(())
    }

    /// Adds an operator beside the chain and returns its answer.
    pub(super) fn apply(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: &[(&str, Attribute)],
        dims: Vec<Dim>,
    ) -> Result<ValueId> {
        ensure!(
            self.graph.nodes.len() < self.limits.nodes,
            LimitExceeded,
            "more than {} nodes",
            self.limits.nodes
        );
        let name = format!("{}.{}", self.layer, op.to_lowercase());
        let declared = ValueType::Tensor { dtype: self.current_dtype, dims: Some(dims) };
        let output = self.graph.add_value(&name, Some(declared));
        let mut set = Attributes::default();
        for (key, value) in attributes {
            set.set(*key, value.clone());
        }
        self.graph.nodes.push(Node {
            name,
            op: op.to_string(),
            version: OPSET,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(output)],
            attributes: set,
            ..Node::default()
        });
        Ok(output)
    }

    /// Makes `value` the chain's end.
    pub(super) fn advance(&mut self, value: ValueId, dims: Vec<Dim>) {
        self.current = value;
        self.dims = dims;
    }

    /// The value at the chain's end.
    pub(super) fn current(&self) -> ValueId {
        self.current
    }

    /// The file's tensor `name` of these dimensions as a constant.
    pub(super) fn weight(&mut self, name: &str, dims: &[usize]) -> Result<ValueId> {
        self.weight_as(name, dims, "", Ok)
    }

    /// The same, changed by `change`; `form` tells its result from the tensor as it is.
    pub(super) fn weight_as(
        &mut self,
        name: &str,
        dims: &[usize],
        form: &str,
        change: impl FnOnce(Tensor) -> Result<Tensor>,
    ) -> Result<ValueId> {
        // The dimensions are part of the key: a second layer of that name is checked like the
        // first.
        let key = format!("{name}{form} {dims:?}");
        if let Some(&id) = self.constants.get(&key) {
            return Ok(id);
        }
        let tensor = change(self.weights.take(name, dims, self.dtype)?)?;
        self.weight_bytes = self.weight_bytes.saturating_add(tensor.byte_len());
        ensure!(
            self.weight_bytes <= self.limits.weight_bytes,
            LimitExceeded,
            "weights of more than {} bytes",
            self.limits.weight_bytes
        );
        let id = self.graph.add_constant(format!("{name}{form}"), tensor);
        self.constants.insert(key, id);
        Ok(id)
    }

    /// Marks a tensor that inference does not read as known.
    pub(super) fn skip_weight(&mut self, name: &str) {
        self.weights.skip(name);
    }

    /// A constant of the computing type that is not in the file.
    pub(super) fn made(&mut self, name: &str, dims: &[usize], values: &[f64]) -> Result<ValueId> {
        let name = format!("{}.{name}", self.layer);
        let tensor = match self.dtype {
            ElementType::F64 => Tensor::from_vec(dims, values.to_vec())?,
            _ => Tensor::from_vec(dims, values.iter().map(|&v| v as f32).collect())?,
        };
        Ok(self.graph.add_constant(name, tensor))
    }

    /// A vector of `len` equal numbers that is not in the file. Bounded as folded constants are,
    /// for no byte of the file stands behind it.
    pub(super) fn filled(&mut self, name: &str, len: usize, value: f64) -> Result<ValueId> {
        let bytes = (len as u64).saturating_mul(8);
        self.filled_bytes = self.filled_bytes.saturating_add(bytes);
        ensure!(
            bytes <= self.limits.folded_constant_bytes
                && self.filled_bytes <= self.limits.folded_total_bytes,
            LimitExceeded,
            "a vector of {len} numbers that the file does not hold"
        );
        self.made(name, &[len], &vec![value; len])
    }

    /// An `int64` constant, for axes.
    pub(super) fn axes(&mut self, axes: &[i64]) -> Result<ValueId> {
        let tensor = Tensor::from_vec(&[axes.len()], axes.to_vec())?;
        Ok(self.graph.add_constant(format!("{}.axes", self.layer), tensor))
    }

    /// Brings `current` to the computing type.
    pub(super) fn cast(&mut self) -> Result<()> {
        if self.current_dtype == self.dtype {
            return Ok(());
        }
        // TensorProto.DataType: FLOAT and DOUBLE.
        let to = if self.dtype == ElementType::F64 { 11 } else { 1 };
        self.current_dtype = self.dtype;
        self.push("Cast", &[], &[("to", Attribute::Int(to))], self.dims.clone())
    }

    /// The axis `axis` names, which may not be the batch.
    pub(super) fn axis(&self, axis: i64) -> Result<usize> {
        let axis = shape::resolve_axis(axis, self.dims.len())?;
        ensure!(axis > 0, InvalidModel, "axis 0 is the batch: no layer mixes its rows");
        Ok(axis)
    }

    /// Checks that dimension `axis` can be `expected`.
    pub(super) fn expect(&self, axis: usize, expected: usize) -> Result<()> {
        match self.dims.get(axis) {
            Some(Dim::Fixed(n)) if *n != expected => {
                Err(err!(InvalidModel, "dimension {axis} is {n} here, expected {expected}"))
            }
            Some(_) => Ok(()),
            None => Err(err!(InvalidModel, "expected more than {} dimensions", self.dims.len())),
        }
    }

    /// Checks that the last dimension can be `expected`.
    pub(super) fn expect_last(&self, expected: usize) -> Result<()> {
        ensure!(
            self.dims.len() >= 2,
            InvalidModel,
            "expected a batch and a feature dimension, got rank {}",
            self.dims.len()
        );
        self.expect(self.dims.len() - 1, expected)
    }

    /// Checks the rank.
    pub(super) fn expect_rank(&self, rank: usize) -> Result<()> {
        ensure!(
            self.dims.len() == rank,
            InvalidModel,
            "expected {rank} dimensions, got {}",
            self.dims.len()
        );
        Ok(())
    }

    fn preprocess(&mut self, preprocess: &Preprocess) -> Result<()> {
        self.cast()?;
        for Step { key, op, values, scalar } in &preprocess.steps {
            let mut dims = Vec::new();
            if !scalar {
                let axis = self.axis(preprocess.axis)?;
                self.expect(axis, values.len()).map_err(|e| e.context(key))?;
                // One number an entry of `axis`, 1 for every axis after it.
                dims = vec![1; self.dims.len() - axis];
                if let Some(first) = dims.first_mut() {
                    *first = values.len();
                }
            }
            let constant = self.made(key, &dims, values)?;
            let mut answer = self.dims.clone();
            if let (false, Ok(axis)) = (scalar, self.axis(preprocess.axis))
                && let Some(dim) = answer.get_mut(axis)
            {
                *dim = Dim::Fixed(values.len());
            }
            self.push(op, &[constant], &[], answer)?;
        }
        Ok(())
    }

    fn finish(mut self, description: &Description) -> Result<Graph> {
        if self.graph.nodes.is_empty() {
            self.layer = "output".into();
            self.push("Identity", &[], &[], self.dims.clone())?;
        }
        if !description.ignore_unused {
            self.weights.all_used()?;
        }
        let last = self.dims.last();
        if let Some(classes) = &description.classes {
            let n = classes.len();
            // A single output tells two classes apart.
            let fits = |d: usize| d == n || (d == 1 && n == 2);
            if let Some(Dim::Fixed(d)) = last {
                ensure!(fits(*d), InvalidModel, "$.classes: {n} classes for {d} outputs");
            }
        }
        if description.output_kind == "logits" {
            let ends = |p: &&Placed| !matches!(p.layer, LayerSpec::Dropout);
            let softmax = description.layers.iter().rev().find(ends);
            ensure!(
                !matches!(
                    softmax.map(|p| &p.layer),
                    Some(LayerSpec::Softmax { op: "Softmax", .. })
                ),
                InvalidModel,
                "$.output_kind: the last layer is a softmax, so these are no logits; \
                 say \"probabilities\""
            );
        }
        if let (Some(names), Some(Dim::Fixed(d))) =
            (&description.feature_names, description.input.dims.last())
        {
            ensure!(
                names.len() == *d,
                InvalidModel,
                "$.feature_names: {} names for {d} features",
                names.len()
            );
        }
        let mut graph = self.graph;
        if let Some(value) = graph.values.get_mut(self.current.index()) {
            value.name.clone_from(&description.output);
        }
        graph.outputs.push(self.current);
        let mut say = |key: &str, value: String| {
            graph.metadata.insert(format!("modelserve.{key}"), value);
        };
        say("format", "safetensors".into());
        say("output_kind", description.output_kind.clone());
        if let Some(task) = &description.task {
            say("task", task.clone());
        }
        if let Some(classes) = &description.classes {
            say("classes", classes.to_json().to_string());
        }
        if let Some(names) = &description.feature_names {
            say("feature_names", serde_json::Value::from(names.as_slice()).to_string());
        }
        Ok(graph)
    }
}

/// The tensor `[rows, columns]` turned over: PyTorch and candle keep a linear layer's weight as
/// `[out, in]`, `MatMul` wants `[in, out]`.
pub(super) fn transposed(tensor: Tensor) -> Result<Tensor> {
    let &[rows, columns] = tensor.dims() else {
        return Err(err!(Internal, "a matrix of rank {}", tensor.dims().len()));
    };
    fn turn<T: Copy>(v: &[T], columns: usize) -> Vec<T> {
        let column = |c: usize| v.iter().skip(c).step_by(columns.max(1)).copied();
        (0..columns).flat_map(column).collect()
    }
    let dims = [columns, rows];
    match tensor.dtype() {
        ElementType::F64 => Tensor::from_vec(&dims, turn(tensor.as_slice::<f64>()?, columns)),
        _ => Tensor::from_vec(&dims, turn(tensor.as_slice::<f32>()?, columns)),
    }
}

/// The product of dimensions that are all fixed.
pub(super) fn product(dims: &[Dim]) -> Result<Dim> {
    let mut fixed = Vec::with_capacity(dims.len());
    for dim in dims {
        match dim {
            Dim::Fixed(n) => fixed.push(*n),
            Dim::Symbol(_) | Dim::Unknown => return Ok(Dim::Unknown),
        }
    }
    Ok(Dim::Fixed(Shape::new(&fixed)?.len()))
}
