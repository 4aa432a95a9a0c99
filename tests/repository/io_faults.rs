//! The n-th call to the system for a model's files fails, for every call and every n: an error of
//! the kind `Io`, nothing changed, and the old version serves. Beneath a repository it serves until
//! a version can be read.
//!
//! `strace` fails the calls: what opens files goes to the kernel by itself (`rustix`), where no
//! library that is loaded before others could stand in its way. It counts the calls of each thread
//! for themselves, so the n-th call of the loading thread fails, too. Where there is no strace, or
//! it may trace nothing, these tests say so and end.

use crate::common;
use modelserve::record::RecordOptions;
use modelserve::repo::{Backoff, RepositoryOptions, WatchOptions};
use modelserve::{
    ErrorKind, LoadOptions, Model, ModelManager, Prediction, ReloadOptions, RepositoryRules, load,
};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const HANG: Duration = Duration::from_secs(300);
/// What `make faults` sets: no call is left out.
const EVERY: &str = "MODELSERVE_TEST_TIMES";
/// The calls by which files are found and read.
const CALLS: [&str; 8] =
    ["openat", "openat2", "read", "pread64", "fstat", "newfstatat", "statx", "getdents64"];
/// Calls of each kind that fail in the plain tests.
const FEW: u32 = 4;
/// More calls of one kind than any load makes.
const MOST: u32 = 400;

/// Tells a child what to do: a scenario, the folder that is well, and the one in trouble.
const CHILD: &str = "MODELSERVE_TEST_IO";

const MODEL: &str = "digits_mlp_safetensors";
/// Features of [`MODEL`].
const WIDTH: usize = 64;
/// The file that is recorded to.
const RECORDING: &str = "requests.jsonl";

fn exact(p: &Prediction) -> (String, Vec<u64>) {
    let scores = p.scores.as_deref().unwrap_or_default();
    (format!("{:?}", p.answer), scores.iter().map(|x| x.to_bits()).collect())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Loads and reloads from the folder in trouble, once each.
fn load_and_reload(good: &Path, trouble: &Path) {
    let row = [0.5f32; WIDTH];
    let manager = ModelManager::default();
    manager.load("m", good, &LoadOptions::default()).unwrap();
    let right = exact(&manager.predict_row("m", &row).unwrap());
    if let Err(e) = load(trouble, &LoadOptions::default()) {
        assert_eq!(e.kind(), ErrorKind::Io, "load: {e}");
    }
    let reloaded = manager.reload("m", Some(trouble), &ReloadOptions::default());
    let version = manager.info("m").unwrap().version;
    match reloaded {
        Ok(info) => assert_eq!((info.version, version), (2, 2)),
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Io, "reload: {e}");
            assert_eq!(version, 1);
            assert_eq!(manager.models(), ["m"]);
        }
    }
    // Both folders hold one model.
    assert_eq!(exact(&manager.predict_row("m", &row).unwrap()), right);
    // What failed once does not fail for ever.
    manager.reload("m", Some(good), &ReloadOptions::default()).unwrap();
}

/// Serves a repository whose second version is in trouble, as are the folders above it, and then
/// its third.
fn follow_a_repository(good: &Path, trouble: &Path) {
    let (model, prepared) = (trouble.join("m"), trouble.with_file_name("prepared"));
    std::fs::create_dir_all(&prepared).unwrap();
    for version in ["2", "3"] {
        std::fs::rename(model.join(version), prepared.join(version)).unwrap();
    }
    let row = [0.5f32; WIDTH];
    let right = exact(&load(good, &LoadOptions::default()).unwrap().predict_row(&row).unwrap());
    let (soon, often) = (Duration::from_millis(1), Duration::from_millis(5));
    let rules = RepositoryRules {
        files: RepositoryOptions { settle: soon, ..RepositoryOptions::default() },
        backoff: Backoff { initial: soon, maximum: often, ..Backoff::default() },
        watch: Some(WatchOptions { poll_interval: often, quiet: soon, use_notify: true }),
        // What cannot be read is not missing.
        unload_missing: true,
        ..RepositoryRules::default()
    };
    let manager = ModelManager::default();
    while let Err(e) = manager.serve_repository(trouble, rules.clone()) {
        assert_eq!(e.kind(), ErrorKind::Io, "{e}");
    }
    let mut serves = false;
    let mut wait_for = |version: u64, or_its_error: bool| {
        let began = Instant::now();
        loop {
            match manager.predict_row("m", &row) {
                Ok(p) => {
                    assert_eq!(exact(&p), right);
                    serves = true;
                    if p.model_version == version {
                        break;
                    }
                }
                Err(e) => assert!(!serves, "it served before: {e}"),
            }
            let versions = manager.versions("m").unwrap_or_default();
            let error = versions.iter().find_map(|v| v.error.filter(|_| v.version == version));
            if let Some(kind) = error {
                assert_eq!(kind, ErrorKind::Io);
                if or_its_error {
                    break;
                }
            }
            assert!(began.elapsed() < HANG / 4, "version {version} never serves: {versions:?}");
            std::thread::sleep(Duration::from_micros(100));
        }
    };
    wait_for(1, false);
    let publish = |v: &str| std::fs::rename(prepared.join(v), model.join(v)).unwrap();
    publish("2");
    // Each attempt may have a thread of its own, and on each of them the n-th call fails.
    wait_for(2, true);
    publish("3");
    wait_for(3, false);
}

