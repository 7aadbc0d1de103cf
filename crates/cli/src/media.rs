//! Pictures, sound and video of the command line: from paths to embeddings.

use std::io::{self, IsTerminal, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use carat::audio::{AudioError, Clip, LongClip, SamplesError};
use carat::video::{self, Video, VideoConfig, VideoError};
use carat::vision::{Budget, ImageError, Picture};
use carat::{Medium, Session, projectors_beside};

use crate::chosen::Chosen;
use crate::progress::{Progress, Unit};
use crate::text::say;
use crate::{Usage, hub, interrupt};

/// The projector file to open for a model, unless the model brings one along.
///
/// # Errors
/// As [`projector`].
pub(crate) fn projector_of(model: &Chosen, named: Option<&Path>) -> Result<Option<PathBuf>> {
    match model {
        Chosen::File(path) => projector(path, named).map(Some),
        Chosen::BuiltIn => Ok(named.map(Path::to_owned)),
    }
}

/// The projector file to open: the one that was named, the only one beside the model, or the one
/// that was pulled with it.
///
/// # Errors
/// If none was named, and none or several lie beside the model.
pub(crate) fn projector(model: &Path, named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let found = projectors_beside(model).unwrap_or_default();
    if found.len() != 1
        && let Some(pulled) = hub::projector(model)
    {
        return Ok(pulled);
    }
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

/// A picture that takes at most `budget` tokens; `-` is standard input.
pub(crate) fn picture(path: &Path, budget: Budget) -> Result<Picture> {
    let cannot = || format!("cannot show {}", name(path));
    match is_stdin(path) {
        true => Picture::decode(&stdin_bytes()?, budget).with_context(cannot),
        false => match Picture::open(path, budget) {
            Err(refused) if has_no_decoder(&refused) => {
                picture_by_ffmpeg(path, refused, budget).with_context(cannot)
            }
            opened => opened.with_context(cannot),
        },
    }
}

/// Whether a picture is `refused` only since its kind or its variant has no decoder here.
fn has_no_decoder(refused: &ImageError) -> bool {
    use ImageError::{Decoder, NoDecoder, Variant};
    matches!(refused, NoDecoder { .. } | Variant { .. } | Decoder { .. })
}

fn picture_by_ffmpeg(path: &Path, refused: ImageError, budget: Budget) -> Result<Picture> {
    let cancel = Some(interrupt::stop());
    match video::picture(path, &VideoConfig { budget, cancel, ..VideoConfig::default() }) {
        Ok(picture) => {
            say!("carat: {} is read with ffmpeg, carat has no decoder for it", name(path));
            Ok(picture)
        }
        Err(VideoError::Program { .. }) => {
            bail!("{refused}, or install ffmpeg, which is then used for it")
        }
        // ffmpeg, or its version, has no decoder for it either.
        Err(VideoError::Failed { .. } | VideoError::NoFrames(_)) => Err(refused.into()),
        Err(e) => bail!("{refused}; ffmpeg was asked: {e}"),
    }
}

/// A sound, by the library's own decoders.
pub(crate) fn clip(path: &Path) -> Result<Clip> {
    let clip = Clip::open(path).with_context(|| format!("cannot play {}", name(path)))?;
    warn_of_damage(path, clip.is_complete());
    Ok(clip)
}

/// A sound, by ffmpeg where the library's decoders do not take it; `-` is standard input.
fn sound(path: &Path, config: &VideoConfig) -> Result<Clip> {
    let cannot = || format!("cannot play {}", name(path));
    let clip = match is_stdin(path) {
        true => Clip::decode(&stdin_bytes()?).with_context(cannot)?,
        false => match Clip::open(path) {
            Err(refused) if is_foreign(&refused) => {
                by_ffmpeg(path, refused, config).with_context(cannot)?
            }
            opened => opened.with_context(cannot)?,
        },
    };
    warn_of_damage(path, clip.is_complete());
    Ok(clip)
}

/// Whether another decoder might take what ours `refused`.
fn is_foreign(refused: &AudioError) -> bool {
    use AudioError::{Empty, Io, Samples, TooLong};
    use SamplesError::NotFinite;
    !matches!(refused, Io(_) | Empty | TooLong { .. } | Samples(NotFinite { .. }))
}

fn by_ffmpeg(path: &Path, refused: AudioError, config: &VideoConfig) -> Result<Clip> {
    match video::sound(path, config) {
        Ok(Some(clip)) => {
            say!("carat: {} is read with ffmpeg, carat has no decoder for it", name(path));
            Ok(clip)
        }
        Err(VideoError::Program { .. }) => {
            bail!("{refused}, or install ffmpeg, which is then used for it")
        }
        // It is no sound for ffmpeg either.
        Ok(None) | Err(VideoError::Failed { .. }) => Err(refused.into()),
        Err(e) => bail!("{refused}; ffmpeg was asked: {e}"),
    }
}

/// The sound of a film, if it has any that can be used; says so where it has none.
fn sound_of_film(path: &Path, config: &VideoConfig) -> Result<Option<Clip>> {
    use VideoError::{Answer, Failed, NoSound, Sound};
    let clip = match video::sound(path, config) {
        Ok(clip) => clip,
        Err(e @ (Answer { .. } | Failed { .. } | NoSound | Sound(_))) => {
            say!("carat: {} is shown without its sound: {e}", name(path));
            return Ok(None);
        }
        Err(e) => return Err(e).with_context(|| format!("cannot play {}", name(path))),
    };
    match &clip {
        Some(clip) if clip.is_complete() => {}
        Some(_) => say!("carat: the sound of {} is damaged, it is used so far", name(path)),
        None => say!("carat: {} has no sound", name(path)),
    }
    Ok(clip)
}

/// A video, and its sound if that is wanted.
fn film(path: &Path, reading: Reading, config: &VideoConfig) -> Result<(Video, Option<Clip>)> {
    let video = frames(path, reading.frame_rate, config)?;
    if !reading.sound {
        return Ok((video, None));
    }
    if path.is_dir() {
        say!("carat: {} has no sound, it is a folder of frames", name(path));
        return Ok((video, None));
    }
    let clip = sound_of_film(path, config)?;
    Ok((video, clip.map(|clip| bounded(path, clip, reading.long)).transpose()?))
}

/// The frames of a video: of a file, or of a folder at a rate.
pub(crate) fn frames(path: &Path, rate: f64, config: &VideoConfig) -> Result<Video> {
    let video = match path.is_dir() {
        true => Video::open_folder(path, rate, config),
        false => Video::open(path, config),
    };
    let video = video.with_context(|| format!("cannot show {}", name(path)))?;
    warn_of_damage(path, video.complete);
    Ok(video)
}

fn warn_of_damage(path: &Path, is_complete: bool) {
    if !is_complete {
        say!("carat: {} is damaged, what could be read of it is used", name(path));
    }
}

/// The clip, unless it is too long and `long` says so.
fn bounded(path: &Path, clip: Clip, long: LongClip) -> Result<Clip> {
    clip.segments(long).with_context(|| format!("cannot play {}", name(path)))?;
    Ok(clip)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The path for a message.
fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// All of standard input.
fn stdin_bytes() -> Result<Vec<u8>> {
    let mut stdin = io::stdin().lock();
    if stdin.is_terminal() {
        bail!(Usage("`-` reads standard input: pipe a picture or a sound in".to_owned()));
    }
    let mut bytes = Vec::new();
    let read = stdin.by_ref().take(STDIN_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.context("cannot read standard input")?;
    if bytes.len() as u64 > STDIN_BYTES_MAX {
        bail!("standard input has more than {STDIN_BYTES_MAX} bytes: give a file");
    }
    Ok(bytes)
}

/// The most that is read from standard input.
const STDIN_BYTES_MAX: u64 = 1 << 30;

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
    /// Whether it comes from standard input.
    pub(crate) fn is_stdin(&self) -> bool {
        let (Self::Image(path) | Self::Audio(path) | Self::Video(path)) = self;
        is_stdin(path)
    }

    /// Reads it. Ctrl-C stops ffmpeg.
    pub(crate) fn read(&self, reading: Reading) -> Result<Read> {
        let config = VideoConfig { cancel: Some(interrupt::stop()), ..VideoConfig::default() };
        Ok(match self {
            Self::Image(path) => Read::Image(picture(path, reading.budget)?),
            Self::Audio(path) => Read::Audio(bounded(path, sound(path, &config)?, reading.long)?),
            Self::Video(path) => {
                let (video, clip) = film(path, reading, &config)?;
                Read::Video(video, clip)
            }
        })
    }
}

/// # Errors
/// If more than one thing is to come from standard input: a medium, or a prompt that is `-`.
pub(crate) fn check_stdin(sources: &[Source], prompt: Option<&str>) -> Result<bool> {
    let from_stdin = |source: &&Source| source.is_stdin();
    if sources.iter().any(|source| matches!(source, Source::Video(_)) && source.is_stdin()) {
        bail!(Usage("a video cannot come from standard input: give a file".to_owned()));
    }
    let media = sources.iter().filter(from_stdin).count();
    let wanted = media + usize::from(prompt == Some("-"));
    if wanted > 1 {
        bail!(Usage(format!("standard input can be one thing, here {wanted} are `-`: give files")));
    }
    Ok(media > 0)
}

/// A medium in memory, as the model will see or hear it.
pub(crate) enum Read {
    Image(Picture),
    Audio(Clip),
    Video(Video, Option<Clip>),
}

impl Read {
    /// What a chat template calls it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Image(_) => "image",
            Self::Audio(_) => "audio",
            Self::Video(..) => "video",
        }
    }

    /// Tokens of its rows alone.
    pub(crate) fn tokens_min(&self) -> usize {
        match self {
            Self::Image(picture) => picture.tokens(),
            Self::Audio(clip) => clip.tokens(),
            Self::Video(video, clip) => video.tokens() + clip.as_ref().map_or(0, Clip::tokens),
        }
    }

    /// Tokens it takes, about: what stands between and around is counted generously.
    pub(crate) fn tokens(&self) -> usize {
        let sound = |clip: &Clip| clip.tokens() + 2 * (1 + clip.tokens() / 100);
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
        session: &mut Session,
        long: LongClip,
    ) -> Result<Medium, carat::Error> {
        match self {
            Self::Image(picture) => {
                let mut bar = Progress::new("seeing", Unit::Tokens);
                session.embed_picture_with(picture, &mut |progress| {
                    bar.set(progress.done as u64, progress.total as u64);
                    ControlFlow::Continue(())
                })
            }
            Self::Audio(clip) => session.embed_clip(clip, long),
            Self::Video(video, sound) => session.embed_video(video, sound.as_ref()),
        }
    }
}
