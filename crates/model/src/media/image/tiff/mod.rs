//! TIFF pictures, as the reference reads them.
//!
//! `directory.rs` finds the fields, `layout.rs` gathers the samples with the help of
//! `compression.rs`, `fax.rs` and `predictor.rs`, `color.rs` says what they mean, with
//! `ycbcr.rs` and `lab.rs` for two color spaces. A
//! file may be stored in hundreds of ways, most of which are a combination of independent choices;
//! each choice is undone in one place.

mod color;
mod compression;
mod directory;
mod fax;
mod lab;
mod layout;
mod predictor;
mod ycbcr;

use image::metadata::Orientation;

use super::ImageError;
use super::decode::Rgb;
use crate::media::pixels::check_sides;
use color::Meaning;
use directory::Directory;
use layout::Layout;

/// Decodes the first picture of a file; `bytes_max` bounds the memory of its samples.
pub(super) fn decode(bytes: &[u8], bytes_max: u64) -> Result<(Rgb, Orientation), ImageError> {
    let directory = Directory::open(bytes)?;
    let side = |tag| -> Result<u32, ImageError> {
        let side = directory.uint(tag)?.ok_or(damaged("no width or height"))?;
        Ok(u32::try_from(side).unwrap_or(u32::MAX))
    };
    let (width, height) = (side(WIDTH)?, side(HEIGHT)?);
    check_sides(width, height)?;
    let layout = Layout::of(&directory, width, height)?;
    let meaning = Meaning::of(&directory, &layout)?;
    let samples = layout.gather(bytes, meaning.samples(), bytes_max)?;
    let pixels = meaning.to_rgb(&layout, &samples)?;
    // An orientation that cannot be read turns nothing.
    let orientation = directory.uint(ORIENTATION).ok().flatten();
    let orientation = orientation.and_then(|value| Orientation::from_exif(value as u8));
    Ok((Rgb { width, height, pixels }, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn truncated() -> ImageError {
    ImageError::Truncated { format: "TIFF" }
}

fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { format: "TIFF", source: what.into() }
}

fn variant(what: &'static str) -> ImageError {
    ImageError::Variant { format: "TIFF", source: what.into() }
}

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const ORIENTATION: u16 = 274;
