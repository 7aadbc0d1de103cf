//! Attention of one layer.
//!
//! ```text
//! q = RoPE(RMSNorm(Wq h))   k = RoPE(RMSNorm(Wk h))   v = RMSNorm(Wv h), or of Wk h without Wv
//! h = Wo · softmax(scale · q kᵀ) v         (no RMSNorm on v in Gemma 3)
//! ```
//!
//! The unit of work is one token and one key head with all query heads that share it: a tile of
//! keys is converted to f32 once for all of them. Softmax runs online, tile by tile, so that no row
//! of scores is ever stored. Tiles begin at multiples of their length in the *conversation*, and a
//! unit reads only what its token sees: the arithmetic of a token thus depends on its position and
//! on nothing else, neither on the chunk it came in nor on the thread.

use std::ops::Range;

use crate::arena::{Frame, Need};
use crate::config::{Config, GROUP_MAX, HEAD_DIM_MAX, LayerConfig, LayerKind};
use crate::pool::{Activations, Product};
use crate::weights::Layer;

use super::Pass;
use super::kv_cache::{KvType, KvView, LayerKv, position_bytes};

/// Scratch of [`attention`].
pub(super) fn need(config: &Config, layer: &LayerConfig, kind: KvType, tokens: usize) -> Need {
    let query = Need::of::<f32>(tokens * layer.query_len());
    let key = Need::of::<f32>(tokens * layer.key_len());
    let projected = query.and(key).and(key);
    let inputs = Activations::need(config.hidden, tokens);
    let attended = query.and(Need::of::<u8>(tokens * position_bytes(layer, kind)));
    projected.and(inputs.or(attended.and(Activations::need(layer.query_len(), tokens))))
}

/// Replaces normed rows `h`, `[tokens, hidden]`, by the layer's attention output, and appends keys
/// and values to the cache.
pub(super) fn attention(
    pass: &Pass<'_>,
    weights: &Layer,
    config: &LayerConfig,
    kv: &mut LayerKv,
    h: &mut [f32],
    mut frame: Frame<'_>,
) {
    let (pool, tokens, start) = (pass.pool, pass.span.tokens, pass.span.start);
    let (query_len, key_len, head_dim) = (config.query_len(), config.key_len(), config.head_dim);
    let q = frame.take(tokens * query_len); // [tokens, heads, head_dim]
    let k = frame.take(tokens * key_len); // [tokens, kv_heads, head_dim]
    let v = frame.take(tokens * key_len); // [tokens, kv_heads, head_dim]
    project(pass, weights, h, [&mut *q, &mut *k, &mut *v], frame.nested());

    // The raw projection of keys has been copied to v where v has none of its own: k comes last.
    if pass.config.is_gemma4() {
        norm_heads(pass, v, key_len, head_dim, None);
    }
    norm_heads(pass, q, query_len, head_dim, Some((config.kind, &weights.q_norm)));
    norm_heads(pass, k, key_len, head_dim, Some((config.kind, &weights.k_norm)));

    let staged = frame.take(tokens * kv.token_bytes()); // [tokens, 2, kv_heads, vector]
    pool.chunks(staged, kv.token_bytes(), |t, staged| {
        let range = t * key_len..(t + 1) * key_len;
        kv.stage(&k[range.clone()], &v[range], staged);
    });

    let attended = frame.take(tokens * query_len); // [tokens, heads, head_dim]
    let view = kv.view(staged, start);
    let width = config.group() * head_dim;
    pool.chunks(attended, width, |i, out| {
        let (t, head) = (i / config.kv_heads, i % config.kv_heads);
        let seen = seen(pass, config.kind, start + t);
        attend(pass, view, head, seen, &q[i * width..][..width], out);
    });
    kv.commit(staged, start);

    let attended = Activations::new(pool, attended, query_len, &mut frame);
    pool.matmul(&attended, [Product { weights: weights.attn_output.view(), out: h }]);
}

/// Positions that the token at position `at` sees.
fn seen(pass: &Pass<'_>, kind: LayerKind, at: usize) -> Range<usize> {
    match kind {
        LayerKind::Full => 0..at + 1,
        LayerKind::Sliding => (at + 1).saturating_sub(pass.config.window)..(pass.span.visible)(at),
    }
}

