//! The two products of attention, in f32.
//!
//! Several rows (queries of heads and tokens) meet a tile of keys at once, so that a vector of the
//! tile is loaded once for up to four of them. However rows and keys are blocked, each score is one
//! chain of fused multiply-adds along the head in each of eight lanes, and each output one along
//! the keys: the bits of a row depend neither on its neighbours nor on the instruction set.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::Isa;
use crate::eight::{Eight, LANES, vectors};

impl Isa {
    /// Scores: `out[r · stride + t] = Σ_i q[r][i] · k[t][i]` for keys `[keys][d]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn attention_scores(
        self,
        out: &mut [f32],
        stride: usize,
        q: &[&[f32]],
        k: &[f32],
        d: usize,
    ) {
        let keys = k.len() / d;
        assert!(k.len() == keys * d && q.iter().all(|q| q.len() == d), "heads of {d}");
        check_strided(out.len(), q.len(), stride, keys);
        // What of rows and keys does not fill the widest vectors is done in those of eight lanes.
        #[cfg(target_arch = "x86_64")]
        let (rows, wide) = self.avx512().map_or((0, 0), |simd| {
            crate::x86::scores::attention_scores(simd, out, stride, q, k, d)
        });
        #[cfg(not(target_arch = "x86_64"))]
        let (rows, wide) = (0, 0);
        if rows > 0 && wide < keys {
            let (out, k) = (&mut out[wide..], &k[wide * d..]);
            self.run(Scores { out, stride, q: &q[..rows], k, d });
        }
        if rows < q.len() {
            self.run(Scores { out: &mut out[rows * stride..], stride, q: &q[rows..], k, d });
        }
    }

    /// Weighted values: `out[r][i] += Σ_t p[r · stride + t] · v[t][i]` for values `[keys][d]`, keys
    /// in order.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn attention_values(self, out: &mut [f32], p: &[f32], stride: usize, v: &[f32], d: usize) {
        let (rows, keys) = (out.len() / d, v.len() / d);
        assert!(out.len() == rows * d && v.len() == keys * d, "heads of {d}");
        check_strided(p.len(), rows, stride, keys);
        let whole = d / WIDE * WIDE;
        self.run_wide(Values { out: &mut *out, p, stride, v, d, range: 0..whole });
        if whole < d {
            self.run(Values { out, p, stride, v, d, range: whole..d });
        }
    }
}

fn check_strided(len: usize, rows: usize, stride: usize, keys: usize) {
    let fits = rows == 0 || (keys <= stride && (rows - 1) * stride + keys <= len);
    assert!(fits, "{len} scores for {rows} rows of {keys} keys, {stride} apart");
}

struct Scores<'a> {
    out: &'a mut [f32],
    stride: usize,
    q: &'a [&'a [f32]],
    k: &'a [f32],
    d: usize,
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut r = 0;
        while r < self.q.len() {
            r += match self.q.len() - r {
                1 => self.rows::<S, 1, 8>(simd, r),
                2 | 3 => self.rows::<S, 2, 4>(simd, r),
                _ => self.rows::<S, 4, 2>(simd, r),
            }
        }
    }
}

impl Scores<'_> {
    /// Rows `r .. r + R`, `K` keys at a time.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const K: usize>(&mut self, simd: S, r: usize) -> usize {
        let mut q = [self.q[r]; R];
        q.copy_from_slice(&self.q[r..r + R]);
        let mut t = 0;
        let mut tiles = self.k.chunks_exact(K * self.d);
        for k in &mut tiles {
            let sums = dots::<S, R, K>(simd, q, k, self.d);
            for (i, sums) in sums.into_iter().enumerate() {
                self.out[(r + i) * self.stride + t..][..K].copy_from_slice(&sums);
            }
            t += K;
        }
        for k in tiles.remainder().chunks_exact(self.d) {
            for (i, [sum]) in dots::<S, R, 1>(simd, q, k, self.d).into_iter().enumerate() {
                self.out[(r + i) * self.stride + t] = sum;
            }
            t += 1;
        }
        R
    }
}

