//! F16 and BF16 weights times f32 activations: `acc = fma(w[k], x[k], acc)` in order of `k`.

use std::arch::aarch64::*;

use super::lanes::{F, store, widen_f16};
use crate::isa::for_columns;
use crate::{Columns, Format, GROUP_ROWS, Weights, scalar};

/// The products of f32 columns.
#[target_feature(enable = "neon")]
pub(super) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    for_columns!(x.columns(), matmul_n(w, groups, x, out));
}

#[target_feature(enable = "neon")]
fn matmul_n<const N: usize>(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    match (w.format(), x) {
        (Format::F16, Columns::F32 { k, values }) => f16::<N>(groups, k, values, out),
        (Format::BF16, Columns::F32 { k, values }) => bf16::<N>(groups, k, values, out),
        _ => scalar::matmul(w, groups, x, out),
    }
}

#[target_feature(enable = "neon")]
fn f16<const N: usize>(groups: &[u8], k: usize, x: &[f32], out: &mut [f32]) {
    rows::<N>(groups, k, x, out, |w| {
        let [low, high]: [[u8; 8]; 2] = bytemuck::must_cast(*w);
        [widen_f16(&low), widen_f16(&high)]
    });
}

#[target_feature(enable = "neon")]
fn bf16<const N: usize>(groups: &[u8], k: usize, x: &[f32], out: &mut [f32]) {
    rows::<N>(groups, k, x, out, |w| {
        let w: uint16x8_t = bytemuck::must_cast(*w);
        let (low, high) = (vshll_n_u16::<16>(vget_low_u16(w)), vshll_high_n_u16::<16>(w));
        [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
    });
}

/// `widen` turns weight `k` of eight rows to f32.
#[target_feature(enable = "neon")]
#[inline]
fn rows<const N: usize>(
    groups: &[u8],
    k: usize,
    x: &[f32],
    out: &mut [f32],
    widen: impl Fn(&[u8; 16]) -> [F; 2],
) {
    let stride = out.len() / N;
    let x: [&[f32]; N] = std::array::from_fn(|c| &x[c * k..][..k]);
    let groups = groups.as_chunks::<{ 2 * GROUP_ROWS }>().0.chunks_exact(k);
    for (g, weights) in groups.enumerate() {
        let mut acc = [[vdupq_n_f32(0.0); 2]; N];
        for i in 0..k {
            let w = widen(&weights[i]);
            for c in 0..N {
                for half in 0..2 {
                    acc[c][half] = vfmaq_n_f32(acc[c][half], w[half], x[c][i]);
                }
            }
        }
        for (c, acc) in acc.into_iter().enumerate() {
            store(&mut out[c * stride + g * GROUP_ROWS..], acc);
        }
    }
}
