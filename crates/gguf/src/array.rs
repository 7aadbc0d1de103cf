//! Arrays of the metadata: half a million merges are read without copying one.
//!
//! An array is checked element by element when the file is parsed and stays where it is; what is
//! kept is its type, its length and its bytes. The iterators decode on the way and cannot fail.

use std::fmt;
use std::ops::Range;

use crate::reader::{Endian, Field, Reader};
use crate::{Error, Result, ValueType, limits};

/// An array in the metadata: a view of its bytes in the file.
///
/// Two arrays are equal when type, byte order and bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    element_type: ValueType,
    len: usize,
    bytes: &'a [u8],
    /// All of `bytes`, if the strings can be cut out of it without being checked again.
    text: Option<&'a str>,
    endian: Endian,
}

impl<'a> Array<'a> {
    /// The type of every element.
    pub const fn element_type(&self) -> ValueType {
        self.element_type
    }

    /// The number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements as they lie in the file, in the byte order of the file.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) const fn endian(&self) -> Endian {
        self.endian
    }

    /// The elements, if they are strings.
    pub fn strings(self) -> Option<impl ExactSizeIterator<Item = &'a str> + Clone + 'a> {
        (self.element_type == ValueType::String).then(|| {
            spans(self.bytes, self.len, self.endian).map(move |span| match self.text {
                Some(text) => &text[span],
                None => std::str::from_utf8(&self.bytes[span])
                    .expect("`Array::read` has checked every string"),
            })
        })
    }

    /// The elements, if they are integers of any type and none is negative.
    pub fn uints(self) -> Option<impl ExactSizeIterator<Item = u64> + Clone + 'a> {
        use ValueType as T;
        let signed = matches!(self.element_type, T::I8 | T::I16 | T::I32 | T::I64);
        let unsigned = matches!(self.element_type, T::U8 | T::U16 | T::U32 | T::U64);
        let fits = unsigned || (signed && self.integers().all(|v| v >= 0));
        fits.then(|| self.integers().map(|v| v as u64))
    }

    /// The elements, if they are integers of any type and an `i64` holds each.
    pub fn ints(self) -> Option<impl ExactSizeIterator<Item = i64> + Clone + 'a> {
        use ValueType as T;
        let fits = match self.element_type {
            T::U8 | T::U16 | T::U32 | T::I8 | T::I16 | T::I32 | T::I64 => true,
            T::U64 => self.integers().all(|v| i64::try_from(v).is_ok()),
            _ => false,
        };
        fits.then(|| self.integers().map(|v| v as i64))
    }

    /// The elements, if they are `f32` or `f64`.
    pub fn floats(self) -> Option<impl ExactSizeIterator<Item = f64> + Clone + 'a> {
        let Self { endian, .. } = self;
        matches!(self.element_type, ValueType::F32 | ValueType::F64).then(|| {
            self.fixed().map(move |b| match b.len() {
                4 => endian.f32(b).into(),
                _ => endian.f64(b),
            })
        })
    }

    /// The elements, if they are booleans.
    pub fn bools(self) -> Option<impl ExactSizeIterator<Item = bool> + Clone + 'a> {
        (self.element_type == ValueType::Bool).then(|| self.bytes.iter().map(|b| *b == 1))
    }

    /// The elements, if they are arrays themselves.
    pub fn arrays(self) -> Option<impl ExactSizeIterator<Item = Array<'a>> + Clone + 'a> {
        (self.element_type == ValueType::Array).then(|| {
            let mut r = Reader::new(self.bytes);
            r.endian = self.endian;
            (0..self.len).map(move |_| {
                Self::read(&mut r, Field("array", ""), 1).expect("`Array::read` has checked it")
            })
        })
    }

    /// Reads type, length and elements, and checks every element. `depth` is 1 for an outer array.
    pub(crate) fn read(r: &mut Reader<'a>, field: Field<'_>, depth: u32) -> Result<Self> {
        let at = r.at();
        if depth > limits::ARRAY_LEVELS {
            let (field, max) = (field.to_string(), limits::ARRAY_LEVELS);
            return Err(Error::NestedTooDeep { field, at, max });
        }
        let element_type = r.value_type(field)?;
        let each_min = element_type.bytes_min();
        let len = r.count(field, each_min, limits::ARRAY_ELEMENTS)?;
        let start = r.at();
        let mut text = None;
        match element_type {
            ValueType::String => text = read_strings(r, len, field)?,
            ValueType::Array => {
                (0..len).try_for_each(|_| Self::read(r, field, depth + 1).map(drop))?
            }
            ValueType::Bool => drop(read_bools(r, len, field)?),
            // `count` has compared `len * each_min` with what is left: no overflow.
            _ => drop(r.take(len * each_min, field)?),
        }
        let (len, bytes, endian) = (len as usize, r.since(start), r.endian);
        Ok(Self { element_type, len, bytes, text, endian })
    }

    /// The bytes of each element, for types of fixed size.
    pub(crate) fn fixed(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        self.bytes.chunks_exact(self.element_type.bytes_min() as usize)
    }

    /// Integers of any type, widened.
    fn integers(self) -> impl ExactSizeIterator<Item = i128> + Clone {
        let Self { endian, element_type, .. } = self;
        self.fixed().map(move |b| match element_type {
            ValueType::I8 => b[0].cast_signed().into(),
            ValueType::I16 => endian.i16(b).into(),
            ValueType::I32 => endian.i32(b).into(),
            ValueType::I64 => endian.i64(b).into(),
            ValueType::U16 => endian.u16(b).into(),
            ValueType::U32 => endian.u32(b).into(),
            ValueType::U64 => endian.u64(b).into(),
            _ => b[0].into(),
        })
    }
}

/// Without the elements, which may be half a million.
impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.element_type, self.len)
    }
}

/// Reads `len` strings, and gives them as one text if they can be cut out of it.
///
/// Lengths below 128 are UTF-8 too, so an array of short strings is one valid text. Where each
/// string starts and ends at a character of that text, each is valid by itself: half a million
/// short strings are checked in one go.
fn read_strings<'a>(r: &mut Reader<'a>, len: u64, field: Field<'_>) -> Result<Option<&'a str>> {
    let mut unchecked = r.clone();
    let start = r.at();
    (0..len).try_for_each(|_| r.skip_string(field))?;
    let bytes = r.since(start);
    let can_be_cut =
        |text: &&str| spans(bytes, len as usize, r.endian).all(|span| text.get(span).is_some());
    let one_text = std::str::from_utf8(bytes).ok().filter(can_be_cut);
    if one_text.is_none() {
        (0..len).try_for_each(|_| unchecked.string(field).map(drop))?;
    }
    Ok(one_text)
}

/// Where each of `len` strings lies in `bytes`.
fn spans(
    bytes: &[u8],
    len: usize,
    endian: Endian,
) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
    let mut at = 0;
    (0..len).map(move |_| {
        let start = at + 8;
        at = start + endian.u64(&bytes[at..start]) as usize;
        start..at
    })
}

/// Takes `len` bytes and refuses those that are neither 0 nor 1.
pub(crate) fn read_bools<'a>(r: &mut Reader<'a>, len: u64, field: Field<'_>) -> Result<&'a [u8]> {
    let start = r.at();
    let bytes = r.take(len, field)?;
    match bytes.iter().position(|b| *b > 1) {
        None => Ok(bytes),
        Some(i) => {
            let (field, at, found) = (field.to_string(), start + i as u64, bytes[i]);
            Err(Error::BadBool { field, at, found })
        }
    }
}
