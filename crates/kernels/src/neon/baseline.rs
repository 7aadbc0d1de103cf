//! NEON alone: `smull` and additions of pairs, for CPUs before Armv8.2's dot product.
//!
//! ```text
//! s16  = addp(smull(w[g] of rows 0–1, q), smull2(w[g] of rows 2–3, q))
//! s    = sadalp(s, s16)                       pairs of i16 added to i32
//! ```
//!
//! Nothing may overflow an i16. With |q| <= 127 and |w| <= m a product is at most `127·m`, and a
//! lane of `s16` is two of them, or four where `smlal` has added those of step `g + 1`:
//!
//! | weights        | m   | products in a lane | largest lane |
//! |----------------|-----|--------------------|--------------|
//! | up to 6 bits   | 63  | 4                  | 32004        |
//! | 8 bits, tables | 128 | 2                  | 32512        |

use std::arch::aarch64::*;

use super::lanes::{S, W};
use crate::activations::Int8Block;

macro_rules! kernels {
    ($($function:item)+) => { $(#[target_feature(enable = "neon")] $function)+ };
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

/// Adds the products of signed weights of magnitudes up to `MAX`; see `neon/mod.rs`.
#[target_feature(enable = "neon")]
#[inline]
fn products<const MAX: usize, const LEN: usize, const N: usize>(
    mut sums: [S; N],
    x: &[[[u32; 4]; N]],
    w: impl Fn(usize) -> W,
) -> [S; N] {
    let x: &[u32] = bytemuck::must_cast_slice(x);
    let q = |i: usize, c: usize| vreinterpretq_s8_u32(vdupq_n_u32(x[i * N + c]));
    super::for_steps!(LEN, i => {
        let w = [w(i), w(i + 1)];
        for c in 0..N {
            let q = [q(i, c), q(i + 1, c)];
            let mut s16 = [product(w[0], q[0]), product(w[1], q[1])];
            if MAX < 64 {
                s16 = [[vaddq_s16(s16[0][0], s16[1][0]), vaddq_s16(s16[0][1], s16[1][1])]; 2];
            } else {
                sums[c] = vpadalq_s16(sums[c], vpaddq_s16(s16[1][0], s16[1][1]));
            }
            sums[c] = vpadalq_s16(sums[c], vpaddq_s16(s16[0][0], s16[0][1]));
        }
    });
    sums
}

/// Sixteen products, those of rows 0 and 1 first.
#[target_feature(enable = "neon")]
#[inline]
fn product(w: W, q: W) -> [int16x8_t; 2] {
    [vmull_s8(vget_low_s8(w), vget_low_s8(q)), vmull_high_s8(w, q)]
}
