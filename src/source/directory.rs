//! A folder held open: what it lists, and the files and folders beneath it, reached through no
//! link.

use super::{location, snapshot};
use crate::error::{Error, Result, err};
use crate::room;
use bytes::Bytes;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a folder's entry is; a link is itself, not what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Link,
    Other,
}

/// What tells two states of a file apart. Compared for equality only: clocks go backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i128,
    /// Nanoseconds since 1970; unlike `modified` no program can set it.
    pub changed: i128,
}

/// A folder, held open.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: system::Handle,
    path: PathBuf,
    shown: PathBuf,
}

impl Directory {
    /// Opens the folder at `path`, the operator's word: links are followed.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` or `Io` from the system.
    pub(crate) fn open(path: &Path) -> Result<Directory> {
        let handle = system::open(path).map_err(|e| Error::io(path.display(), &e))?;
        Ok(Directory { handle, path: path.to_path_buf(), shown: path.to_path_buf() })
    }

    /// Where the folder is, for opening it again: passes no link that [`Directory::follow`]
    /// passed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Which folder this is, whatever its name.
    ///
    /// # Errors
    /// `Io` from the system.
    pub(crate) fn stamp(&self) -> Result<Stamp> {
        system::stamp(&self.handle).map_err(|e| Error::io(self.shown.display(), &e))
    }

    /// The entries, in no order.
    ///
    /// # Errors
    /// `LimitExceeded` when there are more than `most`; `PermissionDenied` or `Io` from the
    /// system.
    pub(crate) fn entries(&self, most: usize) -> Result<Vec<(OsString, EntryKind)>> {
        let mut entries = Vec::new();
        let mut full = false;
        system::list(&self.handle, |name, kind| {
            full = entries.len() >= most;
            if !full {
                entries.push((name, kind));
            }
            !full
        })
        .map_err(|e| Error::io(self.shown.display(), &e))?;
        if full {
            let shown = self.shown.display();
            return Err(err!(LimitExceeded, "{shown} has more than {most} entries").of_host());
        }
        Ok(entries)
    }

    /// A folder in this one, which must not be a link.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` or `Io` from the system (`Io` for a link).
    pub(crate) fn folder(&self, name: &OsStr) -> Result<Directory> {
        let shown = self.shown.join(name);
        let handle =
            system::folder(&self.handle, name).map_err(|e| Error::io(shown.display(), &e))?;
        Ok(Directory { handle, path: self.path.join(name), shown })
    }

    /// The folder that a link in this one leads to at this moment. [`Directory::path`] of what is
    /// answered stays with it when the link is turned.
    ///
    /// # Errors
    /// As [`Directory::folder`].
    pub(crate) fn follow(&self, name: &OsStr) -> Result<Directory> {
        let shown = self.shown.join(name);
        let io = |e| Error::io(shown.display(), &e);
        let path = std::fs::canonicalize(self.path.join(name)).map_err(io)?;
        let handle = system::open(&path).map_err(io)?;
        Ok(Directory { handle, path, shown })
    }

    /// The state of a file in this folder.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` or `Io` from the system.
    pub(crate) fn file_stamp(&self, name: &OsStr) -> Result<Stamp> {
        system::stamp_at(&self.handle, name)
            .map_err(|e| Error::io(self.shown.join(name).display(), &e))
    }

    /// Reads a file beneath this folder whole: `location` has `/` between its parts.
    ///
    /// # Errors
    /// `PermissionDenied` for a location that leaves the folder and for anything but a regular
    /// file; `LimitExceeded` above `cap` bytes; `NotFound` or `Io` from the system.
    pub(crate) fn read(&self, location: &str, cap: u64) -> Result<Bytes> {
        let shown = self.shown.join(location);
        snapshot::read(&shown.display(), cap, || self.file(location, &shown))
    }

