//! One drafting step after the other, from what the model left in its caches.
//!
//! ```text
//! u = pre · [√D · embedding(token), h]           (D is the model's width, h its normed last row)
//! u = (u + RMSNorm(Wo · attention(q)) + RMSNorm(ffn)) · scale             in each layer
//! y = RMSNorm(u)       logits = head · y       h = post · y, for the next step
//! ```
//!
//! The attention reads keys and values of the model where they lie; the drafter has none. All steps
//! of a round stand at the same position, the one after the last token in the caches.

use crate::TokenId;
use crate::arena::{Frame, Need};
use crate::config::{LayerConfig, LayerKind};
use crate::engine::Cancelled;
use crate::model::Model;
use crate::pool::{Activations, Pool, Product};
use crate::text::kv_cache::KvCache;
use crate::text::{LookBack, feed_forward, rope};

use super::head;
use super::{Drafter, DrafterShape};

/// What a round of drafting begins with.
pub(crate) struct Start<'a> {
    pub(crate) model: &'a Model,
    /// Keys and values of the tokens so far, `tokens` not among them.
    pub(crate) kv: &'a KvCache,
    /// The model's residual row after its last layer, before the last norm, of the last token in
    /// the cache: the row whose logits the first of `tokens` was chosen from.
    pub(crate) row: &'a [f32],
    /// The tokens to go on from: the one after the cache and those that follow it in any case. The
    /// drafter goes through these as if it had drafted them.
    pub(crate) tokens: &'a [TokenId],
    /// Whether to go on past an end of generation.
    pub(crate) past_end: bool,
}

/// Scratch of [`draft`] beside a model whose sessions hold at most `context` tokens.
pub(crate) fn need(shape: &DrafterShape, context: usize) -> Need {
    let config = &shape.config;
    let (hidden, wide) = (config.hidden, shape.target_hidden);
    let layer = |l: &LayerConfig| {
        let query = Need::of::<f32>(l.query_len());
        let attended = LookBack::need(config, l, context).or(Activations::need(l.query_len(), 1));
        let attention = Activations::need(hidden, 1).or(query.and(query).and(attended));
        attention.or(feed_forward::need(config, l, 1))
    };
    let layers = config.layers.iter().map(layer).fold(Need::default(), Need::or);
    let row = Need::of::<f32>(hidden);
    let joined = Need::of::<f32>(2 * wide).and(Activations::need(2 * wide, 1));
    let output = row.and(Activations::need(hidden, 1)).and(head::need(shape));
    let step = row.and(joined.or(row.and(layers)).or(output));
    let tables = [LayerKind::Sliding, LayerKind::Full].map(|kind| {
        let dim = config.layers.iter().find(|l| l.kind == kind).map_or(0, |l| l.head_dim);
        let table = Need::of::<f32>(dim / 2);
        table.and(table)
    });
    let round = Need::of::<f32>(wide).and(Need::of::<f32>(config.vocab));
    round.and(tables[0]).and(tables[1]).and(step)
}

/// Drafts up to `out.len()` tokens and says how many: fewer where the next one would end the
/// generation or the logits are no numbers, none where the model has no drafter, or there is
/// nothing to go on from. `each` sees the logits of every step, `[vocab]`, and the hidden row for
/// the next one, `[the model's width]`, before a token is chosen.
///
/// # Errors
/// If the work of `pool` was cancelled; what stands in `out` is then arbitrary.
pub(crate) fn draft(
    start: &Start<'_>,
    pool: &Pool,
    out: &mut [TokenId],
    mut frame: Frame<'_>,
    each: &mut dyn FnMut(&[f32], &[f32]),
) -> Result<usize, Cancelled> {
    let Start { model, kv, row, tokens, past_end } = *start;
    let Some(drafter) = model.drafter().filter(|_| kv.len() > 0) else { return Ok(0) };
    let Some((last, certain)) = tokens.split_last() else { return Ok(0) };
    let (config, tokenizer) = (model.config(), model.tokenizer());
    let hidden = frame.take(config.hidden); // the model's width
    let logits = frame.take(config.vocab);
    let round = Round::new(model, drafter, pool, kv, &mut frame);
    pool.isa().rms_norm(hidden, row, Some(&model.weights().output_norm), config.norm_eps);
    for token in certain {
        round.step(*token, hidden, None, frame.nested());
        if pool.is_stopped() {
            return Err(Cancelled);
        }
    }
    let mut token = *last;
    for drafted in 0..out.len() {
        round.step(token, hidden, Some(&mut *logits), frame.nested());
        if pool.is_stopped() {
            return Err(Cancelled);
        }
        if !pool.isa().is_finite(logits) {
            return Ok(drafted);
        }
        each(logits, hidden);
        for id in tokenizer.suppressed() {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        token = head::likeliest(pool.isa(), logits);
        if tokenizer.is_eog(token) && !past_end {
            return Ok(drafted);
        }
        out[drafted] = token;
    }
    Ok(out.len())
}

/// What all steps of a round share.
struct Round<'a> {
    model: &'a Model,
    drafter: &'a Drafter,
    pool: &'a Pool,
    kv: &'a KvCache,
    /// Cosines and sines of RoPE at the round's position.
    sliding: (&'a [f32], &'a [f32]),
    full: (&'a [f32], &'a [f32]),
}

