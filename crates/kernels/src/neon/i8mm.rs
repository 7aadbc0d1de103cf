//! The matrix product of Armv8.6: `smmla` multiplies two rows with two columns, eight weights each.
//!
//! ```text
//! packed   w[g]: row 0, row 1, row 2, row 3   four weights each, as sdot wants them
//!          a = zip1(w[g], w[g + 1])           rows 0 and 1, eight weights each
//!          b = zip2(w[g], w[g + 1])           rows 2 and 3
//! s[2p]    = smmla(s[2p],     a, x[p])        [row 0, row 1] x [column 2p, column 2p + 1]
//! s[2p+1]  = smmla(s[2p + 1], b, x[p])        [row 2, row 3] x the same
//! ```
//!
//! Sums and accumulators stay such tiles until a row ends: scales are spread over them instead. An
//! odd last column has a neighbour of zeros. The columns are brought into this order once for all
//! groups of a call, [`TILES`] blocks at a time; the accumulators wait in `out` meanwhile. A single
//! column has no use for tiles and takes `dotprod`.
//!
//! The bounds of the sums are those of `dotprod`: the same products are added.

use std::arch::aarch64::*;

use super::dot::smmla;
use super::lanes::{F, S, W, store};
use super::{Int8, dotprod, float};
use crate::activations::{BLOCK_ROWS, Int8Block, SCALE, int8_blocks};
use crate::{Columns, GROUP_ROWS, Weights};

