//! From the steps of a plan to a row program, or to the insight that there is none.

mod texts;

use super::labels::{apply, pick};
use super::{
    Instruction, Operation, RowColumn, RowOutput, RowProgram, Source, TextColumn, added_row, part,
};
use crate::graph::{Dim, Graph, Node, ValueType};
use crate::kernel::{Follower, Followers, RowNumber, RowOp, Sparsity, TextPart};
use crate::plan::Step;
use crate::plan::fold::Known;
use crate::tensor::{ElementType, Tensor, Value};
use smallvec::{SmallVec, smallvec};
use std::collections::HashMap;
use std::marker::PhantomData;

/// What a value of the graph is, seen row by row.
#[derive(Debug, Clone)]
enum Register {
    /// Numbers that ONNX has in the type `dtype`, exact in the program's own. `deep`: a code for
    /// each value of a row, `[rows, 1, codes]`, which only some operators make flat again.
    Numbers { source: Source, dtype: ElementType, deep: bool },
    /// The index of a class, with the labels by index.
    Class { index: usize, labels: Tensor },
    /// Texts of an input, after the steps `maps`; `rank` of the tensor.
    Texts { columns: SmallVec<[TextColumn; 1]>, maps: SmallVec<[usize; 1]>, rank: usize },
    /// The tokens of one text a row.
    Tokens { text: TextColumn, maps: SmallVec<[usize; 1]>, split: usize, rank: usize },
}

struct Builder<'g, T> {
    columns: SmallVec<[RowColumn; 1]>,
    steps: &'g [Step],
    known: &'g Known,
    registers: HashMap<usize, Register>,
    instructions: Vec<Instruction<T>>,
    scratch_width: usize,
    /// Offset and list of each sparse register.
    sparse: Vec<(usize, usize)>,
    sparse_width: usize,
    lists: usize,
    classes: usize,
    /// How often each value is read, outputs of the graph included.
    uses: Vec<usize>,
}

impl<T: RowNumber> RowProgram<T> {
    /// The program of a compiled graph, or `None` where a step is no function of rows of `T`.
    pub(in crate::plan) fn build(
        graph: &Graph,
        nodes: &[Node],
        steps: &[Step],
        known: &Known,
    ) -> Option<RowProgram<T>> {
        let mut columns = SmallVec::new();
        let mut registers = HashMap::new();
        for (i, input) in graph.inputs.iter().enumerate() {
            let ValueType::Tensor { dtype, dims: Some(dims) } =
                graph.value(*input).declared.as_ref()?
            else {
                return None;
            };
            let (column, register) = input_register::<T>(i, *dtype, dims)?;
            columns.push(column);
            registers.insert(input.index(), register);
        }
        let mut builder = Builder {
            columns,
            steps,
            known,
            registers,
            instructions: Vec::new(),
            scratch_width: 0,
            sparse: Vec::new(),
            sparse_width: 0,
            lists: 0,
            classes: 0,
            uses: vec![0; graph.values.len()],
        };
        for id in nodes.iter().flat_map(Node::reads).chain(graph.outputs.iter().copied()) {
            builder.uses[id.index()] += 1;
        }
        if builder.columns.is_empty() {
            return None;
        }
        for (i, node) in nodes.iter().enumerate() {
            builder.node(node, i)?;
        }
        for id in &graph.outputs {
            builder.spread(id.index());
        }
        let outputs = graph.outputs.iter().map(|id| builder.output(id.index())).collect();
        Some(RowProgram {
            columns: builder.columns,
            instructions: builder.instructions,
            scratch_width: builder.scratch_width,
            sparse: builder.sparse,
            sparse_width: builder.sparse_width,
            lists: builder.lists,
            classes: builder.classes,
            outputs,
            number: PhantomData,
        })
    }
}

