//! Metadata values that own their contents: what the writer collects.

use std::io;

use crate::write::Encoder;
use crate::{Array, Endian, Value, ValueType};

macro_rules! owned {
    ($($variant:ident $type:ty, $encode:ident;)+) => {
        /// A metadata value that owns its text or elements. Numbers, strings and vectors of both
        /// convert into it; so does a borrowed [`Value`].
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the `ValueType` of the same name")]
        pub enum OwnedValue {
            $($variant($type),)+
            Array(OwnedArray),
        }

        /// An array of the metadata that owns its elements, all of one type.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the `ValueType` of the elements")]
        pub enum OwnedArray {
            $($variant(Vec<$type>),)+
            Array(Vec<OwnedArray>),
        }

        impl OwnedValue {
            /// The type as it will stand in the file.
            pub const fn value_type(&self) -> ValueType {
                match self {
                    $(Self::$variant(_) => ValueType::$variant,)+
                    Self::Array(_) => ValueType::Array,
                }
            }

            pub(crate) fn encode(&self, e: &mut Encoder) -> io::Result<()> {
                match self {
                    $(Self::$variant(v) => e.$encode(v.clone()),)+
                    Self::Array(v) => v.encode(e),
                }
            }
        }

        impl OwnedArray {
            /// The type of the elements.
            pub const fn element_type(&self) -> ValueType {
                match self {
                    $(Self::$variant(_) => ValueType::$variant,)+
                    Self::Array(_) => ValueType::Array,
                }
            }

            /// The number of elements.
            pub const fn len(&self) -> usize {
                match self {
                    $(Self::$variant(v) => v.len(),)+
                    Self::Array(v) => v.len(),
                }
            }

            pub(crate) fn encode(&self, e: &mut Encoder) -> io::Result<()> {
                e.u32(self.element_type().id())?;
                e.u64(self.len() as u64)?;
                match self {
                    $(Self::$variant(v) => v.iter().try_for_each(|v| e.$encode(v.clone())),)+
                    Self::Array(v) => v.iter().try_for_each(|v| v.encode(e)),
                }
            }
        }

        $(
            impl From<$type> for OwnedValue {
                fn from(v: $type) -> Self {
                    Self::$variant(v)
                }
            }

            impl From<Vec<$type>> for OwnedArray {
                fn from(v: Vec<$type>) -> Self {
                    Self::$variant(v)
                }
            }

            impl From<Vec<$type>> for OwnedValue {
                fn from(v: Vec<$type>) -> Self {
                    Self::Array(v.into())
                }
            }
        )+
    };
}

owned! {
    U8 u8, u8;
    I8 i8, i8;
    U16 u16, u16;
    I16 i16, i16;
    U32 u32, u32;
    I32 i32, i32;
    F32 f32, f32;
    Bool bool, bool;
    String String, string;
    U64 u64, u64;
    I64 i64, i64;
    F64 f64, f64;
}

impl OwnedValue {
    /// Arrays within arrays: 0 for a value that is no array, 1 for a plain array.
    pub(crate) fn depth(&self) -> u32 {
        if let Self::Array(array) = self { array.depth() } else { 0 }
    }
}

impl OwnedArray {
    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn depth(&self) -> u32 {
        match self {
            Self::Array(inner) => 1 + inner.iter().map(Self::depth).max().unwrap_or(0),
            _ => 1,
        }
    }
}

impl From<&str> for OwnedValue {
    fn from(v: &str) -> Self {
        Self::String(v.to_owned())
    }
}

impl From<Vec<&str>> for OwnedArray {
    fn from(v: Vec<&str>) -> Self {
        Self::String(v.into_iter().map(str::to_owned).collect())
    }
}

impl From<Vec<&str>> for OwnedValue {
    fn from(v: Vec<&str>) -> Self {
        Self::Array(v.into())
    }
}

impl From<Vec<OwnedArray>> for OwnedValue {
    fn from(v: Vec<OwnedArray>) -> Self {
        Self::Array(OwnedArray::Array(v))
    }
}

impl From<OwnedArray> for OwnedValue {
    fn from(v: OwnedArray) -> Self {
        Self::Array(v)
    }
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::F32(v) => v.into(),
            Value::Bool(v) => v.into(),
            Value::String(v) => v.into(),
            Value::Array(v) => Self::Array(v.into()),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            Value::F64(v) => v.into(),
        }
    }
}

impl From<Array<'_>> for OwnedArray {
    fn from(array: Array<'_>) -> Self {
        fn numbers<T>(array: Array<'_>, read: fn(Endian, &[u8]) -> T) -> Vec<T> {
            array.fixed().map(|bytes| read(array.endian(), bytes)).collect()
        }
        match array.element_type() {
            ValueType::U8 => Self::U8(numbers(array, |_, b| b[0])),
            ValueType::I8 => Self::I8(numbers(array, |_, b| b[0].cast_signed())),
            ValueType::U16 => Self::U16(numbers(array, Endian::u16)),
            ValueType::I16 => Self::I16(numbers(array, Endian::i16)),
            ValueType::U32 => Self::U32(numbers(array, Endian::u32)),
            ValueType::I32 => Self::I32(numbers(array, Endian::i32)),
            ValueType::F32 => Self::F32(numbers(array, Endian::f32)),
            ValueType::Bool => Self::Bool(array.bools().into_iter().flatten().collect()),
            ValueType::String => {
                Self::String(array.strings().into_iter().flatten().map(str::to_owned).collect())
            }
            ValueType::Array => {
                Self::Array(array.arrays().into_iter().flatten().map(Self::from).collect())
            }
            ValueType::U64 => Self::U64(numbers(array, Endian::u64)),
            ValueType::I64 => Self::I64(numbers(array, Endian::i64)),
            ValueType::F64 => Self::F64(numbers(array, Endian::f64)),
        }
    }
}
