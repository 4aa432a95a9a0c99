//! The promise of the repository: a version that is half there never serves, however and whenever
//! its copy ends.

#![cfg(all(unix, feature = "onnx"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;
#[cfg(all(target_os = "linux", feature = "safetensors"))]
#[path = "repository/io_faults.rs"]
mod io_faults;

use common::random::Random;
use modelserve::repo::{
    Action, Backoff, Failure, Policies, Repository, RepositoryOptions, States, VersionState,
    reconcile,
};
use modelserve::{Error, LoadOptions, Model, load};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a version gets into the repository.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Copied in place, the model file last.
    InPlace,
    /// Copied in place, a manifest first, the others in any order.
    Manifest,
    /// Copied in place in any order, a manifest last; the repository wants one.
    ManifestLast,
    /// Copied in any order beside, then renamed.
    Renamed,
}

/// One step of a publisher; it may be killed between any two.
enum Step {
    Folder(PathBuf),
    Create(PathBuf),
    Append(PathBuf, Vec<u8>),
    Rename(PathBuf, PathBuf),
}

impl Step {
    fn run(&self) -> std::io::Result<()> {
        use std::io::Write;
        match self {
            Step::Folder(path) => std::fs::create_dir_all(path),
            Step::Create(path) => std::fs::write(path, b""),
            Step::Append(path, bytes) => {
                std::fs::File::options().append(true).open(path)?.write_all(bytes)
            }
            Step::Rename(from, to) => std::fs::rename(from, to),
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The files of a version whose labels tell which it is: `v<version>-0`, …
fn files(version: u64) -> Vec<(&'static str, Vec<u8>)> {
    let folder = common::data().join(if version.is_multiple_of(2) { "iris_v2" } else { "iris_v1" });
    let labels: String = (0..3).map(|i| format!("v{version}-{i}\n")).collect();
    vec![
        ("labels.txt", labels.into_bytes()),
        ("golden.jsonl", b"{\"row\": [5.9, 3.0, 5.1, 1.8]}\n".to_vec()),
        ("model.onnx", std::fs::read(folder.join("model.onnx")).unwrap()),
    ]
}

fn publish(model: &Path, version: u64, way: Way, random: &mut Random) -> Vec<Step> {
    let end = model.join(version.to_string());
    let folder = match way {
        Way::Renamed => model.join(format!("{version}.tmp")),
        _ => end.clone(),
    };
    let mut files = files(version);
    let lines = files.iter().map(|(name, bytes)| format!("{}  {name}\n", digest(bytes)));
    let manifest = ("manifest.sha256", lines.collect::<String>().into_bytes());
    if way != Way::InPlace {
        files.rotate_left(random.below(3));
    }
    match way {
        Way::Manifest => files.insert(0, manifest),
        Way::ManifestLast => files.push(manifest),
        Way::InPlace | Way::Renamed => {}
    }
    let mut steps = vec![Step::Folder(folder.clone())];
    for (name, bytes) in files {
        let path = folder.join(name);
        steps.push(Step::Create(path.clone()));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + random.below(120)).min(rest.len()));
            steps.push(Step::Append(path.clone(), piece.to_vec()));
            rest = after;
        }
    }
    if way == Way::Renamed {
        steps.push(Step::Rename(folder, end));
    }
    steps
}

/// What serves, as a manager would hold it.
struct Serving {
    repository: Repository,
    policies: Policies,
    states: States,
    now: Instant,
    /// The version that serves and its answer.
    answer: Option<(u64, String)>,
    /// The class that odd and even versions say for the golden row.
    classes: [i64; 2],
    loads: usize,
    /// Why a version was not loaded.
    refused: Vec<String>,
}

impl Serving {
    fn new(root: &Path, way: Way) -> Serving {
        let mut options = RepositoryOptions::default();
        options.require_manifest = way == Way::ManifestLast;
        Serving {
            repository: Repository::open(root, options).unwrap(),
            policies: Policies::default(),
            states: States::new(),
            now: Instant::now(),
            answer: None,
            classes: [iris(1), iris(2)],
            loads: 0,
            refused: Vec::new(),
        }
    }

    /// One look, `later` after the last one, and all that follows from it.
    fn turn(&mut self, later: Duration) {
        self.now += later;
        let scan = self.repository.scan(&self.policies, self.now);
        assert!(scan.error.is_none());
        let plan = reconcile(&scan, &self.policies, &self.states, self.now);
        for action in plan.actions {
            let (model, version) = match &action {
                Action::Load(found) => (found.model.clone(), found.version),
                Action::Unload { model, version } => (model.clone(), *version),
                _ => continue,
            };
            let versions = self.states.entry(model).or_default();
            let Action::Load(found) = action else {
                versions.remove(&version);
                continue;
            };
            let state = match load_found(&found) {
                Ok(label) => {
                    self.loads += 1;
                    self.answer = Some((version, label));
                    VersionState::Serving(found.fingerprint)
                }
                Err(e) => {
                    self.refused.push(format!("version {version}: {e}"));
                    let before = match versions.get(&version) {
                        Some(VersionState::Failed(failure)) => Some(failure),
                        _ => None,
                    };
                    let files = found.fingerprint;
                    let backoff = Backoff::default();
                    VersionState::Failed(Failure::after(before, files, e, self.now, &backoff))
                }
            };
            versions.insert(version, state);
        }
        // The promise: what serves is all of one version.
        if let Some((version, label)) = &self.answer {
            let class = self.classes[usize::from(version.is_multiple_of(2))];
            assert_eq!(*label, format!("v{version}-{class}"), "a bad load");
        }
    }
}

