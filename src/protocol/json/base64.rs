//! Base64 in the standard alphabet (RFC 4648), as JSON carries bytes.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn letter(six: u32) -> u8 {
    ALPHABET.get((six & 63) as usize).copied().unwrap_or(b'=')
}

/// Appends `bytes` encoded, padded.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, b| word << 8 | u32::from(*b));
        let word = word << (8 * (3 - group.len()));
        for i in 0..4 {
            out.push(if i <= group.len() { letter(word >> (18 - 6 * i)) } else { b'=' });
        }
    }
}

fn value(byte: u8) -> Option<u32> {
    Some(match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// The bytes that `text` encodes; white space is skipped and padding may be missing. `None` for
/// anything else.
pub(in super::super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let end = text.iter().rposition(|b| *b != b'=' && !b.is_ascii_whitespace());
    let body = text.get(..end.map_or(0, |end| end + 1)).unwrap_or_default();
    let padding = text.iter().filter(|b| **b == b'=').count();
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 3);
    let (mut word, mut letters) = (0u32, 0usize);
    for byte in body.iter().filter(|b| !b.is_ascii_whitespace()) {
        word = word << 6 | value(*byte)?;
        letters += 1;
        if letters.is_multiple_of(4) {
            let [_, a, b, c] = word.to_be_bytes();
            out.extend([a, b, c]);
            word = 0;
        }
    }
    let rest = letters % 4;
    if padding > 0 && (rest + padding != 4 || rest < 2) {
        return None;
    }
    let [_, a, b, _] = (word << (6 * (4 - rest as u32) % 24)).to_be_bytes();
    match rest {
        0 => {}
        2 => out.push(a),
        3 => out.extend([a, b]),
        _ => return None,
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        let all = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, text) in all {
            let mut out = Vec::new();
            encode(plain.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
            assert_eq!(decode(text.trim_end_matches('=')).unwrap(), plain.as_bytes());
        }
        assert_eq!(decode("Zm9v\nYg ==").unwrap(), b"foob");
        for text in ["Z", "Zg=", "Zm9v=", "Z===", "Zm9*", "Zg==Zg==", "=", "Zm-_"] {
            assert!(decode(text).is_none(), "{text}");
        }
        let bytes: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        encode(&bytes, &mut out);
        assert_eq!(decode(std::str::from_utf8(&out).unwrap()).unwrap(), bytes);
    }
}