    /// SHA-256 of a file beneath this folder, read in pieces.
    ///
    /// # Errors
    /// As [`Directory::read`]; `Io` too when the file changes meanwhile.
    pub(crate) fn digest(&self, location: &str) -> Result<[u8; 32]> {
        use sha2::{Digest, Sha256};
        let shown = self.shown.join(location);
        let io = |e| Error::io(shown.display(), &e);
        let mut file = self.file(location, &shown)?;
        let before = system::stamp_of(&file).map_err(io)?;
        let mut hash = Sha256::new();
        let mut piece = room::filled(1 << 17, 0u8)?;
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => hash.update(piece.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(io(e)),
            }
        }
        let after = system::stamp_of(&file).map_err(io)?;
        if before != after {
            return Err(err!(Io, "{} changes while being read", shown.display()).of_host());
        }
        Ok(hash.finalize().into())
    }

    /// Where `location` beneath this folder is: a regular file or a folder that no link leads to.
    /// `location` has `/` between its parts.
    ///
    /// # Errors
    /// `PermissionDenied` for a location that leaves the folder, and for anything but a file or
    /// folder; `InvalidModel` for one that is malformed; `NotFound` or `Io` from the system (`Io`
    /// for a link).
    pub(crate) fn beneath(&self, location: &str) -> Result<PathBuf> {
        let shown = self.shown.join(location);
        let parts = location::parts(location)?;
        if let Err(no_file) = self.file(location, &shown) {
            let mut at: Option<Directory> = None;
            for part in &parts {
                let folder = at.as_ref().unwrap_or(self).folder(OsStr::new(part));
                at = Some(folder.map_err(|_| no_file_or(&shown, &no_file))?);
            }
        }
        Ok(parts.iter().fold(self.path.clone(), |path, part| path.join(part)))
    }

    fn file(&self, location: &str, shown: &Path) -> Result<File> {
        let parts = location::parts(location)?;
        let Some((name, folders)) = parts.split_last() else {
            return Err(err!(NotFound, "{} names no file", shown.display()).of_host());
        };
        let mut at: Option<Directory> = None;
        for folder in folders {
            at = Some(at.as_ref().unwrap_or(self).folder(OsStr::new(folder))?);
        }
        let here = at.as_ref().unwrap_or(self);
        let file = system::file(&here.handle, OsStr::new(name))
            .map_err(|e| Error::io(shown.display(), &e))?;
        let meta = file.metadata().map_err(|e| Error::io(shown.display(), &e))?;
        if !meta.is_file() {
            return Err(super::forbidden(shown, "is not a regular file"));
        }
        Ok(file)
    }
}

/// The same error again, which cannot be cloned.
fn no_file_or(shown: &Path, error: &Error) -> Error {
    match error.kind() {
        crate::ErrorKind::NotFound => err!(NotFound, "{} is not there", shown.display()).of_host(),
        _ => super::forbidden(shown, "passes a link, or is neither a file nor a folder"),
    }
}

#[cfg(unix)]
mod system {
    use super::*;
    use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
    use std::io::Result;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;

    pub(super) type Handle = OwnedFd;

    const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    /// A FIFO must not block the open, and a terminal must not become ours.
    const FILE: OFlags = OFlags::RDONLY
        .union(OFlags::NONBLOCK)
        .union(OFlags::CLOEXEC)
        .union(OFlags::NOCTTY)
        .union(OFlags::NOFOLLOW);

    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between systems")]
    fn stamp_from(stat: &Stat) -> Stamp {
        let ns = |seconds: i128, ns: i128| seconds * 1_000_000_000 + ns;
        Stamp {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: ns(stat.st_mtime as i128, stat.st_mtime_nsec as i128),
            changed: ns(stat.st_ctime as i128, stat.st_ctime_nsec as i128),
        }
    }

    fn kind_of(kind: FileType) -> Option<EntryKind> {
        match kind {
            FileType::RegularFile => Some(EntryKind::File),
            FileType::Directory => Some(EntryKind::Directory),
            FileType::Symlink => Some(EntryKind::Link),
            FileType::Unknown => None,
            _ => Some(EntryKind::Other),
        }
    }

