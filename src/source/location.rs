//! The location of a companion file, as a model file spells it.

use crate::error::{Result, bail, ensure};

/// Longest location in bytes.
const MAX_BYTES: usize = 4096;

/// The components of a location: at least one, none of them `.` or `..`, none empty.
///
/// # Errors
/// `PermissionDenied` for a location that is absolute or climbs; `InvalidModel` for one that is
/// empty, too long or holds what no portable path does.
pub(super) fn parts(location: &str) -> Result<Vec<&str>> {
    ensure!(
        location.len() <= MAX_BYTES,
        InvalidModel,
        "a location of {} bytes (at most {MAX_BYTES})",
        location.len()
    );
    ensure!(!location.contains('\0'), InvalidModel, "location {location:?} holds a NUL");
    let drive = location.as_bytes().get(1) == Some(&b':');
    if location.starts_with('/') || location.contains('\\') || drive {
        bail!(
            PermissionDenied,
            "location {location:?} is not a relative path with '/' between its parts"
        );
    }
    let parts: Vec<&str> = location.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    ensure!(
        !parts.contains(&".."),
        PermissionDenied,
        "location {location:?} leaves the model's folder"
    );
    ensure!(!parts.is_empty(), InvalidModel, "location {location:?} names no file");
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind::{InvalidModel, PermissionDenied};

    #[test]
    fn plain_relative_paths_pass() {
        assert_eq!(parts("w.bin").unwrap(), ["w.bin"]);
        assert_eq!(parts("./data//w..bin").unwrap(), ["data", "w..bin"]);
        assert_eq!(parts(".hidden").unwrap(), [".hidden"]);
    }

    #[test]
    fn what_could_leave_the_folder_is_refused() {
        let long = "a".repeat(5000);
        for (location, kind) in [
            ("", InvalidModel),
            (".", InvalidModel),
            ("a\0b", InvalidModel),
            (&long, InvalidModel),
            ("/etc/passwd", PermissionDenied),
            ("..", PermissionDenied),
            ("a/../../b", PermissionDenied),
            ("a\\..\\b", PermissionDenied),
            ("C:weights", PermissionDenied),
        ] {
            assert_eq!(parts(location).unwrap_err().kind(), kind, "{location:?}");
        }
    }
}
