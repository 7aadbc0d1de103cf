//! Which way up a picture is: what Exif or XMP in the file say, by the rules of Pillow's
//! `getexif` and `exif_transpose`.
//!
//! Exif comes first. XMP counts where Exif has no orientation; an orientation without a meaning
//! counts as none was wanted. Exif that cannot be opened makes both count as nothing.

use image::metadata::Orientation;

/// The orientation that a picture's metadata asks for.
pub(super) fn of(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let exif = exif.map(unnamed).filter(|exif| !exif.is_empty());
    if exif.is_some_and(|exif| Tiff::open(exif).is_none()) {
        return Orientation::NoTransforms;
    }
    let value = exif.and_then(in_exif).or_else(|| xmp.and_then(in_xmp));
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// The same of a TIFF file, which is its own Exif and may hold XMP.
pub(super) fn of_tiff(bytes: &[u8]) -> Orientation {
    let Some(tiff) = Tiff::open(bytes) else { return Orientation::NoTransforms };
    let value = tiff.find(ORIENTATION).and_then(|field| field.value());
    let value = value.or_else(|| tiff.find(XMP).and_then(|field| in_xmp(field.data)));
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Exif without its name, which some programs write, or write twice.
fn unnamed(exif: &[u8]) -> &[u8] {
    let name = b"Exif\0\0";
    let once = exif.strip_prefix(name).unwrap_or(exif);
    once.strip_prefix(name).unwrap_or(once)
}

/// The orientation in Exif, and a number without a meaning where it is no number; `None` if there
/// is none.
fn in_exif(exif: &[u8]) -> Option<u8> {
    Tiff::open(exif)?.find(ORIENTATION)?.value()
}

/// The digit after `tiff:Orientation="` or `tiff:Orientation>`.
fn in_xmp(xmp: &[u8]) -> Option<u8> {
    let name = b"tiff:Orientation";
    let after = xmp.windows(name.len()).enumerate().filter(|(_, window)| window == name);
    let mut after = after.map(|(at, _)| &xmp[at + name.len()..]);
    after.find_map(|after| match after {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => {
            Some(digit - b'0')
        }
        _ => None,
    })
}

/// The first directory of a TIFF structure (TIFF 6.0, section 2).
struct Tiff<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
    /// Whether offsets have 8 bytes (BigTIFF).
    is_wide: bool,
    /// Where the directory is.
    at: usize,
}

/// A field of a directory.
struct Field<'a> {
    kind: u64,
    data: &'a [u8],
    is_big_endian: bool,
}

impl<'a> Tiff<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let (is_big_endian, is_wide) = match bytes.get(..4)? {
            // Two writers mix the byte orders.
            b"II*\0" | b"II\0*" => (false, false),
            b"MM\0*" | b"MM*\0" => (true, false),
            b"II+\0" => (false, true),
            b"MM\0+" => (true, true),
            _ => return None,
        };
        let mut tiff = Self { bytes, is_big_endian, is_wide, at: 0 };
        let offset = if is_wide { tiff.number(8, 8)? } else { tiff.number(4, 4)? };
        tiff.at = usize::try_from(offset).ok()?;
        Some(tiff)
    }

    /// The first field with this tag whose value is in the file.
    fn find(&self, tag: u64) -> Option<Field<'a>> {
        let (count_length, entry_length) = if self.is_wide { (8, 20) } else { (2, 12) };
        let count = self.number(self.at, count_length)?;
        let mut at = self.at.checked_add(count_length)?;
        for _ in 0..count {
            let found = self.number(at, 2)?;
            if found == tag
                && let Some(field) = self.field(at)
            {
                return Some(field);
            }
            at += entry_length;
        }
        None
    }

    /// The field at `at`.
    fn field(&self, at: usize) -> Option<Field<'a>> {
        let word = if self.is_wide { 8 } else { 4 };
        let kind = self.number(at + 2, 2)?;
        let size = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 => 8,
            _ => return None,
        };
        let length = usize::try_from(self.number(at + 4, word)?).ok()?.checked_mul(size)?;
        let place = at + 4 + word;
        let place =
            if length > word { usize::try_from(self.number(place, word)?).ok()? } else { place };
        let data = self.bytes.get(place..place.checked_add(length)?)?;
        let is_big_endian = self.is_big_endian;
        Some(Field { kind, data, is_big_endian }).filter(|_| length > 0)
    }

    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        Some(number(bytes, self.is_big_endian))
    }
}

impl Field<'_> {
    /// The first value, or one without a meaning where it is no number of a byte.
    fn value(&self) -> Option<u8> {
        let unsigned = |length| self.data.get(..length).map(|b| number(b, self.is_big_endian));
        let value = match self.kind {
            6 => unsigned(1),
            3 | 8 => unsigned(2),
            4 | 9 | 13 => unsigned(4),
            16 => unsigned(8),
            5 | 10 => {
                let (above, below) = (unsigned(4)?, number(&self.data[4..8], self.is_big_endian));
                (below > 0 && above % below == 0).then(|| above / below)
            }
            11 => unsigned(4).and_then(|bits| whole(f32::from_bits(bits as u32).into())),
            12 => unsigned(8).and_then(|bits| whole(f64::from_bits(bits))),
            // Bytes and text are no numbers.
            _ => None,
        };
        Some(value.and_then(|value| u8::try_from(value).ok()).unwrap_or(0))
    }
}

fn whole(value: f64) -> Option<u64> {
    (value >= 0.0 && value.fract() == 0.0).then_some(value as u64)
}

/// A number of up to 8 bytes.
fn number(bytes: &[u8], is_big_endian: bool) -> u64 {
    let add = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
    if is_big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
}

const ORIENTATION: u64 = 274;
const XMP: u64 = 700;