fn project(
    pass: &Pass<'_>,
    weights: &Layer,
    h: &[f32],
    [q, k, v]: [&mut [f32]; 3],
    mut frame: Frame<'_>,
) {
    let h = Activations::new(pass.pool, h, pass.config.hidden, &mut frame);
    let q = Product { weights: weights.q.view(), out: q };
    match &weights.v {
        Some(weights_v) => {
            let k = Product { weights: weights.k.view(), out: k };
            pass.pool.matmul(&h, [q, k, Product { weights: weights_v.view(), out: v }]);
        }
        None => {
            pass.pool.matmul(&h, [q, Product { weights: weights.k.view(), out: k }]);
            v.copy_from_slice(k);
        }
    }
}

/// RMSNorm of every head; with weights, followed by RoPE.
fn norm_heads(
    pass: &Pass<'_>,
    x: &mut [f32],
    width: usize,
    head_dim: usize,
    turned: Option<(LayerKind, &[f32])>,
) {
    let (isa, eps) = (pass.pool.isa(), pass.config.norm_eps);
    pass.pool.chunks(x, width, |t, x| {
        for head in x.chunks_exact_mut(head_dim) {
            isa.rms_norm_in_place(head, turned.map(|(_, weight)| weight), eps);
            if let Some((kind, _)) = turned {
                let (cos, sin) = pass.tables(kind).row(t);
                isa.rope(head, cos, sin);
            }
        }
    });
}

/// Attention of the query heads `q`, `[group][head_dim]`, to one key head.
fn attend(
    pass: &Pass<'_>,
    kv: KvView<'_>,
    head: usize,
    seen: Range<usize>,
    q: &[f32],
    out: &mut [f32],
) {
    let (isa, head_dim) = (pass.pool.isa(), kv.head_dim());
    let group = q.len() / head_dim;
    let tile = tile_positions(head_dim, group);
    let mut buffer = [0.0; TILE_VALUES];
    let mut scores = [0.0; SCORES_MAX];
    let mut max = [f32::NEG_INFINITY; GROUP_MAX];
    let mut sum = [0.0; GROUP_MAX];
    out.fill(0.0);

    let mut at = seen.start;
    while at < seen.end {
        let end = ((at / tile + 1) * tile).min(seen.end);
        let keys = end - at;
        let buffer = &mut buffer[..keys * head_dim];
        let scores = &mut scores[..group * keys];
        kv.keys(head, at..end, buffer);
        isa.attention_scores(scores, q, buffer, head_dim);
        if pass.config.attention_scale != 1.0 {
            isa.scale(scores, pass.config.attention_scale);
        }
        for (h, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let tile_max = isa.max(scores);
            if tile_max > max[h] {
                let factor = (max[h] - tile_max).exp(); // 0 in the first tile
                (max[h], sum[h]) = (tile_max, sum[h] * factor);
                isa.scale(&mut out[h * head_dim..][..head_dim], factor);
            }
            sum[h] += isa.exp_sub_sum(scores, max[h]);
        }
        kv.values(head, at..end, buffer);
        isa.attention_values(out, scores, buffer, head_dim);
        at = end;
    }
    for (out, sum) in out.chunks_exact_mut(head_dim).zip(sum) {
        isa.scale(out, 1.0 / sum);
    }
}

/// The greatest power of two for which a tile of keys and its scores fit their buffers.
fn tile_positions(head_dim: usize, group: usize) -> usize {
    let most = (TILE_VALUES / head_dim).min(SCORES_MAX / group).min(TILE_POSITIONS_MAX);
    1 << most.ilog2()
}

/// A tile of keys or values on the stack: 32 KiB, which stays in the first-level cache.
const TILE_VALUES: usize = HEAD_DIM_MAX;

/// Scores of a tile for all heads of a group.
const SCORES_MAX: usize = 4096;

/// Short heads would make tiles so long that masked-off ends cost more than the loop saves.
const TILE_POSITIONS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legal_head_has_a_tile() {
        for head_dim in [2, 64, 80, 256, 512, HEAD_DIM_MAX] {
            for group in [1, 2, 3, 16, GROUP_MAX] {
                let tile = tile_positions(head_dim, group);
                assert!(tile.is_power_of_two(), "{head_dim} {group}: {tile}");
                assert!(tile * head_dim <= TILE_VALUES && tile * group <= SCORES_MAX);
            }
        }
        assert_eq!(tile_positions(512, 16), 16); // full layers of the 12B
        assert_eq!(tile_positions(256, 2), 32); // its sliding layers
    }
}
