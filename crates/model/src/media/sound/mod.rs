//! From the bytes of a sound file, or samples at any rate, to mono samples at 16 kHz.

mod au;
mod caf;
mod codec;
pub(crate) mod decode;
mod error;
mod flac;
mod frames;
mod mp4;
mod ogg;
mod options;
mod opus;
mod pcm;
mod resample;
mod sink;
mod sniff;
mod stream;
mod view;
mod wav;

pub use error::AudioError;
pub use options::DecodeOptions;
pub use resample::RATE;
pub use stream::Stream;
pub(crate) use stream::check_finite;
