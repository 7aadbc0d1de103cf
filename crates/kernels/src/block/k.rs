//! The K-quants: blocks of 256 weights whose scales are themselves small integers times an f16.
//!
//! A block is eight sub-blocks of 32 weights, here numbered `j`. The bits of a sub-block are never
//! contiguous: its byte `i` always belongs to weight `32 · j + i`, at a shift that depends on `j`.

use bytemuck::{Pod, Zeroable};

use super::{Block, F16, Field, Sub32, bits, part};
use crate::Format;

/// `w = d · sc · q − dmin · m`, `q` of 2 bits, `sc` and `m` of 4 bits for each 16 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ2_K {
    /// Byte `k` serves weights `16 · k ..`: `sc` in the low nibble, `m` in the high one.
    pub(crate) scales: [u8; 16],
    /// Sub-block `j` is bits `2 · (j mod 4) ..` of the 32 bytes from `32 · (j div 4)`.
    pub(crate) qs: [u8; 64],
    pub(crate) d: F16,
    pub(crate) dmin: F16,
}

impl Block for BlockQ2_K {
    const FORMAT: Format = Format::Q2_K;
    const FIELDS: &'static [Field] =
        &[Field::dwords(4), Field::dwords(16), Field::HALF, Field::HALF];
    const SCALES_OF_16: bool = true;
    const HAS_MIN: bool = true;

    fn sub32(&self, j: usize) -> Sub32 {
        let (d, dmin) = (self.d.to_f32(), self.dmin.to_f32());
        let scales = *part::<2>(&self.scales, j);
        Sub32 {
            q: bits(part(&self.qs, j / 4), 2 * (j % 4), 3),
            scale: scales.map(|s| d * f32::from(s & 15)),
            min: scales.map(|s| dmin * f32::from(s >> 4)),
        }
    }
}

/// `w = d · (sc − 32) · (q − 4)`, `q` of 3 bits, `sc` of 6 bits for each 16 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ3_K {
    /// Bit `j` of byte `i` is the third bit of weight `32 · j + i`.
    pub(crate) hmask: [u8; 32],
    /// The lower two bits, laid out as in [`BlockQ2_K`].
    pub(crate) qs: [u8; 64],
    /// Scale `k`: low four bits in byte `k mod 8` at bit `4 · (k div 8)`, high two bits in byte
    /// `8 + k mod 4` at bit `2 · (k div 4)`.
    pub(crate) scales: [u8; 12],
    pub(crate) d: F16,
}

impl Block for BlockQ3_K {
    const FORMAT: Format = Format::Q3_K;
    const FIELDS: &'static [Field] =
        &[Field::dwords(8), Field::dwords(16), Field::dwords(3), Field::HALF];
    const SCALES_OF_16: bool = true;

    fn sub32(&self, j: usize) -> Sub32 {
        let low = bits(part(&self.qs, j / 4), 2 * (j % 4), 3);
        let high = bits(&self.hmask, j, 1);
        let d = self.d.to_f32();
        let scale = [2 * j, 2 * j + 1].map(|k| {
            let low = (self.scales[k % 8] >> (4 * (k / 8))) & 15;
            let high = (self.scales[8 + k % 4] >> (2 * (k / 4))) & 3;
            d * (f32::from(low | (high << 4)) - 32.0)
        });
        Sub32 { q: std::array::from_fn(|i| low[i] + 4 * high[i] - 4), scale, min: [0.0; 2] }
    }
}

/// `w = d · sc · q − dmin · m`, `q` of 4 bits, `sc` and `m` of 6 bits for each 32 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ4_K {
    pub(crate) d: F16,
    pub(crate) dmin: F16,
    /// See [`scale_min`].
    pub(crate) scales: [u8; 12],
    /// Sub-block `j` is the low (even `j`) or high (odd `j`) nibbles of the 32 bytes from
    /// `32 · (j div 2)`.
    pub(crate) qs: [u8; 128],
}

impl Block for BlockQ4_K {
    const FORMAT: Format = Format::Q4_K;
    const FIELDS: &'static [Field] =
        &[Field::HALF, Field::HALF, Field::dwords(3), Field::dwords(32)];
    const HAS_MIN: bool = true;

    fn sub32(&self, j: usize) -> Sub32 {
        let q = bits(part(&self.qs, j / 2), 4 * (j % 2), 15);
        with_scale_min(q, self.d, self.dmin, scale_min(&self.scales, j))
    }
}

