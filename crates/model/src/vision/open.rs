//! Pictures from files.

use std::path::Path;

use super::{Budget, Picture};
use crate::media::image::{ImageError, decode};

impl Picture {
    /// Reads and decodes a PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, ICO, PNM, QOI or TGA file. The
    /// content tells the format, not the name; of an animation the first frame is taken.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is no such picture, is damaged, or larger than is decoded.
    pub fn open(path: impl AsRef<Path>, budget: Budget) -> Result<Self, ImageError> {
        let bytes = decode::read(path.as_ref())?;
        Self::decode(&bytes, budget)
    }

    /// Decodes a picture file in memory.
    ///
    /// # Errors
    ///
    /// If the bytes are no such picture, are damaged, or the picture is larger than is decoded.
    pub fn decode(bytes: &[u8], budget: Budget) -> Result<Self, ImageError> {
        let image = decode::decode(bytes)?;
        Ok(Self::from_rgb(image.width, image.height, &image.pixels, budget)?)
    }
}
