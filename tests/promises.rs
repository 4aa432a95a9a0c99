//! `docs/promises.md` names a test for each promise: the tests are there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

/// A promise and the tests that stand for it, as `(file, function)`.
#[derive(Debug)]
struct Promise {
    words: String,
    tests: Vec<(String, String)>,
}

/// The rows of all tables whose second column names tests as `` `file::function` ``.
fn promises(text: &str) -> Vec<Promise> {
    let rows = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    rows.filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [words, tests] = cells[..] else { panic!("a row of two columns: {line}") };
        if words == "promise" {
            return None;
        }
        let quoted = tests.split('`').skip(1).step_by(2);
        let named = quoted.map(|t| {
            let (file, function) = t.rsplit_once("::").unwrap_or_else(|| panic!("{t}: {line}"));
            (file.to_string(), function.to_string())
        });
        Some(Promise { words: words.to_string(), tests: named.collect() })
    })
    .collect()
}

/// Why `function` is no test of the file with this text, if it is none.
fn missing(source: &str, function: &str) -> Option<&'static str> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let starts = |line: &&str| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|l| l.strip_prefix(function))
            .is_some_and(|l| l.starts_with("()"))
    };
    let Some(at) = lines.iter().position(starts) else { return Some("is not there") };
    let mut above = lines[..at].iter().rev().take_while(|line| line.starts_with('#'));
    let marked = above.any(|line| *line == "#[test]");
    if marked { None } else { Some("is no test") }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn each_promise_names_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let promises = promises(&text);
    assert!(promises.len() >= 35, "{} promises", promises.len());
    for promise in &promises {
        assert!(!promise.tests.is_empty(), "no test for: {}", promise.words);
        for (file, function) in &promise.tests {
            let source = std::fs::read_to_string(root().join(file));
            let source = source.unwrap_or_else(|e| panic!("{file}: {e}"));
            if let Some(why) = missing(&source, function) {
                panic!("{file}::{function} {why} (promise: {})", promise.words);
            }
        }
    }
}

#[test]
fn the_check_notices_what_is_missing() {
    let source = "#[test]\n#[cfg(unix)]\nfn there() {\n}\nfn helper() {}\n";
    assert_eq!(missing(source, "there"), None);
    assert_eq!(missing(source, "her"), Some("is not there"));
    assert_eq!(missing(source, "helper"), Some("is no test"));
    let table = "| promise | tests |\n|---|---|\n| a | `x.rs::y`, `z.rs::w` |\n| b | none |\n";
    let found = promises(table);
    assert_eq!(found[0].tests[1], ("z.rs".to_string(), "w".to_string()));
    assert!(found[1].tests.is_empty());
}
