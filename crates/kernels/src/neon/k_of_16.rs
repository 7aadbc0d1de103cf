//! Q2_K, Q3_K and Q6_K: blocks of 256 weights with a scale, a small integer, for each 16.
//!
//! Their bits are where the eight sub-blocks of 32 come in an order of shifts: sub-block `4u + r`
//! is at bit `2r` of the vectors of `u`. In Q6_K all low nibbles come before the high ones.

use std::arch::aarch64::*;

use bytemuck::{Pod, Zeroable};

use super::dot::{add_products, for_rows_of_8};
use super::k::products;
use super::{
    Halves, Payload, add_scaled, for_blocks, high_nibbles, load, load_f16, low_nibbles, offset_sums,
};
use crate::activations::{HALF_SUMS, Int8Block, SCALE};

/// Eight rows of [`BlockQ2_K`](crate::block::BlockQ2_K).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q2Kx8 {
    /// Vector `v`: a byte for each of the 16-weight groups `4v ..`, scale below min.
    scales: [Payload; 4],
    /// Vector `[u][g]`: bits `2r ..` are weights `4g ..` of sub-block `4u + r`.
    qs: [[Payload; 8]; 2],
    d: Halves,
    dmin: Halves,
}

/// Eight rows of [`BlockQ3_K`](crate::block::BlockQ3_K).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q3Kx8 {
    /// Vector `g`: bit `j` is the third bit of weights `4g ..` of sub-block `j`.
    hmask: [Payload; 8],
    /// As in [`Q2Kx8`].
    qs: [[Payload; 8]; 2],
    scales: [Payload; 3],
    d: Halves,
}

/// Eight rows of [`BlockQ6_K`](crate::block::BlockQ6_K).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q6Kx8 {
    /// Vector `[u][r][g]`: weights `4g ..` of sub-block `4u + r` (low) and `4u + 2 + r` (high
    /// nibbles).
    ql: [[[Payload; 8]; 2]; 2],
    /// Vector `[u][g]`: bits `2r ..` are the upper bits of weights `4g ..` of sub-block `4u + r`.
    qh: [[Payload; 8]; 2],
    /// Vector `v`: the scales `4v .. 4v + 4` of each row.
    scales: [Payload; 4],
    d: Halves,
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q2_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: &Q2Kx8, half, x: &[Int8Block<N>; 8], acc| {
        let bytes = block.scales.map(|v| load(&v[half]));
        let (scales, mins) = (bytes.map(|b| low_nibbles(b)), bytes.map(|b| high_nibbles(b)));
        let scales = sixteen_products(load_f16(&block.d[half]), scales);
        let mins = sixteen_products(load_f16(&block.dmin[half]), mins);
        for j in 0..8 {
            let (u, x, to_bit_0) = (j / 4, &x[j], vdupq_n_s8(-2 * (j % 4) as i8));
            let mut s = [[vdupq_n_s32(0); N]; 2];
            for_rows_of_8!(G => {
                let two = vshlq_u8(load(&block.qs[u][G][half]), to_bit_0);
                let w = vandq_u8(two, vdupq_n_u8(3));
                add_products::<G, N>(&mut s[G / 4], vreinterpretq_s8_u8(w), x);
            });
            for part in 0..2 {
                add_scaled(s[part], scales[2 * j + part], x, acc);
                subtract_half_min(mins[2 * j + part], HALF_SUMS[part], x, acc);
            }
        }
    });
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q3_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: &Q3Kx8, half, x: &[Int8Block<N>; 8], acc| {
        let d = load_f16(&block.d[half]);
        let scales = q3_scales(block.scales.map(|v| load(&v[half])));
        for j in 0..8 {
            let (u, x, to_bit_0) = (j / 4, &x[j], vdupq_n_s8(-2 * (j % 4) as i8));
            let to_bit_2 = vdupq_n_s8(2 - j as i8);
            // Offset 4 for each 16 weights.
            let mut s = [
                offset_sums::<{ HALF_SUMS[0] }, -1, N>(x),
                offset_sums::<{ HALF_SUMS[1] }, -1, N>(x),
            ];
            for_rows_of_8!(G => {
                let two = vshlq_u8(load(&block.qs[u][G][half]), to_bit_0);
                let third = vshlq_u8(load(&block.hmask[G][half]), to_bit_2);
                let w = vbslq_u8(vdupq_n_u8(4), third, vandq_u8(two, vdupq_n_u8(3)));
                add_products::<G, N>(&mut s[G / 4], vreinterpretq_s8_u8(w), x);
            });
            add_scaled_halves(s, j, d, scales, x, acc);
        }
    });
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q6_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: &Q6Kx8, half, x: &[Int8Block<N>; 8], acc| {
        let d = load_f16(&block.d[half]);
        for u in 0..2 {
            for r in 0..2 {
                q6_k_sub::<0, N>(block, half, d, u, r, &x[4 * u + r], acc);
            }
            for r in 0..2 {
                q6_k_sub::<1, N>(block, half, d, u, r, &x[4 * u + 2 + r], acc);
            }
        }
    });
}

