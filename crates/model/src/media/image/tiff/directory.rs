//! The first directory of a TIFF file: numbered fields, in either byte order, with offsets of 32
//! bits (TIFF 6.0, section 2) or 64 (BigTIFF).

use super::super::ImageError;
use super::{damaged, truncated};

/// The fields of the first picture of a file.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    pub(super) is_big_endian: bool,
    fields: Vec<Field>,
}

/// One field: where its values are and how many.
struct Field {
    tag: u16,
    kind: u16,
    count: u64,
    at: u64,
}

impl<'a> Directory<'a> {
    /// Reads the first directory of a file.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let is_big_endian = bytes.starts_with(b"MM");
        let mut directory = Self { bytes, is_big_endian, fields: Vec::new() };
        let is_wide = directory.number(2, 2)? == 43;
        let (first, width) = if is_wide { (8, 8) } else { (4, 4) };
        let start = directory.number(first, width)?;
        if start == 0 {
            return Err(damaged("a file without a picture"));
        }
        let (count_width, field_bytes) = if is_wide { (8, 20) } else { (2, 12) };
        let count = directory.number(start, count_width)?;
        let start = start.saturating_add(count_width);
        let left = (bytes.len() as u64).saturating_sub(start) / field_bytes;
        if count > left {
            return Err(truncated());
        }
        for i in 0..count {
            let at = start + i * field_bytes;
            let (tag, kind) =
                (directory.number(at, 2)? as u16, directory.number(at + 2, 2)? as u16);
            let count = directory.number(at + 4, width)?;
            // Values that fit into the place of their offset stand there themselves.
            let place = at + 4 + width;
            let is_inside = count.saturating_mul(width_of(kind)) <= width;
            let at = if is_inside { place } else { directory.number(place, width)? };
            directory.fields.push(Field { tag, kind, count, at });
        }
        Ok(directory)
    }

    /// The first value of a field of whole numbers; `None` where there is no such field.
    pub(super) fn uint(&self, tag: u16) -> Result<Option<u64>, ImageError> {
        Ok(self.uints(tag)?.and_then(|values| values.first().copied()))
    }

    /// The values of a field of whole numbers; `None` where there are none.
    pub(super) fn uints(&self, tag: u16) -> Result<Option<Vec<u64>>, ImageError> {
        let Some(field) = self.field(tag) else { return Ok(None) };
        let width = width_of(field.kind);
        if !matches!(field.kind, 1 | 3 | 4 | 6 | 8 | 9 | 13 | 16..=18) {
            return Err(damaged("a field of an unexpected type"));
        }
        let values = self.data(field)?.chunks_exact(width as usize);
        let values: Vec<u64> = values.map(|value| self.fold(value)).collect();
        Ok(Some(values).filter(|values| !values.is_empty()))
    }

    /// The values of a field of fractions or floating point numbers.
    pub(super) fn floats(&self, tag: u16) -> Result<Option<Vec<f32>>, ImageError> {
        let Some(field) = self.field(tag) else { return Ok(None) };
        let data = self.data(field)?;
        let ratio = |value: &[u8]| {
            let (over, under) = (self.fold(&value[..4]) as u32, self.fold(&value[4..]) as u32);
            if under == 0 { 0.0 } else { (f64::from(over) / f64::from(under)) as f32 }
        };
        Ok(match field.kind {
            5 => Some(data.chunks_exact(8).map(ratio).collect()),
            11 => Some(data.chunks_exact(4).map(|v| f32::from_bits(self.fold(v) as u32)).collect()),
            12 => Some(data.chunks_exact(8).map(|v| f64::from_bits(self.fold(v)) as f32).collect()),
            1 | 3 | 4 => self.uints(tag)?.map(|v| v.into_iter().map(|v| v as f32).collect()),
            _ => None,
        })
    }

    /// The bytes of a field of any type.
    pub(super) fn raw(&self, tag: u16) -> Result<Option<&'a [u8]>, ImageError> {
        self.field(tag).map(|field| self.data(field)).transpose()
    }

    /// Whether there is such a field.
    pub(super) fn has(&self, tag: u16) -> bool {
        self.field(tag).is_some()
    }

    fn field(&self, tag: u16) -> Option<&Field> {
        self.fields.iter().find(|field| field.tag == tag)
    }

    fn data(&self, field: &Field) -> Result<&'a [u8], ImageError> {
        let length = field.count.saturating_mul(width_of(field.kind));
        slice(self.bytes, field.at, length).ok_or_else(truncated)
    }

    fn number(&self, at: u64, width: u64) -> Result<u64, ImageError> {
        Ok(self.fold(slice(self.bytes, at, width).ok_or_else(truncated)?))
    }

    /// A number of up to eight bytes in the file's byte order.
    fn fold(&self, bytes: &[u8]) -> u64 {
        let push = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        if self.is_big_endian {
            bytes.iter().fold(0, push)
        } else {
            bytes.iter().rev().fold(0, push)
        }
    }
}

/// `length` bytes at `at`, if the file has them.
pub(super) fn slice(bytes: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(at).ok()?;
    let end = usize::try_from(at.checked_add(length)?).ok()?;
    bytes.get(start..end)
}

/// Bytes of a value of a type (TIFF 6.0, section 2, and BigTIFF's three); 1 for unknown ones.
fn width_of(kind: u16) -> u64 {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => 1,
    }
}
