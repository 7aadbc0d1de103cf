//! The dot product of Armv8.2: `sdot` adds four products of signed bytes to each of four i32.
//!
//! ```text
//! s    = −offset · Σq
//! s    = sdot(s, w[g], lane(q[g]))            g = 0..8
//! ```
//!
//! The activations of a block lie dword by dword: four of them make a register and `sdot` picks
//! one, so that a single column needs no more than two loads for 32 weights.
//!
//! Nothing wraps: 32 products of |w| <= 128 and |q| <= 127 and an offset of at most 32 times 32
//! activations are together below 2²⁰.

use super::dot::sdot;
use super::lanes::{S, W};
use crate::activations::Int8Block;

macro_rules! kernels {
    ($($function:item)+) => { $(#[target_feature(enable = "neon,dotprod")] $function)+ };
}

#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[path = "kernels/mod.rs"]
mod kernels;
#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[path = "kernels/rows.rs"]
mod rows;

pub(crate) use super::quantize;
pub(crate) use super::widen::{scale_int8, widen_f16};
pub(crate) use rows::matmul;
use rows::{X, for_blocks, halves, row, spread};

/// Adds the products of signed weights; see `neon/mod.rs`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn products<const MAX: usize, const LEN: usize, const N: usize>(
    mut sums: [S; N],
    x: &[[[u32; 4]; N]],
    w: impl Fn(usize) -> W,
) -> [S; N] {
    let quads: &[[u32; 4]] = bytemuck::must_cast_slice(x);
    super::for_steps!(LEN, i => {
        let (first, second) = (w(i), w(i + 1));
        super::for_registers!(c => {
            let at = N * i + c;
            sums[c] = sdot(sums[c], first, bytemuck::must_cast(quads[at / 4]), at % 4);
        });
        super::for_registers!(c => {
            let at = N * (i + 1) + c;
            sums[c] = sdot(sums[c], second, bytemuck::must_cast(quads[at / 4]), at % 4);
        });
    });
    sums
}
