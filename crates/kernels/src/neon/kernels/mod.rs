//! The kernels, written once and compiled for each instruction set that includes this file.
//!
//! What includes it says what activations look like (`X`, `halves`, `row`), which rows and columns
//! a register of sums holds (`spread`, `for_blocks`), how products are summed (`products`), and
//! puts its target features before each function by `kernels!`. (rustfmt does not look into that
//! macro.)
//!
//! The kernel of a format is not inlined: what registers it gets must not depend on the others.

use std::arch::aarch64::*;

use super::{X, row};
use crate::neon::lanes::S;
use crate::neon::{Int8, for_registers};
use crate::{Columns, Format, Weights, scalar};

// What follows a sum is done by macros: as functions of eight columns they would not be inlined,
// and all sums and accumulators would go through memory.

/// `acc = fma(sums, scale·d, acc)`.
macro_rules! add_scaled {
    ($sums:expr, $scale:expr, $x:expr, $acc:expr) => {
        let (sums, scale) = ($sums, spread($scale));
        for_registers!(i => {
            let scale = vmulq_f32(scale[i % 2], vreinterpretq_f32_u32(row($x, SCALE, i)));
            $acc[i] = vfmaq_f32($acc[i], vcvtq_f32_s32(sums[i]), scale);
        });
    };
}

/// `acc = fma(m, d·Σq, acc)`.
macro_rules! add_min {
    ($m:expr, $x:expr, $acc:expr) => {
        let m = spread($m);
        for_registers!(i => {
            let sum = vreinterpretq_f32_u32(row($x, SCALED_SUM, i));
            $acc[i] = vfmaq_f32($acc[i], m[i % 2], sum);
        });
    };
}

mod fp4;
mod iq;
mod iq4;
mod k;
mod simple;

kernels! {
/// `N` registers hold what four rows of all columns come to.
pub(super) fn matmul<const N: usize>(
    w: &Weights<'_>,
    groups: &[u8],
    x: Int8<'_>,
    out: &mut [f32],
) {
    match w.format() {
        Format::Q4_0 => simple::q4_0::<N>(groups, x, out),
        Format::Q4_1 => simple::q4_1::<N>(groups, x, out),
        Format::Q5_0 => simple::q5_0::<N>(groups, x, out),
        Format::Q5_1 => simple::q5_1::<N>(groups, x, out),
        Format::Q8_0 => simple::q8_0::<N>(groups, x, out),
        Format::Q2_K => k::q2_k::<N>(groups, x, out),
        Format::Q3_K => k::q3_k::<N>(groups, x, out),
        Format::Q4_K => k::q4_k::<N>(groups, x, out),
        Format::Q5_K => k::q5_k::<N>(groups, x, out),
        Format::Q6_K => k::q6_k::<N>(groups, x, out),
        Format::IQ2_XXS => iq::iq2_xxs::<N>(groups, x, out),
        Format::IQ2_XS => iq::iq2_xs::<N>(groups, x, out),
        Format::IQ2_S => iq::iq2_s::<N>(groups, x, out),
        Format::IQ3_XXS => iq::iq3_xxs::<N>(groups, x, out),
        Format::IQ3_S => iq::iq3_s::<N>(groups, x, out),
        Format::IQ4_NL => iq4::iq4_nl::<N>(groups, x, out),
        Format::IQ4_XS => iq4::iq4_xs::<N>(groups, x, out),
        Format::MXFP4 => fp4::mxfp4::<N>(groups, x, out),
        Format::NVFP4 => fp4::nvfp4::<N>(groups, x, out),
        Format::F32 | Format::F16 | Format::BF16 => {
            let x = Columns::Int8 { k: w.cols(), columns: x.columns, data: x.data };
            scalar::matmul(w, groups, x, out);
        }
    }
}
}

/// Sums that start at zero.
#[target_feature(enable = "neon")]
#[inline]
fn zero<const N: usize>() -> [S; N] {
    [vdupq_n_s32(0); N]
}

/// Sums that start at `−8·2^SHIFT · Σq`, which takes that offset of the weights off. `sums` is a
/// row of the block that has `−8 · Σq`.
#[target_feature(enable = "neon")]
#[inline]
fn offset<const SHIFT: i32, const N: usize>(x: &X<N>, sums: usize) -> [S; N] {
    let mut s = zero();
    for_registers!(i => {
        let sum = vreinterpretq_s32_u32(row(x, sums, i));
        s[i] = match SHIFT {
            -1 => vshrq_n_s32::<1>(sum),
            0 => sum,
            _ => vshlq_n_s32::<2>(sum),
        };
    });
    s
}
