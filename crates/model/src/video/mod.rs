//! From a video to the few frames that the model sees.
//!
//! A video is pictures with a time before each: at most 32, spread evenly, each within a small
//! budget. Animated GIF, WebP and PNG files are decoded here, and so are lists and folders of
//! pictures; every other container is left to the `ffmpeg` program where it is installed. The sound
//! track is no part of the frames: [`sound()`] has it. [`picture()`] is for still pictures that
//! have no decoder here.

pub(crate) mod sampling;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::audio::AudioError;
use crate::media::film::{animation, ffmpeg};
use crate::media::image::decode;
use crate::media::{file, quiet};
use crate::vision::{Budget, ImageError, Picture};

pub use sampling::timestamp;

pub use crate::media::film::{picture, sound};

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

/// How videos are read.
#[derive(Clone, Debug)]
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
    /// Once this is true, set by another thread, the two are killed and [`VideoError::Cancelled`]
    /// is returned.
    pub cancel: Option<Arc<AtomicBool>>,
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

impl Video {
    /// Reads a video file: an animation, a film, or a picture, which is a video of one frame.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or decoded, is a folder, or is a film and the `ffmpeg` program is
    /// not installed.
    pub fn open(path: impl AsRef<Path>, config: &VideoConfig) -> Result<Self, VideoError> {
        let path = path.as_ref();
        let failed = |source| VideoError::Read { path: path.to_owned(), source };
        if path.is_dir() {
            return Err(VideoError::Folder { path: path.to_owned() });
        }
        let mut start = Vec::new();
        file::open(path).map_err(failed)?.take(64).read_to_end(&mut start).map_err(failed)?;
        if start.is_empty() {
            return Err(VideoError::Empty { path: path.to_owned() });
        }
        let video = match decode::format(&start) {
            Ok(_) => {
                let bytes = decode::read(path)?;
                let frames = quiet::catch(|| animation::frames(&bytes, config));
                let frames = frames.map_err(|e| VideoError::Decoder { why: e.to_string() })??;
                Self { frames, complete: true }
            }
            Err(_) => ffmpeg::video(path, config)?,
        };
        video.checked()
    }

    /// Reads pictures that are the frames of a video at `rate` frames in a second. Only those that
    /// are taken are opened.
    ///
    /// # Errors
    ///
    /// If there is no picture, the rate is not positive, or a picture cannot be read.
    pub fn from_frames<P: AsRef<Path>>(
        paths: &[P],
        rate: f64,
        config: &VideoConfig,
    ) -> Result<Self, VideoError> {
        sampling::check_rate(rate)?;
        let frame = |index: u64| {
            let path = paths[index as usize].as_ref();
            let picture = Picture::open(path, config.budget)
                .map_err(|source| VideoError::Frame { path: path.to_owned(), source })?;
            Ok(Frame { index, seconds: index as f64 / rate, picture })
        };
        let taken = sampling::indices(paths.len() as u64, config.frames_max);
        let frames = taken.into_iter().map(frame).collect::<Result<_, VideoError>>()?;
        Self { frames, complete: true }.checked()
    }

    /// Reads the pictures in a folder as the frames of a video, in order of their names, where
    /// numbers count as numbers: `2.png` comes before `10.png`. Other files are passed over.
    ///
    /// # Errors
    ///
    /// If the folder cannot be listed or holds no picture, or as [`Self::from_frames`] does.
    pub fn from_folder(
        folder: impl AsRef<Path>,
        rate: f64,
        config: &VideoConfig,
    ) -> Result<Self, VideoError> {
        let folder = folder.as_ref();
        let failed = |source| VideoError::Read { path: folder.to_owned(), source };
        let mut paths = Vec::new();
        for entry in folder.read_dir().map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() && is_picture(&path) {
                paths.push(path);
            }
        }
        paths.sort_by_cached_key(|path| natural(&path.to_string_lossy()));
        Self::from_frames(&paths, rate, config)
    }

    fn checked(self) -> Result<Self, VideoError> {
        if self.frames.is_empty() { Err(VideoError::NoFrames) } else { Ok(self) }
    }
}

