//! Metadata values, borrowed from the file, and their types.

use std::fmt;

use crate::Result;
use crate::array::{Array, read_bools};
use crate::reader::{Field, Reader};

/// The type of a metadata value, or of the elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ValueType {
    /// Unsigned 8-bit integer.
    U8 = 0,
    /// Signed 8-bit integer.
    I8 = 1,
    /// Unsigned 16-bit integer.
    U16 = 2,
    /// Signed 16-bit integer.
    I16 = 3,
    /// Unsigned 32-bit integer.
    U32 = 4,
    /// Signed 32-bit integer.
    I32 = 5,
    /// IEEE 754 binary32.
    F32 = 6,
    /// One byte, 0 or 1.
    Bool = 7,
    /// UTF-8 with its length.
    String = 8,
    /// Type, length and elements.
    Array = 9,
    /// Unsigned 64-bit integer.
    U64 = 10,
    /// Signed 64-bit integer.
    I64 = 11,
    /// IEEE 754 binary64.
    F64 = 12,
}

impl ValueType {
    /// Every type, in order of id (GGUF specification, `gguf_metadata_value_type`).
    pub const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with this id in a file.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The number that stands for the type in a file.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The name in messages: `u32`, `string`, `array`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// The fewest bytes that a value takes in a file; for numbers and booleans all of them.
    pub(crate) const fn bytes_min(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::String => 8,
            Self::Array => 12,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One metadata value. Copying it copies no text and no elements.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the `ValueType` of the same name")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(&'a str),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// The type as it stands in the file.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The number, if the value is an integer of any type and not negative.
    pub fn as_uint(&self) -> Option<u64> {
        match *self {
            Self::U64(v) => Some(v),
            _ => u64::try_from(self.as_int()?).ok(),
        }
    }

    /// The number, if the value is an integer of any type that an `i64` can hold.
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::U64(v) => i64::try_from(v).ok(),
            Self::I64(v) => Some(v),
            _ => None,
        }
    }

    /// The number, if the value is an `f32` or an `f64`.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(v) = *self { Some(v) } else { None }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&'a str> {
        if let Self::String(v) = *self { Some(v) } else { None }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<Array<'a>> {
        if let Self::Array(v) = *self { Some(v) } else { None }
    }

    /// Reads a value of type `value_type`; `field` names it in errors.
    pub(crate) fn read(
        r: &mut Reader<'a>,
        value_type: ValueType,
        field: Field<'_>,
    ) -> Result<Self> {
        let endian = r.endian;
        let mut number = || r.take(value_type.bytes_min(), field);
        Ok(match value_type {
            ValueType::U8 => Self::U8(number()?[0]),
            ValueType::I8 => Self::I8(number()?[0].cast_signed()),
            ValueType::U16 => Self::U16(endian.u16(number()?)),
            ValueType::I16 => Self::I16(endian.i16(number()?)),
            ValueType::U32 => Self::U32(endian.u32(number()?)),
            ValueType::I32 => Self::I32(endian.i32(number()?)),
            ValueType::F32 => Self::F32(endian.f32(number()?)),
            ValueType::Bool => Self::Bool(read_bools(r, 1, field)?[0] == 1),
            ValueType::String => Self::String(r.string(field)?),
            ValueType::Array => Self::Array(Array::read(r, field, 1)?),
            ValueType::U64 => Self::U64(endian.u64(number()?)),
            ValueType::I64 => Self::I64(endian.i64(number()?)),
            ValueType::F64 => Self::F64(endian.f64(number()?)),
        })
    }
}

/// As in messages: `u32 7`, `string "gemma4"`, `array of 12 strings`.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.value_type().name();
        match self {
            Self::U8(v) => write!(f, "{name} {v}"),
            Self::I8(v) => write!(f, "{name} {v}"),
            Self::U16(v) => write!(f, "{name} {v}"),
            Self::I16(v) => write!(f, "{name} {v}"),
            Self::U32(v) => write!(f, "{name} {v}"),
            Self::I32(v) => write!(f, "{name} {v}"),
            Self::F32(v) => write!(f, "{name} {v}"),
            Self::Bool(v) => write!(f, "{name} {v}"),
            Self::String(v) => {
                let (head, more) = cut(v, SHOWN_CHARS_MAX);
                write!(f, "{name} {head:?}{more}")
            }
            Self::Array(v) => {
                let plural = if v.len() == 1 { "" } else { "s" };
                write!(f, "{name} of {} {}{plural}", v.len(), v.element_type())
            }
            Self::U64(v) => write!(f, "{name} {v}"),
            Self::I64(v) => write!(f, "{name} {v}"),
            Self::F64(v) => write!(f, "{name} {v}"),
        }
    }
}

/// At most `max` characters of a text, and a mark where that is not all of it.
pub(crate) fn cut(text: &str, max: usize) -> (&str, &'static str) {
    match text.char_indices().nth(max) {
        Some((end, _)) => (&text[..end], "…"),
        None => (text, ""),
    }
}

/// How much of a text is shown in a message.
const SHOWN_CHARS_MAX: usize = 60;
