//! From the bytes of a picture file to upright 8-bit RGB.
//!
//! The reference opens pictures with Pillow and calls `convert("RGB")`, so Pillow's rules are ours:
//! alpha is dropped, never blended; 16-bit colour keeps its high byte; 16-bit gray is clipped to
//! 255, not scaled; a palette's colours count also where they are transparent.

use std::io::{Cursor, Read};
use std::path::Path;

use image::error::ImageError as Cause;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::heif::Coding;
use super::ico::Chosen;
use super::jpeg::{Jpeg, JpegError};
use super::{ImageError, bmp, gif, heif, ico, orientation, png, pnm, tiff, webp};
use crate::media::file;
use crate::media::pixels::{PIXELS_MAX, check_sides};
use crate::quiet;

/// A decoded picture: RGB, 8 bits, row-major, both sides positive.
pub(crate) struct Rgb {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixels: Vec<u8>,
}

/// Reads a picture file, not more of it than its first bytes justify.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    let failed = |source| ImageError::Read { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(ImageError::Folder { path: path.to_owned() });
    }
    let mut file = file::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.by_ref().take(SNIFFED_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    kind(&bytes)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ImageError::TooLong { bytes_max: FILE_BYTES_MAX });
    }
    Ok(bytes)
}

/// Decodes a picture file and turns it upright.
///
/// # Errors
///
/// If the bytes are no picture, are damaged, or larger than is decoded. A decoder's panic is an
/// error, too.
pub(crate) fn decode(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let kind = kind(bytes)?;
    quiet::catch(|| decode_as(kind, bytes)).unwrap_or_else(|source| {
        let format = match kind {
            Kind::Heic => "HEIC",
            Kind::Image(format) => name(format),
        };
        Err(ImageError::Decoder { format, source: Box::new(source) })
    })
}

fn decode_as(kind: Kind, bytes: &[u8]) -> Result<Rgb, ImageError> {
    let format = match kind {
        Kind::Heic => return heif::decode(bytes, DECODED_BYTES_MAX),
        Kind::Image(format) => format,
    };
    match format {
        ImageFormat::Jpeg => decode_jpeg(bytes),
        ImageFormat::Gif => gif::decode(bytes, DECODED_BYTES_MAX),
        ImageFormat::Bmp => bmp::decode(bytes),
        ImageFormat::Png => decode_png(bytes),
        ImageFormat::Tiff => {
            let (image, orientation) = match tiff::decode(bytes, DECODED_BYTES_MAX)? {
                (image, Orientation::NoTransforms) => (image, orientation::of_tiff(bytes)),
                turned => turned,
            };
            Ok(upright(image.width, image.height, image.pixels, orientation))
        }
        ImageFormat::WebP => decode_webp(bytes),
        ImageFormat::Pnm => pnm::decode(bytes),
        ImageFormat::Ico => match ico::chosen(bytes) {
            Some(Chosen::Png(file)) => decode_png(file),
            Some(Chosen::Bitmap(file)) => decode_plain(ImageFormat::Ico, &file),
            None => Err(ImageError::Truncated { format: "ICO" }),
        },
        _ => decode_plain(format, bytes),
    }
}

/// The same for formats that the library reads as the reference does.
fn decode_plain(format: ImageFormat, bytes: &[u8]) -> Result<Rgb, ImageError> {
    let failed = |cause| blame(format, bytes, cause);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(failed)?;

    let (width, height) = decoder.dimensions();
    check_sides(width, height)?;
    let (exif, xmp) = match format {
        ImageFormat::WebP => (decoder.exif_metadata(), decoder.xmp_metadata()),
        _ => (Ok(None), Ok(None)),
    };
    let color = decoder.color_type();
    let mut pixels = buffer(decoder.total_bytes())?;
    decoder.read_image(&mut pixels).map_err(failed)?;

    let pixels = to_rgb(pixels, color).ok_or_else(|| variant(format, color))?;
    let (exif, xmp) = (exif.ok().flatten(), xmp.ok().flatten());
    Ok(upright(width, height, pixels, orientation::of(exif.as_deref(), xmp.as_deref())))
}

/// The same for WebP, of an animation the first picture.
fn decode_webp(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let Some(first) = webp::First::of(bytes) else {
        return decode_plain(ImageFormat::WebP, bytes);
    };
    let (width, height) = first.screen;
    check_sides(width, height)?;
    let picture = decode_plain(ImageFormat::WebP, &first.file)?;
    let place = &first.place[2..];
    let screen = buffer(3 * u64::from(width) * u64::from(height))?;
    let pixels = Some(picture).filter(|p| [p.width, p.height] == *place);
    let pixels = pixels.and_then(|picture| first.on_screen(picture.pixels, screen));
    let source = || "a picture that does not fit the screen".into();
    let pixels = pixels.ok_or_else(|| ImageError::Damaged { format: "WebP", source: source() })?;
    let (exif, xmp) = webp::metadata(bytes);
    Ok(upright(width, height, pixels, orientation::of(exif, xmp)))
}

