//! The K-quants: blocks of 256 weights whose scales are small integers times an f16.
//!
//! Loops over sub-blocks are left to the branch predictor: unrolled, the code of one kernel would
//! not fit the cache of decoded instructions.

use super::super::lanes::*;
use super::super::products;
use super::{add_scaled, for_blocks, nibbles, offset, prefetch, subtract_min};
use crate::activations::{HALF_SUMS, Int8Block, SCALE, SCALED_SUM};
use crate::packed_blocks::{Dwords, Q2Kx8, Q3Kx8, Q4Kx8, Q5Kx8, Q6Kx8};

kernels! {
pub(super) fn q2_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: [&Q2Kx8; GROUPS], x: &[Int8Block<N>; 8], acc: &mut [F; N]| {
        let (d, dmin) = (load_f16(block.map(|b| &b.d)), load_f16(block.map(|b| &b.dmin)));
        let bytes = load4(block.map(|b| &b.scales));
        let scales: [F; 16] = products_of_bytes(d, bytes.map(|b| nibbles::<false>(b)));
        let mins: [F; 16] = products_of_bytes(dmin, bytes.map(|b| nibbles::<true>(b)));
        for j in 0..8 {
            let x = &x[j];
            prefetch::<Q2Kx8, 8, N>(block, j);
            let (scales, mins) = (&scales[2 * j..], &mins[2 * j..]);
            q2_k_half::<0, N>(block, j, scales[0], mins[0], x, acc);
            q2_k_half::<1, N>(block, j, scales[1], mins[1], x, acc);
        }
    });
}

#[inline]
fn q2_k_half<const HALF: usize, const N: usize>(
    block: [&Q2Kx8; GROUPS],
    j: usize,
    scale: F,
    min: F,
    x: &Int8Block<N>,
    acc: &mut [F; N],
) {
    let to_bit_0 = bits(j % 4 * 2);
    let four = |i: usize| {
        let g = 4 * HALF + i;
        let two = shr_by(load(block.map(|b| &b.qs[j / 4 * 8 + g])), to_bit_0);
        (and(two, splat_byte(3)), &x[g])
    };
    products::<3, 4, 2, N>(|_| splat(0), four, |c, s| {
        add_scaled(s, scale, x[SCALE][c], &mut acc[c]);
        subtract_half_min(min, x[SCALE][c], x[HALF_SUMS[HALF]][c], &mut acc[c]);
    });
}

pub(super) fn q3_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: [&Q3Kx8; GROUPS], x: &[Int8Block<N>; 8], acc: &mut [F; N]| {
        let scales = q3_scales(load_f16(block.map(|b| &b.d)), block.map(|b| &b.scales));
        for j in 0..8 {
            let x = &x[j];
            prefetch::<Q3Kx8, 8, N>(block, j);
            q3_k_half::<0, N>(block, j, scales[2 * j], x, acc);
            q3_k_half::<1, N>(block, j, scales[2 * j + 1], x, acc);
        }
    });
}

#[inline]
fn q3_k_half<const HALF: usize, const N: usize>(
    block: [&Q3Kx8; GROUPS],
    j: usize,
    scale: F,
    x: &Int8Block<N>,
    acc: &mut [F; N],
) {
    let (to_bit_0, third_to_bit_0) = (bits(j % 4 * 2), bits(j));
    let offset_4 = |c: usize| sar::<1>(splat(x[HALF_SUMS[HALF]][c]));
    let four = |i: usize| {
        let g = 4 * HALF + i;
        let two = shr_by(load(block.map(|b| &b.qs[j / 4 * 8 + g])), to_bit_0);
        let third = shl::<2>(shr_by(load(block.map(|b| &b.hmask[g])), third_to_bit_0));
        (or(and(two, splat_byte(3)), and(third, splat_byte(4))), &x[g])
    };
    products::<7, 4, 2, N>(offset_4, four, |c, s| {
        add_scaled(s, scale, x[SCALE][c], &mut acc[c]);
    });
}

