//! From the mel spectrogram to tokens: two convolutions that halve time and frequency.
//!
//! ```text
//! a = ReLU(LayerNorm(conv 3x3, stride 2 (mel)))     [time / 2][frequencies / 2][channels]
//! b = ReLU(LayerNorm(conv 3x3, stride 2 (a)))       [time / 4][frequencies / 4][channels]
//! x = W b                                           of all frequencies of a time
//! ```
//!
//! Outside there are zeros, and where a sound has ended: a time of `a` is zero where its middle
//! frame is not real. The norms are over channels and have no bias.

use std::ops::Range;

use carat_kernels::Isa;

use super::shape::{FIRST, SECOND};
use super::{BLOCK, ConformerShape, EPS};
use crate::arena::{Frame, Need};
use crate::audio::mel::{self, Mel};
use crate::error::Result;
use crate::pool::Pool;
use crate::projector::ProjectorFile;
use crate::tower::{Linear, Rows};

#[derive(Debug)]
pub(super) struct Subsample {
    shape: ConformerShape,
    mel: Mel,
    /// `[3 of time][3 of frequency][channels]`.
    first: Vec<f32>,
    /// `[channels][3 of time][3 of frequency][channels before]`.
    second: Vec<f32>,
    norms: [Vec<f32>; 2],
    no_bias: Vec<f32>,
    /// `[D, frequencies · channels]`.
    projection: Linear,
}

impl Subsample {
    pub(super) fn load(file: &ProjectorFile<'_>, shape: ConformerShape) -> Result<Self> {
        let [one, two] = shape.channels;
        let norm = |i: usize, len| file.vector(&format!("a.conv1d.{i}.norm.weight"), &[len]);
        let first = file.vector(FIRST, &[3, 3, 1, one])?;
        let second = file.vector(SECOND, &[3, 3, one, two])?;
        Ok(Self {
            shape,
            mel: Mel::new(shape.bins),
            first: transposed(&first, 9),
            second: second.chunks_exact(9 * one).flat_map(|w| transposed(w, 9)).collect(),
            norms: [norm(0, one)?, norm(1, two)?],
            no_bias: vec![0.0; one.max(two)],
            projection: Linear::load(file, "a.input_projection", convolved(shape), shape.width)?,
        })
    }

    pub(super) fn need(shape: ConformerShape) -> Need {
        let frames = Need::of::<f32>((4 * STEP + 3) * shape.bins);
        let times = Need::of::<f32>((2 * STEP + 1) * padded(shape));
        let product = Linear::need(convolved(shape), BLOCK);
        Need::of::<f32>(BLOCK * convolved(shape)).and(frames.and(times).or(product))
    }

    /// Fills `x`, `[tokens, D]`, with tokens of the sound that begins with `samples`.
    pub(super) fn run(
        &self,
        pool: &Pool,
        samples: &[f32],
        tokens: Range<usize>,
        x: &mut [f32],
        mut frame: Frame<'_>,
    ) {
        let width = convolved(self.shape);
        let rows = frame.take::<f32>(tokens.len() * width);
        for (i, rows) in rows.chunks_mut(STEP * width).enumerate() {
            self.convolve(pool, samples, tokens.start + i * STEP, rows, frame.nested());
        }
        self.projection.apply(pool, Rows::new(rows, width), x, frame);
    }

    /// Fills `out` with the tokens from `at` on, as the second convolution leaves them.
    fn convolve(
        &self,
        pool: &Pool,
        samples: &[f32],
        at: usize,
        out: &mut [f32],
        mut frame: Frame<'_>,
    ) {
        let (bins, padded, width) = (self.shape.bins, padded(self.shape), convolved(self.shape));
        let tokens = out.len() / width;
        // Token t is made of times 2t − 1 to 2t + 1, and time u of frames 2u − 1 to 2u + 1.
        let (first_time, first_frame) = (2 * at as isize - 1, 4 * at as isize - 3);
        let frames = frame.take::<f32>((4 * tokens + 3) * bins);
        pool.chunks(frames, bins, |i, out| {
            self.mel.frame(samples, first_frame + i as isize, out);
        });
        let times = frame.take::<f32>((2 * tokens + 1) * padded);
        let frames = &*frames;
        pool.chunks(times, padded, |i, out| {
            let time = first_time + i as isize;
            let is_real = time >= 0 && mel::is_real(samples.len(), 2 * time.unsigned_abs());
            out.fill(0.0);
            if is_real {
                self.time(pool.isa(), &frames[2 * i * bins..][..3 * bins], out);
            }
        });
        let times = &*times;
        pool.chunks(out, width, |i, out| {
            self.token(pool.isa(), &times[2 * i * padded..][..3 * padded], out);
        });
    }

    /// The first convolution of three frames, between a zero frequency on either side.
    fn time(&self, isa: Isa, frames: &[f32], out: &mut [f32]) {
        let (bins, channels) = (self.shape.bins, self.shape.channels[0]);
        let inner = channels..out.len() - channels;
        for (f, out) in out[inner].chunks_exact_mut(channels).enumerate() {
            for (i, weights) in self.first.chunks_exact(channels).enumerate() {
                let Some(bin) = (2 * f + i % 3).checked_sub(1).filter(|bin| *bin < bins) else {
                    continue; // outside
                };
                let value = frames[i / 3 * bins + bin];
                out.iter_mut().zip(weights).for_each(|(out, w)| *out += w * value);
            }
            self.finish(isa, 0, out);
        }
    }

    /// The second convolution of three times.
    fn token(&self, isa: Isa, times: &[f32], out: &mut [f32]) {
        let [before, channels] = self.shape.channels;
        let padded = times.len() / 3;
        for (f, out) in out.chunks_exact_mut(channels).enumerate() {
            for (out, weights) in out.iter_mut().zip(self.second.chunks_exact(9 * before)) {
                let part = |(i, weights): (usize, &[f32])| {
                    isa.dot(weights, &times[i * padded + 2 * f * before..][..3 * before])
                };
                *out = weights.chunks_exact(3 * before).enumerate().map(part).sum();
            }
            self.finish(isa, 1, out);
        }
    }

    /// The norm over channels and what follows it.
    fn finish(&self, isa: Isa, i: usize, channels: &mut [f32]) {
        let bias = &self.no_bias[..channels.len()];
        isa.layer_norm_in_place(channels, &self.norms[i], bias, EPS);
        for x in channels.iter_mut().filter(|x| **x < 0.0) {
            *x = 0.0; // unlike a maximum, this leaves NaN as it is
        }
    }
}

/// The length of a time after the first convolution, with a zero frequency on either side.
fn padded(shape: ConformerShape) -> usize {
    (shape.frequencies()[0] + 2) * shape.channels[0]
}

/// The length of a token after the second convolution.
fn convolved(shape: ConformerShape) -> usize {
    shape.frequencies()[1] * shape.channels[1]
}

/// The transpose of a matrix with rows of `cols` values.
fn transposed(matrix: &[f32], cols: usize) -> Vec<f32> {
    let column = |col| matrix.iter().skip(col).step_by(cols).copied();
    (0..cols).flat_map(column).collect()
}

/// Tokens convolved at a time: their intermediate values stay in the cache.
const STEP: usize = 16;
