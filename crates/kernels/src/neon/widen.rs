//! Stored keys and values to f32: `widen` in vectors.

use std::arch::aarch64::*;

use super::lanes::widen_f16 as widen_four;
use crate::widen::{self, INT8_BLOCK};

#[target_feature(enable = "neon")]
pub(crate) fn widen_f16(out: &mut [f32], bits: &[u16]) {
    let (out, out_rest) = out.as_chunks_mut::<4>();
    let (bits, bits_rest) = bits.as_chunks::<4>();
    for (out, bits) in out.iter_mut().zip(bits) {
        *out = bytemuck::must_cast(widen_four(&bytemuck::must_cast(*bits)));
    }
    widen::widen_f16(out_rest, bits_rest);
}

#[target_feature(enable = "neon")]
pub(crate) fn scale_int8(out: &mut [f32], q: &[i8], scales: &[f32]) {
    let (out, out_rest) = out.as_chunks_mut::<INT8_BLOCK>();
    let (q, q_rest) = q.as_chunks::<INT8_BLOCK>();
    let (scales, scales_rest) = scales.split_at(out.len());
    for ((out, q), scale) in out.iter_mut().zip(q).zip(scales) {
        let q: [int8x8_t; 4] = bytemuck::must_cast(*q);
        for (out, q) in out.as_chunks_mut::<8>().0.iter_mut().zip(q) {
            let q = vmovl_s8(q);
            let halves = [vmovl_s16(vget_low_s16(q)), vmovl_high_s16(q)];
            *out = bytemuck::must_cast(halves.map(|q| vmulq_n_f32(vcvtq_f32_s32(q), *scale)));
        }
    }
    widen::scale_int8(out_rest, q_rest, scales_rest);
}
