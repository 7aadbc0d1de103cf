//! Blocks of 32 weights with an f16 scale of their own.

use super::super::lanes::*;
use super::{Scales, nibbles};
use crate::packed_blocks::{Dwords, Q4_0x8, Q4_1x8, Q5_0x8, Q5_1x8, Q8_0x8};

kernels! {
#[inline]
pub(super) fn q4_0(b: [&Q4_0x8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let scale = [load_f16(per_group!(b => &b.d))];
    each(0, four_bits(per_group!(b => &b.qs)), Scales { scale, min: [] });
}

#[inline]
pub(super) fn q4_1(b: [&Q4_1x8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 1>)) {
    let (scale, min) = ([load_f16(per_group!(b => &b.d))], [load_f16(per_group!(b => &b.m))]);
    each(0, four_bits(per_group!(b => &b.qs)), Scales { scale, min });
}

#[inline]
pub(super) fn q5_0(b: [&Q5_0x8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let scale = [load_f16(per_group!(b => &b.d))];
    each(0, five_bits(per_group!(b => &b.qs), per_group!(b => &b.qh)), Scales { scale, min: [] });
}

#[inline]
pub(super) fn q5_1(b: [&Q5_1x8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 1>)) {
    let (scale, min) = ([load_f16(per_group!(b => &b.d))], [load_f16(per_group!(b => &b.m))]);
    each(0, five_bits(per_group!(b => &b.qs), per_group!(b => &b.qh)), Scales { scale, min });
}

#[inline]
pub(super) fn q8_0(b: [&Q8_0x8; GROUPS], mut each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let mut w = [splat(0); 8];
    for g in 0..8 {
        // Turning the sign bit over adds 128.
        w[g] = xor(load(per_group!(b => &b.qs[g])), splat_byte(128));
    }
    let scale = [load_f16(per_group!(b => &b.d))];
    each(0, w, Scales { scale, min: [] });
}

/// Low nibbles are the first 16 weights, high ones the last.
#[inline]
fn four_bits(qs: [&[Dwords; 4]; GROUPS]) -> [V; 8] {
    let mut w = [splat(0); 8];
    for h in 0..4 {
        let both = load(per_group!(qs => &qs[h]));
        w[h] = nibbles::<false>(both);
        w[h + 4] = nibbles::<true>(both);
    }
    w
}

/// As [`four_bits`], with the fifth bits from `high`.
#[inline]
fn five_bits(qs: [&[Dwords; 4]; GROUPS], high: [&Dwords; GROUPS]) -> [V; 8] {
    let high = load(high);
    let mut w = four_bits(qs);
    for g in 0..8 {
        w[g] = or(w[g], fifth_bits(high, g));
    }
    w
}

/// Bits `4g .. 4g + 4` of each dword, as bit 4 of the dword's four bytes.
#[inline]
fn fifth_bits(bits: V, g: usize) -> V {
    // Every byte of the result looks at the byte that holds its bit, and picks it.
    let lane: [u8; 16] = std::array::from_fn(|i| (i / 4 * 4 + g / 2) as u8);
    let pick = splat(if g.is_multiple_of(2) { 0x0804_0201 } else { 0x8040_2010 });
    sixteen_where(shuffle(bits, splat_quad(lane)), pick)
}
}
