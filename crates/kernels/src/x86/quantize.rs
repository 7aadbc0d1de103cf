//! Activations to 8 bits, 32 values at a time: `activations::quantize` in vectors.

use std::arch::x86_64::*;

use crate::activations::{BLOCK_ROWS, block_rows, for_columns, scale};

/// See [`Isa::quantize_columns`](crate::Isa::quantize_columns).
#[target_feature(enable = "avx2")]
pub(crate) fn quantize(x: &[f32], k: usize, out: &mut [u32]) {
    for_columns(x, k, out, |x| quantize_block(x));
}

#[target_feature(enable = "avx2")]
#[inline]
fn quantize_block(x: &[f32; 32]) -> [u32; BLOCK_ROWS] {
    let x: [__m256; 4] = bytemuck::must_cast(*x);
    let mut max = _mm256_setzero_si256();
    for x in x {
        let magnitude = _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0), x));
        max = _mm256_max_epu32(magnitude, max);
    }
    let max: [u32; 8] = bytemuck::must_cast(max);
    let (d, inverse) = scale(max.into_iter().fold(0, u32::max));
    let mut q = [_mm256_setzero_si256(); 4];
    for i in 0..4 {
        let y = _mm256_mul_ps(x[i], _mm256_set1_ps(inverse));
        let y = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(y);
        // The second operand stands where the first is not a number.
        let y = _mm256_min_ps(_mm256_max_ps(y, _mm256_set1_ps(-127.0)), _mm256_set1_ps(127.0));
        q[i] = _mm256_cvtps_epi32(y);
    }
    let halves = [add_lanes(q[0], q[1]), add_lanes(q[2], q[3])];
    let pairs = [_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])];
    // Packing goes on in each half of a register: dword 4h + i is quarter h of vector i.
    let bytes = _mm256_packs_epi16(pairs[0], pairs[1]);
    let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    block_rows(bytemuck::must_cast(bytes), d, halves)
}

/// The sum of all lanes of both vectors.
#[target_feature(enable = "avx2")]
#[inline]
fn add_lanes(a: __m256i, b: __m256i) -> i32 {
    let eight = _mm256_add_epi32(a, b);
    let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b_10_11_00_01>(two)))
}
