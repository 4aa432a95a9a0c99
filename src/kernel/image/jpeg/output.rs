//! From coefficients to a picture: samples, upsampling, colours.

use super::super::{Decoded, Fault, Picture, room, some};
use super::{Component, Frame, Tables, idct};
use crate::kernel::Context;

/// The samples of a component.
struct Plane {
    data: Vec<u8>,
    stride: usize,
    /// Samples that are of the picture.
    size: [usize; 2],
    /// How many pixels a sample stands for.
    ratio: [usize; 2],
}

/// What the components are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    Gray,
    Rgb,
    YCbCr,
    /// Cyan, magenta, yellow, black; whether 255 is no ink.
    Cmyk(bool),
    /// As those, the first three as luma and chroma.
    Ycck(bool),
}

fn colours(frame: &Frame, tables: &Tables) -> Colours {
    let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
    match (ids.as_slice(), tables.adobe) {
        ([_], _) => Colours::Gray,
        ([_, _, _, _], adobe) => {
            if adobe == Some(2) {
                Colours::Ycck(true)
            } else {
                Colours::Cmyk(adobe.is_some())
            }
        }
        _ if tables.jfif => Colours::YCbCr,
        (_, Some(0)) | ([b'R', b'G', b'B'], None) => Colours::Rgb,
        _ => Colours::YCbCr,
    }
}

/// The picture of all that has been read.
pub(super) fn picture(ctx: &Context<'_>, frame: &Frame, tables: &Tables) -> Decoded<Picture> {
    let (width, height) = (frame.width, frame.height);
    let planes = frame
        .components
        .iter()
        .map(|component| Plane::new(ctx, frame, component))
        .collect::<Decoded<Vec<_>>>()?;
    let colours = colours(frame, tables);
    let channels = if colours == Colours::Gray { 1 } else { 3 };
    let mut out = vec![0; room(ctx, width, height, channels)?];
    let mut lines: Vec<Vec<u8>> = planes.iter().map(|p| vec![0; p.size[0] * p.ratio[0]]).collect();
    for (y, out) in out.chunks_exact_mut(channels * width).enumerate() {
        for (plane, line) in planes.iter().zip(&mut lines) {
            plane.line(y, line);
        }
        match (colours, lines.as_slice()) {
            (Colours::Gray, [gray]) => {
                out.iter_mut().zip(gray).for_each(|(out, &x)| *out = x);
            }
            (_, [a, b, c]) => {
                let triples = a.iter().zip(b).zip(c);
                for (out, ((&a, &b), &c)) in out.as_chunks_mut::<3>().0.iter_mut().zip(triples) {
                    *out = if colours == Colours::Rgb { [a, b, c] } else { rgb(a, b, c) };
                }
            }
            (Colours::Cmyk(inverted) | Colours::Ycck(inverted), [a, b, c, k]) => {
                let inks = a.iter().zip(b).zip(c).zip(k);
                for (out, (((&a, &b), &c), &k)) in out.as_chunks_mut::<3>().0.iter_mut().zip(inks) {
                    let mut inks = [a, b, c];
                    if matches!(colours, Colours::Ycck(_)) {
                        // Luma and chroma are of the colours that the inks leave.
                        inks = rgb(a, b, c).map(|x| 255 - x);
                    }
                    let light = |x: u8| u32::from(if inverted { x } else { 255 - x });
                    *out = inks.map(|x| ((light(x) * light(k) + 127) / 255) as u8);
                }
            }
            _ => return Err(Fault::NoPicture),
        }
    }
    Picture::of(width, height, channels, out)
}

/// The colour of a luma and two chromas (ITU-R BT.601, as JFIF has it), in fractions of 2^16.
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|x| x.clamp(0, 255) as u8)
}

impl Plane {
    fn new(ctx: &Context<'_>, frame: &Frame, component: &Component) -> Decoded<Plane> {
        let quantisation = some(component.quantisation)?;
        let [across, down] = component.blocks;
        if !frame.h.is_multiple_of(component.h) || !frame.v.is_multiple_of(component.v) {
            return Err(Fault::NoPicture);
        }
        let stride = across * 8;
        let mut data = vec![0; room(ctx, stride, down * 8, 1)?];
        let blocks = component.coefficients.as_chunks::<64>().0;
        for (rows, blocks) in data.chunks_exact_mut(stride * 8).zip(blocks.chunks_exact(across)) {
            ctx.check_deadline()?;
            for (x, block) in blocks.iter().enumerate() {
                let samples = idct::samples(block, &quantisation);
                for (row, samples) in rows.chunks_exact_mut(stride).zip(samples.chunks_exact(8)) {
                    if let Some(place) = row.get_mut(x * 8..x * 8 + 8) {
                        place.copy_from_slice(samples);
                    }
                }
            }
        }
        let ratio = [frame.h / component.h, frame.v / component.v];
        Ok(Plane { data, stride, size: component.size, ratio })
    }

    /// Row `y` of the samples; the last one again behind it, and the first before it.
    fn row(&self, y: usize) -> &[u8] {
        let start = y.min(self.size[1].saturating_sub(1)) * self.stride;
        self.data.get(start..start + self.size[0]).unwrap_or(&[])
    }

    /// Row `y` of the picture, into a line of `size[0] · ratio[0]` pixels. Steps of two are smoothed:
    /// a pixel is three parts of its own sample and one of the next one's, and halves are rounded up
    /// and down in turn.
    fn line(&self, y: usize, out: &mut [u8]) {
        let [across, down] = self.ratio;
        let smooth = self.size[0] > 2;
        let own = self.row(y / down);
        // The row that is the other neighbour of this one of two.
        let near =
            || self.row(if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { y / 2 + 1 });
        match (across, down) {
            (1, 1) => out.iter_mut().zip(own).for_each(|(out, &x)| *out = x),
            (1, 2) => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                for ((out, &x), &next) in out.iter_mut().zip(own).zip(near()) {
                    *out = ((3 * u32::from(x) + u32::from(next) + bias) >> 2) as u8;
                }
            }
            (2, 1) if smooth => {
                let sums = own.iter().map(|&x| u32::from(x));
                twice(sums, out, [1, 2], 2);
            }
            (2, 2) if smooth => {
                let sums =
                    own.iter().zip(near()).map(|(&x, &next)| 3 * u32::from(x) + u32::from(next));
                twice(sums, out, [8, 7], 4);
            }
            _ => {
                for (out, &x) in out.chunks_mut(across).zip(own) {
                    out.fill(x);
                }
            }
        }
    }
}

/// Two pixels for each of `sums`: three parts of its own and one of the one before or behind, plus a
/// bias of the first and of the second, without `bits` bits. At the ends a sum is its own neighbour.
fn twice(
    sums: impl ExactSizeIterator<Item = u32> + Clone,
    out: &mut [u8],
    bias: [u32; 2],
    bits: u32,
) {
    let last = sums.len().saturating_sub(1);
    let first = sums.clone().next().unwrap_or(0);
    let before = std::iter::once(first).chain(sums.clone());
    let behind = sums.clone().skip(1).chain(sums.clone().skip(last));
    let pairs = out.as_chunks_mut::<2>().0.iter_mut();
    for (pair, ((own, before), behind)) in pairs.zip(sums.zip(before).zip(behind)) {
        *pair = [
            ((3 * own + before + bias[0]) >> bits) as u8,
            ((3 * own + behind + bias[1]) >> bits) as u8,
        ];
    }
}
