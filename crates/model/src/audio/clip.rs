//! A sound as the model hears it: mono, 16 kHz, whatever it was before.

use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use super::segment::{self, LongClip};
use crate::media::file;
use crate::media::sound::decode::{self, Decoded};
use crate::media::sound::{AudioError, DecodeOptions, RATE, Stream};

/// At least one mono sample at 16 kHz; all are finite, loud parts may exceed 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    samples: Vec<f32>,
    complete: bool,
}

impl Clip {
    /// Reads a sound file of at most two hours: WAV, AIFF, AU, CAF, FLAC, MP3, Ogg, AAC-LC, M4A
    /// or Matroska. No program is run; for what is refused, [`video::sound`](crate::video::sound)
    /// asks ffmpeg.
    ///
    /// # Errors
    /// See [`AudioError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Clip, AudioError> {
        Clip::open_with(path, &DecodeOptions::default())
    }

    /// The same with another limit.
    ///
    /// # Errors
    /// See [`AudioError`].
    pub fn open_with(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Clip, AudioError> {
        decode::decode(file::open(path.as_ref())?, options).map(Clip::from)
    }

    /// As [`open`](Clip::open), from the file's bytes.
    ///
    /// # Errors
    /// See [`AudioError`].
    pub fn decode(bytes: &[u8]) -> Result<Clip, AudioError> {
        Clip::decode_with(bytes, &DecodeOptions::default())
    }

    /// The same with another limit.
    ///
    /// # Errors
    /// See [`AudioError`].
    pub fn decode_with(bytes: &[u8], options: &DecodeOptions) -> Result<Clip, AudioError> {
        decode::decode(Cursor::new(bytes), options).map(Clip::from)
    }

    /// Mixes and resamples PCM that the caller has in memory, interleaved and best within -1 and 1.
    ///
    /// # Errors
    /// A rate outside 1 to 768 kHz, a channel count outside 1 to 64, samples that are not finite,
    /// none at all, or not equally many in every channel.
    pub fn from_pcm(interleaved: &[f32], rate: u32, channels: usize) -> Result<Clip, AudioError> {
        let mut stream = Stream::new(rate, channels)?;
        let mut samples = Vec::new();
        stream.push(interleaved, &mut samples)?;
        stream.finish(&mut samples)?;
        match samples.is_empty() {
            true => Err(AudioError::NoSamples),
            false => Ok(Clip { samples, complete: true }),
        }
    }

    /// The same of a file that was not read to its end.
    pub(crate) fn incomplete(self) -> Clip {
        Clip { complete: false, ..self }
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

    /// Frames of 40 ms, the last one padded: tokens it takes, unless it is split.
    #[must_use]
    pub fn frames(&self) -> usize {
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
    /// [`AudioError::OverOneSegment`] where more than one would be needed and `long` forbids it.
    pub fn segments(&self, long: LongClip) -> Result<Vec<Range<usize>>, AudioError> {
        segment::segments(&self.samples, long)
    }
}

impl From<Decoded> for Clip {
    fn from(decoded: Decoded) -> Clip {
        Clip { samples: decoded.samples, complete: decoded.complete }
    }
}
