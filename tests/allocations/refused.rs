//! The n-th large allocation of a load or of a reload fails, for every n: an error and nothing
//! else.
//!
//! An allocation that Rust's own collections ask for and do not get ends the process. So the loads
//! run in a process of their own, which goes on from where the last one ended; what ended one is
//! found by its stack, and has to be on the list of what other crates take ([`OTHERS`]).

use crate::common;
use modelserve::{ErrorKind, LoadOptions, Model, ModelManager, Prediction, ReloadOptions, load};
use std::backtrace::Backtrace;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::time::Duration;

/// Bytes of an allocation that counts.
const LARGE: usize = 64 << 10;
const HANG: Duration = Duration::from_secs(300);
/// Crates whose own allocations are not asked for, by what their functions are called.
const OTHERS: [&str; 3] = ["serde", "prost", "candle"];
/// Frames between the one that allocates and the allocator.
const BENEATH: [&str; 7] =
    ["alloc::", "core::", "std::", "allocations::", "hashbrown::", "__rust", "__rg"];

/// Tells a child what to load, how, from which n on, and whether to show where memory was refused.
const CHILD: &str = "MODELSERVE_TEST_REFUSE";

/// Off, or armed: which large allocation is refused, counted from 0.
static ARMED: AtomicBool = AtomicBool::new(false);
static NTH: AtomicI64 = AtomicI64::new(0);
/// Whether all later ones are refused, too.
static FROM_THERE: AtomicBool = AtomicBool::new(false);
static SEEN: AtomicI64 = AtomicI64::new(0);
static TRACED: AtomicBool = AtomicBool::new(false);

/// Whether the allocator is to refuse so many bytes.
pub fn refuses(bytes: usize) -> bool {
    if bytes < LARGE || !ARMED.load(SeqCst) {
        return false;
    }
    let (seen, nth) = (SEEN.fetch_add(1, SeqCst), NTH.load(SeqCst));
    let refused = seen == nth || (seen > nth && FROM_THERE.load(SeqCst));
    if refused && TRACED.load(SeqCst) {
        // What this needs itself is granted.
        ARMED.store(false, SeqCst);
        eprintln!("STACK of {bytes} bytes\n{}", Backtrace::force_capture());
        ARMED.store(true, SeqCst);
    }
    refused
}

/// Runs `work` with the `nth` large allocation refused; answers, too, whether it came that far.
fn refusing<R>(nth: i64, work: impl FnOnce() -> R) -> (R, bool) {
    SEEN.store(0, SeqCst);
    NTH.store(nth, SeqCst);
    ARMED.store(true, SeqCst);
    let result = work();
    ARMED.store(false, SeqCst);
    (result, SEEN.load(SeqCst) > nth)
}

fn exact(p: &Prediction) -> (String, Vec<u64>) {
    let scores = p.scores.as_deref().unwrap_or_default();
    (format!("{:?}", p.answer), scores.iter().map(|x| x.to_bits()).collect())
}

/// What a child prints of each n: `n` before, and after it what came of it.
fn try_each(path: &Path, reload: bool, first: i64) {
    let width = load(path, &LoadOptions::default()).unwrap().signature().inputs[0].row_width();
    let row = vec![0.5f32; width.unwrap()];
    let manager = ModelManager::default();
    manager.load("m", path, &LoadOptions::default()).unwrap();
    let answer = || exact(&manager.predict_row("m", &row).unwrap());
    // What threads, arenas and first uses take once is not a load's.
    manager.reload("m", None, &ReloadOptions::default()).unwrap();
    let right = answer();
    for nth in first.. {
        println!("REFUSE {nth}");
        let before = manager.info("m").unwrap().version;
        let (result, reached) = if reload {
            refusing(nth, || manager.reload("m", None, &ReloadOptions::default()).map(drop))
        } else {
            refusing(nth, || load(path, &LoadOptions::default()).map(drop))
        };
        let after = manager.info("m").unwrap().version;
        let what = match result {
            Ok(()) if !reached => "end".to_string(),
            Ok(()) => "granted".to_string(),
            Err(e) => format!("{} {e}", e.kind()),
        };
        let moved = reload && (what == "end" || what == "granted");
        assert_eq!(after, before + u64::from(moved), "n = {nth}: {what}");
        assert!(answer() == right, "n = {nth}: another answer after {what}");
        println!("CAME {what}");
        if !reached {
            return;
        }
    }
}

