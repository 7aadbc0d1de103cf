//! IQ4_NL and IQ4_XS: nibbles that index a table.

use std::arch::aarch64::*;

use bytemuck::{Pod, Zeroable};

use super::dot::{add_products, for_rows_of_8};
use super::{Halves, Payload, add_scaled, for_blocks, load, load_f16};
use crate::activations::Int8Block;
use crate::block::IQ4_VALUES;

/// Eight rows of [`BlockIQ4_NL`](crate::block::BlockIQ4_NL).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct IQ4NLx8 {
    d: Halves,
    /// Vector `h`: weights `4h ..` in the low nibbles, `16 + 4h ..` in the high ones.
    qs: [Payload; 4],
}

/// Eight rows of [`BlockIQ4_XS`](crate::block::BlockIQ4_XS).
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct IQ4XSx8 {
    d: Halves,
    /// Bits `2j ..`: the upper two bits of scale `j`.
    scales_h: Halves,
    /// Nibble `j`: the lower four bits of scale `j`.
    scales_l: Payload,
    /// Vectors `[j]`: sub-block `j`, each as in [`IQ4NLx8`].
    qs: [[Payload; 4]; 8],
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn iq4_nl<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &IQ4NLx8, half, x: &Int8Block<N>, acc| {
        let s = look_up_and_sum(&block.qs, half, x);
        add_scaled(s, load_f16(&block.d[half]), x, acc);
    });
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn iq4_xs<const N: usize>(groups: &[u8], x: &[Int8Block<N>], out: &mut [f32]) {
    let x = x.as_chunks::<8>().0;
    for_blocks(groups, x, out, |block: &IQ4XSx8, half, x: &[Int8Block<N>; 8], acc| {
        let d = load_f16(&block.d[half]);
        let low = vreinterpretq_u32_u8(load(&block.scales_l[half]));
        let high = vmovl_u16(bytemuck::must_cast(block.scales_h[half]));
        for j in 0..8 {
            let s = look_up_and_sum(&block.qs[j], half, &x[j]);
            let shifted = |x, bits: usize| vshlq_u32(x, vdupq_n_s32(-((bits * j) as i32)));
            let low = vandq_u32(shifted(low, 4), vdupq_n_u32(15));
            let high = vandq_u32(shifted(high, 2), vdupq_n_u32(3));
            let scale = vreinterpretq_s32_u32(vorrq_u32(low, vshlq_n_u32::<4>(high)));
            let scale = vcvtq_f32_s32(vsubq_s32(scale, vdupq_n_s32(32)));
            add_scaled(s, vmulq_f32(d, scale), &x[j], acc);
        }
    });
}

/// The sums of products of 32 weights of four rows.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn look_up_and_sum<const N: usize>(
    qs: &[Payload; 4],
    half: usize,
    x: &Int8Block<N>,
) -> [int32x4_t; N] {
    let table: int8x16_t = bytemuck::must_cast(IQ4_VALUES);
    let mut s = [vdupq_n_s32(0); N];
    for_rows_of_8!(G => {
        let both = load(&qs[G % 4][half]);
        let index =
            if G < 4 { vandq_u8(both, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(both) };
        add_products::<G, N>(&mut s, vqtbl1q_s8(table, index), x);
    });
    s
}
