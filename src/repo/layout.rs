//! Which names are models and versions, and which are not and why.

use super::MAX_IGNORED;
use std::ffi::OsStr;

/// An entry of the repository that is neither a model nor a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Its name, beneath the repository's folder; unprintable characters are escaped, and a long
    /// name is cut.
    pub name: String,
    /// Why it is ignored, and what to do where it should not be.
    pub reason: &'static str,
}

/// The ignored entries of one scan: the first ones by name, the others counted.
#[derive(Debug, Default)]
pub(super) struct IgnoredList {
    pub named: Vec<Ignored>,
    pub further: usize,
}

impl IgnoredList {
    pub(super) fn add(&mut self, model: Option<&str>, name: &OsStr, reason: &'static str) {
        /// Characters of a name that are shown.
        const SHOWN: usize = 200;
        if self.named.len() >= MAX_IGNORED {
            self.further += 1;
            return;
        }
        let name: String =
            name.to_string_lossy().chars().take(SHOWN).flat_map(char::escape_debug).collect();
        let name = match model {
            Some(model) => format!("{model}/{name}"),
            None => name,
        };
        self.named.push(Ignored { name, reason });
    }
}

/// Whether a name says that a copy is under way or was given up: copying programs, editors and
/// publishers that rename in the end use such names.
pub(super) fn is_temporary(name: &str) -> bool {
    const ENDS: [&str; 9] =
        [".tmp", "_tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~"];
    name.starts_with('.') || ENDS.iter().any(|end| name.ends_with(end))
}

/// The model that a folder's name means.
pub(super) fn model_name(name: &OsStr) -> Result<&str, &'static str> {
    let Some(name) = name.to_str() else { return Err("the name is not UTF-8") };
    if is_temporary(name) {
        return Err("a hidden or temporary name");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !(1..=128).contains(&name.len()) || !name.bytes().all(plain) {
        return Err("a model's name is 1 to 128 characters of [A-Za-z0-9._-]");
    }
    Ok(name)
}

/// The version that a folder's name means.
pub(super) fn version_number(name: &OsStr) -> Result<u64, &'static str> {
    const FORM: &str = "a version's name is a number without leading zeros";
    let Some(name) = name.to_str() else { return Err("the name is not UTF-8") };
    if is_temporary(name) {
        return Err("a hidden or temporary name");
    }
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_digit()) {
        return Err(FORM);
    }
    if name.len() > 1 && name.starts_with('0') {
        return Err(FORM);
    }
    match name.parse::<u64>() {
        Ok(number) if (1..=i64::MAX as u64).contains(&number) => Ok(number),
        _ => Err("a version's number is 1 to 2^63-1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_models() {
        for name in ["iris", "a", "Iris-2.v_1", &"x".repeat(128)] {
            assert_eq!(model_name(OsStr::new(name)), Ok(name));
        }
        for name in
            ["", ".", "..", ".hidden", "a b", "ä", "a/b", "a\n", "x.tmp", "x~", "x_tmp", "x.part"]
        {
            assert!(model_name(OsStr::new(name)).is_err(), "{name:?}");
        }
        assert!(model_name(OsStr::new(&"x".repeat(129))).is_err());
    }

    #[test]
    fn names_that_are_versions() {
        for (name, number) in [("1", 1), ("42", 42), ("9223372036854775807", i64::MAX as u64)] {
            assert_eq!(version_number(OsStr::new(name)), Ok(number));
        }
        for name in [
            "",
            "0",
            "01",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "v1",
            "1.tmp",
            ".1",
            "1~",
            "..data",
            "٣",
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            assert!(version_number(OsStr::new(name)).is_err(), "{name:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_text_are_shown_escaped_and_the_list_is_bounded() {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"bad\xff\n");
        assert!(model_name(name).is_err() && version_number(name).is_err());
        let mut list = IgnoredList::default();
        for _ in 0..MAX_IGNORED + 5 {
            list.add(Some("iris"), name, "why");
        }
        assert_eq!(list.named[0].name, "iris/bad\u{fffd}\\n");
        assert_eq!((list.named.len(), list.further), (MAX_IGNORED, 5));
    }
}
