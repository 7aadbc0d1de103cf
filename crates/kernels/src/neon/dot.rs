//! `sdot`, which stable Rust has no intrinsic for: one line of assembly.

#![expect(unsafe_code, reason = "sdot has no stable intrinsic; one instruction on registers")]

use std::arch::aarch64::*;
use std::arch::asm;

use crate::activations::Int8Block;

/// `s[c] += w · q[G][c]` for every column, four products of signed bytes in each lane.
///
/// The dwords of a block lie side by side, row `G` after row `G − 1`: four of them make a register
/// and `sdot` picks one, so that a single column needs no more loads than four.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(super) fn add_products<const G: usize, const N: usize>(
    s: &mut [int32x4_t; N],
    w: int8x16_t,
    x: &Int8Block<N>,
) {
    let quads = x.as_flattened().as_chunks::<4>().0;
    for c in 0..N {
        let at = N * G + c;
        let quad = bytemuck::must_cast(quads[at / 4]);
        s[c] = match at % 4 {
            0 => sdot::<0>(s[c], w, quad),
            1 => sdot::<1>(s[c], w, quad),
            2 => sdot::<2>(s[c], w, quad),
            _ => sdot::<3>(s[c], w, quad),
        };
    }
}

/// Evaluates an expression with the constant `G` standing for 0 to 7, one after the other.
///
/// A loop would do if the compiler promised to unroll it: [`add_products`] wants `G` constant.
macro_rules! for_rows_of_8 {
    ($g:ident => $body:expr) => {
        $crate::neon::dot::for_rows_of_8!($g in 0 1 2 3 4 5 6 7 => $body)
    };
    ($g:ident in $($row:literal)+ => $body:expr) => {
        $({
            const $g: usize = $row;
            $body
        })+
    };
}
pub(super) use for_rows_of_8;

/// `s[i] += Σ w[4i + j] · q[4·LANE + j]` over `j` in `0..4`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot<const LANE: usize>(mut s: int32x4_t, w: int8x16_t, q: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes the three registers named and nothing else (no
    // memory, no flags), and callers can only be here with the feature that it belongs to.
    unsafe {
        asm!(
            "sdot {s:v}.4s, {w:v}.16b, {q:v}.4b[{lane}]",
            s = inout(vreg) s,
            w = in(vreg) w,
            q = in(vreg) q,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    s
}
