//! Pictures without a decoder here, by way of the `ffmpeg` program.

use std::path::Path;

use super::ffmpeg::{PICTURES, QUIET, input, list, receive};
use super::program::{Deadline, Running};
use super::{VideoConfig, VideoError};
use crate::video::NoFrames;
use crate::vision::Picture;

/// The picture in a file that `ffmpeg` reads, AVIF for instance, within `config.budget`.
///
/// [`Picture::open`] starts no programs; this is for what it does not take.
///
/// # Errors
///
/// If the program is not installed, cannot read the file, finds no picture, or takes too long.
pub fn picture(path: impl AsRef<Path>, config: &VideoConfig) -> Result<Picture, VideoError> {
    let mut arguments = list(&QUIET);
    arguments.extend(input(path.as_ref()));
    arguments.extend(list(&["-frames:v", "1"]));
    arguments.extend(list(&PICTURES));
    let mut running = Running::start(&config.ffmpeg, &arguments, &Deadline::of(config))?;
    let mut pictures = Vec::new();
    receive(&mut running, config.budget, 1, &mut pictures)?;
    pictures.pop().ok_or(VideoError::NoFrames(NoFrames))
}
