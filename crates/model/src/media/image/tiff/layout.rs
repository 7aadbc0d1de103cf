//! Where the samples of a picture are in its file, and how they are gathered: strips or tiles,
//! pixel by pixel or one plane for each sample, in whatever way they are compressed.

use std::borrow::Cow;

use super::super::ImageError;
use super::compression::{self, Compression};
use super::directory::{Directory, slice};
use super::{damaged, predictor, truncated, variant};

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Uint,
    Int,
    Float,
}

/// How a picture is stored.
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bits of a sample; all samples have as many.
    pub(super) bits: usize,
    pub(super) kind: Kind,
    /// Samples of a pixel.
    pub(super) samples: usize,
    /// What the samples after the colors are.
    pub(super) extra: Vec<u64>,
    pub(super) photometric: u64,
    pub(super) compression: Compression,
    /// Pixels, across and down, that share their chroma; (1, 1) where all samples are whole.
    pub(super) subsampling: (usize, usize),
    has_planes: bool,
    chunk_width: usize,
    chunk_height: usize,
    is_tiled: bool,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
    predictor: u64,
    has_reversed_bits: bool,
    is_big_endian: bool,
    jpeg_tables: Vec<u8>,
}

/// All samples of a picture, numbers of several bytes with the lowest byte first. A row begins at a
/// whole byte.
pub(super) struct Samples {
    pub(super) bytes: Vec<u8>,
    pub(super) row_bytes: usize,
    /// The length of a plane, where each sample of a pixel has one of its own.
    pub(super) plane_bytes: Option<usize>,
}

impl Layout {
    /// Reads the layout of a picture of positive sides.
    pub(super) fn of(
        directory: &Directory<'_>,
        width: u32,
        height: u32,
    ) -> Result<Self, ImageError> {
        let (width, height) = (width as usize, height as usize);
        let uint = |tag, or| directory.uint(tag).map(|found| found.unwrap_or(or));
        let compression = Compression::of(directory)?;
        let photometric = uint(PHOTOMETRIC, 0)?;
        let bits = directory.uints(BITS)?.unwrap_or_else(|| vec![1]);
        let samples = uint(SAMPLES, bits.len() as u64)?;
        if samples == 0 || samples > SAMPLES_MAX {
            return Err(variant("an unusual number of samples in a pixel"));
        }
        if bits.iter().take(samples as usize).any(|&b| b != bits[0]) || !(1..=64).contains(&bits[0])
        {
            return Err(variant("samples of unequal sizes"));
        }
        let kind = match uint(SAMPLE_FORMAT, 1)? {
            1 | 4 => Kind::Uint,
            2 => Kind::Int,
            3 => Kind::Float,
            _ => return Err(variant("complex numbers as samples")),
        };
        let side = |tag, all: usize| -> Result<usize, ImageError> {
            match directory.uint(tag)? {
                Some(0) => Err(damaged("strips or tiles without pixels")),
                side => Ok(side.map_or(all, |side| usize::try_from(side).unwrap_or(usize::MAX))),
            }
        };
        let is_tiled = directory.has(TILE_WIDTH) && directory.has(TILE_OFFSETS);
        let (chunk_width, chunk_height, offsets, lengths) = if is_tiled {
            (side(TILE_WIDTH, width)?, side(TILE_HEIGHT, height)?, TILE_OFFSETS, TILE_LENGTHS)
        } else {
            (width, side(STRIP_HEIGHT, height)?.min(height), STRIP_OFFSETS, STRIP_LENGTHS)
        };
        let offsets = directory.uints(offsets)?.ok_or(damaged("no place of the pixels"))?;
        let mut layout = Self {
            width,
            height,
            bits: bits[0] as usize,
            kind,
            samples: samples as usize,
            extra: directory.uints(EXTRA_SAMPLES)?.unwrap_or_default(),
            photometric,
            compression,
            subsampling: (1, 1),
            has_planes: uint(PLANES, 1)? == 2 && samples > 1,
            chunk_width,
            chunk_height,
            is_tiled,
            offsets,
            lengths: directory.uints(lengths)?.unwrap_or_default(),
            predictor: uint(PREDICTOR, 1)?,
            has_reversed_bits: uint(FILL_ORDER, 1)? == 2,
            is_big_endian: directory.is_big_endian,
            jpeg_tables: directory.raw(JPEG_TABLES)?.unwrap_or_default().to_vec(),
        };
        layout.subsampling = layout.shared_chroma(directory)?;
        layout.check()?;
        Ok(layout)
    }

    /// How many pixels share their chroma (TIFF 6.0, section 21).
    fn shared_chroma(&self, directory: &Directory<'_>) -> Result<(usize, usize), ImageError> {
        let is_stored = self.photometric == YCBCR && self.samples == 3 && !self.has_planes;
        if !is_stored || self.compression == Compression::Jpeg {
            return Ok((1, 1));
        }
        let Some(factors) = directory.uints(SUBSAMPLING)? else {
            // The default is two each, but programs that know no subsampling write no field.
            let whole = self.width * self.rows(0) * 3;
            let is_whole = self.lengths.first().is_some_and(|&length| length >= whole as u64);
            return Ok(if self.compression == Compression::None && is_whole {
                (1, 1)
            } else {
                (2, 2)
            });
        };
        match factors[..] {
            [across @ (1 | 2 | 4), down @ (1 | 2 | 4), ..] => Ok((across as usize, down as usize)),
            _ => Err(damaged("chroma that is shared by an impossible number of pixels")),
        }
    }

