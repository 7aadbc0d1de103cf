//! NEON kernels: `sdot` on signed weights and signed activations.
//!
//! A vector of 32 payload bytes is two registers, rows 0–3 and rows 4–7. For a block of 32 weights
//! of four rows and one column
//!
//! ```text
//! s    = −offset · Σq
//! s   += sdot(w[g], lane(q[g]))               g = 0..8; four products in each of four i32 lanes
//! acc  = fma(cvt(s), scale·d, acc)
//! ```
//!
//! Weights of up to six bits are signed bytes as they are, so their offset need not be subtracted
//! from each of them: a sum that starts at `−offset·Σq` costs hardly more than one that starts at
//! zero, while a subtraction would cost an instruction per register of weights.
//! Q5_0 alone assembles its weights with the offset, because there that is the shortest way.
//!
//! Four rows are multiplied with all columns before the other four: eight columns take as many
//! registers of sums, or twice that where low and high nibbles are two sub-blocks, and the rest is
//! for the operands.
//!
//! Every integer sum is exact, and the float operations are those of `scalar` in the same order, so
//! the results are the same bits.

use std::arch::aarch64::*;

use crate::activations::{self, BLOCK_ROWS, Int8Block, SCALE, SCALED_SUM, int8_blocks};
use crate::{Columns, Format, GROUP_ROWS, Weights, scalar};

mod dot;
mod float;
mod iq4;
mod k;
mod k_of_16;
mod simple;

/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    match x.columns() {
        1 => matmul_n::<1>(w, groups, x, out),
        2 => matmul_n::<2>(w, groups, x, out),
        3 => matmul_n::<3>(w, groups, x, out),
        4 => matmul_n::<4>(w, groups, x, out),
        5 => matmul_n::<5>(w, groups, x, out),
        6 => matmul_n::<6>(w, groups, x, out),
        7 => matmul_n::<7>(w, groups, x, out),
        _ => matmul_n::<8>(w, groups, x, out),
    }
}

#[target_feature(enable = "neon,dotprod")]
fn matmul_n<const N: usize>(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    match x {
        Columns::Int8 { data, .. } => {
            let blocks = int8_blocks::<N>(data);
            match w.format() {
                Format::Q4_0 => simple::q4_0(groups, blocks, out),
                Format::Q4_1 => simple::q4_1(groups, blocks, out),
                Format::Q5_0 => simple::q5_0(groups, blocks, out),
                Format::Q5_1 => simple::q5_1(groups, blocks, out),
                Format::Q8_0 => simple::q8_0(groups, blocks, out),
                Format::Q2_K => k_of_16::q2_k(groups, blocks, out),
                Format::Q3_K => k_of_16::q3_k(groups, blocks, out),
                Format::Q4_K => k::q4_k(groups, blocks, out),
                Format::Q5_K => k::q5_k(groups, blocks, out),
                Format::Q6_K => k_of_16::q6_k(groups, blocks, out),
                Format::IQ4_NL => iq4::iq4_nl(groups, blocks, out),
                Format::IQ4_XS => iq4::iq4_xs(groups, blocks, out),
                Format::F32 | Format::F16 | Format::BF16 => scalar::matmul(w, groups, x, out),
            }
        }
        Columns::F32 { k, values } => match w.format() {
            Format::F16 => float::f16::<N>(groups, k, values, out),
            Format::BF16 => float::bf16::<N>(groups, k, values, out),
            _ => scalar::matmul(w, groups, x, out),
        },
    }
}

#[target_feature(enable = "neon,dotprod")]
pub(crate) fn quantize(x: &[f32], k: usize, out: &mut [u32]) {
    activations::quantize(x, k, out);
}

/// A packed vector of payload, rows 0–3 and rows 4–7.
type Payload = [[u8; 16]; 2];

/// Packed f16 of rows 0–3 and rows 4–7.
type Halves = [[u8; 8]; 2];

