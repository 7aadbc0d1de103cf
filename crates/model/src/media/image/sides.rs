//! How large a picture may be.

use super::ImageError;

/// Refuses pictures without pixels and decompression bombs.
pub(crate) fn check_sides(width: u32, height: u32) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::NoPixels { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > PIXELS_MAX || width.max(height) > SIDE_MAX {
        let (pixels_max, side_max) = (PIXELS_MAX, SIDE_MAX);
        return Err(ImageError::TooLarge { width, height, pixels_max, side_max });
    }
    Ok(())
}

/// The most pixels that are decoded: the number at which Pillow, and so the reference, speaks of a
/// decompression bomb and stops (twice `Image.MAX_IMAGE_PIXELS`, which is 2^30 / 4 / 3).
pub(super) const PIXELS_MAX: u64 = 178_956_970;

/// The longest side that is decoded. A column of one pixel is 48 wide between the two passes of the
/// resize, so this bounds them to 150 MB, and the filter's weights to 32 MB.
const SIDE_MAX: u32 = 1 << 20;
