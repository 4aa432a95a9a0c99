//! Building the graph.

mod expand;

use super::function::{self, Context, Functions, Key};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, attribute_type as kind,
};
use super::scope::Scopes;
use super::tensor::Tensors;
use super::{attribute, native, opset, types};
use crate::attribute::{Attribute, Attributes};
use crate::error::{Result, bail, ensure, err};
use crate::graph::{Graph, Missing, Node, ValueId, ValueType};
use crate::limits::LoadLimits;
use crate::problem::{At, Problems};
use crate::source::Source;
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// Oldest IR version that is read.
const OLDEST_IR: i64 = 3;
/// Bytes that expanding functions may copy, whatever the file's size.
const FREE_EXPANSION: u64 = 64 << 20;

/// The graph of a decoded model.
///
/// # Errors
/// `InvalidModel`, `Unsupported` or `LimitExceeded`, naming what and where.
pub(super) fn model(
    mut model: ModelProto,
    source: &Source,
    limits: &LoadLimits,
    problems: &mut Problems,
) -> Result<Graph> {
    let version = model.ir_version;
    if version <= 0 {
        let error = err!(InvalidModel, "not an ONNX model: it has no IR version");
        problems.note(error, None)?;
    } else if version < OLDEST_IR {
        let error = err!(Unsupported, "IR version {version} (the oldest known is {OLDEST_IR})");
        problems.note(error, None)?;
    }
    let Some(graph) = model.graph.take() else {
        bail!(InvalidModel, "the model has no graph");
    };
    let opsets = opset::read(std::mem::take(&mut model.opset_import), problems)?;
    if opsets.is_empty() {
        problems.note(err!(InvalidModel, "the model imports no opset"), None)?;
    }
    let functions = function::read(std::mem::take(&mut model.functions), &opsets, problems)?;
    let budget = (source.bytes().len() as u64).saturating_mul(3).saturating_add(FREE_EXPANSION);
    let mut importer = Importer {
        limits,
        problems,
        tensors: Tensors::new(source, limits),
        functions,
        scopes: Scopes::default(),
        calls: Vec::new(),
        nodes: 0,
        expansion_left: budget,
    };
    let context = Context { opsets: &opsets, attributes: None };
    let mut graph = importer.graph(graph, &context)?;
    graph.metadata = importer.metadata(model)?;
    graph.opsets = opsets;
    Ok(graph)
}

struct Importer<'a> {
    limits: &'a LoadLimits,
    problems: &'a mut Problems,
    tensors: Tensors<'a>,
    functions: Functions,
    scopes: Scopes,
    /// The functions being expanded, outermost first.
    calls: Vec<Key>,
    /// Nodes and calls read so far.
    nodes: usize,
    expansion_left: u64,
}

