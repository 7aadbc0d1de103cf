//! The feed-forward network of one layer: `h = Wdown · (gelu(Wgate h) · (Wup h))`.

use crate::arena::{Frame, Need};
use crate::config::{Config, LayerConfig};
use crate::pool::{Activations, Product};
use crate::weights::Layer;

use super::{FLAT_CHUNK, Pass};

/// Scratch of [`feed_forward`].
pub(super) fn need(config: &Config, layer: &LayerConfig, tokens: usize) -> Need {
    let tokens = tokens.min(BATCH);
    let inner = Need::of::<f32>(tokens * layer.ffn);
    let inputs = Activations::need(config.hidden, tokens);
    inner.and(inner).and(inputs.or(Activations::need(layer.ffn, tokens)))
}

/// Replaces normed rows `h`, `[tokens, hidden]`, by the network's output, a batch at a time.
pub(super) fn feed_forward(
    pass: &Pass<'_>,
    weights: &Layer,
    config: &LayerConfig,
    h: &mut [f32],
    mut frame: Frame<'_>,
) {
    for h in h.chunks_mut(BATCH * pass.config.hidden) {
        batch(pass, weights, config, h, frame.nested());
    }
}

fn batch(
    pass: &Pass<'_>,
    weights: &Layer,
    config: &LayerConfig,
    h: &mut [f32],
    mut frame: Frame<'_>,
) {
    let (pool, tokens) = (pass.pool, h.len() / pass.config.hidden);
    let gate = frame.take(tokens * config.ffn); // [tokens, ffn]
    let up = frame.take(tokens * config.ffn); // [tokens, ffn]
    {
        let h = Activations::new(pool, h, pass.config.hidden, &mut frame.nested());
        let gate = Product { weights: weights.gate.view(), out: &mut *gate };
        pool.matmul(&h, [gate, Product { weights: weights.up.view(), out: &mut *up }]);
    }
    pool.chunks(gate, FLAT_CHUNK, |i, gate| {
        pool.isa().gelu_mul(gate, &up[i * FLAT_CHUNK..][..gate.len()]);
    });
    let gate = Activations::new(pool, gate, config.ffn, &mut frame);
    pool.matmul(&gate, [Product { weights: weights.down.view(), out: h }]);
}

/// Tokens that pass together: the hidden vectors are the longest of all, and a pass that holds a
/// picture may have more than a thousand tokens.
const BATCH: usize = 256;
