//! What the samples of a TIFF picture mean, and what RGB the reference makes of them.

use super::super::ImageError;
use super::super::jpeg::color::inked;
use super::compression::Compression;
use super::directory::Directory;
use super::lab::Lab;
use super::layout::{Kind, Layout, Samples, YCBCR};
use super::ycbcr::Chroma;
use super::{damaged, variant};

/// How the samples of a pixel become a color.
pub(super) enum Meaning {
    /// Light, or its absence.
    Gray {
        is_inverted: bool,
    },
    /// Light that was multiplied by the alpha after it.
    AssociatedGray,
    Rgb,
    /// Colors that were multiplied by the alpha after them.
    AssociatedRgb,
    Palette(Vec<[u8; 3]>),
    Cmyk,
    YCbCr(Chroma),
    Lab(Lab),
}

impl Meaning {
    /// The meaning by the photometric interpretation (TIFF 6.0, sections 4 to 6 and 16 to 23).
    pub(super) fn of(directory: &Directory<'_>, layout: &Layout) -> Result<Self, ImageError> {
        let is_associated = layout.extra.first() == Some(&ASSOCIATED) && layout.bits >= 8;
        let is_jpeg = layout.compression == Compression::Jpeg;
        let (meaning, colors) = match layout.photometric {
            0 | 1 if is_associated && layout.samples > 1 => (Self::AssociatedGray, 2),
            0 => (Self::Gray { is_inverted: true }, 1),
            1 => (Self::Gray { is_inverted: false }, 1),
            2 if is_associated && layout.samples > 3 => (Self::AssociatedRgb, 4),
            2 => (Self::Rgb, 3),
            3 => (Self::Palette(palette(directory, layout)?), 1),
            5 => (Self::Cmyk, 4),
            YCBCR if layout.samples == 1 => (Self::Gray { is_inverted: false }, 1),
            // The JPEG decoder has made colors of them.
            YCBCR if is_jpeg && !layout.has_planes() => (Self::Rgb, 3),
            YCBCR if layout.bits != 8 => return Err(variant("YCbCr of other than 8 bits")),
            YCBCR => (Self::YCbCr(Chroma::of(directory, layout)?), 3),
            8 => (Self::Lab(Lab::new()), 3),
            4 => return Err(variant("a transparency mask alone")),
            9 | 10 => return Err(variant("ICC or ITU Lab colors")),
            32_803 | 34_892 => return Err(variant("raw data of a camera")),
            32_844 | 32_845 => return Err(variant("LogLuv colors")),
            _ => return Err(variant("an unknown color space")),
        };
        if layout.samples < colors {
            return Err(damaged("fewer samples in a pixel than its colors need"));
        }
        let is_gray = matches!(meaning, Self::Gray { .. });
        if !is_gray && (layout.kind == Kind::Float || layout.bits > 32) {
            return Err(variant("colors as floating point numbers"));
        }
        Ok(meaning)
    }

    /// Samples of a pixel that are needed.
    pub(super) fn samples(&self) -> usize {
        match self {
            Self::Gray { .. } | Self::Palette(_) => 1,
            Self::AssociatedGray => 2,
            Self::Rgb | Self::YCbCr(_) | Self::Lab(_) => 3,
            Self::AssociatedRgb | Self::Cmyk => 4,
        }
    }

    /// The picture as RGB rows.
    pub(super) fn to_rgb(&self, layout: &Layout, samples: &Samples) -> Result<Vec<u8>, ImageError> {
        let bits = layout.bits;
        let (width, scale) = (bits / 8, 255.0 / ((1u64 << bits.min(63)) - 1) as f64);
        let number = |row: &[u8], i: usize| {
            row[width * i..width * (i + 1)].iter().rev().fold(0, |v, &b| v << 8 | u64::from(b))
        };
        let gray = matches!(self, Self::Gray { .. });
        match (layout.kind, bits) {
            (_, 8) => self.rows(layout, samples, |row, i| row[i]),
            (_, 1..=7) if matches!(self, Self::Palette(_)) => {
                self.rows(layout, samples, |row, i| packed(row, i, bits) as u8)
            }
            (_, 1..=7) => {
                self.rows(layout, samples, |row, i| (f64::from(packed(row, i, bits)) * scale) as u8)
            }
            (Kind::Float, 16) if gray => self.rows(layout, samples, |row, i| {
                half::f16::from_bits(number(row, i) as u16).to_f32() as u8
            }),
            // A number of 24 bits has the exponent of one of 32 bits less one bit.
            (Kind::Float, 24) => Err(variant("floating point numbers of 24 bits")),
            // `as` rounds down and saturates, as the reference does.
            (Kind::Float, 32) if gray => {
                self.rows(layout, samples, |row, i| f32::from_bits(number(row, i) as u32) as u8)
            }
            (Kind::Float, 64) if gray => {
                self.rows(layout, samples, |row, i| f64::from_bits(number(row, i)) as u8)
            }
            (Kind::Float, _) => Err(variant("floating point numbers of an unusual size")),
            // The reference has one kind of number of 32 bits, with a sign.
            (Kind::Uint | Kind::Int, 32) if gray => self.rows(layout, samples, |row, i| {
                (number(row, i) as u32).cast_signed().clamp(0, 255) as u8
            }),
            (Kind::Int, 16) if gray => self.rows(layout, samples, |row, i| {
                (number(row, i) as u16).cast_signed().clamp(0, 255) as u8
            }),
            (Kind::Int, 64) if gray => self
                .rows(layout, samples, |row, i| number(row, i).cast_signed().clamp(0, 255) as u8),
            (Kind::Uint, 16 | 24 | 64) if gray => {
                self.rows(layout, samples, |row, i| number(row, i).min(255) as u8)
            }
            (Kind::Uint, 9..=15) if gray => {
                self.rows(layout, samples, |row, i| packed(row, i, bits).min(255) as u8)
            }
            (_, 9..=15) => {
                self.rows(layout, samples, |row, i| (packed(row, i, bits) >> (bits - 8)) as u8)
            }
            (_, 16 | 24 | 32) => self.rows(layout, samples, |row, i| row[width * (i + 1) - 1]),
            _ => Err(variant("samples of an unusual size")),
        }
    }