/// The same for PNG.
fn decode_png(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let (picture, png::Metadata { exif, xmp }) = png::decode(bytes, DECODED_BYTES_MAX)?;
    let orientation = orientation::of(exif.as_deref(), xmp.as_deref());
    Ok(upright(picture.width, picture.height, picture.pixels, orientation))
}

/// The same for JPEG, which has a decoder of its own.
fn decode_jpeg(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let failed = |cause| blame_jpeg(name(ImageFormat::Jpeg), cause);
    let jpeg = Jpeg::open(bytes).map_err(failed)?;
    let (width, height) = jpeg.sides();
    check_sides(width, height)?;
    let (exif, xmp) = jpeg.metadata();
    let orientation = orientation::of(Some(exif), xmp);
    let pixels = jpeg.decode(DECODED_BYTES_MAX).map_err(failed)?;
    Ok(upright(width, height, pixels, orientation))
}

/// Says what the JPEG decoder's error means for a file of a format.
pub(super) fn blame_jpeg(format: &'static str, cause: JpegError) -> ImageError {
    match cause {
        JpegError::Truncated => ImageError::Truncated { format },
        JpegError::Damaged(what) => ImageError::Damaged { format, source: what.into() },
        JpegError::Variant(what) => ImageError::Variant { format, source: what.into() },
        JpegError::Memory(bytes) => ImageError::Memory { bytes },
    }
}

/// What a file holds, and so who decodes it.
#[derive(Clone, Copy)]
enum Kind {
    Image(ImageFormat),
    Heic,
}

/// The kind by the first bytes, also of formats with a weak signature.
fn kind(bytes: &[u8]) -> Result<Kind, ImageError> {
    match heif::coding(bytes) {
        Some(Coding::Hevc) => return Ok(Kind::Heic),
        Some(Coding::Av1) => return Err(ImageError::NoDecoder { format: "AVIF" }),
        None => {}
    }
    match format(bytes) {
        Err(ImageError::Format { .. }) if is_tga(bytes) => Ok(Kind::Image(ImageFormat::Tga)),
        other => other.map(Kind::Image),
    }
}

/// The picture's format by its first bytes, if they cannot be another file's.
pub(crate) fn format(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    use ImageFormat::{Bmp, Gif, Ico, Jpeg, Png, Pnm, Qoi, Tiff, WebP};
    match image::guess_format(bytes) {
        Ok(known @ (Bmp | Gif | Ico | Jpeg | Png | Pnm | Qoi | Tiff | WebP)) => Ok(known),
        _ if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") => Ok(Tiff),
        _ if bytes.is_empty() => Err(ImageError::Empty),
        other => Err(ImageError::Format { found: describe(bytes, other.ok()) }),
    }
}

/// Whether the bytes are a possible header of a TGA file, which has no signature at its start
/// (Truevision TGA 2.0, C.3): map, kind, sides and depth.
fn is_tga(bytes: &[u8]) -> bool {
    let Some(&[_, map, kind, _, _, _, _, map_bits, _, _, _, _, w0, w1, h0, h1, depth, flags]) =
        bytes.first_chunk::<18>()
    else {
        return false;
    };
    let is_depth = match kind {
        1 | 9 => map == 1 && matches!(map_bits, 15 | 16 | 24 | 32) && depth == 8,
        2 | 10 => matches!(depth, 16 | 24 | 32),
        3 | 11 => matches!(depth, 8 | 16),
        _ => false,
    };
    map <= 1 && is_depth && [w0, w1] != [0; 2] && [h0, h1] != [0; 2] && flags & 0xc0 == 0
}

/// What a decoder may take.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    limits
}

/// Says what a decoder's error means for the file.
pub(crate) fn blame(format: ImageFormat, bytes: &[u8], cause: Cause) -> ImageError {
    let format = name(format);
    if is_end_of_file(&cause) {
        return ImageError::Truncated { format };
    }
    match cause {
        Cause::Limits(_) => too_much_memory(),
        Cause::Unsupported(_) => ImageError::Variant { format, source: Box::new(cause) },
        _ if bytes.len() < SNIFFED_BYTES as usize => ImageError::Truncated { format },
        _ => ImageError::Damaged { format, source: Box::new(cause) },
    }
}

/// The error for a picture that takes more than decoding may.
pub(super) fn too_much_memory() -> ImageError {
    ImageError::Memory { bytes: DECODED_BYTES_MAX }
}

/// Whether a reader's complaint about the end of the file is at the root of `cause`.
fn is_end_of_file(cause: &Cause) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    while let Some(error) = next {
        let io = match error.downcast_ref::<Cause>() {
            Some(Cause::IoError(io)) => Some(io),
            _ => error.downcast_ref::<std::io::Error>(),
        };
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof) {
            return true;
        }
        next = error.source();
    }
    false
}

