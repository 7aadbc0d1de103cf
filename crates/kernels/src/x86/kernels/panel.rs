//! Products with many columns: a panel holds weights that are unpacked once for all columns.
//!
//! Unpacked weights are bytes in the order of multiplication, the same for every format:
//!
//! ```text
//! panel    w[8][VECTORS]  scale[S][VECTORS]  min[M][VECTORS]     32 weights of a tile's rows
//! slab     panels of SLAB · 32 weights of up to ROWS_MAX rows, which fit the L1 and L2 caches
//! ```
//!
//! Each slab is multiplied with all columns before the next one is unpacked. A tile has `VECTORS`
//! vectors of rows and `TILE_COLUMNS` columns, chosen by the instruction set so that its sums stay
//! in registers. `out` keeps the accumulators between slabs. Each accumulator adds blocks in order
//! of `k`, so the result has the same bits as a product with few columns.

use std::ops::Range;

use super::super::lanes::*;
use super::super::{TILE_COLUMNS, VECTORS, tile_products};
use super::{
    GROUP_COLUMNS, GROUP_ROWS, HALF_SUMS, Int8Block, Prefetch, SUM, Scales, add_sum, offset,
};

/// 32 weights of each row of a tile, unpacked.
#[derive(Clone, Copy)]
pub(super) struct Panel<const S: usize, const M: usize> {
    /// Weights `4g ..` of the rows of each vector.
    w: [[V; VECTORS]; 8],
    scale: [[F; VECTORS]; S],
    min: [[F; VECTORS]; M],
}

/// Rows of a vector and of a tile.
const VECTOR_ROWS: usize = GROUPS * GROUP_ROWS;
const TILE_ROWS: usize = VECTORS * VECTOR_ROWS;
/// Rows of a slab.
const ROWS_MAX: usize = 64;
/// Blocks of 32 weights in a slab: whole blocks of any format.
const SLAB: usize = 16;

