//! The requests that lie beside a model.

use super::MAX_GOLDEN_BYTES;
use super::version::{GOLDEN, WARMUP};
use crate::error::{ErrorKind, Result};
use crate::source::Directory;
use bytes::Bytes;
use std::path::Path;

/// The files of golden and warm-up requests in `folder`, those that are there, with their names.
///
/// # Errors
/// `PermissionDenied`, `Io` or `LimitExceeded` from reading them.
pub(crate) fn golden_files(folder: &Path) -> Result<Vec<(&'static str, Bytes)>> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = Directory::open(folder)?;
    let mut found = Vec::new();
    for name in [GOLDEN, WARMUP] {
        match folder.read(name, MAX_GOLDEN_BYTES) {
            Ok(text) => found.push((name, text)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e.context(name)),
        }
    }
    Ok(found)
}
