//! Scores of attention in vectors of 512 bits, with the bits that eight lanes give.
//!
//! A vector holds eight values of one key and eight of another, which meet the same eight values of
//! a query. Four queries and eight keys have sixteen such sums:
//!
//! ```text
//! acc[r][e] += [q[r] q[r]] · [k[e] k[e + 4]]        e = 0..4, eight values of the head at a time
//! ```
//!
//! In the end the lanes of each sum are added as `eight.rs` says, of sixteen sums at once.

use std::arch::x86_64::__m512;

use pulp::x86::V4;
use pulp::{Simd, WithSimd};

use crate::eight::LANES;

/// Queries and keys that meet at once.
const ROWS: usize = 4;
const KEYS: usize = 8;
/// Vectors of two keys.
const PAIRS: usize = KEYS / 2;

/// The scores of all whole fours of queries with all whole eights of keys, `[keys][d]`:
/// `out[r · stride + t]` for as many rows and keys as are returned, the first ones. Heads whose
/// length is no multiple of eight have none.
pub(crate) fn attention_scores(
    simd: V4,
    out: &mut [f32],
    stride: usize,
    q: &[&[f32]],
    k: &[f32],
    d: usize,
) -> (usize, usize) {
    let (q, _) = q.as_chunks();
    let keys = k.len() / d / KEYS * KEYS;
    if !d.is_multiple_of(LANES) || q.is_empty() || keys == 0 {
        return (0, 0);
    }
    Simd::vectorize(simd, Scores { simd, out, stride, q, k: &k[..keys * d], d });
    (q.len() * ROWS, keys)
}

struct Scores<'a> {
    simd: V4,
    out: &'a mut [f32],
    stride: usize,
    q: &'a [[&'a [f32]; ROWS]],
    k: &'a [f32],
    d: usize,
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { simd, out, stride, q, k, d } = self;
        for (i, q) in q.iter().enumerate() {
            for (j, k) in k.chunks_exact(KEYS * d).enumerate() {
                let acc = dots(simd, q, k, d / LANES);
                for (first, [x, y]) in acc.as_chunks().0.iter().enumerate() {
                    let scores: [[f32; KEYS]; 2] = bytemuck::must_cast(sums(simd, x, y));
                    for (r, scores) in scores.iter().enumerate() {
                        let row = i * ROWS + 2 * first + r;
                        out[row * stride + j * KEYS..][..KEYS].copy_from_slice(scores);
                    }
                }
            }
        }
    }
}

/// The sums of products of four queries and eight keys of `eights` times eight values, in lanes.
#[inline(always)]
fn dots(simd: V4, q: &[&[f32]; ROWS], k: &[f32], eights: usize) -> [[__m512; PAIRS]; ROWS] {
    let (f, dq) = (simd.avx512f, simd.avx512dq);
    let mut queries: [&[[f32; LANES]]; ROWS] = [&[]; ROWS];
    for r in 0..ROWS {
        queries[r] = &q[r].as_chunks().0[..eights];
    }
    let mut keys: [&[[f32; LANES]]; KEYS] = [&[]; KEYS];
    for t in 0..KEYS {
        keys[t] = &k.as_chunks().0[t * eights..][..eights];
    }
    let mut acc = [[f._mm512_setzero_ps(); PAIRS]; ROWS];
    for i in 0..eights {
        let mut pairs = [f._mm512_setzero_ps(); PAIRS];
        for e in 0..PAIRS {
            let low = f._mm512_castps256_ps512(bytemuck::must_cast(keys[e][i]));
            pairs[e] = dq._mm512_insertf32x8::<1>(low, bytemuck::must_cast(keys[e + PAIRS][i]));
        }
        for r in 0..ROWS {
            let q = dq._mm512_broadcast_f32x8(bytemuck::must_cast(queries[r][i]));
            for e in 0..PAIRS {
                acc[r][e] = f._mm512_fmadd_ps(q, pairs[e], acc[r][e]);
            }
        }
    }
    acc
}

/// The sums of the lanes of two queries, `x` and `y`, with eight keys, in their order:
/// `((l₀+l₄)+(l₂+l₆)) + ((l₁+l₅)+(l₃+l₇))` each.
#[inline(always)]
fn sums(simd: V4, x: &[__m512; PAIRS], y: &[__m512; PAIRS]) -> __m512 {
    let f = simd.avx512f;
    let mut fours = [f._mm512_setzero_ps(); PAIRS];
    for e in 0..PAIRS {
        // The quarters become x's keys e and e + 4, and then y's.
        let low = f._mm512_shuffle_f32x4::<0b10_00_10_00>(x[e], y[e]);
        let high = f._mm512_shuffle_f32x4::<0b11_01_11_01>(x[e], y[e]);
        fours[e] = f._mm512_add_ps(low, high);
    }
    let mut twos = [f._mm512_setzero_ps(); PAIRS / 2];
    for i in 0..PAIRS / 2 {
        // Each quarter: two lanes of an even e, then two of the odd one after it.
        let low = f._mm512_shuffle_ps::<0b01_00_01_00>(fours[2 * i], fours[2 * i + 1]);
        let high = f._mm512_shuffle_ps::<0b11_10_11_10>(fours[2 * i], fours[2 * i + 1]);
        twos[i] = f._mm512_add_ps(low, high);
    }
    let even = f._mm512_shuffle_ps::<0b10_00_10_00>(twos[0], twos[1]);
    let odd = f._mm512_shuffle_ps::<0b11_01_11_01>(twos[0], twos[1]);
    f._mm512_add_ps(even, odd)
}