/// Sub-block `4u + 2·NIBBLE + r`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn q6_k_sub<const NIBBLE: usize, const N: usize>(
    block: &Q6Kx8,
    half: usize,
    d: float32x4_t,
    u: usize,
    r: usize,
    x: &Int8Block<N>,
    acc: &mut [float32x4_t; N],
) {
    let to_bit_0_or_4 = vdupq_n_s8(-2 * r as i8);
    // Offset 32 for each 16 weights.
    let mut s =
        [offset_sums::<{ HALF_SUMS[0] }, 2, N>(x), offset_sums::<{ HALF_SUMS[1] }, 2, N>(x)];
    for_rows_of_8!(G => {
        let low = load(&block.ql[u][r][G][half]);
        let high = vshlq_u8(load(&block.qh[u][G][half]), to_bit_0_or_4);
        let w = if NIBBLE == 0 { vsliq_n_u8::<4>(low, high) } else { vsriq_n_u8::<4>(high, low) };
        let w = vandq_u8(w, vdupq_n_u8(63));
        add_products::<G, N>(&mut s[G / 4], vreinterpretq_s8_u8(w), x);
    });
    add_scaled_halves(s, 4 * u + 2 * NIBBLE + r, d, block.scales.map(|v| load(&v[half])), x, acc);
}

/// Adds what the sums of the halves of sub-block `j` are worth, their scales being signed bytes.
#[target_feature(enable = "neon")]
#[inline]
fn add_scaled_halves<const N: usize>(
    s: [[int32x4_t; N]; 2],
    j: usize,
    d: float32x4_t,
    scales: [uint8x16_t; 4],
    x: &Int8Block<N>,
    acc: &mut [float32x4_t; N],
) {
    // Scales 2j and 2j + 1: sign-extended bytes.
    let four = vreinterpretq_s32_u8(scales[j / 2]);
    let two = vshlq_s32(four, vdupq_n_s32(16 - 16 * (j % 2) as i32));
    let scales = [vshlq_n_s32::<8>(two), two];
    for (s, scale) in s.into_iter().zip(scales) {
        let scale = vcvtq_f32_s32(vshrq_n_s32::<24>(scale));
        add_scaled(s, vmulq_f32(d, scale), x, acc);
    }
}

/// `acc = fma(−min, d·Σq, acc)` for the 16 weights whose sums are in row `row`.
#[target_feature(enable = "neon")]
#[inline]
fn subtract_half_min<const N: usize>(
    min: float32x4_t,
    row: usize,
    x: &Int8Block<N>,
    acc: &mut [float32x4_t; N],
) {
    for c in 0..N {
        let sum = (x[row][c] as i32 / -8) as f32;
        acc[c] = vfmsq_n_f32(acc[c], min, f32::from_bits(x[SCALE][c]) * sum);
    }
}

/// `d` times each byte of each dword, those of the first vector first.
#[target_feature(enable = "neon")]
#[inline]
fn sixteen_products(d: float32x4_t, bytes: [int8x16_t; 4]) -> [float32x4_t; 16] {
    let [a, b, c, e] = bytes.map(|b| vreinterpretq_u8_s8(b));
    bytemuck::must_cast([products(d, [a, b]), products(d, [c, e])])
}

/// The sixteen scales of Q3_K as signed bytes; `BlockQ3_K` tells where the bits are.
#[target_feature(enable = "neon")]
#[inline]
fn q3_scales([a, b, c]: [uint8x16_t; 3]) -> [uint8x16_t; 4] {
    let low = |x| vandq_u8(x, vdupq_n_u8(15));
    let top = |x| vandq_u8(x, vdupq_n_u8(48));
    [
        vorrq_u8(low(a), top(vshlq_n_u8::<4>(c))),
        vorrq_u8(low(b), top(vshlq_n_u8::<2>(c))),
        vorrq_u8(vshrq_n_u8::<4>(a), top(c)),
        vorrq_u8(vshrq_n_u8::<4>(b), top(vshrq_n_u8::<2>(c))),
    ]
    .map(|six| vsubq_u8(six, vdupq_n_u8(32)))
}