impl<'a> Round<'a> {
    fn new<'b: 'a>(
        model: &'a Model,
        drafter: &'a Drafter,
        pool: &'a Pool,
        kv: &'a KvCache,
        frame: &mut Frame<'b>,
    ) -> Self {
        let mut tables = |kind| {
            let frequencies = drafter.frequencies(kind);
            let (cos, sin) = (frame.take(frequencies.len()), frame.take(frequencies.len()));
            rope::fill(frequencies, kv.len(), cos, sin);
            (&*cos, &*sin)
        };
        let (sliding, full) = (tables(LayerKind::Sliding), tables(LayerKind::Full));
        Self { model, drafter, pool, kv, sliding, full }
    }

    /// Fills `logits`, if they are wanted, with those after `token`, and replaces `hidden` by the
    /// row of the next step.
    fn step(
        &self,
        token: TokenId,
        hidden: &mut [f32],
        logits: Option<&mut [f32]>,
        mut frame: Frame<'_>,
    ) {
        let (isa, weights) = (self.pool.isa(), &self.drafter.weights);
        let config = &self.drafter.shape.config;
        let u = frame.take(config.hidden);
        self.join(token, hidden, u, frame.nested());
        for i in 0..config.layers.len() {
            self.layer(i, u, frame.nested());
        }
        let y = frame.take(config.hidden);
        isa.rms_norm(y, u, Some(&weights.output_norm), config.norm_eps);
        let y = Activations::new(self.pool, y, config.hidden, &mut frame);
        let post = Product { weights: weights.post.view(), out: hidden };
        let Some(logits) = logits else { return self.pool.matmul(&y, [post]) };
        match &weights.ordered {
            None => {
                self.pool.matmul(&y, [post, Product { weights: weights.head.view(), out: logits }]);
            }
            Some(ordered) => {
                self.pool.matmul(&y, [post]);
                head::ordered(self.drafter, ordered, self.pool, &y, logits, frame);
            }
        }
    }

    /// `u = pre · [√D · embedding(token), hidden]`.
    fn join(&self, token: TokenId, hidden: &[f32], u: &mut [f32], mut frame: Frame<'_>) {
        let joined = frame.take(2 * hidden.len());
        let (embedding, rest) = joined.split_at_mut(hidden.len());
        let table = self.model.weights().embedding.view();
        table.dequantize_row(token as usize, embedding);
        self.pool.isa().scale(embedding, (hidden.len() as f32).sqrt());
        rest.copy_from_slice(hidden);
        let joined = Activations::new(self.pool, joined, 2 * hidden.len(), &mut frame);
        let pre = self.drafter.weights.pre.view();
        self.pool.matmul(&joined, [Product { weights: pre, out: u }]);
    }

    fn layer(&self, i: usize, u: &mut [f32], mut frame: Frame<'_>) {
        let (isa, weights) = (self.pool.isa(), &self.drafter.weights.layers[i]);
        let eps = self.drafter.shape.config.norm_eps;
        let n = frame.take(u.len());
        isa.rms_norm(n, u, Some(&weights.attn_norm), eps);
        self.attention(i, n, frame.nested()); // n := attention(n)
        isa.rms_norm_in_place(n, Some(&weights.post_attention_norm), eps);
        isa.add(u, n);
        isa.rms_norm(n, u, Some(&weights.ffn_norm), eps);
        let matrices = [&weights.gate, &weights.up, &weights.down];
        feed_forward::network(self.pool, u.len(), matrices, n, frame); // n := ffn(n)
        isa.rms_norm_in_place(n, Some(&weights.post_ffw_norm), eps);
        isa.add(u, n);
        isa.scale(u, weights.output_scale);
    }

    /// Replaces the normed row `n` by the output of attention in layer `i`.
    fn attention(&self, i: usize, n: &mut [f32], mut frame: Frame<'_>) {
        let (pool, weights) = (self.pool, &self.drafter.weights.layers[i]);
        let config = &self.drafter.shape.config;
        let layer = &config.layers[i];
        let q = frame.take(layer.query_len()); // [heads, head_dim]
        let attended = frame.take(layer.query_len()); // [heads, head_dim]
        {
            let mut frame = frame.nested();
            let n = Activations::new(pool, n, config.hidden, &mut frame);
            pool.matmul(&n, [Product { weights: weights.q.view(), out: q }]);
        }
        let (cos, sin) = match layer.kind {
            LayerKind::Sliding => self.sliding,
            LayerKind::Full => self.full,
        };
        for head in q.chunks_exact_mut(layer.head_dim) {
            pool.isa().rms_norm_in_place(head, Some(&weights.q_norm), config.norm_eps);
            pool.isa().rope(head, cos, sin);
        }
        let source = self.drafter.source(layer.kind);
        let key_norm = &self.model.weights().layers[source].k_norm;
        let keys = LookBack { config, layer, kv: self.kv, source, key_norm };
        keys.attend(pool, q, attended, frame.nested());
        let attended = Activations::new(pool, attended, layer.query_len(), &mut frame);
        pool.matmul(&attended, [Product { weights: weights.attn_output.view(), out: n }]);
    }
}
