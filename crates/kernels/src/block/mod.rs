//! The block layouts of ggml's quantised formats, as plain bytes.
//!
//! Every block is a `#[repr(C)]` struct of byte arrays: alignment 1 and no padding, so any slice of
//! a file casts to blocks and only its length can be wrong. `Block::sub32` is the one reader of a
//! layout; dequantisation, the scalar kernels and the tests of the others stand on it.

pub(crate) mod codebook;
mod fp4;
mod iq;
mod iq4;
mod k;
mod simple;

use bytemuck::{Pod, Zeroable};

pub(crate) use self::fp4::{BlockMXFP4, BlockNVFP4, FP4_VALUES};
pub(crate) use self::iq::{BlockIQ2_S, BlockIQ2_XS, BlockIQ2_XXS, BlockIQ3_S, BlockIQ3_XXS};
pub(crate) use self::iq4::{BlockIQ4_NL, BlockIQ4_XS, IQ4_VALUES};
pub(crate) use self::k::{BlockQ2_K, BlockQ3_K, BlockQ4_K, BlockQ5_K, BlockQ6_K, pack_scale_mins};
pub(crate) use self::simple::{BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0};
use crate::Format;

/// 32 consecutive weights of one row as the integer kernels see them:
/// `value[i] = scale[i / 16] · q[i] − min[i / 16]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sub32 {
    pub(crate) q: [i8; 32],
    pub(crate) scale: [f32; 2],
    pub(crate) min: [f32; 2],
}

impl Sub32 {
    /// All 32 weights with one scale and no offset.
    fn symmetric(q: [i8; 32], scale: f32) -> Self {
        Self { q, scale: [scale; 2], min: [0.0; 2] }
    }

    /// The weights as f32. `x − 0` is `x` for every `x` (also −0), hence one formula for all. Scale
    /// and product are exact in every format (11 bits of the f16, 7 and 6 of the integers at most,
    /// make 24; the scales of FP4 have 4 bits at most), so only the subtraction rounds, with or
    /// without a fused multiply-add.
    pub(crate) fn to_f32(self) -> [f32; 32] {
        std::array::from_fn(|i| self.scale[i / 16] * f32::from(self.q[i]) - self.min[i / 16])
    }
}

/// A block of one quantised format.
pub(crate) trait Block: Pod {
    const FORMAT: Format;

    /// Weights in a block: 32, 64 or 256.
    const WEIGHTS: usize = Self::FORMAT.block_weights();

    /// The fields in file order: how the eight-row container interleaves them.
    const FIELDS: &'static [Field];

    /// True when each 16 weights have a scale of their own (Q2_K, Q3_K, Q6_K, IQ2_XS, IQ2_S,
    /// NVFP4).
    const SCALES_OF_16: bool = false;

    /// True when the format has an offset; otherwise `Sub32::min` is zero.
    const HAS_MIN: bool = false;

    /// Weights `32 · j .. 32 · j + 32` of the block.
    fn sub32(&self, j: usize) -> Sub32;
}

/// A run of equal units in a block: the unit is what the eight-row container keeps together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Bytes of a unit: 1 for MXFP4's scale, 2 for f16 headers (and IQ4_XS' `scales_h`), 4 for
    /// everything else.
    pub(crate) unit: usize,
    /// Number of units.
    pub(crate) count: usize,
}

impl Field {
    /// One byte of header.
    const BYTE: Self = Self { unit: 1, count: 1 };

    /// One two-byte header.
    const HALF: Self = Self { unit: 2, count: 1 };

    /// `count` groups of four bytes.
    const fn dwords(count: usize) -> Self {
        Self { unit: 4, count }
    }
}

/// An IEEE 754 binary16 as its two little-endian bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct F16([u8; 2]);

impl F16 {
    /// Rounds to nearest, ties to even; what is too large becomes infinity.
    pub(crate) fn from_f32(x: f32) -> Self {
        Self(half::f16::from_f32(x).to_le_bytes())
    }

    pub(crate) fn to_f32(self) -> f32 {
        half::f16::from_le_bytes(self.0).to_f32()
    }
}

/// Evaluates an expression with the name `B` standing for the block type of a [`Format`]:
/// `with_block!(format, B => pack::<B>(bytes), else pack_plain(bytes))`, where `else` is for F32,
/// F16 and BF16, which have no blocks.
macro_rules! with_block {
    ($format:expr, $block:ident => $body:expr, else $plain:expr) => {
        $crate::block::with_block!(@match $format, $block, $body, $plain;
            Q4_0 BlockQ4_0, Q4_1 BlockQ4_1, Q5_0 BlockQ5_0, Q5_1 BlockQ5_1, Q8_0 BlockQ8_0,
            Q2_K BlockQ2_K, Q3_K BlockQ3_K, Q4_K BlockQ4_K, Q5_K BlockQ5_K, Q6_K BlockQ6_K,
            IQ2_XXS BlockIQ2_XXS, IQ2_XS BlockIQ2_XS, IQ2_S BlockIQ2_S,
            IQ3_XXS BlockIQ3_XXS, IQ3_S BlockIQ3_S, IQ4_NL BlockIQ4_NL, IQ4_XS BlockIQ4_XS,
            MXFP4 BlockMXFP4, NVFP4 BlockNVFP4)
    };
    (@match $format:expr, $block:ident, $body:expr, $plain:expr; $($name:ident $ty:ident),+) => {
        match $format {
            $crate::Format::F32 | $crate::Format::F16 | $crate::Format::BF16 => $plain,
            $($crate::Format::$name => {
                use $crate::block::$ty as $block;
                $body
            })+
        }
    };
}
pub(crate) use with_block;

/// Byte `i` of `bytes` shifted right by `shift` and masked, as 32 small integers.
fn bits(bytes: &[u8; 32], shift: usize, mask: u8) -> [i8; 32] {
    bytes.map(|b| ((b >> shift) & mask) as i8)
}

/// The low nibbles of 16 bytes, then the high ones.
fn nibbles(bytes: &[u8; 16]) -> [i8; 32] {
    std::array::from_fn(|i| ((bytes[i % 16] >> (4 * (i / 16))) & 15) as i8)
}

/// The array at `N · index` of a longer one.
fn part<const N: usize>(bytes: &[u8], index: usize) -> &[u8; N] {
    &bytes.as_chunks().0[index]
}

/// The size of the struct, ggml's size and the sum of the fields are one number.
const fn is_consistent<B: Block>() -> bool {
    let (mut bytes, mut i) = (0, 0);
    while i < B::FIELDS.len() {
        bytes += B::FIELDS[i].unit * B::FIELDS[i].count;
        i += 1;
    }
    bytes == size_of::<B>() && bytes == B::FORMAT.block_bytes() && align_of::<B>() == 1
}

macro_rules! assert_consistent {
    ($($name:ident)+) => {
        $(const _: () =
            assert!(with_block!(Format::$name, B => is_consistent::<B>(), else false));)+
    };
}
assert_consistent!(Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ2_S IQ3_XXS
    IQ3_S IQ4_NL IQ4_XS MXFP4 NVFP4);
