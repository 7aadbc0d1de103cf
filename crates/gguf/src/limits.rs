//! How much of everything a header may have. Real models stay far below; what is above is a damaged
//! file, or one that was made to take memory and time.
//!
//! A header is read into memory, and its strings and arrays are views of it. So [`HEADER_BYTES`]
//! bounds what a file can take before anything of it is used, and the numbers of entries and
//! tensors bound what is made for each of them.

/// Bytes of the header of a file, or of a part of a split one: all from the magic to the last
/// description of a tensor. The largest known one has 16 MB, a vocabulary of 262144 tokens.
pub const HEADER_BYTES: usize = 256 << 20;

/// Metadata entries of a file. Known ones have fewer than a hundred.
pub const METADATA_ENTRIES: u64 = 1 << 16;

/// Bytes of a metadata key (GGUF specification, `gguf_metadata_kv_t`).
pub const KEY_BYTES: u64 = 65535;

/// Bytes of a string of the metadata, alone or in an array.
pub const STRING_BYTES: u64 = 16 << 20;

/// Elements of an array of the metadata. Known ones have half a million merges.
pub const ARRAY_ELEMENTS: u64 = 1 << 24;

/// Arrays within arrays. The specification sets no limit; known files use one level.
pub const ARRAY_LEVELS: u32 = 8;

/// Tensors of a file. Known ones have fewer than two thousand.
pub const TENSORS: u64 = 1 << 16;

/// Bytes of the name of a tensor (GGUF specification, `gguf_tensor_info_t`).
pub const TENSOR_NAME_BYTES: u64 = 64;

/// Dimensions of a tensor (GGUF specification, `gguf_tensor_info_t`).
pub const DIMENSIONS: usize = 4;