/// Predicts while a disk takes its time over a reload.
fn reload_slowly(good: &Path, trouble: &Path) {
    let row = [0.5f32; WIDTH];
    let manager = ModelManager::default();
    manager.load("m", good, &LoadOptions::default()).unwrap();
    let right = exact(&manager.predict_row("m", &row).unwrap());
    let (reloading, meanwhile) = (AtomicBool::new(true), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while reloading.load(SeqCst) {
                let p = manager.predict_row("m", &row).unwrap();
                assert_eq!(exact(&p), right);
                meanwhile.fetch_add(u64::from(p.model_version == 1), SeqCst);
            }
        });
        let reloaded = manager.reload("m", Some(trouble), &ReloadOptions::default());
        reloading.store(false, SeqCst);
        reloaded.unwrap();
    });
    println!("MEANWHILE {}", meanwhile.load(SeqCst));
    assert!(meanwhile.load(SeqCst) >= 10, "requests waited for the disk");
}

/// Records to a disk that is full.
fn record(good: &Path, trouble: &Path) {
    let row = [0.5f32; WIDTH];
    let manager = ModelManager::default();
    manager.load("m", good, &LoadOptions::default()).unwrap();
    let right = exact(&manager.predict_row("m", &row).unwrap());
    let everything = RecordOptions { sample: 1.0, ..RecordOptions::default() };
    manager.record("m", trouble.join(RECORDING), everything).unwrap();
    let began = Instant::now();
    // A buffer is between the records and the disk.
    while manager.recording("m").unwrap().unwrap().ended.is_none() {
        assert!(began.elapsed() < HANG, "the disk is never found full");
        for _ in 0..100 {
            assert_eq!(exact(&manager.predict_row("m", &row).unwrap()), right);
        }
    }
    let status = manager.stop_recording("m").unwrap().unwrap();
    assert_eq!(status.ended.unwrap().kind(), ErrorKind::Io);
    assert_eq!(exact(&manager.predict_row("m", &row).unwrap()), right);
}

/// Loads and reloads with few file descriptors left, then with one more, until there are enough.
fn with_few_descriptors(good: &Path, trouble: &Path) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let row = [0.5f32; WIDTH];
    let manager = ModelManager::default();
    manager.load("m", good, &LoadOptions::default()).unwrap();
    let right = exact(&manager.predict_row("m", &row).unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    // The lowest number that is free is what the next file gets.
    let open = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    let mut refused = 0;
    for spare in 0..u64::from(MOST) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(open + spare), maximum }).unwrap();
        let loaded = load(trouble, &LoadOptions::default());
        let before = manager.info("m").unwrap().version;
        let reloaded = manager.reload("m", Some(trouble), &ReloadOptions::default());
        assert_eq!(exact(&manager.predict_row("m", &row).unwrap()), right);
        for error in [loaded.as_ref().err(), reloaded.as_ref().err()].into_iter().flatten() {
            assert_eq!(error.kind(), ErrorKind::Io, "{spare} descriptors: {error}");
            refused += 1;
        }
        let moved = u64::from(reloaded.is_ok());
        assert_eq!(manager.info("m").unwrap().version, before + moved);
        if loaded.is_ok() && reloaded.is_ok() {
            println!("DESCRIPTORS {spare} {refused}");
            assert!(refused > 0, "nothing was refused");
            return;
        }
    }
    panic!("{MOST} descriptors are not enough");
}

