//! Blocks of 32 weights with an f16 scale of their own: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

use bytemuck::{Pod, Zeroable};

use super::{Block, F16, Field, Sub32, nibbles};
use crate::Format;

/// `w[i] = d · (nibble[i] − 8)`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ4_0 {
    pub(crate) d: F16,
    /// Byte `i` holds the nibble of weight `i` (low) and `i + 16` (high).
    pub(crate) qs: [u8; 16],
}

impl Block for BlockQ4_0 {
    const FORMAT: Format = Format::Q4_0;
    const FIELDS: &'static [Field] = &[Field::HALF, Field::dwords(4)];

    fn sub32(&self, _: usize) -> Sub32 {
        Sub32::symmetric(nibbles(&self.qs).map(|q| q - 8), self.d.to_f32())
    }
}

/// `w[i] = d · nibble[i] + m`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ4_1 {
    pub(crate) d: F16,
    pub(crate) m: F16,
    /// Byte `i` holds the nibble of weight `i` (low) and `i + 16` (high).
    pub(crate) qs: [u8; 16],
}

impl Block for BlockQ4_1 {
    const FORMAT: Format = Format::Q4_1;
    const FIELDS: &'static [Field] = &[Field::HALF, Field::HALF, Field::dwords(4)];
    const HAS_MIN: bool = true;

    fn sub32(&self, _: usize) -> Sub32 {
        with_offset(nibbles(&self.qs), self.d, self.m)
    }
}

/// `w[i] = d · (q[i] − 16)`, `q[i] = nibble[i] + 16 · bit i of qh`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ5_0 {
    pub(crate) d: F16,
    /// A little-endian u32: bit `i` is the fifth bit of weight `i`.
    pub(crate) qh: [u8; 4],
    /// Byte `i` holds the nibble of weight `i` (low) and `i + 16` (high).
    pub(crate) qs: [u8; 16],
}

impl Block for BlockQ5_0 {
    const FORMAT: Format = Format::Q5_0;
    const FIELDS: &'static [Field] = &[Field::HALF, Field::dwords(1), Field::dwords(4)];

    fn sub32(&self, _: usize) -> Sub32 {
        Sub32::symmetric(five_bits(&self.qs, self.qh).map(|q| q - 16), self.d.to_f32())
    }
}

/// `w[i] = d · q[i] + m`, `q[i] = nibble[i] + 16 · bit i of qh`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ5_1 {
    pub(crate) d: F16,
    pub(crate) m: F16,
    /// A little-endian u32: bit `i` is the fifth bit of weight `i`.
    pub(crate) qh: [u8; 4],
    /// Byte `i` holds the nibble of weight `i` (low) and `i + 16` (high).
    pub(crate) qs: [u8; 16],
}

impl Block for BlockQ5_1 {
    const FORMAT: Format = Format::Q5_1;
    const FIELDS: &'static [Field] =
        &[Field::HALF, Field::HALF, Field::dwords(1), Field::dwords(4)];
    const HAS_MIN: bool = true;

    fn sub32(&self, _: usize) -> Sub32 {
        with_offset(five_bits(&self.qs, self.qh), self.d, self.m)
    }
}

/// `w[i] = d · qs[i]`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ8_0 {
    pub(crate) d: F16,
    pub(crate) qs: [i8; 32],
}

impl Block for BlockQ8_0 {
    const FORMAT: Format = Format::Q8_0;
    const FIELDS: &'static [Field] = &[Field::HALF, Field::dwords(8)];

    fn sub32(&self, _: usize) -> Sub32 {
        Sub32::symmetric(self.qs, self.d.to_f32())
    }
}

/// `d · q + m` is `d · q − (−m)`, exactly.
fn with_offset(q: [i8; 32], d: F16, m: F16) -> Sub32 {
    Sub32 { q, scale: [d.to_f32(); 2], min: [-m.to_f32(); 2] }
}

fn five_bits(qs: &[u8; 16], qh: [u8; 4]) -> [i8; 32] {
    let (low, high) = (nibbles(qs), u32::from_le_bytes(qh));
    std::array::from_fn(|i| low[i] | (((high >> i) & 1) << 4) as i8)
}
