//! Attention of one layer.
//!
//! ```text
//! q = RoPE(RMSNorm(Wq h))   k = RoPE(RMSNorm(Wk h))   v = RMSNorm(Wv h), or of Wk h without Wv
//! h = Wo · softmax(scale · q kᵀ) v         (no RMSNorm on v in Gemma 3)
//! ```
//!
//! A layer without keys of its own attends with its queries alone to those of an earlier layer.
//!
//! Between the products with weights, [`softmax`] goes over the keys.

mod softmax;

use crate::arena::{Frame, Need};
use crate::config::{Config, KvSource, LayerConfig, LayerKind};
use crate::pool::{Activations, Pool, Product};
use crate::weights::{Layer, Matrix};

use super::kv_cache::{KvCache, LayerKv, position_bytes};
use super::stream::Span;
use super::{Pass, Share, Stream, Tables, rows_mut};

/// Scratch of [`attention`] in a layer that makes keys of its `own`, which is enough for [`keys`],
/// or does not.
pub(super) fn need(config: &Config, layer: &LayerConfig, own: bool, shares: &[Share]) -> Need {
    let tokens = shares.iter().map(|share| share.tokens).sum();
    let query = Need::of::<f32>(tokens * layer.query_len());
    let key = Need::of::<f32>(if own { tokens * layer.key_len() } else { 0 });
    let inputs = Activations::need(config.hidden, tokens);
    let stream = |share: &Share| {
        let staged = match layer.kind {
            LayerKind::Full if own => share.tokens * position_bytes(layer, share.limits),
            _ => 0, // the pass has room for these
        };
        let softmax = softmax::need(config, layer, share.limits.context, share.tokens);
        Need::of::<u8>(staged).and(softmax)
    };
    let streams = shares.iter().map(stream).fold(Need::default(), Need::or);
    let outputs = Activations::need(layer.query_len(), tokens);
    query.and(key).and(key).and(inputs.or(query.and(streams.or(outputs))))
}

