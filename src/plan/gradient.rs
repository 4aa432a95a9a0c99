//! `ai.onnx.preview.training:Gradient`, the one training operator that inference graphs carry:
//! replaced by the nodes of reverse-mode differentiation before a plan is made.

use crate::attribute::{Attribute, Attributes};
use crate::ensemble::DOMAIN;
use crate::error::{Result, bail, ensure, err};
use crate::graph::{Graph, Node, ValueId, topological_order};
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};

/// The domain of the operator.
const TRAINING: &str = "ai.onnx.preview.training";
/// An opset with every operator that is written here.
const OPSET: i64 = 18;

/// Replaces every Gradient of the graph. Its attributes name values: `y` is differentiated with
/// respect to each of `xs`, at the inputs given.
///
/// # Errors
/// `Unsupported` for an operator on the way whose derivative is not known here, `InvalidModel`
/// for names that the graph has not.
pub(super) fn expand(graph: &mut Graph) -> Result<()> {
    let is_gradient = |n: &Node| n.domain == TRAINING && n.op == "Gradient";
    if !graph.nodes.iter().any(is_gradient) {
        return Ok(());
    }
    let order = topological_order(graph)?;
    let (gradients, others): (Vec<Node>, Vec<Node>) = {
        let mut nodes: Vec<Option<Node>> =
            std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
        order.iter().filter_map(|&k| nodes.get_mut(k)?.take()).partition(is_gradient)
    };
    graph.nodes = others;
    for node in gradients {
        replace(graph, &node).map_err(|e| e.context(format_args!("node '{}'", node.name)))?;
    }
    Ok(())
}

fn replace(graph: &mut Graph, node: &Node) -> Result<()> {
    let mut names = node.attributes.strs("xs")?;
    let wanted = names.len();
    names.extend(node.attributes.strs("zs")?);
    ensure!(
        names.len() == node.inputs.len() && wanted == node.outputs.len(),
        InvalidModel,
        "Gradient of {wanted} values has {} inputs and {} outputs",
        node.inputs.len(),
        node.outputs.len()
    );
    let named: Vec<ValueId> = names.iter().map(|n| value(graph, n)).collect::<Result<_>>()?;
    let y = value(graph, &node.attributes.str("y", "")?)?;
    // Values that depend on the named ones are computed again where other inputs are given.
    let mut at: HashMap<ValueId, ValueId> = HashMap::new();
    for (&name, input) in named.iter().zip(&node.inputs) {
        let input = input.ok_or_else(|| err!(InvalidModel, "Gradient with an input left out"))?;
        at.insert(name, input);
    }
    let way = between(graph, &named, y);
    if at.iter().any(|(name, input)| name != input) {
        copy(graph, &way, &mut at);
    }
    let way: Vec<Node> = way.iter().map(|&k| renamed(&graph.nodes[k], &at)).collect();
    let of = |id: ValueId| at.get(&id).copied().unwrap_or(id);
    let mut tape = Tape { graph, slopes: HashMap::new() };
    let seed = tape.filled(1.0, of(y));
    tape.slopes.insert(of(y), seed);
    for step in way.iter().rev() {
        tape.back(step)?;
    }
    for (&x, output) in named.iter().take(wanted).zip(&node.outputs) {
        let Some(output) = *output else { continue };
        let slope = match tape.slopes.get(&of(x)) {
            Some(&slope) => slope,
            None => tape.filled(0.0, of(x)),
        };
        tape.write("Identity", &[slope], output, Attributes::default());
    }
    Ok(())
}

/// The value of that name.
fn value(graph: &Graph, name: &str) -> Result<ValueId> {
    let found = graph.values.iter().position(|v| !name.is_empty() && v.name == name);
    let found = found.and_then(|i| u32::try_from(i).ok()).map(ValueId);
    found.ok_or_else(|| err!(InvalidModel, "Gradient of '{name:.40}', which the graph has not"))
}

/// The nodes, in order, on the way from the values to `y`.
fn between(graph: &Graph, from: &[ValueId], y: ValueId) -> Vec<usize> {
    let mut depends: HashSet<ValueId> = from.iter().copied().collect();
    let mut found = Vec::new();
    for (k, node) in graph.nodes.iter().enumerate() {
        // A named value is an end even where another one leads to it.
        let ends = node.outputs.iter().flatten().any(|o| from.contains(o));
        if !ends && node.reads().any(|v| depends.contains(&v)) {
            depends.extend(node.outputs.iter().flatten());
            found.push(k);
        }
    }
    let mut needed: HashSet<ValueId> = HashSet::from([y]);
    found.reverse();
    found.retain(|&k| {
        let node = &graph.nodes[k];
        let used = node.outputs.iter().flatten().any(|o| needed.contains(o));
        if used {
            needed.extend(node.inputs.iter().flatten());
        }
        used
    });
    found.reverse();
    found
}

/// Adds copies of the nodes `way` that read what `at` says, and their outputs to `at`.
fn copy(graph: &mut Graph, way: &[usize], at: &mut HashMap<ValueId, ValueId>) {
    for &k in way {
        for output in graph.nodes[k].outputs.clone().into_iter().flatten() {
            let again = graph.add_value(String::new(), None);
            at.insert(output, again);
        }
        let node = renamed(&graph.nodes[k], at);
        graph.nodes.push(node);
    }
}

fn renamed(node: &Node, at: &HashMap<ValueId, ValueId>) -> Node {
    let mut node = node.clone();
    for id in node.inputs.iter_mut().chain(&mut node.outputs).flatten() {
        *id = at.get(id).copied().unwrap_or(*id);
    }
    node
}

