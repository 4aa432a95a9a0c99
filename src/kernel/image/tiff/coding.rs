//! The compressions of pieces.

use super::super::{Decoded, Fault, some};
use flate2::read::ZlibDecoder;
use std::io::Read;

/// The first code of a string of LZW; those before are the bytes, "clear" and "end".
const FIRST: usize = 258;
/// Codes have at most twelve bits.
const CODES: usize = 1 << 12;

/// `length` bytes from compressed ones.
pub(super) fn expanded(compression: u32, data: &[u8], length: usize) -> Decoded<Vec<u8>> {
    let out = match compression {
        1 => data.get(..length).map(<[u8]>::to_vec).unwrap_or_default(),
        5 => lzw(data, length)?,
        8 | 32_946 => {
            let mut out = Vec::with_capacity(length);
            let read = ZlibDecoder::new(data).take(length as u64).read_to_end(&mut out);
            read.map_err(|_| Fault::NoPicture)?;
            out
        }
        32_773 => packed(data, length)?,
        _ => return Err(Fault::NoPicture),
    };
    if out.len() == length { Ok(out) } else { Err(Fault::NoPicture) }
}

/// PackBits: bytes as they are, or one repeated.
fn packed(mut data: &[u8], length: usize) -> Decoded<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    while out.len() < length {
        let (&count, rest) = some(data.split_first())?;
        data = match count as i8 {
            -128 => rest,
            count @ 0.. => {
                let (bytes, rest) = some(rest.split_at_checked(usize::from(count as u8) + 1))?;
                out.extend_from_slice(bytes);
                rest
            }
            count => {
                let (&byte, rest) = some(rest.split_first())?;
                out.resize(out.len() + 1 + usize::from(count.unsigned_abs()), byte);
                rest
            }
        };
    }
    out.truncate(length);
    Ok(out)
}

/// LZW with the upper bits first, whose codes grow one code early. A string of the table is what was
/// written for a code and the byte behind it.
fn lzw(data: &[u8], length: usize) -> Decoded<Vec<u8>> {
    let mut out: Vec<u8> = Vec::with_capacity(length);
    let mut strings: Vec<(usize, usize)> = Vec::new();
    let mut before: Option<(usize, usize)> = None;
    let mut bytes = data.iter();
    let (mut bits, mut count) = (0u32, 0u32);
    while out.len() < length {
        let width = match FIRST + strings.len() {
            ..=510 => 9,
            511..=1022 => 10,
            1023..=2046 => 11,
            _ => 12,
        };
        while count < width {
            bits = (bits << 8) | u32::from(*some(bytes.next())?);
            count += 8;
        }
        count -= width;
        let code = ((bits >> count) & ((1 << width) - 1)) as usize;
        if code == 256 {
            strings.clear();
            before = None;
            continue;
        }
        if code == 257 {
            break;
        }
        let start = out.len();
        match (code.checked_sub(FIRST), before) {
            (None, _) => out.push(code as u8),
            (Some(i), before) => {
                let new = before.filter(|_| i == strings.len()).map(|(at, len)| (at, len + 1));
                let (at, len) = some(strings.get(i).copied().or(new))?;
                // One byte after another: a string may be what is being written.
                for i in at..at + len {
                    let byte = *some(out.get(i))?;
                    out.push(byte);
                }
            }
        }
        if let Some((at, len)) = before
            && FIRST + strings.len() < CODES
        {
            strings.push((at, len + 1));
        }
        before = Some((start, out.len() - start));
    }
    out.truncate(length);
    Ok(out)
}
