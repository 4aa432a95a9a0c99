//! `labels.txt`: the class labels, one a line, in the order of the scores.

use super::{MAX_LABEL_BYTES, MAX_LABELS};
use crate::error::{Result, ensure, err};
use std::sync::Arc;

/// The labels of `labels.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// Every line is a whole number.
    Int(Vec<i64>),
    /// Any other lines.
    Str(Vec<Arc<str>>),
}

/// Reads the labels. White space around a label does not count, and neither does a byte order
/// mark.
///
/// # Errors
/// `InvalidModel` for what is not UTF-8, an empty line, a label twice or none; `LimitExceeded`.
pub(super) fn parse(bytes: &[u8]) -> Result<Labels> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| err!(InvalidModel, "labels.txt is not UTF-8 ({e})"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        ensure!(
            lines.len() < MAX_LABELS,
            LimitExceeded,
            "labels.txt has more than {MAX_LABELS} lines"
        );
        let line = line.trim();
        let number = lines.len() + 1;
        ensure!(!line.is_empty(), InvalidModel, "labels.txt: line {number} is empty");
        ensure!(
            line.len() <= MAX_LABEL_BYTES,
            LimitExceeded,
            "labels.txt: line {number} has {} bytes (at most {MAX_LABEL_BYTES})",
            line.len()
        );
        lines.push(line);
    }
    ensure!(!lines.is_empty(), InvalidModel, "labels.txt holds no label");
    let mut sorted = lines.clone();
    sorted.sort_unstable();
    if let Some([label, _]) = sorted.array_windows().find(|[a, b]| a == b) {
        return Err(err!(InvalidModel, "labels.txt holds {label:?} twice"));
    }
    // Only numbers in their one spelling: `01` is a name.
    let number = |line: &&str| line.parse::<i64>().ok().filter(|n| n.to_string() == **line);
    match lines.iter().map(number).collect::<Option<Vec<i64>>>() {
        Some(numbers) => Ok(Labels::Int(numbers)),
        None => Ok(Labels::Str(lines.into_iter().map(Arc::from).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn labels_are_numbers_or_names() {
        assert_eq!(parse(b"0\n1\n-7\n").unwrap(), Labels::Int(vec![0, 1, -7]));
        let names = |names: &[&str]| Labels::Str(names.iter().map(|&n| n.into()).collect());
        assert_eq!(
            parse("\u{feff}Kätzchen \r\ndog\r\n".as_bytes()).unwrap(),
            names(&["Kätzchen", "dog"])
        );
        assert_eq!(parse(b"01\n1\n").unwrap(), names(&["01", "1"]));
    }

    #[test]
    fn malformed_labels_are_refused() {
        for (text, kind) in [
            (&b""[..], ErrorKind::InvalidModel),
            (b"a\n\nb\n", ErrorKind::InvalidModel),
            (b"a\nb\na\n", ErrorKind::InvalidModel),
            (b"a\xff\n", ErrorKind::InvalidModel),
            (&[b'a'; MAX_LABEL_BYTES + 1], ErrorKind::LimitExceeded),
        ] {
            assert_eq!(parse(text).unwrap_err().kind(), kind);
        }
        let many: String = (0..=MAX_LABELS).map(|i| format!("{i}\n")).collect();
        assert_eq!(parse(many.as_bytes()).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }
}