#[test]
#[ignore = "the process that the test below starts"]
fn the_process_whose_memory_is_refused() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let parts: Vec<&str> = told.split('|').collect();
    let [path, reload, from_there, first, traced] = parts[..] else { panic!("{told}") };
    FROM_THERE.store(from_there == "true", SeqCst);
    TRACED.store(traced == "true", SeqCst);
    try_each(Path::new(path), reload == "true", first.parse().unwrap());
}

/// One way of refusing memory to one model.
#[derive(Clone, Copy)]
struct Campaign<'a> {
    path: &'a Path,
    reload: bool,
    from_there: bool,
}

/// What a child said, and whether it was ended by the allocator.
struct Said {
    out: String,
    errors: String,
    aborted: bool,
}

impl Campaign<'_> {
    fn child(&self, first: i64, traced: bool) -> Said {
        let name = "refused::the_process_whose_memory_is_refused";
        let path = self.path.display();
        let told = format!("{path}|{}|{}|{first}|{traced}", self.reload, self.from_there);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", name, "--nocapture", "--test-threads=1"])
            .env(CHILD, &told)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        const ABORT: i32 = 6;
        let aborted = output.status.signal() == Some(ABORT);
        let from_allocator = errors.contains("memory allocation of");
        assert!(
            output.status.success() || (aborted && from_allocator),
            "{told}: {}\n{out}\n{errors}",
            output.status
        );
        Said { out, errors, aborted }
    }

    /// Refuses each in turn; answers the report.
    fn run(&self) -> Count {
        let mut count = Count::default();
        let mut first = 0;
        loop {
            let said = self.child(first, false);
            let mut last = None;
            for line in said.out.lines() {
                if let Some((_, nth)) = line.split_once("REFUSE ") {
                    last = nth.trim().parse::<i64>().ok();
                } else if let Some((_, came)) = line.split_once("CAME ") {
                    match came {
                        "end" => return count,
                        "granted" => count.granted += 1,
                        error => {
                            let memory = error.starts_with(ErrorKind::LimitExceeded.name())
                                && error.contains("no memory");
                            assert!(memory, "{}: n = {last:?}: {error}", self.path.display());
                            count.refused += 1;
                        }
                    }
                }
            }
            let nth = last.unwrap_or_else(|| panic!("no first line: {}", said.out));
            assert!(said.aborted, "ended at {nth} without a word: {}", said.out);
            count.ended += 1;
            let site = site(&self.child(nth, true).errors);
            if OTHERS.iter().any(|other| site.contains(other)) {
                count.others.insert(site);
            } else {
                count.ours.insert(format!("n = {nth}: {site}"));
            }
            first = nth + 1;
        }
    }
}

/// The function that asked, of the first stack that was shown, and its file where that is known.
fn site(errors: &str) -> String {
    let stack = errors.split_once("STACK of").map_or("", |(_, stack)| stack);
    let mut frames: Vec<(&str, &str)> = vec![];
    for line in stack.lines().map(str::trim_start) {
        if let Some(file) = line.strip_prefix("at ") {
            if let Some(last) = frames.last_mut() {
                last.1 = file;
            }
        } else if let Some((number, function)) = line.split_once(": ")
            && number.parse::<u32>().is_ok()
        {
            frames.push((function.trim(), ""));
        }
    }
    let above = frames.into_iter().find(|(function, file)| {
        if !file.is_empty() {
            return !file.starts_with("/rustc/") && !file.contains("tests/allocations");
        }
        let plain = function.trim_start_matches('<');
        // `<T as alloc::slice::hack::ConvertVec>::to_vec`
        let plain = match plain.split_once(" as ") {
            Some((parameter, of)) if parameter.len() <= 2 => of,
            _ => plain,
        };
        !BENEATH.iter().any(|beneath| plain.starts_with(beneath))
    });
    above.map_or_else(|| "no stack".into(), |(function, file)| format!("{function} {file}"))
}

