//! BMP pictures, as the reference reads them: Windows' headers and those of OS/2, palettes, colors
//! of 16, 24 and 32 bits by any masks, and runs.

use super::ImageError;
use super::decode::{self, Rgb};
use crate::media::pixels::check_sides;

/// Decodes a picture.
pub(super) fn decode(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let header = Header::read(bytes)?;
    check_sides(header.width, header.height)?;
    let (across, down) = (header.width as usize, header.height as usize);
    let row_bytes = (across * header.bits).div_ceil(8);
    let stride = row_bytes.next_multiple_of(4);
    let stored = bytes.get(header.offset..).unwrap_or_default();
    let indices = match header.runs {
        Some(bits) => runs(bytes, header.offset, bits, across, across * down)?,
        // The last row needs no padding.
        None if stored.len() < stride * (down - 1) + row_bytes => return Err(truncated()),
        None => Vec::new(),
    };
    let mut pixels = decode::buffer(3 * across as u64 * down as u64)?;
    for y in 0..down {
        let place = if header.is_top_down { y } else { down - 1 - y };
        let out = pixels[3 * across * place..][..3 * across].as_chunks_mut().0;
        match header.runs {
            Some(_) => out.iter_mut().zip(&indices[across * y..]).for_each(|(out, &index)| {
                *out = header.palette[usize::from(index)];
            }),
            None => header.colors(&stored[stride * y..], out),
        }
    }
    Ok(Rgb { width: header.width, height: header.height, pixels })
}

/// What stands before the pixels.
struct Header {
    width: u32,
    height: u32,
    is_top_down: bool,
    /// Bits of a pixel: 1, 4, 8, 16, 24 or 32.
    bits: usize,
    /// Bits of a pixel in runs, where the pixels are stored so.
    runs: Option<usize>,
    /// Where red, green and blue are in a pixel of 16 or 32 bits.
    masks: [u32; 3],
    palette: [[u8; 3]; 256],
    /// Where the pixels begin.
    offset: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let u16_at = |at: usize| -> Result<u16, ImageError> {
            let bytes =
                bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(truncated)?;
            Ok(u16::from_le_bytes(*bytes))
        };
        let u32_at = |at: usize| -> Result<u32, ImageError> {
            Ok(u32::from(u16_at(at)?) | u32::from(u16_at(at + 2)?) << 16)
        };
        let size = u32_at(14)?;
        let (width, height, bits) = match size {
            12 => (u16_at(18)?.into(), u16_at(20)?.into(), u16_at(24)?),
            40 | 52 | 56 | 64 | 108 | 124 => (u32_at(18)?, u32_at(22)?, u16_at(28)?),
            _ => return Err(variant(format!("a header of {size} bytes"))),
        };
        let (end, has_more) = (14 + size as usize, size > 12);
        if bytes.len() < end {
            return Err(truncated());
        }
        // A height that is a small negative number: rows go from top to bottom.
        let is_top_down = has_more && height >> 24 == 0xff;
        let height = if is_top_down { height.wrapping_neg() } else { height };
        let compression = if has_more { u32_at(30)? } else { 0 };
        if !matches!(bits, 1 | 4 | 8 | 16 | 24 | 32) {
            return Err(variant(format!("{bits} bits a pixel")));
        }
        let runs = match compression {
            0 => None,
            1 | 2 if bits <= 8 => Some(if compression == 1 { 8 } else { 4 }),
            3 if bits >= 16 => None,
            _ => {
                return Err(variant(format!("compression {compression} with {bits} bits a pixel")));
            }
        };
        let mut masks = match bits {
            16 => [0x7c00, 0x03e0, 0x001f],
            _ => [0xff_0000, 0xff00, 0xff],
        };
        if compression == 3 && bits != 24 {
            let stored = [u32_at(54)?, u32_at(58)?, u32_at(62)?];
            // A file whose masks are empty has the common ones.
            masks = if stored == [0; 3] { masks } else { stored };
        }
        // The masks follow the oldest of the headers that know them, and are part of all later
        // ones.
        let palette_at = if compression == 3 && size == 40 { end + 12 } else { end };
        let stored = if has_more { u32_at(46)? as usize } else { 0 };
        let colors = if stored == 0 { 1 << bits.min(16) } else { stored };
        let color_bytes = if has_more { 4 } else { 3 };
        let colors = if bits <= 8 { colors } else { 0 };
        let palette_end = palette_at.saturating_add(color_bytes * colors);
        let offset = match u32_at(10)? as usize {
            0 => palette_end.min(bytes.len()),
            // Some programs leave the palette out.
            at if at == end && bits <= 8 => palette_end,
            at => at,
        };
        let palette = &bytes[palette_at.min(bytes.len())..palette_end.min(bytes.len())];
        let palette = colors_of(palette, color_bytes);
        Ok(Self { width, height, is_top_down, bits: bits.into(), runs, masks, palette, offset })
    }

    /// Fills `out` with the colors of a row that is stored without runs.
    fn colors(&self, row: &[u8], out: &mut [[u8; 3]]) {
        match self.bits {
            24 => out.iter_mut().zip(row.as_chunks().0).for_each(|(out, &[b, g, r])| {
                *out = [r, g, b];
            }),
            16 | 32 => {
                let parts = self.masks.map(Part::of);
                for (out, pixel) in out.iter_mut().zip(row.chunks_exact(self.bits / 8)) {
                    let pixel = pixel.iter().rev().fold(0, |v, &byte| v << 8 | u32::from(byte));
                    *out = parts.map(|part| part.of_pixel(pixel));
                }
            }
            bits => {
                for (x, out) in out.iter_mut().enumerate() {
                    let at = x * bits;
                    let index = row[at / 8] >> (8 - bits - at % 8) & (0xff >> (8 - bits));
                    *out = self.palette[usize::from(index)];
                }
            }
        }
    }
}

