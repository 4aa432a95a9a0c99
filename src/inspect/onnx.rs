//! ONNX files: what their messages say, read before and whether or not there is a graph of them.

use super::report::{
    ExternalData, Inspection, LocalFunction, Memory, NamedValue, OperatorUse, StoredTensor,
    WeightKind,
};
use super::{by_use, implements, shown_domain};
use crate::ensemble::DOMAIN;
use crate::error::{ErrorKind, Result};
use crate::format::onnx::proto::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    TensorProto, TypeProto, ValueInfoProto,
};
use crate::format::onnx::{self, external_place, opset_version, plain_domain};
use crate::graph::{Dim, Graph};
use crate::limits::{LoadLimits, MAX_RANK};
use crate::model::LoadOptions;
use crate::problem::{At, Problems};
use crate::source::Source;
use crate::tensor::ElementType;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Tensors that are listed.
const LISTED: usize = 20;
/// Nodes of one operator that are remembered: as many as a problem names.
const NAMED: usize = 20;

/// Looks at the messages, and reads them into a graph.
///
/// # Errors
/// What reading them says.
pub(super) fn read(
    source: &Source,
    options: &LoadOptions,
    report: &mut Inspection,
    problems: &mut Problems,
) -> Result<Graph> {
    let limits = &options.limits;
    let model = onnx::decode(source, limits)?;
    report.readable = true;
    head(&model, report);
    let unknown = body(&model, source, limits, report);
    onnx::graph(model, source, limits, problems).inspect_err(|_| {
        // There is no graph whose operators could be looked at.
        for Unknown { operator, opset, count, nodes } in &unknown {
            let named = nodes.iter().map(|(node, output)| (node.as_str(), output.as_str()));
            let all = named.chain(std::iter::repeat(("", ""))).zip(0..*count);
            for ((node, output), _) in all {
                problems.add_missing(At { operator, opset: *opset, node, output });
            }
        }
    })
}

/// What its graphs and functions hold; answers the operators that are not implemented.
fn body(
    model: &ModelProto,
    source: &Source,
    limits: &LoadLimits,
    report: &mut Inspection,
) -> Vec<Unknown> {
    let opsets = imports(&model.opset_import);
    let functions = model.functions.iter();
    let local: HashSet<(&str, &str)> =
        functions.map(|f| (plain_domain(&f.domain), f.name.as_str())).collect();
    let mut walk = Walk::default();
    if let Some(graph) = &model.graph {
        walk.graph(graph, &opsets);
    }
    for function in &model.functions {
        let own = imports(&function.opset_import);
        walk.nodes(&function.node, if own.is_empty() { &opsets } else { &own });
    }
    walk.finish(&local, source, limits, report)
}

/// What the model says of itself, and what it takes and gives.
fn head(model: &ModelProto, report: &mut Inspection) {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    report.producer = text(&model.producer_name);
    report.producer_version = text(&model.producer_version);
    report.ir_version = Some(model.ir_version);
    report.model_version = Some(model.model_version).filter(|&v| v != 0);
    report.domain = text(&model.domain);
    report.doc_string = text(&model.doc_string);
    for entry in &model.metadata_props {
        report.metadata.insert(entry.key.clone(), entry.value.clone());
    }
    report.opsets = shown(&imports(&model.opset_import));
    report.functions = model.functions.iter().map(function).collect();
    let Some(graph) = &model.graph else { return };
    report.graph_name = text(&graph.name);
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref());
    let constants: HashSet<&str> =
        graph.initializer.iter().chain(sparse).map(|t| t.name.as_str()).collect();
    let given = graph.input.iter().filter(|v| !constants.contains(v.name.as_str()));
    report.inputs = given.map(declared).collect();
    report.outputs = graph.output.iter().map(declared).collect();
}

fn function(function: &FunctionProto) -> LocalFunction {
    let name = match function.overload.as_str() {
        "" => function.name.clone(),
        overload => format!("{}:{overload}", function.name),
    };
    LocalFunction {
        domain: shown_domain(plain_domain(&function.domain)).to_string(),
        name,
        inputs: function.input.clone(),
        outputs: function.output.clone(),
        nodes: function.node.len() as u64,
        opsets: shown(&imports(&function.opset_import)),
    }
}

/// Versions by domain, `""` for `ai.onnx`.
type Opsets = BTreeMap<String, i64>;

fn imports(opsets: &[OperatorSetIdProto]) -> Opsets {
    opsets.iter().map(|o| (plain_domain(&o.domain).to_string(), o.version)).collect()
}

fn shown(opsets: &Opsets) -> Opsets {
    opsets.iter().map(|(domain, v)| (shown_domain(domain).to_string(), *v)).collect()
}

