//! Regular expressions of model files, which are written for RE2.

use crate::error::{Result, err};
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class as Characters, Hir, HirKind};

/// Bytes that a compiled expression may take: a short pattern can ask for a huge automaton.
const SIZE_LIMIT: usize = 8 << 20;

/// Compiles an expression in RE2's dialect: there `\w`, `\d`, `\s` and `\b` know ASCII only, while
/// `.` and negated classes stand for whole characters.
pub(super) fn compile(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|e| err!(InvalidModel, "the expression '{pattern:.200}' cannot be used: {e}"))
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('s') => out.push_str(r"[\t\n\f\r ]"),
            Some('S') => out.push_str(r"[^\t\n\f\r ]"),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// A set of characters.
pub(super) struct Class {
    ascii: [bool; 128],
    /// Ranges of the others, in order.
    ranges: Vec<(char, char)>,
}

impl Class {
    fn holds(&self, c: char) -> bool {
        match self.ascii.get(c as usize) {
            Some(&holds) => holds,
            None => {
                let after = self.ranges.partition_point(|&(low, _)| low <= c);
                after > 0 && self.ranges.get(after - 1).is_some_and(|&(_, high)| c <= high)
            }
        }
    }

    /// Where the first character lies that is in the set (or is not).
    pub(super) fn first(&self, text: &str, inside: bool) -> Option<usize> {
        let bytes = text.as_bytes();
        let wanted = |b: &u8| self.ascii.get(usize::from(*b)).is_none_or(|&holds| holds == inside);
        let at = bytes.iter().position(wanted)?;
        if bytes[at].is_ascii() {
            return Some(at);
        }
        let found = text.get(at..)?.char_indices().find(|&(_, c)| self.holds(c) == inside);
        found.map(|(i, _)| at + i)
    }
}

/// The class of an expression that is one class repeated, once or more.
pub(super) fn repeated_class(pattern: &str) -> Option<Class> {
    let hir: Hir = regex_syntax::parse(&translate(pattern)).ok()?;
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    if (repetition.min, repetition.max, repetition.greedy) != (1, None, true) {
        return None;
    }
    let HirKind::Class(Characters::Unicode(class)) = repetition.sub.kind() else { return None };
    let ranges: Vec<(char, char)> = class.iter().map(|r| (r.start(), r.end())).collect();
    let mut ascii = [false; 128];
    for (holds, c) in ascii.iter_mut().zip('\0'..) {
        *holds = ranges.iter().any(|&(low, high)| (low..=high).contains(&c));
    }
    Some(Class { ascii, ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_class_finds_what_the_expression_finds() {
        let texts =
            ["", "abc", "Zwei Wörter, 3 Zeichen_und é!", " é a", "日本語 text", "a\u{301}b"];
        for pattern in [r"[a-zA-Z]+", r"\w+", r"[^ ]+", "[\u{e0}-\u{ff}a-z]+", r"\d+", r"[^a]+"] {
            let (class, regex) = (repeated_class(pattern).unwrap(), compile(pattern).unwrap());
            for text in texts {
                let (mut runs, mut rest) = (Vec::new(), text);
                while let Some(start) = class.first(rest, true) {
                    let run = &rest[start..];
                    let (token, after) = run.split_at(class.first(run, false).unwrap_or(run.len()));
                    runs.push(token);
                    rest = after;
                }
                let found: Vec<&str> = regex.find_iter(text).map(|m| m.as_str()).collect();
                assert_eq!(runs, found, "{pattern} in {text}");
            }
        }
        for pattern in ["a", "[ab]*", "[ab]+?", "[ab]{2,}", "[ab]+c", r"\b\w+\b", "(?i)x"] {
            assert!(repeated_class(pattern).is_none(), "{pattern}");
        }
    }

    #[test]
    fn classes_know_ascii_only() {
        assert!(!compile(r"^\w$").unwrap().is_match("é"));
        assert!(compile(r"^[^a]$").unwrap().is_match("é"));
        assert!(compile(r"^[\w-]+$").unwrap().is_match("a-b"));
        assert!(compile(r"\\w").unwrap().is_match(r"\w"));
        assert!(compile("(").is_err());
        assert!(compile(r"(x{1000}){1000}").is_err());
    }
}