    pub(super) fn open(path: &Path) -> Result<Handle> {
        Ok(rustix::fs::open(path, FOLDER, Mode::empty())?)
    }

    pub(super) fn folder(at: &Handle, name: &OsStr) -> Result<Handle> {
        Ok(openat(at, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?)
    }

    pub(super) fn file(at: &Handle, name: &OsStr) -> Result<File> {
        Ok(File::from(openat(at, name, FILE, Mode::empty())?))
    }

    pub(super) fn stamp(handle: &Handle) -> Result<Stamp> {
        Ok(stamp_from(&fstat(handle)?))
    }

    pub(super) fn stamp_of(file: &File) -> Result<Stamp> {
        Ok(stamp_from(&fstat(file)?))
    }

    pub(super) fn stamp_at(at: &Handle, name: &OsStr) -> Result<Stamp> {
        Ok(stamp_from(&statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    pub(super) fn list(
        handle: &Handle,
        mut each: impl FnMut(OsString, EntryKind) -> bool,
    ) -> Result<()> {
        for entry in Dir::read_from(handle)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match kind_of(entry.file_type()) {
                Some(kind) => kind,
                // Some file systems do not say in the listing; what is gone by now is left out.
                None => match statat(handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => {
                        kind_of(FileType::from_raw_mode(stat.st_mode)).unwrap_or(EntryKind::Other)
                    }
                    Err(rustix::io::Errno::NOENT) => continue,
                    Err(e) => return Err(e.into()),
                },
            };
            if !each(name.to_os_string(), kind) {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(not(unix))]
mod system {
    use super::*;
    use std::fs::Metadata;
    use std::io::Result;
    use std::time::UNIX_EPOCH;

    /// Without handles on folders their paths have to do.
    pub(super) type Handle = PathBuf;

    fn stamp_from(meta: &Metadata) -> Stamp {
        let since = |t: Result<std::time::SystemTime>| {
            t.ok()
                .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                .and_then(|d| i128::try_from(d.as_nanos()).ok())
                .unwrap_or(0)
        };
        Stamp {
            device: 0,
            inode: 0,
            size: meta.len(),
            modified: since(meta.modified()),
            changed: since(meta.created()),
        }
    }

    fn kind_of(kind: std::fs::FileType) -> EntryKind {
        if kind.is_symlink() {
            EntryKind::Link
        } else if kind.is_dir() {
            EntryKind::Directory
        } else if kind.is_file() {
            EntryKind::File
        } else {
            EntryKind::Other
        }
    }

    pub(super) fn open(path: &Path) -> Result<Handle> {
        std::fs::read_dir(path).map(|_| path.to_path_buf())
    }

    pub(super) fn folder(at: &Handle, name: &OsStr) -> Result<Handle> {
        unlinked(at.join(name)).and_then(|path| open(&path))
    }

    pub(super) fn file(at: &Handle, name: &OsStr) -> Result<File> {
        unlinked(at.join(name)).and_then(File::open)
    }

    fn unlinked(path: PathBuf) -> Result<PathBuf> {
        if std::fs::symlink_metadata(&path)?.file_type().is_symlink() {
            return Err(std::io::Error::other("is a link"));
        }
        Ok(path)
    }

    pub(super) fn stamp(handle: &Handle) -> Result<Stamp> {
        Ok(stamp_from(&std::fs::metadata(handle)?))
    }

    pub(super) fn stamp_of(file: &File) -> Result<Stamp> {
        Ok(stamp_from(&file.metadata()?))
    }

    pub(super) fn stamp_at(at: &Handle, name: &OsStr) -> Result<Stamp> {
        Ok(stamp_from(&std::fs::symlink_metadata(at.join(name))?))
    }

    pub(super) fn list(
        handle: &Handle,
        mut each: impl FnMut(OsString, EntryKind) -> bool,
    ) -> Result<()> {
        for entry in std::fs::read_dir(handle)? {
            let entry = entry?;
            if !each(entry.file_name(), kind_of(entry.file_type()?)) {
                return Ok(());
            }
        }
        Ok(())
    }
}
