//! F16 and BF16 weights with many columns: a slab holds weights that are widened once for all
//! columns.
//!
//! ```text
//! tile     [STEPS][VECTORS]      f32 weights of a tile's rows
//! slab     tiles of up to ROWS_MAX rows, which fit the L1 cache
//! ```
//!
//! Each slab is multiplied with all columns before the next one is widened, and `out` keeps the
//! sums between slabs. Each sum is `acc = fma(w[k], x[k], acc)` in order of `k`, so the result has
//! the same bits as a product with few columns (`x86/float.rs`).

use std::array;
use std::ops::Range;

use super::super::lanes::*;
use super::{GROUP_ROWS, Prefetch};

/// Weights of each row that are widened at a time.
const STEPS: usize = 64;
/// Vectors of rows of a tile, and columns. Their sums stay in registers. There are eight or more,
/// so that two units which each take four cycles always have one to add to. AVX-512 has twice the
/// registers.
const VECTORS: usize = 2;
pub(super) const COLUMNS: usize = 4 * GROUPS;
/// Rows of a vector, of a tile and of a slab.
const VECTOR_ROWS: usize = GROUPS * GROUP_ROWS;
const TILE_ROWS: usize = VECTORS * VECTOR_ROWS;
const ROWS_MAX: usize = 64;

/// Weights of the rows of a tile, one of each row after the other.
type Tile = [[F; VECTORS]; STEPS];
/// A weight of eight rows.
type Eight = [u8; 2 * GROUP_ROWS];

kernels! {
/// Multiplies the row groups `groups` with columns `x`, `[columns][k]`, a multiple of [`COLUMNS`],
/// into `out`, `[columns][rows of the groups]`. `widen` turns one weight of each row to f32.
#[inline]
pub(super) fn multiply(
    groups: &[u8],
    k: usize,
    x: &[f32],
    out: &mut [f32],
    widen: impl Fn([&Eight; GROUPS]) -> F,
) {
    let groups = groups.as_chunks::<{ 2 * GROUP_ROWS }>().0; // [groups][k]
    let stride = groups.len() / k * GROUP_ROWS;
    let mut tiles = [[[splat_f32(0); VECTORS]; STEPS]; ROWS_MAX / TILE_ROWS];
    for first_row in (0..stride).step_by(ROWS_MAX) {
        let rows = ROWS_MAX.min(stride - first_row);
        let tiles = &mut tiles[..rows.div_ceil(TILE_ROWS)];
        let groups = &groups[first_row / GROUP_ROWS * k..][..rows / GROUP_ROWS * k];
        for from in (0..k).step_by(STEPS) {
            let steps = from..(from + STEPS).min(k);
            widen_slab(groups, k, steps.clone(), tiles, &widen);
            for (x, out) in x.chunks_exact(COLUMNS * k).zip(out.chunks_exact_mut(COLUMNS * stride)) {
                let x: [&[f32]; COLUMNS] = array::from_fn(|c| &x[c * k..][steps.clone()]);
                for (t, tile) in tiles.iter().enumerate() {
                    add_tile(&tile[..steps.len()], x, from == 0, out, stride, first_row + t * TILE_ROWS);
                }
            }
        }
    }
}

/// Widens the weights `steps` of each row, and prefetches those of later slabs. Where the rows end
/// within a tile, the last group fills the missing rows.
#[inline]
fn widen_slab(
    groups: &[Eight],
    k: usize,
    steps: Range<usize>,
    tiles: &mut [Tile],
    widen: impl Fn([&Eight; GROUPS]) -> F,
) {
    let last = groups.len() / k - 1;
    let ahead = Prefetch::of_this_core().ahead(ROWS_MAX);
    for (t, tile) in tiles.iter_mut().enumerate() {
        for m in 0..VECTORS {
            let first = (t * VECTORS + m) * GROUPS;
            let groups: [&[Eight]; GROUPS] =
                array::from_fn(|g| &groups[last.min(first + g) * k..][steps.clone()]);
            for group in groups {
                ahead.prefetch(group.as_flattened());
            }
            for (i, tile) in tile.iter_mut().enumerate().take(steps.len()) {
                // No `map`: the compiler may leave its closure outside of what has the
                // instruction set.
                let mut weights = [&groups[0][i]; GROUPS];
                for g in 0..GROUPS {
                    weights[g] = &groups[g][i];
                }
                tile[m] = widen(weights);
            }
        }
    }
}

/// Adds the products of the rows of a tile, which begins at row `at`, to `out`.
#[inline]
fn add_tile(
    tile: &[[F; VECTORS]],
    x: [&[f32]; COLUMNS],
    is_first: bool,
    out: &mut [f32],
    stride: usize,
    at: usize,
) {
    let out = &mut out[at..];
    if at + TILE_ROWS <= stride {
        return add_whole_tile(tile, x, is_first, out, stride);
    }
    let rows = stride - at;
    let mut whole = [0.0; COLUMNS * TILE_ROWS];
    for c in 0..COLUMNS {
        whole[c * TILE_ROWS..][..rows].copy_from_slice(&out[c * stride..][..rows]);
    }
    add_whole_tile(tile, x, is_first, &mut whole, TILE_ROWS);
    for c in 0..COLUMNS {
        out[c * stride..][..rows].copy_from_slice(&whole[c * TILE_ROWS..][..rows]);
    }
}

/// [`add_tile`] where `out` begins at the tile's first row and has all rows of the tile.
#[inline(never)]
fn add_whole_tile(
    tile: &[[F; VECTORS]],
    x: [&[f32]; COLUMNS],
    is_first: bool,
    out: &mut [f32],
    stride: usize,
) {
    let mut acc = [[splat_f32(0); COLUMNS]; VECTORS];
    if !is_first {
        for c in 0..COLUMNS {
            let out = &out[c * stride..][..TILE_ROWS];
            for m in 0..VECTORS {
                acc[m][c] = load_f32(&out[m * VECTOR_ROWS..][..VECTOR_ROWS]);
            }
        }
    }
    // A length that the compiler knows needs no checks within.
    match tile.first_chunk::<STEPS>() {
        Some(tile) => add_steps(tile, x, &mut acc),
        None => add_steps(tile, x, &mut acc),
    }
    for c in 0..COLUMNS {
        let out = &mut out[c * stride..][..TILE_ROWS];
        for m in 0..VECTORS {
            store(&mut out[m * VECTOR_ROWS..][..VECTOR_ROWS], acc[m][c]);
        }
    }
}
#[inline]
fn add_steps(
    tile: &[[F; VECTORS]],
    mut x: [&[f32]; COLUMNS],
    acc: &mut [[F; COLUMNS]; VECTORS],
) {
    for c in 0..COLUMNS {
        x[c] = &x[c][..tile.len()];
    }
    for (i, w) in tile.iter().enumerate() {
        for c in 0..COLUMNS {
            let x = splat_f32(x[c][i].to_bits());
            for m in 0..VECTORS {
                acc[m][c] = mul_add(w[m], x, acc[m][c]);
            }
        }
    }
}
}
