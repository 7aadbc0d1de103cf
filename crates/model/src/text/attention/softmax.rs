//! `softmax(scale · q kᵀ) v`, without ever holding a row of scores.
//!
//! Keys are cut into *splits*, and splits into *tiles*, both at fixed positions of the
//! conversation. A tile is converted to f32 once for a *block* of rows: all query heads of a key
//! head, of several tokens. Within a split softmax runs online (Milakov and Gimelshein 2018); the
//! results of splits are merged in order. A long prompt has blocks enough for all threads, and each
//! walks its splits in turn; a few tokens make one block, whose splits are shared out instead.
//! Either way a row meets the same tiles and the same merges, so its bits depend on its position
//! alone, neither on the chunk that it came in nor on the thread.

use std::array;
use std::ops::Range;

use carat_kernels::{GROUP_COLUMNS, Isa};

use crate::arena::{Frame, Need};
use crate::config::{Config, GROUP_MAX, HEAD_DIM_MAX, LayerConfig, LayerKind};
use crate::text::Pass;
use crate::text::kv_cache::KvView;
use crate::text::stream::Span;

/// Scratch of [`softmax`].
pub(super) fn need(config: &Config, layer: &LayerConfig, context: usize, tokens: usize) -> Need {
    Need::of::<f32>(match tokens <= few_tokens(layer.group()) {
        true => few_len(config, layer, context),
        false => many_len(layer, tokens),
    })
}

/// Length of the partial results of a few tokens, for all splits.
fn few_len(config: &Config, layer: &LayerConfig, context: usize) -> usize {
    let splits = match layer.kind {
        LayerKind::Sliding => context.min(config.window + FEW) / SPLIT + 2,
        LayerKind::Full => split_index(layer.kind, context) + 1,
    };
    let rows = few_tokens(layer.group()) * layer.group();
    splits * layer.kv_heads * partial_len(rows, layer.head_dim)
}

/// Length of the partial results of many tokens: two for each block.
fn many_len(layer: &LayerConfig, tokens: usize) -> usize {
    let step = block_tokens(layer.group());
    2 * tokens.div_ceil(step) * layer.kv_heads * partial_len(step * layer.group(), layer.head_dim)
}

/// Attends all queries `q` of a stream, `[tokens, heads, head_dim]`, to the keys that their tokens
/// see; `out` is shaped like `q`.
pub(super) fn softmax(
    pass: &Pass<'_>,
    layer: &LayerConfig,
    span: Span<'_>,
    kv: KvView<'_>,
    q: &[f32],
    out: &mut [f32],
    frame: Frame<'_>,
) {
    let work = Softmax { pass, layer, span, kv, q, group: layer.group() };
    if span.tokens <= few_tokens(work.group) {
        work.by_splits(out, frame);
    } else {
        work.by_blocks(out, frame);
    }
}

#[derive(Clone, Copy)]
struct Softmax<'a, 'p> {
    pass: &'a Pass<'p>,
    layer: &'a LayerConfig,
    span: Span<'a>,
    kv: KvView<'a>,
    q: &'a [f32],
    /// Query heads that share a key head.
    group: usize,
}

/// Tokens of a pass whose rows are attended together.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    tokens: usize,
}

impl Softmax<'_, '_> {
    /// One block; the units of work are splits and key heads.
    fn by_splits(self, out: &mut [f32], mut frame: Frame<'_>) {
        let (heads, kind) = (self.layer.kv_heads, self.layer.kind);
        let block = Block { first: 0, tokens: self.span.tokens };
        let keys = self.union(block);
        let splits = split_index(kind, keys.start)..split_index(kind, keys.end - 1) + 1;
        let width = partial_len(block.tokens * self.group, self.layer.head_dim);
        let partials = frame.take(few_len(self.pass.config, self.layer, self.span.context));
        let partials = &mut partials[..splits.len() * heads * width]; // [splits][heads][width]
        self.pass.pool.chunks(partials, width, |i, partial| {
            let keys = intersection(&split(kind, splits.start + i / heads), &keys);
            self.attend(block, i % heads, keys, &mut Partial::new(partial, self.layer.head_dim));
        });
        self.collect(out, |token, head, out| {
            for partial in partials.chunks_exact(width).skip(head).step_by(heads) {
                out.merge(self.pass.pool.isa(), partial, token * self.group);
            }
        });
    }

