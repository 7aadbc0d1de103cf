//! The K-quants: blocks of 256 weights whose scales are small integers times an f16.
//!
//! Loops over sub-blocks are unrolled as far as shifts are constants and both nibbles of a register
//! are used; more would not fit the cache of decoded instructions.

use std::arch::aarch64::*;

use super::super::{X, for_blocks, halves, products, row, spread};
use super::{offset, zero};
use crate::activations::{HALF_SUMS, SCALE, SCALED_SUM};
use crate::neon::lanes::*;
use crate::neon::{Int8, for_registers, for_steps};
use crate::packed_blocks::{Dwords, Q2Kx8, Q3Kx8, Q4Kx8, Q5Kx8, Q6Kx8};

/// `acc = fma(−min, d·Σq, acc)`.
macro_rules! subtract_min {
    ($min:expr, $x:expr, $acc:expr) => {
        let min = spread($min);
        for_registers!(i => {
            let sum = vreinterpretq_f32_u32(row($x, SCALED_SUM, i));
            $acc[i] = vfmsq_f32($acc[i], min[i % 2], sum);
        });
    };
}

/// `acc = fma(−min, d·Σq, acc)` for the 16 weights whose `−8 · Σq` is row `sums`.
macro_rules! subtract_half_min {
    ($min:expr, $sums:expr, $x:expr, $acc:expr) => {
        let min = spread($min);
        for_registers!(i => {
            let sum = vnegq_s32(vreinterpretq_s32_u32(row($x, $sums, i)));
            // The conversion divides by eight.
            let sum = vcvtq_n_f32_s32::<3>(sum);
            let sum = vmulq_f32(vreinterpretq_f32_u32(row($x, SCALE, i)), sum);
            $acc[i] = vfmsq_f32($acc[i], min[i % 2], sum);
        });
    };
}

kernels! {
#[inline(never)]
pub(super) fn q2_k<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q2Kx8, half, x: &[X<N>; 8], acc| {
        let (d, dmin) = (load_f16(&block.d, half), load_f16(&block.dmin, half));
        let (mut scales, mut mins) = (load_all(&block.scales, half), load_all(&block.scales, half));
        for i in 0..4 {
            (scales[i], mins[i]) = (nibbles::<false>(scales[i]), nibbles::<true>(mins[i]));
        }
        let (scales, mins) = (products_of_bytes(d, scales), products_of_bytes(dmin, mins));
        let (scales, mins): ([F; 16], [F; 16]) = (scales, mins);
        for (u, x) in x.as_chunks::<4>().0.iter().enumerate() {
            for_steps!(r in 0 1 2 3 => {
                for_steps!(part in 0 1 => {
                    let (x, k) = (&x[r], 8 * u + 2 * r + part);
                    let two = |i: usize| {
                        let four = load(&block.qs[8 * u + 4 * part + i], half);
                        signed(vandq_u8(down_by_pairs(four, r), vdupq_n_u8(3)))
                    };
                    let s = products::<3, 4, N>(zero(), &halves(x)[part..], two);
                    add_scaled!(s, scales[k], x, acc);
                    subtract_half_min!(mins[k], HALF_SUMS[part], x, acc);
                });
            });
        }
    });
}

#[inline(never)]
pub(super) fn q3_k<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q3Kx8, half, x: &[X<N>; 8], acc| {
        let scales = q3_scales(load_f16(&block.d, half), &block.scales, half);
        for (u, x) in x.as_chunks::<4>().0.iter().enumerate() {
            for_steps!(r in 0 1 2 3 => {
                for_steps!(part in 0 1 => {
                    let (x, k) = (&x[r], 8 * u + 2 * r + part);
                    let three = |i: usize| {
                        let g = 4 * part + i;
                        let two = down_by_pairs(load(&block.qs[8 * u + g], half), r);
                        let two = vandq_u8(two, vdupq_n_u8(3));
                        let third = shift_right(load(&block.hmask[g], half), (4 * u + r) as i8 - 2);
                        signed(vbslq_u8(vdupq_n_u8(4), third, two))
                    };
                    let start = offset::<-1, N>(x, HALF_SUMS[part]); // offset 4
                    let s = products::<7, 4, N>(start, &halves(x)[part..], three);
                    add_scaled!(s, scales[k], x, acc);
                });
            });
        }
    });
}

#[inline(never)]
pub(super) fn q4_k<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q4Kx8, half, x: &[X<N>; 8], acc| {
        let (d, dmin) = (load_f16(&block.d, half), load_f16(&block.dmin, half));
        let (scales, mins) = scales_and_mins(d, dmin, &block.scales, half);
        for (p, [low, high]) in x.as_chunks::<2>().0.iter().enumerate() {
            let both = |g: usize| load(&block.qs[8 * p + g], half);
            let w = |g| signed(nibbles::<false>(both(g)));
            let s = products::<15, 8, N>(zero(), halves(low), w);
            add_scaled!(s, scales[2 * p], low, acc);
            subtract_min!(mins[2 * p], low, acc);
            let w = |g| signed(nibbles::<true>(both(g)));
            let s = products::<15, 8, N>(zero(), halves(high), w);
            add_scaled!(s, scales[2 * p + 1], high, acc);
            subtract_min!(mins[2 * p + 1], high, acc);
        }
    });
}

