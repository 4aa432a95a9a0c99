//! The only file I/O of the crate: opening beneath a root, size caps, digests.
//!
//! The path of a model file is the operator's word and may be anything that leads to a regular
//! file. The location of a companion (external data, `config.json`) is the *file's* word: the
//! kernel itself is asked to keep it beneath the folder, and no link of any sort is passed.

mod candidates;
mod directory;
mod location;
mod open;
mod snapshot;

pub(crate) use candidates::{model_file, resolve};
pub(crate) use directory::{Directory, EntryKind, Stamp};

use crate::error::{Error, Result, bail, ensure, err};
use crate::limits::LoadLimits;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A snapshot of a model file: its bytes, owned, and the folder beneath which companion files
/// (external data, `config.json`) may be read. Clones share everything.
#[derive(Debug, Clone)]
pub struct Source {
    bytes: Bytes,
    origin: Option<Arc<Origin>>,
    digest: Arc<OnceLock<String>>,
}

/// Where a source came from, and what has been read beside it.
#[derive(Debug)]
struct Origin {
    path: PathBuf,
    folder: open::Folder,
    companions: Mutex<Companions>,
}

#[derive(Debug, Default)]
struct Companions {
    /// What was read there last, by SHA-256; `None` while it is being read.
    locations: BTreeMap<String, Option<String>>,
    bytes: u64,
}

impl Source {
    /// Reads a model file whole. The path may pass links, but must end at a regular file.
    /// Companions are looked for in the folder the path names, which is opened first and kept:
    /// a link that is turned to another version meanwhile does not mix the two.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` or `Io` from the system (`Io` also when the file keeps
    /// changing while it is read), `InvalidArgument` when it is not a regular file,
    /// `LimitExceeded` above [`LoadLimits::file_bytes`].
    pub fn open(path: &Path, limits: &LoadLimits) -> Result<Source> {
        let Some(name) = path.file_name() else {
            return Err(err!(InvalidArgument, "{} is not a file's path", path.display()).of_host());
        };
        let folder = open::Folder::of(path)?;
        let bytes =
            snapshot::read(&path.display(), limits.file_bytes, || folder.model(name, path))?;
        let origin = Origin { path: path.to_path_buf(), folder, companions: Mutex::default() };
        Ok(Source { bytes, origin: Some(Arc::new(origin)), digest: Arc::default() })
    }

    /// A model given as bytes: it has no companion files.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Source {
        Source { bytes: bytes.into(), origin: None, digest: Arc::default() }
    }

    /// The file's bytes; slices of them share the memory.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where the file was read from.
    pub fn path(&self) -> Option<&Path> {
        self.origin.as_deref().map(|o| o.path.as_path())
    }

    /// Reads a companion file whole: `location` is a relative path beneath the model file's
    /// folder, with `/` between its parts.
    ///
    /// # Errors
    /// `PermissionDenied` for a location that leaves the folder or passes a link, and for
    /// anything but a regular file with one name; `InvalidModel` for a malformed location or a
    /// model given as bytes; `LimitExceeded` above [`LoadLimits::file_bytes`], beyond
    /// [`LoadLimits::external_files`] different files or [`LoadLimits::weight_bytes`] bytes of
    /// them; `NotFound` or `Io` from the system.
    pub fn companion(&self, location: &str, limits: &LoadLimits) -> Result<Bytes> {
        let Some(origin) = self.origin.as_deref() else {
            bail!(InvalidModel, "'{location}' lies beside the model, which was given as bytes");
        };
        let parts = location::parts(location)?;
        let location = parts.join("/");
        let left = {
            let mut seen = origin.companions.lock();
            if !seen.locations.contains_key(&location) {
                ensure!(
                    seen.locations.len() < limits.external_files,
                    LimitExceeded,
                    "'{location}' is beyond the {} files that may lie beside a model",
                    limits.external_files
                );
                seen.locations.insert(location.clone(), None);
            }
            limits.weight_bytes.saturating_sub(seen.bytes)
        };
        let shown = origin.path.with_file_name(&location);
        let bytes = snapshot::read(&shown.display(), limits.file_bytes.min(left), || {
            origin.folder.companion(&parts, &shown)
        })?;
        let digest = hex_digest(&bytes);
        let mut seen = origin.companions.lock();
        seen.locations.insert(location, Some(digest));
        seen.bytes = seen.bytes.saturating_add(bytes.len() as u64);
        ensure!(
            seen.bytes <= limits.weight_bytes,
            LimitExceeded,
            "the files beside the model pass {} bytes together",
            limits.weight_bytes
        );
        Ok(bytes)
    }

    /// The size in bytes of a companion file, which is not read.
    ///
    /// # Errors
    /// As [`Source::companion`], but for the limits.
    pub fn companion_size(&self, location: &str) -> Result<u64> {
        let Some(origin) = self.origin.as_deref() else {
            bail!(InvalidModel, "'{location}' lies beside the model, which was given as bytes");
        };
        let parts = location::parts(location)?;
        let shown = origin.path.with_file_name(parts.join("/"));
        let file = origin.folder.companion(&parts, &shown)?;
        Ok(file.metadata().map_err(|e| Error::io(shown.display(), &e))?.len())
    }

    /// SHA-256 of the file's bytes, in lower-case hexadecimal. Computed once.
    pub fn digest(&self) -> String {
        self.digest.get_or_init(|| hex_digest(&self.bytes)).clone()
    }

    /// Begins to compute the digest of a large file on a thread of its own; whoever wants it
    /// meanwhile waits for it, or computes it where there is no such thread.
    pub fn digest_aside(&self) {
        /// What is worth a thread.
        const LARGE: usize = 1 << 20;
        if self.bytes.len() >= LARGE {
            let source = self.clone();
            let aside = std::thread::Builder::new().name("modelserve-digest".to_string());
            // A process that may have no more threads does without.
            drop(aside.spawn(move || source.digest()));
        }
    }

    /// SHA-256 over the locations and contents of the companions read so far; empty without any.
    pub fn companions_digest(&self) -> String {
        let Some(origin) = self.origin.as_deref() else { return String::new() };
        let seen = origin.companions.lock();
        let read = seen.locations.iter().filter_map(|(at, digest)| Some((at, digest.as_ref()?)));
        // No location holds a line's end; each digest is of one length.
        let list: String = read.map(|(at, digest)| format!("{digest} {at}\n")).collect();
        if list.is_empty() { list } else { hex_digest(list.as_bytes()) }
    }
}

/// SHA-256 in lower-case hexadecimal.
fn hex_digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// An error about a companion that may not be read.
fn forbidden(path: &Path, why: &str) -> crate::Error {
    err!(PermissionDenied, "{} {why}", path.display()).of_host()
}

#[cfg(all(test, unix))]
mod tests;
