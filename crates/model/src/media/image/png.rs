//! PNG pictures, as forgivingly as the reference reads them: what follows the pixels may be missing
//! or damaged, checksums of the pixels are not looked at, and chunks that nobody knows are skipped.
//!
//! So the chunks are walked here, and the library is given those that make the picture.

use std::io::{Cursor, Read as _};

use flate2::read::ZlibDecoder;
use image::ColorType;
use png::{BitDepth, DecodeOptions, Decoder, DecodingError, Transformations};

use super::ImageError;
use super::decode::{self, Rgb};
use crate::media::pixels::check_sides;

/// Decodes a file; `bytes_max` bounds the memory of its samples. The rest is Exif and XMP.
pub(super) fn decode(bytes: &[u8], bytes_max: u64) -> Result<(Rgb, Metadata), ImageError> {
    let chunks = Chunks::read(bytes)?;
    let metadata = chunks.metadata();
    let file = chunks.file()?;
    let mut options = DecodeOptions::default();
    options.set_ignore_crc(true);
    options.set_ignore_adler32(false);
    let mut decoder = Decoder::new_with_options(Cursor::new(&file), options);
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    decoder.set_limits(png::Limits { bytes: bytes_max });
    decoder.set_transformations(Transformations::EXPAND);
    let (width, height) = {
        let header = decoder.read_header_info().map_err(blame)?;
        (header.width, header.height)
    };
    check_sides(width, height)?;
    let mut reader = decoder.read_info().map_err(blame)?;
    let length = reader.output_buffer_size().unwrap_or(usize::MAX);
    let mut samples = decode::buffer(length as u64)?;
    reader.next_frame(&mut samples).map_err(|error| match chunks.has_end {
        true => blame(error),
        false => ImageError::Truncated { format: "PNG" },
    })?;

    let (color, depth) = reader.output_color_type();
    if depth == BitDepth::Sixteen {
        samples.as_chunks_mut().0.iter_mut().for_each(|pair: &mut [u8; 2]| {
            *pair = u16::from_be_bytes(*pair).to_ne_bytes();
        });
    }
    let color = match (color, depth == BitDepth::Sixteen) {
        (png::ColorType::Grayscale, false) => ColorType::L8,
        (png::ColorType::GrayscaleAlpha, false) => ColorType::La8,
        (png::ColorType::Rgba, false) => ColorType::Rgba8,
        (png::ColorType::Grayscale, true) => ColorType::L16,
        (png::ColorType::GrayscaleAlpha, true) => ColorType::La16,
        (png::ColorType::Rgb, true) => ColorType::Rgb16,
        (png::ColorType::Rgba, true) => ColorType::Rgba16,
        _ => ColorType::Rgb8,
    };
    let pixels = decode::to_rgb(samples, color).ok_or_else(|| damaged("samples of no kind"))?;
    Ok((Rgb { width, height, pixels }, metadata))
}

/// What may hold the orientation.
#[derive(Default)]
pub(super) struct Metadata {
    pub(super) exif: Option<Vec<u8>>,
    pub(super) xmp: Option<Vec<u8>>,
}

/// The chunks that count (PNG specification, section 11).
#[derive(Default)]
struct Chunks<'a> {
    header: &'a [u8],
    palette: &'a [u8],
    data: Vec<&'a [u8]>,
    exif: Option<&'a [u8]>,
    /// Whether the file goes on to its end chunk.
    has_end: bool,
    /// Kind and body of those with text.
    texts: Vec<([u8; 4], &'a [u8])>,
}