#[inline(never)]
pub(super) fn q5_k<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q5Kx8, half, x: &[X<N>; 8], acc| {
        let (d, dmin) = (load_f16(&block.d, half), load_f16(&block.dmin, half));
        let (scales, mins) = scales_and_mins(d, dmin, &block.scales, half);
        let five = vdupq_n_u8(31);
        for (p, [low, high]) in x.as_chunks::<2>().0.iter().enumerate() {
            let both = |g: usize| load(&block.qs[8 * p + g], half);
            let fifth = |g: usize, to: i8| shift_right(load(&block.qh[g], half), 2 * p as i8 - to);
            // Insertions leave the bits below, or above, as they are: the nibble.
            let w = |g| signed(vandq_u8(vsliq_n_u8::<4>(both(g), fifth(g, 0)), five));
            let s = products::<31, 8, N>(zero(), halves(low), w);
            add_scaled!(s, scales[2 * p], low, acc);
            subtract_min!(mins[2 * p], low, acc);
            let w = |g| signed(vandq_u8(vsriq_n_u8::<4>(fifth(g, 3), both(g)), five));
            let s = products::<31, 8, N>(zero(), halves(high), w);
            add_scaled!(s, scales[2 * p + 1], high, acc);
            subtract_min!(mins[2 * p + 1], high, acc);
        }
    });
}

#[inline(never)]
pub(super) fn q6_k<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q6Kx8, half, x: &[X<N>; 8], acc| {
        let scales = load_all(&block.scales, half);
        let scales = products_of_signed_bytes(load_f16(&block.d, half), scales);
        for (u, x) in x.as_chunks::<4>().0.iter().enumerate() {
            for_steps!(r in 0 1 2 3 => {
                for_steps!(part in 0 1 => {
                    let (x, k) = (&x[r], 8 * u + 2 * r + part);
                    let six = |i: usize| {
                        let g = 4 * part + i;
                        let nibbles = load(&block.ql[16 * u + 8 * (r % 2) + g], half);
                        let upper = down_by_pairs(load(&block.qh[8 * u + g], half), r % 2);
                        // Insertions leave the bits below, or above, as they are: the nibble.
                        let six = if r < 2 {
                            vsliq_n_u8::<4>(nibbles, upper)
                        } else {
                            vsriq_n_u8::<4>(upper, nibbles)
                        };
                        signed(vandq_u8(six, vdupq_n_u8(63)))
                    };
                    let start = offset::<2, N>(x, HALF_SUMS[part]); // offset 32
                    let s = products::<63, 4, N>(start, &halves(x)[part..], six);
                    add_scaled!(s, scales[k], x, acc);
                });
            });
        }
    });
}
}

/// `d · sc` and `dmin · m` of the eight sub-blocks of Q4_K or Q5_K.
///
/// `scale_min` in `block/k.rs` tells where the bits are; here a dword of each row holds four
/// sub-blocks, so the same shifts serve all of them.
#[target_feature(enable = "neon")]
#[inline]
fn scales_and_mins(d: F, dmin: F, bytes: &[Dwords; 3], half: usize) -> ([F; 8], [F; 8]) {
    let [a, b, c] = load_all(bytes, half);
    let six = |x| vandq_u8(x, vdupq_n_u8(63));
    // The top two bits of a byte, above a nibble.
    let join = |nibble, top| vorrq_u8(nibble, vshlq_n_u8::<4>(vshrq_n_u8::<6>(top)));
    let scales = [six(a), join(nibbles::<false>(c), a)];
    let mins = [six(b), join(nibbles::<true>(c), b)];
    (products_of_bytes(d, scales), products_of_bytes(dmin, mins))
}

/// `d · sc` of the sixteen groups of 16 weights of Q3_K; `BlockQ3_K` tells where the bits are.
#[target_feature(enable = "neon")]
#[inline]
fn q3_scales(d: F, bytes: &[Dwords; 3], half: usize) -> [F; 16] {
    let [a, b, c] = load_all(bytes, half);
    let top = |x| vandq_u8(x, vdupq_n_u8(48));
    let mut six = [
        vorrq_u8(nibbles::<false>(a), top(vshlq_n_u8::<4>(c))),
        vorrq_u8(nibbles::<false>(b), top(vshlq_n_u8::<2>(c))),
        vorrq_u8(nibbles::<true>(a), top(c)),
        vorrq_u8(nibbles::<true>(b), top(vshrq_n_u8::<2>(c))),
    ];
    for six in &mut six {
        *six = vsubq_u8(*six, vdupq_n_u8(32));
    }
    products_of_signed_bytes(d, six)
}
