//! The text of an Einsum node, and what it means for given shapes.

use crate::error::{Result, bail, ensure};
use crate::limits::MAX_RANK;

/// One axis of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Letter(u8),
    /// All axes that have no letter.
    Ellipsis,
}

/// A parsed equation.
#[derive(Debug, PartialEq)]
pub(super) struct Equation {
    terms: Vec<Vec<Label>>,
    /// `None` where the equation leaves it out.
    output: Option<Vec<Label>>,
}

/// The axes of an equation for given shapes: those of the output in order, then those summed.
#[derive(Debug)]
pub(super) struct Axes {
    /// How many are axes of the output.
    pub kept: usize,
    pub sizes: Vec<usize>,
    /// For each operand its step along each axis (0 where it has none).
    pub steps: Vec<Vec<usize>>,
    /// For each operand whether it has the axis.
    pub has: Vec<Vec<bool>>,
}

fn term(text: &str) -> Result<Vec<Label>> {
    let mut labels = vec![];
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b' ' => {}
            b'.' => {
                ensure!(
                    bytes.next() == Some(b'.')
                        && bytes.next() == Some(b'.')
                        && !labels.contains(&Label::Ellipsis),
                    InvalidModel,
                    "'{text}' is no term of an equation"
                );
                labels.push(Label::Ellipsis);
            }
            b if b.is_ascii_alphabetic() => labels.push(Label::Letter(b)),
            _ => bail!(InvalidModel, "'{text}' is no term of an equation"),
        }
    }
    ensure!(
        labels.len() <= MAX_RANK + 1,
        InvalidModel,
        "a term of {} labels in an equation",
        labels.len()
    );
    Ok(labels)
}

impl Equation {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Equation> {
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text, None),
        };
        let terms = left.split(',').map(term).collect::<Result<Vec<_>>>()?;
        let output = right.map(term).transpose()?;
        if let Some(output) = &output {
            for (i, label) in output.iter().enumerate() {
                ensure!(
                    !output[..i].contains(label),
                    InvalidModel,
                    "the output of equation '{text}' repeats a label"
                );
                let known = terms.iter().any(|t| t.contains(label));
                ensure!(
                    known || *label == Label::Ellipsis,
                    InvalidModel,
                    "the output of equation '{text}' has a label that no input has"
                );
            }
        }
        Ok(Equation { terms, output })
    }

    /// How many operands there are.
    pub fn operands(&self) -> usize {
        self.terms.len()
    }

    /// The axes for operands of these shapes.
    pub fn axes(&self, shapes: &[&[usize]]) -> Result<Axes> {
        // The axes behind an ellipsis, counted from the last, come after all letters.
        let mut wide = 0;
        for (term, shape) in self.terms.iter().zip(shapes) {
            let letters = term.iter().filter(|l| **l != Label::Ellipsis).count();
            let dots = letters < term.len();
            ensure!(
                if dots { letters <= shape.len() } else { letters == shape.len() },
                InvalidInput,
                "Einsum: an operand of shape {shape:?} for a term of {letters} labels"
            );
            wide = wide.max(shape.len() - letters);
        }
        let mut order: Vec<(Label, usize)> = vec![];
        let add = |order: &mut Vec<(Label, usize)>, label: Label| match label {
            Label::Ellipsis => order.extend((0..wide).rev().map(|i| (label, i))),
            _ => order.push((label, 0)),
        };
        match &self.output {
            Some(output) => output.iter().for_each(|&l| add(&mut order, l)),
            None => {
                // The ellipsis, then the letters that occur just once, in alphabetical order.
                if wide > 0 {
                    add(&mut order, Label::Ellipsis);
                }
                for letter in (b'A'..=b'Z').chain(b'a'..=b'z').map(Label::Letter) {
                    if self.terms.iter().flatten().filter(|l| **l == letter).count() == 1 {
                        add(&mut order, letter);
                    }
                }
            }
        }
        let kept = order.len();
        for &label in self.terms.iter().flatten() {
            if !order.iter().any(|(l, _)| *l == label) {
                add(&mut order, label);
            }
        }
        let mut sizes = vec![1usize; order.len()];
        let mut steps = vec![];
        let mut has = vec![];
        for (term, shape) in self.terms.iter().zip(shapes) {
            let (mut own, mut mine) = (vec![0usize; order.len()], vec![false; order.len()]);
            let dots = shape.len() + 1 - term.len().min(shape.len() + 1);
            let mut step = 1usize;
            let mut axis = shape.len();
            let mut place = |key: (Label, usize)| -> Result<()> {
                axis -= 1;
                let size = shape[axis];
                let Some(i) = order.iter().position(|o| *o == key) else {
                    bail!(Internal, "Einsum: an axis without a place");
                };
                ensure!(
                    sizes[i] == size || sizes[i] == 1 || size == 1,
                    InvalidInput,
                    "Einsum: one label stands for axes of {} and {size} elements",
                    sizes[i]
                );
                if size != 1 {
                    sizes[i] = size;
                    own[i] += step;
                }
                mine[i] = true;
                step = step.saturating_mul(size.max(1));
                Ok(())
            };
            for &label in term.iter().rev() {
                match label {
                    Label::Ellipsis => {
                        for i in 0..dots {
                            place((label, i))?;
                        }
                    }
                    _ => place((label, 0))?,
                }
            }
            steps.push(own);
            has.push(mine);
        }
        Ok(Axes { kept, sizes, steps, has })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_equations_are_refused() {
        for text in ["i..j->i", "ij->ijj", "ij->k", "i?->i", "......", "i->j->k", "i.", "->i"] {
            assert!(Equation::parse(text).is_err(), "{text}");
        }
        assert_eq!(Equation::parse("").unwrap().operands(), 1);
        let e = Equation::parse("ij,jk").unwrap();
        assert!(e.axes(&[&[2, 3], &[4, 5]]).is_err());
        assert!(e.axes(&[&[2, 3, 1], &[3, 5]]).is_err());
        let axes = e.axes(&[&[2, 3], &[3, 5]]).unwrap();
        assert_eq!((axes.kept, axes.sizes), (2, vec![2, 5, 3]));
        assert_eq!(axes.steps, [[3, 0, 1], [0, 1, 5]]);
    }
}
