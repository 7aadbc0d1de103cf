//! The feed-forward network of one layer: `h = Wdown · (gelu(Wgate h) · (Wup h))`.

use crate::arena::{Frame, Need};
use crate::config::{Config, LayerConfig};
use crate::pool::{Activations, Product};
use crate::weights::Layer;

use super::Pass;

/// Scratch of [`feed_forward`].
pub(super) fn need(config: &Config, layer: &LayerConfig, tokens: usize) -> Need {
    let tokens = tokens.min(BATCH);
    let inputs = Activations::need(config.hidden, tokens);
    inputs.and(Activations::gated_need(layer.ffn, tokens))
}

/// Replaces normed rows `h`, `[tokens, hidden]`, by the network's output, a batch at a time.
pub(super) fn feed_forward(pass: &Pass<'_>, weights: &Layer, h: &mut [f32], mut frame: Frame<'_>) {
    for h in h.chunks_mut(BATCH * pass.config.hidden) {
        batch(pass, weights, h, frame.nested());
    }
}

fn batch(pass: &Pass<'_>, weights: &Layer, h: &mut [f32], mut frame: Frame<'_>) {
    let (pool, down) = (pass.pool, weights.down.view());
    let inputs = Activations::new(pool, h, pass.config.hidden, &mut frame);
    let pair = [weights.gate.view(), weights.up.view()];
    let gated = Activations::gated(pool, &inputs, pair, down.format(), &mut frame);
    pool.matmul(&gated, [Product { weights: down, out: h }]);
}

/// Tokens that pass together: the hidden vectors are the longest of all, and a pass that holds a
/// picture may have more than a thousand tokens.
const BATCH: usize = 256;
