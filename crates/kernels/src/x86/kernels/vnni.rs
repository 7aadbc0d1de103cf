//! Sums of products by `dpbusd`: four products of unsigned and signed bytes, added to an i32.
//!
//! ```text
//! s  = −offset·Σq
//! s  = dpbusd(s, w[g], broadcast(q[g]))       g = 0..8; four products in each i32 lane
//! ```
//!
//! It is the form that wraps, never `dpbusds` that saturates, and nothing wraps: with |q| <= 127
//! and unsigned weights up to 255 a sum of 32 products is at most `32·255·127`, the offset 128 at
//! most `32·128·127`, together below 2²¹.

use super::{TILE_COLUMNS, VECTORS, dpbusd, lanes::*};
use crate::GROUP_COLUMNS;

kernels! {
/// Sums the products of unsigned weights and of activations, all columns side by side.
///
/// `four(i)`, for `i` in `0..LEN`, is four weights of each row and the dword of activations of each
/// column that they meet; `start(c)` is what the sum of a column begins with, and `done(c, sum)`
/// takes it. How large a weight may be (`MAX`) does not matter here.
#[inline]
pub(super) fn products<'x, const MAX: usize, const LEN: usize, const N: usize>(
    start: impl Fn(usize) -> V,
    four: impl Fn(usize) -> (V, &'x [u32; N]),
    mut done: impl FnMut(usize, V),
) {
    let mut sums = [splat(0); N];
    for c in 0..N {
        sums[c] = start(c);
    }
    for i in 0..LEN {
        let (w, q) = four(i);
        for c in 0..N {
            sums[c] = dpbusd(sums[c], w, splat(q[c]));
        }
    }
    for c in 0..N {
        done(c, sums[c]);
    }
}
/// The sums of a tile of [`VECTORS`] vectors of rows and [`TILE_COLUMNS`] columns, the first or
/// (`PART` 1) the second of the group: as [`products`], with `done(vector, column, sum)`.
#[inline]
pub(super) fn tile_products<'x, const MAX: usize, const LEN: usize, const PART: usize>(
    start: impl Fn(usize) -> V,
    four: impl Fn(usize) -> ([V; VECTORS], &'x [u32; GROUP_COLUMNS]),
    mut done: impl FnMut(usize, usize, V),
) {
    let column = |c: usize| (PART * TILE_COLUMNS + c) % GROUP_COLUMNS;
    let mut sums = [[splat(0); TILE_COLUMNS]; VECTORS];
    for c in 0..TILE_COLUMNS {
        for m in 0..VECTORS {
            sums[m][c] = start(column(c));
        }
    }
    for i in 0..LEN {
        let (w, q) = four(i);
        for c in 0..TILE_COLUMNS {
            let q = splat(q[column(c)]);
            for m in 0..VECTORS {
                sums[m][c] = dpbusd(sums[m][c], w[m], q);
            }
        }
    }
    for c in 0..TILE_COLUMNS {
        for m in 0..VECTORS {
            done(m, column(c), sums[m][c]);
        }
    }
}
}
