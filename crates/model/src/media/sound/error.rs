//! Why a sound file cannot be used, each cause with what was found and what to do.

use std::time::Duration;

use crate::media::samples::SamplesError;

/// What can go wrong between a sound file and samples that the model can hear.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum AudioError {
    /// The file cannot be read at all.
    #[error("the audio file cannot be read: {0}")]
    Io(#[from] std::io::Error),

    /// A file of no bytes.
    #[error("the audio file is empty: give a WAV, FLAC, MP3, Ogg, AAC or M4A file")]
    Empty,

    /// The first bytes are those of something else.
    #[error(
        "{found} is not audio that can be read: \
         give WAV, FLAC, MP3, Ogg, AAC or M4A, for instance by converting it with ffmpeg"
    )]
    NotAudio { found: String },

    /// A container without sound.
    #[error("the {container} file holds no audio track: give one that has sound")]
    NoAudioTrack { container: &'static str },

    /// Sound in a coding without a decoder.
    #[error(
        "the sound in the {container} file is {codec}, which cannot be decoded: \
         convert it to WAV or FLAC, for instance with ffmpeg"
    )]
    UnsupportedCodec { container: &'static str, codec: String },

    /// A header that makes no sense.
    #[error("the {container} file is damaged ({why}): record or download it again")]
    Damaged { container: &'static str, why: String },

    /// Nothing tells where in the file its sound is.
    #[error(
        "the {container} file was cut short before its index, without which its sound cannot be \
         found: copy or download it again"
    )]
    NoIndex { container: &'static str },

    /// Longer than the caller allows.
    #[error(
        "the audio lasts {} or more, the limit is {}: \
         cut the file or raise the limit", hours(*.found), hours(*.limit)
    )]
    TooLong { found: Duration, limit: Duration },

    /// Samples that are no sound.
    #[error(transparent)]
    Samples(#[from] SamplesError),
}

/// `h:mm:ss`, rounded down.
fn hours(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
