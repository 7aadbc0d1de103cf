//! F16 and BF16 weights times f32 activations: `acc = fma(w[k], x[k], acc)` in order of `k`.

use std::arch::aarch64::*;

use super::{load_f16, store};
use crate::GROUP_ROWS;

#[target_feature(enable = "neon,dotprod")]
pub(super) fn f16<const N: usize>(groups: &[u8], k: usize, x: &[f32], out: &mut [f32]) {
    rows::<N>(groups, k, x, out, |w| {
        bytemuck::must_cast::<_, [[u8; 8]; 2]>(*w).map(|w| load_f16(&w))
    });
}

#[target_feature(enable = "neon,dotprod")]
pub(super) fn bf16<const N: usize>(groups: &[u8], k: usize, x: &[f32], out: &mut [f32]) {
    rows::<N>(groups, k, x, out, |w| {
        let w: uint16x8_t = bytemuck::must_cast(*w);
        let low = vshll_n_u16::<16>(vget_low_u16(w));
        [low, vshll_high_n_u16::<16>(w)].map(|w| vreinterpretq_f32_u32(w))
    });
}

/// `widen` turns weight `k` of eight rows to f32.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn rows<const N: usize>(
    groups: &[u8],
    k: usize,
    x: &[f32],
    out: &mut [f32],
    widen: impl Fn(&[u8; 16]) -> [float32x4_t; 2],
) {
    let stride = out.len() / N;
    let x: [&[f32]; N] = std::array::from_fn(|c| &x[c * k..][..k]);
    let groups = groups.as_chunks::<{ 2 * GROUP_ROWS }>().0.chunks_exact(k);
    for (g, weights) in groups.enumerate() {
        let mut acc = [[vdupq_n_f32(0.0); 2]; N];
        for i in 0..k {
            let w = widen(&weights[i]);
            for c in 0..N {
                acc[c] = [0, 1].map(|half| vfmaq_n_f32(acc[c][half], w[half], x[c][i]));
            }
        }
        for (c, acc) in acc.into_iter().enumerate() {
            store(&mut out[c * stride + g * GROUP_ROWS..], acc);
        }
    }
}