/// What input `i` of that type is to a program of `T`.
fn input_register<T: RowNumber>(
    i: usize,
    dtype: ElementType,
    dims: &[Dim],
) -> Option<(RowColumn, Register)> {
    let width = match *dims {
        [_, Dim::Fixed(width)] if width > 0 => width,
        [_] if dtype == ElementType::String => 1,
        _ => return None,
    };
    let fits = match dtype {
        ElementType::String => {
            let columns = (0..width).map(|column| TextColumn { input: i, column }).collect();
            let register = Register::Texts { columns, maps: SmallVec::new(), rank: dims.len() };
            return Some((RowColumn::Texts { width }, register));
        }
        ElementType::F32 | ElementType::I64 | ElementType::I32 | ElementType::Bool => true,
        other => other == T::TYPE,
    };
    let register = Register::Numbers { source: Source::Input(i), dtype, deep: false };
    fits.then_some((RowColumn::Numbers { width, dtype }, register))
}

impl<T: RowNumber> Builder<'_, T> {
    fn output(&self, value: usize) -> Option<RowOutput> {
        match self.registers.get(&value)? {
            Register::Numbers {
                source: Source::Register { offset, width },
                dtype,
                deep: false,
            } if *dtype == T::TYPE => Some(RowOutput::Floats { offset: *offset, width: *width }),
            Register::Class { index, labels } => {
                Some(RowOutput::Class { index: *index, labels: labels.clone() })
            }
            _ => None,
        }
    }

    /// Adds a node; `None` ends the attempt.
    fn node(&mut self, node: &Node, position: usize) -> Option<()> {
        let mut inputs: SmallVec<[Register; 2]> = SmallVec::new();
        for id in node.inputs.iter().flatten().filter(|id| self.known[id.index()].is_none()) {
            inputs.push(self.registers.get(&id.index())?.clone());
        }
        if let Some(register) = self.relabelled(node, position, &inputs) {
            self.alias(node);
            return self.set(node, 0, register?);
        }
        let texts =
            inputs.iter().any(|r| matches!(r, Register::Texts { .. } | Register::Tokens { .. }));
        let encodes = matches!(part(self.steps, position), Some(TextPart::Encode(_)));
        if texts || encodes {
            let register = self.text_node(node, position, &inputs)?;
            return self.set(node, 0, register);
        }
        self.number_node(node, position, &inputs)
    }

    /// What needs no instruction, or one that is no kernel's; `Some(None)` where it is such a
    /// node, but not a row's.
    fn relabelled(
        &mut self,
        node: &Node,
        position: usize,
        inputs: &[Register],
    ) -> Option<Option<Register>> {
        let constant = |i: usize| constant(self.known, node, i);
        Some(match (node.op.as_str(), inputs) {
            ("Identity", [same]) => Some(same.clone()),
            ("ZipMap", [numbers @ Register::Numbers { deep: false, .. }]) => Some(numbers.clone()),
            ("Cast" | "LabelEncoder", [Register::Class { index, labels }]) => self
                .steps
                .get(position)
                .and_then(|step| apply(step, labels))
                .map(|labels| Register::Class { index: *index, labels }),
            ("Reshape", [Register::Class { .. }]) => {
                let target = constant(1).and_then(|t| t.to_i64_vec().ok());
                let keeps = target.is_some_and(|t| matches!(t.as_slice(), [-1] | [-1, 1]));
                keeps.then(|| inputs[0].clone())
            }
            ("ArrayFeatureExtractor", [Register::Class { index, labels }])
                if constant(0).is_some() =>
            {
                let picked = |table| pick(table, labels.as_slice::<i64>().ok()?);
                let labels = constant(0).and_then(picked);
                labels.map(|labels| Register::Class { index: *index, labels })
            }
            ("ArgMax", [Register::Numbers { source, deep: false, .. }]) => {
                let source = *source;
                self.arg_max(node, source)
            }
            _ => return None,
        })
    }

    fn arg_max(&mut self, node: &Node, source: Source) -> Option<Register> {
        let width = self.width(source);
        let axis = node.attributes.int("axis", 0).ok()?;
        let last = node.attributes.int("select_last_index", 0).ok()?;
        if !(axis == 1 || axis == -1) || last != 0 || width == 0 {
            return None;
        }
        let labels = Tensor::from_vec(&[width], (0..width as i64).collect()).ok()?;
        let class = self.class();
        self.push(Operation::ArgMax, smallvec![source], 0, Some(class));
        Some(Register::Class { index: class, labels })
    }

    /// A node of numbers, by the row operator of its kernel.
    fn number_node(&mut self, node: &Node, position: usize, inputs: &[Register]) -> Option<()> {
        let op = T::op(self.steps.get(position)?.kernel.as_ref())?;
        let mut sources: SmallVec<[Source; 2]> = SmallVec::new();
        let mut types: SmallVec<[ElementType; 4]> = SmallVec::new();
        let mut depths: SmallVec<[bool; 4]> = SmallVec::new();
        for register in inputs {
            let Register::Numbers { source, dtype, deep } = register else { return None };
            sources.push(*source);
            types.push(*dtype);
            depths.push(*deep);
        }
        let deep = match (depths.contains(&true), node.op.as_str()) {
            (false, _) | (true, "Reshape" | "Flatten") => false,
            // Along the codes only.
            (true, "Concat") => {
                let codes = matches!(node.attributes.int("axis", 0), Ok(-1 | 2));
                if !codes || depths.contains(&false) {
                    return None;
                }
                true
            }
            (true, "Cast") => true,
            (true, _) => return None,
        };
        let widths: SmallVec<[usize; 4]> = sources.iter().map(|s| self.width(*s)).collect();
        let dtype = op.typed(&types)?;
        let shape = op.shape(&widths)?;
        if let ([source], [from], None) = (&sources[..], &types[..], shape.classes)
            && op.keeps(*from)
        {
            self.alias(node);
            return self.set(node, 0, Register::Numbers { source: *source, dtype, deep });
        }
        if let ([source], false) = (&sources[..], deep)
            && self.follow(node, *source, position).is_some()
        {
            return self.set(node, 0, Register::Numbers { source: *source, dtype, deep });
        }
        let sparsity = self.sparsity(op, &sources);
        if let Some((list, Sparsity::Kept)) = sparsity {
            let operation = Operation::Sparse(position);
            let register = self.sparse(operation, sources, shape.width, list, dtype);
            return self.set(node, 0, register);
        }
        let operation = match sparsity {
            Some(_) => Operation::Sparse(position),
            None => Operation::Kernel(position),
        };
        if shape.classes.is_none() {
            let register = self.numbers(operation, sources, shape.width, dtype, deep);
            return self.set(node, 0, register);
        }
        let labels = op.labels()?;
        let (class, offset) = (self.class(), self.scratch_width);
        self.push(operation, sources, shape.width, Some(class));
        self.set(node, 0, Register::Class { index: class, labels })?;
        let source = Source::Register { offset, width: shape.width };
        self.set(node, 1, Register::Numbers { source, dtype, deep: false })
    }

    /// The list of the only sparse operand and what the operator makes of its zeros, where the
    /// operator can go by the list: the sparse one is the first, and the others are one number.
    fn sparsity(&self, op: &dyn RowOp<T>, sources: &[Source]) -> Option<(usize, Sparsity)> {
        let [Source::Sparse { list, .. }, others @ ..] = sources else { return None };
        let number = |s: &Source| !matches!(s, Source::Sparse { .. }) && self.width(*s) == 1;
        others.iter().all(number).then_some((*list, op.sparsity()?))
    }

    /// Adds an instruction whose numbers are zero but at the columns of a list.
    fn sparse(
        &mut self,
        operation: Operation<T>,
        inputs: SmallVec<[Source; 2]>,
        width: usize,
        list: usize,
        dtype: ElementType,
    ) -> Register {
        let offset = self.sparse_width;
        let (class, of) = (None, Some(list));
        self.instructions.push(Instruction { operation, inputs, offset, width, class, list: of });
        self.sparse_width += width;
        self.sparse.push((offset, list));
        Register::Numbers { source: Source::Sparse { offset, width, list }, dtype, deep: false }
    }

    /// Makes a value that is a sparse register one that stays when the program has run.
    fn spread(&mut self, value: usize) {
        if let Some(Register::Numbers { source: source @ Source::Sparse { .. }, dtype, .. }) =
            self.registers.get(&value)
        {
            let (source, dtype) = (*source, *dtype);
            let width = self.width(source);
            let dense = self.numbers(Operation::Copy, smallvec![source], width, dtype, false);
            self.registers.insert(value, dense);
        }
    }

    /// Leaves the node's work to the product before it, whose result nothing else reads.
    fn follow(&mut self, node: &Node, source: Source, position: usize) -> Option<()> {
        let follower = T::op(self.steps.get(position)?.kernel.as_ref())?.follower()?;
        let last = self.instructions.last_mut().filter(|last| last.list.is_none())?;
        let result = Source::Register { offset: last.offset, width: last.width };
        let alone = |i: usize| self.known[i].is_some() || self.uses.get(i).is_some_and(|&n| n == 1);
        if source != result || !node.reads().all(|id| alone(id.index())) {
            return None;
        }
        let (step, add) = match last.operation {
            Operation::Kernel(step) => (step, None),
            Operation::Product { step, add, relu: false } => (step, add),
            _ => return None,
        };
        let (add, relu) = match follower {
            Follower::Add(_) if add.is_none() => (Some(position), false),
            Follower::Add(_) => return None,
            Follower::Relu => (add, true),
        };
        let row = add.and_then(|step| added_row(self.steps, step));
        let product = T::op(self.steps.get(step)?.kernel.as_ref())?;
        if !product.takes(Followers { add: row, relu }) {
            return None;
        }
        last.operation = Operation::Product { step, add, relu };
        Some(())
    }

    /// The node's output is its input: whoever reads one reads both.
    fn alias(&mut self, node: &Node) {
        let from = node.reads().find(|id| self.known[id.index()].is_none());
        if let (Some(from), Some(Some(to))) = (from, node.outputs.first()) {
            self.uses[to.index()] += self.uses[from.index()].saturating_sub(1);
        }
    }

    fn width(&self, source: Source) -> usize {
        match source {
            Source::Input(i) => self.columns.get(i).map_or(0, RowColumn::width),
            Source::Register { width, .. } | Source::Sparse { width, .. } => width,
        }
    }

    fn class(&mut self) -> usize {
        self.classes += 1;
        self.classes - 1
    }

    /// Adds an instruction that answers numbers.
    fn numbers(
        &mut self,
        operation: Operation<T>,
        inputs: SmallVec<[Source; 2]>,
        width: usize,
        dtype: ElementType,
        deep: bool,
    ) -> Register {
        let source = Source::Register { offset: self.scratch_width, width };
        self.push(operation, inputs, width, None);
        Register::Numbers { source, dtype, deep }
    }

    fn push(
        &mut self,
        operation: Operation<T>,
        inputs: SmallVec<[Source; 2]>,
        width: usize,
        class: Option<usize>,
    ) {
        let (offset, list) = (self.scratch_width, None);
        self.instructions.push(Instruction { operation, inputs, offset, width, class, list });
        self.scratch_width += width;
    }

    fn set(&mut self, node: &Node, output: usize, register: Register) -> Option<()> {
        if let Some(Some(id)) = node.outputs.get(output) {
            self.registers.insert(id.index(), register);
        }
        Some(())
    }
}

fn constant<'k>(known: &'k Known, node: &Node, i: usize) -> Option<&'k Tensor> {
    match known[node.inputs.get(i)?.as_ref()?.index()].as_ref()? {
        Value::Tensor(t) => Some(t),
        _ => None,
    }
}