pub(super) fn q4_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: [&Q4Kx8; GROUPS], x: &[Int8Block<N>; 8], acc: &mut [F; N]| {
        let (d, dmin) = (load_f16(block.map(|b| &b.d)), load_f16(block.map(|b| &b.dmin)));
        let (scales, mins) = scales_and_mins(d, dmin, block.map(|b| &b.scales));
        for p in 0..4 {
            let both = |g: usize| load(block.map(|b| &b.qs[8 * p + g]));
            let (j, low) = (2 * p, &x[2 * p]);
            prefetch::<Q4Kx8, 8, N>(block, j);
            let four = |g| (nibbles::<false>(both(g)), &low[g]);
            products::<15, 8, 2, N>(|_| splat(0), four, |c, s| {
                add_scaled(s, scales[j], low[SCALE][c], &mut acc[c]);
                subtract_min(mins[j], low[SCALED_SUM][c], &mut acc[c]);
            });
            let (j, high) = (2 * p + 1, &x[2 * p + 1]);
            prefetch::<Q4Kx8, 8, N>(block, j);
            let four = |g| (nibbles::<true>(both(g)), &high[g]);
            products::<15, 8, 2, N>(|_| splat(0), four, |c, s| {
                add_scaled(s, scales[j], high[SCALE][c], &mut acc[c]);
                subtract_min(mins[j], high[SCALED_SUM][c], &mut acc[c]);
            });
        }
    });
}

pub(super) fn q5_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: [&Q5Kx8; GROUPS], x: &[Int8Block<N>; 8], acc: &mut [F; N]| {
        let (d, dmin) = (load_f16(block.map(|b| &b.d)), load_f16(block.map(|b| &b.dmin)));
        let (scales, mins) = scales_and_mins(d, dmin, block.map(|b| &b.scales));
        for p in 0..4 {
            let both = |g: usize| load(block.map(|b| &b.qs[8 * p + g]));
            let to_bit_0 = bits(2 * p);
            let fifth = |g: usize| shr_by(load(block.map(|b| &b.qh[g])), to_bit_0);
            let (j, low) = (2 * p, &x[2 * p]);
            prefetch::<Q5Kx8, 8, N>(block, j);
            let four = |g| {
                let fifth = and(shl::<4>(fifth(g)), splat_byte(16));
                (or(nibbles::<false>(both(g)), fifth), &low[g])
            };
            products::<31, 8, 2, N>(|_| splat(0), four, |c, s| {
                add_scaled(s, scales[j], low[SCALE][c], &mut acc[c]);
                subtract_min(mins[j], low[SCALED_SUM][c], &mut acc[c]);
            });
            let (j, high) = (2 * p + 1, &x[2 * p + 1]);
            prefetch::<Q5Kx8, 8, N>(block, j);
            let four = |g| {
                let fifth = and(shl::<3>(fifth(g)), splat_byte(16));
                (or(nibbles::<true>(both(g)), fifth), &high[g])
            };
            products::<31, 8, 2, N>(|_| splat(0), four, |c, s| {
                add_scaled(s, scales[j], high[SCALE][c], &mut acc[c]);
                subtract_min(mins[j], high[SCALED_SUM][c], &mut acc[c]);
            });
        }
    });
}

pub(super) fn q6_k<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: [&Q6Kx8; GROUPS], x: &[Int8Block<N>; 8], acc: &mut [F; N]| {
        let d = load_f16(block.map(|b| &b.d));
        let scales = products_of_signed_bytes(d, load4(block.map(|b| &b.scales)));
        for u in 0..2 {
            for r in 0..2 {
                let (j, part) = (4 * u + r, 8 * u + 2 * r);
                q6_k_half::<false, 0, N>(block, part, scales[2 * j], &x[j], acc);
                q6_k_half::<false, 1, N>(block, part + 1, scales[2 * j + 1], &x[j], acc);
            }
            for r in 0..2 {
                let (j, part) = (4 * u + r + 2, 8 * u + 2 * r + 4);
                q6_k_half::<true, 0, N>(block, part, scales[2 * j], &x[j], acc);
                q6_k_half::<true, 1, N>(block, part + 1, scales[2 * j + 1], &x[j], acc);
            }
        }
    });
}

