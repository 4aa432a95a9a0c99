//! TIFF (revision 6.0): the first picture of a file, of whole numbers of 1 to 16 bits a sample, in
//! strips or tiles, uncompressed or by LZW, Deflate or PackBits.

mod coding;
mod directory;

use super::{Decoded, Fault, Picture, room, some};
use crate::kernel::Context;
use directory::Directory;

/// Most samples of a pixel.
const MOST_SAMPLES: usize = 16;

/// What samples mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Whether 0 is white.
    Gray(bool),
    Rgb,
    Palette,
    Cmyk,
}

/// How the samples of a file lie.
struct Layout {
    size: [usize; 2],
    bits: usize,
    /// Samples of a pixel, and of a pixel in one piece.
    samples: usize,
    together: usize,
    /// Width and height of a piece: a strip or a tile.
    piece: [usize; 2],
    /// Whether pieces at the edges are as large as the others.
    tiles: bool,
    compression: u32,
    /// Whether samples are differences to those of the pixel before.
    differences: bool,
    big: bool,
}

pub(super) fn decode(ctx: &Context<'_>, file: &[u8]) -> Decoded<Picture> {
    let directory = Directory::first(file)?;
    let layout = Layout::read(&directory)?;
    let [width, height] = layout.size;
    let samples = layout.samples;
    let meaning = match (directory.number(262, u32::MAX)?, layout.bits) {
        (white @ (0 | 1), _) => Meaning::Gray(white == 0),
        (2, 8 | 16) if samples >= 3 => Meaning::Rgb,
        (3, 1..=8) => Meaning::Palette,
        (5, 8 | 16) if samples >= 4 => Meaning::Cmyk,
        _ => return Err(Fault::NoPicture),
    };
    let mut all = vec![0; room(ctx, width, height, samples)?];
    layout.read_pieces(ctx, &directory, &mut all)?;
    let channels = if matches!(meaning, Meaning::Gray(_)) { 1 } else { 3 };
    let mut out = Vec::with_capacity(room(ctx, width, height, channels)?);
    let pixels = all.chunks_exact(samples);
    match meaning {
        Meaning::Gray(white) => {
            let step = if layout.bits < 8 { u8::MAX / (u8::MAX >> (8 - layout.bits)) } else { 1 };
            let level = |x: u8| if white { 255 - x * step } else { x * step };
            out.extend(pixels.filter_map(|pixel| pixel.first().map(|&x| level(x))));
        }
        Meaning::Rgb => out.extend(pixels.flat_map(|pixel| pixel.iter().take(3).copied())),
        Meaning::Palette => {
            // All reds, then all greens, then all blues, of 16 bits.
            let map = directory.numbers(320)?;
            let colour = |number: usize, channel: usize| {
                map.get((channel << layout.bits) + number).map_or(0, |&x| (x >> 8) as u8)
            };
            for &number in pixels.filter_map(<[u8]>::first) {
                out.extend([0, 1, 2].map(|channel| colour(number.into(), channel)));
            }
        }
        Meaning::Cmyk => {
            for &[c, m, y, k] in pixels.filter_map(<[u8]>::first_chunk) {
                let light = |ink: u8| u32::from(255 - ink) * u32::from(255 - k);
                out.extend([c, m, y].map(|ink| ((light(ink) + 127) / 255) as u8));
            }
        }
    }
    Picture::of(width, height, channels, out)
}

