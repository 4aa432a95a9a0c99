//! Numbers of a file, read one after another or at their places.

use super::{Decoded, some};

/// The two bytes at `at`, the upper one first.
pub(super) fn be16(file: &[u8], at: usize) -> Decoded<usize> {
    let bytes = some(file.get(at..).and_then(<[u8]>::first_chunk))?;
    Ok(u16::from_be_bytes(*bytes).into())
}

/// The two bytes at `at`, the lower one first.
pub(super) fn le16(file: &[u8], at: usize) -> Decoded<usize> {
    let bytes = some(file.get(at..).and_then(<[u8]>::first_chunk))?;
    Ok(u16::from_le_bytes(*bytes).into())
}

/// The four bytes at `at`, the lowest one first.
pub(super) fn le32(file: &[u8], at: usize) -> Decoded<u32> {
    let bytes = some(file.get(at..).and_then(<[u8]>::first_chunk))?;
    Ok(u32::from_le_bytes(*bytes))
}
