//! From the steps of a plan to a row program, or to the insight that there is none.

use super::labels::{apply, pick};
use super::{
    Code, Instruction, Key, Operation, RowColumn, RowOutput, RowProgram, Source, TextColumn,
    added_row, part,
};
use crate::graph::{Dim, Graph, Node, ValueType};
use crate::kernel::{Encoder, Encoding, Follower, Followers, RowNumber, TextPart};
use crate::plan::Step;
use crate::plan::fold::Known;
use crate::tensor::{Data, ElementType, Tensor, Value};
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
        let outputs = graph.outputs.iter().map(|id| builder.output(id.index())).collect();
        Some(RowProgram {
            columns: builder.columns,
            instructions: builder.instructions,
            scratch_width: builder.scratch_width,
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

    /// A node that reads texts or tokens, or encodes numbers.
    fn text_node(&mut self, node: &Node, position: usize, inputs: &[Register]) -> Option<Register> {
        match (node.op.as_str(), inputs) {
            ("Reshape" | "Flatten", [Register::Texts { columns, maps, .. }]) => {
                let rank = self.text_rank(node, columns.len())?;
                Some(Register::Texts { columns: columns.clone(), maps: maps.clone(), rank })
            }
            ("Flatten", [Register::Tokens { text, maps, split, .. }]) => {
                let by_row = node.attributes.int("axis", 1).ok()? == 1;
                let (maps, split) = (maps.clone(), *split);
                by_row.then_some(Register::Tokens { text: *text, maps, split, rank: 2 })
            }
            ("Concat", texts) if matches!(node.attributes.int("axis", 0), Ok(1 | -1)) => {
                let mut all = SmallVec::new();
                for register in texts {
                    let Register::Texts { columns, maps, rank: 2 } = register else { return None };
                    if !maps.is_empty() {
                        return None;
                    }
                    all.extend(columns.iter().copied());
                }
                (texts.len() == node.inputs.len()).then_some(Register::Texts {
                    columns: all,
                    maps: SmallVec::new(),
                    rank: 2,
                })
            }
            ("ArrayFeatureExtractor" | "Gather", [Register::Texts { columns, maps, rank: 2 }]) => {
                let indices = constant(self.known, node, 1)?;
                let gathers = node.op == "Gather";
                let by_column = matches!(node.attributes.int("axis", 0), Ok(1 | -1));
                if gathers && !(by_column && indices.dims().len() == 1) {
                    return None;
                }
                let at = |p: i64| match gathers && p < 0 {
                    true => usize::try_from(p.checked_add(columns.len() as i64)?).ok(),
                    false => usize::try_from(p).ok(),
                };
                let picks = indices.to_i64_vec().ok()?;
                let columns =
                    picks.iter().map(|&p| columns.get(at(p)?).copied()).collect::<Option<_>>()?;
                Some(Register::Texts { columns, maps: maps.clone(), rank: 2 })
            }
            (_, [input]) => self.text_kernel(position, input),
            _ => None,
        }
    }

    /// The rank after a Reshape or Flatten of `width` texts a row that keeps rows apart.
    fn text_rank(&self, node: &Node, width: usize) -> Option<usize> {
        if node.op == "Flatten" {
            return (node.attributes.int("axis", 1).ok()? == 1).then_some(2);
        }
        let target = constant(self.known, node, 1)?.to_i64_vec().ok()?;
        match target.as_slice() {
            [-1] if width == 1 => Some(1),
            [-1, w] if usize::try_from(*w) == Ok(width) => Some(2),
            _ => None,
        }
    }

    fn text_kernel(&mut self, position: usize, input: &Register) -> Option<Register> {
        match (part(self.steps, position)?, input) {
            (TextPart::Map(_), Register::Texts { columns, maps, rank: 1 }) => {
                let mut maps = maps.clone();
                maps.push(position);
                Some(Register::Texts { columns: columns.clone(), maps, rank: 1 })
            }
            (TextPart::Split(_), Register::Texts { columns, maps, rank: rank @ 1..=2 }) => {
                let [text] = columns[..] else { return None };
                let (maps, rank) = (maps.clone(), rank + 1);
                Some(Register::Tokens { text, maps, split: position, rank })
            }
            (TextPart::Count(counter), Register::Tokens { text, maps, split, rank: 2 }) => {
                let TextPart::Split(splitter) = part(self.steps, *split)? else { return None };
                // Rows of a batch are filled up to the longest: that must make no difference.
                let width = counter.width();
                if !counter.is_unknown(splitter.padding()) || width == 0 {
                    return None;
                }
                let (maps, split) = (maps.clone(), *split);
                let operation = Operation::Count { text: *text, maps, split, count: position };
                Some(self.numbers(operation, SmallVec::new(), width, ElementType::F32, false))
            }
            (TextPart::Encode(encoder), Register::Texts { columns, maps, rank }) => {
                let [text] = columns[..] else { return None };
                if !maps.is_empty() || !encoder.reads_text() {
                    return None;
                }
                self.encode(position, Key::Text(text), 1, *rank)
            }
            (TextPart::Encode(encoder), Register::Numbers { source, dtype, deep: false }) => {
                let width = self.width(*source);
                if !encoder.takes(*dtype) {
                    return None;
                }
                let key = Key::Numbers(*source);
                self.encode(position, key, width, 2)
            }
            _ => None,
        }
    }

    /// The codes of `keys` values a row, of a tensor of that rank.
    fn encode(&mut self, step: usize, reads: Key, keys: usize, rank: usize) -> Option<Register> {
        let TextPart::Encode(encoder) = part(self.steps, step)? else { return None };
        let (code, width, dtype) = code::<T>(encoder)?;
        let deep = matches!(code, Code::OneHot { .. });
        // A vector of texts gives a matrix of codes at once; a column of them is a matrix more.
        let deep = match (deep, rank, keys) {
            (true, 1, 1) => false,
            (true, 2, 1) => true,
            (true, _, _) => return None,
            (false, 2, _) => false,
            (false, _, _) => return None,
        };
        let operation = Operation::Encode { step, reads, code };
        Some(self.numbers(operation, SmallVec::new(), width * keys, dtype, deep))
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
        let operation = Operation::Kernel(position);
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

    /// Leaves the node's work to the product before it, whose result nothing else reads.
    fn follow(&mut self, node: &Node, source: Source, position: usize) -> Option<()> {
        let follower = T::op(self.steps.get(position)?.kernel.as_ref())?.follower()?;
        let last = self.instructions.last_mut()?;
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
            Source::Register { width, .. } => width,
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
        let offset = self.scratch_width;
        self.instructions.push(Instruction { operation, inputs, offset, width, class });
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

/// What an encoder writes for a key, how many values that is, and their type; `None` where `T`
/// does not hold them exactly.
fn code<T: RowNumber>(encoder: &dyn Encoder) -> Option<(Code<T>, usize, ElementType)> {
    match encoder.encoding() {
        Encoding::OneHot { categories, zeros } => {
            Some((Code::OneHot { zeros }, categories, ElementType::F32))
        }
        Encoding::Values { values, default } => {
            let dtype = values.dtype();
            let exact = |data: &Data| -> Option<Vec<T>> {
                let wide: Vec<f64> = match data {
                    Data::F32(v) => v.iter().map(|&x| x.into()).collect(),
                    Data::F64(v) => v.clone(),
                    Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
                    Data::I64(v) => v
                        .iter()
                        .map(|&x| ((x as f64) as i128 == i128::from(x)).then_some(x as f64))
                        .collect::<Option<_>>()?,
                    _ => return None,
                };
                wide.iter().map(|&x| exactly(x)).collect()
            };
            let (values, default) = (exact(values)?, *exact(default)?.first()?);
            Some((Code::Values { values, default }, 1, dtype))
        }
    }
}

/// The number in a program of `T`, where that changes nothing.
fn exactly<T: RowNumber>(x: f64) -> Option<T> {
    let number = T::of(x);
    let back: f64 = number.into();
    (back == x || x.is_nan()).then_some(number)
}
