//! IQ4_NL and IQ4_XS: nibbles that index a table of unequal steps.

use bytemuck::{Pod, Zeroable};

use super::{Block, F16, Field, Sub32, nibbles, part};
use crate::Format;

/// `w[i] = d · IQ4_VALUES[nibble[i]]`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockIQ4_NL {
    pub(crate) d: F16,
    /// Byte `i` holds the nibble of weight `i` (low) and `i + 16` (high).
    pub(crate) qs: [u8; 16],
}

impl Block for BlockIQ4_NL {
    const FORMAT: Format = Format::IQ4_NL;
    const FIELDS: &'static [Field] = &[Field::HALF, Field::dwords(4)];

    fn sub32(&self, _: usize) -> Sub32 {
        Sub32::symmetric(look_up(&self.qs), self.d.to_f32())
    }
}

/// `w = d · (sc − 32) · IQ4_VALUES[nibble]`, `sc` of 6 bits for each 32 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockIQ4_XS {
    pub(crate) d: F16,
    /// A little-endian u16: bits `2 · j ..` are the upper two bits of scale `j`.
    pub(crate) scales_h: [u8; 2],
    /// The lower four bits of scale `j`: byte `j div 2`, low nibble for even `j`.
    pub(crate) scales_l: [u8; 4],
    /// Sub-block `j` is the 16 bytes from `16 · j`, each laid out as in [`BlockIQ4_NL`].
    pub(crate) qs: [u8; 128],
}

impl Block for BlockIQ4_XS {
    const FORMAT: Format = Format::IQ4_XS;
    const FIELDS: &'static [Field] =
        &[Field::HALF, Field::HALF, Field::dwords(1), Field::dwords(32)];

    fn sub32(&self, j: usize) -> Sub32 {
        let low = (self.scales_l[j / 2] >> (4 * (j % 2))) & 15;
        let high = (u16::from_le_bytes(self.scales_h) >> (2 * j)) & 3;
        let scale = f32::from(u16::from(low) | (high << 4)) - 32.0;
        Sub32::symmetric(look_up(part(&self.qs, j)), self.d.to_f32() * scale)
    }
}

fn look_up(qs: &[u8; 16]) -> [i8; 32] {
    nibbles(qs).map(|q| IQ4_VALUES[q as usize])
}

/// The sixteen steps of ggml's IQ4 formats (`kvalues_iq4nl` in `ggml-common.h`).
pub(crate) const IQ4_VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
