//! PNG.

use super::{Decoded, Fault, Picture, room, some};
use crate::kernel::Context;
use std::io::Cursor;

pub(super) fn decode(ctx: &Context<'_>, file: &[u8]) -> Decoded<Picture> {
    let bytes = usize::try_from(ctx.limits.run_bytes).unwrap_or(usize::MAX);
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), png::Limits { bytes });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(|_| Fault::NoPicture)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    room(ctx, width, height, 4)?;
    let mut pixels = vec![0; some(reader.output_buffer_size())?];
    let frame = reader.next_frame(&mut pixels).map_err(|_| Fault::NoPicture)?;
    // The picture of a file with an animation may be smaller than its canvas: then it is not whole.
    if (frame.width as usize, frame.height as usize) != (width, height) {
        return Err(Fault::NoPicture);
    }
    pixels.truncate(frame.buffer_size());
    Picture::of(width, height, frame.color_type.samples(), pixels)
}
