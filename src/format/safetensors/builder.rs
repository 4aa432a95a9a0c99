//! A graph of ordinary ONNX operators under construction.

use super::container::Weights;
use super::signal::Signal;
use crate::attribute::{Attribute, Attributes};
use crate::error::{Result, bail, ensure, err};
use crate::graph::{Dim, Graph, Node, ValueId, ValueType};
use crate::limits::LoadLimits;
use crate::room;
use crate::tensor::{ElementType, Tensor};
use std::collections::{HashMap, HashSet};

/// The opset whose operators the graph is written in.
const OPSET: i64 = 22;

/// The graph, and what has been put into it so far.
pub(super) struct Builder<'a> {
    pub(super) graph: Graph,
    pub(super) weights: &'a mut Weights,
    limits: &'a LoadLimits,
    /// The type the layers compute in: `F32` or `F64`.
    pub(super) dtype: ElementType,
    /// Weights that are in the graph already, so that layers of one name share them.
    constants: HashMap<String, ValueId>,
    weight_bytes: u64,
    /// Bytes of numbers that the file does not hold.
    filled_bytes: u64,
    /// What is being built, in names of values.
    place: String,
    /// Inputs and results that have names.
    signals: HashMap<String, Signal>,
    /// The names that something has read.
    read: HashSet<String>,
    /// Masks of attention by the value they are made from and whether it says what to pass over.
    pub(super) masks: HashMap<(ValueId, bool), ValueId>,
}