/// A zeroed buffer, or an error where the system has no memory.
pub(super) fn buffer(bytes: u64) -> Result<Vec<u8>, ImageError> {
    let none = || ImageError::Memory { bytes };
    if bytes > DECODED_BYTES_MAX {
        return Err(none());
    }
    let length = usize::try_from(bytes).map_err(|_| none())?;
    bytemuck::allocation::try_zeroed_vec(length).map_err(|()| none())
}

/// Samples of any colour type as RGB; `None` for floating point.
pub(super) fn to_rgb(pixels: Vec<u8>, color: ColorType) -> Option<Vec<u8>> {
    let high = |sample: [u8; 2]| (u16::from_ne_bytes(sample) >> 8) as u8;
    let clipped = |sample: [u8; 2]| u16::from_ne_bytes(sample).min(255) as u8;
    Some(match color {
        ColorType::Rgb8 => pixels,
        ColorType::Rgba8 => keep(pixels, |&[r, g, b, _]: &[u8; 4]| [r, g, b]),
        ColorType::L8 => pixels.iter().flat_map(|&l| [l; 3]).collect(),
        ColorType::La8 => pixels.as_chunks().0.iter().flat_map(|&[l, _]| [l; 3]).collect(),
        ColorType::L16 => pixels.as_chunks().0.iter().flat_map(|&l| [clipped(l); 3]).collect(),
        ColorType::La16 => keep(pixels, |&[a, b, _, _]: &[u8; 4]| [high([a, b]); 3]),
        ColorType::Rgb16 => {
            keep(pixels, |&[r, s, g, h, b, c]: &[u8; 6]| [high([r, s]), high([g, h]), high([b, c])])
        }
        ColorType::Rgba16 => keep(pixels, |&[r, s, g, h, b, c, _, _]: &[u8; 8]| {
            [high([r, s]), high([g, h]), high([b, c])]
        }),
        _ => return None,
    })
}

/// Maps pixels of `N` >= 3 bytes to three, in place: the largest pictures are not held twice.
fn keep<const N: usize>(mut pixels: Vec<u8>, rgb: impl Fn(&[u8; N]) -> [u8; 3]) -> Vec<u8> {
    const { assert!(N >= 3, "a pixel may not grow") };
    let count = pixels.len() / N;
    for i in 0..count {
        let Some(pixel) = pixels[N * i..].first_chunk() else { break };
        let rgb = rgb(pixel);
        pixels[3 * i..3 * i + 3].copy_from_slice(&rgb);
    }
    pixels.truncate(3 * count);
    pixels
}

/// Applies the orientation that the camera wrote into the file.
pub(super) fn upright(width: u32, height: u32, pixels: Vec<u8>, orientation: Orientation) -> Rgb {
    if orientation == Orientation::NoTransforms {
        return Rgb { width, height, pixels };
    }
    let image = RgbImage::from_raw(width, height, pixels).expect("three bytes for each pixel");
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    Rgb { width: image.width(), height: image.height(), pixels: image.into_rgb8().into_raw() }
}

/// The error for samples that have no rule.
fn variant(format: ImageFormat, color: ColorType) -> ImageError {
    let source = format!("samples of type {color:?}").into();
    ImageError::Variant { format: name(format), source }
}

/// The format's name in messages.
fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Pnm => "PNM",
        ImageFormat::Ico => "ICO",
        ImageFormat::Qoi => "QOI",
        ImageFormat::Tga => "TGA",
        _ => "TIFF",
    }
}

/// What data that is no picture looks like.
fn describe(bytes: &[u8], format: Option<ImageFormat>) -> String {
    let start = &bytes[..bytes.len().min(SNIFFED_BYTES as usize)];
    let is_text = |c: char| !c.is_control() || c.is_whitespace();
    match (format, start.get(4..12)) {
        (Some(format), _) => format!("a {format:?} picture"),
        (_, Some(&[b'f', b't', b'y', b'p', ..])) => "a film".into(),
        _ if start.starts_with(b"%PDF") => "a PDF document".into(),
        _ if start.utf8_chunks().next().is_some_and(|c| {
            c.valid().len() + 3 >= start.len() && c.valid().chars().all(is_text)
        }) =>
        {
            "text".into()
        }
        _ => format!("of no known kind (it begins with {:02x?})", &start[..start.len().min(8)]),
    }
}

/// The most memory that decoding one picture takes: six bytes for each of [`PIXELS_MAX`].
pub(crate) const DECODED_BYTES_MAX: u64 = 6 * PIXELS_MAX;

/// The longest file that is read: raw pixels of [`PIXELS_MAX`] with room for metadata.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// Bytes that tell the format.
const SNIFFED_BYTES: u64 = 64;
