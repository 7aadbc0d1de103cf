//! Q4_K and Q5_K: blocks of 256 weights with a scale and a min, small integers, for each 32.
//!
//! 32 bytes of nibbles are two sub-blocks of 32 weights, which are summed together.

use std::arch::aarch64::*;

use bytemuck::{Pod, Zeroable};

use super::dot::{add_products, for_rows_of_8};
use super::{
    Halves, Payload, add_scaled, for_blocks, high_nibbles, load, load_f16, low_nibbles,
    subtract_min,
};
use crate::activations::Int8Block;

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
pub(super) fn products(d: float32x4_t, bytes: [uint8x16_t; 2]) -> [float32x4_t; 8] {
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
