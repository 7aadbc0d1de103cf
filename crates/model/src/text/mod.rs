//! The text decoder: embed, run the layers, and turn the rows that matter into logits.
//!
//! Everything here allocates nothing, and nothing fails but reading weights of a file that is no
//! longer what it was, a cache file or that of the per-layer embeddings: shapes were checked when
//! the model was opened, memory comes from the caller's frame, and room in the cache was reserved
//! before.
//!
//! In models whose last layers read keys and values of earlier ones, only the rows that somebody
//! wants go on once the last keys are made: those that logits are made of, and those that the
//! caller asked for. Rows do not depend on each other from there on, so their bits are the same.

mod attention;
mod experts;
pub(crate) mod feed_forward;
pub(crate) mod kv_cache;
mod per_layer;
pub(crate) mod rope;
mod stream;

use std::array;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use carat_kernels::GROUP_COLUMNS;

use crate::arena::{Frame, Need};
use crate::config::{Config, KvSource, LayerConfig, LayerKind};
use crate::engine::Cancelled;
use crate::error::Error;
use crate::model::Model;
use crate::pool::{Activations, Pool, Product};
use crate::weights::{Layer, Weights};
pub(crate) use attention::LookBack;
use kv_cache::{KvLimits, ring_bytes};
use stream::Output;
pub(crate) use stream::{Ahead, MediaKey, Placed, Stream};

/// What a stream of `tokens` tokens takes part in a pass with.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) limits: KvLimits,
    /// The tokens, guessed ones among them.
    pub(crate) tokens: usize,
    /// Those of them that are guessed.
    pub(crate) guessed: usize,
}

/// Why a pass was not run to its end. Nothing is kept of it.
pub(crate) enum PassError {
    /// It was cancelled.
    Cancelled,
    /// A file that weights lie in was changed, or cannot be read.
    File(Error),
}

impl From<Cancelled> for PassError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl PassError {
    /// The error of work of which `done` of `total` tokens were evaluated.
    pub(crate) fn after(self, done: u64, total: u64) -> Error {
        match self {
            Self::Cancelled => Error::Cancelled { done, total },
            Self::File(error) => error,
        }
    }
}

/// Scratch for passes of one stream of at most `tokens` tokens, or of [`GROUP_COLUMNS`] with at
/// most `guessed` guessed ones.
///
/// A few tokens share out their keys where many share out themselves, and may need more.
pub(crate) fn need(config: &Config, limits: KvLimits, tokens: usize, guessed: usize) -> Need {
    let few = (1..tokens.min(GROUP_COLUMNS + 1)).chain([tokens]).map(|tokens| (tokens, 0));
    let ahead = (1..=GROUP_COLUMNS).map(|tokens| (tokens, guessed.min(tokens - 1)));
    let ahead = ahead.filter(|(_, guessed)| *guessed > 0);
    let pass = |(tokens, guessed)| pass_need(config, &[Share { limits, tokens, guessed }]);
    few.chain(ahead).map(pass).fold(logits_need(config, GROUP_COLUMNS), Need::or)
}

