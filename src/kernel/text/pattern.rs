//! Regular expressions of model files, which are written for RE2.

use crate::error::{Result, err};
use regex::{Regex, RegexBuilder};

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

#[cfg(test)]
mod tests {
    use super::*;

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
