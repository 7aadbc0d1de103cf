//! Sound from files.

use std::io::Cursor;
use std::path::Path;

use super::Clip;
use crate::media;
use crate::media::sound::decode::{self, Decoded};
use crate::media::sound::{AudioError, DecodeOptions};

impl Clip {
    /// Reads a sound file of at most two hours: WAV, AIFF, AU, CAF, FLAC, MP3, Ogg, AAC-LC, M4A
    /// or Matroska. No program is run; for what is refused, `video::sound` asks ffmpeg.
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
        decode::decode(media::open(path.as_ref())?, options).map(Clip::from)
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
}

#[cfg(feature = "film")]
impl Clip {
    /// The same of a file that was not read to its end.
    pub(crate) fn incomplete(self) -> Clip {
        Clip { complete: false, ..self }
    }
}

impl From<Decoded> for Clip {
    fn from(decoded: Decoded) -> Clip {
        Clip { samples: decoded.samples, complete: decoded.complete }
    }
}
