//! The projector of the 12B, which has no encoder.
//!
//! ```text
//! f = 640 samples at 16 kHz, 40 ms; the last frame is filled up with zeros
//! row = P RMSNorm(f)
//! ```

use super::FRAME;
use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::{Activations, Pool, Product};
use crate::projector::ProjectorFile;
use crate::weights::Matrix;

/// The weights between frames and the decoder.
#[derive(Debug)]
pub(crate) struct Frames {
    /// `[hidden, FRAME]`.
    projection: Matrix,
    norm_eps: f32,
}

impl Frames {
    /// Reads the audio part of a projector file for a decoder of `hidden` values.
    ///
    /// # Errors
    /// If a tensor or key is missing or of the wrong shape.
    pub(super) fn load(file: &ProjectorFile<'_>, hidden: usize) -> Result<Self> {
        Ok(Self {
            projection: file.projection("mm.a.input_projection.weight", FRAME, hidden)?,
            norm_eps: file.float("clip.audio.attention.layer_norm_epsilon")?,
        })
    }

    /// Scratch of [`Frames::embed`].
    pub(super) fn need() -> Need {
        Need::of::<f32>(BATCH * FRAME).and(Activations::need(FRAME, BATCH))
    }

    /// Fills `out`, `[frames, hidden]`, with the embeddings of the frames of `samples`.
    pub(super) fn embed(
        &self,
        pool: &Pool,
        samples: &[f32],
        out: &mut [f32],
        mut frame: Frame<'_>,
    ) {
        let hidden = out.len() / samples.len().div_ceil(FRAME);
        let batches = samples.chunks(BATCH * FRAME).zip(out.chunks_mut(BATCH * hidden));
        for (samples, out) in batches {
            let mut frame = frame.nested();
            let frames = frame.take::<f32>(samples.len().next_multiple_of(FRAME));
            frames[..samples.len()].copy_from_slice(samples);
            frames[samples.len()..].fill(0.0);
            pool.chunks(frames, FRAME, |_, frame| {
                pool.isa().rms_norm_in_place(frame, None, self.norm_eps);
            });
            // One frame at a time in F32, since sound that comes in pieces is cut otherwise than
            // the whole.
            let frames = Activations::new(pool, frames, FRAME, &mut frame);
            pool.matmul(&frames, [Product { weights: self.projection.view(), out }]);
        }
    }
}

/// Frames embedded at a time.
const BATCH: usize = 64;
