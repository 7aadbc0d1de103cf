//! The ways in which the bytes of a strip or tile are made fewer, and the way back.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use weezl::{BitOrder, LzwStatus};

use super::super::ImageError;
use super::super::{decode, jpeg::Jpeg};
use super::directory::Directory;
use super::fax::Fax;
use super::{damaged, truncated, variant};
use crate::media::pixels::check_sides;

/// How strips and tiles are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    PackBits,
    Lzw,
    Deflate,
    Zstandard,
    Fax(Fax),
    Jpeg,
}

impl Compression {
    /// The compression of the picture (TIFF 6.0 and its supplements; libtiff's list of numbers).
    pub(super) fn of(directory: &Directory<'_>) -> Result<Self, ImageError> {
        let has_two_dimensions = || {
            let options = directory.uint(GROUP_3_OPTIONS)?.unwrap_or(0);
            Ok(Self::Fax(Fax::Group3 { has_two_dimensions: options & 1 == 1 }))
        };
        Err(variant(match directory.uint(COMPRESSION)?.unwrap_or(1) {
            1 => return Ok(Self::None),
            2 => return Ok(Self::Fax(Fax::Aligned(8))),
            3 => return has_two_dimensions(),
            4 => return Ok(Self::Fax(Fax::Group4)),
            5 => return Ok(Self::Lzw),
            7 => return Ok(Self::Jpeg),
            8 | 32_946 => return Ok(Self::Deflate),
            32_771 => return Ok(Self::Fax(Fax::Aligned(16))),
            32_773 => return Ok(Self::PackBits),
            50_000 => return Ok(Self::Zstandard),
            6 => "old-style JPEG compression",
            9 | 10 | 34_661 => "JBIG compression",
            32_766 => "NeXT compression",
            32_809 => "ThunderScan compression",
            32_908 | 32_909 => "Pixar compression",
            33_003..=33_005 | 34_712 => "JPEG 2000 compression",
            34_676 | 34_677 => "SGI Log compression",
            34_887 => "LERC compression",
            34_892 => "lossy DNG compression",
            34_925 => "LZMA compression",
            50_001 => "WebP compression",
            50_002 | 52_546 => "JPEG XL compression",
            _ => "a compression of an unknown number",
        }))
    }

    /// Fills `out` with the bytes of a strip or tile of rows of `width` pixels; what `data` has
    /// beyond is left. `out` must be zero. Not for JPEG.
    ///
    /// # Errors
    ///
    /// If `data` are damaged or end before `out` is full.
    pub(super) fn undo(self, data: &[u8], width: usize, out: &mut [u8]) -> Result<(), ImageError> {
        match self {
            Self::None | Self::Jpeg => {
                out.copy_from_slice(data.get(..out.len()).ok_or_else(truncated)?);
                Ok(())
            }
            Self::PackBits => pack_bits(data, out),
            Self::Lzw => lzw(data, out),
            Self::Deflate => deflate(data, out),
            Self::Zstandard => zstandard(data, out),
            Self::Fax(fax) => fax.decode(data, width, out),
        }
    }
}

/// Runs of one byte and of different ones, each with its length in front (TIFF 6.0, section 9).
fn pack_bits(mut data: &[u8], mut out: &mut [u8]) -> Result<(), ImageError> {
    while !out.is_empty() {
        let (&length, rest) = data.split_first().ok_or_else(truncated)?;
        data = rest;
        let length = usize::from(length);
        let count = match length {
            0..=127 => length + 1,
            128 => continue,
            _ => 257 - length,
        };
        let (place, left) = out.split_at_mut(count.min(out.len()));
        if length < 128 {
            place.copy_from_slice(data.get(..place.len()).ok_or_else(truncated)?);
            data = data.get(count..).unwrap_or_default();
        } else {
            let (&byte, rest) = data.split_first().ok_or_else(truncated)?;
            place.fill(byte);
            data = rest;
        }
        out = left;
    }
    Ok(())
}

