//! Attention of the encoder: every patch sees every patch.
//!
//! ```text
//! q = RoPE(RMSNorm(Wq h))   k = RoPE(RMSNorm(Wk h))   v = RMSNorm(Wv h), without weights
//! out = softmax(q kᵀ) v
//! ```
//!
//! RoPE turns the first half of a head by the patch's column and the second half by its row.
//!
//! Patches are cut into tiles. The queries of a tile and a head are a unit of work: they meet the
//! tiles of keys in order, and softmax runs online (Milakov and Gimelshein 2018), so that no more
//! than a tile of scores is ever there. The keys of a tile are stored transposed: scores then are
//! sums along the head of whole vectors of keys, whatever the length of a head.

use carat_kernels::Isa;

use super::Grid;
use super::load::{HEAD_DIM_MAX, Shape};
use crate::arena::{Frame, Need};
use crate::pool::Pool;

/// Cosines and sines of RoPE, `[positions][head_dim / 4]`.
pub(super) struct Turns<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    pairs: usize,
    columns: usize,
}

impl<'a> Turns<'a> {
    /// Scratch of [`Turns::new`] for sides of at most `patches` patches.
    pub(super) fn need(shape: &Shape, patches: usize) -> Need {
        let table = Need::of::<f32>(patches * shape.head_dim() / 4);
        table.and(table)
    }

    /// The angles of all columns and rows of a grid.
    pub(super) fn new(shape: &Shape, grid: Grid, frame: &mut Frame<'a>) -> Self {
        let pairs = shape.head_dim() / 4;
        let positions = grid.columns.max(grid.rows);
        let (cos, sin) = (frame.take(positions * pairs), frame.take(positions * pairs));
        for at in 0..positions * pairs {
            let (position, pair) = (at / pairs, at % pairs);
            let frequency = libm::pow(ROPE_BASE, -(pair as f64) / pairs as f64);
            let (s, c) = libm::sincos(position as f64 * frequency);
            (cos[at], sin[at]) = (c as f32, s as f32);
        }
        Self { cos, sin, pairs, columns: grid.columns }
    }

    /// Turns a head of a patch.
    fn turn(&self, isa: Isa, patch: usize, head: &mut [f32]) {
        let (by_column, by_row) = head.split_at_mut(2 * self.pairs);
        for (half, position) in [(by_column, patch % self.columns), (by_row, patch / self.columns)]
        {
            let range = position * self.pairs..(position + 1) * self.pairs;
            isa.rope(half, &self.cos[range.clone()], &self.sin[range]);
        }
    }
}

/// The heads of all patches: queries, which attention replaces by its output, keys and values.
pub(super) struct Heads<'a> {
    /// `[tiles][heads][TILE][head_dim]`.
    q: &'a mut [f32],
    /// `[tiles][heads]` times keys `[head_dim][patches of the tile]`, then values `[patches of the
    /// tile][head_dim]`, with room for whole tiles.
    kv: &'a mut [f32],
    patches: usize,
    heads: usize,
    head_dim: usize,
}

impl<'a> Heads<'a> {
    /// Scratch of [`Heads::new`].
    pub(super) fn need(shape: &Shape, patches: usize) -> Need {
        let values = patches.next_multiple_of(TILE) * shape.length;
        Need::of::<f32>(values).and(Need::of::<f32>(2 * values))
    }

    /// Room for the heads of `patches` patches.
    pub(super) fn new(shape: &Shape, patches: usize, frame: &mut Frame<'a>) -> Self {
        let values = patches.next_multiple_of(TILE) * shape.length;
        let (q, kv) = (frame.take(values), frame.take(2 * values));
        Self { q, kv, patches, heads: shape.heads, head_dim: shape.head_dim() }
    }

