//! Portable bitmaps, graymaps and pixmaps, as text or as bytes (P1 to P6).

use super::{Decoded, Fault, Picture, room, some};
use crate::kernel::Context;

/// The file from the next number on.
struct Text<'a> {
    file: &'a [u8],
    at: usize,
}

impl Text<'_> {
    /// Passes over white space and comments.
    fn skip(&mut self) {
        while let Some(&byte) = self.file.get(self.at) {
            if byte == b'#' {
                let line = self.file.get(self.at..).unwrap_or(&[]);
                self.at += line.iter().position(|&b| b == b'\n').unwrap_or(line.len());
            } else if byte.is_ascii_whitespace() {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    /// The next number; of a bitmap's it is one digit.
    fn number(&mut self, digits: usize) -> Decoded<usize> {
        self.skip();
        let from = self.file.get(self.at..).unwrap_or(&[]);
        let count = from.iter().take(digits).take_while(|b| b.is_ascii_digit()).count();
        let text = some(from.get(..count).filter(|text| !text.is_empty()))?;
        self.at += count;
        Ok(text.iter().fold(0, |n, digit| n * 10 + usize::from(digit - b'0')))
    }
}

/// Most digits of a number: the fold above stays far from overflow.
const DIGITS: usize = 9;

pub(super) fn decode(ctx: &Context<'_>, file: &[u8]) -> Decoded<Picture> {
    let kind = some(file.get(1))? - b'0';
    let mut text = Text { file, at: 2 };
    let (width, height) = (text.number(DIGITS)?, text.number(DIGITS)?);
    let bits = matches!(kind, 1 | 4);
    let most = if bits { 1 } else { text.number(DIGITS)? };
    if !(1..=65_535).contains(&most) {
        return Err(Fault::NoPicture);
    }
    let channels = if matches!(kind, 3 | 6) { 3 } else { 1 };
    let len = room(ctx, width, height, channels)?;
    let level = |x: usize| ((x.min(most) * 255 + most / 2) / most) as u8;
    let mut out = Vec::with_capacity(len);
    if kind <= 3 {
        let digits = if bits { 1 } else { DIGITS };
        for _ in 0..len {
            let x = text.number(digits)?;
            // A bit of 1 is black.
            out.push(if bits { level(1 - x.min(1)) } else { level(x) });
        }
        return Picture::of(width, height, channels, out);
    }
    // One white space ends the header.
    let data = some(file.get(text.at + 1..))?;
    if bits {
        let rows = data.chunks_exact(width.div_ceil(8)).take(height);
        for row in rows {
            let black = |x: usize| row.get(x / 8).is_some_and(|b| (b >> (7 - x % 8)) & 1 == 1);
            out.extend((0..width).map(|x| if black(x) { 0 } else { 255 }));
        }
    } else if most > 255 {
        let (pairs, _) = data.as_chunks::<2>();
        out.extend(pairs.iter().take(len).map(|&pair| level(u16::from_be_bytes(pair).into())));
    } else {
        out.extend(data.iter().take(len).map(|&x| level(x.into())));
    }
    if out.len() != len {
        return Err(Fault::NoPicture);
    }
    Picture::of(width, height, channels, out)
}
