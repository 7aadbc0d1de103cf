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
//! groups of a call, [`TILES`] blocks at a time; the accumulators wait in `out` meanwhile. Up to
//! three columns take `dotprod`, which needs fewer instructions for them (the table in
//! `neon/mod.rs`).
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
pub(crate) use super::widen::{scale_int8, widen_f16};

/// Blocks of 32 weights whose activations are tiles at a time: they fit the first cache.
const TILES: usize = 32;

/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    let stride = out.len() / x.columns();
    x.for_groups(out, stride, |x, out| {
        let Columns::Int8 { columns, data, .. } = x else {
            return float::matmul(w, groups, x, out);
        };
        let int8 = Int8 { columns, data };
        match columns {
            1..=3 => dotprod::matmul(w, groups, x, out),
            4 => kernels::matmul::<4>(w, groups, int8, out),
            5 | 6 => kernels::matmul::<6>(w, groups, int8, out),
            _ => kernels::matmul::<8>(w, groups, int8, out),
        }
    });
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
    fn set(&mut self, block: &Int8Block<N>) {
        let pair = |row: usize, p: usize| -> uint32x2_t {
            bytemuck::must_cast(block[row].as_chunks::<2>().0[p])
        };
        for p in 0..N / 2 {
            for i in 0..4 {
                let (a, b) = (pair(2 * i, p), pair(2 * i + 1, p));
                let q = vcombine_u32(vzip1_u32(a, b), vzip2_u32(a, b));
                self.q[i / 2][i % 2 * (N / 2) + p] = bytemuck::must_cast(q);
            }
            for (i, row) in self.rows.iter_mut().enumerate() {
                let pair = pair(SCALE + i, p);
                row.as_chunks_mut::<2>().0[p] = bytemuck::must_cast(vcombine_u32(pair, pair));
            }
        }
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
                load_tiles(out, stride, columns, &mut acc);
            }
            for (block, x) in blocks[from..].iter().zip(x) {
                for half in 0..2 {
                    // Unless it is told not to, the compiler loads the activations once for both
                    // halves, and has no registers for them: the stack is no better than tiles.
                    let x = if N > 4 { std::hint::black_box(x) } else { x };
                    step(block, half, x, &mut acc[half]);
                }
            }
            store_tiles(out, stride, columns, &acc);
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
            tile.set(block);
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
        tile.set(&padded);
    }
    count
}

/// The accumulators of a group that [`store_tiles`] put aside.
#[target_feature(enable = "neon")]
#[inline]
fn load_tiles<const N: usize>(out: &[f32], stride: usize, columns: usize, acc: &mut [[F; N]; 2]) {
    for p in 0..N / 2 {
        let even: [F; 2] = bytemuck::must_cast(rows(out, 2 * p * stride));
        let mut odd = even; // the neighbour of a last column does not matter
        if 2 * p + 1 < columns {
            odd = bytemuck::must_cast(rows(out, (2 * p + 1) * stride));
        }
        for half in 0..2 {
            acc[half][2 * p] = vzip1q_f32(even[half], odd[half]);
            acc[half][2 * p + 1] = vzip2q_f32(even[half], odd[half]);
        }
    }
}

/// The eight rows of a column that begin at `at`.
#[inline(always)]
fn rows(out: &[f32], at: usize) -> [f32; GROUP_ROWS] {
    out[at..at + GROUP_ROWS].as_chunks().0[0]
}

#[target_feature(enable = "neon")]
#[inline]
fn store_tiles<const N: usize>(
    out: &mut [f32],
    stride: usize,
    columns: usize,
    [top, bottom]: &[[F; N]; 2],
) {
    for p in 0..N / 2 {
        let (i, j) = (2 * p, 2 * p + 1);
        let even = [vuzp1q_f32(top[i], top[j]), vuzp1q_f32(bottom[i], bottom[j])];
        store(&mut out[i * stride..], even);
        if j < columns {
            let odd = [vuzp2q_f32(top[i], top[j]), vuzp2q_f32(bottom[i], bottom[j])];
            store(&mut out[j * stride..], odd);
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
