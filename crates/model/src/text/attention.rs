//! Attention of one layer.
//!
//! ```text
//! q = RoPE(RMSNorm(Wq h))   k = RoPE(RMSNorm(Wk h))   v = RMSNorm(Wv h), or of Wk h without Wv
//! h = Wo · softmax(scale · q kᵀ) v         (no RMSNorm on v in Gemma 3)
//! ```
//!
//! Between the products with weights, [`softmax`] goes over the keys.

mod softmax;

use crate::arena::{Frame, Need};
use crate::config::{Config, LayerConfig, LayerKind};
use crate::pool::{Activations, Product};
use crate::weights::Layer;

use super::Pass;
use super::kv_cache::{KvLimits, LayerKv, position_bytes};

/// Scratch of [`attention`].
pub(super) fn need(config: &Config, layer: &LayerConfig, limits: KvLimits, tokens: usize) -> Need {
    let query = Need::of::<f32>(tokens * layer.query_len());
    let key = Need::of::<f32>(tokens * layer.key_len());
    let projected = query.and(key).and(key);
    let inputs = Activations::need(config.hidden, tokens);
    let staged = Need::of::<u8>(tokens * position_bytes(layer, limits));
    let outputs = Activations::need(layer.query_len(), tokens);
    let softmax = softmax::need(config, layer, limits.context, tokens);
    projected.and(inputs.or(staged.and(query).and(softmax.or(outputs))))
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
    let view = kv.view(staged, start, &weights.k_norm, pool.isa());
    softmax::softmax(pass, config, view, q, attended, frame.nested());
    kv.commit(staged, start);

    let attended = Activations::new(pool, attended, query_len, &mut frame);
    pool.matmul(&attended, [Product { weights: weights.attn_output.view(), out: h }]);
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
