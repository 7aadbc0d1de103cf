//! From interleaved samples, at any rate where the feature `sound` has its filter, to mono samples
//! at 16 kHz.

mod error;
#[cfg(feature = "sound")]
mod filter;
#[cfg(not(feature = "sound"))]
#[path = "no_filter.rs"]
mod filter;
mod resample;
mod stream;

pub use error::SamplesError;
pub use resample::RATE;
pub use stream::Stream;
pub(crate) use stream::check_finite;
#[cfg(feature = "sound")]
pub(crate) use {
    resample::Resampler,
    stream::{check_channels, mix},
};
