//! A sound as the model hears it: mono, 16 kHz, whatever it was before.

use std::ops::Range;

use super::segment::{self, LongClip, OverOneSegment};
use crate::media::samples::{RATE, SamplesError, Stream};

/// At least one mono sample at 16 kHz; all are finite, loud parts may exceed 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub(super) samples: Vec<f32>,
    pub(super) complete: bool,
}

impl Clip {
    /// Mixes and resamples PCM that the caller has in memory, interleaved and best within -1 and 1.
    ///
    /// # Errors
    /// A rate outside 1 to 768 kHz (without the feature `sound`: other than 16 kHz), a channel
    /// count outside 1 to 64, samples that are not finite, none at all, or not equally many in
    /// every channel.
    pub fn from_pcm(interleaved: &[f32], rate: u32, channels: usize) -> Result<Clip, SamplesError> {
        let mut stream = Stream::new(rate, channels)?;
        let mut samples = Vec::new();
        stream.push(interleaved, &mut samples)?;
        stream.finish(&mut samples)?;
        match samples.is_empty() {
            true => Err(SamplesError::NoSamples),
            false => Ok(Clip { samples, complete: true }),
        }
    }

    /// The samples.
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// How long it lasts.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(RATE)
    }

    /// Tokens that it takes in the prompt, without those that begin and end it and its segments:
    /// one for each 40 ms begun. With a projector that has an encoder (E2B, E4B) it is one less
    /// where no more than 10 ms of the last 40 ms have begun.
    #[must_use]
    pub fn tokens(&self) -> usize {
        segment::frames(self.samples.len())
    }

    /// False where the file breaks off or has damaged places: this is what was left to hear.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Ranges of samples of at most 30 s each, cut where it is quiet.
    ///
    /// # Errors
    /// [`OverOneSegment`] where more than one would be needed and `long` forbids it.
    pub fn segments(&self, long: LongClip) -> Result<Vec<Range<usize>>, OverOneSegment> {
        segment::segments(&self.samples, long)
    }
}
