//! Blocks of 32 weights with an f16 scale of their own.

use super::super::lanes::*;
use super::super::products;
use super::{add_scaled, for_blocks, nibbles, offset, prefetch};
use crate::activations::{Int8Block, SCALE, SCALED_SUM, SUM};
use crate::packed_blocks::{Dwords, Q4_0x8, Q4_1x8, Q5_0x8, Q5_1x8, Q8_0x8};

kernels! {
pub(super) fn q4_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: [&Q4_0x8; GROUPS], x: &Int8Block<N>, acc: &mut [F; N]| {
        prefetch::<Q4_0x8, 1, N>(block, 0);
        let four = |i| (four_bits(block.map(|b| &b.qs), i), &x[step(i)]);
        let d = load_f16(block.map(|b| &b.d));
        products::<15, 8, 4, N>(|c| offset::<0>(x[SUM][c]), four, |c, s| {
            add_scaled(s, d, x[SCALE][c], &mut acc[c]);
        });
    });
}

pub(super) fn q4_1<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: [&Q4_1x8; GROUPS], x: &Int8Block<N>, acc: &mut [F; N]| {
        prefetch::<Q4_1x8, 1, N>(block, 0);
        let four = |i| (four_bits(block.map(|b| &b.qs), i), &x[step(i)]);
        let (d, m) = (load_f16(block.map(|b| &b.d)), load_f16(block.map(|b| &b.m)));
        products::<15, 8, 4, N>(|_| splat(0), four, |c, s| {
            add_scaled(s, d, x[SCALE][c], &mut acc[c]);
            add_min(m, x[SCALED_SUM][c], &mut acc[c]);
        });
    });
}

pub(super) fn q5_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: [&Q5_0x8; GROUPS], x: &Int8Block<N>, acc: &mut [F; N]| {
        prefetch::<Q5_0x8, 1, N>(block, 0);
        let high = load(block.map(|b| &b.qh));
        let four = |i| (five_bits(block.map(|b| &b.qs), high, i), &x[step(i)]);
        let d = load_f16(block.map(|b| &b.d));
        // Offset 16.
        products::<31, 8, 2, N>(|c| offset::<1>(x[SUM][c]), four, |c, s| {
            add_scaled(s, d, x[SCALE][c], &mut acc[c]);
        });
    });
}

pub(super) fn q5_1<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: [&Q5_1x8; GROUPS], x: &Int8Block<N>, acc: &mut [F; N]| {
        prefetch::<Q5_1x8, 1, N>(block, 0);
        let high = load(block.map(|b| &b.qh));
        let four = |i| (five_bits(block.map(|b| &b.qs), high, i), &x[step(i)]);
        let (d, m) = (load_f16(block.map(|b| &b.d)), load_f16(block.map(|b| &b.m)));
        products::<31, 8, 2, N>(|_| splat(0), four, |c, s| {
            add_scaled(s, d, x[SCALE][c], &mut acc[c]);
            add_min(m, x[SCALED_SUM][c], &mut acc[c]);
        });
    });
}

pub(super) fn q8_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: [&Q8_0x8; GROUPS], x: &Int8Block<N>, acc: &mut [F; N]| {
        prefetch::<Q8_0x8, 1, N>(block, 0);
        // Turning the sign bit over adds 128.
        let four = |i: usize| (xor(load(block.map(|b| &b.qs[i])), splat_byte(128)), &x[i]);
        let d = load_f16(block.map(|b| &b.d));
        products::<255, 8, 1, N>(|c| offset::<4>(x[SUM][c]), four, |c, s| {
            add_scaled(s, d, x[SCALE][c], &mut acc[c]);
        });
    });
}

/// `acc = fma(m, d·Σq, acc)`, for one column.
#[inline]
fn add_min(m: F, scaled_sum: u32, acc: &mut F) {
    *acc = mul_add(m, splat_f32(scaled_sum), *acc);
}

/// The weights of step `i`: low and high nibbles of a vector follow each other.
#[inline]
fn four_bits(qs: [&[Dwords; 4]; GROUPS], i: usize) -> V {
    let both = load(qs.map(|qs| &qs[i / 2]));
    if i.is_multiple_of(2) { nibbles::<false>(both) } else { nibbles::<true>(both) }
}

/// As [`four_bits`], with the fifth bits from `high`.
#[inline]
fn five_bits(qs: [&[Dwords; 4]; GROUPS], high: V, i: usize) -> V {
    or(four_bits(qs, i), fifth_bits(high, step(i)))
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

/// The dword of activations that step `i` multiplies: 0 4 1 5 2 6 3 7.
pub(super) const fn step(i: usize) -> usize {
    i / 2 + i % 2 * 4
}
