//! From the bytes of a picture file to upright 8-bit RGB.

mod bmp;
pub(crate) mod decode;
mod error;
mod gif;
mod heif;
mod ico;
mod jpeg;
mod orientation;
mod png;
mod pnm;
mod tiff;
mod webp;

pub use error::ImageError;