    /// Takes the projections of the patches from `first` on, `[patches, heads, head_dim]` each:
    /// norms all of them, and turns queries and keys. `first` begins a tile.
    pub(super) fn put(
        &mut self,
        pool: &Pool,
        first: usize,
        [q, k, v]: [&mut [f32]; 3],
        [q_norm, k_norm]: [&[f32]; 2],
        eps: f32,
        turns: &Turns<'_>,
    ) {
        let (isa, heads, head_dim) = (pool.isa(), self.heads, self.head_dim);
        let length = heads * head_dim;
        for (x, weight) in [(&mut *q, Some(q_norm)), (&mut *k, Some(k_norm)), (&mut *v, None)] {
            pool.chunks(x, length, |p, x| {
                for head in x.chunks_exact_mut(head_dim) {
                    isa.rms_norm_in_place(head, weight, eps);
                    if weight.is_some() {
                        turns.turn(isa, first + p, head);
                    }
                }
            });
        }
        let (unit, count) = (TILE * head_dim, q.len() / length);
        let units = first / TILE * heads..(first + count).div_ceil(TILE) * heads;
        // The patches of a unit, and where its head begins in the row of each.
        let rows = |i: usize| {
            let start = i / heads * TILE;
            (start..(start + TILE).min(count)).map(move |p| p * length + i % heads * head_dim)
        };
        pool.chunks(&mut self.q[units.start * unit..units.end * unit], unit, |i, out| {
            for (at, out) in rows(i).zip(out.chunks_exact_mut(head_dim)) {
                out.copy_from_slice(&q[at..at + head_dim]);
            }
        });
        let kv = &mut self.kv[units.start * 2 * unit..units.end * 2 * unit];
        pool.chunks(kv, 2 * unit, |i, out| {
            let (keys, values) = out.split_at_mut(unit);
            let width = rows(i).len();
            for (t, at) in rows(i).enumerate() {
                for (j, key) in k[at..at + head_dim].iter().enumerate() {
                    keys[j * width + t] = *key;
                }
                values[t * head_dim..][..head_dim].copy_from_slice(&v[at..at + head_dim]);
            }
        });
    }

    /// Replaces all queries by their outputs.
    pub(super) fn attend(&mut self, pool: &Pool) {
        let (heads, head_dim, patches) = (self.heads, self.head_dim, self.patches);
        let (unit, kv) = (TILE * head_dim, &*self.kv);
        pool.chunks(self.q, unit, |i, q| {
            let count = tile_len(i / heads, patches);
            let tiles = kv.chunks_exact(2 * unit).skip(i % heads).step_by(heads);
            let tiles = tiles.enumerate().map(|(tile, kv)| {
                let (width, (keys, values)) = (tile_len(tile, patches), kv.split_at(unit));
                [&keys[..width * head_dim], &values[..width * head_dim]]
            });
            attend(pool.isa(), &mut q[..count * head_dim], tiles, head_dim);
        });
    }

    /// Fills `out`, `[patches, heads, head_dim]`, with the outputs of the patches from `first` on.
    pub(super) fn collect(&self, pool: &Pool, first: usize, out: &mut [f32]) {
        let (heads, head_dim) = (self.heads, self.head_dim);
        pool.chunks(out, heads * head_dim, |p, out| {
            let (tile, t) = ((first + p) / TILE, (first + p) % TILE);
            for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
                let at = ((tile * heads + head) * TILE + t) * head_dim;
                out.copy_from_slice(&self.q[at..at + head_dim]);
            }
        });
    }
}

/// Replaces the queries of a tile, `[rows][head_dim]`, by their outputs over `tiles` of keys and
/// values.
fn attend<'a>(
    isa: Isa,
    q: &mut [f32],
    tiles: impl Iterator<Item = [&'a [f32]; 2]>,
    head_dim: usize,
) {
    let rows = q.len() / head_dim;
    let mut scores = [0.0; TILE * TILE];
    let mut out = [0.0; TILE * HEAD_DIM_MAX];
    let out = &mut out[..q.len()]; // [rows][head_dim]
    let (mut max, mut sum) = ([f32::NEG_INFINITY; TILE], [0.0; TILE]);
    for [keys, values] in tiles {
        let width = keys.len() / head_dim;
        let scores = &mut scores[..rows * width]; // [rows][width]
        scores.fill(0.0);
        isa.attention_values(scores, q, head_dim, keys, width);
        let state = max.iter_mut().zip(&mut sum).zip(out.chunks_exact_mut(head_dim));
        for (((max, sum), out), scores) in state.zip(scores.chunks_exact_mut(width)) {
            let tile_max = isa.max(scores);
            if tile_max > *max || tile_max.is_nan() {
                let factor = isa.exp(*max - tile_max); // 0 in the first tile
                (*max, *sum) = (tile_max, *sum * factor);
                isa.scale(out, factor);
            }
            *sum += isa.exp_sub_sum(scores, *max);
        }
        isa.attention_values(out, scores, width, values, head_dim);
    }
    for (out, sum) in out.chunks_exact_mut(head_dim).zip(sum) {
        isa.scale(out, 1.0 / sum);
    }
    q.copy_from_slice(out);
}

/// Patches of a tile: all but the last one are full.
fn tile_len(tile: usize, patches: usize) -> usize {
    TILE.min(patches - tile * TILE)
}

/// Patches whose queries, or keys, are taken at once: a tile of scores is 16 KiB, and the keys of
/// heads in use as much.
const TILE: usize = 64;

const _: () = assert!(super::BATCH.is_multiple_of(TILE));

/// Base of the angles; the architecture fixes it.
const ROPE_BASE: f64 = 100.0;
