//! Stored keys and values to f32: `widen` in vectors.

use std::arch::x86_64::*;

use super::lanes256::load_f16;
use crate::widen::{self, INT8_BLOCK};

#[target_feature(enable = "avx2,f16c")]
pub(crate) fn widen_f16(out: &mut [f32], bits: &[u16]) {
    let (out, out_rest) = out.as_chunks_mut::<8>();
    let (bits, bits_rest) = bits.as_chunks::<8>();
    for (out, bits) in out.iter_mut().zip(bits) {
        *out = bytemuck::must_cast(load_f16([&bytemuck::must_cast(*bits)]));
    }
    widen::widen_f16(out_rest, bits_rest);
}

#[target_feature(enable = "avx2")]
pub(crate) fn scale_int8(out: &mut [f32], q: &[i8], scales: &[f32]) {
    let (out, out_rest) = out.as_chunks_mut::<INT8_BLOCK>();
    let (q, q_rest) = q.as_chunks::<INT8_BLOCK>();
    let (scales, scales_rest) = scales.split_at(out.len());
    for ((out, q), scale) in out.iter_mut().zip(q).zip(scales) {
        let q: &[u64; 4] = &bytemuck::must_cast(*q);
        let scale = _mm256_set1_ps(*scale);
        for (out, q) in out.as_chunks_mut::<8>().0.iter_mut().zip(q) {
            let q = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128(q.cast_signed()));
            *out = bytemuck::must_cast(_mm256_mul_ps(scale, _mm256_cvtepi32_ps(q)));
        }
    }
    widen::scale_int8(out_rest, q_rest, scales_rest);
}
