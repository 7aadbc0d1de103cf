//! Pictures, sound and video of the command line: from paths to embeddings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use carat::audio::{Clip, LongClip};
use carat::video::{self, Video, VideoConfig};
use carat::vision::{Budget, Picture};
use carat::{Medium, Session, projectors_beside};

use crate::Usage;

/// The projector file to open: the one that was named, or the only one beside the model.
///
/// # Errors
/// If none was named, and none or several lie beside the model.
pub(crate) fn projector(model: &Path, named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let found = projectors_beside(model).unwrap_or_default();
    match &found[..] {
        [] => bail!(
            "pictures and sound need the model's projector file, and no mmproj*.gguf lies beside \
             {}: name it with --mmproj",
            model.display()
        ),
        [one] => Ok(one.clone()),
        several => {
            let names: Vec<_> = several.iter().map(|path| path.display().to_string()).collect();
            bail!(
                "{} projector files lie beside the model ({}): name one with --mmproj",
                names.len(),
                names.join(", ")
            )
        }
    }
}

/// A picture that takes at most `budget` tokens.
pub(crate) fn picture(path: &Path, budget: Budget) -> Result<Picture> {
    Picture::open(path, budget).with_context(|| format!("cannot show {}", path.display()))
}

pub(crate) fn clip(path: &Path) -> Result<Clip> {
    let clip = Clip::open(path).with_context(|| format!("cannot play {}", path.display()))?;
    if !clip.is_complete() {
        eprintln!("carat: {} is damaged, what could be read of it is used", path.display());
    }
    Ok(clip)
}

/// The clip, unless it is too long and `long` says so.
fn bounded(path: &Path, clip: Clip, long: LongClip) -> Result<Clip> {
    clip.segments(long).with_context(|| format!("cannot play {}", path.display()))?;
    Ok(clip)
}

/// `--image-tokens` as a budget.
pub(crate) fn budget(tokens: usize) -> Result<Budget> {
    Budget::try_from(tokens).map_err(|e| Usage(e.to_string()).into())
}

/// One medium of a command line, in the order in which they are shown.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Image(PathBuf),
    Audio(PathBuf),
    /// A file, or a folder of frames.
    Video(PathBuf),
}

/// How media are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) budget: Budget,
    /// What happens to sound of more than 30 s.
    pub(crate) long: LongClip,
    /// Frames a second where a video is a folder of frames.
    pub(crate) frame_rate: f64,
    /// Play the sound of videos, too.
    pub(crate) sound: bool,
}

impl Source {
    /// Reads it.
    pub(crate) fn read(&self, reading: Reading) -> Result<Read> {
        Ok(match self {
            Self::Image(path) => Read::Image(picture(path, reading.budget)?),
            Self::Audio(path) => Read::Audio(bounded(path, clip(path)?, reading.long)?),
            Self::Video(path) => {
                let config = VideoConfig::default();
                let about = || format!("cannot show {}", path.display());
                if path.is_dir() {
                    let video = Video::from_folder(path, reading.frame_rate, &config);
                    return Ok(Read::Video(video.with_context(about)?, None));
                }
                let video = Video::open(path, &config).with_context(about)?;
                let sound = match reading.sound {
                    true => video::sound(path, &config).with_context(about)?,
                    false => None,
                };
                let clip = |samples: Vec<f32>| -> Result<Clip> {
                    let clip = Clip::from_pcm(&samples, carat::audio::RATE, 1);
                    bounded(path, clip.with_context(about)?, reading.long)
                };
                Read::Video(video, sound.map(clip).transpose()?)
            }
        })
    }
}

/// A medium in memory, as the model will see or hear it.
pub(crate) enum Read {
    Image(Picture),
    Audio(Clip),
    Video(Video, Option<Clip>),
}

impl Read {
    /// Tokens it takes, about: what stands between and around is counted generously.
    pub(crate) fn tokens(&self) -> usize {
        let sound = |clip: &Clip| clip.frames() + 2 * (1 + clip.frames() / 100);
        match self {
            Self::Image(picture) => picture.tokens() + 2,
            Self::Audio(clip) => sound(clip),
            Self::Video(video, clip) => {
                let frames = video.frames.iter().map(|frame| frame.picture.tokens() + 12);
                frames.sum::<usize>() + clip.as_ref().map_or(0, sound)
            }
        }
    }

    /// Turns it into rows of the model's decoder.
    pub(crate) fn embed(
        &self,
        session: &mut Session<'_>,
        long: LongClip,
    ) -> Result<Medium, carat::Error> {
        match self {
            Self::Image(picture) => Ok(Medium::Image(session.embed_picture(picture)?)),
            Self::Audio(clip) => session.embed_clip(clip, long),
            Self::Video(video, sound) => session.embed_video(video, sound.as_ref()),
        }
    }
}
