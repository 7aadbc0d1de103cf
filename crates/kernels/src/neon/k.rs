//! Q4_K, Q5_K and Q6_K: blocks of 256 weights whose scales are small integers times an f16.
//!
//! 32 bytes of nibbles are two sub-blocks of 32 weights. In Q4_K and Q5_K these follow each other
//! and are summed together; in Q6_K they do not, and all low nibbles come before the high ones.

use std::arch::aarch64::*;

use bytemuck::{Pod, Zeroable};

use super::dot::{add_products, for_rows_of_8};
use super::{
    Halves, Payload, add_scaled, for_blocks, high_nibbles, load, load_f16, low_nibbles,
    offset_sums, subtract_min,
};
use crate::activations::{HALF_SUMS, Int8Block};

/// Eight rows of [`BlockQ4_K`](crate::block::BlockQ4_K).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q4Kx8 {
    d: Halves,
    dmin: Halves,
    /// The twelve scale bytes as three dwords of each row.
    scales: [Payload; 3],
    /// Vector `[p][g]`: weights `4g ..` of sub-block `2p` (low) and `2p + 1` (high nibbles).
    qs: [[Payload; 8]; 4],
}

/// Eight rows of [`BlockQ5_K`](crate::block::BlockQ5_K).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q5Kx8 {
    d: Halves,
    dmin: Halves,
    scales: [Payload; 3],
    /// Vector `g`: bit `j` is the fifth bit of weights `4g ..` of sub-block `j`.
    qh: [Payload; 8],
    qs: [[Payload; 8]; 4],
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
pub(super) fn q4_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: &Q4Kx8, half, x: &[Int8Block<N>; 8], acc| {
        let scales = KScales::new(&block.d, &block.dmin, &block.scales, half);
        for p in 0..4 {
            let x = [&x[2 * p], &x[2 * p + 1]];
            let mut s = [[vdupq_n_s32(0); N]; 2];
            for_rows_of_8!(G => {
                let both = load(&block.qs[p][G][half]);
                add_products::<G, N>(&mut s[0], low_nibbles(both), x[0]);
                add_products::<G, N>(&mut s[1], high_nibbles(both), x[1]);
            });
            scales.add(p, s, x, acc);
        }
    });
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q5_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    let five = vdupq_n_u8(31);
    for_blocks(groups, x, out, |block: &Q5Kx8, half, x: &[Int8Block<N>; 8], acc| {
        let scales = KScales::new(&block.d, &block.dmin, &block.scales, half);
        for p in 0..4 {
            let x = [&x[2 * p], &x[2 * p + 1]];
            let to_bit_0 = vdupq_n_s8(-2 * p as i8);
            let mut s = [[vdupq_n_s32(0); N]; 2];
            for_rows_of_8!(G => {
                let both = load(&block.qs[p][G][half]);
                let fifth = vshlq_u8(load(&block.qh[G][half]), to_bit_0);
                // Insertions leave the bits below, or above, as they are: the nibble.
                let low = vandq_u8(vsliq_n_u8::<4>(both, fifth), five);
                let high = vandq_u8(vsriq_n_u8::<4>(vshlq_n_u8::<3>(fifth), both), five);
                add_products::<G, N>(&mut s[0], vreinterpretq_s8_u8(low), x[0]);
                add_products::<G, N>(&mut s[1], vreinterpretq_s8_u8(high), x[1]);
            });
            scales.add(p, s, x, acc);
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
    // Scales 8u + 4·NIBBLE + 2r and the next: sign-extended bytes.
    let four = vreinterpretq_s32_u8(load(&block.scales[2 * u + NIBBLE][half]));
    let two = vshlq_s32(four, vdupq_n_s32(16 - 16 * r as i32));
    let scales = [vshlq_n_s32::<8>(two), two];
    for (s, scale) in s.into_iter().zip(scales) {
        let scale = vcvtq_f32_s32(vshrq_n_s32::<24>(scale));
        add_scaled(s, vmulq_f32(d, scale), x, acc);
    }
}

/// `d · sc` and `dmin · m` of the eight sub-blocks of four rows of Q4_K or Q5_K.
///
/// [`scale_min`](crate::block::scale_min) tells where the bits are; here a dword of each row holds
/// four sub-blocks, so the same shifts serve all of them.
struct KScales {
    scales: [float32x4_t; 8],
    mins: [float32x4_t; 8],
}

impl KScales {
    #[target_feature(enable = "neon")]
    #[inline]
    fn new(d: &Halves, dmin: &Halves, scales: &[Payload; 3], half: usize) -> Self {
        let [a, b, c] = [0, 1, 2].map(|i| load(&scales[i][half]));
        let six = |x| vandq_u8(x, vdupq_n_u8(63));
        // The top two bits of a byte, above a nibble.
        let join = |nibble, top| vorrq_u8(nibble, vshlq_n_u8::<4>(vshrq_n_u8::<6>(top)));
        let low = join(vandq_u8(c, vdupq_n_u8(15)), a);
        let high = join(vshrq_n_u8::<4>(c), b);
        Self {
            scales: products(load_f16(&d[half]), [six(a), low]),
            mins: products(load_f16(&dmin[half]), [six(b), high]),
        }
    }

    /// Adds what the sums of sub-blocks `2p` and `2p + 1` are worth.
    #[target_feature(enable = "neon")]
    #[inline]
    fn add<const N: usize>(
        &self,
        p: usize,
        s: [[int32x4_t; N]; 2],
        x: [&Int8Block<N>; 2],
        acc: &mut [float32x4_t; N],
    ) {
        for i in 0..2 {
            add_scaled(s[i], self.scales[2 * p + i], x[i], acc);
            subtract_min(self.mins[2 * p + i], x[i], acc);
        }
    }
}

/// `d` times each byte of each dword, the four of `bytes[0]` first.
#[target_feature(enable = "neon")]
#[inline]
fn products(d: float32x4_t, bytes: [uint8x16_t; 2]) -> [float32x4_t; 8] {
    let [a, b] = bytes.map(|bytes| vreinterpretq_u32_u8(bytes));
    // A byte stays where it is: the conversion divides by a power of two.
    let byte = |x, i: u32| vandq_u32(x, vdupq_n_u32(255u32 << (8 * i)));
    [
        vcvtq_f32_u32(byte(a, 0)),
        vcvtq_n_f32_u32::<8>(byte(a, 1)),
        vcvtq_n_f32_u32::<16>(byte(a, 2)),
        vcvtq_n_f32_u32::<24>(byte(a, 3)),
        vcvtq_f32_u32(byte(b, 0)),
        vcvtq_n_f32_u32::<8>(byte(b, 1)),
        vcvtq_n_f32_u32::<16>(byte(b, 2)),
        vcvtq_n_f32_u32::<24>(byte(b, 3)),
    ]
    .map(|byte| vmulq_f32(d, byte))
}
