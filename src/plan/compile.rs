//! Graph to plan: fold, drop what is dead, prepare kernels, assign slots by lifetime.

use super::diagnose::{Refused, implements, lost, note_missing, noted_at, pass_on, spread_lost};
use super::exec::output_bit;
use super::fold::{Known, fold_constants};
use super::{Operand, Plan, PlanKind, RowProgram, Step, control, gradient};
use crate::error::{ErrorKind, Result, bail, ensure, err};
use crate::graph::{Graph, Node, topological_order};
use crate::kernel::{InputSpec, Kernel, OpSpec, registry};
use crate::limits::LoadLimits;
use crate::problem::Problems;
use crate::tensor::Value;
use parking_lot::Mutex;
use smallvec::SmallVec;

/// How to compile.
#[derive(Debug, Clone, Copy)]
pub struct CompileOptions<'a> {
    /// What loading may cost.
    pub limits: &'a LoadLimits,
    /// Which plan to make.
    pub plan: PlanKind,
}

/// Compiles a graph. Constants that are still needed move into the plan without a copy.
///
/// Every node is prepared, even after one that cannot be: `problems`, where reading the graph may
/// have left some, has all of them afterwards, and there is a plan where it has none.
///
/// # Errors
/// All problems in one: `Unsupported` naming every operator that is not implemented with the nodes
/// that use it, `InvalidModel` for a graph that contradicts itself, `LimitExceeded`.
pub fn compile(graph: Graph, options: CompileOptions<'_>, problems: &mut Problems) -> Result<Plan> {
    match compile_nested(graph, options, 0, problems) {
        Ok(plan) if problems.is_empty() => return Ok(plan),
        Ok(_) => {}
        Err(error) => problems.add(&error, None),
    }
    Err(problems.error())
}

