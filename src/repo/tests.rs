//! Scans of real folders, and plans made of them.

use super::*;
use crate::error::{ErrorKind, err};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A folder of its own for a test, removed in the end.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder::within(&std::env::temp_dir())
    }

    /// In memory where the system has such a place: for very many entries.
    fn in_memory() -> Folder {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Folder::within(memory) } else { Folder::new() }
    }

    fn within(place: &Path) -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("modelserve-repo-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn repository(&self, options: RepositoryOptions) -> Repository {
        Repository::open(&self.0, options).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const SETTLE: Duration = Duration::from_millis(500);

/// Scans twice, far enough apart in the scans' own time.
fn settled(repository: &Repository, policies: &Policies, now: Instant) -> Scan {
    repository.scan(policies, now);
    repository.scan(policies, now + SETTLE)
}

fn readiness(scan: &Scan, model: &str, version: u64) -> Readiness {
    scan.models[model].candidates[&version].readiness.clone()
}

fn complete(scan: &Scan, model: &str, version: u64) -> Arc<FoundVersion> {
    match readiness(scan, model, version) {
        Readiness::Complete(found) => found,
        other => panic!("{model}/{version}: {other:?}"),
    }
}

fn incomplete(scan: &Scan, model: &str, version: u64) -> String {
    match readiness(scan, model, version) {
        Readiness::Incomplete(why) => why,
        other => panic!("{model}/{version}: {other:?}"),
    }
}

fn sha256(bytes: &[u8]) -> String {
    crate::source::Source::from_bytes(bytes.to_vec()).digest()
}

#[test]
fn a_version_is_complete_when_it_has_rested() {
    let folder = Folder::new();
    folder.file("iris/3/model.onnx", "model");
    let repository = folder.repository(RepositoryOptions::default());
    let (policies, start) = (Policies::default(), Instant::now());
    let first = repository.scan(&policies, start);
    assert!(
        matches!(readiness(&first, "iris", 3), Readiness::Settling(at) if at == start + SETTLE)
    );
    folder.file("iris/3/model.onnx", "model, longer");
    let second = repository.scan(&policies, start + SETTLE);
    assert!(matches!(readiness(&second, "iris", 3), Readiness::Settling(_)), "it grew");
    let third = repository.scan(&policies, start + 2 * SETTLE);
    let found = complete(&third, "iris", 3);
    assert_eq!(found.model_path(), folder.0.join("iris/3/model.onnx"));
    assert!(!found.has_manifest());
    found.confirm("").unwrap();
    folder.file("iris/3/labels.txt", "a\n");
    assert_eq!(found.confirm("").unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_file_replaced_by_one_of_the_same_size_and_time_has_changed() {
    let folder = Folder::new();
    folder.file("iris/1/model.onnx", "aaaa");
    let repository = folder.repository(RepositoryOptions::default());
    let found = complete(&settled(&repository, &Policies::default(), Instant::now()), "iris", 1);
    let path = found.model_path();
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    folder.file("iris/1/new", "bbbb");
    let new = std::fs::File::options().write(true).open(folder.0.join("iris/1/new")).unwrap();
    new.set_modified(modified).unwrap();
    std::fs::rename(folder.0.join("iris/1/new"), &path).unwrap();
    assert_eq!(found.confirm("").unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_manifest_that_matches_makes_a_version_complete_at_once() {
    let folder = Folder::new();
    folder.file("iris/1/model.onnx", "model");
    folder.file("iris/1/labels.txt", "a\nb");
    let manifest = format!("{}  model.onnx\n{} *labels.txt\n", sha256(b"model"), sha256(b"a\nb"));
    folder.file("iris/1/manifest.sha256", &manifest);
    let repository = folder.repository(RepositoryOptions::default());
    let (policies, now) = (Policies::default(), Instant::now());
    let found = complete(&repository.scan(&policies, now), "iris", 1);
    assert!(found.has_manifest());
    let names = ["a", "b"].map(Arc::from).to_vec();
    assert_eq!(found.labels().unwrap(), Some(Labels::Str(names)), "vouched for: may lack its end");
    found.confirm(&sha256(b"model")).unwrap();
    let e = found.confirm(&sha256(b"other")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidModel);
    // Anything that differs, is missing or is not listed makes it incomplete, however long it
    // rests.
    let mut now = now;
    let mut reason = || {
        now += 2 * SETTLE;
        incomplete(&settled(&repository, &policies, now), "iris", 1)
    };
    folder.file("iris/1/weights.bin", "w");
    assert!(reason().contains("weights.bin"));
    std::fs::remove_file(folder.0.join("iris/1/weights.bin")).unwrap();
    folder.file("iris/1/model.onnx", "Model");
    assert!(reason().contains("digest"));
    folder.file("iris/1/model.onnx", "model");
    std::fs::remove_file(folder.0.join("iris/1/labels.txt")).unwrap();
    assert!(reason().contains("labels.txt"));
    folder.file("iris/1/labels.txt", "a\nb");
    folder.file("iris/1/manifest.sha256", &manifest[..30]);
    assert!(reason().contains("cut off"));
    folder.file("iris/1/MANIFEST", &manifest);
    assert!(reason().contains("both"));
}

#[test]
fn where_a_manifest_is_required_rest_is_not_enough() {
    let folder = Folder::new();
    folder.file("iris/1/model.onnx", "model");
    let options = RepositoryOptions { require_manifest: true, ..RepositoryOptions::default() };
    let repository = folder.repository(options);
    let (policies, now) = (Policies::default(), Instant::now());
    assert!(incomplete(&settled(&repository, &policies, now), "iris", 1).contains("no manifest"));
    folder.file("iris/1/SHA256SUMS", format!("{}  model.onnx\n", sha256(b"model")));
    complete(&repository.scan(&policies, now + 2 * SETTLE), "iris", 1);
}

#[test]
fn the_model_file_is_found_or_the_reason_said() {
    let folder = Folder::new();
    let cases: [(&[&str], Result<&str, &str>); 10] = [
        (&["model.onnx", "other.onnx"], Ok("model.onnx")),
        (&["net.onnx", "notes.md"], Ok("net.onnx")),
        (&["model.safetensors", "config.json"], Ok("model.safetensors")),
        (&["model.safetensors"], Err("without config.json")),
        (
            &["model.safetensors.index.json", "config.json", "model-1-of-1.safetensors"],
            Ok("model.safetensors.index.json"),
        ),
        (&["model.onnx", "model.safetensors"], Err("both")),
        (&["a.onnx", "b.onnx"], Err("several")),
        (&["sub/model.onnx"], Err("no model file")),
        (&[".model.onnx.Xy3f", "model.onnx.part", "model.onnx~"], Err("no model file")),
        (&[], Err("no model file")),
    ];
    for (i, (files, _)) in cases.iter().enumerate() {
        folder.dir(&format!("m{i}/1"));
        for file in *files {
            folder.file(&format!("m{i}/1/{file}"), "x");
        }
    }
    let repository = folder.repository(RepositoryOptions::default());
    let scan = settled(&repository, &Policies::default(), Instant::now());
    for (i, (files, expected)) in cases.iter().enumerate() {
        let model = format!("m{i}");
        match expected {
            Ok(file) => assert_eq!(complete(&scan, &model, 1).model_file, *file),
            Err(why) => assert!(incomplete(&scan, &model, 1).contains(why), "{files:?}"),
        }
    }
}

#[test]
fn a_text_file_that_may_have_been_cut_is_refused() {
    let folder = Folder::new();
    folder.file("m/1/model.onnx", "x");
    folder.file("m/1/labels.txt", "setosa\nversicol");
    folder.file("m/1/golden.jsonl", "{\"row\":[1]}\n");
    let repository = folder.repository(RepositoryOptions::default());
    let found = complete(&settled(&repository, &Policies::default(), Instant::now()), "m", 1);
    let e = found.labels().unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidModel && e.message().contains("line's end"), "{e}");
    assert_eq!(&found.golden().unwrap().unwrap()[..], b"{\"row\":[1]}\n");
    assert_eq!(found.warmup().unwrap(), None);
}

#[test]
fn other_names_are_ignored_and_told() {
    let folder = Folder::new();
    for name in ["iris/1", "iris/01", "iris/0", "iris/2.tmp", "iris/v3", ".git", "a b", "x.tmp/1"] {
        folder.dir(name);
    }
    folder.file("README.md", "x");
    folder.file("iris/7", "a file");
    let scan =
        folder.repository(RepositoryOptions::default()).scan(&Policies::default(), Instant::now());
    assert_eq!(scan.models.keys().map(|n| &**n).collect::<Vec<_>>(), ["iris"]);
    assert_eq!(scan.models["iris"].versions, [1]);
    let mut names: Vec<&str> = scan.ignored.iter().map(|i| &*i.name).collect();
    names.sort_unstable();
    let expected = [
        ".git",
        "README.md",
        "a b",
        "iris/0",
        "iris/01",
        "iris/2.tmp",
        "iris/7",
        "iris/v3",
        "x.tmp",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_hundred_thousand_versions_are_listed_and_few_looked_into() {
    let folder = Folder::in_memory();
    let model = folder.dir("m");
    for version in 1..=100_000 {
        std::fs::create_dir(model.join(version.to_string())).unwrap();
    }
    folder.file("m/100000/model.onnx", "x");
    let repository = folder.repository(RepositoryOptions::default());
    let now = Instant::now();
    let scan = settled(&repository, &Policies::default(), now);
    let model = &scan.models["m"];
    assert_eq!((model.versions.len(), model.candidates.len()), (100_000, 9));
    complete(&scan, "m", 100_000);
    let all = Policies { default: VersionPolicy::All, ..Policies::default() };
    let scan = repository.scan(&all, now);
    assert_eq!(scan.models["m"].candidates.len(), MAX_INSPECTED);
    assert!(scan.models["m"].candidates.keys().all(|v| *v > 100_000 - MAX_INSPECTED as u64));
}

#[cfg(unix)]
#[test]
fn links_are_followed_only_by_choice_and_once() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    // As Kubernetes projects a volume: files are links through `..data`.
    folder.file("m/1/..2024/model.onnx", "old");
    folder.file("m/1/..2025/model.onnx", "new");
    symlink("..2024", folder.0.join("m/1/..data")).unwrap();
    symlink("..data/model.onnx", folder.0.join("m/1/model.onnx")).unwrap();
    // As a version that is a link.
    folder.file("store/abc/model.onnx", "linked");
    symlink("../store/abc", folder.0.join("m/2")).unwrap();
    let (policies, now) =
        (Policies { default: VersionPolicy::All, ..Policies::default() }, Instant::now());

    let scan = settled(&folder.repository(RepositoryOptions::default()), &policies, now);
    assert!(incomplete(&scan, "m", 1).contains("is a link"));
    assert_eq!(scan.models["m"].versions, [1]);
    assert!(scan.ignored.iter().any(|i| i.name == "m/2" && i.reason.contains("follow_links")));

    let follow = RepositoryOptions { follow_links: true, ..RepositoryOptions::default() };
    let repository = folder.repository(follow);
    let scan = settled(&repository, &policies, now);
    let (old, linked) = (complete(&scan, "m", 1), complete(&scan, "m", 2));
    let read = |found: &FoundVersion| std::fs::read_to_string(found.model_path()).unwrap();
    assert_eq!((&*read(&old), &*read(&linked)), ("old", "linked"));
    // The link is turned: what was found stays what it was, and the next scan sees the new one.
    symlink("..2025", folder.0.join("m/1/..new")).unwrap();
    std::fs::rename(folder.0.join("m/1/..new"), folder.0.join("m/1/..data")).unwrap();
    assert_eq!(read(&old), "old");
    old.confirm("").unwrap();
    let scan = repository.scan(&policies, now + 2 * SETTLE);
    assert!(matches!(readiness(&scan, "m", 1), Readiness::Settling(_)), "other files");
    let scan = repository.scan(&policies, now + 3 * SETTLE);
    let new = complete(&scan, "m", 1);
    assert_eq!(read(&new), "new");
    assert_ne!(new.fingerprint, old.fingerprint);
    // A loop, and a link to nowhere.
    symlink("3", folder.0.join("m/3")).unwrap();
    symlink("nowhere", folder.0.join("m/4")).unwrap();
    let scan = repository.scan(&policies, now + 4 * SETTLE);
    for version in [3, 4] {
        assert!(matches!(readiness(&scan, "m", version), Readiness::Unreadable(_)));
    }
}

#[cfg(unix)]
#[test]
fn odd_files_neither_block_nor_serve() {
    let folder = Folder::new();
    let path = folder.dir("m/1").join("model.onnx");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    folder.file("m/2/model.onnx", "x");
    let deep = format!("m/2/{}", "d/".repeat(MAX_DEPTH + 1));
    folder.dir(&deep);
    let repository = folder.repository(RepositoryOptions::default());
    let policies = Policies { default: VersionPolicy::All, ..Policies::default() };
    let scan = settled(&repository, &policies, Instant::now());
    assert!(incomplete(&scan, "m", 1).contains("pipe"));
    let Readiness::Unreadable(e) = readiness(&scan, "m", 2) else { panic!("deep folders") };
    assert_eq!((e.kind(), e.model()), (ErrorKind::LimitExceeded, Some("m")));
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_told_by_kind_and_changes_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.file("m/1/model.onnx", "x");
    folder.file("n/1/model.onnx", "x");
    let repository = folder.repository(RepositoryOptions::default());
    let mode = |path: &str, mode| {
        let path = folder.0.join(path);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("m", 0o000);
    if std::fs::read_dir(folder.0.join("m")).is_ok() {
        // Nothing is refused to the superuser: a folder that is no folder any more has to do.
        mode("m", 0o755);
        let e = Repository::open(&folder.0.join("m/1/model.onnx"), RepositoryOptions::default());
        assert_eq!(e.unwrap_err().kind(), ErrorKind::Io);
        return;
    }
    let now = Instant::now();
    let scan = settled(&repository, &Policies::default(), now);
    assert_eq!(scan.models["m"].error.as_ref().unwrap().kind(), ErrorKind::PermissionDenied);
    complete(&scan, "n", 1);
    let missing = Policies { unload_missing: true, ..Policies::default() };
    let serving = serving("m", &[1], Fingerprint::of_test(0));
    let plan = reconcile(&scan, &missing, &serving, now);
    assert!(!plan.actions.iter().any(|a| matches!(a, Action::Unload { .. })), "{plan:?}");
    mode("m", 0o755);
}

fn serving(model: &str, versions: &[u64], files: Fingerprint) -> States {
    let states = versions.iter().map(|v| (*v, VersionState::Serving(files))).collect();
    States::from([(model.into(), states)])
}

#[test]
fn an_emptied_or_vanished_repository_unloads_nothing_unless_asked_to() {
    let folder = Folder::new();
    folder.file("m/1/model.onnx", "x");
    let repository = folder.repository(RepositoryOptions::default());
    let keep = Policies::default();
    let unload = Policies { unload_missing: true, ..Policies::default() };
    let mut now = Instant::now();
    let found = complete(&settled(&repository, &keep, now), "m", 1);
    let states = serving("m", &[1], found.fingerprint);
    for (gone, what) in [("m/1", "version"), ("m", "model"), ("", "repository")] {
        std::fs::remove_dir_all(folder.0.join(gone)).unwrap();
        now += SETTLE;
        let scan = repository.scan(&keep, now);
        assert_eq!(scan.error.is_some(), gone.is_empty());
        assert!(reconcile(&scan, &keep, &states, now).actions.is_empty(), "{what}");
        let plan = reconcile(&scan, &unload, &states, now);
        assert!(
            matches!(&plan.actions[..], [Action::Unload { version: 1, .. }]),
            "{what}: {plan:?}"
        );
    }
    // It comes back.
    folder.file("m/2/model.onnx", "x");
    now += SETTLE;
    let plan = reconcile(&settled(&repository, &keep, now), &keep, &states, now + SETTLE);
    assert!(matches!(&plan.actions[..], [Action::Load(f)] if f.version == 2), "{plan:?}");
    let e = Repository::open(&folder.0.join("nowhere"), RepositoryOptions::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}

#[test]
fn an_unreadable_repository_unloads_nothing_even_when_asked_to() {
    let scan = Scan { error: Some(Arc::new(err!(Io, "disk"))), ..Scan::default() };
    let unload = Policies { unload_missing: true, ..Policies::default() };
    let states = serving("m", &[1], Fingerprint::of_test(0));
    assert!(reconcile(&scan, &unload, &states, Instant::now()).actions.is_empty());
}

#[test]
fn a_model_goes_through_its_life() {
    let folder = Folder::new();
    let path: &Path = &folder.0;
    let repository = Repository::open(path, RepositoryOptions::default()).unwrap();
    let policies = Policies::default();
    let mut states = States::new();
    let mut now = Instant::now();
    // What a manager does, with a model that loads when its file says so.
    let mut turn = |states: &mut States| {
        now += SETTLE;
        let plan = reconcile(&repository.scan(&policies, now), &policies, states, now);
        let mut done = Vec::new();
        for action in plan.actions {
            match action {
                Action::Load(found) => {
                    let versions = states.entry(found.model.clone()).or_default();
                    let text = std::fs::read_to_string(found.model_path()).unwrap();
                    let state = if text == "good" {
                        done.push(format!("+{}", found.version));
                        VersionState::Serving(found.fingerprint)
                    } else {
                        done.push(format!("!{}", found.version));
                        let before = match versions.get(&found.version) {
                            Some(VersionState::Failed(failure)) => Some(failure),
                            _ => None,
                        };
                        let error = err!(InvalidModel, "bad");
                        VersionState::Failed(Failure::after(
                            before,
                            found.fingerprint,
                            error,
                            now,
                            &Backoff::default(),
                        ))
                    };
                    versions.insert(found.version, state);
                }
                Action::Unload { model, version } => {
                    done.push(format!("-{version}"));
                    states.get_mut(&model).unwrap().remove(&version);
                }
            }
        }
        done.join(" ")
    };
    folder.file("m/1/model.onnx", "good");
    assert_eq!(turn(&mut states), "", "has to settle");
    assert_eq!(turn(&mut states), "+1");
    assert_eq!(turn(&mut states), "");
    folder.file("m/2/model.onnx", "bad");
    assert_eq!(turn(&mut states), "");
    assert_eq!(turn(&mut states), "!2", "1 serves on");
    let later: Vec<String> = (0..6).map(|_| turn(&mut states)).collect();
    assert!(later.contains(&"!2".to_string()), "tried again after a while: {later:?}");
    assert!(later.iter().any(String::is_empty), "but not every time: {later:?}");
    folder.file("m/2/model.onnx", "good");
    assert_eq!(turn(&mut states), "", "has to settle");
    assert_eq!(turn(&mut states), "+2", "other files: no waiting for the next try");
    assert_eq!(turn(&mut states), "-1");
    std::fs::remove_dir_all(path.join("m/2")).unwrap();
    assert_eq!(turn(&mut states), "+1", "rolled back by removing 2: 1 first");
    assert_eq!(turn(&mut states), "-2");
    assert_eq!(turn(&mut states), "");
}
