//! HEIC pictures, as telephones take them: HEVC in a box file, often in tiles.
//!
//! The library undoes the coding to planes of samples, puts tiles together and applies the crop,
//! turn and mirror of the file. Exif says the same once more there, so it does not count.

use heic_decoder::HeifError;

use super::decode::{self, Rgb};
use super::image::ImageError;

/// Whether these are the first bytes of such a file: a box `ftyp` with the name of a still picture
/// in HEVC (ISO/IEC 23008-12, annex B).
pub(super) fn is_heif(bytes: &[u8]) -> bool {
    let Some((head, brands)) = bytes.split_at_checked(8) else { return false };
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = &brands[..brands.len().min(length.saturating_sub(8))];
    let is_still = |brand: &[u8; 4]| matches!(brand, b"heic" | b"heix" | b"heim" | b"heis");
    head[4..] == *b"ftyp"
        && brands.as_chunks().0.iter().enumerate().any(|(at, brand)| at != 1 && is_still(brand))
}

/// Decodes the main picture of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let mut image = heic_decoder::decode(bytes).map_err(blame)?;
    // The reference takes chroma samples for the middle of the pixels that they are for.
    let sampling = &mut image.chroma_sampling;
    sampling.origin_x = (sampling.sub_x as f32 - 1.0) / 2.0;
    sampling.origin_y = (sampling.sub_y as f32 - 1.0) / 2.0;
    let rgb = image.to_rgb8().map_err(blame)?;
    let (width, height) = (rgb.width as u32, rgb.height as u32);
    decode::check_sides(width, height)?;
    Ok(Rgb { width, height, pixels: rgb.data })
}

fn blame(error: HeifError) -> ImageError {
    let format = "HEIC";
    match error {
        HeifError::Unsupported(_) => ImageError::Variant { format, source: Box::new(error) },
        HeifError::LimitExceeded(_) => decode::too_much_memory(),
        other => ImageError::Damaged { format, source: Box::new(other) },
    }
}
