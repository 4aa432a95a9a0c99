//! Reading a file whole, as it was at one moment.

use crate::error::{Error, Result, bail, ensure, err};
use bytes::Bytes;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;

/// How often a file that changes while it is read is read again.
const RETRIES: usize = 3;

/// What tells two states of a file apart.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    #[cfg(unix)]
    identity: (u64, u64),
    modified: Option<std::time::SystemTime>,
    #[cfg(unix)]
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> std::io::Result<Stamp> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        let meta = file.metadata()?;
        Ok(Stamp {
            size: meta.len(),
            #[cfg(unix)]
            identity: (meta.dev(), meta.ino()),
            modified: meta.modified().ok(),
            #[cfg(unix)]
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// The bytes of the file that `open` opens: not more than `cap` of them, and from one state of
/// the file. `name` is the file's in messages.
///
/// # Errors
/// `LimitExceeded` above `cap` (before a byte is read) or when there is no memory for the file;
/// `Io` when it keeps changing; what `open` and the system say.
pub(super) fn read(
    name: &dyn Display,
    cap: u64,
    open: impl FnMut() -> Result<File>,
) -> Result<Bytes> {
    read_with(name, cap, open, |file, size, into| {
        // One byte beyond the size shows a file that has grown.
        file.take(size.saturating_add(1)).read_to_end(into)
    })
    .map_err(Error::of_host)
}

fn read_with(
    name: &dyn Display,
    cap: u64,
    mut open: impl FnMut() -> Result<File>,
    mut fill: impl FnMut(&File, u64, &mut Vec<u8>) -> std::io::Result<usize>,
) -> Result<Bytes> {
    for _ in 0..=RETRIES {
        let file = open()?;
        let before = Stamp::of(&file).map_err(|e| Error::io(name, &e))?;
        ensure!(
            before.size <= cap,
            LimitExceeded,
            "{name} has {} bytes, at most {cap} may be read",
            before.size
        );
        let mut bytes = Vec::new();
        usize::try_from(before.size)
            .ok()
            .and_then(|n| n.checked_add(1))
            .and_then(|n| bytes.try_reserve_exact(n).ok())
            .ok_or_else(|| {
                err!(LimitExceeded, "no memory for the {} bytes of {name}", before.size)
            })?;
        fill(&file, before.size, &mut bytes).map_err(|e| Error::io(name, &e))?;
        let after = Stamp::of(&file).map_err(|e| Error::io(name, &e))?;
        if after == before && bytes.len() as u64 == before.size {
            return Ok(Bytes::from(bytes));
        }
    }
    bail!(Io, "{name} changes while being read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::io::Write;

    fn file(test: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("snapshot-{test}-{}", std::process::id()));
        std::fs::write(&path, b"first").unwrap();
        path
    }

    #[test]
    fn a_file_that_changes_once_is_read_again_and_one_that_never_rests_is_refused() {
        let path = file("changes");
        let open = || File::open(&path).map_err(|e| Error::io("test", &e));
        let grow = || {
            let mut f = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            f.write_all(b"!").unwrap();
        };
        let mut reads = 0;
        let bytes = read_with(&"m", 100, open, |mut f, _, into| {
            reads += 1;
            let n = f.read_to_end(into)?;
            if reads == 1 {
                grow();
            }
            Ok(n)
        });
        assert_eq!((&bytes.unwrap()[..], reads), (&b"first!"[..], 2));
        let mut reads = 0;
        let e = read_with(&"m", 100, open, |mut f, _, into| {
            reads += 1;
            grow();
            f.read_to_end(into)
        })
        .unwrap_err();
        assert_eq!((e.kind(), reads), (ErrorKind::Io, 4));
        assert!(e.to_string().contains("m changes while being read"), "{e}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_cap_is_checked_before_reading() {
        let path = file("cap");
        let open = || File::open(&path).map_err(|e| Error::io("test", &e));
        let e = read_with(&"m", 4, open, |_, _, _| panic!("read")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::LimitExceeded);
        assert_eq!(&read(&"m", 5, open).unwrap()[..], b"first");
        std::fs::remove_file(path).unwrap();
    }
}
