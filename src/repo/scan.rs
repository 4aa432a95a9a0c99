//! One look at a repository.

use super::contents::{Contents, Fingerprint};
use super::layout::{Ignored, IgnoredList, model_name, version_number};
use super::manifest;
use super::policy::{Policies, VersionPolicy};
use super::stability::{Tracker, Verdict};
use super::version::{FoundVersion, GOLDEN, LABELS, WARMUP};
use super::{MAX_ENTRIES, MAX_MANIFEST_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_MODELS;
use crate::source::{Directory, EntryKind};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a repository is read.
#[derive(Debug, Clone)]
pub struct RepositoryOptions {
    /// How long the files of a version without a manifest must have rested before it counts as
    /// complete (500 ms). Choose more where copies make longer pauses.
    pub settle: Duration,
    /// Whether a version without a manifest is incomplete, however long its files have rested.
    /// Off by default. With it a manifest may be copied last; without it, files whose manifest is
    /// still to come look like a version that has none.
    pub require_manifest: bool,
    /// Whether folders of models and versions may be links, and versions may publish through a
    /// link `..data` (Kubernetes), each followed once. Off by default: whoever may write into the
    /// repository could otherwise have files from elsewhere loaded. The repository's own path may
    /// always pass links.
    pub follow_links: bool,
}

impl Default for RepositoryOptions {
    fn default() -> Self {
        RepositoryOptions {
            settle: Duration::from_millis(500),
            require_manifest: false,
            follow_links: false,
        }
    }
}

/// A folder of models, and what was seen of it so far. Any number of threads may scan; one after
/// another.
#[derive(Debug)]
pub struct Repository {
    root: PathBuf,
    options: RepositoryOptions,
    tracker: Mutex<Tracker>,
}

/// What a scan saw.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Scan {
    /// The models by name.
    pub models: BTreeMap<Arc<str>, ModelScan>,
    /// Why the repository could not be read: its folder has vanished (`NotFound`), or is refused
    /// by the system. `models` is empty then.
    pub error: Option<Arc<Error>>,
    /// Entries that are neither models nor versions.
    pub ignored: Vec<Ignored>,
    /// How many more of those there are.
    pub further_ignored: usize,
}

/// What a scan saw of one model.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ModelScan {
    /// The numbers of all versions, ascending.
    pub versions: Vec<u64>,
    /// Those that the policy may want, looked into.
    pub candidates: BTreeMap<u64, Candidate>,
    /// Why the model's folder could not be read.
    pub error: Option<Arc<Error>>,
}

/// What a scan saw of one version.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// The state of its files, where it could be read.
    pub fingerprint: Option<Fingerprint>,
    /// Whether it can be loaded.
    pub readiness: Readiness,
}

/// Whether a version can be loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Readiness {
    /// All files are there.
    Complete(Arc<FoundVersion>),
    /// The files changed of late; a scan at this moment can tell.
    Settling(Instant),
    /// Something is missing or contradicts the manifest: why. As long as a copy is under way this
    /// is no fault.
    Incomplete(String),
    /// The system refused: why.
    Unreadable(Arc<Error>),
}