/// Where one of the colors is in a pixel.
#[derive(Clone, Copy)]
struct Part {
    mask: u32,
    shift: u32,
    most: u64,
}

impl Part {
    fn of(mask: u32) -> Self {
        let shift = mask.trailing_zeros() % 32;
        Self { mask, shift, most: u64::from(mask >> shift).max(1) }
    }

    /// The color as 8 bits, rounded down as the reference does.
    fn of_pixel(self, pixel: u32) -> u8 {
        (u64::from((pixel & self.mask) >> self.shift) * 255 / self.most) as u8
    }
}

/// The palette: blue, green, red and mostly a byte without meaning. Colors that it lacks are black,
/// but grays where it is the beginning of a ramp of grays.
fn colors_of(palette: &[u8], color_bytes: usize) -> [[u8; 3]; 256] {
    let is_ramp = (0..=255).zip(palette.chunks_exact(color_bytes)).all(|(i, c)| c[..3] == [i; 3]);
    let mut colors = [[0; 3]; 256];
    if is_ramp {
        colors = std::array::from_fn(|gray| [gray as u8; 3]);
    }
    for (color, stored) in colors.iter_mut().zip(palette.chunks_exact(color_bytes)) {
        *color = [stored[2], stored[1], stored[0]];
    }
    colors
}

/// The numbers of `count` colors, stored as runs of one or two colors and as pairs of a zero and a
/// command (Windows' documentation of BI_RLE4 and BI_RLE8), rows of `width` in the file's order.
///
/// What is skipped has color 0. A picture that is ended early is complete, one that breaks off is
/// not. The details are the reference's: a run stops at the end of its row, an end of row fills the
/// row that has begun and no other, and pixels without runs are padded to even places in the file.
fn runs(
    bytes: &[u8],
    offset: usize,
    bits: usize,
    width: usize,
    count: usize,
) -> Result<Vec<u8>, ImageError> {
    let (mut at, mut x) = (offset, 0);
    let mut out: Vec<u8> = Vec::new();
    out.try_reserve_exact(count).map_err(|_| ImageError::Memory { bytes: count as u64 })?;
    let pair = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    while out.len() < count {
        let &[length, value] = pair(at).ok_or_else(truncated)?;
        at += 2;
        match (length, value) {
            (0, 0) => {
                out.resize(out.len().next_multiple_of(width), 0);
                x = 0;
            }
            (0, 1) => break,
            (0, 2) => {
                let &[right, down] = pair(at).ok_or_else(truncated)?;
                at += 2;
                let skipped = usize::from(right) + usize::from(down) * width;
                out.resize(count.min(out.len() + skipped), 0);
                x = out.len() % width;
            }
            (0, stored) => {
                let stored = usize::from(stored);
                let wanted = stored.min(count - out.len());
                let stored_bytes = (wanted * bits).div_ceil(8);
                let data = bytes.get(at..at + stored_bytes).ok_or_else(truncated)?;
                let color = |i: usize| if bits == 8 { data[i] } else { nibble(data[i / 2], i) };
                out.extend((0..wanted).map(color));
                x += stored;
                at = (at + stored_bytes).next_multiple_of(2);
            }
            (length, value) => {
                let length = usize::from(length).min(width.saturating_sub(x));
                let color = |i: usize| if bits == 8 { value } else { nibble(value, i) };
                out.extend((0..length).map(color));
                x += length;
            }
        }
    }
    out.resize(count, 0);
    Ok(out)
}

/// The higher half of a byte for even `i`, the lower one for odd `i`.
fn nibble(byte: u8, i: usize) -> u8 {
    if i.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
}

fn truncated() -> ImageError {
    ImageError::Truncated { format: "BMP" }
}

fn variant(what: String) -> ImageError {
    ImageError::Variant { format: "BMP", source: what.into() }
}
