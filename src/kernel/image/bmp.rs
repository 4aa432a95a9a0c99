//! Windows and OS/2 bitmaps: 1 to 32 bits a pixel, palettes, bit fields, run-length coding.

use super::reader::{le16, le32};
use super::{Decoded, Fault, Picture, room, some};
use crate::kernel::Context;

/// Bytes of the file's own header.
const FILE_HEADER: usize = 14;
/// Most pixels of a side: products with it stay far from overflow.
const MOST: u32 = 1 << 24;

/// How pixels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Runs8,
    Runs4,
    Fields,
}

struct Header {
    width: usize,
    height: usize,
    /// Whether the first row is the lowest one.
    upwards: bool,
    bits: usize,
    coding: Coding,
    /// The bits of red, green and blue in a pixel.
    masks: [u32; 3],
    /// Blue, green, red of each number.
    palette: Vec<[u8; 3]>,
    /// Where the pixels begin.
    pixels: usize,
}

fn header(file: &[u8]) -> Decoded<Header> {
    let size = le32(file, FILE_HEADER)? as usize;
    let pixels = le32(file, 10)? as usize;
    if size == 12 {
        let (width, height) = (le16(file, 18)?, le16(file, 20)?);
        let bits = le16(file, 24)?;
        let palette = palette(file, FILE_HEADER + size, bits, 0, 3)?;
        let masks = [0; 3];
        let coding = Coding::Plain;
        return Ok(Header { width, height, upwards: true, bits, coding, masks, palette, pixels });
    }
    if !(40..=1024).contains(&size) {
        return Err(Fault::NoPicture);
    }
    let (width, height) = (le32(file, 18)?, le32(file, 22)? as i32);
    let rows = height.unsigned_abs();
    if !(1..=MOST).contains(&width) || !(1..=MOST).contains(&rows) {
        return Err(Fault::NoPicture);
    }
    let bits = le16(file, 28)?;
    let coding = match (le32(file, 30)?, bits) {
        (0, _) => Coding::Plain,
        (1, 8) => Coding::Runs8,
        (2, 4) => Coding::Runs4,
        (3 | 6, 16 | 32) => Coding::Fields,
        _ => return Err(Fault::NoPicture),
    };
    let mut after = FILE_HEADER + size;
    let masks = match (coding, bits) {
        // Behind a header of 40 bytes, inside of a longer one: at the same place.
        (Coding::Fields, _) => {
            if size == 40 {
                after += 12;
            }
            [le32(file, 54)?, le32(file, 58)?, le32(file, 62)?]
        }
        (_, 16) => [0x7c00, 0x03e0, 0x001f],
        _ => [0xff_0000, 0xff00, 0xff],
    };
    let palette = palette(file, after, bits, le32(file, 46)? as usize, 4)?;
    let (width, rows) = (width as usize, rows as usize);
    Ok(Header { width, height: rows, upwards: height > 0, bits, coding, masks, palette, pixels })
}

/// The palette at `at`, of `count` entries (0 for all that there may be) of `step` bytes.
fn palette(
    file: &[u8],
    at: usize,
    bits: usize,
    count: usize,
    step: usize,
) -> Decoded<Vec<[u8; 3]>> {
    if bits > 8 {
        return Ok(vec![]);
    }
    let all = 1usize << bits;
    let count = if count == 0 { all } else { count.min(all) };
    let entries = some(file.get(at..))?.chunks_exact(step).take(count);
    Ok(entries.filter_map(|entry| entry.first_chunk().copied()).collect())
}

/// A field of a pixel as a byte.
fn field(pixel: u32, mask: u32) -> u8 {
    if mask == 0 {
        return 0;
    }
    let most = u64::from(mask >> mask.trailing_zeros());
    let value = u64::from((pixel & mask) >> mask.trailing_zeros());
    ((value * 255 + most / 2) / most) as u8
}