    /// The units of work are blocks and key heads.
    fn by_blocks(self, out: &mut [f32], mut frame: Frame<'_>) {
        let (heads, tokens, kind) = (self.layer.kv_heads, self.span.tokens, self.layer.kind);
        let (step, head_dim) = (block_tokens(self.group), self.layer.head_dim);
        let width = partial_len(step * self.group, head_dim);
        let partials = frame.take(many_len(self.layer, tokens));
        self.pass.pool.chunks(partials, 2 * width, |i, partials| {
            let first = i / heads * step;
            let block = Block { first, tokens: step.min(tokens - first) };
            let (whole, part) = partials.split_at_mut(width);
            let mut whole = Partial::new(whole, head_dim);
            let keys = self.union(block);
            let mut index = split_index(kind, keys.start);
            self.attend(block, i % heads, intersection(&split(kind, index), &keys), &mut whole);
            while split(kind, index).end < keys.end {
                index += 1;
                let keys = intersection(&split(kind, index), &keys);
                self.attend(block, i % heads, keys, &mut Partial::new(part, head_dim));
                whole.merge(self.pass.pool.isa(), part, 0);
            }
        });
        self.collect(out, |token, head, out| {
            let whole = &partials[2 * width * (token / step * heads + head)..][..width];
            out.merge(self.pass.pool.isa(), whole, token % step * self.group);
        });
    }

    /// Writes the output of every token and key head, `[group][head_dim]`, from what `merge` adds.
    fn collect(self, out: &mut [f32], merge: impl Fn(usize, usize, &mut Partial<'_>) + Sync) {
        let (heads, head_dim) = (self.layer.kv_heads, self.layer.head_dim);
        self.pass.pool.chunks(out, self.group * head_dim, |i, out| {
            let (mut max, mut sum) = ([f32::NEG_INFINITY; GROUP_MAX], [0.0; GROUP_MAX]);
            let (max, sum) = (&mut max[..self.group], &mut sum[..self.group]);
            let mut whole = Partial { out, max, sum, head_dim };
            merge(i / heads, i % heads, &mut whole);
            for (out, sum) in whole.out.chunks_exact_mut(head_dim).zip(whole.sum) {
                self.pass.pool.isa().scale(out, 1.0 / *sum);
            }
        });
    }

    /// Attends a block's rows of one key head to `keys`, which lie in one split.
    fn attend(self, block: Block, head: usize, keys: Range<usize>, partial: &mut Partial<'_>) {
        let (isa, head_dim) = (self.pass.pool.isa(), self.layer.head_dim);
        let (width, query_len) = (self.group * head_dim, self.layer.query_len());
        let rows = block.tokens * self.group;
        let q: [&[f32]; ROWS_MAX] = array::from_fn(|r| {
            let r = r.min(rows - 1);
            let token = block.first + r / self.group;
            &self.q[token * query_len + head * width + r % self.group * head_dim..][..head_dim]
        });
        partial.clear();
        let tile = tile_positions(head_dim);
        let [mut keys_of_tile, mut values_of_tile] = [[0.0; TILE_VALUES]; 2];
        let mut scores = [0.0; ROWS_MAX * TILE_POSITIONS_MAX];
        let scores = &mut scores[..rows * tile]; // [rows][tile]
        let mut at = keys.start;
        while at < keys.end && !self.pass.pool.is_stopped() {
            let start = at / tile * tile;
            let end = (start + tile).min(keys.end);
            let k = &mut keys_of_tile[..(end - at) * head_dim];
            let v = &mut values_of_tile[..(end - at) * head_dim];
            self.kv.load(head, at..end, k, v);
            scores.fill(f32::NEG_INFINITY);
            isa.attention_scores(&mut scores[at - start..], tile, &q[..rows], k, head_dim);
            for (t, scores) in scores.chunks_exact_mut(self.group * tile).enumerate() {
                self.mask(block.first + t, start, scores);
            }
            if self.pass.config.attention_scale != 1.0 {
                isa.scale(scores, self.pass.config.attention_scale);
            }
            partial.exponentials(isa, scores, tile);
            let out = &mut partial.out[..rows * head_dim];
            isa.attention_values(out, &scores[at - start..], tile, v, head_dim);
            at = end;
        }
    }

    /// Hides the scores of a tile, which begins at position `start`, that a token does not see.
    fn mask(self, token: usize, start: usize, scores: &mut [f32]) {
        let tile = scores.len() / self.group;
        let seen = self.seen(token);
        let seen = seen.start.clamp(start, start + tile) - start
            ..seen.end.clamp(start, start + tile) - start;
        if seen.len() == tile {
            return;
        }
        for scores in scores.chunks_exact_mut(tile) {
            scores[..seen.start].fill(f32::NEG_INFINITY);
            scores[seen.end.max(seen.start)..].fill(f32::NEG_INFINITY);
        }
    }

    /// Positions that a token of the pass sees.
    fn seen(self, token: usize) -> Range<usize> {
        let at = self.span.start + token;
        match self.layer.kind {
            LayerKind::Full => 0..self.span.end(at),
            LayerKind::Sliding => {
                (at + 1).saturating_sub(self.pass.config.window)..self.span.visible(at)
            }
        }
    }

    /// Positions that at least one token of a block sees.
    fn union(self, block: Block) -> Range<usize> {
        let seen = || (block.first..block.first + block.tokens).map(|token| self.seen(token));
        let end = seen().map(|seen| seen.end).max();
        self.seen(block.first).start..end.unwrap_or(0)
    }
}

/// Softmax over some of the keys: values weighted by exponentials of scores less the largest one,
/// not yet divided by the sum of those exponentials.
struct Partial<'a> {
    /// `[rows][head_dim]`.
    out: &'a mut [f32],
    /// The largest score of a row; −∞ where it sees none of the keys.
    max: &'a mut [f32],
    sum: &'a mut [f32],
    head_dim: usize,
}

