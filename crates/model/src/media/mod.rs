//! Files to pixels, samples and frames.
//!
//! Nothing here knows a tensor. [`image`] gives upright RGB, [`sound`] mono samples at 16 kHz,
//! [`film`] pictures with their times; each is a feature of the crate. [`pixels`] and [`samples`]
//! are for what needs no decoder. What the model makes of all that is in
//! [`vision`](crate::vision), [`audio`](crate::audio) and [`video`](crate::video).

#[cfg(any(feature = "image", feature = "sound"))]
mod file;
#[cfg(feature = "film")]
pub(crate) mod film;
#[cfg(feature = "image")]
pub(crate) mod image;
pub(crate) mod pixels;
pub(crate) mod samples;
#[cfg(feature = "sound")]
pub(crate) mod sound;

#[cfg(feature = "sound")]
pub(crate) use file::open;
