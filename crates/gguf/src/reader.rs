//! A cursor that checks bounds: the only code that slices the header of a file.
//!
//! Every read names the field it is for, so that an error can say what was being read, and a count
//! is compared with the bytes that are left before anybody acts on it.

use std::fmt;

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use crate::value::cut;
use crate::{Error, Result, ValueType, limits};

/// The order of bytes within a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Least significant byte first: nearly every file.
    Little,
    /// Most significant byte first.
    Big,
}

impl fmt::Display for Endian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        })
    }
}

macro_rules! numbers {
    ($($type:ident $read:ident),+) => {
        impl Endian {
            $(#[inline]
            pub(crate) fn $type(self, bytes: &[u8]) -> $type {
                match self {
                    Self::Little => LittleEndian::$read(bytes),
                    Self::Big => BigEndian::$read(bytes),
                }
            })+
        }
    };
}
numbers!(u16 read_u16, i16 read_i16, u32 read_u32, i32 read_i32, f32 read_f32);
numbers!(u64 read_u64, i64 read_i64, f64 read_f64);

/// What is being read, for error messages: a fixed part and the name of the key or tensor, if any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a>(pub &'static str, pub &'a str);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, more) = cut(self.1, NAME_CHARS_MAX);
        if name.is_empty() { f.write_str(self.0) } else { write!(f, "{} {name:?}{more}", self.0) }
    }
}

/// How much of a name is shown in a message: more than any name of a model has.
pub(crate) const NAME_CHARS_MAX: usize = 128;

/// The bytes of a file, or those of its beginning, and a position in them.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// The length of the file.
    len: usize,
    at: usize,
    pub endian: Endian,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self::new_of(bytes, bytes.len())
    }

    /// A reader of the beginning of a file of `len` bytes.
    pub(crate) fn new_of(bytes: &'a [u8], len: usize) -> Self {
        Self { bytes, len, at: 0, endian: Endian::Little }
    }

    /// The position, in bytes from the start of the file.
    pub(crate) fn at(&self) -> u64 {
        self.at as u64
    }

    pub(crate) fn left(&self) -> u64 {
        (self.len - self.at) as u64
    }

    /// What has been read since position `from`.
    pub(crate) fn since(&self, from: u64) -> &'a [u8] {
        &self.bytes[from as usize..self.at]
    }

    #[inline]
    pub(crate) fn take(&mut self, need: u64, field: Field<'_>) -> Result<&'a [u8]> {
        if need > (self.bytes.len() - self.at) as u64 {
            return Err(self.truncated(need, field));
        }
        let from = self.at;
        self.at += need as usize;
        Ok(&self.bytes[from..self.at])
    }

    #[cold]
    fn truncated(&self, need: u64, field: Field<'_>) -> Error {
        let (field, at, have) = (field.to_string(), self.at(), self.left());
        Error::Truncated { field, at, need, have }
    }

    pub(crate) fn u32(&mut self, field: Field<'_>) -> Result<u32> {
        Ok(self.endian.u32(self.take(4, field)?))
    }

    #[inline]
    pub(crate) fn u64(&mut self, field: Field<'_>) -> Result<u64> {
        Ok(self.endian.u64(self.take(8, field)?))
    }

    /// A number of things of at least `each_min` bytes each, at most `max`; they must fit in what
    /// is left.
    pub(crate) fn count(&mut self, field: Field<'_>, each_min: u64, max: u64) -> Result<u64> {
        let at = self.at();
        let count = self.u64(field)?;
        self.check_count(field, at, count, each_min)?;
        if count > max {
            return Err(Error::TooMany { field: field.to_string(), at, count, max });
        }
        Ok(count)
    }

    /// Refuses a header that is longer than any model's.
    pub(crate) fn check_header(&self) -> Result<()> {
        if self.at > limits::HEADER_BYTES {
            return Err(header_too_long());
        }
        Ok(())
    }

    /// Refuses a `count`, read at byte `at`, of things that do not fit in what is left.
    pub(crate) fn check_count(
        &self,
        field: Field<'_>,
        at: u64,
        count: u64,
        each_min: u64,
    ) -> Result<()> {
        if count.checked_mul(each_min).is_none_or(|need| need > self.left()) {
            let (field, have) = (field.to_string(), self.left());
            return Err(Error::CountTooLarge { field, at, count, each_min, have });
        }
        Ok(())
    }

    /// A length and that many bytes of UTF-8.
    pub(crate) fn string(&mut self, field: Field<'_>) -> Result<&'a str> {
        let (at, bytes) = self.string_bytes(field)?;
        std::str::from_utf8(bytes).map_err(|e| {
            let at = at + e.valid_up_to() as u64;
            Error::NotUtf8 { field: field.to_string(), at, byte: bytes[e.valid_up_to()] }
        })
    }

    /// A length and that many bytes.
    #[inline]
    pub(crate) fn skip_string(&mut self, field: Field<'_>) -> Result<()> {
        self.string_bytes(field).map(drop)
    }

    /// The bytes of a string, and where they begin.
    #[inline]
    fn string_bytes(&mut self, field: Field<'_>) -> Result<(u64, &'a [u8])> {
        let len = self.u64(field)?;
        let at = self.at();
        let bytes = self.take(len, field)?;
        if len > limits::STRING_BYTES {
            let max = limits::STRING_BYTES;
            return Err(Error::NameTooLong { field: field.to_string(), at: at - 8, len, max });
        }
        Ok((at, bytes))
    }

    /// As [`string`](Self::string), at most `max` bytes long.
    pub(crate) fn name(&mut self, field: Field<'_>, max: u64) -> Result<&'a str> {
        let at = self.at();
        let len = self.endian.u64(self.clone().take(8, field)?);
        if len > max {
            return Err(Error::NameTooLong { field: field.to_string(), at, len, max });
        }
        self.string(field)
    }

    pub(crate) fn value_type(&mut self, field: Field<'_>) -> Result<ValueType> {
        let at = self.at();
        let id = self.u32(field)?;
        ValueType::from_id(id).ok_or_else(|| Error::UnknownValueType {
            field: field.to_string(),
            at,
            id,
        })
    }
}

pub(crate) fn header_too_long() -> Error {
    Error::HeaderTooLong { max: limits::HEADER_BYTES as u64 }
}
