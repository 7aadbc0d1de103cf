//! From sound to rows of the residual stream: a row, and a token, for each 40 ms.
//!
//! In the 12B the projector is a norm and a product of samples (`frames.rs`), and the decoder does
//! the rest. E2B and E4B have an encoder (`conformer`), which hears a mel spectrogram (`mel.rs`).
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
mod conformer;
mod frames;
mod mel;
#[cfg(feature = "sound")]
mod open;
pub(crate) mod segment;

use std::ops::Range;

use carat_gguf::Gguf;

pub use clip::Clip;
pub use segment::{LongClip, OverOneSegment, SEGMENT_SECONDS_MAX};

pub(crate) use crate::media::samples::check_finite;
pub use crate::media::samples::{RATE, SamplesError, Stream};
#[cfg(feature = "sound")]
pub use crate::media::sound::{AudioError, DecodeOptions};

use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::Pool;
use crate::projector::{Kind, ProjectorFile};
use conformer::{Conformer, ConformerShape};
use frames::Frames;

/// Samples from one token to the next: 40 ms.
pub const FRAME: usize = 640;

/// What turns sound into rows of the decoder.
#[derive(Debug)]
pub(crate) enum Audio {
    /// Of the 12B.
    Frames(Frames),
    /// Of E2B and E4B.
    Conformer(Box<Conformer>),
}

/// What is known of it without loading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AudioShape {
    Frames,
    Conformer(ConformerShape),
}

/// What a projector remembers of a sound that goes on.
#[derive(Clone, Debug)]
pub(crate) struct History(Option<conformer::History>);

impl AudioShape {
    /// The shape of the audio part of a projector file.
    ///
    /// # Errors
    /// If a key or tensor that says it is missing, or a size cannot be.
    pub(crate) fn of(gguf: &Gguf<'_>) -> Result<Self> {
        Ok(match Kind::of_audio(gguf)? {
            Kind::Unified => Self::Frames,
            Kind::Tower => Self::Conformer(ConformerShape::of(gguf)?),
        })
    }

    /// Scratch of [`Audio::embed`].
    pub(crate) fn need(self) -> Need {
        match self {
            Self::Frames => Frames::need(),
            Self::Conformer(shape) => Conformer::need(shape),
        }
    }

    /// Whether a tensor of the file is read into another form that takes next to no memory.
    pub(crate) fn is_folded(self, name: &str) -> bool {
        matches!(self, Self::Conformer(_)) && conformer::is_folded(name)
    }
}

impl Audio {
    /// Reads the audio part of a projector file for a decoder of `hidden` values.
    ///
    /// # Errors
    /// If a tensor or key is missing or of the wrong shape.
    pub(crate) fn load(file: &ProjectorFile<'_>, hidden: usize) -> Result<Self> {
        Ok(match Kind::of_audio(file.gguf)? {
            Kind::Unified => Self::Frames(Frames::load(file, hidden)?),
            Kind::Tower => Self::Conformer(Box::new(Conformer::load(file, hidden)?)),
        })
    }

    /// Tokens of a sound of so many samples.
    ///
    /// # Errors
    /// If there are too few samples for one.
    pub(crate) fn tokens(&self, samples: usize) -> Result<usize, SamplesError> {
        let tokens = match self {
            Self::Frames(_) => samples.div_ceil(FRAME),
            Self::Conformer(_) => conformer::tokens(samples),
        };
        match (samples, tokens) {
            (0, _) => Err(SamplesError::NoSamples),
            (found, 0) => Err(SamplesError::TooShort { found, wanted: conformer::SAMPLES_MIN }),
            _ => Ok(tokens),
        }
    }

    /// Tokens of a sound that goes on after so many samples: what follows does not change them.
    pub(crate) fn settled(&self, samples: usize) -> usize {
        match self {
            Self::Frames(_) => samples / FRAME,
            Self::Conformer(_) => conformer::settled(samples),
        }
    }

    /// What there is to remember of a sound that begins.
    pub(crate) fn history(&self) -> History {
        History(match self {
            Self::Frames(_) => None,
            Self::Conformer(conformer) => Some(conformer.history()),
        })
    }

    /// Fills `out`, `[tokens, hidden]`, with the embeddings of some `tokens` of the sound that
    /// begins with `samples`: they are settled, or the sound ends with these samples. `history`
    /// comes from [`Audio::history`]; it saves time where it was last used for the tokens just
    /// before, and has no influence on the result.
    pub(crate) fn embed(
        &self,
        pool: &Pool,
        samples: &[f32],
        tokens: Range<usize>,
        history: &mut History,
        out: &mut [f32],
        frame: Frame<'_>,
    ) {
        match self {
            Self::Frames(frames) => {
                let end = samples.len().min(tokens.end * FRAME);
                frames.embed(pool, &samples[tokens.start * FRAME..end], out, frame);
            }
            Self::Conformer(conformer) => {
                let history = history.0.get_or_insert_with(|| conformer.history());
                conformer.embed(pool, samples, tokens, history, out, frame);
            }
        }
    }
}
