//! Files to pixels, samples and frames.
//!
//! Nothing here knows a tensor. [`image`] gives upright RGB, [`sound`] mono samples at 16 kHz,
//! [`film`] pictures with their times. What the model makes of them is in [`vision`](crate::vision),
//! [`audio`](crate::audio) and [`video`](crate::video).

pub(crate) mod file;
pub(crate) mod film;
pub(crate) mod image;
pub(crate) mod quiet;
pub(crate) mod sound;