/// As [`compile`], for a body nested `depth` levels deep. With problems the plan is not one to run.
pub(super) fn compile_nested(
    mut graph: Graph,
    options: CompileOptions<'_>,
    depth: usize,
    problems: &mut Problems,
) -> Result<Plan> {
    ensure!(
        depth <= options.limits.subgraph_depth,
        LimitExceeded,
        "sub-graphs nest deeper than {}",
        options.limits.subgraph_depth
    );
    ensure!(
        graph.nodes.len() <= options.limits.nodes,
        LimitExceeded,
        "{} nodes (at most {})",
        graph.nodes.len(),
        options.limits.nodes
    );
    gradient::expand(&mut graph)?;
    if depth == 0 {
        note_missing(&graph, problems);
    }
    let order = topological_order(&graph)?;
    let mut known: Known =
        graph.values.iter_mut().map(|v| v.constant.take().map(Value::Tensor)).collect();
    let plain = options.plan == PlanKind::Plain;
    if !plain {
        let needed = needed_nodes(&graph, &order, &known);
        fold_constants(&graph, &order, &needed, &mut known, options);
    }
    spread_lost(&mut graph, &order, &known);
    let needed = needed_nodes(&graph, &order, &known);
    let order: Vec<usize> = order.into_iter().filter(|&k| needed[k]).collect();

    let reads = last_reads(&graph, &order, &known);
    let serves = serves(&graph, &order);
    let mut slots = Slots::new(graph.values.len());
    let mut constants = Constants::new(graph.values.len());
    let inputs: Vec<Option<u32>> = graph
        .inputs
        .iter()
        .chain(graph.captures.iter().map(|c| &c.inner))
        .map(|id| {
            (known[id.index()].is_none() && reads[id.index()] != NEVER)
                .then(|| slots.assign(id.index()))
        })
        .collect();
    let mut nodes: Vec<Option<Node>> =
        std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    let mut steps = Vec::with_capacity(order.len());
    let mut kept: Vec<Node> = Vec::with_capacity(order.len());
    for (position, &k) in order.iter().enumerate() {
        let Some(mut node) = nodes[k].take() else {
            bail!(Internal, "node {k} was compiled twice")
        };
        let operator = node.qualified_op().into_boxed_str();
        let label = format!("node '{}' ({operator})", node.name).into_boxed_str();
        let wanted: Vec<bool> =
            node.outputs.iter().map(|o| o.is_some_and(|id| reads[id.index()] != NEVER)).collect();
        let mut subgraphs = std::mem::take(&mut node.subgraphs);
        let mut read: SmallVec<[Option<usize>; 4]> =
            node.inputs.iter().map(|id| id.map(|id| id.index())).collect();
        let prepared: Result<Option<Box<dyn Kernel>>> = if !implements(&node.domain, &node.op) {
            Ok(None)
        } else if !subgraphs.is_empty() {
            pass_on(&graph, &mut subgraphs);
            let control = problems.within(&label, |problems| {
                control::prepare(&node, subgraphs, &known, options, depth, problems)
            });
            control.map(|control| {
                read.extend(control.captures.iter().map(|id| Some(id.index())));
                Some(control.kernel)
            })
        } else if node.inputs.iter().flatten().any(|id| lost(&graph, *id)) {
            Ok(None)
        } else {
            prepare(&node, &known, &wanted, options).map(Some)
        };
        let kernel: Box<dyn Kernel> = match prepared {
            // After a problem nothing is kept: there will be no plan.
            Ok(Some(kernel)) if problems.is_empty() => kernel,
            Ok(_) => Box::new(Refused),
            Err(error) if error.kind() == ErrorKind::LimitExceeded => return Err(error),
            Err(error) => {
                noted_at(&graph, &node, |at| problems.add(&error, Some(at)));
                Box::new(Refused)
            }
        };
        let mut ends: SmallVec<[u32; 2]> = SmallVec::new();
        let mut operands: SmallVec<[Operand; 4]> = SmallVec::new();
        for (i, value) in read.iter().enumerate() {
            operands.push(match *value {
                None => Operand::Absent,
                // Weights that were packed are kept once.
                Some(v) if known[v].is_some() && kernel.holds(i) => Operand::Absent,
                Some(v) if known[v].is_some() => Operand::Constant(constants.number(v, &known)?),
                Some(v) if slots.of(v).is_none() && graph.values[v].missing.is_some() => {
                    Operand::Absent
                }
                Some(v) => {
                    let slot = slots
                        .of(v)
                        .ok_or_else(|| err!(Internal, "{label}: input {i} has no slot"))?;
                    if reads[v] != position {
                        Operand::Slot(slot)
                    } else if plain || read.iter().filter(|r| **r == Some(v)).count() > 1 {
                        if !ends.contains(&slot) {
                            ends.push(slot);
                        }
                        Operand::Slot(slot)
                    } else {
                        Operand::LastUse(slot)
                    }
                }
            });
        }
        // Outputs get their slots before the inputs' are freed: a kernel never sees its output
        // and a borrowed input in one slot.
        let outputs = node
            .outputs
            .iter()
            .zip(&wanted)
            .map(|(o, &w)| o.filter(|_| w).map(|id| slots.assign(id.index())))
            .collect();
        for &v in read.iter().flatten() {
            if reads[v] == position {
                slots.release(v);
            }
        }
        steps.push(Step {
            kernel,
            inputs: operands,
            outputs,
            ends,
            serves: serves[k],
            label,
            operator,
        });
        kept.push(node);
    }
    let outputs = graph
        .outputs
        .iter()
        .map(|id| match &known[id.index()] {
            Some(_) => Ok(Operand::Constant(constants.number(id.index(), &known)?)),
            None if slots.of(id.index()).is_none() && graph.value(*id).missing.is_some() => {
                Ok(Operand::Absent)
            }
            None => slots.of(id.index()).map(Operand::Slot).ok_or_else(|| {
                err!(InvalidModel, "output '{}' is never produced", graph.value(*id).name)
            }),
        })
        .collect::<Result<_>>()?;
    let (mut row_program, mut wide_row_program) = (None, None);
    if depth == 0 && !plain && problems.is_empty() {
        row_program = RowProgram::build(&graph, &kept, &steps, &known);
        wide_row_program = RowProgram::build(&graph, &kept, &steps, &known);
    }
    let constants = constants.values;
    let arenas = Mutex::new(Vec::new());
    Ok(Plan {
        steps,
        constants,
        slots: slots.count,
        inputs,
        outputs,
        row_program,
        wide_row_program,
        arenas,
    })
}

