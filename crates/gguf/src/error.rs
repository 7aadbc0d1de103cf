//! What can be wrong with a file, each cause with its evidence.

use std::path::PathBuf;

use crate::Endian;

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file could not be read, or a metadata key not be used.
///
/// `at` is always a position in bytes from the start of the file (of the part, for split files).
/// `field` says what was being read, with the name of the key or tensor where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum Error {
    /// The first four bytes are not `GGUF`.
    #[error("the file starts with {found}, not with \"GGUF\": {hint}")]
    BadMagic { found: String, hint: &'static str },

    /// A version of the format that this crate does not read.
    #[error("gguf version {found} at byte 4 is not supported, 2 or 3 is wanted: {hint}")]
    UnsupportedVersion { found: u32, hint: &'static str },

    /// The file ends within something.
    #[error(
        "{field} at byte {at} needs {need} bytes, the file has {have} left: \
         it is cut short or damaged"
    )]
    Truncated { field: String, at: u64, need: u64, have: u64 },

    /// A count that cannot be true: that many of the smallest things do not fit in the rest.
    #[error(
        "{field} at byte {at} is {count}, at {each_min} bytes or more each \
         they do not fit in the {have} bytes left"
    )]
    CountTooLarge { field: String, at: u64, count: u64, each_min: u64, have: u64 },

    /// Text that is not UTF-8.
    #[error("{field} is not UTF-8: unexpected byte {byte:#04x} at byte {at}")]
    NotUtf8 { field: String, at: u64, byte: u8 },

    /// A key, a tensor name or a string above its [limit](crate::limits).
    #[error("{field} at byte {at} is {len} bytes long, at most {max} are allowed")]
    NameTooLong { field: String, at: u64, len: u64, max: u64 },

    /// More entries, elements or tensors than the [limits](crate::limits) allow.
    #[error(
        "{field} at byte {at} is {count}, at most {max} are read: \
         the file is damaged, or no model"
    )]
    TooMany { field: String, at: u64, count: u64, max: u64 },

    /// A header above its [limit](crate::limits::HEADER_BYTES).
    #[error("the header has more than {max} bytes, no model's has: the file is damaged")]
    HeaderTooLong { max: u64 },

    /// A type id that is not in the specification.
    #[error("{field} at byte {at} has value type {id}, which is not one of 0 to 12")]
    UnknownValueType { field: String, at: u64, id: u32 },

    /// A boolean that is neither 0 nor 1.
    #[error("{field} is a bool of value {found} at byte {at}, wanted 0 or 1")]
    BadBool { field: String, at: u64, found: u8 },

    /// Arrays within arrays within arrays.
    #[error("{field} at byte {at} nests arrays more than {max} deep")]
    NestedTooDeep { field: String, at: u64, max: u32 },

    /// Two metadata entries with one key.
    #[error("metadata key {key:?} at byte {at} was there before at byte {first_at}")]
    DuplicateKey { key: String, first_at: u64, at: u64 },

    /// `general.alignment` is not a number that data can be aligned to.
    #[error("`general.alignment` is {found}, wanted a power of two or a multiple of 8")]
    BadAlignment { found: u64 },

    /// Two tensors with one name, possibly in two parts of a split file.
    #[error("tensor {tensor:?} at byte {at} has the name of an earlier tensor")]
    DuplicateTensor { tensor: String, at: u64 },

    /// More dimensions than ggml has.
    #[error("tensor {tensor:?} has {found} dimensions at byte {at}, at most {max} are allowed")]
    TooManyDimensions { tensor: String, at: u64, found: u32, max: u32 },

    /// A dimension of no elements.
    #[error("dimension {index} of tensor {tensor:?} at byte {at} is 0, wanted at least 1")]
    ZeroDimension { tensor: String, at: u64, index: usize },

    /// A shape whose elements or bytes no 64-bit number can count.
    #[error("tensor {tensor:?} at byte {at} has shape {shape}, its size overflows 64 bits")]
    ShapeOverflow { tensor: String, at: u64, shape: String },

    /// A type id that is not in ggml's table.
    #[error("tensor {tensor:?} at byte {at} has type {id}, which this version does not know")]
    UnknownTensorType { tensor: String, at: u64, id: u32 },

    /// A type id that ggml has withdrawn.
    #[error(
        "tensor {tensor:?} at byte {at} has type {id} ({name}), which ggml has removed: \
         convert the model again"
    )]
    RemovedTensorType { tensor: String, at: u64, id: u32, name: &'static str },

    /// Rows that are not whole blocks.
    #[error(
        "tensor {tensor:?} at byte {at} has rows of {row} weights, \
         {tensor_type} wants a multiple of {block}"
    )]
    PartialBlock { tensor: String, at: u64, tensor_type: &'static str, row: u64, block: u64 },

    /// Data that does not start where the alignment wants it.
    #[error(
        "tensor {tensor:?} has offset {offset} at byte {at}, \
         wanted a multiple of the alignment {alignment}"
    )]
    UnalignedTensor { tensor: String, at: u64, offset: u64, alignment: u64 },

    /// Data that lies, or would lie, after the end of the file. All tensors together need a file of
    /// `need` bytes.
    #[error(
        "the file has {file} bytes and its tensors need {need}: it is cut short or damaged, \
         download or copy it again (tensor {tensor:?} wants {size} bytes at offset {offset}, \
         see byte {at}; the data section at byte {data_at} has {have})"
    )]
    TensorOutOfRange {
        tensor: String,
        at: u64,
        offset: u64,
        size: u64,
        data_at: u64,
        have: u64,
        file: u64,
        need: u64,
    },

    /// Two tensors share bytes.
    #[error(
        "tensor {tensor:?} at offset {offset} overlaps tensor {other:?}, which ends at {other_end}"
    )]
    OverlappingTensors { tensor: String, offset: u64, other: String, other_end: u64 },

    /// A metadata key that is needed is not there.
    #[error("metadata key {key:?} is missing")]
    MissingKey { key: String },

    /// A metadata key has a value of another kind than is needed.
    #[error("metadata key {key:?} is {found}, wanted {wanted}")]
    WrongType { key: String, wanted: &'static str, found: String },

    /// A part of a split file says it is another one.
    #[error("`split.no` is {found}, wanted {wanted}: the parts were renamed or mixed up")]
    WrongPart { found: u64, wanted: u64 },

    /// A split file is made of another number of parts.
    #[error(
        "`split.count` is {found}, the number of parts here is {wanted}: \
         keep all parts together under their own names and give the first"
    )]
    WrongPartCount { found: u64, wanted: u64 },

    /// All parts are there but some tensors are not.
    #[error("`split.tensors.count` is {wanted}, the parts have {found}")]
    WrongSplitTensorCount { found: u64, wanted: u64 },

    /// Parts of a split file differ in byte order.
    #[error("this part is {found}, the first one is {wanted}")]
    MixedEndian { found: Endian, wanted: Endian },

    /// No parts were given.
    #[error("no part of a split file was given")]
    NoParts,

    /// A part of a split file is wrong; the source says how. `part` counts from 1.
    #[error("part {part} of {parts} cannot be read")]
    InPart { part: usize, parts: usize, source: Box<Error> },

    /// A file is wrong; the source says how.
    #[error("cannot read the model file {path}", path = path.display())]
    InFile { path: PathBuf, source: Box<Error> },

    /// The operating system refused; the source says why.
    #[error("cannot open {path}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },

    /// The operating system stopped reading; the source says why.
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },

    /// The file ended before something that was there when it was opened.
    #[error(
        "{path} was cut short by another program while it was read: {need} bytes at byte {at} are \
         gone, copy or download it again",
        path = path.display()
    )]
    CutShort { path: PathBuf, at: u64, need: u64 },

    /// There is no such file.
    #[error("there is no file {path}", path = path.display())]
    NotFound { path: PathBuf },

    /// A later part of a split file is not next to the first.
    #[error("part {part} of {parts} is missing, there is no {path}", path = path.display())]
    MissingPart { path: PathBuf, part: u32, parts: u32 },

    /// A part other than the first was given.
    #[error("{path} is part {part} of a split model, give the first: {first}",
        path = path.display(), first = first.display())]
    NotFirstPart { path: PathBuf, part: u32, first: PathBuf },

    /// A directory was given.
    #[error("{path} is a directory, wanted a model file", path = path.display())]
    IsDirectory { path: PathBuf },

    /// A pipe, socket or device was given.
    #[error("{path} is not a regular file, a model cannot be streamed", path = path.display())]
    NotAFile { path: PathBuf },

    /// The file has no bytes.
    #[error("{path} is empty, download or copy it again", path = path.display())]
    EmptyFile { path: PathBuf },
}

impl Error {
    /// What is wrong, without [`InFile`](Self::InFile) and [`InPart`](Self::InPart): where.
    pub fn cause(&self) -> &Self {
        match self {
            Self::InPart { source, .. } | Self::InFile { source, .. } => source.cause(),
            other => other,
        }
    }
}
