//! Files put together byte by byte, for what the writer refuses to write. Little-endian.

/// The bytes so far.
#[derive(Clone)]
pub(crate) struct Raw(Vec<u8>);

/// The head of a version 3 file with these counts.
pub(crate) fn file(tensors: u64, entries: u64) -> Raw {
    Raw(b"GGUF".to_vec()).u32(3).u64(tensors).u64(entries)
}

/// The head of a version 3 file in big-endian order.
pub(crate) fn big_file(tensors: u64, entries: u64) -> Raw {
    let counts = [tensors.to_be_bytes(), entries.to_be_bytes()].concat();
    Raw(b"GGUF\0\0\0\x03".to_vec()).bytes(&counts)
}

impl Raw {
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn u32(self, v: u32) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    pub(crate) fn u64(self, v: u64) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    /// Length and text.
    pub(crate) fn text(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.u64(text.len() as u64).bytes(text)
    }

    /// Key and type of a metadata entry; the value comes next.
    pub(crate) fn key(self, key: &str, value_type: u32) -> Self {
        self.text(key).u32(value_type)
    }

    /// Type and length of an array; the elements come next.
    pub(crate) fn array(self, element_type: u32, len: u64) -> Self {
        self.u32(element_type).u64(len)
    }

    /// The whole description of a tensor.
    pub(crate) fn tensor(self, name: &str, dims: &[u64], tensor_type: u32, offset: u64) -> Self {
        let raw = dims.iter().fold(self.text(name).u32(dims.len() as u32), |raw, n| raw.u64(*n));
        raw.u32(tensor_type).u64(offset)
    }

    /// Zeros up to a multiple of 32, then the data.
    pub(crate) fn data(mut self, len: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + len, 0);
        self
    }

    /// Bytes without meaning, so that a count fits in what is left.
    pub(crate) fn filler(self, len: usize) -> Self {
        self.bytes(&vec![0xAA; len])
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Ids of metadata types (GGUF specification, `gguf_metadata_value_type`).
pub(crate) mod value {
    pub(crate) const U8: u32 = 0;
    pub(crate) const U32: u32 = 4;
    pub(crate) const BOOL: u32 = 7;
    pub(crate) const STRING: u32 = 8;
    pub(crate) const ARRAY: u32 = 9;
    pub(crate) const U64: u32 = 10;
}

/// Ids of tensor types (ggml, `enum ggml_type`).
pub(crate) mod tensor {
    pub(crate) const F32: u32 = 0;
    pub(crate) const Q8_0: u32 = 8;
    pub(crate) const Q4_K: u32 = 12;
}
