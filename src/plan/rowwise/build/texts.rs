//! Nodes that read texts, tokens and categories.

use super::{Builder, Register, constant};
use crate::graph::Node;
use crate::kernel::{Encoder, Encoding, RowNumber, TextPart};
use crate::plan::rowwise::{Code, Key, Operation, part};
use crate::tensor::{Data, ElementType};
use smallvec::SmallVec;

impl<T: RowNumber> Builder<'_, T> {
    /// A node that reads texts or tokens, or encodes numbers.
    pub(super) fn text_node(
        &mut self,
        node: &Node,
        position: usize,
        inputs: &[Register],
    ) -> Option<Register> {
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
                self.lists += 1;
                let list = self.lists - 1;
                Some(self.sparse(operation, SmallVec::new(), width, list, ElementType::F32))
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
