//! ImageDecoder: the picture in a file, as a tensor.
//!
//! JPEG is decoded here, bit for bit as the specification's "libjpeg-turbo" does it; so are TIFF, BMP
//! and PNM. The others are read by libraries written in Rust. How large a picture is becomes known
//! before anything is allocated for it, and is checked against the run's limit.

mod bmp;
mod jpeg;
mod jpeg2000;
mod png;
mod pnm;
mod reader;
mod tiff;
mod webp;

use super::registry::{Entry, onnx};
use super::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) const OPS: &[Entry] = &[onnx("ImageDecoder", 20, prepare)];

/// Why a file gives no picture.
enum Fault {
    /// It is none, or a broken one, or of a form that is not known.
    NoPicture,
    /// The run's own refusal: too large, too late.
    Refused(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Refused(error)
    }
}

type Decoded<T> = std::result::Result<T, Fault>;

/// What is there of something that a whole file has.
fn some<T>(value: Option<T>) -> Decoded<T> {
    value.ok_or(Fault::NoPicture)
}

/// A decoded picture: rows from the top, a byte a channel.
struct Picture {
    width: usize,
    height: usize,
    pixels: Pixels,
}

enum Pixels {
    Gray(Vec<u8>),
    Rgb(Vec<u8>),
}

impl Picture {
    /// A picture from pixels of `channels` each: gray or colours, and what is left out behind them.
    fn of(width: usize, height: usize, channels: usize, bytes: Vec<u8>) -> Decoded<Picture> {
        let pixels = match channels {
            1 => Pixels::Gray(bytes),
            2 => Pixels::Gray(bytes.as_chunks().0.iter().map(|&[gray, _]| gray).collect()),
            3 => Pixels::Rgb(bytes),
            4 => Pixels::Rgb(
                bytes.as_chunks().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect(),
            ),
            _ => return Err(Fault::NoPicture),
        };
        Ok(Picture { width, height, pixels })
    }
}

/// The number of samples of a picture that may be decoded.
fn room(ctx: &Context<'_>, width: usize, height: usize, channels: usize) -> Decoded<usize> {
    match ctx.shape_of::<u8>(&[height, width, channels])?.len() {
        0 => Err(Fault::NoPicture),
        len => Ok(len),
    }
}

/// A foreign decoder's picture; a file that it panics on is one that it cannot decode.
fn foreign(decode: impl FnOnce() -> Decoded<Picture>) -> Decoded<Picture> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or(Err(Fault::NoPicture))
}

fn decode(ctx: &Context<'_>, file: &[u8]) -> Decoded<Picture> {
    match file {
        [0x89, b'P', b'N', b'G', ..] => foreign(|| png::decode(ctx, file)),
        [0xff, 0xd8, 0xff, ..] => jpeg::decode(ctx, file),
        [b'B', b'M', ..] => bmp::decode(ctx, file),
        [b'P', b'1'..=b'6', ..] => pnm::decode(ctx, file),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => tiff::decode(ctx, file),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            foreign(|| webp::decode(ctx, file))
        }
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => {
            foreign(|| jpeg2000::decode(ctx, file))
        }
        _ => Err(Fault::NoPicture),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Rgb,
    Bgr,
    Gray,
}

struct ImageDecoder {
    format: Format,
}

fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let format = match spec.attributes.str("pixel_format", "RGB")?.as_str() {
        "RGB" => Format::Rgb,
        "BGR" => Format::Bgr,
        "Grayscale" => Format::Gray,
        other => return Err(spec.invalid(format_args!("pixel_format '{other}'"))),
    };
    Ok(Box::new(ImageDecoder { format }))
}

/// The brightness of a colour by ITU-R BT.601, in fractions of 2^16 that add up to one.
fn brightness(r: u8, g: u8, b: u8) -> u8 {
    let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b);
    ((sum + (1 << 15)) >> 16) as u8
}

impl Kernel for ImageDecoder {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let file = inputs.tensor(0)?.as_slice::<u8>()?;
        let channels = if self.format == Format::Gray { 1 } else { 3 };
        let Picture { width, height, pixels } = match decode(ctx, file) {
            Ok(picture) => picture,
            Err(Fault::Refused(error)) => return Err(error),
            // The specification's answer to what cannot be decoded.
            Err(Fault::NoPicture) => {
                let shape = ctx.shape_of::<u8>(&[0, 0, channels])?;
                return one(ctx.tensor(shape, Vec::<u8>::new())?);
            }
        };
        let shape = ctx.shape_of::<u8>(&[height, width, channels])?;
        let out = match (self.format, pixels) {
            (Format::Gray, Pixels::Gray(gray)) => gray,
            (Format::Gray, Pixels::Rgb(v)) => {
                v.as_chunks().0.iter().map(|&[r, g, b]| brightness(r, g, b)).collect()
            }
            (_, Pixels::Gray(gray)) => gray.into_iter().flat_map(|x| [x; 3]).collect(),
            (Format::Rgb, Pixels::Rgb(v)) => v,
            (Format::Bgr, Pixels::Rgb(mut v)) => {
                v.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
                v
            }
        };
        one(ctx.tensor(shape, out)?)
    }
}

#[cfg(test)]
mod tests;