/// Part `2j + HALF` of the sixteen of a block.
#[inline]
fn q6_k_half<const HIGH: bool, const HALF: usize, const N: usize>(
    block: [&Q6Kx8; GROUPS],
    part: usize,
    scale: F,
    x: &Int8Block<N>,
    acc: &mut [F; N],
) {
    prefetch::<Q6Kx8, 16, N>(block, part);
    let (u, r) = (part / 8, part / 2 % 2);
    let to_bit_0_or_4 = bits(2 * r);
    let four = |i: usize| {
        let g = 4 * HALF + i;
        let both = load(block.map(|b| &b.ql[16 * u + 8 * r + g]));
        let upper = shr_by(load(block.map(|b| &b.qh[8 * u + g])), to_bit_0_or_4);
        let upper = and(if HIGH { upper } else { shl::<4>(upper) }, splat_byte(48));
        (or(nibbles::<HIGH>(both), upper), &x[g])
    };
    products::<63, 4, 2, N>(|c| offset::<2>(x[HALF_SUMS[HALF]][c]), four, |c, s| {
        add_scaled(s, scale, x[SCALE][c], &mut acc[c]);
    });
}

/// `acc = fma(−min, d·Σq, acc)` for 16 weights, of which `sum` is `−8 · Σq`.
#[inline]
fn subtract_half_min(min: F, d: u32, sum: u32, acc: &mut F) {
    let sum = sar::<3>(sub32(splat(0), splat(sum)));
    *acc = mul_sub_from(min, mul(splat_f32(d), to_f32(sum)), *acc);
}

/// `d · sc` and `dmin · m` of the eight sub-blocks of Q4_K or Q5_K.
///
/// `scale_min` in `block/k.rs` tells where the bits are; here a dword of each row holds four
/// sub-blocks, so the same shifts serve all of them.
#[inline]
fn scales_and_mins(d: F, dmin: F, bytes: [&[Dwords; 3]; GROUPS]) -> ([F; 8], [F; 8]) {
    let [a, b, c] = [0, 1, 2].map(|i| load(bytes.map(|bytes| &bytes[i])));
    let six = splat_byte(63);
    // The top two bits of a byte, above a nibble.
    let top = |x| and(shr::<2>(x), splat_byte(48));
    let scales = [and(a, six), or(nibbles::<false>(c), top(a))];
    let mins = [and(b, six), or(nibbles::<true>(c), top(b))];
    (products_of_bytes(d, scales), products_of_bytes(dmin, mins))
}

/// `d · sc` of the sixteen groups of 16 weights of Q3_K; `BlockQ3_K` tells where the bits are.
#[inline]
fn q3_scales(d: F, bytes: [&[Dwords; 3]; GROUPS]) -> [F; 16] {
    let [a, b, c] = [0, 1, 2].map(|i| load(bytes.map(|bytes| &bytes[i])));
    let top = |x| and(x, splat_byte(48));
    let six = [
        or(nibbles::<false>(a), top(shl::<4>(c))),
        or(nibbles::<false>(b), top(shl::<2>(c))),
        or(nibbles::<true>(a), top(c)),
        or(nibbles::<true>(b), top(shr::<2>(c))),
    ];
    products_of_signed_bytes(d, six.map(|six| sub8(six, splat_byte(32))))
}

/// `d` times each byte of each dword, those of the first vector first.
#[inline]
fn products_of_bytes<const M: usize, const M4: usize>(d: F, bytes: [V; M]) -> [F; M4] {
    let byte = splat(255);
    let mut out = [d; M4];
    for i in 0..M {
        let four = [
            and(bytes[i], byte),
            and(shr::<8>(bytes[i]), byte),
            and(shr::<16>(bytes[i]), byte),
            shr::<24>(bytes[i]),
        ];
        for j in 0..4 {
            out[4 * i + j] = mul(d, to_f32(four[j]));
        }
    }
    out
}

/// As [`products_of_bytes`].
#[inline]
fn products_of_signed_bytes(d: F, bytes: [V; 4]) -> [F; 16] {
    let mut out = [d; 16];
    for i in 0..4 {
        let four = [shl::<24>(bytes[i]), shl::<16>(bytes[i]), shl::<8>(bytes[i]), bytes[i]];
        for j in 0..4 {
            out[4 * i + j] = mul(d, to_f32(sar::<24>(four[j])));
        }
    }
    out
}

#[inline]
fn load4(bytes: [&[Dwords; 4]; GROUPS]) -> [V; 4] {
    let mut all = [splat(0); 4];
    for i in 0..4 {
        all[i] = load(bytes.map(|bytes| &bytes[i]));
    }
    all
}
}
