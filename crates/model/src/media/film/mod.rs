//! From animations, films and what else `ffmpeg` reads to frames, pictures and sound.

mod animation;
mod config;
mod error;
#[cfg(all(test, unix))]
mod fake;
mod ffmpeg;
mod open;
mod ppm;
mod program;
mod sampling;
mod sound;
mod still;

pub use config::VideoConfig;
pub use error::VideoError;
pub use sound::sound;
pub use still::picture;
