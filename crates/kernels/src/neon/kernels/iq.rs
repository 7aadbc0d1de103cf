//! IQ2 and IQ3: magnitudes from codebooks, and their signs.
//!
//! Indices of more than a byte are put together for all rows at once.

use std::arch::aarch64::*;

use super::super::{X, for_blocks, halves, products, row, spread};
use super::zero;
use crate::activations::SCALE;
use crate::block::codebook::{IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};
use crate::neon::lanes::*;
use crate::neon::{Int8, for_registers, for_steps};
use crate::packed_blocks::{Dwords, IQ2Sx8, IQ2XSx8, IQ2XXSx8, IQ3Sx8, IQ3XXSx8};

/// The greatest magnitude of IQ2.
const IQ2_MAX: usize = 43;

kernels! {
#[inline(never)]
pub(super) fn iq2_xxs<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &IQ2XXSx8, half, x: &[X<N>; 8], acc| {
        let d = vmulq_n_f32(load_f16(&block.d, half), 0.125);
        for (j, x) in x.iter().enumerate() {
            let indices = bytes(&block.qs[2 * j], half);
            let tail = vreinterpretq_u32_u8(load(&block.qs[2 * j + 1], half));
            let mut w = [vdupq_n_u8(0); 8];
            for i in 0..4 {
                let pair = octets(&IQ2_XXS, |r| usize::from(indices[4 * r + i]));
                (w[2 * i], w[2 * i + 1]) = (pair[0], pair[1]);
            }
            let w = with_signs(w, even_signs(bytes_of_seven_bits(tail)), [0, 1, 2, 3]);
            let s = products::<IQ2_MAX, 8, N>(zero(), halves(x), |g| w[g]);
            add_scaled!(s, vmulq_f32(d, odd_on_top(tail)), x, acc);
        }
    });
}

#[inline(never)]
pub(super) fn iq2_xs<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &IQ2XSx8, half, x: &[X<N>; 8], acc| {
        let scales = scales_of_16(load_f16(&block.d, half), &block.scales, half);
        for (j, x) in x.iter().enumerate() {
            let units = [&block.qs[2 * j], &block.qs[2 * j + 1]];
            let mut w = [vdupq_n_u8(0); 8];
            for i in 0..4 {
                let words = bytes(units[i / 2], half).as_chunks().0;
                let index = |r| u16::from_le_bytes(words[2 * r + i % 2]) & 511;
                let pair = octets(&IQ2_XS, |r| usize::from(index(r)));
                (w[2 * i], w[2 * i + 1]) = (pair[0], pair[1]);
            }
            let [a, b] = units.map(|unit| vreinterpretq_u32_u8(load(unit, half)));
            // Of each vector the signs of both units, side by side with those of the other.
            let a = vandq_u32(vshrq_n_u32::<9>(a), vdupq_n_u32(0x007F_007F));
            let b = vandq_u32(vshrq_n_u32::<1>(b), vdupq_n_u32(0x7F00_7F00));
            let w = with_signs(w, even_signs(vreinterpretq_u8_u32(vorrq_u32(a, b))), [0, 2, 1, 3]);
            for_steps!(part in 0 1 => {
                let four = |g: usize| w[4 * part + g];
                let s = products::<IQ2_MAX, 4, N>(zero(), &halves(x)[part..], four);
                add_scaled!(s, scales[part][j], x, acc);
            });
        }
    });
}

#[inline(never)]
pub(super) fn iq2_s<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &IQ2Sx8, half, x: &[X<N>; 8], acc| {
        let scales = scales_of_16(load_f16(&block.d, half), &block.scales, half);
        for (j, x) in x.iter().enumerate() {
            let low = vreinterpretq_u32_u8(load(&block.qs[j], half));
            let high = high_byte(&block.qh, half, j);
            let even = words(even_bytes(low), high, [8, 20], 0x0300_0300);
            let odd = words(odd_bytes(low), high, [6, 18], 0x0300_0300);
            let indices = [even, odd];
            let mut w = [vdupq_n_u8(0); 8];
            for i in 0..4 {
                let pair = octets(&IQ2_S, |r| usize::from(indices[i % 2][2 * r + i / 2] & 1023));
                (w[2 * i], w[2 * i + 1]) = (pair[0], pair[1]);
            }
            let w = with_signs(w, load(&block.signs[j], half), [0, 1, 2, 3]);
            for_steps!(part in 0 1 => {
                let four = |g: usize| w[4 * part + g];
                let s = products::<IQ2_MAX, 4, N>(zero(), &halves(x)[part..], four);
                add_scaled!(s, scales[part][j], x, acc);
            });
        }
    });
}