#[test]
#[ignore = "the process that the tests below start"]
fn the_process_whose_calls_fail() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let parts: Vec<&str> = told.split('|').collect();
    let [scenario, good, trouble] = parts[..] else { panic!("{told}") };
    let scenario = match scenario {
        "reload" => load_and_reload,
        "repository" => follow_a_repository,
        "slow" => reload_slowly,
        "record" => record,
        "descriptors" => with_few_descriptors,
        other => panic!("{other}"),
    };
    scenario(Path::new(good), Path::new(trouble));
    println!("CAME to its end");
}

/// A scenario with its two folders.
struct Scenario {
    name: &'static str,
    good: PathBuf,
    trouble: PathBuf,
    /// What is well inside of `trouble`.
    well: Vec<PathBuf>,
}

impl Scenario {
    /// Both folders hold [`MODEL`].
    fn of_a_model(name: &'static str) -> Scenario {
        let folder = common::scratch(&format!("io-{name}")).canonicalize().unwrap();
        let (good, trouble) = (folder.join("good"), folder.join("trouble"));
        copy(&common::data().join(MODEL), &good);
        copy(&good, &trouble);
        std::fs::write(trouble.join("warmup.jsonl"), warmup()).unwrap();
        Scenario { name, good, trouble, well: Vec::new() }
    }

    /// A repository with three versions of one model, of which the second is in trouble.
    fn of_a_repository() -> Scenario {
        let mut scenario = Scenario::of_a_model("repository");
        std::fs::remove_dir_all(&scenario.trouble).unwrap();
        let model = scenario.trouble.join("m");
        for version in ["1", "2", "3"] {
            copy(&scenario.good, &model.join(version));
        }
        scenario.well = vec![model.join("1"), model.join("3")];
        scenario
    }

    fn child(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        self.tell(&mut command);
        command
    }

    fn tell(&self, command: &mut Command) {
        let told = format!("{}|{}|{}", self.name, self.good.display(), self.trouble.display());
        command
            .args(["--ignored", "--exact", "io_faults::the_process_whose_calls_fail"])
            .args(["--nocapture", "--test-threads=1"])
            .env(CHILD, told)
            .stdin(Stdio::null());
    }

    /// Runs under strace, which does `what` to the calls that concern the folder in trouble.
    /// Answers what it noted.
    fn traced(&self, what: &str) -> (Output, String) {
        let log = self.trouble.with_file_name(format!("{}.log", what.replace([':', '='], "-")));
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "--seccomp-bpf", "-o"]).arg(&log);
        let call = what.split(':').next().unwrap();
        command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={what}")]);
        // What is found through a folder's handle concerns that folder.
        let mut places = vec![self.trouble.clone(), self.trouble.join(RECORDING)];
        while let Some(place) = places.pop() {
            command.arg("-P").arg(&place);
            if place.is_dir() {
                let entries = std::fs::read_dir(&place).unwrap();
                let inside = entries.map(|entry| entry.unwrap().path());
                places.extend(inside.filter(|path| !self.well.contains(path)));
            }
        }
        command.arg("--").arg(std::env::current_exe().unwrap());
        self.tell(&mut command);
        let output = command.output().unwrap();
        let noted = std::fs::read_to_string(&log).unwrap_or_default();
        std::fs::remove_file(&log).unwrap();
        (output, noted)
    }

    /// Fails each call in turn, or but the first few of each kind where not all are asked for (`make
    /// faults`); answers how many were failed.
    fn fail_each(&self) -> u64 {
        let most = if std::env::var_os(EVERY).is_some() { MOST } else { FEW };
        let mut failed = 0;
        for call in CALLS {
            for nth in 1..=most {
                assert!(nth < MOST, "{call}: no end");
                let (output, noted) = self.traced(&format!("{call}:error=EIO:when={nth}"));
                ended_well(&output, &format!("{}, {call} {nth}", self.name));
                let injected = noted.matches("(INJECTED)").count() as u64;
                if injected == 0 {
                    break;
                }
                failed += injected;
            }
        }
        failed
    }
}

fn patience() -> Duration {
    if std::env::var_os(EVERY).is_some() { HANG * 10 } else { HANG }
}

