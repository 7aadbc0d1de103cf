//! A writer, for tests, tools, examples and seeds of the fuzz targets.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};

use byteorder::{BigEndian, LittleEndian, WriteBytesExt};

use crate::header::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, MAGIC, alignment_is_valid};
use crate::split::{SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS_COUNT};
use crate::{Endian, Gguf, OwnedValue, Shape, TensorType, limits};

/// Collects metadata and tensors, then writes a file that [`Gguf::parse`] reads back equal.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    endian: Endian,
    version: u32,
    metadata: Vec<(String, OwnedValue)>,
    tensors: Vec<PendingTensor<'a>>,
}

#[derive(Clone, Debug)]
struct PendingTensor<'a> {
    name: String,
    tensor_type: TensorType,
    dims: Vec<u64>,
    data: Cow<'a, [u8]>,
    /// Bytes of the tensor: more than `data` where that is written again and again.
    bytes: u64,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum WriteError {
    /// The destination refused.
    #[error("cannot write the model")]
    Io(#[from] io::Error),

    /// A version that this crate does not write.
    #[error("gguf version {found} cannot be written, only 2 and 3")]
    UnsupportedVersion { found: u32 },

    /// A key or a tensor name above the limit of the specification.
    #[error("the name `{name}` has more than {max} bytes")]
    NameTooLong { name: String, max: u64 },

    /// Two keys, or two tensors, with one name.
    #[error("the name `{name}` is used twice")]
    DuplicateName { name: String },

    /// `general.alignment` is not a `u32` that data can be aligned to.
    #[error(
        "`general.alignment` is {found}, wanted a u32 that is a power of two or a multiple of 8"
    )]
    BadAlignment { found: String },

    /// Arrays within arrays within arrays.
    #[error("metadata key `{key}` nests arrays more than {max} deep")]
    NestedTooDeep { key: String, max: u32 },

    /// Dimensions that are none, too many, zero or too large, or rows that are not whole blocks.
    #[error("tensor `{tensor}` has shape {dims:?}, which {tensor_type} cannot have")]
    BadShape { tensor: String, dims: Vec<u64>, tensor_type: TensorType },

    /// Data of another size than the shape and type of its tensor have.
    #[error("tensor `{tensor}` has {found} bytes of data, wanted {wanted}")]
    WrongDataSize { tensor: String, found: u64, wanted: u64 },
}

impl<'a> Writer<'a> {
    /// An empty file in this byte order and version (2 or 3).
    pub fn new(endian: Endian, version: u32) -> Self {
        Self { endian, version, metadata: Vec::new(), tensors: Vec::new() }
    }

    /// The same file again: metadata and tensors of `gguf`, in order. Of a split model it makes a
    /// whole one, without the keys that describe the split.
    pub fn copy_of(gguf: &Gguf<'a>) -> Self {
        let split_keys = [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS_COUNT];
        let mut writer = Self::new(gguf.endian(), gguf.version());
        for (key, value) in gguf.metadata().iter() {
            if gguf.parts() == 1 || !split_keys.contains(&key) {
                writer = writer.metadata(key, *value);
            }
        }
        gguf.tensors().iter().fold(writer, |w, t| w.tensor(t.name, t.tensor_type, &t.shape, t.data))
    }

    /// Adds a metadata entry. The key `general.alignment` also sets the alignment of the data.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<OwnedValue>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Adds a tensor: `dims` with the fastest first, `data` in blocks of `tensor_type` and in the
    /// byte order of the file.
    #[must_use]
    pub fn tensor(
        mut self,
        name: impl Into<String>,
        tensor_type: TensorType,
        dims: &[u64],
        data: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        let data = data.into();
        let bytes = data.len() as u64;
        self.tensors.push(PendingTensor {
            name: name.into(),
            tensor_type,
            dims: dims.to_vec(),
            data,
            bytes,
        });
        self
    }

    /// Adds a tensor whose data is `blocks` again and again, the last time as much of it as is
    /// needed: files of any size for tests and benchmarks, without holding them in memory.
    #[must_use]
    pub fn repeated(
        mut self,
        name: impl Into<String>,
        tensor_type: TensorType,
        dims: &[u64],
        blocks: &'a [u8],
    ) -> Self {
        let (name, dims, data) = (name.into(), dims.to_vec(), Cow::Borrowed(blocks));
        let mut tensor = PendingTensor { name, tensor_type, dims, data, bytes: 0 };
        // A shape that cannot be and blocks that are none are refused by `check`.
        tensor.bytes = tensor.wanted().filter(|_| !blocks.is_empty()).unwrap_or(0);
        self.tensors.push(tensor);
        self
    }

