//! JPEG 2000: files and bare codestreams.

use super::{Decoded, Fault, Picture, room};
use crate::kernel::Context;
use hayro_jpeg2000::{ColorSpace, DecodeSettings, DecoderContext, Image};

pub(super) fn decode(ctx: &Context<'_>, file: &[u8]) -> Decoded<Picture> {
    let image = Image::new(file, &DecodeSettings::default()).map_err(|_| Fault::NoPicture)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let colours: usize = match image.color_space() {
        ColorSpace::CMYK => return Err(Fault::NoPicture),
        space => space.num_channels().into(),
    };
    let channels = colours + usize::from(image.has_alpha());
    room(ctx, width, height, channels)?;
    // Coefficients and samples are floats.
    ctx.shape_of::<f32>(&[height, width, channels.max(1), 2])?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|_| Fault::NoPicture)?;
    let mut components = decoded.components().iter();
    if components.len() != channels || !components.all(|c| c.samples().len() == width * height) {
        return Err(Fault::NoPicture);
    }
    if !matches!(colours, 1 | 3) {
        return Err(Fault::NoPicture);
    }
    Picture::of(width, height, channels, decoded.data_u8())
}
