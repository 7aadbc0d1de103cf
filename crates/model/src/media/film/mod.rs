//! From animations, films and what else `ffmpeg` reads to frames, pictures and sound.

pub(crate) mod animation;
#[cfg(all(test, unix))]
mod fake;
pub(crate) mod ffmpeg;
mod ppm;
mod program;
mod sound;
mod still;

pub use sound::sound;
pub use still::picture;