/// The derivatives of `y` found so far, by value.
struct Tape<'a> {
    graph: &'a mut Graph,
    slopes: HashMap<ValueId, ValueId>,
}

impl Tape<'_> {
    fn write(&mut self, op: &str, inputs: &[ValueId], output: ValueId, attributes: Attributes) {
        let (domain, version) = if op == "SumTo" { (DOMAIN, 1) } else { ("", OPSET) };
        self.graph.nodes.push(Node {
            op: op.into(),
            domain: domain.into(),
            version,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(output)],
            attributes,
            ..Node::default()
        });
    }

    fn with(&mut self, op: &str, inputs: &[ValueId], attributes: Attributes) -> ValueId {
        let output = self.graph.add_value(String::new(), None);
        self.write(op, inputs, output, attributes);
        output
    }

    fn apply(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.with(op, inputs, Attributes::default())
    }

    /// A tensor like `like` of one number.
    fn filled(&mut self, number: f32, like: ValueId) -> ValueId {
        let shape = self.apply("Shape", &[like]);
        let mut attributes = Attributes::default();
        // A vector of one number always fits.
        if let Ok(fill) = Tensor::from_vec(&[1], vec![number]) {
            attributes.set("value", Attribute::Tensor(fill));
        }
        let filled = self.with("ConstantOfShape", &[shape], attributes);
        self.apply("CastLike", &[filled, like])
    }

    /// A matrix with rows and columns exchanged.
    fn transposed(&mut self, matrix: ValueId) -> ValueId {
        let mut attributes = Attributes::default();
        attributes.set("equation", Attribute::String(b"...ij->...ji".to_vec()));
        self.with("Einsum", &[matrix], attributes)
    }

    /// Adds to the derivative by `x` what one of its readers contributes, summed over what was
    /// broadcast.
    fn add(&mut self, x: ValueId, slope: ValueId) {
        let part = self.apply("SumTo", &[slope, x]);
        let total = match self.slopes.get(&x) {
            Some(&before) => self.apply("Add", &[before, part]),
            None => part,
        };
        self.slopes.insert(x, total);
    }

    /// The derivatives by the inputs of one node.
    fn back(&mut self, node: &Node) -> Result<()> {
        let y = match node.outputs[..] {
            [Some(y)] => y,
            _ => bail!(Unsupported, "Gradient through {}", node.qualified_op()),
        };
        let Some(&g) = self.slopes.get(&y) else { return Ok(()) };
        let inputs: Vec<ValueId> = node.inputs.iter().flatten().copied().collect();
        match (node.qualified_op().as_str(), &inputs[..]) {
            ("Identity", &[x]) => self.add(x, g),
            ("Add", &[a, b]) => {
                self.add(a, g);
                self.add(b, g);
            }
            ("Sub", &[a, b]) => {
                self.add(a, g);
                let minus = self.apply("Neg", &[g]);
                self.add(b, minus);
            }
            ("Mul", &[a, b]) => {
                let (by_a, by_b) = (self.apply("Mul", &[g, b]), self.apply("Mul", &[g, a]));
                self.add(a, by_a);
                self.add(b, by_b);
            }
            ("Div", &[a, b]) => {
                let by_a = self.apply("Div", &[g, b]);
                let scaled = self.apply("Mul", &[by_a, y]);
                let by_b = self.apply("Neg", &[scaled]);
                self.add(a, by_a);
                self.add(b, by_b);
            }
            ("MatMul", &[a, b]) => {
                let (a_turned, b_turned) = (self.transposed(a), self.transposed(b));
                let by_a = self.apply("MatMul", &[g, b_turned]);
                let by_b = self.apply("MatMul", &[a_turned, g]);
                self.add(a, by_a);
                self.add(b, by_b);
            }
            (op, &[x]) => {
                let slope = self.slope(op, x, y, g)?;
                self.add(x, slope);
            }
            (op, _) => bail!(Unsupported, "Gradient through {op}"),
        }
        Ok(())
    }

    /// The derivative by `x` of an element-wise `y = op(x)`, times `g`.
    fn slope(&mut self, op: &str, x: ValueId, y: ValueId, g: ValueId) -> Result<ValueId> {
        Ok(match op {
            "Neg" => self.apply("Neg", &[g]),
            "Exp" => self.apply("Mul", &[g, y]),
            "Log" => self.apply("Div", &[g, x]),
            "Sqrt" => {
                let twice = self.apply("Add", &[y, y]);
                self.apply("Div", &[g, twice])
            }
            "Sin" => {
                let slope = self.apply("Cos", &[x]);
                self.apply("Mul", &[g, slope])
            }
            "Cos" => {
                let slope = self.apply("Sin", &[x]);
                let product = self.apply("Mul", &[g, slope]);
                self.apply("Neg", &[product])
            }
            "Abs" | "Relu" => {
                // A Relu is 0 where its input is negative, and then so is its sign.
                let slope = self.apply("Sign", &[if op == "Abs" { x } else { y }]);
                self.apply("Mul", &[g, slope])
            }
            "Tanh" | "Sigmoid" => {
                // g·(1 − y²) and g·(y − y²).
                let first = if op == "Tanh" { g } else { self.apply("Mul", &[g, y]) };
                let square = self.apply("Mul", &[y, y]);
                let second = self.apply("Mul", &[g, square]);
                self.apply("Sub", &[first, second])
            }
            other => bail!(Unsupported, "Gradient through {other}"),
        })
    }
}
