//! WebP.

use super::reader::{le16, le32};
use super::{Decoded, Fault, Picture, room, some};
use crate::kernel::Context;
use image_webp::WebPDecoder;
use std::io::Cursor;

/// Bytes of a chunk's name and length.
const HEADER: usize = 8;
/// Bytes before the chunks inside of a frame of an animation.
const FRAME: usize = 16;

/// Checks the size of every picture in a list of chunks, and in the frames of an animation (which
/// hold no frames): the decoder allocates by those sizes, whatever size the file says it has.
fn check(ctx: &Context<'_>, file: &[u8], mut at: usize, end: usize, in_frame: bool) -> Decoded<()> {
    while at < end {
        let name = some(file.get(at..at + 4))?;
        let length = le32(file, at + 4)? as usize;
        let body = at + HEADER;
        match name {
            b"VP8 " => {
                let [width, height] = [le16(file, body + 6)?, le16(file, body + 8)?];
                room(ctx, (width & 0x3fff).max(1), (height & 0x3fff).max(1), 4)?;
            }
            b"VP8L" => {
                let bits = le32(file, body + 1)?;
                let side = |shift: u32| ((bits >> shift) & 0x3fff) as usize + 1;
                room(ctx, side(0), side(14), 4)?;
            }
            b"ANMF" if !in_frame => {
                let end = body.saturating_add(length).min(end);
                check(ctx, file, body + FRAME, end, true)?;
            }
            _ => {}
        }
        // Chunks begin at even places.
        at = some(body.checked_add(length).and_then(|next| next.checked_add(length & 1)))?;
    }
    Ok(())
}

pub(super) fn decode(ctx: &Context<'_>, file: &[u8]) -> Decoded<Picture> {
    let end = (le32(file, 4)? as usize).saturating_add(HEADER).min(file.len());
    check(ctx, file, 12, end, false)?;
    let mut decoder = WebPDecoder::new(Cursor::new(file)).map_err(|_| Fault::NoPicture)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    room(ctx, width, height, 4)?;
    decoder.set_memory_limit(usize::try_from(ctx.limits.run_bytes).unwrap_or(usize::MAX));
    let mut pixels = vec![0; some(decoder.output_buffer_size())?];
    decoder.read_image(&mut pixels).map_err(|_| Fault::NoPicture)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    Picture::of(width, height, channels, pixels)
}