impl Repository {
    /// A repository in the folder `root`, which must be there. What becomes of it later is told by
    /// [`Scan::error`].
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` or `Io` from the system (`Io` for anything but a folder).
    pub fn open(root: &Path, options: RepositoryOptions) -> Result<Repository> {
        Directory::open(root)?;
        Ok(Repository { root: root.to_path_buf(), options, tracker: Mutex::default() })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at the repository: all names, and the files of the versions that `policies` may want.
    /// `now` is the moment, by which files settle; it must not go backwards. What cannot be read
    /// is part of the answer, never an error of the whole.
    pub fn scan(&self, policies: &Policies, now: Instant) -> Scan {
        // Held while files are looked at: scans that come together run one after another, and
        // none of them is on the way of a request.
        let mut tracker = self.tracker.lock();
        let mut ignored = IgnoredList::default();
        let mut scan = Scan::default();
        match self.models(&mut ignored) {
            Ok(folders) => {
                for (name, folder) in folders {
                    let policy = policies.of(&name);
                    let model = match folder {
                        Ok(folder) => {
                            self.model(&folder, &name, policy, now, &mut tracker, &mut ignored)
                        }
                        Err(e) => Err(e),
                    };
                    let model = model.unwrap_or_else(|e| ModelScan {
                        error: Some(Arc::new(e.with_model(&name))),
                        ..ModelScan::default()
                    });
                    scan.models.insert(name, model);
                }
                tracker.retain(|model, version| {
                    let model = scan.models.get(model);
                    model.is_some_and(|m| m.error.is_some() || m.candidates.contains_key(&version))
                });
            }
            Err(e) => scan.error = Some(Arc::new(e)),
        }
        scan.ignored = ignored.named;
        scan.further_ignored = ignored.further;
        scan
    }

    /// The folders of models, by name. Those that are gone again are left out.
    #[allow(clippy::type_complexity)]
    fn models(&self, ignored: &mut IgnoredList) -> Result<Vec<(Arc<str>, Result<Directory>)>> {
        let root = Directory::open(&self.root)?;
        let mut names: Vec<(Arc<str>, EntryKind)> = Vec::new();
        for (name, kind) in root.entries(MAX_ENTRIES)? {
            match model_name(&name) {
                Err(reason) => ignored.add(None, &name, reason),
                Ok(_) if !self.is_folder(kind) => ignored.add(None, &name, not_a_folder(kind)),
                Ok(model) => names.push((model.into(), kind)),
            }
        }
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, _) in names.iter().skip(MAX_MODELS) {
            ignored.add(None, OsStr::new(&**name), "a repository holds at most 10,000 models");
        }
        names.truncate(MAX_MODELS);
        let open =
            |(name, kind): (Arc<str>, EntryKind)| match self.enter(&root, OsStr::new(&*name), kind)
            {
                Err(e) if e.kind() == ErrorKind::NotFound => None,
                folder => Some((name, folder)),
            };
        Ok(names.into_iter().filter_map(open).collect())
    }

    fn is_folder(&self, kind: EntryKind) -> bool {
        kind == EntryKind::Directory || kind == EntryKind::Link && self.options.follow_links
    }

    fn enter(&self, within: &Directory, name: &OsStr, kind: EntryKind) -> Result<Directory> {
        match kind {
            EntryKind::Link => within.follow(name),
            _ => within.folder(name),
        }
    }

    fn model(
        &self,
        folder: &Directory,
        name: &Arc<str>,
        policy: &VersionPolicy,
        now: Instant,
        tracker: &mut Tracker,
        ignored: &mut IgnoredList,
    ) -> Result<ModelScan> {
        let mut kinds: BTreeMap<u64, EntryKind> = BTreeMap::new();
        for (entry, kind) in folder.entries(MAX_ENTRIES)? {
            match version_number(&entry) {
                Err(reason) => ignored.add(Some(name), &entry, reason),
                Ok(_) if !self.is_folder(kind) => {
                    ignored.add(Some(name), &entry, not_a_folder(kind));
                }
                Ok(number) => {
                    kinds.insert(number, kind);
                }
            }
        }
        let versions: Vec<u64> = kinds.keys().copied().collect();
        let mut candidates = BTreeMap::new();
        for version in policy.candidates(&versions) {
            let Some(kind) = kinds.get(&version) else { continue };
            let entry = version.to_string();
            let seen = self
                .enter(folder, OsStr::new(&entry), *kind)
                .and_then(|folder| self.version(folder, name, version, now, tracker));
            let candidate = match seen {
                Ok(candidate) => candidate,
                Err(e) => Candidate {
                    fingerprint: None,
                    readiness: Readiness::Unreadable(Arc::new(e.with_model(name))),
                },
            };
            candidates.insert(version, candidate);
        }
        Ok(ModelScan { versions, candidates, error: None })
    }

    fn version(
        &self,
        folder: Directory,
        model: &Arc<str>,
        version: u64,
        now: Instant,
        tracker: &mut Tracker,
    ) -> Result<Candidate> {
        let (folder, contents) = Contents::of(folder, self.options.follow_links)?;
        let seen = tracker.observe(model, version, contents.fingerprint, now);
        let candidate =
            |readiness| Candidate { fingerprint: Some(contents.fingerprint), readiness };
        let parts = contents.model_file().and_then(|m| Ok((m, contents.manifest()?)));
        let (model_file, manifest) = match parts {
            Ok(parts) => parts,
            Err(why) => return Ok(candidate(Readiness::Incomplete(why))),
        };
        let settling = Readiness::Settling(seen.settled_at(self.options.settle, now));
        let manifest = match manifest {
            Some(name) => match seen.verdict(|| ask(&contents, &folder, name))? {
                Some(Ok(manifest)) => Some(manifest.clone()),
                Some(Err(why)) => return Ok(candidate(Readiness::Incomplete(why.clone()))),
                None => return Ok(candidate(settling)),
            },
            None if self.options.require_manifest => {
                let why = "holds no manifest, and one is required (require_manifest)";
                return Ok(candidate(Readiness::Incomplete(why.to_string())));
            }
            None if seen.is_settled(self.options.settle, now) => None,
            None => return Ok(candidate(settling)),
        };
        Ok(candidate(Readiness::Complete(Arc::new(FoundVersion {
            model: model.clone(),
            version,
            folder: folder.path().to_path_buf(),
            model_file,
            fingerprint: contents.fingerprint,
            has_labels: contents.has(LABELS),
            has_golden: contents.has(GOLDEN),
            has_warmup: contents.has(WARMUP),
            manifest,
        }))))
    }
}

/// What the manifest `name` says of the files.
fn ask(contents: &Contents, folder: &Directory, name: &str) -> Result<Verdict> {
    let manifest = match manifest::parse(&folder.read(name, MAX_MANIFEST_BYTES)?) {
        Ok(manifest) => manifest,
        // Half of a manifest, perhaps.
        Err(e) => return Ok(Err(e.message().to_string())),
    };
    if let Err(why) = contents.verify(folder, &manifest)? {
        return Ok(Err(why));
    }
    // Written on since it was looked at: what was read is right, but it is not what was seen.
    if Contents::seen(folder)?.fingerprint != contents.fingerprint {
        return Ok(Err("is being written: its files changed while they were read".to_string()));
    }
    Ok(Ok(Arc::new(manifest)))
}

fn not_a_folder(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Link => "a link (RepositoryOptions::follow_links is off)",
        _ => "not a folder",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn files_that_are_finished_while_they_are_read_are_not_those_that_were_seen() {
        let folder = crate::repo::tests::Folder::new();
        let write = |name: &str, text: &str| std::fs::write(folder.0.join(name), text).unwrap();
        let digest: String = Sha256::digest("whole").iter().map(|b| format!("{b:02x}")).collect();
        write("manifest.sha256", &format!("{digest}  model.onnx\n"));
        write("model.onnx", "who");
        let open = || Directory::open(&folder.0).unwrap();
        let ask = |contents: &Contents| ask(contents, &open(), "manifest.sha256").unwrap();

        let half = Contents::seen(&open()).unwrap();
        assert!(ask(&half).unwrap_err().contains("has not the digest"));
        write("model.onnx", "whole");
        assert!(ask(&half).unwrap_err().contains("is being written"));
        ask(&Contents::seen(&open()).unwrap()).unwrap();
    }
}
