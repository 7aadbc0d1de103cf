//! One layer of the encoder.

use super::BATCH;
use super::attention::{Heads, Turns};
use super::load::Shape;
use crate::arena::{Frame, Need};
use crate::pool::{Activations, Pool, Product};
use crate::tower::{self, Linear, Rows};

/// The weights of a layer: norms of `D` values, those of heads of `head_dim` values.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attn_norm: Vec<f32>,
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) q_norm: Vec<f32>,
    pub(super) k_norm: Vec<f32>,
    pub(super) attn_output: Linear,
    pub(super) attn_post_norm: Vec<f32>,
    pub(super) ffn_norm: Vec<f32>,
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) ffn_post_norm: Vec<f32>,
    /// The factor of the residual stream after the layer.
    pub(super) output_scale: f32,
}

/// Scratch of [`Layer::run`] where `batch` patches go through products together.
pub(super) fn need(shape: &Shape, batch: usize) -> Need {
    let rows = Need::of::<f32>(batch * shape.length);
    let hidden = Need::of::<f32>(batch * shape.ffn);
    let inputs = Linear::need(shape.length, batch);
    let projected = rows.and(rows).and(rows).and(inputs);
    let attended = rows.and(inputs);
    let held = hidden.and(hidden).and(inputs.or(Linear::need(shape.ffn, batch)));
    let plain =
        Activations::need(shape.length, batch).and(Activations::gated_need(shape.ffn, batch));
    rows.and(projected.or(attended).or(held).or(plain))
}

impl Layer {
    /// Adds the layer's two branches to the residual stream `x`, `[patches, D]`.
    pub(super) fn run(
        &self,
        pool: &Pool,
        shape: &Shape,
        eps: f32,
        turns: &Turns<'_>,
        heads: &mut Heads<'_>,
        x: &mut [f32],
        mut frame: Frame<'_>,
    ) {
        let length = shape.length;
        for (i, x) in x.chunks(BATCH * length).enumerate() {
            let mut frame = frame.nested();
            let h = frame.take(x.len()); // [batch, D]
            tower::norm(pool, h, x, length, Some(&self.attn_norm), eps);
            let [q, k, v] = [(); 3].map(|()| frame.take::<f32>(h.len())); // [batch, heads, head_dim]
            let products = [(&self.q, &mut *q), (&self.k, &mut *k), (&self.v, &mut *v)];
            tower::apply_all(pool, Rows::new(h, length).together(), products, frame);
            heads.put(pool, i * BATCH, [q, k, v], [&self.q_norm, &self.k_norm], eps, turns);
        }
        heads.attend(pool);
        for (i, x) in x.chunks_mut(BATCH * length).enumerate() {
            let mut frame = frame.nested();
            let h = frame.take(x.len()); // [batch, D]
            {
                let mut frame = frame.nested();
                let attended = frame.take(x.len()); // [batch, heads, head_dim]
                heads.collect(pool, i * BATCH, attended);
                self.attn_output.apply(pool, Rows::new(attended, length).together(), h, frame);
            }
            tower::add_normed(pool, x, h, length, (&self.attn_post_norm, eps), 1.0);
            tower::norm(pool, h, x, length, Some(&self.ffn_norm), eps);
            self.feed_forward(pool, shape, h, frame);
            tower::add_normed(pool, x, h, length, (&self.ffn_post_norm, eps), 1.0);
            if self.output_scale != 1.0 {
                pool.chunks(x, length, |_, x| pool.isa().scale(x, self.output_scale));
            }
        }
    }

    /// Replaces normed rows `h`, `[batch, D]`, by the output of the gated network.
    fn feed_forward(&self, pool: &Pool, shape: &Shape, h: &mut [f32], mut frame: Frame<'_>) {
        let (length, ffn) = (shape.length, shape.ffn);
        if [&self.gate, &self.up, &self.down].iter().all(|linear| linear.is_plain()) {
            let down = self.down.matrix().view();
            let inputs = Activations::new(pool, h, length, &mut frame).together();
            let pair = [&self.gate, &self.up].map(|linear| linear.matrix().view());
            let gated = Activations::gated(pool, &inputs, pair, down.format(), &mut frame);
            return pool.matmul(&gated.together(), [Product { weights: down, out: h }]);
        }
        let rows = h.len() / length;
        let [gate, up] = [(); 2].map(|()| frame.take::<f32>(rows * ffn)); // [batch, ffn]
        let products = [(&self.gate, &mut *gate), (&self.up, &mut *up)];
        tower::apply_all(pool, Rows::new(h, length).together(), products, frame.nested());
        pool.chunks(gate, ffn, |i, gate| pool.isa().gelu_mul(gate, &up[i * ffn..][..ffn]));
        self.down.apply(pool, Rows::new(gate, ffn).together(), h, frame);
    }
}
