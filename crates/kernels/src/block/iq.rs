//! IQ2 and IQ3: indices into a codebook of magnitudes, and signs beside them.
//!
//! A block of 256 weights is eight sub-blocks of 32, here numbered `j`. IQ2 names the magnitudes of
//! eight weights with one index, IQ3 those of four. Where signs are seven bits for eight weights,
//! [`even_signs`] says what the eighth is.

use bytemuck::{Pod, Zeroable};

use super::codebook::{self, even_signs};
use super::{Block, F16, Field, Sub32, part};
use crate::Format;

/// `w = d · (sc + ½) / 4 · (±grid)`, `sc` of 4 bits for each 32 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockIQ2_XXS {
    pub(crate) d: F16,
    /// Sub-block `j` is the 8 bytes from `8 · j`: four indices of a byte each, and a little-endian
    /// u32 with seven signs for each of them from bit 0 on, and the scale in the upper four bits.
    pub(crate) qs: [u8; 64],
}

impl Block for BlockIQ2_XXS {
    const FORMAT: Format = Format::IQ2_XXS;
    const FIELDS: &'static [Field] = &[Field::HALF, Field::dwords(16)];

    fn sub32(&self, j: usize) -> Sub32 {
        let [i0, i1, i2, i3, tail @ ..] = *part::<8>(&self.qs, j);
        let (signs, scale) = signs_and_scale(tail);
        let magnitudes = [i0, i1, i2, i3].map(|i| codebook::IQ2_XXS[usize::from(i)]);
        Sub32::symmetric(signed(&magnitudes, signs), self.d.to_f32() / 8.0 * odd(scale))
    }
}

/// As [`BlockIQ2_XXS`] with a larger codebook and a scale for each 16 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockIQ2_XS {
    pub(crate) d: F16,
    /// Little-endian u16 `k` serves weights `8 · k ..`: nine bits of index, seven signs above.
    pub(crate) qs: [u8; 64],
    /// Byte `j`: the scale of the first 16 weights in the low nibble, of the last 16 in the high.
    pub(crate) scales: [u8; 8],
}

impl Block for BlockIQ2_XS {
    const FORMAT: Format = Format::IQ2_XS;
    const FIELDS: &'static [Field] = &[Field::HALF, Field::dwords(16), Field::dwords(2)];
    const SCALES_OF_16: bool = true;

    fn sub32(&self, j: usize) -> Sub32 {
        let units: [u16; 4] =
            std::array::from_fn(|k| u16::from_le_bytes(*part(&self.qs, 4 * j + k)));
        let magnitudes = units.map(|unit| codebook::IQ2_XS[usize::from(unit & 511)]);
        let signs = units.map(|unit| even_signs((unit >> 9) as u8));
        with_two_scales(signed(&magnitudes, signs), self.d, self.scales[j])
    }
}

/// As [`BlockIQ2_XS`] with a larger codebook and all eight signs.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockIQ2_S {
    pub(crate) d: F16,
    /// Byte `k` is the lower eight bits of the index of weights `8 · k ..`.
    pub(crate) qs: [u8; 32],
    /// Bit `i` of byte `k` is the sign of weight `8 · k + i`.
    pub(crate) signs: [u8; 32],
    /// Bits `2 · i ..` of byte `j` are the upper two bits of index `4 · j + i`.
    pub(crate) qh: [u8; 8],
    /// As in [`BlockIQ2_XS`].
    pub(crate) scales: [u8; 8],
}

impl Block for BlockIQ2_S {
    const FORMAT: Format = Format::IQ2_S;
    const FIELDS: &'static [Field] =
        &[Field::HALF, Field::dwords(8), Field::dwords(8), Field::dwords(2), Field::dwords(2)];
    const SCALES_OF_16: bool = true;

    fn sub32(&self, j: usize) -> Sub32 {
        let (low, high) = (part::<4>(&self.qs, j), usize::from(self.qh[j]));
        let magnitudes: [u64; 4] = std::array::from_fn(|i| {
            codebook::IQ2_S[usize::from(low[i]) | (high >> (2 * i) & 3) << 8]
        });
        with_two_scales(signed(&magnitudes, *part(&self.signs, j)), self.d, self.scales[j])
    }
}