/// As [`BlockQ4_K`] with `q` of 5 bits.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ5_K {
    pub(crate) d: F16,
    pub(crate) dmin: F16,
    /// See [`scale_min`].
    pub(crate) scales: [u8; 12],
    /// Bit `j` of byte `i` is the fifth bit of weight `32 · j + i`.
    pub(crate) qh: [u8; 32],
    /// The lower four bits, laid out as in [`BlockQ4_K`].
    pub(crate) qs: [u8; 128],
}

impl Block for BlockQ5_K {
    const FORMAT: Format = Format::Q5_K;
    const FIELDS: &'static [Field] =
        &[Field::HALF, Field::HALF, Field::dwords(3), Field::dwords(8), Field::dwords(32)];
    const HAS_MIN: bool = true;

    fn sub32(&self, j: usize) -> Sub32 {
        let low = bits(part(&self.qs, j / 2), 4 * (j % 2), 15);
        let high = bits(&self.qh, j, 1);
        let q = std::array::from_fn(|i| low[i] | (high[i] << 4));
        with_scale_min(q, self.d, self.dmin, scale_min(&self.scales, j))
    }
}

/// `w = d · sc · (q − 32)`, `q` of 6 bits, `sc` a signed byte for each 16 weights.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ6_K {
    /// The lower four bits. With `r = j mod 4`, sub-block `j` is the low (`r < 2`) or high nibbles
    /// of the 32 bytes from `64 · (j div 4) + 32 · (r mod 2)`.
    pub(crate) ql: [u8; 128],
    /// The upper two bits, laid out as the `qs` of [`BlockQ2_K`].
    pub(crate) qh: [u8; 64],
    /// Byte `k` serves weights `16 · k ..`.
    pub(crate) scales: [i8; 16],
    pub(crate) d: F16,
}

impl Block for BlockQ6_K {
    const FORMAT: Format = Format::Q6_K;
    const FIELDS: &'static [Field] =
        &[Field::dwords(32), Field::dwords(16), Field::dwords(4), Field::HALF];
    const SCALES_OF_16: bool = true;

    fn sub32(&self, j: usize) -> Sub32 {
        let (half, r) = (j / 4, j % 4);
        let low = bits(part(&self.ql, 2 * half + r % 2), 4 * (r / 2), 15);
        let high = bits(part(&self.qh, half), 2 * r, 3);
        let d = self.d.to_f32();
        let scale = [2 * j, 2 * j + 1].map(|k| d * f32::from(self.scales[k]));
        Sub32 { q: std::array::from_fn(|i| (low[i] | (high[i] << 4)) - 32), scale, min: [0.0; 2] }
    }
}

/// The 6-bit scale and min of sub-block `j` in the 12 bytes of a Q4_K or Q5_K block.
///
/// Bytes 0–3 hold scales 0–3 and bytes 4–7 mins 0–3 in their lower six bits. Sub-blocks 4–7 have
/// the lower nibbles of both in byte `4 + j` (scale low, min high), the upper two bits of the scale
/// on top of byte `j − 4` and those of the min on top of byte `j`.
fn scale_min(scales: &[u8; 12], j: usize) -> (u8, u8) {
    if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        let low = scales[j + 4];
        ((low & 15) | (scales[j - 4] >> 6 << 4), (low >> 4) | (scales[j] >> 6 << 4))
    }
}

/// The inverse of [`scale_min`]: 6-bit scales and mins into 12 bytes.
pub(crate) fn pack_scale_mins(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut bytes = [0; 12];
    for j in 0..4 {
        let (scale, min) = (scales[j + 4], mins[j + 4]);
        bytes[j] = scales[j] | (scale >> 4 << 6);
        bytes[j + 4] = mins[j] | (min >> 4 << 6);
        bytes[j + 8] = (scale & 15) | (min << 4);
    }
    bytes
}

fn with_scale_min(q: [i8; 32], d: F16, dmin: F16, (scale, min): (u8, u8)) -> Sub32 {
    let scale = d.to_f32() * f32::from(scale);
    let min = dmin.to_f32() * f32::from(min);
    Sub32 { q, scale: [scale; 2], min: [min; 2] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_scales_come_back() {
        for seed in 0..64 {
            let scales: [u8; 8] = std::array::from_fn(|j| (seed + 11 * j as u8) % 64);
            let mins: [u8; 8] = std::array::from_fn(|j| (63 - seed + 5 * j as u8) % 64);
            let bytes = pack_scale_mins(&scales, &mins);
            let back: [(u8, u8); 8] = std::array::from_fn(|j| scale_min(&bytes, j));
            assert_eq!(back, std::array::from_fn(|j| (scales[j], mins[j])));
        }
    }
}
