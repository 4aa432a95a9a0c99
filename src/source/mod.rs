//! The only file I/O of the crate: opening beneath a root, size caps, digests.

use crate::error::{Error, Result, bail, ensure};
use crate::limits::LoadLimits;
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// A snapshot of a model file: its bytes, owned, and the folder beneath which companion files
/// (external data, `config.json`) may be read.
#[derive(Debug, Clone)]
pub struct Source {
    bytes: Bytes,
    path: Option<PathBuf>,
}

impl Source {
    /// Reads a model file whole.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` or `Io` from the system, `LimitExceeded` above
    /// [`LoadLimits::file_bytes`].
    pub fn open(path: &Path, limits: &LoadLimits) -> Result<Source> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path.display(), &e))?;
        ensure!(
            bytes.len() as u64 <= limits.file_bytes,
            LimitExceeded,
            "{} is too large",
            path.display()
        );
        Ok(Source { bytes: bytes.into(), path: Some(path.to_path_buf()) })
    }

    /// A model given as bytes: it has no companion files.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Source {
        Source { bytes: bytes.into(), path: None }
    }

    /// The file's bytes; slices of them share the memory.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where the file was read from.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads a companion file: `location` is a relative path beneath the model file's folder.
    ///
    /// # Errors
    /// `PermissionDenied` for a location that leaves the folder or passes a link.
    pub fn companion(&self, location: &str, limits: &LoadLimits) -> Result<Bytes> {
        let Some(folder) = self.path.as_deref().and_then(Path::parent) else {
            bail!(InvalidModel, "'{location}' lies beside the model, which was given as bytes");
        };
        Ok(Source::open(&folder.join(location), limits)?.bytes)
    }

    /// SHA-256 of the file's bytes, in lower-case hexadecimal.
    pub fn digest(&self) -> String {
        use sha2::{Digest, Sha256};
        Sha256::digest(&self.bytes).iter().map(|b| format!("{b:02x}")).collect()
    }
}
