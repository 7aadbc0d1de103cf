//! `carat eval image`: the picture that the model sees.

use anyhow::{Context, Result};

use crate::args::ImageArgs;
use crate::{media, text};

pub(crate) fn image(args: &ImageArgs) -> Result<()> {
    let picture = media::picture(&args.file, media::budget(args.image_tokens)?)?;
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let to = args.output.display();
    image::save_buffer_with_format(
        &args.output,
        picture.pixels(),
        width,
        height,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .with_context(|| format!("cannot write {to}"))?;
    text::print(&format!("{} {} {}\n", picture.tokens(), picture.columns(), picture.rows()))
}
