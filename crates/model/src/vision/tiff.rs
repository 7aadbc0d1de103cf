//! TIFF pictures: the samples of every kind that the reference takes, as RGB by its rules.
//!
//! The `tiff` crate undoes compression, tiles and planes; what the samples mean is decided here. A
//! palette it does not read at all, so the file is shown to it as gray, which has the same samples.

use std::borrow::Cow;
use std::io::Cursor;

use image::metadata::Orientation;
use tiff::decoder::{Decoder, DecodingResult as Samples, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::decode::{self, Rgb};
use super::image::ImageError;
use super::jpeg::color;

/// Decodes the first picture of a file; `bytes_max` bounds the memory of its samples.
pub(super) fn decode(bytes: &[u8], bytes_max: u64) -> Result<(Rgb, Orientation), ImageError> {
    let (palette, shown) = match photometric(bytes) {
        Some(at) if bytes[at..at + 2].contains(&PALETTE) => {
            let mut shown = bytes.to_vec();
            shown[at..at + 2].iter_mut().for_each(|byte| *byte = u8::from(*byte == PALETTE));
            let colors = open(&shown)?.get_tag_u16_vec(Tag::ColorMap).map_err(blame)?;
            (Some(colors), Cow::Owned(shown))
        }
        _ => (None, Cow::Borrowed(bytes)),
    };
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    let mut decoder = open(&shown)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(blame)?;
    decode::check_sides(width, height)?;

    let orientation = decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
    let orientation = orientation.and_then(Orientation::from_exif);
    let color = decoder.colortype().map_err(blame)?;
    let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression).ok().flatten();
    if compression == Some(JPEG) && matches!(color, ColorType::Multiband { .. }) {
        return Err(variant("gray with alpha as JPEG"));
    }
    let mut samples = Samples::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut samples).map_err(blame)?;
    if samples.as_buffer(0).as_bytes().len() < layout.complete_len {
        return Err(ImageError::Memory { bytes: layout.complete_len as u64 });
    }
    let plane_bytes = (layout.planes > 1).then_some(layout.len);
    let is_jpeg = compression == Some(JPEG);
    let (across, down) = (width as usize, height as usize);
    let image = Image { width: across, height: down, color, is_jpeg, plane_bytes };
    let pixels = image.to_rgb(&samples, palette.as_deref())?;
    Ok((Rgb { width, height, pixels }, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn open(bytes: &[u8]) -> Result<Decoder<Cursor<&[u8]>>, ImageError> {
    Decoder::new(Cursor::new(bytes)).map_err(blame)
}

/// How the samples lie.
struct Image {
    width: usize,
    height: usize,
    color: ColorType,
    is_jpeg: bool,
    /// The length of a plane, where each sample of a pixel has one of its own.
    plane_bytes: Option<usize>,
}

impl Image {
    fn to_rgb(&self, samples: &Samples, palette: Option<&[u16]>) -> Result<Vec<u8>, ImageError> {
        match samples {
            Samples::U8(values) if self.color.bit_depth() < 8 => self.packed(values, palette),
            Samples::U8(values) => match palette {
                Some(colors) => Ok(values.iter().flat_map(|&v| lookup(colors, v, 8)).collect()),
                None => self.map(values, |v| v, |v| v),
            },
            Samples::U16(values) => self.map(values, |v| v.min(255) as u8, |v| (v >> 8) as u8),
            Samples::I16(values) => self.map(values, |v| v.clamp(0, 255) as u8, |_| 0),
            Samples::U32(values) => self.map(values, |v| (v as i32).clamp(0, 255) as u8, |_| 0),
            Samples::I32(values) => self.map(values, |v| v.clamp(0, 255) as u8, |_| 0),
            // `as` rounds down and saturates, as the reference does.
            Samples::F32(values) => self.map(values, |v| v as u8, |_| 0),
            _ => Err(variant("samples of an unusual type")),
        }
    }

    /// Pixels of whole samples: `gray` makes 8 bits of a gray picture's, `part` of a colour's.
    fn map<T: Copy>(
        &self,
        values: &[T],
        gray: impl Fn(T) -> u8,
        part: impl Fn(T) -> u8,
    ) -> Result<Vec<u8>, ImageError> {
        let count = self.width * self.height;
        let samples = usize::from(self.color.num_samples());
        let plane = self.plane_bytes.map(|bytes| bytes / size_of::<T>());
        let wanted = plane.map_or(count * samples, |plane| plane * (samples - 1) + count);
        if values.len() < wanted {
            return Err(ImageError::Truncated { format: "TIFF" });
        }
        let at = |pixel: usize, sample: usize| match plane {
            Some(plane) => values[plane * sample + pixel],
            None => values[samples * pixel + sample],
        };
        let depth = 8 * size_of::<T>();
        let mut out = Vec::with_capacity(3 * count);
        match self.color {
            ColorType::Gray(_) => (0..count).for_each(|i| out.extend([gray(at(i, 0)); 3])),
            _ if depth > 16 => return Err(variant("colours of more than 16 bits")),
            ColorType::GrayA(_) | ColorType::Multiband { num_samples: 2, .. } => {
                (0..count).for_each(|i| out.extend([part(at(i, 0)); 3]));
            }
            ColorType::RGB(_) | ColorType::RGBA(_) => {
                (0..count).for_each(|i| out.extend([0, 1, 2].map(|s| part(at(i, s)))));
            }
            ColorType::CMYK(_) | ColorType::CMYKA(_) => (0..count).for_each(|i| {
                let white = 255 - part(at(i, 3));
                out.extend([0, 1, 2].map(|s| color::inked(part(at(i, s)), white)));
            }),
            ColorType::YCbCr(_) => (0..count).for_each(|i| {
                let [y, cb, cr] = [0, 1, 2].map(|s| part(at(i, s)));
                out.extend(if self.is_jpeg { color::ycc(y, cb, cr) } else { ycc(y, cb, cr) });
            }),
            _ => return Err(variant("an unusual colour space")),
        }
        Ok(out)
    }

    /// Gray or palette pixels of 1, 2 or 4 bits, whose rows begin at whole bytes.
    fn packed(&self, values: &[u8], palette: Option<&[u16]>) -> Result<Vec<u8>, ImageError> {
        let bits = usize::from(self.color.bit_depth());
        if !matches!(self.color, ColorType::Gray(1 | 2 | 4)) {
            return Err(variant("colours of less than 8 bits"));
        }
        let row_bytes = (self.width * bits).div_ceil(8);
        if values.len() < row_bytes * self.height {
            return Err(ImageError::Truncated { format: "TIFF" });
        }
        let mut out = Vec::with_capacity(3 * self.width * self.height);
        for row in values.chunks_exact(row_bytes).take(self.height) {
            for x in 0..self.width {
                let value = row[x * bits / 8] >> (8 - bits - x * bits % 8) & ((1 << bits) - 1);
                out.extend(match palette {
                    Some(colors) => lookup(colors, value, bits),
                    None => [value * (255 / ((1 << bits) - 1)); 3],
                });
            }
        }
        Ok(out)
    }
}

/// YCbCr of ITU-T T.871 to RGB as the reference does it outside JPEG: each product has six fraction
/// bits, and one half more before it is cut towards zero.
fn ycc(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let times = |factor: f64, value: u8| (factor * 64.0 * (f64::from(value) - 128.0) + 0.5) as i32;
    let r = times(1.402, cr);
    let g = times(-0.34414, cb) + times(-0.71414, cr);
    let b = times(1.772, cb);
    [r, g, b].map(|part| (i32::from(y) + (part >> 6)).clamp(0, 255) as u8)
}

/// A colour of a palette: all reds, all greens and all blues of 16 bits, of which the high ones
/// count. Black where the palette is too short.
fn lookup(colors: &[u16], value: u8, bits: usize) -> [u8; 3] {
    [0, 1, 2].map(|part| {
        let at = (part << bits) + usize::from(value);
        colors.get(at).map_or(0, |&color| (color >> 8) as u8)
    })
}

/// Where the two bytes of the first picture's colour space are (TIFF 6.0, sections 2 and 8), for
/// files of the classic layout; `None` if the file has no such place.
fn photometric(bytes: &[u8]) -> Option<usize> {
    let is_little = bytes.starts_with(b"II*\0");
    let u16_at = |at: usize| {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let (low, high) = if is_little { (4, 6) } else { (6, 4) };
    let directory = usize::from(u16_at(high)?) << 16 | usize::from(u16_at(low)?);
    let entries = usize::from(u16_at(directory)?);
    let entry = (0..entries).map(|i| directory + 2 + 12 * i);
    let mut entry = entry.take_while(|&at| at + 12 <= bytes.len());
    entry.find(|&at| u16_at(at) == Some(PHOTOMETRIC)).map(|at| at + 8)
}

/// Says what a decoder's error means for the file.
fn blame(cause: TiffError) -> ImageError {
    let format = "TIFF";
    match cause {
        TiffError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format }
        }
        TiffError::UnsupportedError(_) => ImageError::Variant { format, source: Box::new(cause) },
        _ => ImageError::Damaged { format, source: Box::new(cause) },
    }
}

fn variant(what: &'static str) -> ImageError {
    ImageError::Variant { format: "TIFF", source: what.into() }
}

/// The tag of the colour space and its value for palettes.
const PHOTOMETRIC: u16 = 262;
const PALETTE: u8 = 3;

/// Compression by JPEG, where two components are taken for something else than gray and alpha.
const JPEG: u16 = 7;