/// Walks the groups and their blocks; `step` adds the products of rows 0–3 (half 0) or 4–7 (half 1)
/// of one block to the accumulators.
///
/// `B` is a packed block, `X` the activations of as many weights.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn for_blocks<B: bytemuck::Pod, X, const N: usize>(
    groups: &[u8],
    x: &[X],
    out: &mut [f32],
    step: impl Fn(&B, usize, &X, &mut [float32x4_t; N]),
) {
    let stride = out.len() / N;
    let groups = bytemuck::cast_slice::<u8, B>(groups).chunks_exact(x.len());
    for (g, blocks) in groups.enumerate() {
        let mut acc = [[vdupq_n_f32(0.0); N]; 2];
        for (block, x) in blocks.iter().zip(x) {
            for half in 0..2 {
                step(block, half, x, &mut acc[half]);
            }
        }
        for c in 0..N {
            store(&mut out[c * stride + g * GROUP_ROWS..], [acc[0][c], acc[1][c]]);
        }
    }
}

/// The sums of columns at their start: `−8·2^SHIFT · Σq`, where row `ROW` of the block has `−8·Σq`.
#[target_feature(enable = "neon")]
#[inline]
fn offset_sums<const ROW: usize, const SHIFT: i32, const N: usize>(
    x: &Int8Block<N>,
) -> [int32x4_t; N] {
    // Sums are the last rows: counted from the end, four dwords never reach beyond the block.
    let quads = x.as_flattened().as_rchunks::<4>().1;
    let mut s = [vdupq_n_s32(0); N];
    for c in 0..N {
        let behind = BLOCK_ROWS * N - 1 - (ROW * N + c);
        let quad: int32x4_t = bytemuck::must_cast(quads[quads.len() - 1 - behind / 4]);
        let quad = vshlq_s32(quad, vdupq_n_s32(SHIFT));
        s[c] = match behind % 4 {
            0 => vdupq_laneq_s32::<3>(quad),
            1 => vdupq_laneq_s32::<2>(quad),
            2 => vdupq_laneq_s32::<1>(quad),
            _ => vdupq_laneq_s32::<0>(quad),
        };
    }
    s
}

/// `acc = fma(s, scale·d, acc)`.
#[target_feature(enable = "neon")]
#[inline]
fn add_scaled<const N: usize>(
    s: [int32x4_t; N],
    scale: float32x4_t,
    x: &Int8Block<N>,
    acc: &mut [float32x4_t; N],
) {
    for c in 0..N {
        let scale = vmulq_n_f32(scale, f32::from_bits(x[SCALE][c]));
        acc[c] = vfmaq_f32(acc[c], vcvtq_f32_s32(s[c]), scale);
    }
}

/// `acc = fma(−min, d·Σq, acc)`.
#[target_feature(enable = "neon")]
#[inline]
fn subtract_min<const N: usize>(min: float32x4_t, x: &Int8Block<N>, acc: &mut [float32x4_t; N]) {
    for c in 0..N {
        acc[c] = vfmsq_n_f32(acc[c], min, f32::from_bits(x[SCALED_SUM][c]));
    }
}

/// `acc = fma(m, d·Σq, acc)`.
#[target_feature(enable = "neon")]
#[inline]
fn add_min<const N: usize>(m: float32x4_t, x: &Int8Block<N>, acc: &mut [float32x4_t; N]) {
    for c in 0..N {
        acc[c] = vfmaq_n_f32(acc[c], m, f32::from_bits(x[SCALED_SUM][c]));
    }
}

/// The low nibbles, without sign.
#[target_feature(enable = "neon")]
#[inline]
fn low_nibbles(bytes: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)))
}

/// The high nibbles, without sign.
#[target_feature(enable = "neon")]
#[inline]
fn high_nibbles(bytes: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes))
}

#[target_feature(enable = "neon")]
#[inline]
fn load(bytes: &[u8; 16]) -> uint8x16_t {
    bytemuck::must_cast(*bytes)
}

/// The f16 of four rows.
#[target_feature(enable = "neon")]
#[inline]
fn load_f16(bytes: &[u8; 8]) -> float32x4_t {
    vcvt_f32_f16(vreinterpret_f16_u8(bytemuck::must_cast(*bytes)))
}

#[target_feature(enable = "neon")]
#[inline]
fn store(out: &mut [f32], values: [float32x4_t; 2]) {
    out[..8].copy_from_slice(&bytemuck::must_cast::<_, [f32; 8]>(values));
}
