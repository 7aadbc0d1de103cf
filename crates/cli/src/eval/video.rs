//! `carat eval video`: which frames of a video the model sees, and when they are shown.

use std::fmt::Write as _;

use anyhow::Result;
use carat::video::VideoConfig;

use crate::args::VideoArgs;
use crate::{media, text};

pub(crate) fn video(args: &VideoArgs) -> Result<()> {
    let video = media::frames(&args.file, args.frame_rate, &VideoConfig::default())?;
    let mut lines = String::new();
    for frame in &video.frames {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{} {:.3}", frame.index, frame.seconds);
    }
    text::print(&lines)
}