impl Layout {
    fn read(directory: &Directory<'_>) -> Decoded<Layout> {
        let size = [directory.number(256, 0)? as usize, directory.number(257, 0)? as usize];
        let samples = directory.number(277, 1)? as usize;
        let bits = directory.numbers_or(258, &[1])?;
        let (&bit, others) = some(bits.split_first())?;
        let known = matches!(bit, 1 | 2 | 4 | 8 | 16)
            && others.iter().all(|other| *other == bit)
            && (1..=MOST_SAMPLES).contains(&samples)
            // Whole numbers without a sign, the upper bits first.
            && directory.numbers_or(339, &[1])?.iter().all(|format| *format == 1)
            && directory.number(266, 1)? == 1;
        let together = match directory.number(284, 1)? {
            1 => samples,
            2 => 1,
            _ => return Err(Fault::NoPicture),
        };
        let differences = match directory.number(317, 1)? {
            1 => false,
            2 => true,
            _ => return Err(Fault::NoPicture),
        };
        let tiles = directory.has(322);
        let piece = if tiles {
            [directory.number(322, 0)? as usize, directory.number(323, 0)? as usize]
        } else {
            [size[0], (directory.number(278, u32::MAX)? as usize).min(size[1])]
        };
        if !known || piece.contains(&0) || (differences && bit < 8) {
            return Err(Fault::NoPicture);
        }
        Ok(Layout {
            size,
            bits: bit as usize,
            samples,
            together,
            piece,
            tiles,
            compression: directory.number(259, 1)?,
            differences,
            big: directory.big(),
        })
    }

    /// Reads all pieces into `all`, a byte a sample.
    fn read_pieces(
        &self,
        ctx: &Context<'_>,
        directory: &Directory<'_>,
        all: &mut [u8],
    ) -> Decoded<()> {
        let [width, height] = self.size;
        let [piece_width, piece_height] = self.piece;
        let (offsets, lengths) = if self.tiles { (324, 325) } else { (273, 279) };
        let (offsets, lengths) = (directory.numbers(offsets)?, directory.numbers(lengths)?);
        let across = width.div_ceil(piece_width);
        let count = across * height.div_ceil(piece_height);
        let planes = self.samples / self.together;
        if offsets.len() < count * planes || lengths.len() < offsets.len() {
            return Err(Fault::NoPicture);
        }
        let row_bytes = (piece_width.saturating_mul(self.together * self.bits)).div_ceil(8);
        ctx.shape_of::<u8>(&[piece_height, row_bytes, 2])?;
        for i in 0..count * planes {
            ctx.check_deadline()?;
            let (plane, place) = (i / count, i % count);
            let (x, y) = (place % across * piece_width, place / across * piece_height);
            let columns = piece_width.min(width - x);
            let rows = piece_height.min(height - y);
            let (offset, length) = (offsets[i] as usize, lengths[i] as usize);
            let data = some(directory.part(offset, length))?;
            let stored = if self.tiles { piece_height } else { rows };
            let mut data = coding::expanded(self.compression, data, stored * row_bytes)?;
            if self.differences {
                data.chunks_exact_mut(row_bytes).for_each(|row| self.add_up(row));
            }
            for (row, line) in data.chunks_exact(row_bytes).take(rows).enumerate() {
                let start = ((y + row) * width + x) * self.samples;
                let pixels = all.get_mut(start..).unwrap_or(&mut []);
                let pixels = pixels.chunks_exact_mut(self.samples).take(columns);
                for (column, pixel) in pixels.enumerate() {
                    let own = pixel.get_mut(plane * self.together..).unwrap_or(&mut []);
                    for (i, sample) in own.iter_mut().take(self.together).enumerate() {
                        *sample = self.sample(line, column * self.together + i);
                    }
                }
            }
        }
        Ok(())
    }

    /// Undoes differences in a row.
    fn add_up(&self, row: &mut [u8]) {
        let step = self.together;
        if self.bits == 8 {
            for i in step..row.len() {
                row[i] = row[i].wrapping_add(row[i - step]);
            }
            return;
        }
        let words = row.as_chunks_mut::<2>().0;
        let read = |bytes: [u8; 2]| {
            if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        for i in step..words.len() {
            let sum = read(words[i]).wrapping_add(read(words[i - step]));
            words[i] = if self.big { sum.to_be_bytes() } else { sum.to_le_bytes() };
        }
    }

    /// Sample `i` of a line: the number, or the upper half of one of 16 bits.
    fn sample(&self, line: &[u8], i: usize) -> u8 {
        let byte = |at: usize| line.get(at).copied().unwrap_or(0);
        match self.bits {
            8 => byte(i),
            16 => byte(2 * i + usize::from(!self.big)),
            bits => {
                let shift = 8 - bits - i * bits % 8;
                (byte(i * bits / 8) >> shift) & (u8::MAX >> (8 - bits))
            }
        }
    }
}
