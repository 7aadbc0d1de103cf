//! The text decoder: embed, run the layers, and turn the rows that matter into logits.
//!
//! Everything here is infallible and allocates nothing: shapes were checked when the model was
//! opened, memory comes from the caller's frame, and room in the cache was reserved before.

mod attention;
mod feed_forward;
pub(crate) mod kv_cache;
pub(crate) mod rope;

use std::sync::atomic::{AtomicBool, Ordering};

use carat_kernels::GROUP_COLUMNS;

use crate::TokenId;
use crate::arena::{Frame, Need};
use crate::config::{Config, LayerConfig, LayerKind};
use crate::model::Model;
use crate::pool::{Activations, Pool, Product};
use crate::weights::{Layer, Weights};
use kv_cache::{KvCache, KvLimits, LayerKv};

/// The positions of one forward pass.
pub(crate) struct Span<'a> {
    /// Position of the first token.
    pub(crate) start: usize,
    /// Number of tokens.
    pub(crate) tokens: usize,
    /// On sliding layers the token at position `q` sees positions below `visible(q)`: `q + 1` for
    /// text, the end of its image for an image token.
    pub(crate) visible: &'a (dyn Fn(usize) -> usize + Sync),
}

/// Scratch for passes of at most `tokens` tokens, residual stream included.
///
/// A few tokens share out their keys where many share out themselves, and may need more.
pub(crate) fn need(config: &Config, limits: KvLimits, tokens: usize) -> Need {
    let few = 1..tokens.min(GROUP_COLUMNS + 1);
    few.chain([tokens]).map(|n| pass_need(config, limits, n)).fold(Need::default(), Need::or)
}

/// Scratch for a pass of `tokens` tokens.
fn pass_need(config: &Config, limits: KvLimits, tokens: usize) -> Need {
    let layer = |l: &LayerConfig| {
        attention::need(config, l, limits, tokens).or(feed_forward::need(config, l, tokens))
    };
    let layers = config.layers.iter().map(layer).fold(Need::default(), Need::or);
    let tables = [LayerKind::Sliding, LayerKind::Full].map(|kind| {
        let dim = config.layers.iter().find(|l| l.kind == kind).map_or(0, |l| l.head_dim);
        let table = Need::of::<f32>(tokens * dim / 2);
        table.and(table)
    });
    let hidden = Need::of::<f32>(tokens * config.hidden);
    let forward = tables[0].and(tables[1]).and(hidden).and(layers);
    hidden.and(forward.or(logits_need(config)))
}

/// Fills `x` with the embeddings of `ids`, scaled by the square root of their length as the
/// architecture has it for text.
pub(crate) fn embed(model: &Model, pool: &Pool, ids: &[TokenId], x: &mut [f32]) {
    let hidden = model.config().hidden;
    let embedding = model.weights().embedding.view();
    let scale = (hidden as f32).sqrt();
    pool.chunks(x, hidden, |t, row| {
        embedding.dequantize_row(ids[t] as usize, row);
        pool.isa().scale(row, scale);
    });
}

/// Runs embedded tokens, `x` of `[tokens, hidden]`, through all layers in place, and appends their
/// keys and values to the cache.
pub(crate) fn forward(
    model: &Model,
    pool: &Pool,
    kv: &mut KvCache,
    span: &Span<'_>,
    x: &mut [f32],
    mut frame: Frame<'_>,
) {
    let mut tables = |kind| {
        let frequencies = model.frequencies(kind);
        let cos = frame.take(span.tokens * frequencies.len());
        let sin = frame.take(span.tokens * frequencies.len());
        rope::fill(frequencies, span.start, cos, sin);
        Tables { cos, sin, half: frequencies.len() }
    };
    let sliding = tables(LayerKind::Sliding);
    let full = tables(LayerKind::Full);
    let context = kv.context();
    let pass = Pass { config: model.config(), pool, span, context, sliding, full };
    let layers = model.weights().layers.iter().zip(&model.config().layers);
    for (i, (weights, config)) in layers.enumerate() {
        layer(&pass, weights, config, kv.layer_mut(i), x, frame.nested());
    }
    kv.advance(span.tokens);
}

