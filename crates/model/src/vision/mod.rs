//! From a picture to rows of the residual stream.
//!
//! The projector file says how: patches of the 12B are multiplied by two matrices (`unified.rs`),
//! the other sizes have an encoder in which patches see each other (`tower/`).
//!
//! A [`Picture`] comes from a path, from the bytes of a file (both with the crate's feature
//! `image`), or from RGB:
//!
//! ```no_run
//! use carat::vision::{Budget, Picture};
//! use carat::{Input, Part, Session};
//!
//! # fn show(session: &mut Session) -> Result<(), carat::Error> {
//! let picture = Picture::from_rgb(640, 480, &[255; 640 * 480 * 3], Budget::default())?;
//! # #[cfg(feature = "image")]
//! let picture = Picture::open("photo.jpg", Budget::try_from(560)?)?;
//! let picture = session.embed_picture(&picture)?;
//! session.push(Input::Parts(&[Part::from("Here is a picture:"), Part::from(&picture)]))?;
//! # Ok(())
//! # }
//! ```

mod error;
mod image;
#[cfg(feature = "image")]
mod open;
mod resize;
mod sizes;
mod tower;
mod unified;

pub use error::VisionError;
pub use image::{Budget, PATCH as PATCH_SIDE, Picture};

#[cfg(feature = "image")]
pub use crate::media::image::ImageError;
pub use crate::media::pixels::PixelsError;

use std::ops::ControlFlow;

use carat_gguf::Gguf;

use crate::arena::{Frame, Need};
use crate::error::Result;
use crate::pool::Pool;
use crate::projector::{Kind, ProjectorFile};
use crate::weights;
use tower::Tower;
use unified::Unified;

/// Most tokens of a picture, the largest budget.
pub(crate) const TOKENS_MAX: usize = 1120;

/// The weights between pictures and the decoder.
#[derive(Debug)]
pub(crate) enum Vision {
    Unified(Unified),
    Tower(Tower),
}

/// What scratch memory depends on, known without loading the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VisionShape {
    /// Length of a patch's embedding.
    Unified(usize),
    Tower(tower::Shape),
}

impl VisionShape {
    /// The shape of what the projector in a file sees with.
    ///
    /// # Errors
    /// If a key or tensor that says it is missing or impossible.
    pub(crate) fn of(gguf: &Gguf<'_>) -> Result<Self> {
        Ok(match Kind::of_vision(gguf)? {
            Kind::Unified => Self::Unified(weights::rows(gguf, "v.patch_embd.weight")?),
            Kind::Tower => Self::Tower(tower::Shape::of(gguf)?),
        })
    }

    /// Scratch of [`Vision::embed`] for a picture of `tokens` tokens.
    pub(crate) fn need(&self, tokens: usize) -> Need {
        match self {
            Self::Unified(length) => Unified::need(*length),
            Self::Tower(shape) => Tower::need(shape, tokens),
        }
    }
}

impl Vision {
    /// Reads the vision part of a projector file for a decoder of `hidden` values.
    ///
    /// # Errors
    /// If a tensor or key is missing or of the wrong shape.
    pub(crate) fn load(file: &ProjectorFile<'_>, hidden: usize) -> Result<Self> {
        Ok(match Kind::of_vision(file.gguf)? {
            Kind::Unified => Self::Unified(Unified::load(file, hidden)?),
            Kind::Tower => Self::Tower(Tower::load(file, hidden)?),
        })
    }

    /// Fills `out`, `[tokens, hidden]`, with the rows of a picture's tokens, row by row. `progress`
    /// is told how many of an encoder's layers are done, and may break off.
    ///
    /// # Errors
    /// If the picture has more columns or rows than the model has positions.
    pub(crate) fn embed(
        &self,
        pool: &Pool,
        picture: &Picture,
        out: &mut [f32],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
        frame: Frame<'_>,
    ) -> Result<ControlFlow<()>> {
        match self {
            Self::Unified(unified) => {
                unified.embed(pool, picture, out, frame).map(ControlFlow::Continue)
            }
            Self::Tower(tower) => tower.embed(pool, picture, out, progress, frame),
        }
    }
}
