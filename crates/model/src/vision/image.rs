//! From a picture file to the pixels that the model sees.
//!
//! A [`Picture`] is decoded, turned upright, made RGB, and scaled so that it fills its [`Budget`]
//! of tokens; each token then is one square patch of [`PATCH`] pixels a side. There are no tensors
//! here: what comes out is still a picture, and the same bytes always give the same one.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{decode, resize, sizes};

/// Pixels along one side of a patch, which is one token (Gemma 4: 16-pixel patches, 3 x 3 of them).
pub const PATCH: usize = 48;

/// A picture as the model sees it: RGB, 8 bits, a whole number of patches wide and high.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Picture {
    columns: usize,
    rows: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Reads and decodes a PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, ICO, PNM, QOI or TGA file. The
    /// content tells the format, not the name; of an animation the first frame is taken.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is no such picture, is damaged, or larger than is decoded.
    pub fn open(path: impl AsRef<Path>, budget: Budget) -> Result<Self, ImageError> {
        let bytes = decode::read(path.as_ref())?;
        Self::decode(&bytes, budget)
    }

    /// Decodes a picture file in memory.
    ///
    /// # Errors
    ///
    /// If the bytes are no such picture, are damaged, or the picture is larger than is decoded.
    pub fn decode(bytes: &[u8], budget: Budget) -> Result<Self, ImageError> {
        let image = decode::decode(bytes)?;
        Self::from_rgb(image.width, image.height, &image.pixels, budget)
    }

    /// Takes pixels that are decoded already: RGB, 8 bits, row-major, `width * height * 3` bytes.
    ///
    /// # Errors
    ///
    /// If a side is 0 or too long, or `pixels` has another length.
    pub fn from_rgb(
        width: u32,
        height: u32,
        pixels: &[u8],
        budget: Budget,
    ) -> Result<Self, ImageError> {
        decode::check_sides(width, height)?;
        let wanted = 3 * width as usize * height as usize;
        if pixels.len() != wanted {
            return Err(ImageError::Buffer { width, height, wanted, found: pixels.len() });
        }
        let (columns, rows) = sizes::grid(width, height, budget.tokens());
        let target = ((columns * PATCH) as u32, (rows * PATCH) as u32);
        Ok(Self { columns, rows, pixels: resize::resize(pixels, (width, height), target) })
    }

    /// Patches in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows of patches.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Tokens that the picture takes in the prompt, without those that begin and end it.
    pub fn tokens(&self) -> usize {
        self.columns * self.rows
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.columns * PATCH
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.rows * PATCH
    }

    /// The pixels, row-major: `height * width * 3` bytes of red, green and blue.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} x {} patches)", self.columns, self.rows)
    }
}

/// How many tokens a picture may take. More tokens show more detail and take longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Budget(usize);

impl Budget {
    /// The budgets that Gemma 4 was trained on, ascending.
    pub const ALL: [Self; 5] = [Self(70), Self(140), Self(280), Self(560), Self(1120)];

    /// The budget of a frame of a video.
    pub const VIDEO: Self = Self(70);

    /// The most tokens that a picture takes.
    pub fn tokens(self) -> usize {
        self.0
    }
}

impl Default for Budget {
    /// 280 tokens, the reference's default.
    fn default() -> Self {
        Self(280)
    }
}

impl TryFrom<usize> for Budget {
    type Error = ImageError;

    fn try_from(tokens: usize) -> Result<Self, ImageError> {
        let known = Self::ALL.into_iter().find(|budget| budget.0 == tokens);
        known.ok_or(ImageError::Budget { found: tokens })
    }
}

/// Why there is no picture.
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

    /// A side of length 0.
    #[error("the picture is {width} x {height} and has no pixels, a side of 1 is the least")]
    NoPixels { width: u32, height: u32 },

    /// More pixels than are decoded.
    #[error(
        "the picture is {width} x {height} pixels, at most {pixels_max} pixels and {side_max} \
         along a side are decoded: make it smaller"
    )]
    TooLarge { width: u32, height: u32, pixels_max: u64, side_max: u32 },

    /// A picture with a side that the model has no positions for.
    #[error(
        "the picture has {columns} x {rows} patches, the model has positions for {positions} in \
         each direction: choose a smaller budget or a less extreme shape"
    )]
    Positions { columns: usize, rows: usize, positions: usize },

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

    /// Pixels in memory that are not as many as their sides say.
    #[error("{width} x {height} pixels of RGB are {wanted} bytes, {found} were given")]
    Buffer { width: u32, height: u32, wanted: usize, found: usize },

    /// A budget that the model was not trained on.
    #[error("an image budget of {found} tokens does not exist, choose 70, 140, 280, 560 or 1120")]
    Budget { found: usize },
}
