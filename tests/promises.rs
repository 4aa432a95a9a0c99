//! `docs/promises.md` names a test for each promise, and `docs/reliability.md` for each fault: the
//! tests are there.

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

/// Why a file names no test `function`, if it names none, by what the file is written in.
fn missing_in(file: &str, source: &str, function: &str) -> Option<&'static str> {
    let call = format!("{function}(");
    let begins = |line: &&str, words: &[&str]| {
        words.iter().any(|word| line.strip_prefix(word).is_some_and(|l| l.starts_with(&call)))
    };
    match Path::new(file).extension().and_then(|e| e.to_str()) {
        Some("py") => {
            let there = source.lines().any(|l| begins(&l, &["def ", "async def "]));
            if there && function.starts_with("test_") { None } else { Some("is no test") }
        }
        // A program's function counts where the program calls it.
        Some("c" | "cpp") => {
            let definition = source.lines().position(|l| begins(&l, &["static void ", "int "]));
            let Some(at) = definition else { return Some("is not there") };
            let mut others = source.lines().enumerate().filter(|(i, _)| *i != at);
            let called = function == "main" || others.any(|(_, line)| line.contains(&call));
            if called { None } else { Some("is not called") }
        }
        _ => missing(source, function),
    }
}

/// The cells of the rows of all tables whose first column is headed `head`.
fn rows<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') {
            inside = false;
        } else if cells[0] == head {
            inside = true;
        } else if inside && !line.starts_with("|---") {
            found.push(cells);
        }
    }
    found
}

fn reliability() -> String {
    std::fs::read_to_string(root().join("docs/reliability.md")).unwrap()
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

#[test]
fn each_fault_of_the_catalogue_names_tests_that_exist() {
    let text = reliability();
    for part in ["A. ", "B. ", "C. ", "D. ", "E. ", "F. ", "G. "] {
        assert!(text.contains(&format!("\n### {part}")), "no part {part}");
    }
    let faults = rows(&text, "fault");
    assert!(faults.len() >= 130, "{} faults", faults.len());
    for row in &faults {
        let [fault, tests, result] = row[..] else { panic!("a row of three columns: {row:?}") };
        assert!(!fault.is_empty() && !result.is_empty(), "{row:?}");
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test for: {fault}");
        for test in tests {
            // A file alone is a test as a whole.
            let (file, function) = match test.rsplit_once("::") {
                Some((file, function)) => (file, Some(function)),
                None => (test, None),
            };
            let source = std::fs::read_to_string(root().join(file));
            let source = source.unwrap_or_else(|e| panic!("{file}: {e} (fault: {fault})"));
            if let Some(why) = function.and_then(|f| missing_in(file, &source, f)) {
                panic!("{test} {why} (fault: {fault})");
            }
        }
    }
}

#[test]
fn each_figure_has_its_target_and_its_command() {
    let text = reliability();
    let figures = rows(&text, "what");
    assert!(figures.len() >= 19, "{} figures", figures.len());
    for row in &figures {
        assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

#[test]
fn the_check_notices_what_is_missing_in_other_languages() {
    let python = "def test_a() -> None:\n    pass\ndef helper() -> None:\n    pass\n";
    assert_eq!(missing_in("x.py", python, "test_a"), None);
    assert_eq!(missing_in("x.py", python, "helper"), Some("is no test"));
    assert_eq!(missing_in("x.py", python, "test_b"), Some("is no test"));
    let c =
        "static void a(void)\n{\n}\nstatic void b(int x)\n{\n}\nint main(void)\n{\n    a();\n}\n";
    assert_eq!(missing_in("x.c", c, "a"), None);
    assert_eq!(missing_in("x.c", c, "main"), None);
    assert_eq!(missing_in("x.c", c, "b"), Some("is not called"));
    assert_eq!(missing_in("x.c", c, "d"), Some("is not there"));
    let table = "| fault | tests |\n|---|---|\n| a | b |\n\n| what | c |\n|---|---|\n| d | e |\n";
    assert_eq!(rows(table, "fault"), [["a", "b"]]);
    assert_eq!(rows(table, "what"), [["d", "e"]]);
}
