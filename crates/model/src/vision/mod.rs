//! From a picture to rows of the residual stream.
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
mod unified;

pub use error::VisionError;
pub use image::{Budget, PATCH as PATCH_SIDE, Picture};

#[cfg(feature = "image")]
pub use crate::media::image::ImageError;
pub use crate::media::pixels::PixelsError;

pub(crate) use unified::Unified as Vision;

/// Most tokens of a picture, the largest budget.
pub(crate) const TOKENS_MAX: usize = 1120;
