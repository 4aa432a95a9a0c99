//! Where in the file something stands, and parse errors in the file's own words.

use crate::error::{Error, Result, err};
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest part of the parser's message that is passed on: it may quote the file.
const MAX_MESSAGE: usize = 400;

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// The position behind `text`.
    pub(super) fn after(text: &str) -> Position {
        let line_start = text.rfind('\n').map_or(0, |i| i + 1);
        Position {
            line: text.matches('\n').count() + 1,
            column: text.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One step into the file: a key of a table or an entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The way to a key, written with dots as in the file.
pub(super) fn dotted(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Index(i) => out.push_str(&format!("[{i}]")),
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                let bare = !key.is_empty()
                    && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
                if bare { out.push_str(key) } else { out.push_str(&format!("{key:?}")) }
            }
        }
    }
    out
}

/// The parsed text with the places of its keys and values.
pub(super) struct Document<'a> {
    text: &'a str,
    table: DeTable<'a>,
}

impl<'a> Document<'a> {
    /// # Errors
    /// `InvalidArgument` with the place of the syntax error.
    pub(super) fn parse(text: &'a str) -> Result<Document<'a>> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Document { text, table: table.into_inner() }),
            Err(e) => {
                let at = e.span().map_or(text.len(), |span| span.start);
                let message = plain(e.message());
                let at = position(text, at);
                Err(err!(InvalidArgument, "this is no TOML at {at}: {message}"))
            }
        }
    }

    /// The place of the value at the end of `path`; of its key for a table; of the last table on
    /// the way where there is no such key.
    pub(super) fn position(&self, path: &[Step]) -> Position {
        let mut offset = 0;
        let mut value: Option<&DeValue<'_>> = None;
        for step in path {
            let found = match (step, value) {
                (Step::Key(key), None) => entry(&self.table, key),
                (Step::Key(key), Some(DeValue::Table(table))) => entry(table, key),
                (Step::Index(i), Some(DeValue::Array(list))) => {
                    list.get(*i).map(|v| (v.span().start, v))
                }
                _ => None,
            };
            let Some((key, found)) = found else { break };
            value = Some(found.get_ref());
            offset = match found.get_ref() {
                DeValue::Table(_) => key,
                _ => found.span().start,
            };
        }
        position(self.text, offset)
    }

    /// An error of the parser, with the key and the place it concerns.
    pub(super) fn explain(&self, error: &toml::de::Error) -> Error {
        let offset = error.span().map_or(0, |span| span.start);
        let at = position(self.text, offset);
        let path = path_at(&self.table, offset);
        let key = dotted(&path);
        let message = error.message();
        if let Some((unknown, known)) = complaint(message, "unknown field ") {
            let table = match path.split_last() {
                Some((Step::Key(last), table)) if *last == unknown => dotted(table),
                _ => key,
            };
            let table =
                if table.is_empty() { "the file".to_string() } else { format!("[{table}]") };
            return err!(
                InvalidArgument,
                "unknown key '{unknown}' in {table} at {at}{}",
                suggestion(&unknown, &known)
            );
        }
        let message = if let Some((unknown, known)) = complaint(message, "unknown variant ") {
            let known: Vec<String> = known.iter().map(|k| format!("\"{k}\"")).collect();
            format!("expected {}, got \"{unknown}\"", known.join(" or "))
        } else if let Some((got, expected)) = mismatch(message) {
            format!("expected {expected}, got {got}")
        } else {
            plain(message)
        };
        match key.is_empty() {
            true => err!(InvalidArgument, "at {at}: {}", cut(&message)),
            false => err!(InvalidArgument, "{key} at {at}: {}", cut(&message)),
        }
    }
}

fn position(text: &str, offset: usize) -> Position {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    Position::after(text.get(..offset).unwrap_or_default())
}

