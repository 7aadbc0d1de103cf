//! One register of four rows: only what the kernels need, all of it NEON.

use std::arch::aarch64::*;

use crate::packed_blocks::{Dwords, Halves};

/// Sixteen bytes: four weights of each of four rows.
pub(super) type V = uint8x16_t;
/// Sixteen signed bytes, ready to be multiplied.
pub(super) type W = int8x16_t;
/// Four sums.
pub(super) type S = int32x4_t;
/// Four f32.
pub(super) type F = float32x4_t;

/// Rows 0–3 (half 0) or 4–7 (half 1) of a packed vector.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load(bytes: &Dwords, half: usize) -> V {
    bytemuck::must_cast(bytes.as_chunks::<16>().0[half])
}

/// As [`load`], of several vectors.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_all<const M: usize>(bytes: &[Dwords; M], half: usize) -> [V; M] {
    let mut all = [vdupq_n_u8(0); M];
    for i in 0..M {
        all[i] = load(&bytes[i], half);
    }
    all
}

/// f16 of four rows to f32.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_f16(halves: &Halves, half: usize) -> F {
    widen_f16(&halves.as_chunks::<8>().0[half])
}

#[target_feature(enable = "neon")]
#[inline]
pub(super) fn widen_f16(bytes: &[u8; 8]) -> F {
    vcvt_f32_f16(vreinterpret_f16_u8(bytemuck::must_cast(*bytes)))
}

/// u16 of four rows to u32.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_u16(halves: &Halves, half: usize) -> uint32x4_t {
    vmovl_u16(bytemuck::must_cast(halves.as_chunks::<8>().0[half]))
}

/// Writes the values of eight rows.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store(out: &mut [f32], values: [F; 2]) {
    out[..8].copy_from_slice(&bytemuck::must_cast::<_, [f32; 8]>(values));
}

#[target_feature(enable = "neon")]
#[inline]
pub(super) fn signed(bytes: V) -> W {
    vreinterpretq_s8_u8(bytes)
}

/// The nibbles, low or high.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn nibbles<const HIGH: bool>(bytes: V) -> V {
    if HIGH { vshrq_n_u8::<4>(bytes) } else { vandq_u8(bytes, vdupq_n_u8(15)) }
}

/// Shifts every byte to the right, or by a negative number to the left.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn shift_right(bytes: V, bits: i8) -> V {
    vshlq_u8(bytes, vdupq_n_s8(-bits))
}

/// Shifts every byte to the right by `2 · pairs` bits, `pairs` being a constant up to 3.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn down_by_pairs(bytes: V, pairs: usize) -> V {
    match pairs {
        0 => bytes,
        1 => vshrq_n_u8::<2>(bytes),
        2 => vshrq_n_u8::<4>(bytes),
        _ => vshrq_n_u8::<6>(bytes),
    }
}

/// `d` times each byte of each dword, those of the first vector first.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn products_of_bytes<const M: usize, const M4: usize>(d: F, bytes: [V; M]) -> [F; M4] {
    let mut out = [d; M4];
    for i in 0..M {
        let dwords = vreinterpretq_u32_u8(bytes[i]);
        // A byte stays where it is: the conversion divides by a power of two.
        let byte = |j: u32| vandq_u32(dwords, vdupq_n_u32(255 << (8 * j)));
        out[4 * i] = vmulq_f32(d, vcvtq_f32_u32(byte(0)));
        out[4 * i + 1] = vmulq_f32(d, vcvtq_n_f32_u32::<8>(byte(1)));
        out[4 * i + 2] = vmulq_f32(d, vcvtq_n_f32_u32::<16>(byte(2)));
        out[4 * i + 3] = vmulq_f32(d, vcvtq_n_f32_u32::<24>(byte(3)));
    }
    out
}

/// As [`products_of_bytes`], the bytes being signed.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn products_of_signed_bytes(d: F, bytes: [V; 4]) -> [F; 16] {
    let mut out = [d; 16];
    for i in 0..4 {
        for j in 0..4 {
            // Byte `j` alone, at the top of its dword: the conversion divides by 2²⁴.
            let index = [0x00FF_FFFF, 0x04FF_FFFF, 0x08FF_FFFF, 0x0CFF_FFFF_u32];
            let index = vaddq_u32(bytemuck::must_cast(index), vdupq_n_u32((j as u32) << 24));
            let top = vqtbl1q_u8(bytes[i], vreinterpretq_u8_u32(index));
            out[4 * i + j] = vmulq_f32(d, vcvtq_n_f32_s32::<24>(vreinterpretq_s32_u8(top)));
        }
    }
    out
}