/// Why there is no video.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum VideoError {
    /// The file system refused.
    #[error("cannot read the video {path:?}")]
    Read { path: PathBuf, source: std::io::Error },

    /// A folder where a file is wanted.
    #[error("{path:?} is a folder: give a rate with it, so that its pictures become frames")]
    Folder { path: PathBuf },

    /// Nothing in the file.
    #[error("the video {path:?} has 0 bytes: the file is empty, copy it again")]
    Empty { path: PathBuf },

    /// An animation that cannot be decoded.
    #[error(transparent)]
    Image(#[from] ImageError),

    /// A frame that cannot be decoded.
    #[error("the frame {path:?} cannot be used")]
    Frame { path: PathBuf, source: ImageError },

    /// A video without pictures.
    #[error("the video has no frames, at least one picture is wanted")]
    NoFrames,

    /// A rate that gives no time.
    #[error("a rate of {found} frames in a second is not possible, a positive number is wanted")]
    Rate { found: f64 },

    /// An animation whose decoding would not end in reasonable time.
    #[error(
        "the animation has more than {pixels_max} pixels in all its frames: make it smaller or \
         shorter"
    )]
    TooLarge { pixels_max: u64 },

    /// An animation at which a decoder failed.
    #[error("the animation cannot be decoded ({why}): save it anew, for instance with ffmpeg")]
    Decoder { why: String },

    /// More frames than are kept count of.
    #[error("the video has more than {frames_max} frames: cut it")]
    TooManyFrames { frames_max: u64 },

    /// A sound track in which nothing is.
    #[error("the sound track has no samples, at least one is wanted: it is empty or damaged")]
    NoSound,

    /// Sound that is none.
    #[error(transparent)]
    Sound(#[from] AudioError),

    /// The caller set [`VideoConfig::cancel`].
    #[error("the video was not read to its end, since that was cancelled")]
    Cancelled,

    /// A sound track longer than any model listens to.
    #[error("the sound track is longer than {seconds_max} seconds: cut it")]
    TooLong { seconds_max: u64 },

    /// A program that is not installed or may not be run.
    #[error(
        "the program {program:?} cannot be run and films need it: install ffmpeg, or give an \
         animated GIF, WebP or PNG, or a folder of frames"
    )]
    Program { program: PathBuf, source: std::io::Error },

    /// A program that gave up.
    #[error("{program:?} cannot read the file: {message}")]
    Failed { program: PathBuf, message: String },

    /// A program that did not come to an end.
    #[error("{program:?} was stopped after {seconds} s: the video is too long or on a slow disk")]
    Patience { program: PathBuf, seconds: u64 },

    /// Output that is not what was asked for.
    #[error("{program:?} answers {found:?}, {wanted} is wanted: its version may be too old")]
    Answer { program: PathBuf, found: String, wanted: &'static str },
}

/// Whether a file begins as a picture does.
pub(crate) fn is_picture(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = file::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    read.is_ok() && decode::format(&start).is_ok()
}

/// A name as a sorting key: runs of digits without leading zeros, by length and then by digit.
fn natural(name: &str) -> Vec<(usize, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        let number = run.trim_start_matches('0');
        key.push(if digit { (number.len(), number.into()) } else { (usize::MAX, run.into()) });
        rest = tail;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a gray picture whose value tells it from the others.
    fn picture(path: &Path, gray: u8) {
        image::GrayImage::from_pixel(4, 4, image::Luma([gray]))
            .save_with_format(path, image::ImageFormat::Png)
            .expect("a small picture can be written");
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for (name, gray) in [("f10.png", 30), ("f2.png", 20), ("f1", 10), ("f0011.txt", 40)] {
            picture(&folder.path().join(name), gray);
        }
        std::fs::write(folder.path().join("notes.png"), "no picture").unwrap();
        let video = Video::from_folder(folder.path(), 2.0, &VideoConfig::default()).unwrap();
        let seen: Vec<_> =
            video.frames.iter().map(|f| (f.seconds, f.picture.pixels()[0])).collect();
        assert_eq!(seen, [(0.0, 10), (0.5, 20), (1.0, 30), (1.5, 40)]);
    }

    #[test]
    fn only_the_frames_that_are_taken_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..4).map(|i| folder.path().join(format!("{i}"))).collect();
        picture(&paths[0], 10);
        picture(&paths[2], 20);
        let config = VideoConfig { frames_max: 2, ..Default::default() };
        let video = Video::from_frames(&paths, 1.0, &config).unwrap();
        assert_eq!(video.frames.iter().map(|f| f.seconds).collect::<Vec<_>>(), [0.0, 2.0]);

        let whole = Video::from_frames(&paths, 1.0, &VideoConfig::default());
        assert!(matches!(whole, Err(VideoError::Frame { path, .. }) if path == paths[1]));
    }

    #[test]
    fn what_is_no_video_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let config = VideoConfig::default();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("empty"), "").unwrap();
        assert!(matches!(Video::open(at("none"), &config), Err(VideoError::Read { .. })));
        assert!(matches!(Video::open(at("empty"), &config), Err(VideoError::Empty { .. })));
        assert!(matches!(Video::open(folder.path(), &config), Err(VideoError::Folder { .. })));
        let of_none = Video::from_folder(folder.path(), 1.0, &config);
        assert!(matches!(of_none, Err(VideoError::NoFrames)));
        let no_rate = Video::from_frames(&[at("empty")], 0.0, &config);
        assert!(matches!(no_rate, Err(VideoError::Rate { .. })));
    }

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["b1", "a10", "a9", "a010x", "a", "10", "9"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["9", "10", "a", "a9", "a10", "a010x", "b1"]);
    }
}
