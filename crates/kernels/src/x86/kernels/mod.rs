//! The kernels, written once and compiled for each instruction set that includes this file.
//!
//! What includes it names its vectors in `super::lanes`, its integer sums in `super::products` and
//! its target features in `kernels!`, which puts them before each function. (rustfmt does not look
//! into that macro.)

use super::lanes::*;
use crate::activations::int8_blocks;
use crate::isa::for_columns;
use crate::{Columns, Format, GROUP_ROWS, Weights, isa, scalar, x86::float};

mod iq4;
mod k;
mod simple;

kernels! {
/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    for_columns!(x.columns(), matmul_n(w, groups, x, out));
}

pub(crate) fn matmul_n<const N: usize>(
    w: &Weights<'_>,
    groups: &[u8],
    x: Columns<'_>,
    out: &mut [f32],
) {
    match x {
        Columns::Int8 { data, .. } => {
            let blocks = int8_blocks::<N>(data);
            match w.format() {
                Format::Q4_0 => simple::q4_0(groups, blocks, out),
                Format::Q4_1 => simple::q4_1(groups, blocks, out),
                Format::Q5_0 => simple::q5_0(groups, blocks, out),
                Format::Q5_1 => simple::q5_1(groups, blocks, out),
                Format::Q8_0 => simple::q8_0(groups, blocks, out),
                Format::Q2_K => k::q2_k(groups, blocks, out),
                Format::Q3_K => k::q3_k(groups, blocks, out),
                Format::Q4_K => k::q4_k(groups, blocks, out),
                Format::Q5_K => k::q5_k(groups, blocks, out),
                Format::Q6_K => k::q6_k(groups, blocks, out),
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

/// Walks the groups and their blocks; `step` adds one block's products to the accumulators.
///
/// `B` is a packed block, `X` the activations of as many weights. Where a vector has two groups of
/// rows, an odd last group stands in both halves and is stored once.
#[inline]
fn for_blocks<B: bytemuck::Pod, X, const N: usize>(
    groups: &[u8],
    x: &[X],
    out: &mut [f32],
    step: impl Fn([&B; GROUPS], &X, &mut [F; N]),
) {
    let stride = out.len() / N;
    let blocks = bytemuck::cast_slice::<u8, B>(groups);
    for (i, blocks) in blocks.chunks(GROUPS * x.len()).enumerate() {
        let groups: [&[B]; GROUPS] =
            std::array::from_fn(|g| &blocks[(g * x.len()) % blocks.len()..][..x.len()]);
        let mut acc = [splat_f32(0); N];
        for (b, x) in x.iter().enumerate() {
            let block = groups.map(|group| &group[b]);
            step(block, x, &mut acc);
        }
        for c in 0..N {
            store(&mut out[c * stride + i * GROUPS * GROUP_ROWS..(c + 1) * stride], acc[c]);
        }
    }
}

/// Asks for one of the `PARTS` parts of what lies behind `block`.
///
/// Spread over the work on a block, since a burst of requests would stop at the core's limit of
/// outstanding ones.
#[inline]
fn prefetch<B: bytemuck::Pod, const PARTS: usize, const N: usize>(block: [&B; GROUPS], part: usize) {
    if N <= PREFETCH_COLUMNS {
        let size = size_of::<B>() / PARTS;
        for block in block {
            isa::prefetch(&bytemuck::bytes_of(block)[part * size..][..size]);
        }
    }
}

/// `−8·2^SHIFT · Σq`: a sum at its start, where unsigned weights are too large by that offset. `sum`
/// is the column's `−8 · Σq`.
#[inline]
fn offset<const SHIFT: u32>(sum: u32) -> V {
    let sum = splat(sum);
    match SHIFT {
        0 => sum,
        1 => shl::<1>(sum),
        2 => shl::<2>(sum),
        _ => shl::<4>(sum),
    }
}

/// `acc = fma(sum, scale·d, acc)`, for one column.
#[inline]
fn add_scaled(sum: V, scale: F, d: u32, acc: &mut F) {
    *acc = mul_add(to_f32(sum), mul(scale, splat_f32(d)), *acc);
}

/// `acc = fma(−min, d·Σq, acc)`, for one column.
#[inline]
fn subtract_min(min: F, scaled_sum: u32, acc: &mut F) {
    *acc = mul_sub_from(min, splat_f32(scaled_sum), *acc);
}

/// The nibbles, low or high.
#[inline]
fn nibbles<const HIGH: bool>(bytes: V) -> V {
    and(if HIGH { shr::<4>(bytes) } else { bytes }, splat_byte(15))
}
}

/// The most columns for which memory, not arithmetic, is the limit.
const PREFETCH_COLUMNS: usize = 4;
