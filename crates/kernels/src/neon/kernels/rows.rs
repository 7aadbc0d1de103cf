//! One register for four rows of one column: the walk over blocks where activations stay as they
//! are.

use std::arch::aarch64::*;

use super::Int8Block;
use super::kernels;
use crate::activations::{SCALE, int8_blocks};
use crate::isa::for_columns;
use crate::neon::lanes::{F, store};
use crate::neon::{Int8, float};
use crate::{Columns, GROUP_ROWS, Weights};

/// The activations of 32 weights.
pub(super) type X<const N: usize> = Int8Block<N>;

kernels! {
/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    let stride = out.len() / x.columns();
    x.for_groups(out, stride, |x, out| match x {
        Columns::Int8 { columns, data, .. } => {
            let int8 = Int8 { columns, data };
            for_columns!(columns, kernels::matmul(w, groups, int8, out));
        }
        Columns::F32 { .. } => float::matmul(w, groups, x, out),
    });
}

/// Walks the groups and their blocks; `step` adds the products of rows 0–3 (half 0) or 4–7 (half 1)
/// of one block to the accumulators.
///
/// `B` is a packed block of `PER` times 32 weights.
#[inline]
pub(super) fn for_blocks<B: bytemuck::Pod, const PER: usize, const N: usize>(
    groups: &[u8],
    x: Int8<'_>,
    out: &mut [f32],
    step: impl Fn(&B, usize, &[X<N>; PER], &mut [F; N]),
) {
    let stride = out.len() / N;
    let x = int8_blocks::<N>(x.data).as_chunks::<PER>().0;
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
}

/// The 8-bit values of the first and of the last 16 weights.
#[inline(always)]
pub(super) fn halves<const N: usize>(x: &X<N>) -> &[[[u32; 4]; N]] {
    bytemuck::must_cast_slice::<_, u32>(&x[..SCALE]).as_chunks::<4>().0.as_chunks::<N>().0
}

/// What row `row` of the block has for the column of register `i`.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn row<const N: usize>(x: &X<N>, row: usize, i: usize) -> uint32x4_t {
    // Counted from the end, whole registers never reach beyond the block.
    let quads = bytemuck::must_cast_slice::<_, u32>(x).as_rchunks::<4>().1;
    let behind = x.len() * N - 1 - (row * N + i);
    let quad = bytemuck::must_cast(quads[quads.len() - 1 - behind / 4]);
    match behind % 4 {
        0 => vdupq_laneq_u32::<3>(quad),
        1 => vdupq_laneq_u32::<2>(quad),
        2 => vdupq_laneq_u32::<1>(quad),
        _ => vdupq_laneq_u32::<0>(quad),
    }
}

/// A value of each of four rows, as even and as odd registers want them.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn spread(rows: F) -> [F; 2] {
    [rows; 2]
}