    /// Refuses combinations that nothing writes.
    fn check(&self) -> Result<(), ImageError> {
        if self.subsampling != (1, 1) && (self.bits != 8 || self.has_predictor()) {
            return Err(variant("shared chroma of other than 8 bits or with a predictor"));
        }
        if matches!(self.compression, Compression::Fax(_)) && (self.bits, self.samples) != (1, 1) {
            return Err(damaged("colors with fax codes"));
        }
        if self.compression == Compression::Jpeg {
            let is_known = self.has_planes || matches!(self.samples, 1 | 3);
            if self.bits != 8 || !is_known {
                return Err(variant(
                    "JPEG compression of other than gray or three colors of 8 bits",
                ));
            }
        }
        Ok(())
    }

    /// Gathers the samples: all of each pixel, or the first `planes` planes.
    ///
    /// # Errors
    ///
    /// If a strip or tile is damaged or missing, or the samples take more than `bytes_max` bytes.
    pub(super) fn gather(
        &self,
        file: &[u8],
        planes: usize,
        bytes_max: u64,
    ) -> Result<Samples, ImageError> {
        let planes = if self.has_planes { planes } else { 1 };
        let row_bytes = self.row_bytes(self.width);
        let plane_bytes = row_bytes * self.height;
        let mut bytes = zeroed(plane_bytes as u64 * planes as u64, bytes_max)?;
        let across = self.width.div_ceil(self.chunk_width);
        let down = self.height.div_ceil(self.chunk_height);
        let padded = self.row_bytes(self.chunk_width).saturating_mul(self.chunk_height);
        let padded = padded.saturating_mul(across * down * planes) as u64;
        if padded > 2 * bytes_max {
            return Err(ImageError::Memory { bytes: padded });
        }
        for (plane, out) in bytes.chunks_exact_mut(plane_bytes).enumerate() {
            for index in 0..across * down {
                let (x, y) =
                    (index % across * self.chunk_width, index / across * self.chunk_height);
                let index = plane * across * down + index;
                // Programs that replace a picture's only strip append the new one's offset.
                let is_only = across * down * planes == 1;
                let index = if is_only { self.offsets.len().max(1) - 1 } else { index };
                let rows = self.rows(y);
                let out = &mut out[y * row_bytes..];
                if !self.is_tiled && self.is_plain() {
                    self.chunk(file, index, &mut out[..rows * row_bytes])?;
                    continue;
                }
                let (chunk, stride) = self.loose(file, index, rows, bytes_max)?;
                let columns = self.chunk_width.min(self.width - x);
                let (start, length) = (self.row_bytes(x), self.row_bytes(columns));
                for (out, row) in
                    out.chunks_exact_mut(row_bytes).zip(chunk.chunks_exact(stride)).take(rows)
                {
                    out[start..start + length].copy_from_slice(&row[..length]);
                }
            }
        }
        let plane_bytes = self.has_planes.then_some(plane_bytes);
        Ok(Samples { bytes, row_bytes, plane_bytes })
    }

    /// Whether each sample of a pixel has a plane of its own.
    pub(super) fn has_planes(&self) -> bool {
        self.has_planes
    }

    /// Whether a chunk holds the samples as they are wanted, row by row.
    fn is_plain(&self) -> bool {
        self.subsampling == (1, 1) && self.compression != Compression::Jpeg
    }