impl Importer<'_> {
    fn metadata(&self, model: ModelProto) -> Result<BTreeMap<String, String>> {
        let mut metadata = BTreeMap::new();
        for entry in model.metadata_props {
            self.name("metadata key", &entry.key)?;
            metadata.insert(entry.key, entry.value);
        }
        let version =
            if model.model_version == 0 { String::new() } else { model.model_version.to_string() };
        for (key, value) in [
            ("producer_name", model.producer_name),
            ("producer_version", model.producer_version),
            ("domain", model.domain),
            ("model_version", version),
            ("doc_string", model.doc_string),
            ("non_finite_weights", self.tensors.non_finite().join(", ")),
        ] {
            if !value.is_empty() {
                metadata.insert(key.to_string(), value);
            }
        }
        Ok(metadata)
    }

    /// Refuses a name that is too long.
    fn name(&self, what: &str, name: &str) -> Result<()> {
        let most = self.limits.name_bytes;
        let head = || name.chars().take(32).collect::<String>();
        ensure!(
            name.len() <= most,
            LimitExceeded,
            "{what} '{}…' of {} bytes (at most {most})",
            head(),
            name.len()
        );
        Ok(())
    }

    /// Refuses a value's name that is missing or too long.
    fn value_name(&self, what: &str, name: &str) -> Result<()> {
        ensure!(!name.is_empty(), InvalidModel, "{what} without a name");
        self.name(what, name)
    }

    fn graph(&mut self, mut proto: GraphProto, context: &Context) -> Result<Graph> {
        let depth = self.scopes.depth();
        ensure!(
            depth <= self.limits.subgraph_depth,
            LimitExceeded,
            "sub-graphs nested more than {} deep",
            self.limits.subgraph_depth
        );
        self.name("graph name", &proto.name)?;
        self.scopes.enter_graph(std::mem::take(&mut proto.name));
        let read = self.content(proto, context, depth == 0);
        // After an error, too: what is around this graph may be read on.
        let graph = self.scopes.leave_graph();
        read.map(|()| graph)
    }

    fn content(&mut self, proto: GraphProto, context: &Context, top: bool) -> Result<()> {
        for initializer in proto.initializer {
            let name = initializer.name.clone();
            let tensor = self.tensors.convert(initializer);
            self.initializer(&name, tensor)?;
        }
        for initializer in proto.sparse_initializer {
            let name = initializer.values.as_ref().map(|v| v.name.clone()).unwrap_or_default();
            let tensor = self.tensors.convert_sparse(initializer).map(|(_, tensor)| tensor);
            self.initializer(&name, tensor)?;
        }
        self.inputs(&proto.input)?;
        let mut declared: HashMap<&str, &ValueInfoProto> =
            proto.value_info.iter().map(|v| (v.name.as_str(), v)).collect();
        declared.extend(proto.output.iter().map(|v| (v.name.as_str(), v)));
        for name in proto.node.iter().flat_map(|n| &n.output).filter(|n| !n.is_empty()) {
            let declared = declared.get(name.as_str()).and_then(|v| self.declared_type(v));
            let added = self
                .value_name("a node's output", name)
                .and_then(|()| self.scopes.declare(name, declared, false));
            self.problems.noted(added)?;
        }
        for node in proto.node {
            self.node(node, context)?;
        }
        self.outputs(&proto.output, top)
    }

    fn initializer(&mut self, name: &str, tensor: Result<Tensor>) -> Result<()> {
        let tensor = self.problems.noted(tensor)?;
        let added = self
            .value_name("an initializer", name)
            .and_then(|()| self.scopes.declare(name, None, true));
        match (self.problems.noted(added)?, tensor) {
            (Some(id), Some(tensor)) => self.set_constant(id, tensor),
            (Some(id), None) => self.set_missing(id, Missing::Content),
            (None, _) => {}
        }
        Ok(())
    }

    fn set_missing(&mut self, id: ValueId, missing: Missing) {
        let value = self.scopes.graph().values.get_mut(id.index());
        if let Some(value) = value.filter(|value| value.constant.is_none()) {
            value.missing = Some(missing);
        }
    }

    fn set_constant(&mut self, id: ValueId, tensor: Tensor) {
        if let Some(value) = self.scopes.graph().values.get_mut(id.index()) {
            value.constant = Some(tensor);
        }
    }

    fn declared_type(&self, info: &ValueInfoProto) -> Option<ValueType> {
        info.r#type.as_ref().and_then(types::value_type)
    }

    /// The inputs that no initializer stands for: those are constants, as a caller who may not
    /// give them sees them.
    fn inputs(&mut self, inputs: &[ValueInfoProto]) -> Result<()> {
        let mut seen = HashSet::new();
        for input in inputs {
            let first = seen.insert(&input.name);
            let added = self.input(input, first);
            self.problems.noted(added)?;
        }
        Ok(())
    }

    fn input(&mut self, input: &ValueInfoProto, first: bool) -> Result<()> {
        self.value_name("a graph input", &input.name)?;
        let name = &input.name;
        ensure!(first, InvalidModel, "two graph inputs are named '{name}'");
        let declared = self.declared_type(input);
        if self.scopes.is_bound(name) {
            let id = self.scopes.reach(name);
            if let Some(value) = id.and_then(|id| self.scopes.graph().values.get_mut(id.index())) {
                value.declared = declared;
            }
            return Ok(());
        }
        if let Some(what) = input.r#type.as_ref().and_then(types::unsupported) {
            self.problems.note(err!(Unsupported, "input '{name}' is of type {what}"), None)?;
        }
        let id = self.scopes.declare(name, declared, true)?;
        self.scopes.graph().inputs.push(id);
        Ok(())
    }

    fn outputs(&mut self, outputs: &[ValueInfoProto], top: bool) -> Result<()> {
        let mut seen = HashSet::new();
        for output in outputs {
            let first = seen.insert(&output.name) || !top;
            let added = self.output(output, first);
            self.problems.noted(added)?;
        }
        Ok(())
    }

    fn output(&mut self, output: &ValueInfoProto, first: bool) -> Result<()> {
        let name = &output.name;
        self.value_name("a graph output", name)?;
        ensure!(first, InvalidModel, "two graph outputs are named '{name}'");
        let Some(Some(id)) = self.scopes.resolve(name) else {
            bail!(InvalidModel, "graph output '{name}' is produced by nothing");
        };
        let declared = self.declared_type(output);
        let graph = self.scopes.graph();
        graph.outputs.push(id);
        if let Some(value) = graph.values.get_mut(id.index()) {
            value.declared = value.declared.take().or(declared);
        }
        Ok(())
    }

    fn node(&mut self, mut proto: NodeProto, context: &Context) -> Result<()> {
        self.nodes += 1;
        let most = self.limits.nodes;
        ensure!(self.nodes <= most, LimitExceeded, "more than {most} nodes and function calls");
        if let Err(error) = self.titled_node(&mut proto, context) {
            let domain = if proto.domain.is_empty() { "ai.onnx" } else { &proto.domain };
            let at = At {
                operator: &format!("{domain}:{}", proto.op_type),
                opset: opset::version(context.opsets, opset::plain(&proto.domain)).ok(),
                node: &proto.name,
                output: proto.output.first().map_or("", String::as_str),
            };
            self.problems.note(error, Some(at))?;
            for name in &proto.output {
                if let Some(id) = self.scopes.own(name) {
                    self.set_missing(id, Missing::Writer);
                }
            }
        }
        for name in proto.output.iter().filter(|n| !n.is_empty()) {
            self.scopes.reach(name);
        }
        Ok(())
    }

    fn titled_node(&mut self, proto: &mut NodeProto, context: &Context) -> Result<()> {
        ensure!(!proto.op_type.is_empty(), InvalidModel, "node '{}' has no operator", proto.name);
        for (what, name) in
            [("node name", &proto.name), ("operator", &proto.op_type), ("domain", &proto.domain)]
        {
            self.name(what, name)?;
        }
        self.node_inner(proto, context).map_err(|e| {
            // One node is enough to find the place: not the whole way through nested graphs.
            match e.message().starts_with("node '") {
                true => e,
                false => e.context(format_args!("node '{}' ({})", proto.name, proto.op_type)),
            }
        })
    }

    fn node_inner(&mut self, proto: &mut NodeProto, context: &Context) -> Result<()> {
        let domain = opset::plain(&proto.domain).to_string();
        let attributes = self.attributes(std::mem::take(&mut proto.attribute), context)?;
        let inputs = self.node_inputs(&proto.input)?;
        let outputs = self.node_outputs(&proto.output);
        let key: Key = (domain, proto.op_type.clone(), std::mem::take(&mut proto.overload));
        if let Some(function) = self.functions.get(&key).map(Rc::clone) {
            return self.call(key, &function, attributes, &inputs, &outputs);
        }
        let (domain, op, _) = key;
        if domain.is_empty() && op == "Constant" {
            return self.constant(attributes, &inputs, &outputs);
        }
        let version = opset::version(context.opsets, &domain)?;
        let mut plain = Attributes::default();
        let mut subgraphs = Vec::new();
        for attribute in attributes {
            let name = attribute.name.clone();
            let at = |e: crate::Error| e.context(format!("attribute '{name}'"));
            match attribute::kind_of(&attribute).map_err(at)? {
                kind::GRAPH => {
                    let Some(body) = attribute.g else {
                        bail!(InvalidModel, "attribute '{name}' has no graph");
                    };
                    subgraphs.push((name, self.graph(*body, context)?));
                }
                // The element type of an absent optional: nothing is computed with it.
                kind::TYPE_PROTO if op == "Optional" => {}
                kind => {
                    let value = self.plain_attribute(attribute, kind).map_err(at)?;
                    plain.set(name, value);
                }
            }
        }
        let op = match domain == crate::ensemble::DOMAIN {
            true => native::unpack(&op, &mut plain, self.limits)?.to_string(),
            false => op,
        };
        let name = std::mem::take(&mut proto.name);
        self.scopes.graph().nodes.push(Node {
            name,
            op,
            domain,
            version,
            inputs,
            outputs,
            attributes: plain,
            subgraphs,
        });
        Ok(())
    }

    fn node_inputs(&mut self, names: &[String]) -> Result<Vec<Option<ValueId>>> {
        let resolve = |name: &String| {
            if name.is_empty() {
                return Ok(None);
            }
            self.scopes
                .resolve(name)
                .ok_or_else(|| err!(InvalidModel, "it reads '{name}', which nothing produces"))
        };
        names.iter().map(resolve).collect()
    }

    /// The numbers of a node's outputs, which are all declared.
    fn node_outputs(&mut self, names: &[String]) -> Vec<Option<ValueId>> {
        names.iter().map(|name| self.scopes.own(name)).collect()
    }

    /// The attributes with references to those of the function's call replaced by these.
    fn attributes(
        &self,
        protos: Vec<AttributeProto>,
        context: &Context,
    ) -> Result<Vec<AttributeProto>> {
        let most = self.limits.attributes;
        ensure!(
            protos.len() <= most,
            LimitExceeded,
            "it has {} attributes (at most {most})",
            protos.len()
        );
        let mut seen = HashSet::new();
        let mut out = Vec::with_capacity(protos.len());
        for proto in protos {
            self.value_name("an attribute", &proto.name)?;
            let name = proto.name.clone();
            if proto.ref_attr_name.is_empty() {
                out.push(proto);
            } else {
                let Some(given) = context.attributes else {
                    bail!(
                        InvalidModel,
                        "attribute '{name}' refers to '{}' outside of a function",
                        proto.ref_attr_name
                    );
                };
                // An attribute that the call leaves out is left out here, too.
                if let Some(value) = given.get(&proto.ref_attr_name) {
                    let expected = proto.r#type;
                    let kind = attribute::kind_of(value)?;
                    ensure!(
                        expected == kind::UNDEFINED || expected == kind,
                        InvalidModel,
                        "attribute '{name}' is of type number {expected}, but the call gives {kind}"
                    );
                    out.push(AttributeProto { name: name.clone(), ..value.clone() });
                }
            }
            ensure!(seen.insert(name.clone()), InvalidModel, "attribute '{name}' comes twice");
        }
        Ok(out)
    }

    fn plain_attribute(&mut self, a: AttributeProto, kind: i32) -> Result<Attribute> {
        Ok(match kind {
            kind::FLOAT => Attribute::Float(a.f.unwrap_or_default()),
            kind::INT => Attribute::Int(a.i.unwrap_or_default()),
            kind::STRING => Attribute::String(a.s.unwrap_or_default().to_vec()),
            kind::TENSOR => match a.t {
                Some(tensor) => Attribute::Tensor(self.tensors.convert(*tensor)?),
                None => bail!(InvalidModel, "it has no tensor"),
            },
            kind::SPARSE_TENSOR => match a.sparse_tensor {
                Some(tensor) => Attribute::Tensor(self.tensors.convert_sparse(*tensor)?.1),
                None => bail!(InvalidModel, "it has no tensor"),
            },
            kind::FLOATS => Attribute::Floats(a.floats),
            kind::INTS => Attribute::Ints(a.ints),
            kind::STRINGS => Attribute::Strings(a.strings),
            9 => bail!(Unsupported, "a list of tensors"),
            10 => bail!(Unsupported, "a list of graphs"),
            12 => bail!(Unsupported, "a list of sparse tensors"),
            13 | 14 => bail!(Unsupported, "a type"),
            other => bail!(InvalidModel, "its type number {other} is unknown"),
        })
    }

    /// A `Constant` node: its output becomes a constant of the graph.
    fn constant(
        &mut self,
        attributes: Vec<AttributeProto>,
        inputs: &[Option<ValueId>],
        outputs: &[Option<ValueId>],
    ) -> Result<()> {
        ensure!(inputs.is_empty(), InvalidModel, "a constant takes no inputs");
        let [Some(output)] = outputs else {
            bail!(InvalidModel, "a constant has one output, got {}", outputs.len());
        };
        let count = attributes.len();
        let Ok([attribute]) = <[AttributeProto; 1]>::try_from(attributes) else {
            bail!(InvalidModel, "a constant has one attribute, got {count}");
        };
        let name = attribute.name.clone();
        let kind = attribute::kind_of(&attribute)?;
        let value = self
            .plain_attribute(attribute, kind)
            .map_err(|e| e.context(format!("attribute '{name}'")))?;
        let text = |s: Vec<u8>| {
            String::from_utf8(s)
                .map_err(|_| err!(InvalidModel, "attribute '{name}' is not valid UTF-8"))
        };
        let tensor = match (name.as_str(), value) {
            ("value" | "sparse_value", Attribute::Tensor(t)) => t,
            ("value_int", Attribute::Int(v)) => Tensor::scalar(v),
            ("value_ints", Attribute::Ints(v)) => Tensor::from_vec(&[v.len()], v)?,
            ("value_float", Attribute::Float(v)) => Tensor::scalar(v),
            ("value_floats", Attribute::Floats(v)) => Tensor::from_vec(&[v.len()], v)?,
            ("value_string", Attribute::String(v)) => Tensor::scalar(text(v)?),
            ("value_strings", Attribute::Strings(v)) => {
                let v = v.into_iter().map(|s| text(s.into())).collect::<Result<Vec<_>>>()?;
                Tensor::from_vec(&[v.len()], v)?
            }
            _ => bail!(InvalidModel, "attribute '{name}' of this type is none of a constant's"),
        };
        self.set_constant(*output, tensor);
        Ok(())
    }
}
