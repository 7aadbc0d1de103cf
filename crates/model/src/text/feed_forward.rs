//! The feed-forward network of one layer: `h = Wdown · (gelu(Wgate h) · (Wup h))`, and beside it,
//! where the layer has some, its [experts].

use crate::arena::{Frame, Need};
use crate::config::{Config, LayerConfig};
use crate::pool::{Activations, Pool, Product};
use crate::weights::{Layer, Matrix};

use super::{Pass, experts};

/// Scratch of [`feed_forward`] and [`network`].
pub(crate) fn need(config: &Config, layer: &LayerConfig, tokens: usize) -> Need {
    let batch = tokens.min(BATCH);
    let inputs = Activations::need(config.hidden, batch);
    let dense = inputs.and(Activations::gated_need(layer.ffn, batch));
    dense.or(experts::need(config, layer, tokens))
}

/// Replaces normed rows `h`, `[tokens, hidden]`, by the network's output, a batch at a time, and
/// puts that of the experts of layer `i` for the residual rows `x` beside it.
pub(super) fn feed_forward(
    pass: &Pass<'_>,
    weights: &Layer,
    i: usize,
    x: &[f32],
    h: &mut [f32],
    mut frame: Frame<'_>,
) {
    let matrices = [&weights.gate, &weights.up, &weights.down];
    for h in h.chunks_mut(BATCH * pass.config.hidden) {
        network(pass.pool, pass.config.hidden, matrices, h, frame.nested());
    }
    if let Some(weights) = &weights.experts {
        experts::add_experts(pass, &pass.config.layers[i], weights, x, h, frame);
    }
}

/// Replaces normed rows `h`, at most [`BATCH`] of `hidden` values, by the output of the network of
/// three matrices: gate, up and down.
pub(crate) fn network(
    pool: &Pool,
    hidden: usize,
    [gate, up, down]: [&Matrix; 3],
    h: &mut [f32],
    mut frame: Frame<'_>,
) {
    let down = down.view();
    let inputs = Activations::new(pool, h, hidden, &mut frame);
    let pair = [gate.view(), up.view()];
    let gated = Activations::gated(pool, &inputs, pair, down.format(), &mut frame);
    pool.matmul(&gated, [Product { weights: down, out: h }]);
}

/// Tokens that pass together: the hidden vectors are the longest of all, and a pass that holds a
/// picture may have more than a thousand tokens.
const BATCH: usize = 256;
