//! IQ4_NL and IQ4_XS: nibbles that index a table.

use std::arch::aarch64::*;

use super::super::{X, for_blocks, halves, products, row, spread};
use super::{simple::four_bits, zero};
use crate::activations::SCALE;
use crate::block::IQ4_VALUES;
use crate::neon::lanes::*;
use crate::neon::{Int8, for_registers};
use crate::packed_blocks::{Dwords, IQ4NLx8, IQ4XSx8};

kernels! {
#[inline(never)]
pub(super) fn iq4_nl<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &IQ4NLx8, half, [x]: &[X<N>; 1], acc| {
        let s = products::<128, 8, N>(zero(), halves(x), |g| look_up(&block.qs, half, g));
        add_scaled!(s, load_f16(&block.d, half), x, acc);
    });
}

#[inline(never)]
pub(super) fn iq4_xs<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &IQ4XSx8, half, x: &[X<N>; 8], acc| {
        let d = load_f16(&block.d, half);
        let low = vreinterpretq_u32_u8(load(&block.scales_l, half));
        let high = load_u16(&block.scales_h, half);
        for (j, (x, qs)) in x.iter().zip(block.qs.as_chunks::<4>().0).enumerate() {
            let s = products::<128, 8, N>(zero(), halves(x), |g| look_up(qs, half, g));
            let shifted = |x, bits: usize| vshlq_u32(x, vdupq_n_s32(-((bits * j) as i32)));
            let low = vandq_u32(shifted(low, 4), vdupq_n_u32(15));
            let high = vandq_u32(shifted(high, 2), vdupq_n_u32(3));
            let scale = vreinterpretq_s32_u32(vorrq_u32(low, vshlq_n_u32::<4>(high)));
            let scale = vcvtq_f32_s32(vsubq_s32(scale, vdupq_n_s32(32)));
            add_scaled!(s, vmulq_f32(d, scale), x, acc);
        }
    });
}
}

/// Weights `4g ..`, values of the table.
#[target_feature(enable = "neon")]
#[inline]
fn look_up(qs: &[Dwords; 4], half: usize, g: usize) -> W {
    vqtbl1q_s8(bytemuck::must_cast(IQ4_VALUES), four_bits(qs, half, g))
}
