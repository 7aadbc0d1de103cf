//! MXFP4 and NVFP4: nibbles that index a table, under scales that are floats of eight bits.

use std::arch::aarch64::*;

use super::super::{X, for_blocks, halves, products, row, spread};
use super::{simple::four_bits, zero};
use crate::activations::SCALE;
use crate::block::FP4_VALUES;
use crate::neon::lanes::*;
use crate::neon::{Int8, for_registers, for_steps};
use crate::packed_blocks::{Bytes, Dwords, MXFP4x8, NVFP4x8};

/// The greatest magnitude of the table.
const MAX: usize = 12;

kernels! {
#[inline(never)]
pub(super) fn mxfp4<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &MXFP4x8, half, [x]: &[X<N>; 1], acc| {
        let four = |g| look_up(four_bits(&block.qs, half, g));
        let s = products::<MAX, 8, N>(zero(), halves(x), four);
        add_scaled!(s, e8m0(&block.e, half), x, acc);
    });
}

#[inline(never)]
pub(super) fn nvfp4<const N: usize>(groups: &[u8], x: Int8<'_>, out: &mut [f32]) {
    for_blocks(groups, x, out, |block: &NVFP4x8, half, x: &[X<N>; 2], acc| {
        let scales = ue4m3(&block.d, half);
        for_steps!(j in 0 1 => {
            for_steps!(part in 0 1 => {
                let x = &x[j];
                let four = |g: usize| {
                    let both = load(&block.qs[4 * j + 2 * part + g % 2], half);
                    look_up(if g < 2 { nibbles::<false>(both) } else { nibbles::<true>(both) })
                };
                let s = products::<MAX, 4, N>(zero(), &halves(x)[part..], four);
                add_scaled!(s, scales[2 * j + part], x, acc);
            });
        });
    });
}
}

#[target_feature(enable = "neon")]
#[inline]
fn look_up(nibbles: V) -> W {
    vqtbl1q_s8(bytemuck::must_cast(FP4_VALUES), nibbles)
}

/// Half of `2^(e − 127)`. `(e − 1) · 2²³` are the bits of that. For the two subnormal ones, where
/// `e` is 0 or 1, the bits are `(e + 1) · 2²¹`, which is the smaller number everywhere else.
#[target_feature(enable = "neon")]
#[inline]
fn e8m0(e: &Bytes, half: usize) -> F {
    let four = u32::from_le_bytes(e.as_chunks().0[half]);
    let words = vget_low_u16(vmovl_u8(vcreate_u8(u64::from(four))));
    let e = vreinterpretq_s32_u32(vmovl_u16(words));
    let (less, more) = (vsubq_s32(e, vdupq_n_s32(1)), vaddq_s32(e, vdupq_n_s32(1)));
    vreinterpretq_f32_s32(vmaxq_s32(vshlq_n_s32::<23>(less), vshlq_n_s32::<21>(more)))
}

/// Half of the UE4M3 floats of each dword; `ue4m3_half` in `block/fp4.rs` tells what they are.
#[target_feature(enable = "neon")]
#[inline]
fn ue4m3(bytes: &Dwords, half: usize) -> [F; 4] {
    let bytes = load(bytes, half);
    let is_zero = vceqq_u8(bytes, vdupq_n_u8(0x7F));
    let x = vreinterpretq_u32_u8(vbicq_u8(vandq_u8(bytes, vdupq_n_u8(0x7F)), is_zero));
    let mut out = [vdupq_n_f32(0.0); 4];
    for k in 0..4 {
        let byte = vandq_u32(vshlq_u32(x, vdupq_n_s32(-8 * k as i32)), vdupq_n_u32(0x7F));
        let small = vreinterpretq_f32_u32(vshlq_n_u32::<20>(byte));
        out[k] = vmulq_n_f32(small, f32::from_bits(TWO_TO_119));
    }
    out
}

/// The bits of 2¹¹⁹.
const TWO_TO_119: u32 = (127 + 119) << 23;