#[inline(never)]
pub(super) fn iq3_xxs<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &IQ3XXSx8, half, x: &[X<N>; 8], acc| {
        let d = vmulq_n_f32(load_f16(&block.d, half), 0.5);
        for (j, x) in x.iter().enumerate() {
            let tail = vreinterpretq_u32_u8(load(&block.signs[j], half));
            let mut w = [vdupq_n_u8(0); 8];
            for i in 0..8 {
                let indices = bytes(&block.qs[2 * j + i / 4], half);
                w[i] = quads(&IQ3_XXS, |r| usize::from(indices[4 * r + i % 4]));
            }
            let w = with_signs(w, even_signs(bytes_of_seven_bits(tail)), [0, 1, 2, 3]);
            let s = products::<31, 8, N>(zero(), halves(x), |g| w[g]);
            add_scaled!(s, vmulq_f32(d, odd_on_top(tail)), x, acc);
        }
    });
}

#[inline(never)]
pub(super) fn iq3_s<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &IQ3Sx8, half, x: &[X<N>; 8], acc| {
        let d = load_f16(&block.d, half);
        let scales = vreinterpretq_u32_u8(load(&block.scales, half));
        for (j, x) in x.iter().enumerate() {
            let high = high_byte(&block.qh, half, j);
            let mut w = [vdupq_n_u8(0); 8];
            for i in 0..2 {
                let low = vreinterpretq_u32_u8(load(&block.qs[2 * j + i], half));
                let down = 4 * i as i32;
                let even = words(even_bytes(low), high, [8 - down, 22 - down], 0x0100_0100);
                let odd = words(odd_bytes(low), high, [7 - down, 21 - down], 0x0100_0100);
                let indices = [even, odd];
                for g in 0..4 {
                    w[4 * i + g] =
                        quads(&IQ3_S, |r| usize::from(indices[g % 2][2 * r + g / 2] & 511));
                }
            }
            let w = with_signs(w, load(&block.signs[j], half), [0, 1, 2, 3]);
            let s = products::<15, 8, N>(zero(), halves(x), |g| w[g]);
            let twice = vshlq_u32(scales, vdupq_n_s32(1 - 4 * j as i32));
            let odd = vorrq_u32(vandq_u32(twice, vdupq_n_u32(30)), vdupq_n_u32(1));
            add_scaled!(s, vmulq_f32(d, vcvtq_f32_u32(odd)), x, acc);
        }
    });
}
}

/// The bytes of rows 0–3 (half 0) or 4–7 (half 1).
#[inline(always)]
fn bytes(vector: &Dwords, half: usize) -> &[u8; 16] {
    &vector.as_chunks().0[half]
}

/// Entries of a codebook, one for each of four rows: their first four weights, and their last four.
#[target_feature(enable = "neon")]
#[inline]
fn octets<const ENTRIES: usize>(
    codebook: &[u64; ENTRIES],
    index: impl Fn(usize) -> usize,
) -> [V; 2] {
    let entry = |r| vcreate_u32(codebook[index(r)]);
    let (a, b) = (vcombine_u32(entry(0), entry(1)), vcombine_u32(entry(2), entry(3)));
    [vreinterpretq_u8_u32(vuzp1q_u32(a, b)), vreinterpretq_u8_u32(vuzp2q_u32(a, b))]
}

/// As [`octets`], of entries of four weights.
#[target_feature(enable = "neon")]
#[inline]
fn quads<const ENTRIES: usize>(codebook: &[u32; ENTRIES], index: impl Fn(usize) -> usize) -> V {
    let all = vdupq_n_u32(codebook[index(0)]);
    let all = vsetq_lane_u32::<1>(codebook[index(1)], all);
    let all = vsetq_lane_u32::<2>(codebook[index(2)], all);
    vreinterpretq_u8_u32(vsetq_lane_u32::<3>(codebook[index(3)], all))
}

