//! IQ2 and IQ3 with all indices of a sub-block looked up at once.
//!
//! What else they hold is unpacked as in `kernels/iq.rs`.

use super::kernels::Scales;
use super::kernels::iq::{
    even_bytes, iq2_s_of, iq2_xs_of, iq2_xxs_of, iq3_s_of, iq3_xxs_of, odd_bytes,
};
use super::lanes::*;
use crate::block::codebook::planes::{self, Levels};
use crate::packed_blocks::{IQ2Sx8, IQ2XSx8, IQ2XXSx8, IQ3Sx8, IQ3XXSx8};
use crate::x86::vbmi::{is_set, look_up, octet, quad};

kernels! {
#[inline]
pub(super) fn iq2_xxs(b: [&IQ2XXSx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let found = |j: usize| look_up(&planes::IQ2_XXS, load(per_group!(b => &b.qs[2 * j])), []);
    iq2_xxs_of(b, |j| octets(found(j), [0, 1, 2, 3]), each);
}

#[inline]
pub(super) fn iq2_xs(b: [&IQ2XSx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<2, 0>)) {
    let found = |j: usize| {
        let units = [load(per_group!(b => &b.qs[2 * j])), load(per_group!(b => &b.qs[2 * j + 1]))];
        // The lower bytes of both units side by side, and the upper ones.
        let low = or(even_bytes(units[0]), shl::<8>(even_bytes(units[1])));
        let high = or(odd_bytes(units[0]), and(units[1], splat(0xFF00_FF00)));
        look_up(&planes::IQ2_XS, low, [is_set(high, 0x0101_0101)])
    };
    iq2_xs_of(b, |j| octets(found(j), [0, 2, 1, 3]), each);
}

#[inline]
pub(super) fn iq2_s(b: [&IQ2Sx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<2, 0>)) {
    let found = |j: usize| {
        let high = byte_of_dwords(load(per_group!(b => &b.qh[j / 4])), j % 4);
        let high = [is_set(high, 0x4010_0401), is_set(high, 0x8020_0802)];
        look_up(&planes::IQ2_S, load(per_group!(b => &b.qs[j])), high)
    };
    iq2_s_of(b, |j| octets(found(j), [0, 1, 2, 3]), each);
}

#[inline]
pub(super) fn iq3_xxs(b: [&IQ3XXSx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let found = |i: usize| look_up(&planes::IQ3_XXS, load(per_group!(b => &b.qs[i])), []);
    let found = |j: usize| [found(2 * j), found(2 * j + 1)];
    iq3_xxs_of(b, |j| quads(&planes::IQ3_XXS_LEVELS, found(j)), each);
}

#[inline]
pub(super) fn iq3_s(b: [&IQ3Sx8; GROUPS], each: impl FnMut(usize, [V; 8], Scales<1, 0>)) {
    let found = |j: usize| {
        let high = byte_of_dwords(load(per_group!(b => &b.qh[j / 4])), j % 4);
        let ninth = [is_set(high, 0x0804_0201), is_set(high, 0x8040_2010)];
        let found = |i: usize| look_up(&planes::IQ3_S, load(per_group!(b => &b.qs[2 * j + i])), [ninth[i]]);
        [found(0), found(1)]
    };
    iq3_s_of(b, |j| quads(&planes::IQ3_S_LEVELS, found(j)), each);
}

/// The 32 weights of four entries, of which byte `order[i]` of each dword is number `i`.
#[inline]
fn octets(found: [V; 2], order: [usize; 4]) -> [V; 8] {
    let mut w = [splat(0); 8];
    for i in 0..4 {
        [w[2 * i], w[2 * i + 1]] = octet(&planes::IQ2_LEVELS, found, order[i]);
    }
    w
}

/// The 32 weights of two times four entries.
#[inline]
fn quads(levels: &Levels, found: [[V; 2]; 2]) -> [V; 8] {
    let mut w = [splat(0); 8];
    for i in 0..8 {
        w[i] = quad(levels, found[i / 4], i % 4);
    }
    w
}

/// Byte `byte` of each dword in all four of its bytes.
#[inline]
fn byte_of_dwords(x: V, byte: usize) -> V {
    shuffle(x, splat_quad(std::array::from_fn(|i| (i / 4 * 4 + byte) as u8)))
}
}