kernels! {
/// Multiplies the row groups `groups` with groups of eight columns, `x` of the shape
/// `[columns / 8][in_row]`, into `out`, `[columns][rows of the groups]`.
///
/// `unpack` fills vector `m` of the `PER` panels of one block, 32 weights each.
#[inline]
pub(super) fn multiply<
    B: bytemuck::Pod,
    const PER: usize,
    const MAX: usize,
    const OFFSET: usize,
    const S: usize,
    const M: usize,
>(
    groups: &[u8],
    in_row: usize,
    x: &[Int8Block<GROUP_COLUMNS>],
    out: &mut [f32],
    unpack: impl Fn([&B; GROUPS], &mut [Panel<S, M>; PER], usize),
) {
    let blocks = bytemuck::cast_slice::<u8, B>(groups);
    let per_row = in_row / PER;
    let stride = blocks.len() / per_row * GROUP_ROWS;
    let none = [splat_f32(0); VECTORS];
    let empty = Panel { w: [[splat(0); VECTORS]; 8], scale: [none; S], min: [none; M] };
    let mut tiles = [[empty; SLAB]; ROWS_MAX / TILE_ROWS];
    for first_row in (0..stride).step_by(ROWS_MAX) {
        let rows = ROWS_MAX.min(stride - first_row);
        let tiles = &mut tiles[..rows.div_ceil(TILE_ROWS)];
        let blocks = &blocks[first_row / GROUP_ROWS * per_row..][..rows / GROUP_ROWS * per_row];
        for from in (0..in_row).step_by(SLAB) {
            let slab = SLAB.min(in_row - from);
            unpack_slab::<B, PER, S, M>(blocks, per_row, from / PER..(from + slab) / PER, tiles, &unpack);
            for (x, out) in x.chunks_exact(in_row).zip(out.chunks_exact_mut(GROUP_COLUMNS * stride)) {
                let x = &x[from..][..slab];
                for (t, tile) in tiles.iter().enumerate() {
                    let (at, is_first) = (first_row + t * TILE_ROWS, from == 0);
                    add_tile::<MAX, OFFSET, S, M, 0>(&tile[..slab], x, is_first, out, stride, at);
                    if TILE_COLUMNS < GROUP_COLUMNS {
                        add_tile::<MAX, OFFSET, S, M, 1>(&tile[..slab], x, is_first, out, stride, at);
                    }
                }
            }
        }
    }
}

/// Unpacks the blocks `range` of each row, and prefetches weights of later slabs, which arrive
/// while this slab is multiplied. Where the rows end within a tile, the last group fills the
/// missing rows.
#[inline]
fn unpack_slab<B: bytemuck::Pod, const PER: usize, const S: usize, const M: usize>(
    blocks: &[B],
    per_row: usize,
    range: Range<usize>,
    tiles: &mut [[Panel<S, M>; SLAB]],
    unpack: impl Fn([&B; GROUPS], &mut [Panel<S, M>; PER], usize),
) {
    let last = blocks.len() / per_row - 1;
    let ahead = Prefetch::of_this_core().ahead(ROWS_MAX);
    for (t, tile) in tiles.iter_mut().enumerate() {
        for m in 0..VECTORS {
            let first = (t * VECTORS + m) * GROUPS;
            let mut groups = [&blocks[last.min(first) * per_row..][range.clone()]; GROUPS];
            groups[GROUPS - 1] =
                &blocks[last.min(first + GROUPS - 1) * per_row..][range.clone()];
            for (b, panels) in tile.as_chunks_mut::<PER>().0.iter_mut().take(range.len()).enumerate() {
                let block = per_group!(groups => &groups[b]);
                block.iter().for_each(|block| ahead.prefetch(bytemuck::bytes_of(*block)));
                unpack(block, panels, m);
            }
        }
    }
}

/// Stores unpacked weights and their scales as vector `m` of `panel`.
#[inline]
pub(super) fn set<const S: usize, const M: usize>(
    panel: &mut Panel<S, M>,
    m: usize,
    w: [V; 8],
    scales: Scales<S, M>,
) {
    for g in 0..8 {
        panel.w[g][m] = w[g];
    }
    for i in 0..S {
        panel.scale[i][m] = scales.scale[i];
    }
    for i in 0..M {
        panel.min[i][m] = scales.min[i];
    }
}

/// Adds the products of the rows of a tile, which begins at row `at`, with `TILE_COLUMNS` columns
/// to `out`. The columns are the first of the group (`PART = 0`) or the second (`PART = 1`).
#[inline]
fn add_tile<const MAX: usize, const OFFSET: usize, const S: usize, const M: usize, const PART: usize>(
    panels: &[Panel<S, M>],
    x: &[Int8Block<GROUP_COLUMNS>],
    is_first: bool,
    out: &mut [f32],
    stride: usize,
    at: usize,
) {
    let out = &mut out[PART * TILE_COLUMNS * stride + at..];
    if at + TILE_ROWS <= stride {
        return add_whole_tile::<MAX, OFFSET, S, M, PART>(panels, x, is_first, out, stride);
    }
    let rows = stride - at;
    let mut whole = [0.0; TILE_COLUMNS * TILE_ROWS];
    for c in 0..TILE_COLUMNS {
        whole[c * TILE_ROWS..][..rows].copy_from_slice(&out[c * stride..][..rows]);
    }
    add_whole_tile::<MAX, OFFSET, S, M, PART>(panels, x, is_first, &mut whole, TILE_ROWS);
    for c in 0..TILE_COLUMNS {
        out[c * stride..][..rows].copy_from_slice(&whole[c * TILE_ROWS..][..rows]);
    }
}

/// [`add_tile`] where `out` begins at the tile's first row and has all rows of the tile.
#[inline(never)]
fn add_whole_tile<
    const MAX: usize,
    const OFFSET: usize,
    const S: usize,
    const M: usize,
    const PART: usize,
>(
    panels: &[Panel<S, M>],
    x: &[Int8Block<GROUP_COLUMNS>],
    is_first: bool,
    out: &mut [f32],
    stride: usize,
) {
    let mut acc = [[splat_f32(0); TILE_COLUMNS]; VECTORS];
    if !is_first {
        for c in 0..TILE_COLUMNS {
            let out = &out[c * stride..][..TILE_ROWS];
            for m in 0..VECTORS {
                acc[m][c] = load_f32(&out[m * VECTOR_ROWS..][..VECTOR_ROWS]);
            }
        }
    }
    for (panel, x) in panels.iter().zip(x) {
        let mut add = |half: usize, m: usize, c: usize, sum: V| {
            let (scale, min) = (panel.scale[half][m], panel.min.get(half).map(|min| min[m]));
            add_sum::<S, M, _>(sum, scale, min, x, half, c, &mut acc[m][c % TILE_COLUMNS]);
        };
        if S == 1 {
            let start = |c: usize| offset::<OFFSET>(x[SUM][c]);
            let four = |i: usize| (panel.w[i], &x[i]);
            tile_products::<MAX, 8, PART>(start, four, |m, c, sum| add(0, m, c, sum));
            continue;
        }
        for half in 0..2 {
            let start = |c: usize| offset::<OFFSET>(x[HALF_SUMS[half]][c]);
            let four = |i: usize| (panel.w[4 * half + i], &x[4 * half + i]);
            tile_products::<MAX, 4, PART>(start, four, |m, c, sum| add(half, m, c, sum));
        }
    }
    for c in 0..TILE_COLUMNS {
        let out = &mut out[c * stride..][..TILE_ROWS];
        for m in 0..VECTORS {
            store(&mut out[m * VECTOR_ROWS..][..VECTOR_ROWS], acc[m][c]);
        }
    }
}
}
