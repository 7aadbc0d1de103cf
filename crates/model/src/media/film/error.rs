//! Why there is no video, each cause with what was found and what to do.

use std::path::PathBuf;

use crate::media::image::ImageError;
use crate::media::pixels::PixelsError;
use crate::media::samples::SamplesError;
use crate::media::sound::AudioError;
use crate::video::NoFrames;

/// What can go wrong between a file and the frames, the picture or the sound in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum VideoError {
    /// The file system refused.
    #[error("cannot read the video {path:?}")]
    Read { path: PathBuf, source: std::io::Error },

    /// A folder where a file is wanted.
    #[error("{path:?} is a folder: give a rate with it, so that its pictures become frames")]
    Folder { path: PathBuf },

    /// Nothing in the file.
    #[error("the video {path:?} has 0 bytes: the file is empty, copy it again")]
    Empty { path: PathBuf },

    /// An animation that cannot be decoded.
    #[error(transparent)]
    Image(#[from] ImageError),

    /// A frame that cannot be decoded.
    #[error("the frame {path:?} cannot be used")]
    Frame { path: PathBuf, source: ImageError },

    /// A video without pictures.
    #[error(transparent)]
    NoFrames(#[from] NoFrames),

    /// A rate that gives no time.
    #[error("a rate of {found} frames in a second is not possible, a positive number is wanted")]
    Rate { found: f64 },

    /// An animation whose decoding would not end in reasonable time.
    #[error(
        "the animation has more than {pixels_max} pixels in all its frames: make it smaller or \
         shorter"
    )]
    TooLarge { pixels_max: u64 },

    /// An animation at which a decoder failed.
    #[error("the animation cannot be decoded ({why}): save it anew, for instance with ffmpeg")]
    Decoder { why: String },

    /// More frames than are kept count of.
    #[error("the video has more than {frames_max} frames: cut it")]
    TooManyFrames { frames_max: u64 },

    /// A sound track in which nothing is.
    #[error("the sound track has no samples, at least one is wanted: it is empty or damaged")]
    NoSound,

    /// Sound that is none.
    #[error(transparent)]
    Sound(#[from] AudioError),

    /// The caller set [`VideoConfig::cancel`](super::VideoConfig::cancel).
    #[error("the video was not read to its end, since that was cancelled")]
    Cancelled,

    /// A sound track longer than any model listens to.
    #[error("the sound track is longer than {seconds_max} seconds: cut it")]
    TooLong { seconds_max: u64 },

    /// A program that is not installed or may not be run.
    #[error(
        "the program {program:?} cannot be run and films need it: install ffmpeg, or give an \
         animated GIF, WebP or PNG, or a folder of frames"
    )]
    Program { program: PathBuf, source: std::io::Error },

    /// A program that gave up.
    #[error("{program:?} cannot read the file: {message}")]
    Failed { program: PathBuf, message: String },

    /// A program that did not come to an end.
    #[error("{program:?} was stopped after {seconds} s: the video is too long or on a slow disk")]
    Patience { program: PathBuf, seconds: u64 },

    /// Output that is not what was asked for.
    #[error("{program:?} answers {found:?}, {wanted} is wanted: its version may be too old")]
    Answer { program: PathBuf, found: String, wanted: &'static str },
}

impl From<PixelsError> for VideoError {
    fn from(error: PixelsError) -> Self {
        Self::Image(error.into())
    }
}

impl From<SamplesError> for VideoError {
    fn from(error: SamplesError) -> Self {
        Self::Sound(error.into())
    }
}
