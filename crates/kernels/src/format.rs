//! The weight formats and the one way to read them: their blocks turned into f32.
//!
//! `dequantize` is pinned to ggml bit by bit (`tests/ggml_blocks.rs`), and the scalar kernels read
//! blocks through the same `Block::sub32`: so there is one description of each layout, and what
//! the product of integers means is what the floats say.

use std::fmt;

use crate::block::{Block, F16, with_block};

/// How the weights of a matrix are stored; the names are ggml's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(non_camel_case_types, reason = "ggml's spelling, so that a search finds both worlds")]
pub enum Format {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// 4 bits, symmetric, a scale for 32 weights.
    Q4_0,
    /// 4 bits with an offset, a scale for 32 weights.
    Q4_1,
    /// 5 bits, symmetric, a scale for 32 weights.
    Q5_0,
    /// 5 bits with an offset, a scale for 32 weights.
    Q5_1,
    /// 8 bits, symmetric, a scale for 32 weights.
    Q8_0,
    /// 2 bits with an offset, a 4-bit scale for 16 weights, blocks of 256.
    Q2_K,
    /// 3 bits, symmetric, a 6-bit scale for 16 weights, blocks of 256.
    Q3_K,
    /// 4 bits with an offset, a 6-bit scale for 32 weights, blocks of 256.
    Q4_K,
    /// 5 bits with an offset, a 6-bit scale for 32 weights, blocks of 256.
    Q5_K,
    /// 6 bits, symmetric, an 8-bit scale for 16 weights, blocks of 256.
    Q6_K,
    /// 2.06 bits: 256 entries for eight weights, a 4-bit scale for 32, blocks of 256.
    IQ2_XXS,
    /// 2.31 bits: 512 entries for eight weights, a 4-bit scale for 16, blocks of 256.
    IQ2_XS,
    /// 2.56 bits: 1024 entries for eight weights, a 4-bit scale for 16, blocks of 256.
    IQ2_S,
    /// 3.06 bits: 256 entries for four weights, a 4-bit scale for 32, blocks of 256.
    IQ3_XXS,
    /// 3.44 bits: 512 entries for four weights, a 4-bit scale for 32, blocks of 256.
    IQ3_S,
    /// 4 bits that index a table of 16 unequal steps, a scale for 32 weights.
    IQ4_NL,
    /// IQ4_NL's table, a 6-bit scale for 32 weights, blocks of 256.
    IQ4_XS,
    /// 4-bit floats (E2M1), a power of two (E8M0) for 32 weights.
    MXFP4,
    /// 4-bit floats (E2M1), an 8-bit float (UE4M3) for 16 weights, blocks of 64.
    NVFP4,
}

