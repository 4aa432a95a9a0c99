//! A version that was found complete: where its files are, and whether they are still the same.

use super::contents::{Contents, Fingerprint};
use super::labels::{self, Labels};
use super::manifest::{self, Manifest};
use super::{MAX_GOLDEN_BYTES, MAX_LABELS_BYTES};
use crate::error::{Result, ensure};
use crate::source::Directory;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

/// The names of a version's optional files.
pub(super) const LABELS: &str = "labels.txt";
pub(super) const GOLDEN: &str = "golden.jsonl";
pub(super) const WARMUP: &str = "warmup.jsonl";

/// A version in the repository. What it holds is read when asked for; [`FoundVersion::confirm`]
/// says afterwards whether all of it was from one state of the folder.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FoundVersion {
    /// The model's name.
    pub model: Arc<str>,
    /// The version's number.
    pub version: u64,
    /// The folder; passes no link that the scan passed, so that a link turned meanwhile does not
    /// mix two versions.
    pub folder: PathBuf,
    /// The model file's name in it.
    pub model_file: String,
    /// The state of its files.
    pub fingerprint: Fingerprint,
    pub(super) has_labels: bool,
    pub(super) has_golden: bool,
    pub(super) has_warmup: bool,
    pub(super) manifest: Option<Arc<Manifest>>,
}

impl FoundVersion {
    /// The model file, to be loaded.
    pub fn model_path(&self) -> PathBuf {
        self.folder.join(&self.model_file)
    }

    /// Whether a digest manifest vouches for the files.
    pub fn has_manifest(&self) -> bool {
        self.manifest.is_some()
    }

    /// The class labels of `labels.txt`, where there is one.
    ///
    /// # Errors
    /// `InvalidModel` or `LimitExceeded` for its content; `InvalidModel` too when it does not end
    /// with a line's end and no manifest vouches for it (it may have been cut); `PermissionDenied`
    /// or `Io` from the system.
    pub fn labels(&self) -> Result<Option<Labels>> {
        if !self.has_labels {
            return Ok(None);
        }
        let bytes = self.read(LABELS, MAX_LABELS_BYTES)?;
        self.whole_lines(LABELS, &bytes)?;
        labels::parse(&bytes).map(Some)
    }

    /// The golden requests of `golden.jsonl`, where there are any, as text.
    ///
    /// # Errors
    /// As [`FoundVersion::labels`].
    pub fn golden(&self) -> Result<Option<Bytes>> {
        self.lines_of(GOLDEN, self.has_golden)
    }

    /// The warm-up requests of `warmup.jsonl`, where there are any, as text.
    ///
    /// # Errors
    /// As [`FoundVersion::labels`].
    pub fn warmup(&self) -> Result<Option<Bytes>> {
        self.lines_of(WARMUP, self.has_warmup)
    }

    /// Both files, those that are there, with their names.
    pub(crate) fn golden_files(&self) -> Result<Vec<(&'static str, Bytes)>> {
        let files = [(GOLDEN, self.golden()?), (WARMUP, self.warmup()?)];
        Ok(files.into_iter().filter_map(|(name, text)| Some((name, text?))).collect())
    }

    fn lines_of(&self, name: &str, there: bool) -> Result<Option<Bytes>> {
        if !there {
            return Ok(None);
        }
        let bytes = self.read(name, MAX_GOLDEN_BYTES)?;
        self.whole_lines(name, &bytes)?;
        Ok(Some(bytes))
    }

    fn read(&self, name: &str, cap: u64) -> Result<Bytes> {
        let bytes = Directory::open(&self.folder)?.read(name, cap)?;
        if let Some(manifest) = &self.manifest {
            use sha2::{Digest, Sha256};
            let digest: [u8; 32] = Sha256::digest(&bytes).into();
            ensure!(
                manifest.digests.get(name) == Some(&digest),
                InvalidModel,
                "{name} has not the digest that the manifest says"
            );
        }
        Ok(bytes)
    }

    /// A copy that was cut off leaves part of a last line.
    fn whole_lines(&self, name: &str, bytes: &[u8]) -> Result<()> {
        ensure!(
            self.manifest.is_some() || bytes.ends_with(b"\n"),
            InvalidModel,
            "{name} does not end with a line's end, as if its copy had been cut off: end it with \
             one, or add a manifest"
        );
        Ok(())
    }

    /// Checks, after the version was loaded, that what was loaded is what the scan saw: no file
    /// has changed since, and the model file's digest (SHA-256 in hexadecimal, of the bytes that
    /// were loaded) is the manifest's where there is one. What fails this must not serve.
    ///
    /// # Errors
    /// `Io` when a file changed meanwhile, `InvalidModel` for another digest; `NotFound`,
    /// `PermissionDenied` or `Io` from the system.
    pub fn confirm(&self, digest: &str) -> Result<()> {
        if let Some(manifest) = &self.manifest {
            ensure!(
                manifest.digests.get(&self.model_file).copied() == manifest::digest(digest),
                InvalidModel,
                "{} has not the digest that the manifest says",
                self.model_file
            );
        }
        // The folder itself, links resolved already.
        let (_, now) = Contents::of(Directory::open(&self.folder)?, false)?;
        ensure!(
            now.fingerprint == self.fingerprint,
            Io,
            "version {} of '{}' changed while it was loaded",
            self.version,
            self.model
        );
        Ok(())
    }
}

#[cfg(test)]
impl FoundVersion {
    pub(super) fn of_test(model: &str, version: u64, fingerprint: Fingerprint) -> FoundVersion {
        FoundVersion {
            model: model.into(),
            version,
            folder: PathBuf::new(),
            model_file: "model.onnx".to_string(),
            fingerprint,
            has_labels: false,
            has_golden: false,
            has_warmup: false,
            manifest: None,
        }
    }
}