    /// The same, once it is known how to make a byte of a row's sample.
    fn rows(
        &self,
        layout: &Layout,
        samples: &Samples,
        sample: impl Fn(&[u8], usize) -> u8,
    ) -> Result<Vec<u8>, ImageError> {
        let Layout { width, height, .. } = *layout;
        let step = if samples.plane_bytes.is_some() { 1 } else { layout.samples };
        let mut out = Vec::new();
        let bytes = 3 * width * height;
        out.try_reserve_exact(bytes).map_err(|_| ImageError::Memory { bytes: bytes as u64 })?;
        // Gray of few bits is inverted as the byte that it becomes; the reference leaves the rest.
        let invert = if layout.bits <= 8 { 255 } else { 0 };
        for y in 0..height {
            for x in 0..width {
                let at = |part: usize| match samples.plane_bytes {
                    Some(plane) => sample(row(samples, part * plane, y), x),
                    None => sample(row(samples, 0, y), x * step + part),
                };
                out.extend_from_slice(&match self {
                    Self::Gray { is_inverted: true } => [at(0) ^ invert; 3],
                    Self::Gray { .. } => [at(0); 3],
                    Self::AssociatedGray => [divided(at(0), at(1)); 3],
                    Self::Rgb => [at(0), at(1), at(2)],
                    Self::AssociatedRgb => {
                        let alpha = at(3);
                        [0, 1, 2].map(|part| divided(at(part), alpha))
                    }
                    Self::Palette(colors) => {
                        colors.get(usize::from(at(0))).copied().unwrap_or_default()
                    }
                    Self::Cmyk => {
                        let white = 255 - at(3);
                        [0, 1, 2].map(|part| inked(at(part), white))
                    }
                    Self::YCbCr(chroma) => chroma.rgb([at(0), at(1), at(2)]),
                    Self::Lab(lab) => lab.rgb([at(0), at(1), at(2)]),
                });
            }
        }
        Ok(out)
    }
}

/// Row `y` of the plane that begins at byte `plane`.
fn row(samples: &Samples, plane: usize, y: usize) -> &[u8] {
    &samples.bytes[plane + y * samples.row_bytes..][..samples.row_bytes]
}

/// Sample `i` of a row of samples of less than 16 bits without gaps, the highest bit first.
fn packed(row: &[u8], i: usize, bits: usize) -> u16 {
    let at = i * bits;
    let byte = |i: usize| row.get(at / 8 + i).copied().unwrap_or(0);
    let word = u32::from_be_bytes([byte(0), byte(1), byte(2), 0]) << (at % 8);
    (word >> (32 - bits)) as u16
}

/// A color that was multiplied by its alpha, before that; black where nothing is seen.
fn divided(value: u8, alpha: u8) -> u8 {
    match alpha {
        0 => 0,
        _ => (u16::from(value) * 255 / u16::from(alpha)).min(255) as u8,
    }
}

/// The colors of a palette, of which the high bytes count: all reds, all greens, all blues.
fn palette(directory: &Directory<'_>, layout: &Layout) -> Result<Vec<[u8; 3]>, ImageError> {
    if layout.bits > 8 {
        return Err(variant("a palette of more than 256 colors"));
    }
    let values = directory.uints(PALETTE)?.ok_or(damaged("a picture without its palette"))?;
    let count = values.len() / 3;
    let color = |i: usize| [0, 1, 2].map(|part| (values[part * count + i] >> 8) as u8);
    Ok((0..count).map(color).collect())
}

const PALETTE: u16 = 320;

/// The extra sample that colors were multiplied by.
const ASSOCIATED: u64 = 1;
