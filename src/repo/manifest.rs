//! The digest manifest: lines as `sha256sum` writes them.

use crate::error::{Result, bail, ensure, err};
use std::collections::BTreeMap;

/// The names a manifest may have.
pub(super) const NAMES: [&str; 3] = ["manifest.sha256", "MANIFEST", "SHA256SUMS"];

/// SHA-256 of every file of a version, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub digests: BTreeMap<String, [u8; 32]>,
}

/// Reads a manifest: 64 hexadecimal digits, a space, a space or `*`, and the file's name.
///
/// # Errors
/// `InvalidModel` naming the line.
pub(super) fn parse(bytes: &[u8]) -> Result<Manifest> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| err!(InvalidModel, "the manifest is not UTF-8 ({e})"))?;
    ensure!(
        text.ends_with('\n'),
        InvalidModel,
        "the manifest does not end with a line's end, as if its copy had been cut off"
    );
    let mut digests = BTreeMap::new();
    for (i, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((digest, name)) = entry(line) else {
            bail!(
                InvalidModel,
                "line {} of the manifest is not 'sha256  filename' as sha256sum writes it",
                i + 1
            );
        };
        let twice = digests.insert(name.to_string(), digest).is_some();
        ensure!(!twice, InvalidModel, "the manifest lists {name:?} twice");
    }
    ensure!(!digests.is_empty(), InvalidModel, "the manifest lists no file");
    Ok(Manifest { digests })
}

fn entry(line: &str) -> Option<([u8; 32], &str)> {
    let (hex, rest) = line.split_at_checked(64)?;
    let name = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"))?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let safe = !name.is_empty()
        && !name.starts_with('/')
        && !name.contains(['\\', '\0'])
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let digest = digest(hex)?;
    safe.then_some((digest, name))
}

/// The 32 bytes that 64 hexadecimal digits spell.
pub(super) fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0u8; 32];
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(digits.as_chunks().0) {
        let value = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = u8::try_from(value(high)? * 16 + value(low)?).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    // sha256sum of an empty file.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn lines_of_sha256sum_are_understood() {
        let text = format!("# made by hand\n{EMPTY}  model.onnx\n{EMPTY} *./data/w b.bin\n");
        let manifest = parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.digests.keys().collect::<Vec<_>>(), ["data/w b.bin", "model.onnx"]);
        assert_eq!(manifest.digests["model.onnx"][..3], [0xe3, 0xb0, 0xc4]);
    }

    #[test]
    fn malformed_and_climbing_lines_are_refused() {
        for text in [
            String::new(),
            "\n".to_string(),
            EMPTY.to_string(),
            format!("{EMPTY}  "),
            format!("{EMPTY} model.onnx"),
            format!("{}  model.onnx", &EMPTY[1..]),
            format!("g{}  model.onnx", &EMPTY[1..]),
            format!("{EMPTY}  ../model.onnx"),
            format!("{EMPTY}  /etc/passwd"),
            format!("{EMPTY}  a//b"),
            format!("\\{EMPTY}  a\\nb"),
            format!("{EMPTY}  a\n{EMPTY}  a\n"),
            "ä".repeat(64),
        ] {
            assert!(parse(format!("{text}\n").as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(format!("{EMPTY}  a\n").as_bytes()).is_ok());
        assert!(parse(format!("{EMPTY}  a").as_bytes()).is_err(), "perhaps a part of a name");
        assert!(parse(b"\xff").is_err());
    }
}
