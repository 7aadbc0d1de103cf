//! The K-quants: blocks of 256 weights whose scales are small integers times an f16.
//!
//! Loops over sub-blocks are left to the branch predictor: unrolled, the code of one kernel would
//! not fit the cache of decoded instructions.

use super::super::lanes::*;
use super::{Scales, nibbles};
use crate::packed_blocks::{Dwords, Q2Kx8, Q3Kx8, Q4Kx8, Q5Kx8, Q6Kx8};

kernels! {
#[inline]
pub(super) fn q2_k(b: [&Q2Kx8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<2, 2>)) {
    let (d, dmin) = (load_f16(per_group!(b => &b.d)), negate(load_f16(per_group!(b => &b.dmin))));
    let bytes = load4(per_group!(b => &b.scales));
    let scales: [F; 16] = products_of_bytes(d, bytes.map(|b| nibbles::<false>(b)));
    let mins: [F; 16] = products_of_bytes(dmin, bytes.map(|b| nibbles::<true>(b)));
    for j in 0..8 {
        let to_bit_0 = bits(j % 4 * 2);
        let mut w = [splat(0); 8];
        for g in 0..8 {
            let two = shr_by(load(per_group!(b => &b.qs[j / 4 * 8 + g])), to_bit_0);
            w[g] = and(two, splat_byte(3));
        }
        let (scale, min) = ([scales[2 * j], scales[2 * j + 1]], [mins[2 * j], mins[2 * j + 1]]);
        each(j, w, Scales { scale, min });
    }
}

#[inline]
pub(super) fn q3_k(b: [&Q3Kx8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<2, 0>)) {
    let scales = q3_scales(load_f16(per_group!(b => &b.d)), per_group!(b => &b.scales));
    for j in 0..8 {
        let (to_bit_0, third_to_bit_0) = (bits(j % 4 * 2), bits(j));
        let mut w = [splat(0); 8];
        for g in 0..8 {
            let two = shr_by(load(per_group!(b => &b.qs[j / 4 * 8 + g])), to_bit_0);
            let third = shl::<2>(shr_by(load(per_group!(b => &b.hmask[g])), third_to_bit_0));
            w[g] = or(and(two, splat_byte(3)), and(third, splat_byte(4)));
        }
        let scale = [scales[2 * j], scales[2 * j + 1]];
        each(j, w, Scales { scale, min: [] });
    }
}

#[inline]
pub(super) fn q4_k(b: [&Q4Kx8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 1>)) {
    let (d, dmin) = (load_f16(per_group!(b => &b.d)), load_f16(per_group!(b => &b.dmin)));
    let (scales, mins) = scales_and_mins(d, dmin, per_group!(b => &b.scales));
    for p in 0..4 {
        let mut w = [splat(0); 8];
        for g in 0..8 {
            w[g] = nibbles::<false>(load(per_group!(b => &b.qs[8 * p + g])));
        }
        each(2 * p, w, Scales { scale: [scales[2 * p]], min: [mins[2 * p]] });
        for g in 0..8 {
            w[g] = nibbles::<true>(load(per_group!(b => &b.qs[8 * p + g])));
        }
        each(2 * p + 1, w, Scales { scale: [scales[2 * p + 1]], min: [mins[2 * p + 1]] });
    }
}

#[inline]
pub(super) fn q5_k(b: [&Q5Kx8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 1>)) {
    let (d, dmin) = (load_f16(per_group!(b => &b.d)), load_f16(per_group!(b => &b.dmin)));
    let (scales, mins) = scales_and_mins(d, dmin, per_group!(b => &b.scales));
    for p in 0..4 {
        let to_bit_0 = bits(2 * p);
        let both = |g: usize| load(per_group!(b => &b.qs[8 * p + g]));
        let fifth = |g: usize| shr_by(load(per_group!(b => &b.qh[g])), to_bit_0);
        let mut w = [splat(0); 8];
        for g in 0..8 {
            w[g] = or(nibbles::<false>(both(g)), and(shl::<4>(fifth(g)), splat_byte(16)));
        }
        each(2 * p, w, Scales { scale: [scales[2 * p]], min: [mins[2 * p]] });
        for g in 0..8 {
            w[g] = or(nibbles::<true>(both(g)), and(shl::<3>(fifth(g)), splat_byte(16)));
        }
        each(2 * p + 1, w, Scales { scale: [scales[2 * p + 1]], min: [mins[2 * p + 1]] });
    }
}

#[inline]
pub(super) fn q6_k(b: [&Q6Kx8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<2, 0>)) {
    let d = load_f16(per_group!(b => &b.d));
    let scales = products_of_signed_bytes(d, load4(per_group!(b => &b.scales)));
    for u in 0..2 {
        let both = |r: usize, g: usize| load(per_group!(b => &b.ql[16 * u + 8 * r + g]));
        let upper = |r: usize, g: usize| shr_by(load(per_group!(b => &b.qh[8 * u + g])), bits(2 * r));
        let mut w = [splat(0); 8];
        for r in 0..2 {
            for g in 0..8 {
                let upper = and(shl::<4>(upper(r, g)), splat_byte(48));
                w[g] = or(nibbles::<false>(both(r, g)), upper);
            }
            let j = 4 * u + r;
            each(j, w, Scales { scale: [scales[2 * j], scales[2 * j + 1]], min: [] });
        }
        for r in 0..2 {
            for g in 0..8 {
                w[g] = or(nibbles::<true>(both(r, g)), and(upper(r, g), splat_byte(48)));
            }
            let j = 4 * u + r + 2;
            each(j, w, Scales { scale: [scales[2 * j], scales[2 * j + 1]], min: [] });
        }
    }
}

/// `d · sc` and `−dmin · m` of the eight sub-blocks of Q4_K or Q5_K.
///
/// `scale_min` in `block/k.rs` tells where the bits are; here a dword of each row holds four
/// sub-blocks, so the same shifts serve all of them.
#[inline]
fn scales_and_mins(d: F, dmin: F, bytes: [&[Dwords; 3]; GROUPS]) -> ([F; 8], [F; 8]) {
    let [a, b, c] = [0, 1, 2].map(|i| load(per_group!(bytes => &bytes[i])));
    let six = splat_byte(63);
    // The top two bits of a byte, above a nibble.
    let top = |x| and(shr::<2>(x), splat_byte(48));
    let scales = [and(a, six), or(nibbles::<false>(c), top(a))];
    let mins = [and(b, six), or(nibbles::<true>(c), top(b))];
    (products_of_bytes(d, scales), products_of_bytes(negate(dmin), mins))
}

/// `d · sc` of the sixteen groups of 16 weights of Q3_K; `BlockQ3_K` tells where the bits are.
#[inline]
fn q3_scales(d: F, bytes: [&[Dwords; 3]; GROUPS]) -> [F; 16] {
    let [a, b, c] = [0, 1, 2].map(|i| load(per_group!(bytes => &bytes[i])));
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
pub(super) fn products_of_bytes<const M: usize, const M4: usize>(d: F, bytes: [V; M]) -> [F; M4] {
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
        all[i] = load(per_group!(bytes => &bytes[i]));
    }
    all
}
}