/// Length of a [`Partial`].
fn partial_len(rows: usize, head_dim: usize) -> usize {
    rows * (head_dim + 2)
}

impl<'a> Partial<'a> {
    fn new(memory: &'a mut [f32], head_dim: usize) -> Self {
        let rows = memory.len() / (head_dim + 2);
        let (out, rest) = memory.split_at_mut(rows * head_dim);
        let (max, sum) = rest.split_at_mut(rows);
        Self { out, max, sum, head_dim }
    }

    fn clear(&mut self) {
        self.out.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
    }

    /// Turns a tile of scores, `[rows][tile]`, into exponentials less a row's largest score, to
    /// which what the row has so far is brought down.
    fn exponentials(&mut self, isa: Isa, scores: &mut [f32], tile: usize) {
        let rows = self.max.iter_mut().zip(self.sum.iter_mut());
        let rows = rows.zip(self.out.chunks_exact_mut(self.head_dim));
        for (((max, sum), out), scores) in rows.zip(scores.chunks_exact_mut(tile)) {
            let tile_max = isa.max(scores);
            if tile_max > *max {
                let factor = isa.exp(*max - tile_max); // 0 in the first tile
                (*max, *sum) = (tile_max, *sum * factor);
                if factor > 0.0 {
                    isa.scale(out, factor);
                }
            }
            if *max == f32::NEG_INFINITY {
                scores.fill(0.0); // nothing seen yet
            } else {
                *sum += isa.exp_sub_sum(scores, *max);
            }
        }
    }

    /// Adds the rows from `first` on of another result, over later keys, `memory` its content.
    fn merge(&mut self, isa: Isa, memory: &[f32], first: usize) {
        let (head_dim, rows) = (self.head_dim, memory.len() / (self.head_dim + 2));
        let (out, rest) = memory.split_at(rows * head_dim);
        let (max, sum) = rest.split_at(rows);
        for r in 0..self.max.len() {
            let (later, later_max) = (&out[(first + r) * head_dim..][..head_dim], max[first + r]);
            let out = &mut self.out[r * head_dim..][..head_dim];
            if later_max == f32::NEG_INFINITY {
                continue;
            }
            if self.max[r] == f32::NEG_INFINITY {
                out.copy_from_slice(later);
                (self.max[r], self.sum[r]) = (later_max, sum[first + r]);
                continue;
            }
            let max = self.max[r].max(later_max);
            let (old, new) = (isa.exp(self.max[r] - max), isa.exp(later_max - max));
            isa.scale(out, old);
            isa.attention_values(out, &[new], 1, later, head_dim);
            (self.max[r], self.sum[r]) = (max, self.sum[r] * old + sum[first + r] * new);
        }
    }
}