/// LZW (TIFF 6.0, section 13), and as programs before 1988 wrote it: bits from the low end, codes
/// that grow one later. Those begin with a zero byte and a low one bit, the clear code.
fn lzw(data: &[u8], out: &mut [u8]) -> Result<(), ImageError> {
    let mut decoder = match data {
        [0, second, ..] if second & 1 == 1 => weezl::decode::Decoder::new(BitOrder::Lsb, 8),
        _ => weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8),
    };
    let (mut read, mut written) = (0, 0);
    while written < out.len() {
        let step = decoder.decode_bytes(&data[read..], &mut out[written..]);
        read += step.consumed_in;
        written += step.consumed_out;
        match step.status {
            Ok(LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            Err(_) => return Err(damaged("an LZW code that does not exist")),
            Ok(_) if written < out.len() => return Err(truncated()),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Deflate in a zlib stream. A wrong checksum after the last byte that is wanted does not matter.
fn deflate(data: &[u8], out: &mut [u8]) -> Result<(), ImageError> {
    let mut decoder = Decompress::new(true);
    loop {
        let (read, written) = (decoder.total_in() as usize, decoder.total_out() as usize);
        if written == out.len() {
            return Ok(());
        }
        let input = data.get(read..).unwrap_or_default();
        let status = decoder.decompress(input, &mut out[written..], FlushDecompress::None);
        let is_stuck =
            (decoder.total_in() as usize, decoder.total_out() as usize) == (read, written);
        match status {
            Ok(Status::Ok | Status::BufError) if !is_stuck => {}
            Ok(_) if decoder.total_out() as usize == out.len() => {}
            Ok(_) => return Err(truncated()),
            Err(_) => return Err(damaged("a Deflate code that does not exist")),
        }
    }
}

/// Zstandard frames.
fn zstandard(data: &[u8], out: &mut [u8]) -> Result<(), ImageError> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(data);
    let mut decoder = decoder.map_err(|_| damaged("a Zstandard frame without its header"))?;
    let mut written = 0;
    while written < out.len() {
        match decoder.read(&mut out[written..]) {
            Ok(0) => return Err(truncated()),
            Ok(count) => written += count,
            Err(_) => return Err(damaged("a Zstandard block that is damaged or cut short")),
        }
    }
    Ok(())
}

/// The pixels of a strip or tile that is a JPEG picture, RGB, its width and its height.
///
/// Its tables stand apart, once for all (TIFF technical note 2), and not the stream but the
/// directory says what its components are: gray, or YCbCr, or anything else as it is.
pub(super) fn jpeg(
    tables: &[u8],
    data: &[u8],
    is_ycbcr: bool,
    bytes_max: u64,
) -> Result<(Vec<u8>, usize, usize), ImageError> {
    let mut stream = vec![0xff, 0xd8];
    append(tables, &mut stream);
    // Adobe's mark decides whether colors are transformed, where no JFIF mark is.
    stream.extend_from_slice(b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0");
    stream.push(is_ycbcr.into());
    append(data, &mut stream);
    stream.extend([0xff, 0xd9]);
    let failed = |cause| decode::blame_jpeg("TIFF", cause);
    let jpeg = Jpeg::open(&stream).map_err(failed)?;
    let (width, height) = jpeg.sides();
    check_sides(width, height)?;
    let pixels = jpeg.decode(bytes_max).map_err(failed)?;
    Ok((pixels, width as usize, height as usize))
}

/// Appends the segments of a JPEG stream, but for its start, its end, and the marks that say what
/// its components are, and all that follows the head of its first scan.
fn append(mut data: &[u8], stream: &mut Vec<u8>) {
    while let [0xff, marker, rest @ ..] = data {
        let length = match (marker, rest) {
            (0xff, _) => {
                data = &data[1..];
                continue;
            }
            (0xd8 | 0xd9 | 0x01, _) => 0,
            (0xda, _) => return stream.extend_from_slice(data),
            (_, &[high, low, ..]) => usize::from(u16::from_be_bytes([high, low])),
            _ => return,
        };
        let Some(after) = rest.get(length..) else { return };
        if length > 0 && !matches!(marker, 0xe0 | 0xee) {
            stream.extend_from_slice(&data[..2 + length]);
        }
        data = after;
    }
}

const COMPRESSION: u16 = 259;
const GROUP_3_OPTIONS: u16 = 292;
