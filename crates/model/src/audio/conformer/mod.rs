//! The encoder of E2B and E4B: a conformer (Gulati et al. 2020) that hears a few tokens back.
//!
//! ```text
//! x = two strided convolutions of the mel spectrogram, a token for four frames     (subsample.rs)
//! in each layer, every RMSNorm with its own weights:
//!   x += ½ RMSNorm(W SiLU(V RMSNorm(x)))                                         (feed_forward.rs)
//!   x += RMSNorm(O attention(RMSNorm(x)))                                           (attention.rs)
//!   x += light convolution of RMSNorm(x)                                          (convolution.rs)
//!   x += ½ RMSNorm(W SiLU(V RMSNorm(x)))
//!   x  = RMSNorm(x)
//! row = P RMSNorm(W x + b), without weights of the norm
//! ```
//!
//! A token depends on nothing after its own four frames, and within a layer only on a few tokens
//! before it. So tokens are embedded a block at a time, with what the layers remember of those
//! before: a [`History`]. Blocks of any size give the same bits.
//!
//! Every norm adds 1e-6: the key of the file that should say it is wrong in older files.

mod attention;
mod convolution;
mod feed_forward;
mod history;
mod shape;
mod subsample;

use std::mem;
use std::ops::Range;

pub(crate) use history::History;
pub(crate) use shape::ConformerShape;

use super::mel;
use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::Pool;
use crate::projector::ProjectorFile;
use crate::tower::{Linear, Rows};
use attention::Attention;
use convolution::Convolution;
use feed_forward::FeedForward;
use history::Past;
use subsample::Subsample;

/// The encoder's weights. `D` is the width of its tokens, `H` that of the decoder's.
#[derive(Debug)]
pub(crate) struct Conformer {
    shape: ConformerShape,
    subsample: Subsample,
    layers: Vec<Layer>,
    /// To `output` values, with a bias.
    output: Linear,
    bias: Vec<f32>,
    /// From those to the decoder's.
    projection: Linear,
}

#[derive(Debug)]
struct Layer {
    before: FeedForward,
    attention: Attention,
    convolution: Convolution,
    after: FeedForward,
    norm: Vec<f32>,
}

/// Tokens of a sound of so many samples: those whose first frame is real. Fewer than
/// [`SAMPLES_MIN`] have none.
pub(super) fn tokens(samples: usize) -> usize {
    samples.saturating_sub(mel::HOP).div_ceil(SAMPLES)
}

/// Tokens that stay as they are, whatever follows so many samples: those whose frames are all real.
pub(super) fn settled(samples: usize) -> usize {
    samples.saturating_sub(1) / SAMPLES
}

/// Whether a tensor is folded into a few values when it is read.
pub(super) fn is_folded(name: &str) -> bool {
    name.ends_with(attention::DISTANCES)
}

/// Samples of the shortest sound that has a token.
pub(super) const SAMPLES_MIN: usize = mel::HOP + 1;

impl Conformer {
    /// Reads the encoder of a projector file for a decoder of `hidden` values.
    ///
    /// # Errors
    /// If a tensor or key is missing or of the wrong shape.
    pub(super) fn load(file: &ProjectorFile<'_>, hidden: usize) -> Result<Self> {
        let shape = ConformerShape::of(file.gguf)?;
        let ConformerShape { width, output, .. } = shape;
        let layer = |i| {
            let name = |name: &str| format!("a.blk.{i}.{name}");
            Ok(Layer {
                before: FeedForward::load(file, shape, name, "")?,
                attention: Attention::load(file, shape, name)?,
                convolution: Convolution::load(file, shape, name)?,
                after: FeedForward::load(file, shape, name, "_1")?,
                norm: file.vector(&name("ln2.weight"), &[width])?,
            })
        };
        Ok(Self {
            shape,
            subsample: Subsample::load(file, shape)?,
            layers: (0..shape.layers).map(layer).collect::<Result<_>>()?,
            output: Linear::load(file, "a.pre_encode.out", width, output)?,
            bias: file.vector("a.pre_encode.out.bias", &[output])?,
            projection: Linear::projection(file, "mm.a.input_projection", output, hidden)?,
        })
    }