/// The class that a version of the test model says for the golden row.
fn iris(version: u64) -> i64 {
    let model = common::load_model(&format!("iris_v{version}"));
    match model.predict_row(&[5.9, 3.0, 5.1, 1.8]).unwrap().answer {
        modelserve::Answer::Int(class) => class,
        other => panic!("{other:?}"),
    }
}

/// Loads a version, and what it answers by the name of its own labels.
fn load_found(found: &modelserve::repo::FoundVersion) -> Result<String, Error> {
    let labels = match found.labels()? {
        Some(modelserve::repo::Labels::Str(labels)) => labels,
        other => panic!("loaded with labels {other:?}"),
    };
    assert_eq!(labels.len(), 3, "loaded with a part of its labels");
    let model = load(found.model_path(), &LoadOptions::default())?;
    found.confirm(&model.info().digest)?;
    let golden = found.golden()?.expect("loaded without its golden requests");
    assert!(!modelserve::Golden::parse(&golden, &model.signature())?.is_empty());
    match model.predict_row(&[5.9, 3.0, 5.1, 1.8])?.answer {
        modelserve::Answer::Int(class) => Ok(labels[usize::try_from(class).unwrap()].to_string()),
        other => panic!("{other:?}"),
    }
}

/// 1,000 publishers, each killed at a random step, with looks at random moments in between, some
/// of them long after the publisher paused; every tenth publisher lives.
fn kill_publishers(way: Way, seed: u64) {
    let root = common::scratch(&format!("repository-{way:?}"));
    let model = root.join("iris");
    std::fs::create_dir_all(&model).unwrap();
    let mut random = Random::new(seed);
    let mut serving = Serving::new(&root, way);
    let mut whole = 0;
    for version in 1u64..=1_000 {
        let steps = publish(&model, version, way, &mut random);
        let lives = version.is_multiple_of(10);
        let until = if lives { steps.len() } else { random.below(steps.len()) };
        for step in &steps[..until] {
            step.run().unwrap();
            if random.below(8) == 0 {
                serving.turn(Duration::from_millis([1, 100, 499, 500, 5_000][random.below(5)]));
            }
        }
        serving.turn(Duration::from_millis(600));
        serving.turn(Duration::from_millis(600));
        if lives {
            whole += 1;
            serving.turn(Duration::from_millis(600));
            assert_eq!(serving.answer.as_ref().unwrap().0, version, "a whole version serves");
        }
        // The remains would be looked at for ever.
        for remains in [version.to_string(), format!("{version}.tmp")] {
            if !lives {
                let _ = std::fs::remove_dir_all(model.join(remains));
            }
        }
    }
    assert_eq!(whole, 100);
    assert!(serving.loads >= 100);
    println!(
        "half-written ({way:?}): 1000 publishes, 900 killed at a random step: {} loads, {} halves \
         refused, 0 bad loads",
        serving.loads,
        serving.refused.len()
    );
    match way {
        // Halves that rested were tried, and the format refused them.
        Way::InPlace => assert!(!serving.refused.is_empty()),
        // Halves were never even tried.
        _ => assert_eq!(serving.refused, [""; 0]),
    }
}

#[test]
fn killed_copies_in_place_never_serve() {
    kill_publishers(Way::InPlace, 1);
}

#[test]
fn killed_copies_with_a_manifest_are_never_even_tried() {
    kill_publishers(Way::Manifest, 2);
}

#[test]
fn killed_copies_whose_manifest_comes_last_are_never_even_tried_where_one_is_required() {
    kill_publishers(Way::ManifestLast, 4);
}

#[test]
fn killed_copies_that_would_be_renamed_are_never_even_tried() {
    kill_publishers(Way::Renamed, 3);
}

/// Tells a copy of this program, started by a test, to publish.
const PUBLISH: &str = "MODELSERVE_TEST_PUBLISH";

/// Not a test of its own: the publisher that other processes are, when they are told to.
#[test]
fn publisher_process() {
    let Some(told) = std::env::var_os(PUBLISH) else { return };
    let told = told.into_string().unwrap();
    let (version, model) = told.split_once(' ').unwrap();
    let mut random = Random::new(7);
    let version = version.parse().unwrap();
    for step in publish(Path::new(model), version, Way::Manifest, &mut random) {
        step.run().unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn processes_killed_while_they_publish_leave_nothing_that_serves() {
    let root = common::scratch("repository-processes");
    let model = root.join("iris");
    std::fs::create_dir_all(&model).unwrap();
    let mut serving = Serving::new(&root, Way::Manifest);
    let mut random = Random::new(11);
    let (times, mut killed) = (common::times(40), 0);
    for version in 1..=times {
        let mut publisher = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "publisher_process", "--nocapture"])
            .env(PUBLISH, format!("{version} {}", model.display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        if version.is_multiple_of(4) {
            assert!(publisher.wait().unwrap().success());
        } else {
            // Looked at while it works, then killed wherever it is.
            for _ in 0..random.below(40) {
                serving.turn(Duration::from_millis(600));
            }
            publisher.kill().unwrap();
            killed += u64::from(!publisher.wait().unwrap().success());
        }
        for _ in 0..3 {
            serving.turn(Duration::from_millis(600));
        }
        if version.is_multiple_of(4) {
            assert_eq!(serving.answer.as_ref().unwrap().0, version);
        } else {
            // The remains would be looked at for ever.
            let _ = std::fs::remove_dir_all(model.join(version.to_string()));
        }
    }
    assert_eq!(serving.refused, [""; 0]);
    println!(
        "half-written (processes): {times} publishers, {killed} killed while they published: {} \
         loads, 0 bad loads",
        serving.loads
    );
}
