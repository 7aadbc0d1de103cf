//! F16 and BF16 weights times f32 activations: `acc = fma(w[k], x[k], acc)` in order of `k`.

use std::arch::x86_64::*;

use super::lanes256::{load_f16, store};
use crate::GROUP_ROWS;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn f16<const N: usize>(groups: &[u8], k: usize, x: &[f32], out: &mut [f32]) {
    rows::<N>(groups, k, x, out, |w| load_f16([w]));
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn bf16<const N: usize>(groups: &[u8], k: usize, x: &[f32], out: &mut [f32]) {
    rows::<N>(groups, k, x, out, |w| {
        let w = _mm256_cvtepu16_epi32(bytemuck::must_cast(*w));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(w))
    });
}

/// `widen` turns weight `k` of eight rows to f32.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn rows<const N: usize>(
    groups: &[u8],
    k: usize,
    x: &[f32],
    out: &mut [f32],
    widen: impl Fn(&[u8; 16]) -> __m256,
) {
    let stride = out.len() / N;
    let x: [&[f32]; N] = std::array::from_fn(|c| &x[c * k..][..k]);
    let groups = groups.as_chunks::<{ 2 * GROUP_ROWS }>().0.chunks_exact(k);
    for (g, weights) in groups.enumerate() {
        let mut acc = [_mm256_setzero_ps(); N];
        for i in 0..k {
            let w = widen(&weights[i]);
            for c in 0..N {
                acc[c] = _mm256_fmadd_ps(w, _mm256_set1_ps(x[c][i]), acc[c]);
            }
        }
        for (c, acc) in acc.into_iter().enumerate() {
            store(&mut out[c * stride + g * GROUP_ROWS..], acc);
        }
    }
}
