//! Why a picture file cannot be used, each cause with what was found and what to do.

use std::error::Error;
use std::path::PathBuf;

use crate::media::pixels::PixelsError;

/// What can go wrong between a picture file and its pixels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum ImageError {
    /// The file system refused.
    #[error("cannot read the picture {path:?}")]
    Read { path: PathBuf, source: std::io::Error },

    /// A folder where a file is wanted.
    #[error("{path:?} is a folder, one picture file is wanted: name a file in it")]
    Folder { path: PathBuf },

    /// Nothing in the file.
    #[error("the picture has 0 bytes: the file is empty, copy it again")]
    Empty,

    /// Another kind of file.
    #[error(
        "the data is {found}, a PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, ICO, PNM, QOI or TGA picture is \
         wanted"
    )]
    Format { found: String },

    /// A kind of picture that is known, but for which there is no decoder.
    #[error(
        "the data is a picture in {format}, which has no decoder here: convert it to PNG or JPEG"
    )]
    NoDecoder { format: &'static str },

    /// A file larger than any picture that is decoded.
    #[error("the picture file has more than {bytes_max} bytes: make it smaller")]
    TooLong { bytes_max: u64 },

    /// A file that stops before the picture is complete.
    #[error("the {format} file ends before its picture does: it was cut short, copy it again")]
    Truncated { format: &'static str },

    /// A file that breaks the rules of its format.
    #[error(
        "the {format} file is damaged or not what its first bytes say, copy or convert it again"
    )]
    Damaged { format: &'static str, source: Box<dyn Error + Send + Sync> },

    /// A decoder that gave up where it should have said why.
    #[error("the decoder of {format} failed on this file: convert the picture to PNG")]
    Decoder { format: &'static str, source: Box<dyn Error + Send + Sync> },

    /// A rare variant of a format.
    #[error("this variant of {format} is not read: convert the picture to PNG")]
    Variant { format: &'static str, source: Box<dyn Error + Send + Sync> },

    /// More memory than the system has or decoding may take.
    #[error(
        "decoding takes {bytes} bytes, more than are free or allowed: make the picture smaller"
    )]
    Memory { bytes: u64 },

    /// A picture of impossible sides.
    #[error(transparent)]
    Pixels(#[from] PixelsError),
}