/// A line that a model of [`WIDTH`] features can be asked.
fn warmup() -> String {
    format!("{{\"row\": [{}]}}\n", ["0.25"; WIDTH].join(", "))
}

fn ended_well(output: &Output, what: &str) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && out.contains("CAME to its end"),
        "{what}: {}\n{out}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    out
}

/// Whether strace is there and may trace; said aloud where it is not.
fn can_trace() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-qq", "--seccomp-bpf", "-e", "trace=none", "--", "true"])
        .output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        println!("SKIPPED: no strace here that may trace a process");
    }
    can
}

#[test]
fn a_call_that_fails_while_a_model_loads_is_an_io_error_and_the_old_version_serves() {
    if !can_trace() {
        return;
    }
    common::within(patience(), || {
        let failed = Scenario::of_a_model("reload").fail_each();
        println!("I/O faults, load and reload: {failed} calls failed in turn, 0 aborts");
        assert!(failed >= 10, "{failed} calls");
    });
}

#[test]
fn a_call_that_fails_beneath_a_repository_delays_its_version_and_takes_none_away() {
    if !can_trace() {
        return;
    }
    common::within(patience(), || {
        let failed = Scenario::of_a_repository().fail_each();
        println!("I/O faults, repository: {failed} calls failed in turn, 0 aborts");
        assert!(failed >= 10, "{failed} calls");
    });
}

#[test]
fn a_slow_disk_holds_up_its_reload_and_no_request() {
    if !can_trace() {
        return;
    }
    common::within(HANG, || {
        let scenario = Scenario::of_a_model("slow");
        let (output, noted) = scenario.traced("read:delay_enter=50000");
        let out = ended_well(&output, "a slow disk");
        assert!(noted.contains("(DELAYED)"), "{noted}");
        let meanwhile = out.split_once("MEANWHILE ").unwrap().1.lines().next().unwrap();
        println!("slow disk (50 ms a read): {meanwhile} requests answered during one reload");
    });
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    if !can_trace() {
        return;
    }
    common::within(HANG, || {
        let scenario = Scenario::of_a_model("record");
        let (output, noted) = scenario.traced("write:error=ENOSPC:when=1+");
        ended_well(&output, "a full disk");
        assert!(noted.contains("ENOSPC"), "{noted}");
        println!("full disk: the recording ended with Io, every request was answered");
    });
}

#[test]
fn too_few_descriptors_are_an_io_error_and_the_old_version_serves() {
    common::within(HANG, || {
        let scenario = Scenario::of_a_model("descriptors");
        let out = ended_well(&scenario.child().output().unwrap(), "few descriptors");
        let told = out.split_once("DESCRIPTORS ").unwrap().1.lines().next().unwrap();
        let (spare, refused) = told.split_once(' ').unwrap();
        println!("EMFILE: {refused} loads refused with Io, {spare} descriptors are enough");
    });
}

/// What is loaded is in memory: the file may go, shrink and change.
#[test]
fn a_loaded_model_does_not_need_its_file() {
    type Spoil = fn(&Path);
    let spoils: [(&str, Spoil); 5] = [
        ("truncated", |file| std::fs::write(file, b"").unwrap()),
        ("overwritten", |file| std::fs::write(file, vec![0xff; 1 << 16]).unwrap()),
        ("renamed", |file| std::fs::rename(file, file.with_extension("gone")).unwrap()),
        ("unlinked", |file| std::fs::remove_file(file).unwrap()),
        ("gone with its folder", |file| std::fs::remove_dir_all(file.parent().unwrap()).unwrap()),
    ];
    for (what, spoil) in spoils {
        let folder = common::scratch("spoiled");
        let file = folder.join("model.onnx");
        std::fs::copy(common::model_path("iris_v1"), &file).unwrap();
        let manager = ModelManager::default();
        manager.load("m", &file, &LoadOptions::default()).unwrap();
        let answer = || exact(&manager.predict_row("m", &[5.9, 3.0, 5.1, 1.8]).unwrap());
        let right = answer();
        spoil(&file);
        assert_eq!(answer(), right, "{what}");
        manager.reload("m", None, &ReloadOptions::default()).unwrap_err();
        assert_eq!(answer(), right, "{what}, and after a reload that failed");
        assert_eq!(manager.info("m").unwrap().version, 1);
    }
}