/// Scalar products of `R` queries and `K` keys.
#[inline(always)]
fn dots<S: Simd, const R: usize, const K: usize>(
    simd: S,
    q: [&[f32]; R],
    k: &[f32],
    d: usize,
) -> [[f32; K]; R] {
    // No `map` here or below: the compiler may leave its closure outside of what has the
    // instruction set.
    let mut acc = [[Eight::zero(simd); K]; R];
    let whole = d / LANES * LANES;
    let (mut q_head, mut q_tail): ([&[S::f32s]; R], [&[f32]; R]) = ([&[]; R], [&[]; R]);
    for r in 0..R {
        (q_head[r], q_tail[r]) = (S::as_simd_f32s(&q[r][..whole]).0, &q[r][whole..d]);
    }
    let (mut k_head, mut k_tail): ([&[S::f32s]; K], [&[f32]; K]) = ([&[]; K], [&[]; K]);
    for c in 0..K {
        let k = &k[c * d..(c + 1) * d];
        (k_head[c], k_tail[c]) = (S::as_simd_f32s(&k[..whole]).0, &k[whole..]);
    }
    let vectors = vectors::<S>();
    for i in 0..whole / LANES {
        for part in 0..vectors {
            let i = i * vectors + part;
            for r in 0..R {
                for c in 0..K {
                    let acc = &mut acc[r][c].0[part];
                    *acc = simd.mul_add_f32s(q_head[r][i], k_head[c][i], *acc);
                }
            }
        }
    }
    if whole < d {
        for r in 0..R {
            for c in 0..K {
                let q = Eight::partial_load(simd, q_tail[r]);
                let k = Eight::partial_load(simd, k_tail[c]);
                acc[r][c] = acc[r][c].mul_add(simd, q, k);
            }
        }
    }
    let mut sums = [[0.0; K]; R];
    for r in 0..R {
        for c in 0..K {
            sums[r][c] = acc[r][c].sum(simd);
        }
    }
    sums
}

/// What is a multiple of this is whole vectors on every instruction set.
const WIDE: usize = 16;

struct Values<'a> {
    out: &'a mut [f32],
    p: &'a [f32],
    stride: usize,
    v: &'a [f32],
    d: usize,
    /// The values of the head that are computed.
    range: Range<usize>,
}

impl WithSimd for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = self.out.len() / self.d;
        let mut r = 0;
        while r < rows {
            // Sixteen lanes come with twice the registers.
            r += match (rows - r, S::F32_LANES > LANES) {
                (1, false) => self.rows::<S, 1, 8>(simd, r),
                (2 | 3, false) => self.rows::<S, 2, 4>(simd, r),
                (_, false) => self.rows::<S, 4, 2>(simd, r),
                (1, true) => self.rows::<S, 1, 4>(simd, r),
                (2 | 3, true) => self.rows::<S, 2, 4>(simd, r),
                (_, true) => self.rows::<S, 4, 4>(simd, r),
            }
        }
    }
}

impl Values<'_> {
    /// Rows `r .. r + R`, `V` vectors of the head at a time.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, r: usize) -> usize {
        let lanes = S::F32_LANES;
        let Range { start: mut i, end } = self.range;
        while i + V * lanes <= end {
            self.vectors::<S, R, V>(simd, r, i);
            i += V * lanes;
        }
        while i + lanes <= end {
            self.vectors::<S, R, 1>(simd, r, i);
            i += lanes;
        }
        if i < end {
            for r in r..r + R {
                let out = &mut self.out[r * self.d + i..r * self.d + end];
                let mut acc = simd.partial_load_f32s(out);
                let keys = self.v.chunks_exact(self.d).zip(&self.p[r * self.stride..]);
                for (v, p) in keys {
                    let v = simd.partial_load_f32s(&v[i..end]);
                    acc = simd.mul_add_f32s(simd.splat_f32s(*p), v, acc);
                }
                simd.partial_store_f32s(out, acc);
            }
        }
        R
    }

    /// The vectors that begin at value `i` of the head.
    #[inline(always)]
    fn vectors<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, r: usize, i: usize) {
        let (d, stride, width) = (self.d, self.stride, V * S::F32_LANES);
        let keys = self.v.len() / d;
        let mut acc = [[simd.splat_f32s(0.0); V]; R];
        for (c, acc) in acc.iter_mut().enumerate() {
            acc.copy_from_slice(S::as_simd_f32s(&self.out[(r + c) * d + i..][..width]).0);
        }
        let p: [&[f32]; R] = std::array::from_fn(|c| &self.p[(r + c) * stride..][..keys]);
        for (t, v) in self.v.chunks_exact(d).enumerate() {
            let (v, _) = S::as_simd_f32s(&v[i..i + width]);
            for c in 0..R {
                let p = simd.splat_f32s(p[c][t]);
                for j in 0..V {
                    acc[c][j] = simd.mul_add_f32s(p, v[j], acc[c][j]);
                }
            }
        }
        for (c, acc) in acc.iter().enumerate() {
            let out = &mut self.out[(r + c) * d + i..][..width];
            S::as_mut_simd_f32s(out).0.copy_from_slice(acc);
        }
    }
}
