//! A disk in trouble: files that are cut, exchanged, taken away or no files at all when they are to
//! be loaded, and files that go once they are.

use crate::fleet::{self, Fleet, IRIS, NAMES, numbered};
use crate::random::Random;
use modelserve::{ModelInfo, ReloadOptions, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A folder for the files that get into trouble, removed in the end.
pub struct Disk {
    folder: PathBuf,
}

/// What there is in the place of a model's file.
const TROUBLES: [&str; 6] = [
    "no file",
    "a folder",
    "an empty file",
    "a file cut short",
    "a file that is written all the time",
    "a link to itself",
];

impl Disk {
    pub fn new() -> std::io::Result<Disk> {
        let folder = std::env::temp_dir().join(format!("modelserve-soak-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Disk { folder })
    }

    /// Offers `iris` a file that is in trouble, which must not be taken. Answers what it was, and
    /// what came of it.
    pub fn offer(&self, fleet: &Fleet, random: &mut Random) -> (&'static str, Result<ModelInfo>) {
        let kind = random.below(TROUBLES.len());
        let path = self.folder.join("offered.onnx");
        let good = std::fs::read(fleet::file(IRIS, 2)).expect("the test models");
        let reload = || fleet.manager.reload(NAMES[IRIS], Some(&path), &ReloadOptions::default());
        let outcome = match TROUBLES[kind] {
            "no file" => reload(),
            "a folder" => {
                std::fs::create_dir_all(path.join("model.d")).expect("a temporary folder");
                reload()
            }
            "an empty file" => {
                put(&path, &[]);
                reload()
            }
            "a file cut short" => {
                put(&path, &good[..random.below(good.len() * 9 / 10)]);
                reload()
            }
            "a file that is written all the time" => {
                // Its beginning never is that of a model.
                put(&path, &vec![0xff; 1 << 20]);
                written_meanwhile(&path, reload)
            }
            _ => {
                #[cfg(unix)]
                let _ = std::os::unix::fs::symlink(&path, &path);
                reload()
            }
        };
        if std::fs::remove_file(&path).is_err() {
            let _ = std::fs::remove_dir_all(&path);
        }
        (TROUBLES[kind], outcome)
    }

    /// Reloads `iris` from a copy of its file, which is spoiled as soon as it is loaded.
    pub fn reload_and_spoil(
        &self,
        fleet: &Fleet,
        version: u64,
        random: &mut Random,
    ) -> Result<ModelInfo> {
        let path = self.folder.join(format!("{version}.onnx"));
        std::fs::copy(fleet::file(IRIS, version), &path).expect("a temporary file");
        let options = ReloadOptions { load: Some(numbered(version)), ..Default::default() };
        let info = fleet.manager.reload(NAMES[IRIS], Some(&path), &options);
        match random.below(3) {
            0 => put(&path, &[]),
            1 => put(&path, &[0xff; 4096]),
            _ => {}
        }
        std::fs::remove_file(&path).expect("a temporary file");
        info
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a temporary file");
}

/// Runs `work` while another thread writes at the file's end.
fn written_meanwhile<R>(path: &Path, work: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file =
                std::fs::File::options().append(true).open(path).expect("a temporary file");
            while !stop.load(SeqCst) {
                let _ = file.write_all(&[0xff; 64]);
            }
        });
        let result = work();
        stop.store(true, SeqCst);
        result
    })
}