#[derive(Default)]
struct Count {
    /// Ended with the error.
    refused: u64,
    /// Did without, as folding of constants does.
    granted: u64,
    /// Ended the process.
    ended: u64,
    others: BTreeSet<String>,
    ours: BTreeSet<String>,
}

/// Two products of a width of 256, the second with weights that are the sum of two constants.
fn onnx() -> Vec<u8> {
    use common::onnx::{Float, Node, Weight, model};
    const WIDTH: u64 = 256;
    let values: Vec<f32> = (0..WIDTH * WIDTH).map(|i| (i % 7) as f32 / 64.0).collect();
    let dims = [WIDTH, WIDTH];
    let nodes = [
        Node("Add", &["a", "b"], &["sum"]),
        Node("MatMul", &["x", "w"], &["y"]),
        Node("Relu", &["y"], &["z"]),
        Node("MatMul", &["z", "sum"], &["out"]),
    ];
    let weights = ["a", "b", "w"].map(|name| Weight(name, &dims, &values));
    let shape = [None, Some(WIDTH)];
    model(&nodes, &weights, &[Float("x", &shape)], &[Float("out", &shape)])
}

const LAYERS: &str = r#"{
  "format": "modelserve-layers", "version": 1,
  "inputs": [{"name": "x", "shape": ["batch", 192]}],
  "layers": [{"type": "linear", "name": "fc", "in": 192, "out": 256}]
}"#;

/// The tensors of [`LAYERS`].
fn safetensors() -> Vec<u8> {
    let (weight, bias) = (256 * 192 * 4, 256 * 4);
    let header = format!(
        r#"{{"fc.weight":{{"dtype":"F32","shape":[256,192],"data_offsets":[0,{weight}]}},"fc.bias":{{"dtype":"F32","shape":[256],"data_offsets":[{weight},{}]}}}}"#,
        weight + bias
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend((0..(weight + bias) / 4).flat_map(|i| ((i % 5) as f32 / 16.0).to_le_bytes()));
    file
}

/// Inner nodes of the trees below, which are perfect: the children of node i are 2i + 1 and 2i + 2.
const INNER: usize = 4095;

fn list<T: std::fmt::Display>(separator: &str, items: impl Iterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        let separator = if text.is_empty() { "" } else { separator };
        write!(text, "{separator}{item}").unwrap();
    }
    text
}

fn lightgbm() -> Vec<u8> {
    let child = |at: usize| if at < INNER { at as i64 } else { !((at - INNER) as i64) };
    let inner = |of: &dyn Fn(usize) -> String| list(" ", (0..INNER).map(of));
    let leaves = |of: &dyn Fn(usize) -> String| list(" ", (0..=INNER).map(of));
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=2\n\
         objective=regression\n\nTree=0\nnum_leaves={}\nnum_cat=0\nsplit_feature={}\n\
         split_gain={}\nthreshold={}\ndecision_type={}\nleft_child={}\nright_child={}\n\
         leaf_value={}\nleaf_count={}\ninternal_count={}\nis_linear=0\n\nend of trees\n",
        INNER + 1,
        inner(&|i| (i % 3).to_string()),
        inner(&|_| "1".to_string()),
        inner(&|i| format!("0.{}", i % 97)),
        inner(&|_| "2".to_string()),
        inner(&|i| child(2 * i + 1).to_string()),
        inner(&|i| child(2 * i + 2).to_string()),
        leaves(&|i| format!("0.{}", i % 89)),
        leaves(&|_| "1".to_string()),
        inner(&|_| "2".to_string()),
    )
    .into_bytes()
}

