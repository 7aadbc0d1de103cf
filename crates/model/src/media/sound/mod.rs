//! From the bytes of a sound file to mono samples at 16 kHz.

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
mod sink;
mod sniff;
mod view;
mod wav;

pub use error::AudioError;
pub use options::DecodeOptions;
