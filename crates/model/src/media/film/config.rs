//! How videos are read.

use std::path::PathBuf;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::vision::Budget;

/// How videos are read.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct VideoConfig {
    /// The most frames that are taken. 32 in the reference.
    pub frames_max: usize,
    /// The most tokens of each frame. 70 in the reference.
    pub budget: Budget,
    /// The `ffmpeg` program: a name to be searched for in `PATH`, or a path.
    pub ffmpeg: PathBuf,
    /// The `ffprobe` program, likewise.
    pub ffprobe: PathBuf,
    /// How long the two may take, together, for the frames of one video or for its sound.
    pub patience: Duration,
    /// Once this is cancelled, by another thread, the two are killed and
    /// [`VideoError::Cancelled`](super::VideoError::Cancelled) is returned.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub cancel: Option<Cancel>,
}

impl Default for VideoConfig {
    fn default() -> Self {
        Self {
            frames_max: 32,
            budget: Budget::VIDEO,
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            patience: Duration::from_secs(300),
            cancel: None,
        }
    }
}