impl<'a> Builder<'a> {
    /// An empty graph that computes in `dtype`.
    pub(super) fn new(
        dtype: ElementType,
        weights: &'a mut Weights,
        limits: &'a LoadLimits,
    ) -> Builder<'a> {
        let mut graph = Graph::default();
        graph.opsets.insert(String::new(), OPSET);
        Builder {
            graph,
            weights,
            limits,
            dtype,
            constants: HashMap::new(),
            weight_bytes: 0,
            filled_bytes: 0,
            place: String::new(),
            signals: HashMap::new(),
            read: HashSet::new(),
            masks: HashMap::new(),
        }
    }

    /// Says what is built from here on; answers what was built before.
    pub(super) fn enter(&mut self, place: String) -> String {
        std::mem::replace(&mut self.place, place)
    }

    /// Adds an input of the model.
    pub(super) fn input(
        &mut self,
        name: &str,
        dtype: ElementType,
        dims: Vec<Dim>,
        batch: usize,
    ) -> Result<Signal> {
        let declared = ValueType::Tensor { dtype, dims: Some(dims.clone()) };
        let value = self.graph.add_value(name, Some(declared));
        self.graph.inputs.push(value);
        let signal = Signal { value, dtype, dims, batch };
        self.store(name, signal.clone())?;
        Ok(signal)
    }

    /// Gives a signal a name.
    pub(super) fn store(&mut self, name: &str, signal: Signal) -> Result<()> {
        let before = self.signals.insert(name.to_string(), signal);
        ensure!(before.is_none(), InvalidModel, "two inputs or results are named '{name}'");
        Ok(())
    }

    /// Puts another signal in the place of a named one.
    pub(super) fn replace(&mut self, name: &str, signal: Signal) {
        self.signals.insert(name.to_string(), signal);
    }

    /// The input or earlier result of that name.
    pub(super) fn named(&mut self, name: &str) -> Result<Signal> {
        let Some(signal) = self.signals.get(name) else {
            let mut names: Vec<&str> = self.signals.keys().map(String::as_str).collect();
            names.sort_unstable();
            bail!(
                InvalidModel,
                "no input or earlier result is named '{name}'; there are {}",
                super::container::listed(&names)
            );
        };
        self.read.insert(name.to_string());
        Ok(signal.clone())
    }

    /// Whether something has asked for this name.
    pub(super) fn is_read(&self, name: &str) -> bool {
        self.read.contains(name)
    }

    /// Adds an operator. Each of `outputs` is one of its answers, or `None` where it is not
    /// wanted.
    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: Vec<Option<ValueId>>,
        attributes: &[(&str, Attribute)],
        outputs: &[Option<(ElementType, Vec<Dim>)>],
    ) -> Result<Vec<Option<ValueId>>> {
        ensure!(
            self.graph.nodes.len() < self.limits.nodes,
            LimitExceeded,
            "more than {} nodes",
            self.limits.nodes
        );
        let name = format!("{}.{}", self.place, op.to_lowercase());
        let outputs: Vec<Option<ValueId>> = outputs
            .iter()
            .map(|output| {
                let (dtype, dims) = output.clone()?;
                let declared = ValueType::Tensor { dtype, dims: Some(dims) };
                Some(self.graph.add_value(&name, Some(declared)))
            })
            .collect();
        let mut set = Attributes::default();
        for (key, value) in attributes {
            set.set(*key, value.clone());
        }
        self.graph.nodes.push(Node {
            name,
            op: op.to_string(),
            version: OPSET,
            inputs,
            outputs: outputs.clone(),
            attributes: set,
            ..Node::default()
        });
        Ok(outputs)
    }

    /// Adds an operator of one answer.
    pub(super) fn value(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: &[(&str, Attribute)],
        dtype: ElementType,
        dims: Vec<Dim>,
    ) -> Result<ValueId> {
        let inputs = inputs.iter().copied().map(Some).collect();
        let outputs = self.node(op, inputs, attributes, &[Some((dtype, dims))])?;
        outputs.first().copied().flatten().ok_or_else(|| err!(Internal, "{op} without an answer"))
    }

    /// Adds an operator that reads `x` and then `others`, and whose answer is as `x` but for its
    /// dimensions.
    pub(super) fn then(
        &mut self,
        op: &str,
        x: &Signal,
        others: &[ValueId],
        attributes: &[(&str, Attribute)],
        dims: Vec<Dim>,
    ) -> Result<Signal> {
        let mut inputs = vec![x.value];
        inputs.extend_from_slice(others);
        let value = self.value(op, &inputs, attributes, x.dtype, dims.clone())?;
        Ok(Signal { value, dtype: x.dtype, dims, batch: x.batch })
    }

    /// Adds an operator that reads `x` and then `others`, and whose answer is as `x`.
    pub(super) fn like(
        &mut self,
        op: &str,
        x: &Signal,
        others: &[ValueId],
        attributes: &[(&str, Attribute)],
    ) -> Result<Signal> {
        self.then(op, x, others, attributes, x.dims.clone())
    }

    /// The file's tensor `name` of these dimensions as a constant.
    pub(super) fn weight(&mut self, name: &str, dims: &[usize]) -> Result<ValueId> {
        self.weight_as(name, dims, "", |tensor| Ok(tensor.clone()))
    }

    /// The same, changed by `change`; `form` tells its result from the tensor as it is.
    pub(super) fn weight_as(
        &mut self,
        name: &str,
        dims: &[usize],
        form: &str,
        change: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<ValueId> {
        self.combined(&[(name.to_string(), dims.to_vec())], form, |tensors| match tensors {
            [tensor] => change(tensor),
            _ => Err(err!(Internal, "{} tensors instead of one", tensors.len())),
        })
    }

    /// A constant made of several of the file's tensors.
    pub(super) fn combined(
        &mut self,
        parts: &[(String, Vec<usize>)],
        form: &str,
        make: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    ) -> Result<ValueId> {
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        let name = format!("{}{form}", names.join("+"));
        // The dimensions are part of the key: a second layer of that name is checked like the
        // first.
        let dims: Vec<&Vec<usize>> = parts.iter().map(|(_, dims)| dims).collect();
        let key = format!("{name} {dims:?}");
        if let Some(&id) = self.constants.get(&key) {
            return Ok(id);
        }
        let tensors = parts
            .iter()
            .map(|(name, dims)| self.weights.take(name, dims, self.dtype))
            .collect::<Result<Vec<_>>>()?;
        let tensor = make(&tensors)?;
        let id = self.kept(name, tensor)?;
        self.constants.insert(key, id);
        Ok(id)
    }

    /// A constant of the computing type from another file.
    pub(super) fn given(&mut self, name: &str, tensor: Tensor) -> Result<ValueId> {
        self.kept(format!("{}.{name}", self.place), tensor)
    }

    fn kept(&mut self, name: String, tensor: Tensor) -> Result<ValueId> {
        self.weight_bytes = self.weight_bytes.saturating_add(tensor.byte_len());
        ensure!(
            self.weight_bytes <= self.limits.weight_bytes,
            LimitExceeded,
            "weights of more than {} bytes",
            self.limits.weight_bytes
        );
        Ok(self.graph.add_constant(name, tensor))
    }

    /// A constant of the computing type that is not in the file.
    pub(super) fn made(&mut self, name: &str, dims: &[usize], values: &[f64]) -> Result<ValueId> {
        let name = format!("{}.{name}", self.place);
        let tensor = match self.dtype {
            ElementType::F64 => Tensor::from_vec(dims, room::copied(values)?)?,
            _ => Tensor::from_vec(dims, room::collected(values.iter().map(|&v| v as f32))?)?,
        };
        Ok(self.graph.add_constant(name, tensor))
    }

    /// A scalar of the computing type.
    pub(super) fn scalar(&mut self, name: &str, value: f64) -> Result<ValueId> {
        self.made(name, &[], &[value])
    }

    /// Counts `len` numbers that are not in the file. Bounded as folded constants are, for no
    /// byte of the file stands behind them.
    pub(super) fn pay(&mut self, len: usize) -> Result<()> {
        let bytes = (len as u64).saturating_mul(8);
        self.filled_bytes = self.filled_bytes.saturating_add(bytes);
        ensure!(
            bytes <= self.limits.folded_constant_bytes
                && self.filled_bytes <= self.limits.folded_total_bytes,
            LimitExceeded,
            "a vector of {len} numbers that the file does not hold"
        );
        Ok(())
    }

    /// A vector of `len` equal numbers that is not in the file.
    pub(super) fn filled(&mut self, name: &str, len: usize, value: f64) -> Result<ValueId> {
        self.pay(len)?;
        self.made(name, &[len], &room::filled(len, value)?)
    }

    /// A vector of `int64`: axes, shapes, bounds.
    pub(super) fn ints(&mut self, name: &str, values: &[i64]) -> Result<ValueId> {
        let tensor = Tensor::from_vec(&[values.len()], values.to_vec())?;
        Ok(self.graph.add_constant(format!("{}.{name}", self.place), tensor))
    }

    /// A scalar of `int64`.
    pub(super) fn int(&mut self, name: &str, value: i64) -> ValueId {
        self.graph.add_constant(format!("{}.{name}", self.place), Tensor::scalar(value))
    }

    /// `x` in the computing type.
    pub(super) fn cast(&mut self, x: Signal) -> Result<Signal> {
        let dtype = self.dtype;
        self.cast_to(x, dtype)
    }

    /// `x` in `dtype`: the computing type, `BOOL` or `INT64`.
    pub(super) fn cast_to(&mut self, x: Signal, dtype: ElementType) -> Result<Signal> {
        if x.dtype == dtype {
            return Ok(x);
        }
        // TensorProto.DataType's numbers.
        let to = match dtype {
            ElementType::F32 => 1,
            ElementType::I64 => 7,
            ElementType::Bool => 9,
            ElementType::F64 => 11,
            other => bail!(Internal, "no cast to {other}"),
        };
        let to = [("to", Attribute::Int(to))];
        let value = self.value("Cast", &[x.value], &to, dtype, x.dims.clone())?;
        Ok(Signal { value, dtype, ..x })
    }

    /// The sizes of `axes` of `x` as numbers when the model runs: a scalar.
    pub(super) fn size_of(&mut self, x: &Signal, axis: usize) -> Result<ValueId> {
        let (from, to) = (int(axis), int(axis).saturating_add(1));
        let part = [("start", Attribute::Int(from)), ("end", Attribute::Int(to))];
        let size = self.value("Shape", &[x.value], &part, ElementType::I64, vec![Dim::Fixed(1)])?;
        let first = self.ints("axes", &[0])?;
        self.value("Squeeze", &[size, first], &[], ElementType::I64, Vec::new())
    }

    /// The numbers 0, 1, … as many as `x` is long on `axis`.
    pub(super) fn positions(&mut self, x: &Signal, axis: usize) -> Result<ValueId> {
        let size = self.size_of(x, axis)?;
        let (zero, one) = (self.int("start", 0), self.int("step", 1));
        let dims = x.dims.get(axis).cloned().into_iter().collect();
        self.value("Range", &[zero, size, one], &[], ElementType::I64, dims)
    }

    /// Makes these signals the model's outputs.
    pub(super) fn outputs(&mut self, outputs: Vec<(String, Signal)>) -> Result<()> {
        for (name, signal) in outputs {
            // An output has a value of its own: an input or another output may not be renamed.
            let taken = self.graph.inputs.contains(&signal.value)
                || self.graph.outputs.contains(&signal.value);
            let value = if taken {
                self.enter("output".into());
                self.like("Identity", &signal, &[], &[])?.value
            } else {
                signal.value
            };
            if let Some(info) = self.graph.values.get_mut(value.index()) {
                info.name = name;
            }
            self.graph.outputs.push(value);
        }
        Ok(())
    }

    /// Keeps what the model says of itself.
    pub(super) fn say(&mut self, key: &str, value: impl Into<String>) {
        self.graph.metadata.insert(format!("modelserve.{key}"), value.into());
    }
}

/// A size as an attribute's number.
pub(super) fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Sizes as an attribute.
pub(super) fn ints(sizes: &[usize]) -> Attribute {
    Attribute::Ints(sizes.iter().map(|&n| int(n)).collect())
}