/// Tokens whose rows make a block, where there are many.
fn block_tokens(group: usize) -> usize {
    (BLOCK_ROWS / group).clamp(1, BLOCK_TOKENS_MAX)
}

/// The most tokens that count as a few.
fn few_tokens(group: usize) -> usize {
    (ROWS_MAX / group).clamp(1, FEW)
}

/// Positions of a tile: a power of two.
fn tile_positions(head_dim: usize) -> usize {
    1 << (TILE_VALUES / head_dim).min(TILE_POSITIONS_MAX).ilog2()
}

/// The split that holds a position, counted from the first one.
fn split_index(kind: LayerKind, position: usize) -> usize {
    if kind == LayerKind::Sliding || position < SPLITS_EQUAL * SPLIT {
        return position / SPLIT;
    }
    let octave = position.ilog2();
    let len = (1 << octave) / OCTAVE_SPLITS;
    let octaves = (octave - (SPLITS_EQUAL * SPLIT).ilog2()) as usize;
    SPLITS_EQUAL + octaves * OCTAVE_SPLITS + (position - (1 << octave)) / len
}

/// The positions of a split. On full layers splits grow with the position, so that a long
/// conversation does not have more partial results than fit the cache.
fn split(kind: LayerKind, index: usize) -> Range<usize> {
    if kind == LayerKind::Sliding || index < SPLITS_EQUAL {
        return index * SPLIT..(index + 1) * SPLIT;
    }
    let (octaves, i) =
        ((index - SPLITS_EQUAL) / OCTAVE_SPLITS, (index - SPLITS_EQUAL) % OCTAVE_SPLITS);
    let octave = (SPLITS_EQUAL * SPLIT) << octaves;
    let len = octave / OCTAVE_SPLITS;
    octave + i * len..octave + (i + 1) * len
}

fn intersection(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// Rows of a block: queries that stay in the second-level cache while the keys pass by.
const BLOCK_ROWS: usize = 128;

/// Tokens of a block: with more, too many keys at both ends of a window are seen by few of them.
const BLOCK_TOKENS_MAX: usize = 32;

/// Most rows of any block.
const ROWS_MAX: usize = GROUP_MAX;

/// A pass of no more tokens than this has too few blocks to go round.
const FEW: usize = GROUP_COLUMNS;

/// A tile of keys, and as much of values, on the stack: 32 KiB each.
const TILE_VALUES: usize = HEAD_DIM_MAX;

/// Short heads would make tiles so long that hidden ends cost more than the loop saves.
const TILE_POSITIONS_MAX: usize = 32;

/// Positions of a split: enough that merging costs little.
const SPLIT: usize = 512;

/// Splits of full layers that are [`SPLIT`] long: up to position 32768.
const SPLITS_EQUAL: usize = 64;

/// Splits between any two later powers of two.
const OCTAVE_SPLITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legal_head_has_a_tile() {
        for head_dim in [2, 64, 80, 256, 512, HEAD_DIM_MAX] {
            let tile = tile_positions(head_dim);
            assert!(tile.is_power_of_two() && tile * head_dim <= TILE_VALUES, "{head_dim}");
            assert!(SPLIT.is_multiple_of(tile));
        }
        assert_eq!(tile_positions(512), 16); // full layers of the 12B
        for group in [1, 2, 3, 16, 100, GROUP_MAX] {
            assert!(
                block_tokens(group) * group <= ROWS_MAX && few_tokens(group) * group <= ROWS_MAX
            );
        }
    }

    #[test]
    fn splits_follow_each_other_and_hold_their_positions() {
        for kind in [LayerKind::Sliding, LayerKind::Full] {
            let mut end = 0;
            for index in 0..300 {
                let split = split(kind, index);
                assert_eq!(split.start, end, "{kind:?} {index}");
                assert!(split.len() >= SPLIT && split.len().is_multiple_of(SPLIT));
                assert_eq!(split_index(kind, split.start), index, "{kind:?}");
                assert_eq!(split_index(kind, split.end - 1), index, "{kind:?}");
                end = split.end;
            }
        }
        assert_eq!(split_index(LayerKind::Full, 262_143), 159);
    }
}