    /// A strip or tile in memory of its own, and the length of its rows.
    fn loose(
        &self,
        file: &[u8],
        index: usize,
        rows: usize,
        bytes_max: u64,
    ) -> Result<(Vec<u8>, usize), ImageError> {
        let stride = self.row_bytes(self.chunk_width);
        if self.compression == Compression::Jpeg {
            return self.jpeg(file, index, rows, bytes_max);
        }
        let rows = if self.is_tiled { self.chunk_height } else { rows };
        if self.is_plain() {
            let mut chunk = zeroed((stride as u64).saturating_mul(rows as u64), bytes_max)?;
            self.chunk(file, index, &mut chunk)?;
            return Ok((chunk, stride));
        }
        let (across, down) = self.subsampling;
        let units = self.chunk_width.div_ceil(across) as u64 * rows.div_ceil(down) as u64;
        let mut stored = zeroed(units.saturating_mul((across * down + 2) as u64), bytes_max)?;
        self.chunk(file, index, &mut stored)?;
        let mut chunk = zeroed((stride as u64).saturating_mul(rows as u64), bytes_max)?;
        let unit_bytes = across * down + 2;
        let row_units = self.chunk_width.div_ceil(across);
        for (y, row) in chunk.chunks_exact_mut(stride).enumerate() {
            let units = &stored[y / down * row_units * unit_bytes..];
            for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let unit = &units[x / across * unit_bytes..][..unit_bytes];
                let luma = unit[y % down * across + x % across];
                *pixel = [luma, unit[unit_bytes - 2], unit[unit_bytes - 1]];
            }
        }
        Ok((chunk, stride))
    }

    /// A strip or tile that is a JPEG picture.
    fn jpeg(
        &self,
        file: &[u8],
        index: usize,
        rows: usize,
        bytes_max: u64,
    ) -> Result<(Vec<u8>, usize), ImageError> {
        let is_gray = self.has_planes || self.samples == 1;
        let is_ycbcr = self.photometric == YCBCR && !is_gray;
        let (mut pixels, width, height) =
            compression::jpeg(&self.jpeg_tables, &self.data(file, index, 0)?, is_ycbcr, bytes_max)?;
        if width < self.chunk_width.min(self.width) || height < rows {
            return Err(damaged("a JPEG strip or tile that is too small"));
        }
        if is_gray {
            pixels = pixels.as_chunks().0.iter().map(|&[gray, _, _]| gray).collect();
        }
        Ok((pixels, if is_gray { width } else { 3 * width }))
    }

    /// Undoes compression, byte order and prediction of a strip or tile.
    fn chunk(&self, file: &[u8], index: usize, out: &mut [u8]) -> Result<(), ImageError> {
        let data = self.data(file, index, out.len() as u64)?;
        self.compression.undo(&data, self.chunk_width, out)?;
        let sample_bytes = self.bits / 8;
        let samples = if self.has_planes { 1 } else { self.samples };
        let row_bytes = self.row_bytes(self.chunk_width);
        // The predictor for floating point numbers puts their bytes in order itself.
        let is_ordered = self.has_predictor() && self.predictor == predictor::FLOAT;
        let is_whole = self.bits.is_multiple_of(8) && sample_bytes > 1;
        if self.is_big_endian && is_whole && !is_ordered {
            out.chunks_exact_mut(sample_bytes).for_each(<[u8]>::reverse);
        }
        if self.has_predictor() {
            predictor::undo(self.predictor, out, row_bytes, samples, self.bits)?;
        }
        Ok(())
    }

    /// Whether samples are differences; the other compressions know no predictor.
    fn has_predictor(&self) -> bool {
        use Compression::{Deflate, Lzw, Zstandard};
        self.predictor != 1 && matches!(self.compression, Lzw | Deflate | Zstandard)
    }

    /// The stored bytes of a strip or tile, with the bits of each byte in order. `whole` is their
    /// number without compression.
    fn data<'a>(
        &self,
        file: &'a [u8],
        index: usize,
        whole: u64,
    ) -> Result<Cow<'a, [u8]>, ImageError> {
        let offset = *self.offsets.get(index).ok_or_else(truncated)?;
        let left = (file.len() as u64).checked_sub(offset).ok_or_else(truncated)?;
        // Without compression the length is known, and what the file says of it may be wrong.
        let length = match self.lengths.get(index) {
            _ if self.compression == Compression::None => whole,
            Some(&length) if length > 0 => length,
            _ => left,
        };
        let length = length.min(left);
        let data = slice(file, offset, length).ok_or_else(truncated)?;
        // JPEG has one order alone.
        let is_reversed = self.has_reversed_bits && self.compression != Compression::Jpeg;
        Ok(if is_reversed {
            data.iter().map(|byte| byte.reverse_bits()).collect::<Vec<_>>().into()
        } else {
            data.into()
        })
    }

    /// Rows of the strip or tile that begins at row `y`, as far as the picture has them.
    fn rows(&self, y: usize) -> usize {
        self.chunk_height.min(self.height - y)
    }

    /// Bytes of a row of so many pixels.
    fn row_bytes(&self, pixels: usize) -> usize {
        let samples = if self.has_planes { 1 } else { self.samples };
        pixels.saturating_mul(samples * self.bits).div_ceil(8)
    }
}

/// A zeroed buffer, or an error where the system has no memory or it is more than allowed.
fn zeroed(bytes: u64, bytes_max: u64) -> Result<Vec<u8>, ImageError> {
    let none = || ImageError::Memory { bytes };
    if bytes > bytes_max {
        return Err(none());
    }
    bytemuck::allocation::try_zeroed_vec(bytes as usize).map_err(|()| none())
}

const BITS: u16 = 258;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const STRIP_OFFSETS: u16 = 273;
const SAMPLES: u16 = 277;
const STRIP_HEIGHT: u16 = 278;
const STRIP_LENGTHS: u16 = 279;
const PLANES: u16 = 284;
const PREDICTOR: u16 = 317;
const TILE_WIDTH: u16 = 322;
const TILE_HEIGHT: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_LENGTHS: u16 = 325;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;
const JPEG_TABLES: u16 = 347;
const SUBSAMPLING: u16 = 530;

/// The color space of luma and chroma.
pub(super) const YCBCR: u64 = 6;

/// The most samples in a pixel.
const SAMPLES_MAX: u64 = 64;
