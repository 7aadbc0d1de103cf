//! AVX2 kernels: `maddubs` on unsigned weights and signed activations.
//!
//! For a block of 32 weights of eight rows and one column
//!
//! ```text
//! s16 += maddubs(w[g], broadcast(q[g]))       g = 0..8; pairs of products in sixteen i16 lanes
//! s32  = madd(s16, 1)                         eight sums of eight rows
//! acc  = fma(cvt(s32 − offset·Σq), scale·d, acc)
//! ```
//!
//! `maddubs` and the additions behind it must not overflow an i16. With |q| <= 127 and unsigned
//! weights up to `m` each `maddubs` is at most `2·m·127`, so
//!
//! | weights | m  | additions before `madd` | largest lane |
//! |---------|----|-------------------------|--------------|
//! | 4 bits  | 15 | 8                       | 30480        |
//! | 5 bits  | 31 | 4                       | 31496        |
//! | 6 bits  | 63 | 2                       | 32004        |
//!
//! 8-bit weights are made unsigned by moving their sign to the activation: at most `2·128·127 =
//! 32512`, alone. Every integer sum is exact, and the float operations are those of `scalar` in the
//! same order, so the results are the same bits.

use std::arch::x86_64::*;

use crate::activations::{self, Int8Block, SCALE, SCALED_SUM, int8_blocks};

use crate::{Columns, Format, GROUP_ROWS, Weights, scalar};

mod float;
mod k;
mod simple;

/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    match x.columns() {
        1 => matmul_n::<1>(w, groups, x, out),
        2 => matmul_n::<2>(w, groups, x, out),
        3 => matmul_n::<3>(w, groups, x, out),
        4 => matmul_n::<4>(w, groups, x, out),
        5 => matmul_n::<5>(w, groups, x, out),
        6 => matmul_n::<6>(w, groups, x, out),
        7 => matmul_n::<7>(w, groups, x, out),
        _ => matmul_n::<8>(w, groups, x, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn matmul_n<const N: usize>(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    match x {
        Columns::Int8 { data, .. } => {
            let blocks = int8_blocks::<N>(data);
            match w.format() {
                Format::Q4_0 => simple::q4_0(groups, blocks, out),
                Format::Q5_0 => simple::q5_0(groups, blocks, out),
                Format::Q8_0 => simple::q8_0(groups, blocks, out),
                Format::Q4_K => k::q4_k(groups, blocks, out),
                Format::Q5_K => k::q5_k(groups, blocks, out),
                Format::Q6_K => k::q6_k(groups, blocks, out),
                _ => scalar::matmul(w, groups, x, out),
            }
        }
        Columns::F32 { k, values } => match w.format() {
            Format::F16 => float::f16::<N>(groups, k, values, out),
            Format::BF16 => float::bf16::<N>(groups, k, values, out),
            _ => scalar::matmul(w, groups, x, out),
        },
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn quantize(x: &[f32], k: usize, out: &mut [u32]) {
    activations::quantize(x, k, out);
}

/// Walks the groups and their blocks; `step` adds one block's products to the accumulators.
///
/// `B` is a packed block, `X` the activations of as many weights.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn for_blocks<B: bytemuck::Pod, X, const N: usize>(
    groups: &[u8],
    x: &[X],
    out: &mut [f32],
    step: impl Fn(&B, &X, &mut [__m256; N]),
) {
    let stride = out.len() / N;
    let groups = bytemuck::cast_slice::<u8, B>(groups).chunks_exact(x.len());
    for (g, blocks) in groups.enumerate() {
        let mut acc = [_mm256_setzero_ps(); N];
        for (block, x) in blocks.iter().zip(x) {
            step(block, x, &mut acc);
        }
        for (c, acc) in acc.into_iter().enumerate() {
            store(&mut out[c * stride + g * GROUP_ROWS..], acc);
        }
    }
}

/// `acc = fma(sums, scale·d, acc)`, the offset of unsigned weights already taken off the sums.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn add_scaled<const N: usize>(
    sums: [__m256i; N],
    scale: __m256,
    x: &Int8Block<N>,
    acc: &mut [__m256; N],
) {
    for c in 0..N {
        let scale = _mm256_mul_ps(scale, broadcast_f32(x[SCALE][c]));
        acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[c]), scale, acc[c]);
    }
}

/// `acc = fma(−min, d·Σq, acc)`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn subtract_min<const N: usize>(min: __m256, x: &Int8Block<N>, acc: &mut [__m256; N]) {
    for c in 0..N {
        acc[c] = _mm256_fnmadd_ps(min, broadcast_f32(x[SCALED_SUM][c]), acc[c]);
    }
}

/// The sum of the pairs of i16 in each dword.
#[target_feature(enable = "avx2")]
#[inline]
fn add_pairs(s16: __m256i) -> __m256i {
    _mm256_madd_epi16(s16, _mm256_set1_epi16(1))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8; 32]) -> __m256i {
    bytemuck::must_cast(*bytes)
}

/// Eight f16, one of each row.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn load_f16(bytes: &[u8; 16]) -> __m256 {
    _mm256_cvtph_ps(bytemuck::must_cast(*bytes))
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(out: &mut [f32], values: __m256) {
    out[..8].copy_from_slice(&bytemuck::must_cast::<_, [f32; 8]>(values));
}

#[target_feature(enable = "avx2")]
#[inline]
fn broadcast(dword: u32) -> __m256i {
    _mm256_set1_epi32(dword as i32)
}

#[target_feature(enable = "avx2")]
#[inline]
fn broadcast_f32(bits: u32) -> __m256 {
    _mm256_castsi256_ps(broadcast(bits))
}
