//! StringNormalizer: drops stop words and changes case.

use super::super::{Context, Inputs, Kernel, OpSpec, Outputs, TextMap, TextPart, one};
use crate::error::{Result, bail};
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Keep,
    Lower,
    Upper,
}

impl Case {
    /// Character by character: a character whose other case has several stays as it is, as with
    /// the C library's mapping, which every exporter's reference uses.
    fn append(self, text: &str, out: &mut String) {
        fn single(mut mapped: impl ExactSizeIterator<Item = char>, c: char) -> char {
            if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
        }
        let start = out.len();
        match self {
            Case::Keep => out.push_str(text),
            Case::Lower if text.is_ascii() => {
                out.push_str(text);
                out[start..].make_ascii_lowercase();
            }
            Case::Upper if text.is_ascii() => {
                out.push_str(text);
                out[start..].make_ascii_uppercase();
            }
            Case::Lower => out.extend(text.chars().map(|c| single(c.to_lowercase(), c))),
            Case::Upper => out.extend(text.chars().map(|c| single(c.to_uppercase(), c))),
        }
    }

    fn apply(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        self.append(text, &mut out);
        out
    }
}

struct StringNormalizer {
    case: Case,
    /// How words are folded before they are compared with the stop words.
    compare: Case,
    stop_words: HashSet<String>,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let case = match spec.attributes.str("case_change_action", "NONE")?.as_str() {
        "NONE" => Case::Keep,
        "LOWER" => Case::Lower,
        "UPPER" => Case::Upper,
        other => return Err(spec.invalid(format_args!("case_change_action '{other}'"))),
    };
    let compare = match (spec.attributes.flag("is_case_sensitive", false)?, case) {
        (true, _) => Case::Keep,
        (false, Case::Upper) => Case::Upper,
        (false, _) => Case::Lower,
    };
    let words = spec.attributes.strs("stopwords")?;
    let stop_words = words.iter().map(|w| compare.apply(w)).collect();
    Ok(Box::new(StringNormalizer { case, compare, stop_words }))
}

impl Kernel for StringNormalizer {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let flat = match input.dims() {
            [_] => true,
            [1, _] => false,
            _ => bail!(
                InvalidInput,
                "StringNormalizer: expected shape [C] or [1, C], got {}",
                input.shape()
            ),
        };
        let words = input.as_slice::<String>()?;
        let mut out = ctx.buffer::<String>(words.len())?;
        for word in words {
            let stopped =
                !self.stop_words.is_empty() && self.stop_words.contains(&self.compare.apply(word));
            if !stopped {
                out.push(self.case.apply(word));
            }
        }
        // What is empty comes back as one empty string.
        if out.is_empty() {
            out.push(String::new());
        }
        let dims: &[usize] = if flat { &[out.len()] } else { &[1, out.len()] };
        let shape = ctx.shape_of::<String>(dims)?;
        one(ctx.tensor(shape, out)?)
    }

    fn text_part(&self) -> Option<TextPart<'_>> {
        // Without stop words no text is left out.
        self.stop_words.is_empty().then_some(TextPart::Map(self))
    }
}

impl TextMap for StringNormalizer {
    fn map(&self, text: &str, out: &mut String) {
        self.case.append(text, out);
    }
}
