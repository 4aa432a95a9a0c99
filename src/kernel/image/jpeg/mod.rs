//! JPEG: baseline, extended and progressive, of 8 bits, Huffman coded (ITU-T T.81).
//!
//! The specification of ImageDecoder names libjpeg-turbo's way of upsampling. Inverse transform,
//! upsampling and colours are therefore those of that library's defaults, bit for bit.

mod huffman;
mod idct;
mod output;
mod scan;

use super::reader::be16;
use super::{Decoded, Fault, Picture, room, some};
use crate::kernel::Context;
use huffman::Huffman;

/// Most scans: a small file may ask for many over a large picture.
const MOST_SCANS: usize = 500;

/// A component and its coefficients.
struct Component {
    id: u8,
    /// Sampling factors.
    h: usize,
    v: usize,
    /// The number of its quantisation table, and the table, once a scan has begun.
    table: usize,
    quantisation: Option<[u16; 64]>,
    /// Blocks in a row and in a column, those added to fill the last units included.
    blocks: [usize; 2],
    /// Blocks that hold pixels.
    own: [usize; 2],
    /// Pixels.
    size: [usize; 2],
    coefficients: Vec<i16>,
}

struct Frame {
    width: usize,
    height: usize,
    progressive: bool,
    /// The largest sampling factors.
    h: usize,
    v: usize,
    /// Units of all components in a row and in a column.
    units: [usize; 2],
    components: Vec<Component>,
}

/// What the file has said so far.
#[derive(Default)]
struct Tables {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// Units between two restarts; 0 for none.
    interval: usize,
    jfif: bool,
    /// The colour transform of an Adobe marker.
    adobe: Option<u8>,
}

/// From the order in files to the order in a block.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

pub(super) fn decode(ctx: &Context<'_>, file: &[u8]) -> Decoded<Picture> {
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let (mut at, mut scans) = (2, 0);
    while let Some((marker, body)) = next_marker(file, at) {
        // Markers without a body.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            at = body;
            continue;
        }
        if marker == 0xd9 {
            break;
        }
        let length = be16(file, body)?;
        let segment = some(file.get(body + 2..body + length))?;
        at = body + length;
        match marker {
            0xc0..=0xc2 if frame.is_none() => {
                frame = Some(Frame::read(ctx, segment, marker == 0xc2)?);
            }
            0xc4 => huffman::read(segment, &mut tables)?,
            // Frames of other kinds, or a second one.
            0xc0..=0xcf => return Err(Fault::NoPicture),
            0xda => {
                scans += 1;
                if scans > MOST_SCANS {
                    return Err(Fault::NoPicture);
                }
                at = scan::read(ctx, file, at, segment, some(frame.as_mut())?, &tables)?;
            }
            0xdb => read_quantisation(segment, &mut tables)?,
            0xdd => tables.interval = be16(segment, 0)?,
            0xe0 if segment.starts_with(b"JFIF\0") => tables.jfif = true,
            0xee if segment.starts_with(b"Adobe") => tables.adobe = segment.get(11).copied(),
            _ => {}
        }
    }
    if scans == 0 {
        return Err(Fault::NoPicture);
    }
    output::picture(ctx, &some(frame)?, &tables)
}

/// The next marker from `at` on, and where what follows it begins.
fn next_marker(file: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += file.get(at..)?.iter().position(|&b| b == 0xff)?;
        match *file.get(at + 1)? {
            0 => at += 2,
            0xff => at += 1,
            marker => return Some((marker, at + 2)),
        }
    }
}

fn read_quantisation(mut segment: &[u8], tables: &mut Tables) -> Decoded<()> {
    while let Some((&kind, rest)) = segment.split_first() {
        let wide = kind >> 4 == 1;
        let size = if wide { 128 } else { 64 };
        let (values, after) = some(rest.split_at_checked(size))?;
        let mut table = [0; 64];
        for (i, &place) in ZIGZAG.iter().enumerate() {
            let value = if wide { be16(values, 2 * i)? } else { usize::from(values[i]) };
            table[usize::from(place)] = value as u16;
        }
        *some(tables.quantisation.get_mut(usize::from(kind & 15)))? = Some(table);
        segment = after;
    }
    Ok(())
}

impl Frame {
    fn read(ctx: &Context<'_>, segment: &[u8], progressive: bool) -> Decoded<Frame> {
        let &[8, _, _, _, _, count, ref parts @ ..] = segment else {
            return Err(Fault::NoPicture);
        };
        let (height, width) = (be16(segment, 1)?, be16(segment, 3)?);
        room(ctx, width, height, 3)?;
        let parts = parts.as_chunks::<3>().0;
        if parts.len() != usize::from(count) || !matches!(count, 1 | 3 | 4) {
            return Err(Fault::NoPicture);
        }
        let factors: Vec<[usize; 2]> =
            parts.iter().map(|part| [part[1] >> 4, part[1] & 15].map(usize::from)).collect();
        if factors.iter().flatten().any(|factor| !(1..=4).contains(factor)) {
            return Err(Fault::NoPicture);
        }
        let most = |i: usize| factors.iter().map(|f| f[i]).max().unwrap_or(1);
        let (h, v) = (most(0), most(1));
        let units = [width.div_ceil(8 * h), height.div_ceil(8 * v)];
        let mut components = Vec::new();
        let mut total = 0;
        for (part, &[own_h, own_v]) in parts.iter().zip(&factors) {
            let size = [(width * own_h).div_ceil(h), (height * own_v).div_ceil(v)];
            let blocks = [units[0] * own_h, units[1] * own_v];
            total += blocks[0] * blocks[1];
            components.push(Component {
                id: part[0],
                h: own_h,
                v: own_v,
                table: part[2].into(),
                quantisation: None,
                blocks,
                own: size.map(|n| n.div_ceil(8)),
                size,
                coefficients: vec![],
            });
        }
        ctx.shape_of::<i16>(&[total, 64])?;
        for component in &mut components {
            component.coefficients = vec![0; component.blocks[0] * component.blocks[1] * 64];
        }
        Ok(Frame { width, height, progressive, h, v, units, components })
    }
}
