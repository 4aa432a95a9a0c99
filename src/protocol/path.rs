//! Percent-encoding and queries.

use std::borrow::Cow;

fn hex(byte: Option<&u8>) -> Option<u8> {
    byte.and_then(|b| char::from(*b).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
}

/// A part of a path with its `%xx` decoded. What is no such escape stays as it is; bytes that are
/// no UTF-8 are replaced.
pub(super) fn decoded(part: &str) -> Cow<'_, str> {
    if !part.contains('%') {
        return Cow::Borrowed(part);
    }
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(byte) = bytes.get(i) {
        match (byte, hex(bytes.get(i + 1)), hex(bytes.get(i + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                i += 3;
            }
            _ => {
                out.push(*byte);
                i += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The first value of a key in a query, decoded (`+` is a space).
pub(super) fn query_value(query: &str, key: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name) == key).then(|| decoded(&value.replace('+', " ")).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_nonsense_is_kept() {
        assert_eq!(decoded("half%20plus%2Btwo"), "half plus+two");
        assert_eq!(decoded("%C3%A4%zz%4"), "ä%zz%4");
        assert_eq!(decoded("%ff"), "\u{fffd}");
        assert_eq!(query_value("a=1&model_path=x%2Fy+z.onnx", "model_path").unwrap(), "x/y z.onnx");
        assert_eq!(query_value("model_path", "model_path").unwrap(), "");
        assert_eq!(query_value("b=1", "a"), None);
    }
}