fn declared(info: &ValueInfoProto) -> NamedValue {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    NamedValue {
        name: info.name.clone(),
        type_name: info.r#type.as_ref().map_or_else(|| "?".to_string(), type_name),
        dtype: tensor.filter(|t| t.elem_type != 0).map(|t| element_name(t.elem_type)),
        shape: tensor.and_then(|t| Some(t.shape.as_ref()?.dim.iter().map(dimension).collect())),
    }
}

fn dimension(dim: &onnx::proto::Dimension) -> Dim {
    match dim.dim_value {
        Some(n) => usize::try_from(n).map_or(Dim::Unknown, Dim::Fixed),
        None if dim.dim_param.is_empty() => Dim::Unknown,
        None => Dim::Symbol(dim.dim_param.clone()),
    }
}

/// The type as text. Recursion is bounded by the depth that the scan of the file allows.
fn type_name(proto: &TypeProto) -> String {
    let inner = |inner: Option<&TypeProto>| inner.map_or_else(|| "?".to_string(), type_name);
    if let Some(tensor) = &proto.tensor_type {
        return tensor_name(tensor);
    }
    if let Some(tensor) = &proto.sparse_tensor_type {
        return format!("sparse<{}>", tensor_name(tensor));
    }
    if let Some(sequence) = &proto.sequence_type {
        return format!("sequence<{}>", inner(sequence.elem_type.as_ref()));
    }
    if let Some(map) = &proto.map_type {
        let key = element_name(map.key_type);
        return format!("map<{key}, {}>", inner(map.value_type.as_ref()));
    }
    match &proto.optional_type {
        Some(optional) => format!("optional<{}>", inner(optional.elem_type.as_ref())),
        None => "?".to_string(),
    }
}

fn tensor_name(tensor: &onnx::proto::TensorType) -> String {
    let dtype = element_name(tensor.elem_type);
    let Some(shape) = &tensor.shape else { return dtype };
    let shown = shape.dim.iter().take(MAX_RANK).map(|dim| dimension(dim).to_string());
    let mut shown: Vec<String> = shown.collect();
    if shape.dim.len() > MAX_RANK {
        shown.push("…".to_string());
    }
    format!("{dtype}[{}]", shown.join(", "))
}

fn element_name(data_type: i32) -> String {
    match (ElementType::from_onnx(data_type.into()), data_type) {
        (Some(dtype), _) => dtype.name().to_string(),
        (None, 0) => "undefined".to_string(),
        (None, other) => format!("type {other}"),
    }
}

/// Bits of an element as files have it, by the number of its type; `None` for texts.
fn bits(data_type: i32) -> Option<u64> {
    let bits = ElementType::from_onnx(data_type.into())?.file_bits();
    (bits > 0).then_some(bits as u64)
}

/// An operator that is met.
#[derive(Default)]
struct Met<'a> {
    count: u64,
    /// Names and first outputs of the first nodes.
    nodes: Vec<(&'a str, &'a str)>,
}

/// Domain, operator, opset version.
type Operator<'a> = (&'a str, &'a str, Option<i64>);

/// An operator that is not implemented.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Unknown {
    /// Its name with its domain.
    operator: String,
    opset: Option<i64>,
    count: u64,
    /// Names and first outputs of the first nodes.
    nodes: Vec<(String, String)>,
}

/// What the messages hold. Nesting is bounded by the scan of the file.
#[derive(Default)]
struct Walk<'a> {
    operators: HashMap<Operator<'a>, Met<'a>>,
    kinds: BTreeMap<i32, WeightKind>,
    /// Sizes, names and the tensors themselves: the largest so far.
    largest: BTreeSet<(Reverse<u64>, &'a str, usize)>,
    tensors: HashMap<usize, &'a TensorProto>,
    count: usize,
    parameters: u64,
    external: BTreeMap<String, (u64, u64)>,
}

impl<'a> Walk<'a> {
    fn graph(&mut self, graph: &'a GraphProto, opsets: &Opsets) {
        for tensor in &graph.initializer {
            self.weight(tensor, &tensor.dims);
        }
        for SparseTensorProto { values, indices, dims } in &graph.sparse_initializer {
            if let Some(values) = values {
                self.weight(values, dims);
            }
            if let Some(indices) = indices {
                self.beside(indices, 0);
            }
        }
        self.nodes(&graph.node, opsets);
    }

    fn nodes(&mut self, nodes: &'a [NodeProto], opsets: &Opsets) {
        for node in nodes {
            let domain = plain_domain(&node.domain);
            let version = opset_version(opsets, domain).ok();
            let met = self.operators.entry((domain, node.op_type.as_str(), version)).or_default();
            met.count += 1;
            if met.nodes.len() < NAMED {
                let output = node.output.first().map_or("", String::as_str);
                met.nodes.push((node.name.as_str(), output));
            }
            for attribute in &node.attribute {
                if let Some(graph) = &attribute.g {
                    self.graph(graph, opsets);
                }
                if let Some(tensor) = &attribute.t {
                    self.beside(tensor, stored_bytes(tensor, elements(&tensor.dims)));
                }
            }
        }
    }

