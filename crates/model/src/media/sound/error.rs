//! Why a sound cannot be used, each cause with what was found and what to do.

use std::time::Duration;

/// What can go wrong between a file, or the caller's PCM, and samples that the model can hear.
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

    /// Nothing to hear: no sample came out of the file, or the caller gave none.
    #[error("the audio has no samples, at least one is wanted: record or download it again")]
    NoSamples,

    /// A sample rate that no recording has.
    #[error(
        "a sample rate of {found} Hz is not usable, 1000 to 768000 Hz are: \
         correct the rate or the file's header"
    )]
    SampleRate { found: u32 },

    /// A channel count that cannot be mixed down.
    #[error("{found} channels are not usable, 1 to 64 are: correct the count or the file's header")]
    Channels { found: usize },

    /// A length that is not a whole number of sample frames.
    #[error(
        "{samples} interleaved samples do not divide into {channels} channels: \
         give every channel equally many"
    )]
    Interleaving { samples: u64, channels: usize },

    /// A float that is no sound. It would turn every number after it into NaN.
    #[error(
        "sample {at} is {value}, a finite number (best within -1 and 1) is wanted: \
         the file is damaged or its samples are not of the type it states"
    )]
    NotFinite { at: u64, value: f32 },

    /// Longer than the caller allows.
    #[error(
        "the audio lasts {} or more, the limit is {}: \
         cut the file or raise the limit", hours(*.found), hours(*.limit)
    )]
    TooLong { found: Duration, limit: Duration },

    /// Longer than the model hears at once, where the caller did not want it split.
    #[error(
        "the audio lasts {seconds:.4} s, the model hears at most {limit} s at once: \
         cut it or allow it to be split into segments"
    )]
    OverOneSegment { seconds: f64, limit: usize },
}

/// `h:mm:ss`, rounded down.
fn hours(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