fn entry<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<(usize, &'t Spanned<DeValue<'a>>)> {
    let (key, value) = table.get_key_value(key)?;
    Some((key.span().start, value))
}

/// The deepest key or entry that covers `offset`. The parser bounds how deep tables nest.
fn path_at(table: &DeTable<'_>, offset: usize) -> Vec<Step> {
    let mut best = Vec::new();
    for (key, value) in table {
        // Before the values: that of a table is its whole header.
        if key.span().contains(&offset) {
            return vec![Step::Key(key.get_ref().to_string())];
        }
        let inner = match value.get_ref() {
            DeValue::Table(inner) => path_at(inner, offset),
            DeValue::Array(list) => list
                .iter()
                .enumerate()
                .find_map(|(i, item)| {
                    let inner = match item.get_ref() {
                        DeValue::Table(inner) => path_at(inner, offset),
                        _ => Vec::new(),
                    };
                    let covers = !inner.is_empty() || item.span().contains(&offset);
                    covers.then(|| [vec![Step::Index(i)], inner].concat())
                })
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        let deeper = !inner.is_empty();
        if deeper || value.span().contains(&offset) {
            let path = [vec![Step::Key(key.get_ref().to_string())], inner].concat();
            if deeper {
                return path;
            }
            best = path;
        }
    }
    best
}

/// The name after `prefix` in back-quotes, and the names after it: what serde says of unknown
/// fields and variants.
fn complaint(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix(prefix)?.strip_prefix('`')?;
    // The unknown name may hold anything, the known ones do not.
    let (unknown, known) = match rest.rfind("`, expected ") {
        Some(end) => (rest.get(..end)?, rest.get(end + 1..)?),
        None => (rest.rsplit_once('`')?.0, ""),
    };
    let known = known.split('`').skip(1).step_by(2).map(str::to_string).collect();
    Some((cut(unknown), known))
}

/// What was got and what was expected: what serde says of wrong types and values.
fn mismatch(message: &str) -> Option<(String, String)> {
    let rest = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))?;
    let (got, expected) = rest.rsplit_once(", expected ")?;
    // Rust's names of types mean nothing to the author of a file.
    let expected = match expected {
        "usize" | "u64" | "u32" => "a whole number, 0 or more",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "path string" => "a path",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "a table",
        other => other,
    };
    Some((plain(got), plain(expected)))
}

fn plain(message: &str) -> String {
    message.replace('`', "'").replace('\n', "; ")
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.to_string(),
    }
}

/// `; did you mean 'x'?` with the nearest known name, or all of them where none is near.
pub(super) fn suggestion(unknown: &str, known: &[String]) -> String {
    let nearest = known.iter().map(|k| (distance(unknown, k), k)).min();
    match nearest {
        Some((far, name)) if far <= (name.len() / 2).clamp(1, 3) => {
            format!("; did you mean '{name}'?")
        }
        _ if known.is_empty() => String::new(),
        _ => format!("; known are {}", known.join(", ")),
    }
}

/// Levenshtein's distance, without regard to case and to `-` for `_`.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| -> Vec<char> {
        s.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, d) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0), ("TTL-x", "ttl_x", 0)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (d, d), "{a} {b}");
        }
    }

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "a = 1\nä = [1, 2]\n";
        assert_eq!(position(text, 0), Position { line: 1, column: 1 });
        assert_eq!(position(text, 6), Position { line: 2, column: 1 });
        assert_eq!(position(text, 8), Position { line: 2, column: 2 });
        assert_eq!(position(text, 7), position(text, 6), "within a character");
        assert_eq!(position(text, 999), Position { line: 3, column: 1 });
    }

    #[test]
    fn keys_are_written_as_in_the_file() {
        let key = |k: &str| Step::Key(k.to_string());
        let path = [key("models"), key("a.b"), key("fallback"), Step::Index(2), key("model")];
        assert_eq!(dotted(&path), "models.\"a.b\".fallback[2].model");
    }
}
