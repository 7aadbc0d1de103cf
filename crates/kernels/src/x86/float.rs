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
    let groups = groups.as_chunks::<{ 2 * GROUP_ROWS }>().0;
    // A sum is a chain of additions that wait for each other. Few columns have few chains, so they
    // take two groups of rows at a time: 22 instead of 14 GB/s with one column (Zen 4).
    let paired = if N <= 4 { groups.len() / k / 2 * 2 } else { 0 };
    let (pairs, rest) = groups.split_at(paired * k);
    for (i, pair) in pairs.chunks_exact(2 * k).enumerate() {
        let (first, second) = pair.split_at(k);
        let out = &mut out[2 * i * GROUP_ROWS..];
        multiply_groups::<2, N>([first, second], k, x, out, stride, &widen);
    }
    for (i, group) in rest.chunks_exact(k).enumerate() {
        let out = &mut out[(paired + i) * GROUP_ROWS..];
        multiply_groups::<1, N>([group], k, x, out, stride, &widen);
    }
}

/// The products of `G` groups of rows, each of `k` times eight weights, with the columns `x`. `out`
/// begins at the first row of the groups, and its columns are `stride` apart.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn multiply_groups<const G: usize, const N: usize>(
    groups: [&[[u8; 2 * GROUP_ROWS]]; G],
    k: usize,
    x: [&[f32]; N],
    out: &mut [f32],
    stride: usize,
    widen: impl Fn(&[u8; 16]) -> __m256,
) {
    let mut acc = [[_mm256_setzero_ps(); N]; G];
    for i in 0..k {
        for g in 0..G {
            let w = widen(&groups[g][i]);
            for c in 0..N {
                acc[g][c] = _mm256_fmadd_ps(w, _mm256_set1_ps(x[c][i]), acc[g][c]);
            }
        }
    }
    for (g, acc) in acc.into_iter().enumerate() {
        for (c, acc) in acc.into_iter().enumerate() {
            store(&mut out[c * stride + g * GROUP_ROWS..][..GROUP_ROWS], acc);
        }
    }
}
