//! `sdot` and `smmla`, which stable Rust has no intrinsics for: a line of assembly each.

#![expect(unsafe_code, reason = "no stable intrinsics; one instruction on registers each")]

use std::arch::aarch64::*;
use std::arch::asm;

/// One instruction that adds products of `w` and `q` to `s`.
macro_rules! accumulate {
    ($instruction:literal, $s:ident, $w:ident, $q:ident $(, $name:ident = $lane:ident)?) => {
        // SAFETY: the instruction reads and writes the three registers named and nothing else (no
        // memory, no flags), and callers can only be here with the feature that it belongs to.
        unsafe {
            asm!(
                $instruction,
                s = inout(vreg) $s,
                w = in(vreg) $w,
                q = in(vreg) $q,
                $($name = const $lane,)?
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    };
}

/// `s[i] += Σ w[4i + j] · q[4·lane + j]` over `j` in `0..4`, all bytes signed.
///
/// The lane is part of the instruction: `lane` has to be a constant once everything is inlined.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(super) fn sdot(s: int32x4_t, w: int8x16_t, q: int8x16_t, lane: usize) -> int32x4_t {
    match lane {
        0 => sdot_lane::<0>(s, w, q),
        1 => sdot_lane::<1>(s, w, q),
        2 => sdot_lane::<2>(s, w, q),
        _ => sdot_lane::<3>(s, w, q),
    }
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot_lane<const LANE: usize>(mut s: int32x4_t, w: int8x16_t, q: int8x16_t) -> int32x4_t {
    accumulate!("sdot {s:v}.4s, {w:v}.16b, {q:v}.4b[{lane}]", s, w, q, lane = LANE);
    s
}

/// `s[2r + c] += Σ w[8r + j] · q[8c + j]` over `j` in `0..8`, all bytes signed.
#[target_feature(enable = "neon,i8mm")]
#[inline]
pub(super) fn smmla(mut s: int32x4_t, w: int8x16_t, q: int8x16_t) -> int32x4_t {
    accumulate!("smmla {s:v}.4s, {w:v}.16b, {q:v}.16b", s, w, q);
    s
}
