//! How large a picture may be, and what is wrong with pixels that are none.

/// Why pixels are no picture, wherever they come from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum PixelsError {
    /// A side of length 0.
    #[error("the picture is {width} x {height} and has no pixels, a side of 1 is the least")]
    NoPixels { width: u32, height: u32 },

    /// More pixels than are decoded.
    #[error(
        "the picture is {width} x {height} pixels, at most {pixels_max} pixels and {side_max} \
         along a side are decoded: make it smaller"
    )]
    TooLarge { width: u32, height: u32, pixels_max: u64, side_max: u32 },

    /// Pixels in memory that are not as many as their sides say.
    #[error("{width} x {height} pixels of RGB are {wanted} bytes, {found} were given")]
    Buffer { width: u32, height: u32, wanted: usize, found: usize },
}

/// Refuses pictures without pixels and decompression bombs.
pub(crate) fn check_sides(width: u32, height: u32) -> Result<(), PixelsError> {
    if width == 0 || height == 0 {
        return Err(PixelsError::NoPixels { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > PIXELS_MAX || width.max(height) > SIDE_MAX {
        let (pixels_max, side_max) = (PIXELS_MAX, SIDE_MAX);
        return Err(PixelsError::TooLarge { width, height, pixels_max, side_max });
    }
    Ok(())
}

/// The most pixels that are decoded: the number at which Pillow, and so the reference, speaks of a
/// decompression bomb and stops (twice `Image.MAX_IMAGE_PIXELS`, which is 2^30 / 4 / 3).
pub(crate) const PIXELS_MAX: u64 = 178_956_970;

/// The longest side that is decoded. A column of one pixel is 48 wide between the two passes of the
/// resize, so this bounds them to 150 MB, and the filter's weights to 32 MB.
pub(crate) const SIDE_MAX: u32 = 1 << 20;
