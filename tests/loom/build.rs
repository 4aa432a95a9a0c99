//! Makes wrong variants ("mutants") of the shipped protocol files, which the model checker has to
//! find: each is the shipped text with one place changed, in `$OUT_DIR/<file>_<mutant>.rs`.

use std::path::Path;
use std::{env, fs};

/// The file beneath `src/`, the mutant's name, what stands there, what the mutant has instead.
const MUTANTS: [(&str, &str, &str, &str); 5] = [
    (
        "policy/batch/lane.rs",
        "frees_instead_of_handing_on",
        "= state.queue.pop_first() else",
        "= None::<(Key, Entry<T, A>)> else",
    ),
    (
        "policy/batch/lane.rs",
        "queues_without_looking_again",
        "if state.running < self.concurrency {",
        "if false {",
    ),
    (
        "policy/batch/lane.rs",
        "checks_then_acts",
        "let free = state.running < self.concurrency;",
        "let free = state.running < self.concurrency; drop(state); let mut state = self.state.lock();",
    ),
    ("policy/batch/lane.rs", "arrives_silently", "self.arrived.notify_all();", ""),
    (
        "policy/batch/lane.rs",
        "leaves_with_the_run",
        "let turn = ticket.seat.turn.lock().take();",
        "let turn = None;",
    ),
];

fn main() {
    let out = env::var("OUT_DIR").expect("cargo sets it");
    for (file, mutant, right, wrong) in MUTANTS {
        let path = Path::new("../../src").join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).expect("the shipped file");
        assert_eq!(text.matches(right).count(), 1, "{file}: one place for mutant {mutant}");
        // Included in a module, where comments on the file itself cannot stand.
        let text: String = text
            .replace(right, wrong)
            .lines()
            .filter(|line| !line.starts_with("//!"))
            .flat_map(|line| [line, "\n"])
            .collect();
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("a name");
        fs::write(Path::new(&out).join(format!("{stem}_{mutant}.rs")), text).expect("written");
    }
}
