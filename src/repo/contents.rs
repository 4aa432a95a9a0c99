//! One version's folder: its files, their state, and what each is for.

use super::layout::is_temporary;
use super::manifest;
use super::{MAX_DEPTH, MAX_FILES};
use crate::error::{ErrorKind, Result, ensure};
use crate::source::{self, Directory, EntryKind, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;

/// The state of all files of a version: device, inode, size and both times of each, and the
/// folder they lie in. Equal fingerprints mean that nothing was written in between.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    #[cfg(test)]
    pub(super) fn of_test(n: u8) -> Fingerprint {
        Fingerprint([n; 32])
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Fingerprint({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// What lies in a version's folder.
#[derive(Debug)]
pub(super) struct Contents {
    pub fingerprint: Fingerprint,
    /// The files by their location, hidden and temporary ones left out.
    files: BTreeSet<String>,
    /// Links, and files whose names are not UTF-8: there, but not to be served.
    unusable: BTreeMap<String, &'static str>,
}

/// The link in a version's folder that projected volumes (Kubernetes) turn to publish.
const PROJECTED: &str = "..data";

impl Contents {
    /// Looks at a version's folder. With `follow_links`, a folder that publishes through a link
    /// `..data` is seen through it; the folder that really holds the files is answered too.
    ///
    /// # Errors
    /// `LimitExceeded`; `NotFound`, `PermissionDenied` or `Io` from the system.
    pub(super) fn of(folder: Directory, follow_links: bool) -> Result<(Directory, Contents)> {
        let folder = if follow_links {
            let entries = folder.entries(MAX_FILES)?;
            match entries.iter().any(|(n, kind)| n == PROJECTED && *kind == EntryKind::Link) {
                true => folder.follow(OsStr::new(PROJECTED))?,
                false => folder,
            }
        } else {
            folder
        };
        let contents = Contents::seen(&folder)?;
        Ok((folder, contents))
    }

    /// Looks at the folder that holds a version's files.
    ///
    /// # Errors
    /// As [`Contents::of`].
    pub(super) fn seen(folder: &Directory) -> Result<Contents> {
        let mut seen = Walk::default();
        seen.walk(folder, "", 0)?;
        let place = folder.stamp()?;
        let mut hash = blake3::Hasher::new();
        for part in [place.device, place.inode] {
            hash.update(&part.to_le_bytes());
        }
        // The order of a listing changes: the order of the names does not.
        seen.states.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, stamp) in &seen.states {
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name);
            for part in [stamp.device, stamp.inode, stamp.size] {
                hash.update(&part.to_le_bytes());
            }
            hash.update(&stamp.modified.to_le_bytes());
            hash.update(&stamp.changed.to_le_bytes());
        }
        let fingerprint = Fingerprint(*hash.finalize().as_bytes());
        Ok(Contents { fingerprint, files: seen.files, unusable: seen.unusable })
    }

    /// Whether there is a file of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains(name)
    }

    /// The model file.
    ///
    /// # Errors
    /// What is missing or ambiguous.
    pub(super) fn model_file(&self) -> Result<String, String> {
        source::model_file(&self.files, false).map_err(|e| {
            match (e.kind(), self.unusable.iter().next()) {
                (ErrorKind::NotFound, Some((name, why))) => {
                    format!("holds no model file; {name:?} {why}")
                }
                _ => e.message().to_string(),
            }
        })
    }

    /// The manifest, where there is one.
    ///
    /// # Errors
    /// When there is more than one.
    pub(super) fn manifest(&self) -> Result<Option<&'static str>, String> {
        let mut names = manifest::NAMES.into_iter().filter(|name| self.has(name));
        match (names.next(), names.next()) {
            (Some(one), Some(two)) => Err(format!("holds both {one} and {two}: keep one")),
            (one, _) => Ok(one),
        }
    }

    /// Checks that the folder holds just the files that the manifest lists, and what it says of
    /// each.
    ///
    /// # Errors
    /// The first file that is missing, not listed or different; or an error of the system.
    pub(super) fn verify(
        &self,
        folder: &Directory,
        manifest: &manifest::Manifest,
    ) -> Result<Result<(), String>> {
        // Names first: they cost nothing, and tell most copies under way.
        if let Some(name) = manifest.digests.keys().find(|name| !self.has(name)) {
            return Ok(Err(format!("the manifest lists {name:?}, which is not there")));
        }
        let unlisted = |name: &&String| {
            !manifest.digests.contains_key(*name) && !manifest::NAMES.contains(&name.as_str())
        };
        if let Some(name) = self.files.iter().find(unlisted) {
            return Ok(Err(format!("{name:?} is not in the manifest")));
        }
        for (name, digest) in &manifest.digests {
            if folder.digest(name)? != *digest {
                return Ok(Err(format!("{name:?} has not the digest that the manifest says")));
            }
        }
        Ok(Ok(()))
    }
}

#[derive(Default)]
struct Walk {
    files: BTreeSet<String>,
    unusable: BTreeMap<String, &'static str>,
    /// All files, hidden and temporary ones too: a copy under way shows in them.
    states: Vec<(Vec<u8>, Stamp)>,
}

impl Walk {
    fn walk(&mut self, folder: &Directory, within: &str, depth: usize) -> Result<()> {
        for (name, kind) in folder.entries(MAX_FILES)? {
            let location = format!("{within}{}", name.to_string_lossy());
            match kind {
                EntryKind::Directory => {
                    ensure!(
                        depth < MAX_DEPTH,
                        LimitExceeded,
                        "{location:?}: folders nest deeper than {MAX_DEPTH}"
                    );
                    // A hidden folder is not part of the version (`.git`, older projections).
                    if !name.as_encoded_bytes().starts_with(b".") {
                        self.walk(&folder.folder(&name)?, &format!("{location}/"), depth + 1)?;
                    }
                }
                EntryKind::File => {
                    ensure!(
                        self.states.len() < MAX_FILES,
                        LimitExceeded,
                        "a version has more than {MAX_FILES} files"
                    );
                    let stamp = folder.file_stamp(&name)?;
                    let full = [within.as_bytes(), name.as_encoded_bytes()].concat();
                    self.states.push((full, stamp));
                    match name.to_str() {
                        Some(plain) if is_temporary(plain) => {}
                        Some(_) => {
                            self.files.insert(location);
                        }
                        None => {
                            self.unusable.insert(location, "has a name that is not UTF-8");
                        }
                    }
                }
                EntryKind::Link => {
                    self.unusable.insert(location, "is a link, and links are not followed");
                }
                EntryKind::Other => {
                    self.unusable.insert(location, "is a device, pipe or socket");
                }
            }
        }
        Ok(())
    }
}
