//! From pixels to those that the model sees.
//!
//! A [`Picture`] is RGB, upright, and scaled so that it fills its [`Budget`]
//! of tokens; each token then is one square patch of [`PATCH`] pixels a side. There are no tensors
//! here: what comes out is still a picture, and the same bytes always give the same one.

use std::fmt;

use super::{VisionError, resize, sizes};
use crate::media::pixels::{PixelsError, check_sides};

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
    ) -> Result<Self, PixelsError> {
        check_sides(width, height)?;
        let wanted = 3 * width as usize * height as usize;
        if pixels.len() != wanted {
            return Err(PixelsError::Buffer { width, height, wanted, found: pixels.len() });
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

    /// Fills `out` with what `value` makes of the pixels of a square of `side` pixels, the one in
    /// that column and row of such squares: all red, then green, then blue. `value` is told the
    /// channel and the pixel's value in it.
    pub(super) fn patch(
        &self,
        side: usize,
        (column, row): (usize, usize),
        out: &mut [f32],
        value: impl Fn(usize, u8) -> f32,
    ) {
        let plane = side * side;
        for y in 0..side {
            let at = ((row * side + y) * self.width() + column * side) * 3;
            let line = self.pixels[at..at + side * 3].as_chunks::<3>().0;
            for (x, pixel) in line.iter().enumerate() {
                for (channel, found) in pixel.iter().enumerate() {
                    out[channel * plane + y * side + x] = value(channel, *found);
                }
            }
        }
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} x {} patches)", self.columns, self.rows)
    }
}

/// How many tokens a picture may take. More tokens show more detail and take longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "usize", into = "usize"))]
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

impl From<Budget> for usize {
    fn from(budget: Budget) -> usize {
        budget.0
    }
}

impl TryFrom<usize> for Budget {
    type Error = VisionError;

    fn try_from(tokens: usize) -> Result<Self, VisionError> {
        let known = Self::ALL.into_iter().find(|budget| budget.0 == tokens);
        known.ok_or(VisionError::Budget { found: tokens })
    }
}
