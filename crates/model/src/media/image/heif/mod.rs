//! HEIC pictures, as telephones take them: HEVC in a box file, often in tiles.
//!
//! The library undoes the coding to planes of samples, puts tiles together and applies the crop,
//! turn and mirror of the file. Exif says the same once more there, so it does not count. What the
//! library will take is added up first (`declared.rs`).

mod boxes;
mod declared;

use std::borrow::Cow;

use heic_decoder::{ChromaUpsampling, HeifError, RgbOptions};

use self::declared::Declared;
use super::ImageError;
use super::decode::{self, Rgb};
use crate::media::pixels::check_sides;

/// How the picture of a box file is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// HEVC: the file is HEIC.
    Hevc,
    /// AV1: the file is AVIF.
    Av1,
}

/// How the still picture is coded whose file has these first bytes: a box `ftyp` that names its
/// kinds (ISO/IEC 23008-12, annex B; AV1 Image File Format, clause 6). `None` for another file.
pub(super) fn coding(bytes: &[u8]) -> Option<Coding> {
    let (head, brands) = bytes.split_at_checked(8)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = &brands[..brands.len().min(length.saturating_sub(8))];
    let names = |wanted: &[&[u8; 4]]| {
        // The second is a version.
        let mut brands = brands.as_chunks().0.iter().enumerate();
        brands.any(|(at, brand)| at != 1 && wanted.contains(&brand))
    };
    match head[4..] == *b"ftyp" {
        true if names(&[b"heic", b"heix", b"heim", b"heis"]) => Some(Coding::Hevc),
        true if names(&[b"avif", b"avis"]) => Some(Coding::Av1),
        _ => None,
    }
}

/// Decodes the main picture of a file in HEVC, without its transparency.
pub(super) fn decode(bytes: &[u8], bytes_max: u64) -> Result<Rgb, ImageError> {
    let source = || "boxes that contradict each other or ask for too much".into();
    let declared = Declared::of(bytes);
    let declared =
        declared.ok_or_else(|| ImageError::Damaged { format: FORMAT, source: source() })?;
    // Transparency is dropped, so it need not be decoded: its link gets a name without meaning.
    let mut bytes = Cow::Borrowed(bytes);
    for &at in &declared.auxiliary {
        bytes.to_mut()[at..at + 4].copy_from_slice(b"none");
    }

    let whole = heic_decoder::probe(&bytes).map_err(blame)?;
    for (width, height) in [(whole.coded_width, whole.coded_height), (whole.width, whole.height)] {
        check_sides(side(width), side(height))?;
    }
    let pixels = whole.coded_width as u64 * whole.coded_height as u64;
    let samples = pixels * [1, 2, 2, 3][whole.chroma_format_idc as usize & 3];
    // Samples take four bytes, twice while a picture is decoded or turned, and tiles are there,
    // too.
    let memory = declared.samples.max(samples).saturating_mul(8).saturating_add(4 * samples);
    let memory = memory.saturating_add(declared.bytes.saturating_mul(4));
    if memory > bytes_max {
        return Err(ImageError::Memory { bytes: memory });
    }

    let mut image = heic_decoder::decode(&bytes).map_err(blame)?;
    // As libheif, by which Pillow reads these files: each chroma sample counts for the pixels of
    // its own square, and the squares begin at the corner. Where a picture with an odd side is
    // turned, libheif's begin one pixel outside.
    let sampling = &mut image.chroma_sampling;
    sampling.origin_x = (sampling.sub_x as f32 - 1.0) / 2.0;
    sampling.origin_y = (sampling.sub_y as f32 - 1.0) / 2.0;
    let nearest = RgbOptions { upsampling: ChromaUpsampling::Nearest, ..Default::default() };
    let rgb = image.to_rgb8_with_options(&nearest).map_err(blame)?;
    let (width, height) = (side(rgb.width), side(rgb.height));
    check_sides(width, height)?;
    Ok(Rgb { width, height, pixels: rgb.data })
}

/// A side as far as it fits, which is longer than any that is decoded.
fn side(length: usize) -> u32 {
    length.try_into().unwrap_or(u32::MAX)
}

fn blame(error: HeifError) -> ImageError {
    match error {
        HeifError::Unsupported(_) => {
            ImageError::Variant { format: FORMAT, source: Box::new(error) }
        }
        HeifError::LimitExceeded(_) => decode::too_much_memory(),
        other => ImageError::Damaged { format: FORMAT, source: Box::new(other) },
    }
}

const FORMAT: &str = "HEIC";

#[cfg(test)]
mod tests {
    use super::*;

    /// Where chroma is subsampled, libheif multiplies by whole 256ths and the decoder here by
    /// fractions, so the sums round to neighbours. A turn that Exif repeats is made once.
    #[test]
    fn subsampled_pictures_are_pillows_but_for_rounding() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/images/near/");
        for name in ["h2v2", "h2v1", "rgba", "turned"] {
            let file = std::fs::read(format!("{folder}{name}.heic")).unwrap();
            let found = decode(&file, 1 << 20).unwrap();
            let wanted = image::open(format!("{folder}{name}.heic.expected.png")).unwrap();
            let wanted = wanted.into_rgb8();
            assert_eq!((found.width, found.height), wanted.dimensions(), "{name}");
            let pairs = found.pixels.iter().zip(wanted.as_raw());
            let most = pairs.map(|(a, b)| a.abs_diff(*b)).max();
            assert!(most <= Some(1), "{name} differs by {most:?} of 255");
        }
    }

    #[test]
    fn a_picture_that_asks_for_more_memory_than_there_may_be_is_refused() {
        let file = include_bytes!("../../../../tests/data/images/near/h2v2.heic");
        // 24 x 16 coded pixels at least, of one and a half samples.
        let found = decode(file, 8 * 24 * 16);
        assert!(matches!(found, Err(ImageError::Memory { bytes: 4_608.. })), "{:?}", found.err());
    }

    #[test]
    fn brands_tell_the_coding() {
        assert_eq!(coding(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"), Some(Coding::Hevc));
        assert_eq!(coding(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif"), Some(Coding::Av1));
        assert_eq!(coding(b"\0\0\0\x10ftypmif1\0\0\0\0mif1avif"), None);
        assert_eq!(coding(b"\0\0\0\x14ftypisomheic\0\0\0\0"), None);
    }
}
