//! The list of operators in `docs/onnx.md` is that of the library. `MODELSERVE_BLESS=1` writes it.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- operators:begin -->\n";
const END: &str = "<!-- operators:end -->\n";

/// The list, a paragraph a domain.
fn list() -> String {
    let mut text = String::new();
    let all = modelserve::operators();
    for (domain, title) in
        [("", "ai.onnx"), ("ai.onnx.ml", "ai.onnx.ml"), ("com.microsoft", "com.microsoft")]
    {
        let names: Vec<String> =
            all.iter().filter(|(d, _)| *d == domain).map(|(_, op)| format!("`{op}`")).collect();
        writeln!(text, "**{title}** ({}): {}.\n", names.len(), names.join(", ")).unwrap();
    }
    text
}

#[test]
fn the_page_lists_the_operators() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/onnx.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let expected = format!("\n{}", list());
    if std::env::var_os("MODELSERVE_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(found, expected, "run again with MODELSERVE_BLESS=1 and look at the change");
}