/// Scratch for a pass of streams.
pub(crate) fn pass_need(config: &Config, shares: &[Share]) -> Need {
    let tokens: usize = shares.iter().map(|share| share.tokens).sum();
    let of_rows = |l: &LayerConfig, own, shares: &[Share]| {
        let rows = shares.iter().map(|share| share.tokens).sum();
        let attention = attention::need(config, l, own, shares);
        attention.or(feed_forward::need(config, l, rows)).or(per_layer::need(config, rows))
    };
    // What is left once rows were dropped, at least.
    let left: Vec<Share> =
        shares.iter().map(|share| Share { tokens: 1 + share.guessed, ..*share }).collect();
    let own = config.own_layers().len();
    let layer = |(i, l): (usize, &LayerConfig)| {
        let all = of_rows(l, i < own, shares);
        let drops = own < config.layers.len() && i + 1 >= own;
        if drops { all.or(of_rows(l, false, &left)) } else { all }
    };
    let layers = config.layers.iter().enumerate().map(layer).fold(Need::default(), Need::or);
    let tables = [LayerKind::Sliding, LayerKind::Full].map(|kind| {
        let dim = config.layers.iter().find(|l| l.kind == kind).map_or(0, |l| l.head_dim);
        let table = Need::of::<f32>(tokens * dim / 2);
        table.and(table)
    });
    let staged = |share: &Share| Need::of::<u8>(share.tokens * ring_bytes(config, share.limits));
    let staged = shares.iter().map(staged).fold(Need::default(), Need::and);
    let hidden = Need::of::<f32>(tokens * config.hidden);
    let wanted: usize = shares.iter().map(|share| 1 + share.guessed).sum();
    let many = if wanted > 1 { GROUP_COLUMNS.min(wanted) } else { 0 };
    let logits = logits_need(config, many.max(1)).and(Need::of::<f32>(many * config.hidden));
    let logits = logits.and(Need::of::<f32>(many * config.vocab));
    let per_layer = Need::of::<f32>(tokens * config.per_layer_len());
    let inputs = per_layer::inputs_need(config, tokens);
    let held = hidden.and(tables[0]).and(tables[1]).and(staged).and(per_layer);
    held.and(hidden.and(layers).or(logits).or(inputs))
}

/// Fills `x` with the embeddings of a stream's tokens: those of words are scaled by the square root
/// of their length as the architecture has it, those of media stand there as they are.
fn embed(model: &Model, pool: &Pool, stream: &Stream<'_>, x: &mut [f32]) {
    let hidden = model.config().hidden;
    let embedding = model.weights().embedding.view();
    let scale = (hidden as f32).sqrt();
    pool.chunks(x, hidden, |t, row| {
        embedding.dequantize_row(stream.id(t) as usize, row);
        pool.isa().scale(row, scale);
    });
    stream.media.iter().for_each(|placed| placed.fill(stream.kv.len(), hidden, x));
}