impl Format {
    /// Every format, in ggml's order of growing bits within each family.
    pub const ALL: [Self; 22] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ2_XXS,
        Self::IQ2_XS,
        Self::IQ2_S,
        Self::IQ3_XXS,
        Self::IQ3_S,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
        Self::NVFP4,
    ];

    /// The format with this `ggml_type` number, as stored in a GGUF tensor header; `None` where
    /// there is no kernel for it.
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.ggml_id() == id)
    }

    /// The `ggml_type` number (`ggml.h`).
    pub const fn ggml_id(self) -> u32 {
        self.facts().id
    }

    /// ggml's name, such as `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Weights in a block: a row is a whole number of blocks.
    pub const fn block_weights(self) -> usize {
        self.facts().weights
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.facts().bytes
    }

    /// Bytes of a row of `cols` weights.
    ///
    /// # Panics
    /// If `cols` is not a whole number of blocks, or the bytes do not fit a `usize`.
    pub fn row_bytes(self, cols: usize) -> usize {
        let block = self.block_weights();
        assert!(cols.is_multiple_of(block), "{self}: {cols} columns in blocks of {block}");
        let bytes = (cols / block).checked_mul(self.block_bytes());
        bytes.unwrap_or_else(|| panic!("{self}: a row of {cols} columns exceeds the address space"))
    }

    /// True when blocks hold an offset besides the scale (`w = scale · q − min`).
    pub const fn has_min(self) -> bool {
        with_block!(self, B => B::HAS_MIN, else false)
    }

    /// Whether weights are entries of a codebook, of which several stand under one index.
    pub const fn has_codebook(self) -> bool {
        matches!(self, Self::IQ2_XXS | Self::IQ2_XS | Self::IQ2_S | Self::IQ3_XXS | Self::IQ3_S)
    }

    /// True when [`quantize`](crate::quantize()) can write this format.
    pub const fn can_quantize(self) -> bool {
        use Format::{BF16, F16, F32, Q4_0, Q4_K, Q6_K, Q8_0};
        matches!(self, F32 | F16 | BF16 | Q4_0 | Q8_0 | Q4_K | Q6_K)
    }

    /// The table: ids are those of `enum ggml_type`, bytes are `sizeof` its blocks.
    const fn facts(self) -> Facts {
        const fn facts(id: u32, name: &'static str, weights: usize, bytes: usize) -> Facts {
            Facts { id, name, weights, bytes }
        }
        match self {
            Self::F32 => facts(0, "F32", 1, 4),
            Self::F16 => facts(1, "F16", 1, 2),
            Self::BF16 => facts(30, "BF16", 1, 2),
            Self::Q4_0 => facts(2, "Q4_0", 32, 18),
            Self::Q4_1 => facts(3, "Q4_1", 32, 20),
            Self::Q5_0 => facts(6, "Q5_0", 32, 22),
            Self::Q5_1 => facts(7, "Q5_1", 32, 24),
            Self::Q8_0 => facts(8, "Q8_0", 32, 34),
            Self::Q2_K => facts(10, "Q2_K", 256, 84),
            Self::Q3_K => facts(11, "Q3_K", 256, 110),
            Self::Q4_K => facts(12, "Q4_K", 256, 144),
            Self::Q5_K => facts(13, "Q5_K", 256, 176),
            Self::Q6_K => facts(14, "Q6_K", 256, 210),
            Self::IQ2_XXS => facts(16, "IQ2_XXS", 256, 66),
            Self::IQ2_XS => facts(17, "IQ2_XS", 256, 74),
            Self::IQ2_S => facts(22, "IQ2_S", 256, 82),
            Self::IQ3_XXS => facts(18, "IQ3_XXS", 256, 98),
            Self::IQ3_S => facts(21, "IQ3_S", 256, 110),
            Self::IQ4_NL => facts(20, "IQ4_NL", 32, 18),
            Self::IQ4_XS => facts(23, "IQ4_XS", 256, 136),
            Self::MXFP4 => facts(39, "MXFP4", 32, 17),
            Self::NVFP4 => facts(40, "NVFP4", 64, 36),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Turns GGUF's row-major little-endian blocks into f32, with the bits ggml gives.
///
/// `out` may be one row or several: rows are whole blocks and follow each other without gaps.
///
/// # Panics
/// If `bytes` is not exactly the blocks of `out.len()` weights.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    let need = format.row_bytes(out.len());
    let (have, weights) = (bytes.len(), out.len());
    assert_eq!(have, need, "{format}: {have} bytes for {weights} weights that need {need}");
    match format {
        Format::F32 => {
            for (w, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = f32::from_le_bytes(*w);
            }
        }
        Format::F16 => {
            for (w, out) in bytemuck::cast_slice::<u8, F16>(bytes).iter().zip(out) {
                *out = w.to_f32();
            }
        }
        Format::BF16 => {
            for (w, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes(*w)) << 16);
            }
        }
        _ => with_block!(format, B => dequantize_blocks::<B>(bytes, out), else unreachable!()),
    }
}

struct Facts {
    id: u32,
    name: &'static str,
    weights: usize,
    bytes: usize,
}

fn dequantize_blocks<B: Block>(bytes: &[u8], out: &mut [f32]) {
    let blocks: &[B] = bytemuck::cast_slice(bytes);
    for (block, out) in blocks.iter().zip(out.chunks_mut(B::WEIGHTS)) {
        for (j, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            *out = block.sub32(j).to_f32();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_distinct_and_lead_back() {
        for (i, a) in Format::ALL.into_iter().enumerate() {
            assert_eq!(Format::from_ggml_id(a.ggml_id()), Some(a));
            assert_eq!(a.to_string(), a.name());
            assert_eq!(format!("{a:?}"), a.name());
            assert!(Format::ALL[..i].iter().all(|b| b.name() != a.name()));
        }
        assert_eq!(Format::from_ggml_id(4), None); // Q4_2, removed from ggml
        assert_eq!(Format::from_ggml_id(u32::MAX), None);
    }

    #[test]
    #[should_panic(expected = "Q4_K: 255 columns in blocks of 256")]
    fn a_row_is_whole_blocks() {
        Format::Q4_K.row_bytes(255);
    }

    #[test]
    #[should_panic(expected = "Q8_0: 33 bytes for 32 weights that need 34")]
    fn bytes_and_weights_agree() {
        dequantize(Format::Q8_0, &[0; 33], &mut [0.0; 32]);
    }
}