    /// Writes the file. What the reader would refuse is refused here, before the first byte.
    pub fn write_to(&self, mut out: impl Write) -> Result<(), WriteError> {
        let alignment = self.check()?;
        let head = self.head(alignment)?;
        out.write_all(&head)?;
        if !self.tensors.is_empty() {
            write_padding(&mut out, head.len() as u64, alignment)?;
        }
        for tensor in &self.tensors {
            let mut left = tensor.bytes;
            while left > 0 {
                let piece = left.min(tensor.data.len() as u64);
                out.write_all(&tensor.data[..piece as usize])?;
                left -= piece;
            }
            write_padding(&mut out, tensor.bytes, alignment)?;
        }
        Ok(out.flush()?)
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Everything before the data section, without the padding.
    fn head(&self, alignment: u64) -> io::Result<Vec<u8>> {
        let mut e = Encoder { endian: self.endian, out: Vec::new() };
        e.out.extend(MAGIC);
        e.u32(self.version)?;
        e.u64(self.tensors.len() as u64)?;
        e.u64(self.metadata.len() as u64)?;
        for (key, value) in &self.metadata {
            e.text(key)?;
            e.u32(value.value_type().id())?;
            value.encode(&mut e)?;
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            e.text(&tensor.name)?;
            e.u32(tensor.dims.len() as u32)?;
            tensor.dims.iter().try_for_each(|n| e.u64(*n))?;
            e.u32(tensor.tensor_type.id())?;
            e.u64(offset)?;
            offset += tensor.bytes.next_multiple_of(alignment);
        }
        Ok(e.out)
    }

    /// Checks what has been collected and gives the alignment.
    fn check(&self) -> Result<u64, WriteError> {
        if !matches!(self.version, 2 | 3) {
            return Err(WriteError::UnsupportedVersion { found: self.version });
        }
        let mut alignment = ALIGNMENT_DEFAULT;
        check_names(self.metadata.iter().map(|(key, _)| key.as_str()), limits::KEY_BYTES)?;
        for (key, value) in &self.metadata {
            if value.depth() > limits::ARRAY_LEVELS {
                return Err(WriteError::NestedTooDeep {
                    key: key.clone(),
                    max: limits::ARRAY_LEVELS,
                });
            }
            if key == ALIGNMENT_KEY {
                alignment = match *value {
                    OwnedValue::U32(v) if alignment_is_valid(v.into()) => v.into(),
                    _ => return Err(WriteError::BadAlignment { found: format!("{value:?}") }),
                };
            }
        }
        check_names(self.tensors.iter().map(|t| t.name.as_str()), limits::TENSOR_NAME_BYTES)?;
        self.tensors.iter().try_for_each(PendingTensor::check)?;
        Ok(alignment)
    }
}

impl PendingTensor<'_> {
    /// Bytes of this shape and type; `None` if there can be no such tensor.
    fn wanted(&self) -> Option<u64> {
        Shape::new(&self.dims)
            .filter(|shape| shape.cols().is_multiple_of(self.tensor_type.block_weights()))
            .and_then(|shape| self.tensor_type.bytes_of(shape.elements()))
    }

    fn check(&self) -> Result<(), WriteError> {
        let Self { name, tensor_type, dims, bytes, .. } = self;
        let wanted = self.wanted().ok_or_else(|| WriteError::BadShape {
            tensor: name.clone(),
            dims: dims.clone(),
            tensor_type: *tensor_type,
        })?;
        let found = *bytes;
        if found != wanted {
            return Err(WriteError::WrongDataSize { tensor: name.clone(), found, wanted });
        }
        Ok(())
    }
}

fn check_names<'n>(names: impl Iterator<Item = &'n str>, max: u64) -> Result<(), WriteError> {
    let mut seen = HashSet::new();
    for name in names {
        if name.len() as u64 > max {
            return Err(WriteError::NameTooLong { name: name.to_owned(), max });
        }
        if !seen.insert(name) {
            return Err(WriteError::DuplicateName { name: name.to_owned() });
        }
    }
    Ok(())
}

fn write_padding(out: &mut impl Write, len: u64, alignment: u64) -> io::Result<()> {
    let padding = len.next_multiple_of(alignment) - len;
    io::copy(&mut io::Read::take(io::repeat(0), padding), out).map(drop)
}

/// Numbers and values in the byte order of the file.
pub(crate) struct Encoder {
    endian: Endian,
    out: Vec<u8>,
}

macro_rules! encode_numbers {
    ($($type:ident $write:ident),+) => {
        impl Encoder {
            $(pub(crate) fn $type(&mut self, v: $type) -> io::Result<()> {
                match self.endian {
                    Endian::Little => self.out.$write::<LittleEndian>(v),
                    Endian::Big => self.out.$write::<BigEndian>(v),
                }
            })+
        }
    };
}
encode_numbers!(u16 write_u16, i16 write_i16, u32 write_u32, i32 write_i32, f32 write_f32);
encode_numbers!(u64 write_u64, i64 write_i64, f64 write_f64);

impl Encoder {
    pub(crate) fn u8(&mut self, v: u8) -> io::Result<()> {
        self.out.write_u8(v)
    }

    pub(crate) fn i8(&mut self, v: i8) -> io::Result<()> {
        self.out.write_i8(v)
    }

    pub(crate) fn bool(&mut self, v: bool) -> io::Result<()> {
        self.out.write_u8(v.into())
    }

    pub(crate) fn string(&mut self, text: String) -> io::Result<()> {
        self.text(&text)
    }

    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.u64(text.len() as u64)?;
        self.out.write_all(text.as_bytes())
    }
}
