//! From sound to rows of the residual stream.
//!
//! ```text
//! f = 640 samples at 16 kHz, 40 ms; the last frame is filled up with zeros
//! row = P RMSNorm(f)
//! ```
//!
//! A [`Clip`] comes from a path, from the bytes of a file (both with the crate's feature `sound`),
//! or from samples: at any rate with the feature `sound`, at 16 kHz without. Sound that is still
//! being recorded goes to [`Session::listen`](crate::Session::listen).
//!
//! ```no_run
//! use carat::audio::{Clip, LongClip};
//! use carat::{Input, Part, Session};
//!
//! # fn play(session: &mut Session) -> Result<(), carat::Error> {
//! let clip = Clip::from_pcm(&[0.0; 32_000], 16_000, 2)?; // a second of stereo
//! # #[cfg(feature = "sound")]
//! let clip = Clip::open("speech.mp3")?;
//! let clip = session.embed_clip(&clip, LongClip::Split)?;
//! session.push(Input::Parts(&[Part::from("Here is a sound:"), Part::from(&clip)]))?;
//! # Ok(())
//! # }
//! ```

mod clip;
#[cfg(feature = "sound")]
mod open;
pub(crate) mod segment;

pub use clip::Clip;
pub use segment::{LongClip, OverOneSegment, SEGMENT_SECONDS_MAX};

pub(crate) use crate::media::samples::check_finite;
pub use crate::media::samples::{RATE, SamplesError, Stream};
#[cfg(feature = "sound")]
pub use crate::media::sound::{AudioError, DecodeOptions};

use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::{Activations, Pool, Product};
use crate::projector::{Kind, ProjectorFile};
use crate::weights::Matrix;

/// Samples of a frame, which becomes one token: 40 ms.
pub const FRAME: usize = 640;

/// The weights between frames and the decoder.
#[derive(Debug)]
pub(crate) struct Audio {
    /// `[hidden, FRAME]`.
    projection: Matrix,
    norm_eps: f32,
}

impl Audio {
    /// Reads the audio part of a projector file for a decoder of `hidden` values.
    ///
    /// # Errors
    /// If a tensor or key is missing or of the wrong shape.
    pub(crate) fn load(file: &ProjectorFile<'_>, hidden: usize) -> Result<Self> {
        if Kind::of_audio(file.gguf)? == Kind::Tower {
            return Err(Kind::without_encoder("clip.audio.projector_type is gemma4a"));
        }
        Ok(Self {
            projection: file.projection("mm.a.input_projection.weight", FRAME, hidden)?,
            norm_eps: file.float("clip.audio.attention.layer_norm_epsilon")?,
        })
    }

    /// Scratch of [`Audio::embed`].
    pub(crate) fn need() -> Need {
        Need::of::<f32>(BATCH * FRAME).and(Activations::need(FRAME, BATCH))
    }

    /// Fills `out`, `[frames, hidden]`, with the embeddings of the frames of `samples`.
    pub(crate) fn embed(
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
