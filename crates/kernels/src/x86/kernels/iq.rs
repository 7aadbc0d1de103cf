//! IQ2 and IQ3: magnitudes from codebooks, and their signs.
//!
//! Entries of a codebook are loaded one by one: an instruction that gathers does the same loads, in
//! more operations on most cores. `avx512vbmi/codebooks.rs` looks them up in registers instead.
//!
//! Indices whose bits lie apart are put together for a whole block before the first of them is
//! looked up. Look-ups are written out, because a loop of them would stay one.

use super::super::lanes::*;
use super::{Scales, k::products_of_bytes};
use crate::block::codebook::unsigned::{IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};
use crate::packed_blocks::{Dwords, IQ2Sx8, IQ2XSx8, IQ2XXSx8, IQ3Sx8, IQ3XXSx8};

kernels! {
#[inline]
pub(super) fn iq2_xxs(b: [&IQ2XXSx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let octets = |j: usize| {
        let indices = per_group!(b => &b.qs[2 * j]);
        join_pairs([
            split(|g, r| IQ2_XXS[usize::from(indices[g][4 * r])]),
            split(|g, r| IQ2_XXS[usize::from(indices[g][4 * r + 1])]),
            split(|g, r| IQ2_XXS[usize::from(indices[g][4 * r + 2])]),
            split(|g, r| IQ2_XXS[usize::from(indices[g][4 * r + 3])]),
        ])
    };
    iq2_xxs_of(b, octets, each);
}

#[inline]
pub(super) fn iq2_xs(b: [&IQ2XSx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<2, 0>)) {
    let octets = |j: usize| {
        let units = [per_group!(b => &b.qs[2 * j]), per_group!(b => &b.qs[2 * j + 1])];
        let index = |i: usize, g: usize, r: usize| {
            usize::from(u16::from_le_bytes(units[i / 2][g].as_chunks().0[2 * r + i % 2]) & 511)
        };
        join_pairs([
            split(|g, r| IQ2_XS[index(0, g, r)]),
            split(|g, r| IQ2_XS[index(1, g, r)]),
            split(|g, r| IQ2_XS[index(2, g, r)]),
            split(|g, r| IQ2_XS[index(3, g, r)]),
        ])
    };
    iq2_xs_of(b, octets, each);
}

#[inline]
pub(super) fn iq2_s(b: [&IQ2Sx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<2, 0>)) {
    let mut indices = [[[[0; 16]; GROUPS]; 2]; 8];
    for j in 0..8 {
        let (low, high) = (load(per_group!(b => &b.qs[j])), load(per_group!(b => &b.qh[j / 4])));
        let high = shr_by(high, bits(j % 4 * 8));
        let top = |first, second| or(and(first, splat(0x0300)), and(second, splat(0x0300_0000)));
        indices[j] = [
            words(or(even_bytes(low), top(shl::<8>(high), shl::<20>(high)))),
            words(or(odd_bytes(low), top(shl::<6>(high), shl::<18>(high)))),
        ];
    }
    let octets = |j: usize| {
        let [even, odd] = &indices[j];
        join_pairs([
            split(|g, r| IQ2_S[usize::from(even[g][2 * r] & 1023)]),
            split(|g, r| IQ2_S[usize::from(odd[g][2 * r] & 1023)]),
            split(|g, r| IQ2_S[usize::from(even[g][2 * r + 1] & 1023)]),
            split(|g, r| IQ2_S[usize::from(odd[g][2 * r + 1] & 1023)]),
        ])
    };
    iq2_s_of(b, octets, each);
}

#[inline]
pub(super) fn iq3_xxs(b: [&IQ3XXSx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let quads = |j: usize| {
        let [first, second] = [per_group!(b => &b.qs[2 * j]), per_group!(b => &b.qs[2 * j + 1])];
        [
            collect(|g, r| IQ3_XXS[usize::from(first[g][4 * r])]),
            collect(|g, r| IQ3_XXS[usize::from(first[g][4 * r + 1])]),
            collect(|g, r| IQ3_XXS[usize::from(first[g][4 * r + 2])]),
            collect(|g, r| IQ3_XXS[usize::from(first[g][4 * r + 3])]),
            collect(|g, r| IQ3_XXS[usize::from(second[g][4 * r])]),
            collect(|g, r| IQ3_XXS[usize::from(second[g][4 * r + 1])]),
            collect(|g, r| IQ3_XXS[usize::from(second[g][4 * r + 2])]),
            collect(|g, r| IQ3_XXS[usize::from(second[g][4 * r + 3])]),
        ]
    };
    iq3_xxs_of(b, quads, each);
}

#[inline]
pub(super) fn iq3_s(b: [&IQ3Sx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let mut indices = [[[[0; 16]; GROUPS]; 4]; 8];
    for j in 0..8 {
        let high = shr_by(load(per_group!(b => &b.qh[j / 4])), bits(j % 4 * 8));
        let low = [load(per_group!(b => &b.qs[2 * j])), load(per_group!(b => &b.qs[2 * j + 1]))];
        let ninth = |first, second| or(and(first, splat(0x0100)), and(second, splat(0x0100_0000)));
        indices[j] = [
            words(or(even_bytes(low[0]), ninth(shl::<8>(high), shl::<22>(high)))),
            words(or(odd_bytes(low[0]), ninth(shl::<7>(high), shl::<21>(high)))),
            words(or(even_bytes(low[1]), ninth(shl::<4>(high), shl::<18>(high)))),
            words(or(odd_bytes(low[1]), ninth(shl::<3>(high), shl::<17>(high)))),
        ];
    }
    let quads = |j: usize| {
        let [even, odd, even_last, odd_last] = &indices[j];
        [
            collect(|g, r| IQ3_S[usize::from(even[g][2 * r] & 511)]),
            collect(|g, r| IQ3_S[usize::from(odd[g][2 * r] & 511)]),
            collect(|g, r| IQ3_S[usize::from(even[g][2 * r + 1] & 511)]),
            collect(|g, r| IQ3_S[usize::from(odd[g][2 * r + 1] & 511)]),
            collect(|g, r| IQ3_S[usize::from(even_last[g][2 * r] & 511)]),
            collect(|g, r| IQ3_S[usize::from(odd_last[g][2 * r] & 511)]),
            collect(|g, r| IQ3_S[usize::from(even_last[g][2 * r + 1] & 511)]),
            collect(|g, r| IQ3_S[usize::from(odd_last[g][2 * r + 1] & 511)]),
        ]
    };
    iq3_s_of(b, quads, each);
}

// What each format holds beside its indices. `magnitudes(j)` are those of sub-block `j` plus the
// offset, however they are looked up.

#[inline]
pub(in super::super) fn iq2_xxs_of(
    b: [&IQ2XXSx8; GROUPS],
    magnitudes: impl Fn(usize) -> [V; 8],
    mut each: impl FnMut(usize, [V; 8], Scales<1, 0>),
) {
    let d = mul(load_f16(per_group!(b => &b.d)), splat_f32(EIGHTH));
    for j in 0..8 {
        let tail = load(per_group!(b => &b.qs[2 * j + 1]));
        let signs = even_signs(bytes_of_seven_bits(tail));
        let w = with_signs::<64>(magnitudes(j), signs, [0, 1, 2, 3]);
        each(j, w, Scales { scale: [mul(d, odd_on_top(tail))], min: [] });
    }
}

#[inline]
pub(in super::super) fn iq2_xs_of(
    b: [&IQ2XSx8; GROUPS],
    magnitudes: impl Fn(usize) -> [V; 8],
    mut each: impl FnMut(usize, [V; 8], Scales<2, 0>),
) {
    let scales = scales_of_16(load_f16(per_group!(b => &b.d)), per_group!(b => &b.scales));
    for j in 0..8 {
        let units = [load(per_group!(b => &b.qs[2 * j])), load(per_group!(b => &b.qs[2 * j + 1]))];
        // Of each vector the signs of both units, side by side with those of the other.
        let of_first = and(shr::<9>(units[0]), splat(0x007F_007F));
        let of_second = and(shr::<1>(units[1]), splat(0x7F00_7F00));
        let signs = even_signs(or(of_first, of_second));
        let w = with_signs::<64>(magnitudes(j), signs, [0, 2, 1, 3]);
        each(j, w, Scales { scale: [scales[0][j], scales[1][j]], min: [] });
    }
}

#[inline]
pub(in super::super) fn iq2_s_of(
    b: [&IQ2Sx8; GROUPS],
    magnitudes: impl Fn(usize) -> [V; 8],
    mut each: impl FnMut(usize, [V; 8], Scales<2, 0>),
) {
    let scales = scales_of_16(load_f16(per_group!(b => &b.d)), per_group!(b => &b.scales));
    for j in 0..8 {
        let w = with_signs::<64>(magnitudes(j), load(per_group!(b => &b.signs[j])), [0, 1, 2, 3]);
        each(j, w, Scales { scale: [scales[0][j], scales[1][j]], min: [] });
    }
}

#[inline]
pub(in super::super) fn iq3_xxs_of(
    b: [&IQ3XXSx8; GROUPS],
    magnitudes: impl Fn(usize) -> [V; 8],
    mut each: impl FnMut(usize, [V; 8], Scales<1, 0>),
) {
    let d = mul(load_f16(per_group!(b => &b.d)), splat_f32(HALF));
    for j in 0..8 {
        let tail = load(per_group!(b => &b.signs[j]));
        let signs = even_signs(bytes_of_seven_bits(tail));
        let w = with_signs::<32>(magnitudes(j), signs, [0, 1, 2, 3]);
        each(j, w, Scales { scale: [mul(d, odd_on_top(tail))], min: [] });
    }
}

#[inline]
pub(in super::super) fn iq3_s_of(
    b: [&IQ3Sx8; GROUPS],
    magnitudes: impl Fn(usize) -> [V; 8],
    mut each: impl FnMut(usize, [V; 8], Scales<1, 0>),
) {
    let (d, scales) = (load_f16(per_group!(b => &b.d)), load(per_group!(b => &b.scales)));
    for j in 0..8 {
        let w = with_signs::<16>(magnitudes(j), load(per_group!(b => &b.signs[j])), [0, 1, 2, 3]);
        let odd = or(and(shl::<1>(shr_by(scales, bits(4 * j))), splat(30)), splat(1));
        each(j, w, Scales { scale: [mul(d, to_f32(odd))], min: [] });
    }
}

/// The weights of four entries in their order.
#[inline]
fn join_pairs([a, b, c, d]: [[V; 2]; 4]) -> [V; 8] {
    [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]
}

/// Turns magnitudes plus `OFFSET` into weights plus `OFFSET`. Byte `order[i]` of a dword of `signs`
/// is of weights `8i ..`, the first one lowest.
#[inline]
fn with_signs<const OFFSET: u8>(mut w: [V; 8], signs: V, order: [u8; 4]) -> [V; 8] {
    for i in 0..4 {
        let lane: [u8; 16] = std::array::from_fn(|b| (b / 4 * 4) as u8 + order[i]);
        let eight = shuffle(signs, splat_quad(lane));
        w[2 * i] = reflect_where::<OFFSET>(w[2 * i], eight, splat(0x0804_0201));
        w[2 * i + 1] = reflect_where::<OFFSET>(w[2 * i + 1], eight, splat(0x8040_2010));
    }
    w
}

/// The eighth bit of each byte makes the number of ones even; it was zero.
#[inline]
fn even_signs(seven: V) -> V {
    let folded = and(xor(seven, shr::<4>(seven)), splat_byte(15));
    or(seven, shuffle(splat_quad(ODD_NIBBLES), folded))
}

/// The lower 28 bits of each dword, seven in each byte.
#[inline]
fn bytes_of_seven_bits(x: V) -> V {
    let two = or(and(x, splat(0x3FFF)), and(shl::<2>(x), splat(0x3FFF_0000)));
    or(and(two, splat(0x007F_007F)), and(shl::<1>(two), splat(0x7F00_7F00)))
}

/// `2s + 1` for the upper four bits `s` of each dword.
#[inline]
fn odd_on_top(x: V) -> F {
    to_f32(or(shr::<27>(x), splat(1)))
}

/// `d · (s + ½) / 4` for the nibbles `s` of eight bytes: the low ones, the high ones.
#[inline]
fn scales_of_16(d: F, bytes: [&[Dwords; 2]; GROUPS]) -> [[F; 8]; 2] {
    let bytes = [load(per_group!(bytes => &bytes[0])), load(per_group!(bytes => &bytes[1]))];
    let odd = |twice| or(and(twice, splat_byte(30)), splat_byte(1));
    let d = mul(d, splat_f32(EIGHTH));
    [
        products_of_bytes(d, bytes.map(|bytes| odd(shl::<1>(bytes)))),
        products_of_bytes(d, bytes.map(|bytes| odd(shr::<3>(bytes)))),
    ]
}

/// Bytes 0 and 2 of each dword, as words.
#[inline]
pub(in super::super) fn even_bytes(x: V) -> V {
    and(x, splat(0x00FF_00FF))
}

/// Bytes 1 and 3 of each dword, as words.
#[inline]
pub(in super::super) fn odd_bytes(x: V) -> V {
    even_bytes(shr::<8>(x))
}
}

/// The top bit for numbers with an odd number of ones.
const ODD_NIBBLES: [u8; 16] = {
    let (mut table, mut i) = ([0; 16], 0);
    while i < 16 {
        table[i] = (i.count_ones() as u8 & 1) << 7;
        i += 1;
    }
    table
};
const EIGHTH: u32 = 0.125_f32.to_bits();
const HALF: u32 = 0.5_f32.to_bits();