macro_rules! kernels {
    ($($function:item)+) => { $(#[target_feature(enable = "neon,dotprod,i8mm")] $function)+ };
}

#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[path = "kernels/mod.rs"]
mod kernels;

pub(crate) use super::quantize;

/// Blocks of 32 weights whose activations are tiles at a time: they fit the first cache.
const TILES: usize = 16;

/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    let Columns::Int8 { columns, data, .. } = x else { return float::matmul(w, groups, x, out) };
    let int8 = Int8 { columns, data };
    match columns {
        1 => dotprod::matmul(w, groups, x, out),
        2 => kernels::matmul::<2>(w, groups, int8, out),
        3 | 4 => kernels::matmul::<4>(w, groups, int8, out),
        5 | 6 => kernels::matmul::<6>(w, groups, int8, out),
        _ => kernels::matmul::<8>(w, groups, int8, out),
    }
}

/// The activations of 32 weights and `N` columns, an even number.
#[derive(Clone, Copy)]
struct X<const N: usize> {
    /// `q[h][N/2 · i + p]`: values `16h + 8i ..` of columns `2p` and `2p + 1`.
    q: [[[u32; 4]; N]; 2],
    /// The rows of the block from [`SCALE`] on; register `p` is columns 2p, 2p + 1, 2p, 2p + 1.
    rows: [[[u32; 2]; N]; BLOCK_ROWS - SCALE],
}

impl<const N: usize> X<N> {
    const ZERO: Self = Self { q: [[[0; 4]; N]; 2], rows: [[[0; 2]; N]; BLOCK_ROWS - SCALE] };

    #[target_feature(enable = "neon")]
    #[inline]
    fn new(block: &Int8Block<N>) -> Self {
        let mut x = Self::ZERO;
        for (i, [first, second]) in block[..SCALE].as_chunks::<2>().0.iter().enumerate() {
            let pairs = first.as_chunks::<2>().0.iter().zip(second.as_chunks::<2>().0);
            for (p, ([a, b], [c, d])) in pairs.enumerate() {
                x.q[i / 2][i % 2 * (N / 2) + p] = [*a, *c, *b, *d];
            }
        }
        for (twice, row) in x.rows.iter_mut().zip(&block[SCALE..]) {
            for (twice, pair) in twice.as_chunks_mut::<2>().0.iter_mut().zip(row.as_chunks().0) {
                *twice = [*pair; 2];
            }
        }
        x
    }
}

/// Walks the groups and their blocks as the `for_blocks` of `kernels/rows.rs` does.
#[target_feature(enable = "neon,dotprod,i8mm")]
#[inline]
fn for_blocks<B: bytemuck::Pod, const PER: usize, const N: usize>(
    groups: &[u8],
    Int8 { columns, data }: Int8<'_>,
    out: &mut [f32],
    step: impl Fn(&B, usize, &[X<N>; PER], &mut [F; N]),
) {
    let stride = out.len() / columns;
    let blocks = bytemuck::cast_slice::<u8, B>(groups);
    let in_row = data.len() / (PER * BLOCK_ROWS * columns);
    let mut tiles = [X::ZERO; TILES];
    let parts = data.chunks(TILES * BLOCK_ROWS * columns);
    for (from, data) in (0..in_row).step_by(TILES / PER).zip(parts) {
        let count = fill(&mut tiles, columns, data);
        let x = tiles[..count].as_chunks::<PER>().0;
        for (g, blocks) in blocks.chunks_exact(in_row).enumerate() {
            let out = &mut out[g * GROUP_ROWS..];
            let mut acc = [[vdupq_n_f32(0.0); N]; 2];
            if from > 0 {
                acc = [load_tiles(out, stride, columns), load_tiles(&out[4..], stride, columns)];
            }
            for (block, x) in blocks[from..].iter().zip(x) {
                for half in 0..2 {
                    step(block, half, x, &mut acc[half]);
                }
            }
            store_tiles(out, stride, columns, acc[0]);
            store_tiles(&mut out[4..], stride, columns, acc[1]);
        }
    }
}

/// Brings blocks of `N` or `N − 1` columns into tiles; returns their number.
#[target_feature(enable = "neon")]
#[inline]
fn fill<const N: usize>(tiles: &mut [X<N>; TILES], columns: usize, data: &[u32]) -> usize {
    if columns == N {
        let blocks = int8_blocks::<N>(data);
        for (tile, block) in tiles.iter_mut().zip(blocks) {
            *tile = X::new(block);
        }
        return blocks.len();
    }
    let blocks = data.chunks_exact(BLOCK_ROWS * (N - 1));
    let count = blocks.len();
    for (tile, block) in tiles.iter_mut().zip(blocks) {
        let mut padded = [[0; N]; BLOCK_ROWS];
        for (row, values) in padded.iter_mut().zip(block.chunks_exact(N - 1)) {
            row[..N - 1].copy_from_slice(values);
        }
        *tile = X::new(&padded);
    }
    count
}

/// Four rows of all columns; the inverse of [`store_tiles`].
#[target_feature(enable = "neon")]
#[inline]
fn load_tiles<const N: usize>(out: &[f32], stride: usize, columns: usize) -> [F; N] {
    let mut acc = [vdupq_n_f32(0.0); N];
    for p in 0..N / 2 {
        let column = |c: usize| -> F {
            bytemuck::must_cast(*out[c * stride..].first_chunk::<4>().expect("four rows"))
        };
        let (even, odd) = (column(2 * p), column((2 * p + 1).min(columns - 1)));
        acc[2 * p] = vzip1q_f32(even, odd);
        acc[2 * p + 1] = vzip2q_f32(even, odd);
    }
    acc
}

#[target_feature(enable = "neon")]
#[inline]
fn store_tiles<const N: usize>(out: &mut [f32], stride: usize, columns: usize, acc: [F; N]) {
    for p in 0..N / 2 {
        store(&mut out[2 * p * stride..], vuzp1q_f32(acc[2 * p], acc[2 * p + 1]));
        if 2 * p + 1 < columns {
            store(&mut out[(2 * p + 1) * stride..], vuzp2q_f32(acc[2 * p], acc[2 * p + 1]));
        }
    }
}

#[inline(always)]
fn halves<const N: usize>(x: &X<N>) -> &[[[u32; 4]; N]] {
    &x.q
}

/// What row `row` of the block has for the columns of register `i`.
#[target_feature(enable = "neon")]
#[inline]
fn row<const N: usize>(x: &X<N>, row: usize, i: usize) -> uint32x4_t {
    bytemuck::must_cast(x.rows[row - SCALE].as_chunks::<2>().0[i / 2])
}

/// A value of each of four rows, as even and as odd registers want them.
#[target_feature(enable = "neon")]
#[inline]
fn spread(rows: F) -> [F; 2] {
    [vzip1q_f32(rows, rows), vzip2q_f32(rows, rows)]
}

/// Adds the products of signed weights; see `neon/mod.rs`.
#[target_feature(enable = "neon,dotprod,i8mm")]
#[inline]
fn products<const MAX: usize, const LEN: usize, const N: usize>(
    mut sums: [S; N],
    x: &[[[u32; 4]; N]],
    w: impl Fn(usize) -> W,
) -> [S; N] {
    super::for_steps!(LEN, i => {
        let (w, second) = (vreinterpretq_s32_s8(w(i)), vreinterpretq_s32_s8(w(i + 1)));
        let first_rows = vreinterpretq_s8_s32(vzip1q_s32(w, second));
        let last_rows = vreinterpretq_s8_s32(vzip2q_s32(w, second));
        for p in 0..N / 2 {
            let columns = bytemuck::must_cast(x[i / 4][i / 2 % 2 * (N / 2) + p]);
            sums[2 * p] = smmla(sums[2 * p], first_rows, columns);
            sums[2 * p + 1] = smmla(sums[2 * p + 1], last_rows, columns);
        }
    });
    sums
}
