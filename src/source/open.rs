//! Opening files: the model by the operator's path, companions beneath its folder.

use crate::error::{Error, Result, bail, ensure};
use std::fs::File;
use std::path::Path;

/// The folder of a model file, held open: what is beneath it is found through this handle.
#[derive(Debug)]
pub(super) struct Folder {
    #[cfg(unix)]
    handle: std::os::fd::OwnedFd,
}

#[cfg(unix)]
mod unix {
    use super::super::forbidden;
    use super::*;
    use rustix::fs::{FileType, Mode, OFlags};
    use rustix::io::Errno;
    use std::ffi::OsStr;
    use std::os::fd::OwnedFd;

    /// A FIFO must not block the open, and a terminal must not become ours.
    const FILE: OFlags =
        OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
    const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

    /// How a component-wise open failed, in one error number for both ways of opening.
    fn refusal(path: &Path, errno: Errno) -> Error {
        match errno {
            Errno::LOOP | Errno::NOTDIR => {
                forbidden(path, "passes a link or something that is no folder")
            }
            Errno::XDEV => forbidden(path, "leaves the model's folder"),
            // What opening a socket says.
            Errno::NXIO | Errno::NODEV => forbidden(path, "is not a regular file"),
            other => Error::io(path.display(), &other.into()),
        }
    }

    impl Folder {
        /// Opens the folder that holds `path`.
        pub(in super::super) fn of(path: &Path) -> Result<Folder> {
            let folder = match path.parent() {
                Some(p) if !p.as_os_str().is_empty() => p,
                _ => Path::new("."),
            };
            // Passing through is enough: the folder need not be listable.
            #[cfg(target_os = "linux")]
            let flags = FOLDER | OFlags::PATH;
            #[cfg(not(target_os = "linux"))]
            let flags = FOLDER;
            let handle = rustix::fs::open(folder, flags, Mode::empty())
                .map_err(|e| Error::io(path.display(), &e.into()))?;
            Ok(Folder { handle })
        }

        /// Opens the model file itself: links are followed, but a regular file must be there.
        pub(in super::super) fn model(&self, name: &OsStr, path: &Path) -> Result<File> {
            let fd = match rustix::fs::openat(&self.handle, name, FILE, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NXIO | Errno::NODEV) => {
                    bail!(InvalidArgument, "{} is not a regular file", path.display())
                }
                Err(e) => return Err(Error::io(path.display(), &e.into())),
            };
            let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io(path.display(), &e.into()))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            ensure!(
                kind == FileType::RegularFile,
                InvalidArgument,
                "{} is not a regular file but {}",
                path.display(),
                if kind == FileType::Directory { "a folder" } else { "a device or pipe" }
            );
            Ok(File::from(fd))
        }

        /// Opens a companion: beneath the folder, through no link, a regular file that has one
        /// name only (a hard link could lead to any file of the same owner).
        pub(in super::super) fn companion(&self, parts: &[&str], path: &Path) -> Result<File> {
            let fd = self.beneath(parts).map_err(|e| refusal(path, e))?;
            let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io(path.display(), &e.into()))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(forbidden(path, "is not a regular file"));
            }
            if stat.st_nlink != 1 {
                return Err(forbidden(path, "has more than one name (a hard link)"));
            }
            Ok(File::from(fd))
        }

        #[cfg(target_os = "linux")]
        fn beneath(&self, parts: &[&str]) -> rustix::io::Result<OwnedFd> {
            use rustix::fs::ResolveFlags;
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let location = parts.join("/");
            // The kernel asks for another try when a rename ran beside the look-up.
            for _ in 0..8 {
                match rustix::fs::openat2(&self.handle, &location, FILE, Mode::empty(), resolve) {
                    Err(Errno::AGAIN) => {}
                    // An old kernel, or a sandbox that does not know the call.
                    Err(Errno::NOSYS | Errno::PERM) => return self.stepwise(parts),
                    answer => return answer,
                }
            }
            self.stepwise(parts)
        }

        #[cfg(not(target_os = "linux"))]
        fn beneath(&self, parts: &[&str]) -> rustix::io::Result<OwnedFd> {
            self.stepwise(parts)
        }

        /// The same by one `openat` a component, none of which follows a link.
        pub(in super::super) fn stepwise(&self, parts: &[&str]) -> rustix::io::Result<OwnedFd> {
            use rustix::fs::openat;
            let Some((file, folders)) = parts.split_last() else {
                return Err(Errno::NOENT);
            };
            let mut at: Option<OwnedFd> = None;
            for folder in folders {
                let here = at.as_ref().unwrap_or(&self.handle);
                at = Some(openat(here, *folder, FOLDER | OFlags::NOFOLLOW, Mode::empty())?);
            }
            let here = at.as_ref().unwrap_or(&self.handle);
            openat(here, *file, FILE | OFlags::NOFOLLOW, Mode::empty())
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use super::*;
    use std::ffi::OsStr;

    impl Folder {
        pub(in super::super) fn of(_: &Path) -> Result<Folder> {
            Ok(Folder {})
        }

        pub(in super::super) fn model(&self, _: &OsStr, path: &Path) -> Result<File> {
            let io = |e| Error::io(path.display(), &e);
            let file = File::open(path).map_err(io)?;
            let regular = file.metadata().map_err(io)?.is_file();
            ensure!(regular, InvalidArgument, "{} is not a regular file", path.display());
            Ok(file)
        }

        pub(in super::super) fn companion(&self, _: &[&str], path: &Path) -> Result<File> {
            bail!(Unsupported, "{}: files beside a model need a Unix system", path.display())
        }
    }
}