/// Prepares the kernel of a node without sub-graphs.
pub(super) fn prepare(
    node: &Node,
    known: &Known,
    wanted: &[bool],
    options: CompileOptions<'_>,
) -> Result<Box<dyn Kernel>> {
    // A plain kernel reads all its inputs when it runs: it packs and decides nothing before.
    let plain = options.plan == PlanKind::Plain;
    let inputs: SmallVec<[InputSpec<'_>; 4]> = node
        .inputs
        .iter()
        .map(|id| InputSpec {
            present: id.is_some(),
            constant: id.filter(|_| !plain).and_then(|id| known[id.index()].as_ref()),
        })
        .collect();
    let spec = OpSpec {
        op: &node.op,
        domain: &node.domain,
        version: node.version,
        node: &node.name,
        attributes: &node.attributes,
        inputs: &inputs,
        outputs: wanted,
        limits: options.limits,
    };
    if plain { registry::prepare_reference(&spec) } else { registry::prepare(&spec) }
}

/// Which nodes an output depends on, going through what is known no further.
fn needed_nodes(graph: &Graph, order: &[usize], known: &Known) -> Vec<bool> {
    let mut value = vec![false; graph.values.len()];
    for id in &graph.outputs {
        value[id.index()] = true;
    }
    let mut node = vec![false; graph.nodes.len()];
    for &k in order.iter().rev() {
        let n = &graph.nodes[k];
        let used =
            n.outputs.iter().flatten().any(|o| value[o.index()] && known[o.index()].is_none());
        if used {
            node[k] = true;
            for id in n.reads() {
                value[id.index()] = true;
            }
        }
    }
    node
}

const NEVER: usize = usize::MAX;
const AT_THE_END: usize = usize::MAX - 1;

/// The position in `order` of each value's last reader.
fn last_reads(graph: &Graph, order: &[usize], known: &Known) -> Vec<usize> {
    let mut last = vec![NEVER; graph.values.len()];
    for (position, &k) in order.iter().enumerate() {
        for id in graph.nodes[k].reads() {
            last[id.index()] = position;
        }
    }
    for id in &graph.outputs {
        last[id.index()] = AT_THE_END;
    }
    for (last, known) in last.iter_mut().zip(known) {
        if known.is_some() {
            *last = NEVER;
        }
    }
    last
}

/// For each node, the bits of the outputs that depend on it.
fn serves(graph: &Graph, order: &[usize]) -> Vec<u64> {
    let mut value = vec![0u64; graph.values.len()];
    for (i, id) in graph.outputs.iter().enumerate() {
        value[id.index()] |= output_bit(i);
    }
    let mut node = vec![0u64; graph.nodes.len()];
    for &k in order.iter().rev() {
        let bits = graph.nodes[k].outputs.iter().flatten().fold(0, |b, o| b | value[o.index()]);
        node[k] = bits;
        for id in graph.nodes[k].reads() {
            value[id.index()] |= bits;
        }
    }
    node
}

/// Slots of the frame, given out and taken back by lifetime.
struct Slots {
    of: Vec<Option<u32>>,
    free: Vec<u32>,
    count: usize,
}

impl Slots {
    fn new(values: usize) -> Slots {
        Slots { of: vec![None; values], free: Vec::new(), count: 0 }
    }

    fn assign(&mut self, value: usize) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count as u32 - 1
        });
        self.of[value] = Some(slot);
        slot
    }

    fn of(&self, value: usize) -> Option<u32> {
        self.of[value]
    }

    fn release(&mut self, value: usize) {
        if let Some(slot) = self.of[value].take() {
            self.free.push(slot);
        }
    }
}

/// The constants that steps still read, numbered as they are met.
struct Constants {
    number: Vec<Option<u32>>,
    values: Vec<Value>,
}

impl Constants {
    fn new(values: usize) -> Constants {
        Constants { number: vec![None; values], values: Vec::new() }
    }

    fn number(&mut self, value: usize, known: &Known) -> Result<u32> {
        if let Some(n) = self.number[value] {
            return Ok(n);
        }
        let Some(constant) = &known[value] else {
            bail!(Internal, "value {value} is not constant")
        };
        let n = self.values.len() as u32;
        self.values.push(constant.clone());
        self.number[value] = Some(n);
        Ok(n)
    }
}