/// Evaluates the tokens of all streams: fills their rows and logits, and appends their keys and
/// values to their caches. Those of guessed tokens are set aside instead: full layers hold them
/// beyond the end of the cache, until the next pass.
///
/// Nothing is kept of a pass that was stopped or that failed: what it did to the caches lies beyond
/// their ends, and rows are as they were. So it is for a stream whose logits are no numbers, but
/// for these.
pub(crate) fn forward(
    model: &Model,
    pool: &Pool,
    streams: &mut [Stream<'_>],
    mut frame: Frame<'_>,
) -> Result<(), PassError> {
    let (config, layers) = (model.config(), &model.weights().layers);
    model.weights().check().map_err(PassError::File)?;
    let (tokens, staged) = place(streams);
    let x = frame.take(tokens * config.hidden); // [tokens, hidden]
    for stream in &*streams {
        embed(model, pool, stream, rows_mut(x, config.hidden, stream.rows_of_pass()));
    }
    let mut tables = |kind| Tables::new(model, kind, streams, tokens, &mut frame);
    let (sliding, full) = (tables(LayerKind::Sliding), tables(LayerKind::Full));
    let staged = frame.take(staged);
    let per_layer = frame.take(tokens * config.per_layer_len()); // [tokens, layers, per_layer]
    per_layer::inputs(model, pool, streams, x, per_layer, frame.nested())?;
    let mut pass = Pass { config, pool, sliding, full, per_layer, has_keys: false };
    let own = config.own_layers().len();
    let has_unwanted = |stream: &Stream<'_>| stream.has_unwanted(config.hidden);
    let drops = own < layers.len() && streams.iter().any(has_unwanted);
    let whole = if drops { own - 1 } else { layers.len() };
    for i in 0..whole {
        layer(&pass, layers, i, streams, staged, x, frame.nested());
    }
    let x = match drops {
        true => {
            keys(&pass, &layers[whole], whole, streams, staged, x, frame.nested());
            pass.keep_wanted(streams, x)
        }
        false => x,
    };
    for i in whole..layers.len() {
        layer(&pass, layers, i, streams, staged, x, frame.nested());
    }
    last_logits(model, pool, streams, x, frame);
    if pool.is_stopped() {
        return Err(PassError::Cancelled);
    }
    model.weights().check().map_err(PassError::File)?; // they may have changed meanwhile
    streams.iter_mut().filter(|stream| stream.is_finite).for_each(|stream| {
        let (end, tokens, kept) = (stream.end() * config.hidden, stream.tokens(), stream.ids.len());
        let staged = &staged[stream.staged.clone()];
        stream.rows.copy_from_slice(&x[end - stream.rows.len()..end]);
        if let Some(ahead) = &mut stream.ahead {
            ahead.rows.copy_from_slice(&x[end..][..ahead.rows.len()]);
            stream.kv.set_aside(staged, tokens, kept, ahead.staged);
        }
        stream.kv.keep(pool, staged, tokens, kept);
    });
    Ok(())
}

/// Says where each stream has its rows and its staged bytes; returns the number of all of them.
fn place(streams: &mut [Stream<'_>]) -> (usize, usize) {
    let (mut row, mut staged) = (0, 0);
    for stream in streams {
        let bytes = stream.tokens() * stream.kv.ring_bytes();
        (stream.row, stream.staged) = (row, staged..staged + bytes);
        row += stream.tokens();
        staged += Need::of::<u8>(bytes).bytes();
    }
    (row, staged)
}

/// Fills the logits that are wanted, up to [`GROUP_COLUMNS`] rows at a time.
fn last_logits(
    model: &Model,
    pool: &Pool,
    streams: &mut [Stream<'_>],
    x: &[f32],
    mut frame: Frame<'_>,
) {
    let (hidden, vocab) = (model.config().hidden, model.config().vocab);
    let row = |output: &Output<'_>| &x[output.row * hidden..][..hidden];
    let wanted: usize = streams.iter().map(Stream::wanted).sum();
    let mut outputs = streams.iter_mut().flat_map(|stream| stream.outputs(vocab));
    if wanted == 1 {
        for output in outputs {
            *output.is_finite = logits(model, pool, row(&output), output.logits, frame.nested());
        }
        return;
    }
    loop {
        let mut group: [Option<Output<'_>>; GROUP_COLUMNS] = array::from_fn(|_| outputs.next());
        let count = group.iter().flatten().count();
        if count == 0 {
            return;
        }
        let mut frame = frame.nested();
        let rows = frame.take(count * hidden); // [wanted, hidden]
        let out = frame.take(count * vocab); // [wanted, vocab]
        for (to, output) in rows.chunks_exact_mut(hidden).zip(group.iter().flatten()) {
            to.copy_from_slice(row(output));
        }
        let are_finite = logits(model, pool, rows, out, frame);
        for (out, output) in out.chunks_exact(vocab).zip(group.iter_mut().flatten()) {
            *output.is_finite = are_finite || pool.isa().is_finite(out);
            output.logits.copy_from_slice(out);
        }
    }
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

/// Scratch of [`logits`].
fn logits_need(config: &Config, rows: usize) -> Need {
    Need::of::<f32>(rows * config.hidden).and(Activations::need(config.hidden, rows))
}

/// What all layers of one forward pass share.
struct Pass<'a> {
    config: &'a Config,
    pool: &'a Pool,
    sliding: Tables<'a>,
    full: Tables<'a>,
    /// The vectors that each layer has for a token, `[tokens, layers, per_layer]`; empty where the
    /// architecture has none.
    per_layer: &'a mut [f32],
    /// Whether all keys and values are made, and layers attend to those that are there.
    has_keys: bool,
}

/// Cosines and sines of RoPE, `[tokens][half]`.
#[derive(Default)]
struct Tables<'a> {
    cos: &'a mut [f32],
    sin: &'a mut [f32],
    half: usize,
}

impl<'a> Tables<'a> {
    /// The tables for the positions of all streams, `tokens` in all.
    fn new(
        model: &Model,
        kind: LayerKind,
        streams: &[Stream<'_>],
        tokens: usize,
        frame: &mut Frame<'a>,
    ) -> Self {
        let frequencies = model.frequencies(kind);
        let half = frequencies.len();
        let (cos, sin) = (frame.take(tokens * half), frame.take(tokens * half));
        for stream in streams {
            let rows = stream.rows_of_pass();
            let (cos, sin) = (rows_mut(cos, half, rows.clone()), rows_mut(sin, half, rows));
            rope::fill(frequencies, stream.kv.len(), cos, sin);
        }
        Self { cos, sin, half }
    }

    fn row(&self, token: usize) -> (&[f32], &[f32]) {
        let range = token * self.half..(token + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

fn layer(
    pass: &Pass<'_>,
    layers: &[Layer],
    i: usize,
    streams: &mut [Stream<'_>],
    staged: &mut [u8],
    x: &mut [f32], // [tokens, hidden]
    mut frame: Frame<'_>,
) {
    let weights = &layers[i];
    let h = frame.take(x.len()); // [tokens, hidden]
    pass.norm(h, x, &weights.attn_norm);
    attention::attention(pass, layers, i, streams, staged, h, frame.nested()); // h := attention(h)
    pass.add_normed(x, h, &weights.post_attention_norm, 1.0);
    pass.norm(h, x, &weights.ffn_norm);
    feed_forward::feed_forward(pass, weights, i, x, h, frame.nested()); // h := ffn(h)
    match &weights.per_layer {
        None => pass.add_normed(x, h, &weights.post_ffw_norm, weights.output_scale),
        Some(step) => {
            pass.add_normed(x, h, &weights.post_ffw_norm, 1.0);
            per_layer::step(pass, step, i, x, h, frame.nested()); // h := step(x)
            pass.add_normed(x, h, &step.post_norm, weights.output_scale);
        }
    }
}

/// Makes the keys and values of layer `i` and leaves the rest of the layer for later.
fn keys(
    pass: &Pass<'_>,
    weights: &Layer,
    i: usize,
    streams: &mut [Stream<'_>],
    staged: &mut [u8],
    x: &[f32], // [tokens, hidden]
    mut frame: Frame<'_>,
) {
    let h = frame.take(x.len()); // [tokens, hidden]
    pass.norm(h, x, &weights.attn_norm);
    attention::keys(pass, weights, i, streams, staged, h, frame);
}

impl Pass<'_> {
    /// Whether layer `i` makes keys and values in this part of the pass.
    fn makes_keys(&self, i: usize) -> bool {
        self.config.layers[i].kv == KvSource::Own && !self.has_keys
    }

    /// Moves the rows that somebody wants to the front of `x`, `[tokens, hidden]`, with all that
    /// belongs to them, and returns them.
    fn keep_wanted<'x>(&mut self, streams: &mut [Stream<'_>], x: &'x mut [f32]) -> &'x mut [f32] {
        let (hidden, per_layer) = (self.config.hidden, self.config.per_layer_len());
        self.has_keys = true;
        let mut row = 0;
        for stream in streams {
            let kept = stream.keep_wanted(hidden, row);
            let to_front = |data: &mut [f32], width: usize| {
                data.copy_within(kept.start * width..kept.end * width, row * width);
            };
            to_front(x, hidden);
            to_front(self.per_layer, per_layer);
            for tables in [&mut self.sliding, &mut self.full] {
                to_front(tables.cos, tables.half);
                to_front(tables.sin, tables.half);
            }
            row += kept.len();
        }
        &mut x[..row * hidden]
    }

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

/// Some of the rows of `x`, `[rows, width]`.
fn rows_mut(x: &mut [f32], width: usize, rows: Range<usize>) -> &mut [f32] {
    &mut x[rows.start * width..rows.end * width]
}

/// Element-wise work on a flat array is shared out in pieces of this length.
const FLAT_CHUNK: usize = 4096;