    /// Scratch of [`Conformer::embed`].
    pub(super) fn need(shape: ConformerShape) -> Need {
        let ConformerShape { width, output, .. } = shape;
        let layer =
            FeedForward::need(shape).or(Attention::need(shape)).or(Convolution::need(shape));
        let products = Linear::need(width, BLOCK).or(Linear::need(output, BLOCK));
        let rows = Need::of::<f32>(BLOCK * output).and(products);
        Need::of::<f32>(BLOCK * width).and(Subsample::need(shape).or(layer).or(rows))
    }

    /// What is remembered of a sound of which nothing was heard.
    pub(super) fn history(&self) -> History {
        History::new(self.shape)
    }

    /// Fills `out`, `[tokens, H]`, with the embeddings of `tokens` of the sound that begins with
    /// `samples`: they are [`settled`], or the sound ends there. A `history` of other tokens than
    /// those before costs the time of some tokens more. If the pool is stopped, `out` is arbitrary
    /// and the history forgotten.
    pub(super) fn embed(
        &self,
        pool: &Pool,
        samples: &[f32],
        tokens: Range<usize>,
        history: &mut History,
        mut out: &mut [f32],
        mut frame: Frame<'_>,
    ) {
        let hidden = out.len() / tokens.len();
        let mut at = history.begin(tokens.start, self.reach());
        while at < tokens.end {
            let block = at..(at + BLOCK).min(tokens.end);
            at = block.end;
            // The first ones may be there only for what the layers remember of them.
            let wanted = at - tokens.start.clamp(block.start, block.end);
            let (rows, rest) = mem::take(&mut out).split_at_mut(wanted * hidden);
            self.block(pool, samples, block, history, rows, frame.nested());
            out = rest;
            if pool.is_stopped() {
                return;
            }
        }
        history.end(tokens.end);
    }

    /// The tokens before one that it depends on.
    fn reach(&self) -> usize {
        self.shape.layers * (attention::PAST + self.shape.taps - 1)
    }

    /// Embeds a block; `out` has room for as many of its last tokens as are wanted.
    fn block(
        &self,
        pool: &Pool,
        samples: &[f32],
        block: Range<usize>,
        history: &mut History,
        out: &mut [f32],
        mut frame: Frame<'_>,
    ) {
        let ConformerShape { width, output, .. } = self.shape;
        let x = frame.take::<f32>(block.len() * width);
        self.subsample.run(pool, samples, block.clone(), x, frame.nested());
        for (i, layer) in self.layers.iter().enumerate() {
            if pool.is_stopped() {
                return;
            }
            layer.run(pool, x, history.layer(i, block.start), &mut frame);
        }
        let wanted = out.len() / self.projection.matrix().view().rows();
        if wanted == 0 {
            return;
        }
        let y = frame.take::<f32>(wanted * output);
        let x = &x[(block.len() - wanted) * width..];
        self.output.apply(pool, Rows::new(x, width), y, frame.nested());
        pool.chunks(y, output, |_, y| {
            pool.isa().add(y, &self.bias);
            pool.isa().rms_norm_in_place(y, None, EPS);
        });
        self.projection.apply(pool, Rows::new(y, output), out, frame);
    }
}

impl Layer {
    fn run(&self, pool: &Pool, x: &mut [f32], past: Past<'_>, frame: &mut Frame<'_>) {
        let Past { tokens, keys, values, gated } = past;
        self.before.run(pool, x, frame.nested());
        self.attention.run(pool, x, (tokens, keys, values), frame.nested());
        self.convolution.run(pool, x, gated, frame.nested());
        self.after.run(pool, x, frame.nested());
        pool.chunks(x, self.norm.len(), |_, x| {
            pool.isa().rms_norm_in_place(x, Some(&self.norm), EPS);
        });
    }
}

/// Samples from one token to the next: 40 ms.
const SAMPLES: usize = 4 * mel::HOP;

/// Tokens embedded at a time: enough that reading the weights costs little.
const BLOCK: usize = 128;

/// What norms add to a mean.
const EPS: f32 = 1e-6;

#[cfg(test)]
mod tests;