/// Replaces normed rows `h`, `[tokens, hidden]`, by the output of attention in layer `i`.
///
/// Keys and values of a sliding layer are left in `staged`; those of a full layer go to the caches,
/// beyond the positions that count so far. There a layer that makes none finds them.
pub(super) fn attention(
    pass: &Pass<'_>,
    layers: &[Layer],
    i: usize,
    streams: &mut [Stream<'_>],
    staged: &mut [u8],
    h: &mut [f32],
    mut frame: Frame<'_>,
) {
    let (pool, config, weights) = (pass.pool, &pass.config.layers[i], &layers[i]);
    let tokens = h.len() / pass.config.hidden;
    let (query_len, head_dim) = (config.query_len(), config.head_dim);
    let own = pass.makes_keys(i);
    let key_len = if own { config.key_len() } else { 0 };
    let q = frame.take(tokens * query_len); // [tokens, heads, head_dim]
    let k = frame.take(tokens * key_len); // [tokens, kv_heads, head_dim]
    let v = frame.take(tokens * key_len); // [tokens, kv_heads, head_dim]
    project(pass, weights, h, [&mut *q, &mut *k, &mut *v], frame.nested());

    norm_heads(pass, q, query_len, head_dim, Some((config.kind, &weights.q_norm)));
    if own {
        norm_keys(pass, weights, config, k, v);
    }

    let attended = frame.take(tokens * query_len); // [tokens, heads, head_dim]
    for stream in streams {
        let rows = stream.rows_of_pass();
        let [k, v] = [&*k, &*v].map(|x| &x[rows.start * key_len..rows.end * key_len]);
        let q = &q[rows.start * query_len..rows.end * query_len];
        let out = rows_mut(attended, query_len, rows);
        let staged = &mut staged[stream.staged.clone()];
        of_stream(pass, layers, i, stream, staged, [q, k, v], out, frame.nested());
    }
    let attended = Activations::new(pool, attended, query_len, &mut frame);
    pool.matmul(&attended, [Product { weights: weights.attn_output.view(), out: h }]);
}

/// Attention of one stream, from its queries, keys and values to `out`, which is shaped like its
/// queries. Keys and values are empty where the layer makes none.
fn of_stream(
    pass: &Pass<'_>,
    layers: &[Layer],
    i: usize,
    stream: &mut Stream<'_>,
    staged: &mut [u8],
    [q, k, v]: [&[f32]; 3],
    out: &mut [f32],
    mut frame: Frame<'_>,
) {
    let (pool, config, span) = (pass.pool, &pass.config.layers[i], stream.span(pass.config));
    let (start, tokens) = (stream.kv.len(), stream.tokens());
    let source = match config.kv {
        KvSource::Own => i,
        KvSource::Of(source) => source,
    };
    let own = pass.makes_keys(i);
    let kv = stream.kv.layer(source);
    let (staged, first): (&mut [u8], _) = match config.kind {
        LayerKind::Sliding => (&mut staged[kv.staged_at(tokens)], start),
        LayerKind::Full if own => (frame.take(tokens * kv.token_bytes()), start),
        LayerKind::Full => (&mut [], start + tokens), // the cache has them
    }; // [tokens, 2, kv_heads, vector]
    if own {
        stage(pool, kv, config.key_len(), [k, v], staged);
    }
    let view = kv.view(staged, first, &layers[source].k_norm, pool.isa());
    softmax::softmax(pass, config, span, view, q, out, frame);
    if own && config.kind == LayerKind::Full {
        stream.kv.layer_mut(i).commit(staged, start);
    }
}

/// Stores the keys and values of a stream, `[tokens, kv_heads, head_dim]` each, in `staged`.
fn stage(pool: &Pool, kv: &LayerKv, key_len: usize, [k, v]: [&[f32]; 2], staged: &mut [u8]) {
    pool.chunks(staged, kv.token_bytes(), |t, staged| {
        let range = t * key_len..(t + 1) * key_len;
        kv.stage(&k[range.clone()], &v[range], staged);
    });
}

/// Makes the keys and values of layer `i`, which has its own, from normed rows `h`, `[tokens,
/// hidden]`, and leaves them where [`attention`] does.
pub(super) fn keys(
    pass: &Pass<'_>,
    weights: &Layer,
    i: usize,
    streams: &mut [Stream<'_>],
    staged: &mut [u8],
    h: &[f32],
    mut frame: Frame<'_>,
) {
    let (pool, config) = (pass.pool, &pass.config.layers[i]);
    let (tokens, key_len) = (h.len() / pass.config.hidden, config.key_len());
    let k = frame.take(tokens * key_len); // [tokens, kv_heads, head_dim]
    let v = frame.take(tokens * key_len); // [tokens, kv_heads, head_dim]
    project(pass, weights, h, [&mut [], &mut *k, &mut *v], frame.nested());
    norm_keys(pass, weights, config, k, v);
    for stream in streams {
        let rows = stream.rows_of_pass();
        let (start, tokens) = (stream.kv.len(), stream.tokens());
        let of_stream = [&*k, &*v].map(|x| &x[rows.start * key_len..rows.end * key_len]);
        let kv = stream.kv.layer(i);
        if config.kind == LayerKind::Sliding {
            let staged = &mut staged[stream.staged.clone()][kv.staged_at(tokens)];
            stage(pool, kv, key_len, of_stream, staged);
        } else {
            let staged = frame.nested().take(tokens * kv.token_bytes());
            stage(pool, kv, key_len, of_stream, staged);
            stream.kv.layer_mut(i).commit(staged, start);
        }
    }
}

/// What a query looks at that follows the tokens in a cache: the keys and values of one layer.
pub(crate) struct LookBack<'a> {
    /// The decoder that the query is of: its window and its scale of scores.
    pub(crate) config: &'a Config,
    /// The layer that the query is of, shaped like the one that is looked at.
    pub(crate) layer: &'a LayerConfig,
    pub(crate) kv: &'a KvCache,
    /// The layer that is looked at.
    pub(crate) source: usize,
    /// The weights of that layer's RMSNorm of keys.
    pub(crate) key_norm: &'a [f32],
}

impl LookBack<'_> {
    /// Scratch of [`LookBack::attend`].
    pub(crate) fn need(config: &Config, layer: &LayerConfig, context: usize) -> Need {
        softmax::need(config, layer, context, 1)
    }

    /// Attention of the query `q`, `[heads, head_dim]`, which RoPE has turned as the next position
    /// wants it, and which has no key of its own. `out` is shaped like it; it is 0 where a window
    /// of one position leaves nothing to be seen.
    pub(crate) fn attend(&self, pool: &Pool, q: &[f32], out: &mut [f32], frame: Frame<'_>) {
        let Self { config, layer, kv, source, key_norm } = *self;
        let at = kv.len();
        if at == 0 || (layer.kind == LayerKind::Sliding && config.window == 1) {
            return out.fill(0.0);
        }
        let (sliding, full) = (Tables::default(), Tables::default());
        let pass = Pass { config, pool, sliding, full, per_layer: &mut [], has_keys: true };
        let view = kv.layer(source).view(&[], at, key_norm, pool.isa());
        softmax::softmax(&pass, layer, Span::looking_at(kv), view, q, out, frame);
    }
}

/// Projects normed rows `h` to queries, keys and values. Those that have no room are not wanted:
/// queries, or keys and values.
fn project(
    pass: &Pass<'_>,
    weights: &Layer,
    h: &[f32],
    [q, k, v]: [&mut [f32]; 3],
    mut frame: Frame<'_>,
) {
    let (pool, wants_queries) = (pass.pool, !q.is_empty());
    let h = Activations::new(pool, h, pass.config.hidden, &mut frame);
    let q = product(&weights.q, q);
    let Some(weights_k) = weights.k.as_ref().filter(|_| !k.is_empty()) else {
        return pool.matmul(&h, [q]);
    };
    let raw = product(weights_k, &mut *k);
    match (&weights.v, wants_queries) {
        (Some(weights_v), true) => return pool.matmul(&h, [q, raw, product(weights_v, v)]),
        (Some(weights_v), false) => return pool.matmul(&h, [raw, product(weights_v, v)]),
        (None, true) => pool.matmul(&h, [q, raw]),
        (None, false) => pool.matmul(&h, [raw]),
    }
    v.copy_from_slice(k);
}

fn product<'a>(weights: &'a Matrix, out: &'a mut [f32]) -> Product<'a> {
    Product { weights: weights.view(), out }
}

/// RMSNorm of keys and values as the architecture has them, and RoPE of keys. The raw projection of
/// keys has been copied to `v` where values have none of their own.
fn norm_keys(pass: &Pass<'_>, weights: &Layer, config: &LayerConfig, k: &mut [f32], v: &mut [f32]) {
    let (key_len, head_dim) = (config.key_len(), config.head_dim);
    if pass.config.is_gemma4() {
        norm_heads(pass, v, key_len, head_dim, None);
    }
    norm_heads(pass, k, key_len, head_dim, Some((config.kind, &weights.k_norm)));
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
