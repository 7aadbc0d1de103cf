//! Blocks of 32 weights with an f16 scale of their own.

use std::arch::aarch64::*;

use bytemuck::{Pod, Zeroable};

use super::dot::{add_products, for_rows_of_8};
use super::{
    Halves, Payload, add_min, add_scaled, for_blocks, high_nibbles, load, load_f16, low_nibbles,
    offset_sums,
};
use crate::activations::{Int8Block, SUM};

/// Eight rows of [`BlockQ4_0`](crate::block::BlockQ4_0).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q4_0x8 {
    d: Halves,
    /// Vector `h`: weights `4h ..` in the low nibbles, `16 + 4h ..` in the high ones.
    qs: [Payload; 4],
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q4_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q4_0x8, half, x: &Int8Block<N>, acc| {
        let mut s = offset_sums::<SUM, 0, N>(x);
        for_rows_of_8!(G => {
            let both = load(&block.qs[G % 4][half]);
            let w = if G < 4 { low_nibbles(both) } else { high_nibbles(both) };
            add_products::<G, N>(&mut s, w, x);
        });
        add_scaled(s, load_f16(&block.d[half]), x, acc);
    });
}

/// Eight rows of [`BlockQ4_1`](crate::block::BlockQ4_1).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q4_1x8 {
    d: Halves,
    m: Halves,
    qs: [Payload; 4],
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q4_1<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q4_1x8, half, x: &Int8Block<N>, acc| {
        let mut s = [vdupq_n_s32(0); N];
        for_rows_of_8!(G => {
            let both = load(&block.qs[G % 4][half]);
            let w = if G < 4 { low_nibbles(both) } else { high_nibbles(both) };
            add_products::<G, N>(&mut s, w, x);
        });
        add_scaled(s, load_f16(&block.d[half]), x, acc);
        add_min(load_f16(&block.m[half]), x, acc);
    });
}

/// Eight rows of [`BlockQ5_0`](crate::block::BlockQ5_0).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q5_0x8 {
    d: Halves,
    /// Bit `i` of dword `r` is the fifth bit of weight `i` of row `r`.
    qh: Payload,
    qs: [Payload; 4],
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q5_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q5_0x8, half, x: &Int8Block<N>, acc| {
        let clear = vmvnq_u8(load(&block.qh[half]));
        let mut s = [vdupq_n_s32(0); N];
        for_rows_of_8!(G => {
            let both = load(&block.qs[G % 4][half]);
            let nibbles = if G < 4 { both } else { vshrq_n_u8::<4>(both) };
            add_products::<G, N>(&mut s, with_fifth::<G>(nibbles, clear), x);
        });
        add_scaled(s, load_f16(&block.d[half]), x, acc);
    });
}

/// Eight rows of [`BlockQ5_1`](crate::block::BlockQ5_1).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q5_1x8 {
    d: Halves,
    m: Halves,
    /// As in [`Q5_0x8`].
    qh: Payload,
    qs: [Payload; 4],
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q5_1<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q5_1x8, half, x: &Int8Block<N>, acc| {
        let set = load(&block.qh[half]);
        let mut s = [vdupq_n_s32(0); N];
        for_rows_of_8!(G => {
            let both = load(&block.qs[G % 4][half]);
            let nibbles = if G < 4 { both } else { vshrq_n_u8::<4>(both) };
            let w = vandq_s8(with_fifth::<G>(nibbles, set), vdupq_n_s8(31));
            add_products::<G, N>(&mut s, w, x);
        });
        add_scaled(s, load_f16(&block.d[half]), x, acc);
        add_min(load_f16(&block.m[half]), x, acc);
    });
}

/// Weights `4G ..`: the low nibbles, and ones above them where a bit of `bits` is set. With the fifth
/// bits turned over these are the weights minus 16.
#[target_feature(enable = "neon")]
#[inline]
fn with_fifth<const G: usize>(nibbles: uint8x16_t, bits: uint8x16_t) -> int8x16_t {
    // Every byte of the result looks at the byte that holds its bit, and picks it.
    let lanes: uint8x16_t = bytemuck::must_cast([0u32, 0x0404_0404, 0x0808_0808, 0x0C0C_0C0C]);
    let bytes = vqtbl1q_u8(bits, vaddq_u8(lanes, vdupq_n_u8((G / 2) as u8)));
    let pick = vdupq_n_u32([0x0804_0201, 0x8040_2010][G % 2]);
    let set = vtstq_u8(bytes, vreinterpretq_u8_u32(pick));
    vreinterpretq_s8_u8(vsliq_n_u8::<4>(nibbles, set))
}

/// Eight rows of [`BlockQ8_0`](crate::block::BlockQ8_0).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Q8_0x8 {
    d: Halves,
    /// Vector `g`: weights `4g ..`, signed.
    qs: [Payload; 8],
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn q8_0<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &Q8_0x8, half, x: &Int8Block<N>, acc| {
        let mut s = [vdupq_n_s32(0); N];
        for_rows_of_8!(G => {
            add_products::<G, N>(&mut s, vreinterpretq_s8_u8(load(&block.qs[G][half])), x);
        });
        add_scaled(s, load_f16(&block.d[half]), x, acc);
    });
}
