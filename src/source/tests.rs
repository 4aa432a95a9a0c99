use super::*;
use crate::error::ErrorKind;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A folder of its own for a test, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("source-{}-{n}", std::process::id()));
        std::fs::create_dir_all(path.join("models/sub")).unwrap();
        std::fs::write(path.join("secret"), b"outside").unwrap();
        std::fs::write(path.join("models/model.onnx"), b"model").unwrap();
        std::fs::write(path.join("models/w.bin"), b"weights").unwrap();
        std::fs::write(path.join("models/sub/w.bin"), b"deeper").unwrap();
        Folder(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn source(&self) -> Source {
        Source::open(&self.at("models/model.onnx"), &LoadLimits::default()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn fifo(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

fn kind(source: &Source, location: &str) -> ErrorKind {
    let e = source.companion(location, &LoadLimits::default()).unwrap_err();
    e.kind()
}

#[test]
fn companions_are_read_beneath_the_folder() {
    let folder = Folder::new();
    let source = folder.source();
    let limits = LoadLimits::default();
    assert_eq!(&source.bytes()[..], b"model");
    assert_eq!(source.path(), Some(&*folder.at("models/model.onnx")));
    assert_eq!(&source.companion("w.bin", &limits).unwrap()[..], b"weights");
    assert_eq!(&source.companion("./sub/w.bin", &limits).unwrap()[..], b"deeper");
    assert_eq!(kind(&source, "missing.bin"), ErrorKind::NotFound);
    assert_eq!(kind(&source, "sub/missing.bin"), ErrorKind::NotFound);
}

#[test]
fn what_leaves_the_folder_or_is_no_plain_file_is_refused() {
    let folder = Folder::new();
    symlink("../secret", folder.at("models/link")).unwrap();
    symlink("w.bin", folder.at("models/inner_link")).unwrap();
    symlink("..", folder.at("models/up")).unwrap();
    symlink("loop", folder.at("models/loop")).unwrap();
    std::fs::hard_link(folder.at("secret"), folder.at("models/hard")).unwrap();
    fifo(&folder.at("models/pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(folder.at("models/socket")).unwrap();
    symlink("/dev/zero", folder.at("models/zero")).unwrap();
    symlink("/proc/self", folder.at("models/process")).unwrap();
    let source = folder.source();
    for location in [
        "../secret",
        "sub/../../secret",
        "/etc/passwd",
        "link",
        "inner_link",
        "up/secret",
        "loop",
        "hard",
        "pipe",
        "socket",
        "sub",
        "w.bin/x",
        "/proc/self/mem",
        "process/mem",
        "/dev/zero",
        "zero",
    ] {
        assert_eq!(kind(&source, location), ErrorKind::PermissionDenied, "{location}");
    }
}

/// Where a check and the opening are two steps, somebody can change the file in between.
#[test]
fn a_file_that_becomes_a_link_all_the_time_never_leads_outside() {
    let folder = Folder::new();
    let (limits, source) = (LoadLimits::default(), folder.source());
    let (name, spare) = (folder.at("models/swapped"), folder.at("models/spare"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(&spare, b"inside").unwrap();
                std::fs::rename(&spare, &name).unwrap();
                symlink("../secret", &spare).unwrap();
                std::fs::rename(&spare, &name).unwrap();
            }
        });
        // Until both have been met often.
        let (mut read, mut refused, mut outside) = (0, 0, 0);
        let hangs = Instant::now() + Duration::from_secs(60);
        while (read < 200 || refused < 200) && Instant::now() < hangs {
            match source.companion("swapped", &limits) {
                Ok(bytes) if &bytes[..] == b"inside" => read += 1,
                Ok(_) => outside += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(outside, 0);
        assert!(read >= 200 && refused >= 200, "{read} {refused}");
    });
}

#[test]
fn the_fallback_refuses_links_too() {
    let folder = Folder::new();
    symlink("../secret", folder.at("models/link")).unwrap();
    symlink("..", folder.at("models/up")).unwrap();
    let opened = open::Folder::of(&folder.at("models/model.onnx")).unwrap();
    assert!(opened.stepwise(&["w.bin"]).is_ok());
    assert!(opened.stepwise(&["sub", "w.bin"]).is_ok());
    assert!(opened.stepwise(&["link"]).is_err());
    assert!(opened.stepwise(&["up", "secret"]).is_err());
    assert!(opened.stepwise(&[]).is_err());
}

#[test]
fn a_name_without_a_folder_is_looked_for_in_the_current_one() {
    let opened = open::Folder::of(Path::new("Cargo.toml")).unwrap();
    assert!(opened.model("Cargo.toml".as_ref(), Path::new("Cargo.toml")).is_ok());
}

#[test]
fn a_folder_of_too_many_entries_is_refused() {
    let folder = Folder::new();
    let opened = directory::Directory::open(&folder.0).unwrap();
    let count = opened.entries(100).unwrap().len();
    assert!(count > 1);
    assert_eq!(opened.entries(count).unwrap().len(), count);
    let error = opened.entries(count - 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains(&format!("more than {} entries", count - 1)), "{error}");
}

#[test]
fn the_model_itself_may_be_a_link_but_not_a_pipe_or_folder() {
    let folder = Folder::new();
    let limits = LoadLimits::default();
    symlink("models/model.onnx", folder.at("current.onnx")).unwrap();
    assert_eq!(&Source::open(&folder.at("current.onnx"), &limits).unwrap().bytes()[..], b"model");
    fifo(&folder.at("pipe"));
    symlink("/dev/zero", folder.at("device")).unwrap();
    let _listening = UnixListener::bind(folder.at("socket")).unwrap();
    for (name, expected) in [
        ("socket", ErrorKind::InvalidArgument),
        ("pipe", ErrorKind::InvalidArgument),
        ("device", ErrorKind::InvalidArgument),
        ("models", ErrorKind::InvalidArgument),
        ("nothing", ErrorKind::NotFound),
        ("nowhere/model.onnx", ErrorKind::NotFound),
        ("..", ErrorKind::InvalidArgument),
    ] {
        let e = Source::open(&folder.at(name), &limits).unwrap_err();
        assert_eq!(e.kind(), expected, "{name}");
        assert!(e.to_string().contains(name), "{e}");
    }
}

#[test]
fn turning_a_linked_folder_does_not_mix_versions() {
    let folder = Folder::new();
    std::fs::create_dir(folder.at("next")).unwrap();
    std::fs::write(folder.at("next/w.bin"), b"newer").unwrap();
    symlink("models", folder.at("current")).unwrap();
    let limits = LoadLimits::default();
    let source = Source::open(&folder.at("current/model.onnx"), &limits).unwrap();
    std::fs::remove_file(folder.at("current")).unwrap();
    symlink("next", folder.at("current")).unwrap();
    assert_eq!(&source.companion("w.bin", &limits).unwrap()[..], b"weights");
}

#[test]
fn files_and_bytes_are_limited() {
    let folder = Folder::new();
    let path = folder.at("models/model.onnx");
    let limits = LoadLimits { file_bytes: 4, ..LoadLimits::default() };
    assert_eq!(Source::open(&path, &limits).unwrap_err().kind(), ErrorKind::LimitExceeded);

    let limits = LoadLimits { external_files: 1, ..LoadLimits::default() };
    let source = Source::open(&path, &limits).unwrap();
    assert!(source.companion("w.bin", &limits).is_ok());
    assert!(source.companion("./w.bin", &limits).is_ok());
    let e = source.clone().companion("sub/w.bin", &limits).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);

    let limits = LoadLimits { weight_bytes: 10, ..LoadLimits::default() };
    let source = Source::open(&path, &limits).unwrap();
    assert!(source.companion("w.bin", &limits).is_ok());
    let e = source.companion("sub/w.bin", &limits).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn bytes_have_a_digest_and_no_companions() {
    let source = Source::from_bytes(&b"abc"[..]);
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(source.digest(), digest);
    assert_eq!(source.clone().digest(), digest);
    assert_eq!(source.path(), None);
    assert_eq!(kind(&source, "w.bin"), ErrorKind::InvalidModel);
}