impl<'a> Chunks<'a> {
    /// Walks the file. Up to the pixels every chunk must be sound; those after them may end the
    /// file early, but none may be cut in two.
    fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let truncated = || ImageError::Truncated { format: "PNG" };
        let mut chunks = Self::default();
        let mut rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
        let mut is_run = true;
        loop {
            let has_data = !chunks.data.is_empty();
            let Some((head, after)) = rest.split_first_chunk::<8>() else {
                return if has_data { Ok(chunks) } else { Err(truncated()) };
            };
            let [a, b, c, d, kind @ ..] = *head;
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if !kind.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return if has_data { Ok(chunks) } else { Err(damaged("a chunk without a name")) };
            }
            let body = after.get(..length);
            rest = after.get(length + 4..).unwrap_or_default();
            match (&kind, body) {
                (b"IDAT", _) if is_run || !has_data => {
                    chunks.data.push(body.unwrap_or(after));
                    is_run = true;
                    continue;
                }
                (b"IEND", _) if has_data => return Ok(Self { has_end: true, ..chunks }),
                (_, None) => return Err(truncated()),
                (b"IEND", _) => return Err(damaged("no pixels")),
                (_, Some(body)) => {
                    if !has_data {
                        let sum = after.get(length..length + 4).ok_or_else(truncated)?;
                        if sum != checksum(&[&kind, body]).to_be_bytes() {
                            return Err(damaged("a chunk with a wrong checksum"));
                        }
                    }
                    is_run = false;
                    chunks.keep(kind, body);
                }
            }
        }
    }

    fn keep(&mut self, kind: [u8; 4], body: &'a [u8]) {
        match &kind {
            b"IHDR" => self.header = body,
            b"PLTE" => self.palette = body,
            b"eXIf" => self.exif = Some(body),
            b"tEXt" | b"zTXt" | b"iTXt" => self.texts.push((kind, body)),
            _ => {}
        }
    }

    /// A file of those chunks alone: header, palette and pixels.
    fn file(&self) -> Result<Vec<u8>, ImageError> {
        let header = self.header.get(..13).ok_or_else(|| damaged("no header"))?;
        let &[_, _, _, _, _, _, _, _, depth, color, _, filter, interlace] = header else {
            return Err(damaged("no header"));
        };
        if filter != 0 {
            return Err(damaged("filters of an unknown kind"));
        }
        let mut file = SIGNATURE.to_vec();
        let sides = [&header[..10], &[0, 0, u8::from(interlace != 0)]].concat();
        append(&mut file, b"IHDR", &[&sides]);
        if color == 3 {
            // Colours that the palette has not are black, as the reference has them.
            let count = 1usize << depth.min(8);
            let mut palette = [0; 3 * 256];
            let given = self.palette.len().min(palette.len()) / 3 * 3;
            palette[..given].copy_from_slice(&self.palette[..given]);
            append(&mut file, b"PLTE", &[&palette[..3 * count]]);
        }
        append(&mut file, b"IDAT", &self.data);
        append(&mut file, b"IEND", &[]);
        Ok(file)
    }

    /// Exif, as it is or in the hexadecimal text of older programs, and XMP.
    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        let mut raw = None;
        for (kind, body) in &self.texts {
            let Some((name, text)) = text(*kind, body) else { continue };
            match name {
                b"Raw profile type exif" => raw = profile(&text),
                b"exif" => metadata.exif = Some(text),
                b"XML:com.adobe.xmp" => metadata.xmp = Some(text),
                _ => {}
            }
        }
        metadata.exif = self.exif.map(<[u8]>::to_vec).or(metadata.exif).or(raw);
        metadata
    }
}

/// Name and text of a chunk; `None` where it is damaged.
fn text(kind: [u8; 4], body: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let (name, rest) = split(body)?;
    let inflate = |bytes: &[u8]| {
        let mut text = Vec::new();
        let limit = TEXT_BYTES_MAX as u64;
        ZlibDecoder::new(bytes).take(limit).read_to_end(&mut text).ok().map(|_| text)
    };
    let text = match (&kind, rest) {
        (b"tEXt", _) => rest.to_vec(),
        (b"zTXt", [0, packed @ ..]) => inflate(packed)?,
        (b"iTXt", [is_packed, method, rest @ ..]) => {
            let (_language, rest) = split(rest)?;
            let (_translated, rest) = split(rest)?;
            match (is_packed, method) {
                (0, _) => rest.to_vec(),
                (_, 0) => inflate(rest)?,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((name, text))
}

/// What is before and after the first zero.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// The bytes of a profile written as text: an empty line, its name, its length, and digits.
fn profile(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.split(|&byte| byte == b'\n').skip(3).flatten();
    let digits = digits.filter(|byte| !byte.is_ascii_whitespace());
    let digits = digits.map(|&byte| char::from(byte).to_digit(16).map(|digit| digit as u8));
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Appends a chunk of these pieces. Its checksum is left out: nobody looks at it.
fn append(file: &mut Vec<u8>, kind: &[u8; 4], pieces: &[&[u8]]) {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    file.extend((length as u32).to_be_bytes());
    file.extend(kind);
    pieces.iter().for_each(|piece| file.extend(*piece));
    file.extend([0; 4]);
}

/// CRC-32 (PNG specification, annex D).
fn checksum(pieces: &[&[u8]]) -> u32 {
    let step = |sum: u32, &byte: &u8| {
        let at = (sum ^ u32::from(byte)) & 0xff;
        CRC[at as usize] ^ (sum >> 8)
    };
    !pieces.iter().copied().flatten().fold(u32::MAX, step)
}

/// The checksum of each byte.
const CRC: [u32; 256] = {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = (sum >> 1) ^ ((sum & 1) * 0xedb8_8320);
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

fn blame(error: DecodingError) -> ImageError {
    match error {
        DecodingError::LimitsExceeded => decode::too_much_memory(),
        DecodingError::IoError(_) => ImageError::Truncated { format: "PNG" },
        other => damaged(other),
    }
}

fn damaged(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ImageError {
    ImageError::Damaged { format: "PNG", source: what.into() }
}

const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// The longest text that is unpacked, the reference's limit.
const TEXT_BYTES_MAX: usize = 1 << 20;
