//! The table of ggml tensor types: id in the file, name, weights per block, bytes per block.
//!
//! It is complete, so that any file can be inspected, whether or not a kernel exists for its types.
//! Ids and names are those of `enum ggml_type` in ggml's `ggml.h`, sizes those of the block structs
//! in `ggml-common.h`.

use std::fmt;

macro_rules! tensor_types {
    ($($(#[$doc:meta])+ $name:ident = $id:literal, $weights:literal, $bytes:literal;)+) => {
        /// How the weights of a tensor are stored, under ggml's own names.
        #[expect(non_camel_case_types, reason = "ggml's spelling: a search finds both worlds")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum TensorType { $($(#[$doc])+ $name = $id,)+ }

        impl TensorType {
            /// Every type, in order of id.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The type with this id; `None` for unknown and [removed](Self::removed_name) ids.
            pub const fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)+ _ => None }
            }

            /// The number that stands for the type in a file.
            pub const fn id(self) -> u32 { self as u32 }

            /// ggml's name, for example `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Weights in one block; the first dimension of a tensor is a multiple of it.
            pub const fn block_weights(self) -> u64 {
                match self { $(Self::$name => $weights,)+ }
            }

            /// Bytes of one block.
            pub const fn block_bytes(self) -> u64 {
                match self { $(Self::$name => $bytes,)+ }
            }
        }
    };
}

tensor_types! {
    /// IEEE 754 binary32.
    F32 = 0, 1, 4;
    /// IEEE 754 binary16.
    F16 = 1, 1, 2;
    /// 4 bits, one scale per 32 weights.
    Q4_0 = 2, 32, 18;
    /// 4 bits, scale and minimum per 32 weights.
    Q4_1 = 3, 32, 20;
    /// 5 bits, one scale per 32 weights.
    Q5_0 = 6, 32, 22;
    /// 5 bits, scale and minimum per 32 weights.
    Q5_1 = 7, 32, 24;
    /// 8 bits, one scale per 32 weights.
    Q8_0 = 8, 32, 34;
    /// 8 bits, scale and sum per 32 values: ggml's activations, never weights.
    ///
    /// 36 bytes as in `ggml-common.h`; the `gguf` Python package still counts an older block of 40.
    Q8_1 = 9, 32, 36;
    /// 2 bits, 16 sub-blocks of 16.
    Q2_K = 10, 256, 84;
    /// 3 bits, 16 sub-blocks of 16.
    Q3_K = 11, 256, 110;
    /// 4 bits, 8 sub-blocks of 32.
    Q4_K = 12, 256, 144;
    /// 5 bits, 8 sub-blocks of 32.
    Q5_K = 13, 256, 176;
    /// 6 bits, 16 sub-blocks of 16.
    Q6_K = 14, 256, 210;
    /// 8 bits, one f32 scale per 256 values: ggml's activations, never weights.
    Q8_K = 15, 256, 292;
    /// 2.06 bits from a codebook.
    IQ2_XXS = 16, 256, 66;
    /// 2.31 bits from a codebook.
    IQ2_XS = 17, 256, 74;
    /// 3.06 bits from a codebook.
    IQ3_XXS = 18, 256, 98;
    /// 1.56 bits from a codebook.
    IQ1_S = 19, 256, 50;
    /// 4 bits through a table of 16 values, one scale per 32 weights.
    IQ4_NL = 20, 32, 18;
    /// 3.44 bits from a codebook.
    IQ3_S = 21, 256, 110;
    /// 2.56 bits from a codebook.
    IQ2_S = 22, 256, 82;
    /// 4 bits through a table of 16 values, 8 sub-blocks of 32.
    IQ4_XS = 23, 256, 136;
    /// Signed 8-bit integer.
    I8 = 24, 1, 1;
    /// Signed 16-bit integer.
    I16 = 25, 1, 2;
    /// Signed 32-bit integer.
    I32 = 26, 1, 4;
    /// Signed 64-bit integer.
    I64 = 27, 1, 8;
    /// IEEE 754 binary64.
    F64 = 28, 1, 8;
    /// 1.75 bits from a codebook.
    IQ1_M = 29, 256, 56;
    /// The upper half of a binary32.
    BF16 = 30, 1, 2;
    /// Ternary, 1.69 bits.
    TQ1_0 = 34, 256, 54;
    /// Ternary, 2.06 bits.
    TQ2_0 = 35, 256, 66;
    /// OCP microscaling FP4 (E2M1), one E8M0 scale per 32 weights.
    MXFP4 = 39, 32, 17;
    /// NVIDIA FP4 (E2M1), one UE4M3 scale per 16 weights, four of them in a block.
    NVFP4 = 40, 64, 36;
    /// 1 bit, one scale per 128 weights.
    Q1_0 = 41, 128, 18;
    /// 2 bits, one scale per 64 weights.
    Q2_0 = 42, 64, 18;
}

impl TensorType {
    /// The name of a type that ggml has withdrawn: tells an old file from a broken one.
    pub const fn removed_name(id: u32) -> Option<&'static str> {
        Some(match id {
            4 => "Q4_2",
            5 => "Q4_3",
            31 => "Q4_0_4_4",
            32 => "Q4_0_4_8",
            33 => "Q4_0_8_8",
            36 => "IQ4_NL_4_4",
            37 => "IQ4_NL_4_8",
            38 => "IQ4_NL_8_8",
            _ => return None,
        })
    }

    /// The type with this name as [`name`](Self::name) spells it, in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of `weights` weights; `None` unless they are whole blocks that a `u64` can count.
    pub const fn bytes_of(self, weights: u64) -> Option<u64> {
        if !weights.is_multiple_of(self.block_weights()) {
            return None;
        }
        (weights / self.block_weights()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
