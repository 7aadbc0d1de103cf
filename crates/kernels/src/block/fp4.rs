//! MXFP4 and NVFP4: 4-bit floats under scales that are floats of eight bits.
//!
//! The weights are E2M1: a sign, two bits of exponent, one of mantissa (OCP Microscaling Formats,
//! version 1.0, section 5.3.3). As in ggml the table has their doubles, which are integers, and
//! each scale is halved for it.

use bytemuck::{Pod, Zeroable};

use super::{Block, Field, Sub32, nibbles, part};
use crate::Format;

/// `w[i] = e8m0(e) / 2 · FP4_VALUES[nibble[i]]`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockMXFP4 {
    /// See [`e8m0_half`].
    pub(crate) e: u8,
    /// Byte `i` holds the nibble of weight `i` (low) and `i + 16` (high).
    pub(crate) qs: [u8; 16],
}

impl Block for BlockMXFP4 {
    const FORMAT: Format = Format::MXFP4;
    const FIELDS: &'static [Field] = &[Field::BYTE, Field::dwords(4)];

    fn sub32(&self, _: usize) -> Sub32 {
        Sub32::symmetric(nibbles(&self.qs).map(look_up), e8m0_half(self.e))
    }
}

/// `w[i] = ue4m3(d) / 2 · FP4_VALUES[nibble]`, a `d` for each 16 weights.
///
/// In the files of NVIDIA's tools a matrix has a scale of its own besides, which is another tensor.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockNVFP4 {
    /// Byte `k` serves weights `16 · k ..`; see [`ue4m3_half`].
    pub(crate) d: [u8; 4],
    /// The 8 bytes from `8 · k` are weights `16 · k ..`: byte `i` holds the nibble of weight `i`
    /// (low) and `i + 8` (high) of them.
    pub(crate) qs: [u8; 32],
}

impl Block for BlockNVFP4 {
    const FORMAT: Format = Format::NVFP4;
    const FIELDS: &'static [Field] = &[Field::dwords(1), Field::dwords(8)];
    const SCALES_OF_16: bool = true;

    fn sub32(&self, j: usize) -> Sub32 {
        let qs = part::<16>(&self.qs, j);
        let nibble = |i: usize| qs[i / 16 * 8 + i % 8] >> (i / 8 % 2 * 4) & 15;
        let q = std::array::from_fn(|i| look_up(nibble(i) as i8));
        Sub32 { q, scale: part::<2>(&self.d, j).map(ue4m3_half), min: [0.0; 2] }
    }
}

fn look_up(nibble: i8) -> i8 {
    FP4_VALUES[nibble as usize]
}

/// The doubles of the sixteen E2M1 numbers (`kvalues_mxfp4` in `ggml-common.h`).
pub(crate) const FP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of `2^(e − 127)`, exactly; subnormal for `e` of 0 and 1.
///
/// 255 is NaN in the specification of the format and 2¹²⁷ here, as in ggml
/// (`ggml_e8m0_to_fp32_half`): no file has it, and the bits shall be ggml's.
fn e8m0_half(e: u8) -> f32 {
    f32::from_bits(match u32::from(e) {
        e @ 0..2 => 1 << (21 + e),
        e => (e - 1) << 23,
    })
}

/// Half of a float of four bits of exponent, with a bias of 7, and three of mantissa. The upper bit
/// does not count, and 0x7F, which would be NaN, is 0 (`ggml_ue4m3_to_fp32`).
fn ue4m3_half(x: u8) -> f32 {
    if x == 0x7F {
        return 0.0;
    }
    // The bits are an f32 whose exponent is too small by 120, and by one more for the half.
    f32::from_bits(u32::from(x & 0x7F) << 20) * 2.0_f32.powi(119)
}
