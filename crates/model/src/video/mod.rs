//! What the model sees of a video: a few pictures with a time before each.
//!
//! In the reference at most 32 pictures, spread evenly, each within a small budget. A [`Video`]
//! comes from a path, or from the bytes of an animation (both with the crate's feature `film`), or
//! from pictures. Animated GIF, WebP and PNG files are decoded here, and so are lists and folders
//! of pictures; every other container is left to the `ffmpeg` program where it is installed.
//!
//! The sound track is no part of the frames: `sound` has it. `picture` is for still pictures that
//! have no decoder here.
//!
//! ```no_run
//! use carat::video::{Frame, Video};
//! use carat::vision::{Budget, Picture};
//! use carat::{Input, Part, Session};
//!
//! # fn show(session: &mut Session) -> Result<(), carat::Error> {
//! let black = Picture::from_rgb(96, 96, &[0; 96 * 96 * 3], Budget::VIDEO)?;
//! let frame = |index| Frame { index, seconds: index as f64 / 2.0, picture: black.clone() };
//! let video = Video::from_frames((0..4).map(frame).collect())?;
//! # #[cfg(feature = "film")]
//! let video = Video::open("holiday.mp4", &Default::default())?;
//! let video = session.embed_video(&video, None)?; // without sound
//! session.push(Input::Parts(&[Part::from("Here is a film:"), Part::from(&video)]))?;
//! # Ok(())
//! # }
//! ```

use crate::vision::Picture;

#[cfg(feature = "film")]
pub use crate::media::film::{VideoConfig, VideoError, picture, sound};

/// The frames of a video that the model sees, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// At least one.
    pub frames: Vec<Frame>,
    /// False where the file breaks off or has damaged places, so that frames are missing.
    pub complete: bool,
}

/// One frame of a [`Video`].
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The frame's number in the video, from 0.
    pub index: u64,
    /// The frame's time from the start. [`timestamp`] writes it for the prompt.
    pub seconds: f64,
    /// What is to be seen.
    pub picture: Picture,
}

impl Video {
    /// Takes frames that are pictures already, in order of time.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn from_frames(frames: Vec<Frame>) -> Result<Self, NoFrames> {
        match frames.is_empty() {
            true => Err(NoFrames),
            false => Ok(Self { frames, complete: true }),
        }
    }

    /// Tokens that the frames take in the prompt, without what stands between them.
    pub fn tokens(&self) -> usize {
        self.frames.iter().map(|frame| frame.picture.tokens()).sum()
    }
}

/// A video without pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the video has no frames, at least one picture is wanted")]
pub struct NoFrames;

/// The time before a frame in the prompt: minutes and seconds, `mm:ss`, both rounded down. Minutes
/// go on after 99, as the reference has no hours; a time before 0 is 0.
pub fn timestamp(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let rest = seconds % 60.0;
    let minutes = (seconds - rest) / 60.0;
    format!("{minutes:02.0}:{:02.0}", rest.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_round_down_and_know_no_hours() {
        for (seconds, wanted) in [
            (0.0, "00:00"),
            (0.999, "00:00"),
            (9.5, "00:09"),
            (59.999, "00:59"),
            (60.0, "01:00"),
            (754.4, "12:34"),
            (3_600.0, "60:00"),
            (6_000.0, "100:00"),
            (-1.0, "00:00"),
            (f64::NAN, "00:00"),
        ] {
            assert_eq!(timestamp(seconds), wanted, "{seconds}");
        }
    }
}
