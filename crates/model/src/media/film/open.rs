//! Videos from files: animations, films, lists and folders of pictures.

use std::io::Read;
use std::path::Path;

use super::{VideoConfig, VideoError, animation, ffmpeg, sampling};
use crate::media::file;
use crate::media::image::decode;
use crate::quiet;
use crate::video::{Frame, NoFrames, Video};
use crate::vision::Picture;

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
        match decode::format(&start) {
            Ok(_) => Self::decode(&decode::read(path)?, config),
            Err(_) => match ffmpeg::video(path, config)? {
                video if video.frames.is_empty() => Err(NoFrames.into()),
                video => Ok(video),
            },
        }
    }

    /// Decodes an animation or a picture in memory. Films are read from files only.
    ///
    /// # Errors
    ///
    /// If the bytes are no picture, or cannot be decoded.
    pub fn decode(bytes: &[u8], config: &VideoConfig) -> Result<Self, VideoError> {
        let frames = quiet::catch(|| animation::frames(bytes, config));
        let frames = frames.map_err(|e| VideoError::Decoder { why: e.to_string() })??;
        Ok(Self::from_frames(frames)?)
    }

    /// Reads pictures that are the frames of a video at `rate` frames in a second. Only those that
    /// are taken are opened.
    ///
    /// # Errors
    ///
    /// If there is no picture, the rate is not positive, or a picture cannot be read.
    pub fn open_frames<P: AsRef<Path>>(
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
        Ok(Self::from_frames(frames)?)
    }

    /// Reads the pictures in a folder as the frames of a video, in order of their names, where
    /// numbers count as numbers: `2.png` comes before `10.png`. Other files are passed over.
    ///
    /// # Errors
    ///
    /// If the folder cannot be listed or holds no picture, or as [`Self::open_frames`] does.
    pub fn open_folder(
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
        Self::open_frames(&paths, rate, config)
    }
}

/// Whether a file begins as a picture does.
pub(super) fn is_picture(path: &Path) -> bool {
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
        let video = Video::open_folder(folder.path(), 2.0, &VideoConfig::default()).unwrap();
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
        let video = Video::open_frames(&paths, 1.0, &config).unwrap();
        assert_eq!(video.frames.iter().map(|f| f.seconds).collect::<Vec<_>>(), [0.0, 2.0]);

        let whole = Video::open_frames(&paths, 1.0, &VideoConfig::default());
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
        let of_none = Video::open_folder(folder.path(), 1.0, &config);
        assert!(matches!(of_none, Err(VideoError::NoFrames(_))));
        let no_rate = Video::open_frames(&[at("empty")], 0.0, &config);
        assert!(matches!(no_rate, Err(VideoError::Rate { .. })));
    }

    /// Made with three frames of gray, each shown for half a second.
    #[test]
    fn an_animation_may_come_from_memory() {
        let bytes = include_bytes!("../../../tests/data/images/moving.png");
        let video = Video::decode(bytes, &VideoConfig::default()).unwrap();
        let seen: Vec<_> =
            video.frames.iter().map(|f| (f.seconds, f.picture.pixels()[0])).collect();
        assert_eq!((seen, video.complete), (vec![(0.0, 0), (0.5, 80), (1.0, 160)], true));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("moving");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Video::open(&path, &VideoConfig::default()).unwrap(), video);

        let film = Video::decode(b"\0\0\0\x18ftypmp42", &VideoConfig::default()).unwrap_err();
        assert!(film.to_string().contains("a film"), "{film}");
    }

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["b1", "a10", "a9", "a010x", "a", "10", "9"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["9", "10", "a", "a9", "a10", "a010x", "b1"]);
    }
}
