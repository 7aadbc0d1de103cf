//! AVX2: `maddubs` on unsigned weights and signed activations.
//!
//! ```text
//! s    = −offset·Σq
//! s16 += maddubs(w[g], broadcast(q[g]))       pairs of products in sixteen i16 lanes
//! s   += madd(s16, 1)                         eight sums of eight rows
//! ```
//!
//! `maddubs` and the additions after it must not overflow an i16. With |q| <= 127 and unsigned
//! weights up to `m` each `maddubs` is at most `2·127·m`, so
//!
//! | weights | m   | `maddubs` before `madd` | largest lane |
//! |---------|-----|-------------------------|--------------|
//! | 2 bits  | 3   | 4                       | 3048         |
//! | 3 bits  | 7   | 4                       | 7112         |
//! | 4 bits  | 15  | 8                       | 30480        |
//! | 5 bits  | 31  | 4                       | 31496        |
//! | 6 bits  | 63  | 2                       | 32004        |
//! | 7 bits  | 107 | 1                       | 27178        |
//! | 8 bits  | 128 | 1                       | 32512        |
//!
//! 8-bit weights come with 128 added. They are made signed again and their sign moves to the
//! activation, so that no offset is left to be taken off.

use std::arch::x86_64::*;

use super::{every_format as formats, lanes256 as lanes};
use crate::GROUP_COLUMNS;
use lanes::{V, splat, splat_byte, xor};

/// Columns side by side: each is a chain of instructions that wait for each other, and with more
/// than two there are too few registers for the weights.
const SIDE: usize = 2;
/// A tile of panels (`kernels/panel.rs`): vectors of rows, and columns.
const VECTORS: usize = 1;
const TILE_COLUMNS: usize = GROUP_COLUMNS;
/// The greatest unsigned weight of panels: larger ones are made signed for each product, of which
/// nothing is left to be done beforehand.
const PANEL_WEIGHT_MAX: usize = 127;

macro_rules! kernels {
    ($($function:item)+) => { $(#[target_feature(enable = "avx2,fma,f16c")] $function)+ };
}

#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[path = "kernels/mod.rs"]
mod kernels;
pub(crate) use super::quantize::quantize;
pub(crate) use super::widen::{scale_int8, widen_f16};
pub(crate) use kernels::matmul;

/// Sums the products of unsigned weights up to `MAX` and of activations.
///
/// `four(i)`, for `i` in `0..LEN`, is four weights of each row and the dword of activations of each
/// column that they meet; `start(c)` is what the sum of a column begins with, and `done(c, sum)`
/// takes it. Where `MAX` is 255, `start` must be the offset of 128 and is not asked.
///
/// [`SIDE`] columns at a time, all weights in registers: sixteen of them do not hold the sums of
/// eight columns and what they are made of.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn products<'x, const MAX: usize, const LEN: usize, const N: usize>(
    start: impl Fn(usize) -> V,
    four: impl Fn(usize) -> (V, &'x [u32; N]),
    mut done: impl FnMut(usize, V),
) {
    if MAX > 127 {
        return signed::<LEN, N>(four, done);
    }
    let mut w = [splat(0); LEN];
    let mut q = [&[0; N]; LEN];
    for i in 0..LEN {
        (w[i], q[i]) = four(i);
    }
    let is_one_chain = fits_i16(MAX) >= LEN;
    for first in (0..N).step_by(SIDE) {
        let columns = first..N.min(first + SIDE);
        let mut sums = [splat(0); SIDE];
        for c in columns.clone() {
            for from in (0..LEN).step_by(fits_i16(MAX)) {
                let mut s16 = _mm256_maddubs_epi16(w[from], splat(q[from][c]));
                for i in from + 1..LEN.min(from + fits_i16(MAX)) {
                    s16 = _mm256_add_epi16(s16, _mm256_maddubs_epi16(w[i], splat(q[i][c])));
                }
                sums[c - first] = match from {
                    _ if is_one_chain => s16,
                    0 => add_pairs(s16),
                    _ => _mm256_add_epi32(sums[c - first], add_pairs(s16)),
                };
            }
        }
        for c in columns {
            let sum = sums[c - first];
            let sum = if is_one_chain { add_pairs(sum) } else { sum };
            done(c, _mm256_add_epi32(start(c), sum));
        }
    }
}

/// The sums of a tile: of one vector of rows, and of all columns of a group.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn tile_products<'x, const MAX: usize, const LEN: usize, const PART: usize>(
    start: impl Fn(usize) -> V,
    four: impl Fn(usize) -> ([V; VECTORS], &'x [u32; GROUP_COLUMNS]),
    mut done: impl FnMut(usize, usize, V),
) {
    let four = |i| {
        let ([w], q) = four(i);
        (w, q)
    };
    products::<MAX, LEN, GROUP_COLUMNS>(start, four, |c, sum| done(0, c, sum));
}

/// How many sums of pairs of products with weights up to `max` an i16 holds: the table above.
const fn fits_i16(max: usize) -> usize {
    match max {
        0..=15 => 8,
        16..=31 => 4,
        32..=63 => 2,
        _ => 1,
    }
}

/// Products of signed bytes to which 128 has been added: the sign moves to the activations.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn signed<'x, const LEN: usize, const N: usize>(
    four: impl Fn(usize) -> (V, &'x [u32; N]),
    mut done: impl FnMut(usize, V),
) {
    let mut sums = [splat(0); N];
    for i in 0..LEN {
        let (w, q) = four(i);
        let w = xor(w, splat_byte(128));
        let magnitude = _mm256_abs_epi8(w); // 128 as an unsigned byte for −128
        for c in 0..N {
            let q = _mm256_sign_epi8(splat(q[c]), w);
            sums[c] = _mm256_add_epi32(sums[c], add_pairs(_mm256_maddubs_epi16(magnitude, q)));
        }
    }
    for c in 0..N {
        done(c, sums[c]);
    }
}

/// The sum of the pairs of i16 in each dword.
#[target_feature(enable = "avx2")]
#[inline]
fn add_pairs(s16: V) -> V {
    _mm256_madd_epi16(s16, _mm256_set1_epi16(1))
}