/// Turns magnitudes into weights. Byte `order[i]` of a dword of `signs` is of weights `8i ..`, the
/// first one lowest.
#[target_feature(enable = "neon")]
#[inline]
fn with_signs(magnitudes: [V; 8], signs: V, order: [u8; 4]) -> [W; 8] {
    let rows: uint8x16_t = bytemuck::must_cast([0, 0x0404_0404, 0x0808_0808, 0x0C0C_0C0C_u32]);
    let mut w = [vdupq_n_s8(0); 8];
    for i in 0..4 {
        let eight = vqtbl1q_u8(signs, vaddq_u8(rows, vdupq_n_u8(order[i])));
        for (h, pick) in [0x0804_0201, 0x8040_2010].into_iter().enumerate() {
            let is_negative = vtstq_u8(eight, vreinterpretq_u8_u32(vdupq_n_u32(pick)));
            let turned = veorq_u8(magnitudes[2 * i + h], is_negative);
            w[2 * i + h] = signed(vsubq_u8(turned, is_negative));
        }
    }
    w
}

/// The eighth bit of each byte makes the number of ones even; it was zero.
#[target_feature(enable = "neon")]
#[inline]
fn even_signs(seven: V) -> V {
    vsliq_n_u8::<7>(seven, vcntq_u8(seven))
}

/// The lower 28 bits of each dword, seven in each byte.
#[target_feature(enable = "neon")]
#[inline]
fn bytes_of_seven_bits(x: uint32x4_t) -> V {
    let upper = vandq_u32(vshlq_n_u32::<2>(x), vdupq_n_u32(0x3FFF_0000));
    let two = vorrq_u32(vandq_u32(x, vdupq_n_u32(0x3FFF)), upper);
    let upper = vandq_u32(vshlq_n_u32::<1>(two), vdupq_n_u32(0x7F00_7F00));
    vreinterpretq_u8_u32(vorrq_u32(vandq_u32(two, vdupq_n_u32(0x007F_007F)), upper))
}

/// `2s + 1` for the upper four bits `s` of each dword.
#[target_feature(enable = "neon")]
#[inline]
fn odd_on_top(x: uint32x4_t) -> F {
    vcvtq_f32_u32(vorrq_u32(vshrq_n_u32::<27>(x), vdupq_n_u32(1)))
}

/// `d · (s + ½) / 4` for the nibbles `s` of eight bytes: the low ones, the high ones.
#[target_feature(enable = "neon")]
#[inline]
fn scales_of_16(d: F, bytes: &[Dwords; 2], half: usize) -> [[F; 8]; 2] {
    let d = vmulq_n_f32(d, 0.125);
    let (mut low, mut high) = (load_all(bytes, half), load_all(bytes, half));
    let odd = |twice| vorrq_u8(vandq_u8(twice, vdupq_n_u8(30)), vdupq_n_u8(1));
    for i in 0..2 {
        (low[i], high[i]) = (odd(vshlq_n_u8::<1>(low[i])), odd(vshrq_n_u8::<3>(high[i])));
    }
    [products_of_bytes(d, low), products_of_bytes(d, high)]
}

/// Byte `j` of eight, and above it those that follow in the dword.
#[target_feature(enable = "neon")]
#[inline]
fn high_byte(bytes: &[Dwords; 2], half: usize, j: usize) -> uint32x4_t {
    let dwords = vreinterpretq_u32_u8(load(&bytes[j / 4], half));
    vshlq_u32(dwords, vdupq_n_s32(-8 * (j % 4) as i32))
}

/// The words of `low`, with bits above eight from `high` as it is shifted for the lower words and
/// for the upper ones.
#[target_feature(enable = "neon")]
#[inline]
fn words(low: uint32x4_t, high: uint32x4_t, shifts: [i32; 2], mask: u32) -> [u16; 8] {
    let [lower, upper] = shifts.map(|shift| vshlq_u32(high, vdupq_n_s32(shift)));
    let lower = vandq_u32(lower, vdupq_n_u32(mask & 0xFFFF));
    let upper = vandq_u32(upper, vdupq_n_u32(mask & 0xFFFF_0000));
    bytemuck::must_cast(vorrq_u32(low, vorrq_u32(lower, upper)))
}

/// Bytes 0 and 2 of each dword, as words.
#[target_feature(enable = "neon")]
#[inline]
fn even_bytes(x: uint32x4_t) -> uint32x4_t {
    vandq_u32(x, vdupq_n_u32(0x00FF_00FF))
}

/// Bytes 1 and 3 of each dword, as words.
#[target_feature(enable = "neon")]
#[inline]
fn odd_bytes(x: uint32x4_t) -> uint32x4_t {
    even_bytes(vshrq_n_u32::<8>(x))
}