/// `w = d · (sc + ½) / 2 · (±grid)`, `sc` of 4 bits for each 32 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockIQ3_XXS {
    pub(crate) d: F16,
    /// Byte `k` is the index of weights `4 · k ..`.
    pub(crate) qs: [u8; 64],
    /// Sub-block `j` is a little-endian u32, as in [`BlockIQ2_XXS`].
    pub(crate) signs: [u8; 32],
}

impl Block for BlockIQ3_XXS {
    const FORMAT: Format = Format::IQ3_XXS;
    const FIELDS: &'static [Field] = &[Field::HALF, Field::dwords(16), Field::dwords(8)];

    fn sub32(&self, j: usize) -> Sub32 {
        let (signs, scale) = signs_and_scale(*part(&self.signs, j));
        let magnitudes = part::<8>(&self.qs, j).map(|i| codebook::IQ3_XXS[usize::from(i)]);
        // Magnitudes are halves, so the scale is the double of what stands above.
        Sub32::symmetric(signed(&magnitudes, signs), self.d.to_f32() / 2.0 * odd(scale))
    }
}

/// `w = d · (2 · sc + 1) · (±grid)`, `sc` of 4 bits for each 32 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockIQ3_S {
    pub(crate) d: F16,
    /// Byte `k` is the lower eight bits of the index of weights `4 · k ..`.
    pub(crate) qs: [u8; 64],
    /// Bit `i` of byte `j` is the ninth bit of index `8 · j + i`.
    pub(crate) qh: [u8; 8],
    /// Bit `i` of byte `k` is the sign of weight `8 · k + i`.
    pub(crate) signs: [u8; 32],
    /// Nibble `j`, low ones first, is the scale of sub-block `j`.
    pub(crate) scales: [u8; 4],
}

impl Block for BlockIQ3_S {
    const FORMAT: Format = Format::IQ3_S;
    const FIELDS: &'static [Field] =
        &[Field::HALF, Field::dwords(16), Field::dwords(2), Field::dwords(8), Field::dwords(1)];

    fn sub32(&self, j: usize) -> Sub32 {
        let (low, high) = (part::<8>(&self.qs, j), usize::from(self.qh[j]));
        let magnitudes: [u32; 8] =
            std::array::from_fn(|i| codebook::IQ3_S[usize::from(low[i]) | (high >> i & 1) << 8]);
        let scale = self.scales[j / 2] >> (4 * (j % 2)) & 15;
        let q = signed(&magnitudes, *part(&self.signs, j));
        Sub32::symmetric(q, self.d.to_f32() * odd(scale))
    }
}

/// Four times eight signs and the four bits above them.
fn signs_and_scale(tail: [u8; 4]) -> ([u8; 4], u8) {
    let tail = u32::from_le_bytes(tail);
    let signs = [0, 7, 14, 21].map(|shift| even_signs((tail >> shift & 127) as u8));
    (signs, (tail >> 28) as u8)
}

/// `d · (sc + ½) / 4` for each nibble `sc`.
fn with_two_scales(q: [i8; 32], d: F16, scales: u8) -> Sub32 {
    let scale = [scales & 15, scales >> 4].map(|scale| d.to_f32() / 8.0 * odd(scale));
    Sub32 { q, scale, min: [0.0; 2] }
}

/// `2 · (scale + ½)`.
fn odd(scale: u8) -> f32 {
    f32::from(2 * scale + 1)
}

/// Entries of a codebook, 32 bytes together, with the signs of four times eight weights.
fn signed<T: Pod>(magnitudes: &[T], signs: [u8; 4]) -> [i8; 32] {
    let bytes: &[i8; 32] = bytemuck::cast_slice(magnitudes).try_into().expect("32 weights");
    std::array::from_fn(|i| if signs[i / 8] >> (i % 8) & 1 == 0 { bytes[i] } else { -bytes[i] })
}