fn xgboost() -> Vec<u8> {
    let nodes = 2 * INNER + 1;
    let all = |of: &dyn Fn(usize) -> String| list(",", (0..nodes).map(of));
    let child = |i: usize, side: usize| {
        if i < INNER { (2 * i + side).to_string() } else { "-1".to_string() }
    };
    format!(
        r#"{{"learner":{{"gradient_booster":{{"name":"gbtree","model":{{"tree_info":[0],"trees":[{{
        "tree_param":{{}},"left_children":[{}],"right_children":[{}],"split_indices":[{}],
        "split_conditions":[{}],"default_left":[{}]}}]}}}},
        "learner_model_param":{{"base_score":"0.5","num_feature":"3","num_class":"0"}},
        "objective":{{"name":"reg:squarederror"}}}},"version":[2,0,0]}}"#,
        all(&|i| child(i, 1)),
        all(&|i| child(i, 2)),
        all(&|i| (i % 3).to_string()),
        all(&|i| format!("0.{}", i % 97)),
        all(&|i| (i % 2).to_string()),
    )
    .into_bytes()
}

fn catboost() -> Vec<u8> {
    const DEPTH: usize = 13;
    let feature = |i: usize| format!(r#"{{"feature_index":{i},"flat_feature_index":{i}}}"#);
    let split = |i: usize| {
        let (feature, border) = (i % 3, i as f32 / 16.0);
        format!(
            r#"{{"split_type":"FloatFeature","float_feature_index":{feature},"border":{border}}}"#
        )
    };
    format!(
        r#"{{"features_info":{{"float_features":[{}]}},"oblivious_trees":[{{"splits":[{}],"leaf_values":[{}]}}],"scale_and_bias":[1,[0.5]]}}"#,
        list(",", (0..3).map(feature)),
        list(",", (0..DEPTH).map(split)),
        list(",", (0..1usize << DEPTH).map(|i| format!("0.{}", i % 83))),
    )
    .into_bytes()
}

#[test]
fn a_large_allocation_that_is_refused_is_an_error_and_the_old_version_serves() {
    let folder = common::scratch("refused-memory");
    let models: [(&str, &str, Vec<u8>); 5] = [
        ("onnx", "model.onnx", onnx()),
        ("safetensors", "model.safetensors", safetensors()),
        ("lightgbm", "model.txt", lightgbm()),
        ("xgboost", "model.json", xgboost()),
        ("catboost", "model.json", catboost()),
    ];
    let paths: Vec<(&str, PathBuf)> = models
        .into_iter()
        .map(|(name, file, bytes)| {
            let folder = folder.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            if name == "safetensors" {
                std::fs::write(folder.join("config.json"), LAYERS).unwrap();
            }
            let path = folder.join(file);
            std::fs::write(&path, bytes).unwrap();
            (name, path)
        })
        .collect();
    let reports = common::within(HANG, move || {
        std::thread::scope(|scope| {
            let run = |(name, path): &(&'static str, PathBuf)| {
                let (name, path) = (*name, path.clone());
                scope.spawn(move || {
                    let campaign = |reload, from_there| {
                        (name, reload, Campaign { path: &path, reload, from_there }.run())
                    };
                    // All from the n-th on, where the process has little else to do.
                    let mut reports = vec![campaign(false, false), campaign(true, false)];
                    if name == "onnx" {
                        reports.push(campaign(true, true));
                    }
                    reports
                })
            };
            let running: Vec<_> = paths.iter().map(run).collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    });
    let (mut asked, mut refused, mut ours) = (0, 0, BTreeSet::new());
    for (name, reload, count) in &reports {
        let what = if *reload { "reload" } else { "load" };
        let all = count.refused + count.granted + count.ended;
        println!(
            "{name}, {what}: {all} allocations of 64 KiB and more refused in turn: {} errors, {} \
             done without, {} ended the process in other crates",
            count.refused, count.granted, count.ended
        );
        count.others.iter().for_each(|site| println!("  {site}"));
        assert!(count.refused > 0, "{name}, {what}: nothing was refused");
        ours.extend(count.ours.iter().map(|site| format!("{name}, {what}, {site}")));
        asked += all;
        refused += count.refused;
    }
    println!("refused memory: {asked} allocations, {refused} errors, {} of ours ended", ours.len());
    assert!(ours.is_empty(), "allocations of ours that end the process:\n{ours:#?}");
}
