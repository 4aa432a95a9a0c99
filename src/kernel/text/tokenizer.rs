//! Tokenizer of com.microsoft: strings to rows of tokens, filled up to the longest row.

use super::super::{Context, Inputs, Kernel, OpSpec, Outputs, TextPart, TextSplit, one};
use super::pattern::{Class, compile, repeated_class};
use crate::error::{Result, ensure};
use regex::Regex;

/// What bounds a token.
enum Rule {
    /// Every character is one.
    Characters,
    /// The text between matches of these, one after the other.
    Separators(Vec<Regex>),
    /// What this matches.
    Expression(Regex),
    /// Runs of characters of one class, as long as they go.
    Runs(Class),
}

/// The marks around the tokens of a row.
const START: &str = "\u{2}";
const END: &str = "\u{3}";

struct Tokenizer {
    rule: Rule,
    /// Whether each row begins with the character 2 and ends with 3.
    mark: bool,
    pad: String,
    /// Tokens of fewer characters are dropped.
    shortest: usize,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let a = spec.attributes;
    let separators = a.strs("separators")?;
    let expression = a.str("tokenexp", "")?;
    let shortest = a.int("mincharnum", 1)?;
    let shortest = usize::try_from(shortest)
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| spec.invalid(format_args!("'mincharnum' is {shortest}")))?;
    let rule = match separators.as_slice() {
        [] if expression.is_empty() => {
            return Err(spec.invalid("neither 'separators' nor 'tokenexp' is given"));
        }
        [] if expression == "." => Rule::Characters,
        [] => match repeated_class(&expression) {
            Some(class) => Rule::Runs(class),
            None => Rule::Expression(compile(&expression)?),
        },
        [only] if only.is_empty() => Rule::Characters,
        many => Rule::Separators(many.iter().map(|s| compile(s)).collect::<Result<_>>()?),
    };
    ensure!(
        shortest == 1 || !matches!(rule, Rule::Characters),
        InvalidModel,
        "{}: 'mincharnum' is {shortest} for single characters",
        spec.op
    );
    let pad = a.str("pad_value", "")?;
    Ok(Box::new(Tokenizer { rule, mark: a.flag("mark", false)?, pad, shortest }))
}

/// The position after the character at `at`, for matches of nothing.
fn next_char(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(at + 1, |c| at + c.len_utf8())
}

impl Tokenizer {
    fn is_long_enough(&self, token: &str) -> bool {
        token.chars().take(self.shortest).count() == self.shortest
    }

    fn tokens<'a>(&self, text: &'a str, each: &mut dyn FnMut(&'a str)) {
        match &self.rule {
            Rule::Characters => {
                text.char_indices().for_each(|(i, c)| each(&text[i..i + c.len_utf8()]));
            }
            Rule::Separators(separators) => {
                let mut tokens = vec![text];
                for separator in separators {
                    let mut parts = Vec::with_capacity(tokens.len());
                    for token in tokens {
                        self.split(separator, token, &mut parts);
                    }
                    tokens = parts;
                }
                tokens.into_iter().for_each(each);
            }
            Rule::Expression(expression) => self.matches(expression, text, each),
            Rule::Runs(class) => self.runs(class, text, each),
        }
    }

    fn split<'a>(&self, separator: &Regex, text: &'a str, parts: &mut Vec<&'a str>) {
        let mut start = 0;
        while start <= text.len() {
            let Some(found) = separator.find_at(text, start) else { break };
            let token = &text[start..found.start()];
            if self.is_long_enough(token) {
                parts.push(token);
            }
            start = if found.is_empty() {
                // A match of nothing takes the next character with it.
                next_char(text, found.start())
            } else {
                found.end()
            };
        }
        if let Some(rest) = text.get(start..)
            && self.is_long_enough(rest)
        {
            parts.push(rest);
        }
    }

    fn matches<'a>(&self, expression: &Regex, text: &'a str, each: &mut dyn FnMut(&'a str)) {
        if !self.is_long_enough(text) {
            return;
        }
        let mut start = 0;
        while start <= text.len() {
            let Some(found) = expression.find_at(text, start) else { break };
            if self.is_long_enough(found.as_str()) {
                each(found.as_str());
                start = found.end();
            } else {
                start = next_char(text, found.start());
            }
        }
    }

    /// As [`Tokenizer::matches`] for one class over and over: what follows a run's first character
    /// is no longer than the run.
    fn runs<'a>(&self, class: &Class, text: &'a str, each: &mut dyn FnMut(&'a str)) {
        let mut rest = text;
        while let Some(start) = class.first(rest, true) {
            let run = &rest[start..];
            let end = class.first(run, false).unwrap_or(run.len());
            let (token, after) = run.split_at(end);
            if self.is_long_enough(token) {
                each(token);
            }
            rest = after;
        }
    }
}

impl TextSplit for Tokenizer {
    fn split(&self, text: &str, each: &mut dyn FnMut(&str)) {
        self.tokens(text, &mut |token| each(token));
    }

    fn padding(&self) -> &str {
        &self.pad
    }
}

impl Kernel for Tokenizer {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        ensure!(
            matches!(input.dims().len(), 1 | 2),
            InvalidInput,
            "Tokenizer: expected shape [C] or [N, C], got {}",
            input.shape()
        );
        let texts = input.as_slice::<String>()?;
        if texts.is_empty() {
            let dims: &[usize] = match *input.dims() {
                [n, _] => &[n, 0],
                _ => &[0],
            };
            let shape = ctx.shape_of::<String>(dims)?;
            return one(ctx.tensor(shape, Vec::<String>::new())?);
        }
        let rows: Vec<Vec<&str>> = texts
            .iter()
            .map(|text| {
                let mut tokens = Vec::new();
                self.tokens(text, &mut |token| tokens.push(token));
                tokens
            })
            .collect();
        let most = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = if most == 0 { 0 } else { most + 2 * usize::from(self.mark) };
        let mut dims = input.dims().to_vec();
        dims.push(width);
        let shape = ctx.shape_of::<String>(&dims)?;
        let mut out = ctx.buffer::<String>(shape.len())?;
        if width > 0 {
            for (i, row) in rows.iter().enumerate() {
                if self.mark {
                    out.push(START.into());
                }
                out.extend(row.iter().map(|t| (*t).to_string()));
                if self.mark {
                    out.push(END.into());
                }
                out.resize((i + 1) * width, self.pad.clone());
            }
        }
        one(ctx.tensor(shape, out)?)
    }

    fn text_part(&self) -> Option<TextPart<'_>> {
        // Rows without any token are rows without marks, too, where no row of the batch has one.
        (!self.mark).then_some(TextPart::Split(self))
    }
}