pub(super) fn decode(ctx: &Context<'_>, file: &[u8]) -> Decoded<Picture> {
    let header = header(file)?;
    let Header { width, height, bits, .. } = header;
    let len = room(ctx, width, height, 3)?;
    let data = some(file.get(header.pixels..))?;
    let mut out = vec![0; len];
    match header.coding {
        Coding::Runs8 | Coding::Runs4 => {
            let numbers = runs(data, &header, room(ctx, width, height, 1)?)?;
            for (pixel, &number) in out.as_chunks_mut::<3>().0.iter_mut().zip(&numbers) {
                *pixel = header.colour(number.into());
            }
        }
        _ => {
            let stride = (width * bits).div_ceil(32) * 4;
            if data.len() < stride * (height - 1) + (width * bits).div_ceil(8) {
                return Err(Fault::NoPicture);
            }
            for (row, out) in out.chunks_exact_mut(3 * width).enumerate() {
                let line = data.get(row * stride..).unwrap_or(&[]);
                for (x, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                    *pixel = header.pixel(line, x)?;
                }
            }
        }
    }
    if header.upwards {
        let (upper, lower) = out.split_at_mut(height / 2 * 3 * width);
        let below = lower.chunks_exact_mut(3 * width).rev();
        for (a, b) in upper.chunks_exact_mut(3 * width).zip(below) {
            a.swap_with_slice(b);
        }
    }
    Picture::of(width, height, 3, out)
}

impl Header {
    /// Red, green and blue of a number of the palette; black where it has none.
    fn colour(&self, number: usize) -> [u8; 3] {
        let [b, g, r] = self.palette.get(number).copied().unwrap_or_default();
        [r, g, b]
    }

    /// Pixel `x` of a line.
    fn pixel(&self, line: &[u8], x: usize) -> Decoded<[u8; 3]> {
        let byte = |i: usize| line.get(i).copied().unwrap_or(0);
        match self.bits {
            n @ (1 | 2 | 4 | 8) => {
                let number = byte(x * n / 8) >> (8 - n - x * n % 8);
                Ok(self.colour((number & (u8::MAX >> (8 - n))).into()))
            }
            16 => {
                let pixel = u32::from(byte(2 * x)) | (u32::from(byte(2 * x + 1)) << 8);
                Ok(self.masks.map(|mask| field(pixel, mask)))
            }
            24 => Ok([byte(3 * x + 2), byte(3 * x + 1), byte(3 * x)]),
            32 => {
                let pixel = u32::from_le_bytes([0, 1, 2, 3].map(|i| byte(4 * x + i)));
                Ok(self.masks.map(|mask| field(pixel, mask)))
            }
            _ => Err(Fault::NoPicture),
        }
    }
}

/// The numbers of run-length coded pixels, of `len` in all; those passed over are 0.
fn runs(data: &[u8], header: &Header, len: usize) -> Decoded<Vec<u8>> {
    let mut out = vec![0; len];
    let four = header.coding == Coding::Runs4;
    let (mut at, mut x, mut y) = (0, 0, 0);
    let mut put = |x: usize, y: usize, number: u8| {
        if x < header.width
            && let Some(place) = out.get_mut(y * header.width + x)
        {
            *place = number;
        }
    };
    loop {
        let &[count, value] = some(data.get(at..).and_then(<[u8]>::first_chunk))?;
        at += 2;
        match (count, value) {
            (0, 0) => (x, y) = (0, y + 1),
            (0, 1) => return Ok(out),
            (0, 2) => {
                let &[right, up] = some(data.get(at..).and_then(<[u8]>::first_chunk))?;
                at += 2;
                (x, y) = (x + usize::from(right), y + usize::from(up));
            }
            (0, count) => {
                let count = usize::from(count);
                let bytes = if four { count.div_ceil(2) } else { count };
                let numbers = some(data.get(at..at + bytes))?;
                for i in 0..count {
                    let byte = numbers.get(if four { i / 2 } else { i }).copied().unwrap_or(0);
                    put(x + i, y, half(byte, four, i));
                }
                x += count;
                // What is written out ends at an even place.
                at += bytes.next_multiple_of(2);
            }
            (count, value) => {
                for i in 0..usize::from(count) {
                    put(x + i, y, half(value, four, i));
                }
                x += usize::from(count);
            }
        }
        if y > header.height {
            return Err(Fault::NoPicture);
        }
    }
}

/// Number `i` of a byte that holds two of them, or the byte.
fn half(byte: u8, four: bool, i: usize) -> u8 {
    match (four, i.is_multiple_of(2)) {
        (false, _) => byte,
        (true, true) => byte >> 4,
        (true, false) => byte & 15,
    }
}
