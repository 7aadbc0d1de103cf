//! GGUF model files: a zero-copy reader that trusts nothing, and a small writer.
//!
//! A GGUF file is a self-describing model: metadata, descriptions of tensors, and their data, laid
//! out so that the file can be mapped and used where it lies. This crate turns the bytes of a file
//! into a [`Gguf`] that borrows from them, and checks everything on the way: after
//! [`parse`](Gguf::parse) every text is UTF-8, every array has its elements, and every tensor has
//! its bytes. It knows nothing about models or arithmetic.
//!
//! # The bytes of a file
//!
//! ```text
//! header      magic             4 bytes   "GGUF", in both byte orders
//!             version           u32       2 or 3; whether it is read as 3 or as 50331648
//!                                         tells the byte order of every number in the file
//!             tensor count      u64
//!             metadata count    u64
//!
//! metadata    key               string    unique, at most 65535 bytes
//! (repeated)  type              u32       0 to 12, see ValueType
//!             value                       a number, a bool (one byte, 0 or 1), or
//!               string          u64 length in bytes, then UTF-8 without a terminator
//!               array           u32 type, u64 length, then the elements without their type;
//!                               an array of arrays repeats this for every element
//!
//! tensors     name              string    unique, at most 64 bytes
//! (repeated)  dimensions        u32       at most 4; none for a scalar
//!             dimension         u64       as many as that, fastest first
//!             type              u32       ggml's id, see TensorType
//!             offset            u64       from the start of the data, a multiple of the alignment
//!
//! padding                                 zeros up to a multiple of the alignment
//! data                                    of every tensor at its offset, padded likewise
//! ```
//!
//! The alignment is `general.alignment` from the metadata, or 32. Nothing else is aligned: a number
//! in the header may start at any byte. A large model may be [split](Source::open) into several
//! such files. Version 1, with counts of 32 bits, is refused.
//!
//! # Example
//!
//! ```
//! use carat_gguf::{Endian, Gguf, TensorType, Writer};
//!
//! let bytes = Writer::new(Endian::Little, 3)
//!     .metadata("general.architecture", "gemma4")
//!     .metadata("gemma4.block_count", 48u32)
//!     .tensor("output_norm.weight", TensorType::F32, &[2], vec![0; 8])
//!     .to_bytes()?;
//!
//! let gguf = Gguf::parse(&bytes)?;
//! assert_eq!(gguf.metadata().string("general.architecture")?, "gemma4");
//! assert_eq!(gguf.metadata().uint("gemma4.block_count")?, 48);
//! let norm = gguf.tensor("output_norm.weight").expect("the tensor is in the file");
//! assert_eq!((&norm.shape[..], norm.data.len()), (&[2][..], 8));
//!
//! let error = gguf.metadata().uint("gemma4.context_length").unwrap_err();
//! assert_eq!(error.to_string(), r#"metadata key "gemma4.context_length" is missing"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A file on disk is opened by [`Source`], which must outlive the [`Gguf`] made from it.

mod array;
mod error;
mod header;
pub mod limits;
mod metadata;
mod mmap;
mod owned;
mod part_file;
mod reader;
mod source;
mod split;
mod tensor;
mod tensor_file;
mod tensor_type;
mod value;
mod write;

use std::collections::HashMap;
use std::fmt;

use header::Bytes;

pub use array::Array;
pub use error::{Error, Result};
pub use metadata::Metadata;
pub use mmap::Mapping;
pub use owned::{OwnedArray, OwnedValue};
pub use part_file::PartFile;
pub use reader::Endian;
pub use source::{Source, Stamp};
pub use tensor::{Shape, Tensor};
pub use tensor_file::TensorFile;
pub use tensor_type::TensorType;
pub use value::{Value, ValueType};
pub use write::{WriteError, Writer};

/// A parsed model: metadata and tensors, borrowed from the bytes of the file or files.
#[derive(Clone)]
pub struct Gguf<'a> {
    version: u32,
    endian: Endian,
    alignment: u64,
    metadata: Metadata<'a>,
    tensors: Vec<Tensor<'a>>,
    index: HashMap<&'a str, usize>,
    parts: usize,
    /// The header of each part.
    heads: Vec<&'a [u8]>,
    /// The files, if it was not parsed from memory.
    source: Option<&'a Source>,
}

/// Without the bytes of the headers, and without the index.
impl fmt::Debug for Gguf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version)
            .field("endian", &self.endian)
            .field("alignment", &self.alignment)
            .field("metadata", &self.metadata)
            .field("tensors", &self.tensors)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl<'a> Gguf<'a> {
    /// Parses a whole file. Everything is checked here; nothing can fail afterwards.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        split::parse_parts(&[Bytes::of(bytes)]).map_err(|(_, e)| e)
    }

    /// Parses the parts of a split model, in order. Errors come as [`Error::InPart`].
    pub fn parse_split(parts: &[&'a [u8]]) -> Result<Self> {
        let parts: Vec<_> = parts.iter().map(|part| Bytes::of(part)).collect();
        split::parse_parts(&parts).map_err(|(part, e)| match parts.len() {
            0 | 1 => e,
            n => Error::InPart { part: part + 1, parts: n, source: Box::new(e) },
        })
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The byte order of the numbers in the file, data of tensors included.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// The alignment of the data in bytes (of the first part).
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The number of files: 1, or more for a split model.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The metadata (of the first part).
    pub fn metadata(&self) -> &Metadata<'a> {
        &self.metadata
    }

    /// All tensors, in the order of the file or files.
    pub fn tensors(&self) -> &[Tensor<'a>] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&Tensor<'a>> {
        self.index.get(name).map(|i| &self.tensors[*i])
    }

    /// The header of each part as it stands in the file, from the magic to the last description of
    /// a tensor.
    pub fn heads(&self) -> &[&'a [u8]] {
        &self.heads
    }

    /// Reads `out.len()` bytes of the data of `tensor`, one of [`tensors`](Self::tensors), from its
    /// byte `at` on.
    ///
    /// # Errors
    /// If the file on disk was cut short after it was opened, or cannot be read.
    ///
    /// # Panics
    /// If the tensor has fewer bytes.
    pub fn read(&self, tensor: &Tensor<'_>, at: usize, out: &mut [u8]) -> Result<()> {
        let data = &tensor.data[at..at + out.len()];
        match self.source {
            Some(source) => source.read(tensor, at as u64, out)?,
            None => out.copy_from_slice(data),
        }
        Ok(())
    }

    /// Lets the system read `len` bytes of the data of `tensor` from its byte `at` on in advance.
    pub fn will_need(&self, tensor: &Tensor<'_>, at: usize, len: usize) {
        if let Some(source) = self.source {
            source.will_need(tensor, at as u64, len);
        }
    }

    /// The data of `tensor`, one of [`tensors`](Self::tensors), to be read from its file later:
    /// what is returned borrows nothing. `None` if this was parsed from memory.
    ///
    /// # Errors
    /// If the system does not let the file be opened once more.
    pub fn tensor_file(&self, tensor: &Tensor<'_>) -> Result<Option<TensorFile>> {
        self.source.map(|source| source.tensor_file(tensor)).transpose()
    }

    /// The files that this was parsed from; `None` if it was parsed from memory.
    pub fn source(&self) -> Option<&'a Source> {
        self.source
    }
}
