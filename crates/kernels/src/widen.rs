//! Stored keys and values to f32: f16, and 8-bit integers with a scale for each 32 of them.

use half::f16;

use crate::Isa;

/// 8-bit values that share a scale.
pub(crate) const INT8_BLOCK: usize = 32;

impl Isa {
    /// f16, given by their bits, to f32.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn widen_f16(self, out: &mut [f32], bits: &[u16]) {
        assert_eq!(out.len(), bits.len(), "a place for each value");
        self.widen_f16_checked(out, bits);
    }

    /// `out[i] = scales[i / 32] · q[i]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn scale_int8(self, out: &mut [f32], q: &[i8], scales: &[f32]) {
        let blocks = out.len().div_ceil(INT8_BLOCK);
        assert!(q.len() == out.len() && scales.len() == blocks, "a scale for 32 values");
        self.scale_int8_checked(out, q, scales);
    }
}

pub(crate) fn widen_f16(out: &mut [f32], bits: &[u16]) {
    for (out, bits) in out.iter_mut().zip(bits) {
        *out = f16::from_bits(*bits).to_f32();
    }
}

pub(crate) fn scale_int8(out: &mut [f32], q: &[i8], scales: &[f32]) {
    let blocks = out.chunks_mut(INT8_BLOCK).zip(q.chunks(INT8_BLOCK));
    for ((out, q), scale) in blocks.zip(scales) {
        for (out, q) in out.iter_mut().zip(q) {
            *out = scale * f32::from(*q);
        }
    }
}
