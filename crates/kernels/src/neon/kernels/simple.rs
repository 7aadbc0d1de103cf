//! Blocks of 32 weights with an f16 scale of their own.

use std::arch::aarch64::*;

use super::super::{X, for_blocks, halves, products, row, spread};
use super::{offset, zero};
use crate::activations::{SCALE, SCALED_SUM, SUM};
use crate::neon::lanes::*;
use crate::neon::{Int8, for_registers};
use crate::packed_blocks::{Dwords, Q4_0x8, Q4_1x8, Q5_0x8, Q5_1x8, Q8_0x8};

kernels! {
#[inline(never)]
pub(super) fn q4_0<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q4_0x8, half, [x]: &[X<N>; 1], acc| {
        let four = |g| signed(four_bits(&block.qs, half, g));
        let s = products::<15, 8, N>(offset::<0, N>(x, SUM), halves(x), four);
        add_scaled!(s, load_f16(&block.d, half), x, acc);
    });
}

#[inline(never)]
pub(super) fn q4_1<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q4_1x8, half, [x]: &[X<N>; 1], acc| {
        let four = |g| signed(four_bits(&block.qs, half, g));
        let s = products::<15, 8, N>(zero(), halves(x), four);
        add_scaled!(s, load_f16(&block.d, half), x, acc);
        add_min!(load_f16(&block.m, half), x, acc);
    });
}

#[inline(never)]
pub(super) fn q5_0<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q5_0x8, half, [x]: &[X<N>; 1], acc| {
        let clear = vmvnq_u8(load(&block.qh, half));
        let five = |g| signed(with_fifth(&block.qs, half, clear, g));
        let s = products::<16, 8, N>(zero(), halves(x), five);
        add_scaled!(s, load_f16(&block.d, half), x, acc);
    });
}

#[inline(never)]
pub(super) fn q5_1<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q5_1x8, half, [x]: &[X<N>; 1], acc| {
        let set = load(&block.qh, half);
        let five = |g| {
            signed(vandq_u8(with_fifth(&block.qs, half, set, g), vdupq_n_u8(31)))
        };
        let s = products::<31, 8, N>(zero(), halves(x), five);
        add_scaled!(s, load_f16(&block.d, half), x, acc);
        add_min!(load_f16(&block.m, half), x, acc);
    });
}

#[inline(never)]
pub(super) fn q8_0<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q8_0x8, half, [x]: &[X<N>; 1], acc| {
        let s = products::<128, 8, N>(zero(), halves(x), |g| signed(load(&block.qs[g], half)));
        add_scaled!(s, load_f16(&block.d, half), x, acc);
    });
}
}

/// Weights `4g ..`: low nibbles, from `g` = 4 on the high ones.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn four_bits(qs: &[Dwords; 4], half: usize, g: usize) -> V {
    let both = load(&qs[g % 4], half);
    if g < 4 { nibbles::<false>(both) } else { nibbles::<true>(both) }
}

/// Weights `4g ..`: nibbles, and ones above them where a bit of `bits` is set. With the fifth bits
/// turned over these are the weights minus 16.
#[target_feature(enable = "neon")]
#[inline]
fn with_fifth(qs: &[Dwords; 4], half: usize, bits: V, g: usize) -> V {
    let both = load(&qs[g % 4], half);
    let nibbles = if g < 4 { both } else { nibbles::<true>(both) };
    // Every byte of the result looks at the byte that holds its bit, and picks it.
    let rows: uint8x16_t = bytemuck::must_cast([0, 0x0404_0404, 0x0808_0808, 0x0C0C_0C0C_u32]);
    let bytes = vqtbl1q_u8(bits, vaddq_u8(rows, vdupq_n_u8(g as u8 / 2)));
    let pick = if g.is_multiple_of(2) { 0x0804_0201 } else { 0x8040_2010 };
    vsliq_n_u8::<4>(nibbles, vtstq_u8(bytes, vreinterpretq_u8_u32(vdupq_n_u32(pick))))
}