    fn weight(&mut self, tensor: &'a TensorProto, dims: &[i64]) {
        let stored = elements(&tensor.dims);
        let bytes = stored_bytes(tensor, stored);
        let parameters = elements(dims);
        self.parameters = self.parameters.saturating_add(parameters);
        let kind = self.kinds.entry(tensor.data_type).or_insert_with(|| WeightKind {
            dtype: element_name(tensor.data_type),
            tensors: 0,
            elements: 0,
            bytes: 0,
        });
        kind.tensors += 1;
        kind.elements = kind.elements.saturating_add(parameters);
        kind.bytes = kind.bytes.saturating_add(bytes);
        self.largest.insert((Reverse(bytes), tensor.name.as_str(), self.count));
        self.tensors.insert(self.count, tensor);
        self.count += 1;
        if self.largest.len() > LISTED
            && let Some((_, _, number)) = self.largest.pop_last()
        {
            self.tensors.remove(&number);
        }
        self.beside(tensor, bytes);
    }

    /// Counts a tensor whose elements lie beside the file.
    fn beside(&mut self, tensor: &TensorProto, bytes: u64) {
        if tensor.data_location != 1 {
            return;
        }
        if let Ok(place) = external_place(&tensor.external_data) {
            let end = place.offset.saturating_add(place.length.unwrap_or(bytes));
            let (tensors, needed) = self.external.entry(place.location).or_default();
            *tensors += 1;
            *needed = end.max(*needed);
        }
    }

    fn finish(
        self,
        local: &HashSet<(&str, &str)>,
        source: &Source,
        limits: &LoadLimits,
        report: &mut Inspection,
    ) -> Vec<Unknown> {
        let mut unknown = Vec::new();
        let mut operators = Vec::with_capacity(self.operators.len());
        for ((domain, op, opset), met) in self.operators {
            let local_function = local.contains(&(domain, op));
            // Constants, and the library's own operators as files have them, are no steps of a plan.
            let supported = local_function
                || implements(domain, op)
                || (domain.is_empty() && op == "Constant")
                || (domain == DOMAIN && matches!(op, "Booster" | "TreeEnsemble"));
            let (domain, name) = (shown_domain(domain).to_string(), op.to_string());
            if !supported {
                let own = |(n, o): (&str, &str)| (n.to_string(), o.to_string());
                let nodes = met.nodes.into_iter().map(own).collect();
                let operator = format!("{domain}:{name}");
                unknown.push(Unknown { operator, opset, count: met.count, nodes });
            }
            let count = met.count;
            operators.push(OperatorUse { domain, name, opset, count, local_function, supported });
        }
        unknown.sort();
        report.operators = by_use(operators);
        report.tensor_count = self.count as u64;
        report.parameters = self.parameters;
        report.weights = self.kinds.into_values().collect();
        report.weights.sort_by_key(|kind| Reverse(kind.bytes));
        report.memory = Some(Memory { bytes: report.weight_bytes(), prepared: false });
        let largest = self.largest.iter().filter_map(|(Reverse(bytes), _, number)| {
            let tensor = self.tensors.get(number)?;
            let place = external_place(&tensor.external_data).ok();
            Some(StoredTensor {
                name: tensor.name.clone(),
                dtype: element_name(tensor.data_type),
                shape: tensor.dims.clone(),
                bytes: *bytes,
                external: place.filter(|_| tensor.data_location == 1).map(|p| p.location),
            })
        });
        report.tensors = largest.collect();
        let files = self.external.into_iter().take(limits.external_files);
        report.external = files.map(|(location, told)| file(location, told, source)).collect();
        unknown
    }
}

fn file(location: String, (tensors, needed): (u64, u64), source: &Source) -> ExternalData {
    let size = source.companion_size(&location);
    let missing = size.as_ref().is_err_and(|e| e.kind() == ErrorKind::NotFound);
    let refused = size.as_ref().err().filter(|_| !missing).map(|e| e.message().to_string());
    ExternalData { location, bytes: size.ok(), needed, tensors, missing, refused }
}

/// How many elements dimensions make; 0 for dimensions that make none.
fn elements(dims: &[i64]) -> u64 {
    let product = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::try_from(d).ok()?));
    product.unwrap_or(0)
}

/// The bytes of a tensor's elements in files.
fn stored_bytes(tensor: &TensorProto, elements: u64) -> u64 {
    match bits(tensor.data_type) {
        Some(bits) => elements.saturating_mul(bits).div_ceil(8),
        None => tensor.string_data.iter().map(|text| text.len() as u64).sum(),
    }
}