/// Turns residual rows, `x` of at most [`GROUP_COLUMNS`] `[rows, hidden]`, into logits
/// `[rows, vocab]`; says whether all of these are numbers, which they are not where weights are not
/// or overflow.
#[must_use]
pub(crate) fn logits(
    model: &Model,
    pool: &Pool,
    x: &[f32],
    logits: &mut [f32],
    mut frame: Frame<'_>,
) -> bool {
    let (config, weights, isa): (&Config, &Weights, _) =
        (model.config(), model.weights(), pool.isa());
    let h = frame.take(x.len()); // [rows, hidden]
    for (h, x) in h.chunks_exact_mut(config.hidden).zip(x.chunks_exact(config.hidden)) {
        isa.rms_norm(h, x, Some(&weights.output_norm), config.norm_eps);
    }
    let h = Activations::new(pool, h, config.hidden, &mut frame);
    pool.matmul(&h, [Product { weights: weights.head().view(), out: logits }]);
    let are_finite = AtomicBool::new(true);
    pool.chunks(logits, FLAT_CHUNK, |_, logits| {
        if let Some(cap) = config.softcap {
            isa.softcap(logits, cap);
        }
        if !isa.is_finite(logits) {
            are_finite.store(false, Ordering::Relaxed);
        }
    });
    are_finite.into_inner()
}

fn logits_need(config: &Config) -> Need {
    Need::of::<f32>(GROUP_COLUMNS * config.hidden)
        .and(Activations::need(config.hidden, GROUP_COLUMNS))
}

/// What all layers of one forward pass share.
struct Pass<'a> {
    config: &'a Config,
    pool: &'a Pool,
    span: &'a Span<'a>,
    /// Most positions of the session.
    context: usize,
    sliding: Tables<'a>,
    full: Tables<'a>,
}

/// Cosines and sines of RoPE, `[tokens][half]`.
struct Tables<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
}

impl Tables<'_> {
    fn row(&self, token: usize) -> (&[f32], &[f32]) {
        let range = token * self.half..(token + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

fn layer(
    pass: &Pass<'_>,
    weights: &Layer,
    config: &LayerConfig,
    kv: &mut LayerKv,
    x: &mut [f32], // [tokens, hidden]
    mut frame: Frame<'_>,
) {
    let h = frame.take(x.len()); // [tokens, hidden]
    pass.norm(h, x, &weights.attn_norm);
    attention::attention(pass, weights, config, kv, h, frame.nested()); // h := attention(h)
    pass.add_normed(x, h, &weights.post_attention_norm, 1.0);
    pass.norm(h, x, &weights.ffn_norm);
    feed_forward::feed_forward(pass, weights, h, frame.nested()); // h := ffn(h)
    pass.add_normed(x, h, &weights.post_ffw_norm, weights.output_scale);
}

impl Pass<'_> {
    fn tables(&self, kind: LayerKind) -> &Tables<'_> {
        match kind {
            LayerKind::Sliding => &self.sliding,
            LayerKind::Full => &self.full,
        }
    }

    /// `h = RMSNorm(x)`, row by row.
    fn norm(&self, h: &mut [f32], x: &[f32], weight: &[f32]) {
        let (width, eps) = (self.config.hidden, self.config.norm_eps);
        self.pool.chunks(h, width, |t, h| {
            self.pool.isa().rms_norm(h, &x[t * width..][..width], Some(weight), eps);
        });
    }

    /// `x = (x + RMSNorm(h)) · scale`, row by row.
    fn add_normed(&self, x: &mut [f32], h: &mut [f32], weight: &[f32], scale: f32) {
        let (width, eps, isa) = (self.config.hidden, self.config.norm_eps, self.pool.isa());
        self.pool.chunks(h, width, |_, h| isa.rms_norm_in_place(h, Some(weight), eps));
        self.pool.chunks(x, width, |t, x| {
            isa.add(x, &h[t * width..][..width]);
            if scale != 1.0 {
                isa.scale(x, scale);
            }
        });
    }
}

/// Element-wise work on a flat array is shared out in pieces of this length.
const FLAT_CHUNK: usize = 4096;
