//! Pictures, sound and video in a session: from media to rows of the residual stream, and from
//! prompts with placeholders to tokens with rows.

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};

use super::{Progress, SessionError};
use crate::TokenId;
use crate::audio::{Clip, History, LongClip, check_finite};
use crate::engine::Cancelled;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::pages::MemoryError;
use crate::projector::MediaTokens;
use crate::rendered::Rendered;
use crate::text::{MediaKey, Placed};
use crate::video::{Video, timestamp};
use crate::vision::Picture;

/// A picture or a stretch of sound as the decoder takes it: rows that stand in for one run of
/// tokens. A [`Medium`] is made of them; a clone shares the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    kind: Kind,
    /// `[tokens, hidden]`.
    rows: Arc<[f32]>,
    tokens: usize,
    key: MediaKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    Audio,
}

impl Embedding {
    fn image(rows: Vec<f32>, tokens: usize, key: MediaKey) -> Self {
        Self { kind: Kind::Image, rows: rows.into(), tokens, key }
    }

    pub(super) fn audio(rows: Vec<f32>, tokens: usize, key: MediaKey) -> Self {
        Self { kind: Kind::Audio, rows: rows.into(), tokens, key }
    }

    /// Tokens that it takes the place of.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The rows, `[tokens, hidden]`.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// One that was made before, with its rows.
    #[cfg(feature = "chat")]
    pub(crate) fn saved(is_image: bool, rows: Arc<[f32]>, tokens: usize, key: MediaKey) -> Self {
        let kind = if is_image { Kind::Image } else { Kind::Audio };
        Self { kind, rows, tokens, key }
    }

    pub(crate) fn key(&self) -> MediaKey {
        self.key
    }

    /// Whether it is a picture; sound otherwise.
    pub fn is_image(&self) -> bool {
        self.kind == Kind::Image
    }
}

impl MediaKey {
    /// A picture: its patches in a row and its pixels.
    fn picture(picture: &Picture) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"picture");
        hasher.update(&(picture.columns() as u64).to_le_bytes());
        hasher.update(picture.pixels());
        Self(hasher.finalize().into())
    }

    /// A stretch of sound: its samples.
    pub(super) fn sound(samples: &[f32]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"sound");
        hasher.update(bytemuck::cast_slice(samples));
        Self(hasher.finalize().into())
    }
}

/// The embeddings in use, by what they were made of: pictures recur in videos and conversations.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    known: Vec<(MediaKey, Weak<[f32]>)>,
}

impl Embedded {
    fn find(&self, key: MediaKey) -> Option<Arc<[f32]>> {
        let (_, rows) = self.known.iter().find(|(known, _)| *known == key)?;
        rows.upgrade()
    }

    fn remember(&mut self, key: MediaKey, rows: &Arc<[f32]>) {
        // The memory of rows is not free before the last reference to them is gone, weak or not.
        self.known.retain(|(_, rows)| rows.strong_count() > 0);
        self.known.push((key, Arc::downgrade(rows)));
    }
}

/// What a placeholder in a prompt stands for. Made once by
/// [`Session::embed_picture`](super::Session::embed_picture), `embed_clip`, `embed_samples` or
/// `embed_video`, and used as often as wanted; a clone shares the rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Medium {
    /// A picture.
    Image(Embedding),
    /// Sound, in segments of at most 30 s.
    Audio(Vec<Embedding>),
    /// The frames of a video with their times in seconds, and its sound if that is wanted.
    Video {
        /// Times and pictures.
        frames: Vec<(f64, Embedding)>,
        /// Segments of at most 30 s.
        sound: Vec<Embedding>,
    },
}

impl Medium {
    /// The rows without what stands between them, in the order of their tokens, as
    /// [`Input::Filled`](super::Input::Filled) takes them.
    pub fn into_embeddings(self) -> Vec<Embedding> {
        match self {
            Self::Image(image) => vec![image],
            Self::Audio(segments) => segments,
            Self::Video { frames, sound } => {
                frames.into_iter().map(|(_, frame)| frame).chain(sound).collect()
            }
        }
    }
}

impl From<Embedding> for Medium {
    fn from(embedding: Embedding) -> Self {
        match embedding.kind {
            Kind::Image => Self::Image(embedding),
            Kind::Audio => Self::Audio(vec![embedding]),
        }
    }
}

/// A piece of a prompt.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// The user's own words: nothing in them is a special token.
    Text(&'a str),
    /// What the user shows or plays.
    Medium(&'a Medium),
}

impl<'a> From<&'a str> for Part<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Medium> for Part<'a> {
    fn from(medium: &'a Medium) -> Self {
        Self::Medium(medium)
    }
}

/// A prompt written out: its tokens, with soft tokens where media stand, and the embeddings in the
/// order of their tokens. [`Input::Filled`](super::Input::Filled) takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MediaPrompt {
    /// The tokens, without BOS unless the template wrote it.
    pub ids: Vec<TokenId>,
    /// One for each run of soft tokens.
    pub media: Vec<Embedding>,
}

impl MediaPrompt {
    /// Words and media in the order given.
    ///
    /// # Errors
    /// If the model has no projector for a medium.
    pub fn from_parts(model: &Model, parts: &[Part<'_>]) -> Result<Self> {
        let mut filled = Self::default();
        for part in parts {
            match part {
                Part::Text(text) => filled.ids.extend(model.tokenizer().encode(text)),
                Part::Medium(medium) => filled.medium(model, medium)?,
            }
        }
        Ok(filled)
    }

    /// The output of a chat template, with media in order for the placeholders that it wrote.
    ///
    /// # Errors
    /// If placeholders and media do not match in number and kind, or as
    /// [`MediaPrompt::from_parts`].
    pub fn from_conversation(model: &Model, prompt: &Rendered, media: &[Medium]) -> Result<Self> {
        let tokenizer = model.tokenizer();
        let ids = tokenizer.encode_rendered(prompt);
        let placeholders =
            ["<|image|>", "<|audio|>", "<|video|>"].map(|name| tokenizer.special(name));
        let mut filled = Self::default();
        let mut rest = media.iter();
        let mut found = 0;
        for id in ids {
            if !placeholders.contains(&Some(id)) {
                filled.ids.push(id);
                continue;
            }
            found += 1;
            let Some(medium) = rest.next() else { continue };
            let wanted = match medium {
                Medium::Image(_) => 0,
                Medium::Audio(_) => 1,
                Medium::Video { .. } => 2,
            };
            if placeholders[wanted] != Some(id) {
                let names = ["a picture", "sound", "a video"];
                let at = placeholders.iter().position(|p| *p == Some(id)).unwrap_or(wanted);
                return Err(
                    SessionError::MediaKind { wanted: names[at], found: names[wanted] }.into()
                );
            }
            filled.medium(model, medium)?;
        }
        match found == media.len() {
            true => Ok(filled),
            false => Err(SessionError::MediaCount { wanted: found, found: media.len() }.into()),
        }
    }

    /// Where the soft tokens of each embedding stand.
    ///
    /// # Errors
    /// If runs of soft tokens and embeddings do not match in number, kind and length.
    pub fn places(&self, model: &Model) -> Result<Vec<Range<usize>>> {
        let placed = place(model, &self.ids, &self.media, 0)?;
        Ok(placed.into_iter().map(|placed| placed.at).collect())
    }

    fn medium(&mut self, model: &Model, medium: &Medium) -> Result<()> {
        match medium {
            Medium::Image(image) => self.embedding(model, image),
            Medium::Audio(segments) => segments.iter().try_for_each(|s| self.embedding(model, s)),
            Medium::Video { frames, sound } => {
                for (i, (seconds, frame)) in frames.iter().enumerate() {
                    let space = if i == 0 { "" } else { " " };
                    let time = format!("{space}{} ", timestamp(*seconds));
                    self.ids.extend(model.tokenizer().encode(&time));
                    self.embedding(model, frame)?;
                }
                sound.iter().try_for_each(|s| self.embedding(model, s))
            }
        }
    }

    fn embedding(&mut self, model: &Model, embedding: &Embedding) -> Result<()> {
        let MediaTokens { begin, soft, end } = tokens_of(model, embedding)?;
        self.ids.push(begin);
        self.ids.extend(std::iter::repeat_n(soft, embedding.tokens));
        self.ids.push(end);
        self.media.push(embedding.clone());
        Ok(())
    }
}

/// Where the media of a prompt stand: each run of soft tokens is the next embedding. `first` is the
/// position of the first token.
pub(super) fn place(
    model: &Model,
    ids: &[TokenId],
    media: &[Embedding],
    first: usize,
) -> Result<Vec<Placed>> {
    let hidden = model.config().hidden;
    let soft = |id: TokenId| is_soft(model, id);
    let mut placed = Vec::new();
    let mut rest = media.iter();
    let mut at = 0;
    while at < ids.len() {
        let run = ids[at..].iter().take_while(|id| soft(**id) && **id == ids[at]).count();
        if run == 0 {
            at += 1;
            continue;
        }
        let count = placed.len() + 1;
        let embedding =
            rest.next().ok_or(SessionError::MediaCount { wanted: count, found: media.len() })?;
        if tokens_of(model, embedding)?.soft != ids[at] {
            let names =
                if embedding.is_image() { ["sound", "a picture"] } else { ["a picture", "sound"] };
            return Err(SessionError::MediaKind { wanted: names[0], found: names[1] }.into());
        }
        if embedding.tokens != run {
            return Err(SessionError::MediaTokens { wanted: run, found: embedding.tokens }.into());
        }
        if embedding.rows.len() != run * hidden {
            return Err(SessionError::MediaModel {
                wanted: hidden,
                found: embedding.rows.len() / run,
            }
            .into());
        }
        placed.push(Placed {
            at: first + at..first + at + run,
            is_image: embedding.is_image(),
            key: embedding.key,
            rows: embedding.rows.clone(),
        });
        at += run;
    }
    match placed.len() == media.len() {
        true => Ok(placed),
        false => Err(SessionError::MediaCount { wanted: placed.len(), found: media.len() }.into()),
    }
}

/// Whether a token is only a place for a row of a medium.
fn is_soft(model: &Model, id: TokenId) -> bool {
    soft_tokens(model).any(|soft| soft == id)
}

/// The tokens that are only places for rows of media.
pub(super) fn soft_tokens(model: &Model) -> impl Iterator<Item = TokenId> + use<> {
    let projector = model.projector();
    let vision = projector.and_then(|p| p.vision.as_ref()).map(|(_, tokens)| tokens.soft);
    let audio = projector.and_then(|p| p.audio.as_ref()).map(|(_, tokens)| tokens.soft);
    vision.into_iter().chain(audio)
}

/// The error of an embedding of so many tokens that is not finished.
fn cancelled(tokens: usize) -> impl FnOnce(Cancelled) -> Error {
    move |Cancelled| Error::Cancelled { done: 0, total: tokens as u64 }
}

fn tokens_of(model: &Model, embedding: &Embedding) -> Result<MediaTokens> {
    match embedding.kind {
        Kind::Image => Ok(model.vision()?.1),
        Kind::Audio => Ok(model.audio()?.1),
    }
}

impl super::Session {
    /// Turns a picture into rows of the decoder. A picture that is equal to one whose embedding is
    /// still in use shares its rows.
    ///
    /// # Errors
    /// If the model was opened without a projector that sees, the picture has more columns or rows
    /// than the model has positions, or there is no memory.
    pub fn embed_picture(&mut self, picture: &Picture) -> Result<Medium> {
        self.embed_picture_with(picture, &mut |_| ControlFlow::Continue(()))
    }

    /// [`Session::embed_picture`](Self::embed_picture) with a callback that hears what is done and
    /// may break off. An encoder has all tokens done in the end only: what is told is the share of
    /// its layers. Without an encoder nothing is told.
    ///
    /// # Errors
    /// As [`Session::embed_picture`](Self::embed_picture), and
    /// [`Error::Cancelled`] if the callback breaks off.
    pub fn embed_picture_with(
        &mut self,
        picture: &Picture,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Medium> {
        self.picture(picture, progress).map(Medium::from)
    }

    fn picture(
        &mut self,
        picture: &Picture,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Embedding> {
        let (vision, _) = self.model.vision()?;
        let key = MediaKey::picture(picture);
        if let Some(rows) = self.embedded.find(key) {
            return Ok(Embedding { kind: Kind::Image, rows, tokens: picture.tokens(), key });
        }
        let mut rows = self.rows(picture.tokens())?;
        if let Some(shape) = self.model.projector_shape().and_then(|shape| shape.vision) {
            self.engine.reserve(shape.need(picture.tokens()))?; // longer than the context, perhaps
        }
        let mut turn = self.engine.turn(&self.cancel).map_err(cancelled(picture.tokens()))?;
        let (pool, frame) = turn.parts();
        let total = picture.tokens();
        let tell = &mut |done, of| progress(Progress { done: total * done / of, total });
        let embedded = vision.embed(pool, picture, &mut rows, tell, frame)?;
        turn.is_whole().map_err(cancelled(total))?;
        if embedded.is_break() {
            return Err(cancelled(total)(Cancelled));
        }
        drop(turn);
        let embedding = Embedding::image(rows, picture.tokens(), key);
        self.embedded.remember(key, &embedding.rows);
        Ok(embedding)
    }

    /// Turns mono samples at 16 kHz into rows of the decoder, as many as [`Clip::tokens`] says, in
    /// one segment however long it is. A [`Clip`] may have come from other samples, and is split.
    ///
    /// # Errors
    /// If the model was opened without a projector that hears, there are no samples, or too few for
    /// a token, one of them is not finite, or there is no memory.
    pub fn embed_samples(&mut self, samples: &[f32]) -> Result<Medium> {
        self.samples(samples).map(Medium::from)
    }

    fn samples(&mut self, samples: &[f32]) -> Result<Embedding> {
        let (audio, _) = self.model.audio()?;
        let (tokens, mut history) = (audio.tokens(samples.len())?, audio.history());
        check_finite(samples, 0)?;
        let rows = self.sound(samples, 0..tokens, &mut history)?;
        Ok(Embedding::audio(rows, tokens, MediaKey::sound(samples)))
    }

    /// The rows of some tokens of the sound that begins with `samples`, as
    /// [`Audio::embed`](crate::audio::Audio::embed) has them.
    pub(super) fn sound(
        &mut self,
        samples: &[f32],
        tokens: Range<usize>,
        history: &mut History,
    ) -> Result<Vec<f32>> {
        let (audio, _) = self.model.audio()?;
        let mut rows = self.rows(tokens.len())?;
        let mut turn = self.engine.turn(&self.cancel).map_err(cancelled(tokens.len()))?;
        let (pool, frame) = turn.parts();
        audio.embed(pool, samples, tokens.clone(), history, &mut rows, frame);
        turn.is_whole().map_err(cancelled(tokens.len()))?;
        Ok(rows)
    }

    /// Turns sound into segments of at most 30 s, or refuses what is longer.
    ///
    /// # Errors
    /// As [`Session::embed_samples`](Self::embed_samples), and if `long` forbids to split.
    pub fn embed_clip(&mut self, clip: &Clip, long: LongClip) -> Result<Medium> {
        let segments = clip.segments(long)?.into_iter();
        let embed = |range: Range<usize>| self.samples(&clip.samples()[range]);
        Ok(Medium::Audio(segments.map(embed).collect::<Result<_>>()?))
    }

    /// Turns the frames of a video, and its sound where there is some, into rows.
    ///
    /// # Errors
    /// As [`Session::embed_picture`](Self::embed_picture) and
    /// [`Session::embed_clip`](Self::embed_clip).
    pub fn embed_video(&mut self, video: &Video, sound: Option<&Clip>) -> Result<Medium> {
        let mut frames: Vec<(f64, Embedding)> = Vec::with_capacity(video.frames.len());
        for frame in &video.frames {
            let go_on = &mut |_| ControlFlow::Continue(());
            frames.push((frame.seconds, self.picture(&frame.picture, go_on)?));
        }
        let sound = sound.map(|clip| self.embed_clip(clip, LongClip::Split)).transpose()?;
        let sound = sound.map_or_else(Vec::new, Medium::into_embeddings);
        Ok(Medium::Video { frames, sound })
    }

    fn rows(&self, tokens: usize) -> Result<Vec<f32>> {
        let values = tokens * self.model.config().hidden;
        let mut rows = Vec::new();
        let bytes = (values * size_of::<f32>()) as u64;
        rows.try_reserve_exact(values).map_err(|_| MemoryError { what: "media", bytes })?;
        rows.resize(values, 0.0);
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Input, OpenOptions, Session, SessionConfig};

    /// A model of another width has other rows; tiny-s has 64 values in each.
    #[test]
    fn embeddings_of_a_model_of_another_width_are_refused() {
        let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-s");
        let projector = kit.join("mmproj-f32.gguf");
        let options = OpenOptions { projector: Some(&projector), ..Default::default() };
        let model = Model::open_with(kit.join("text-q4_0.gguf"), options).expect("tiny-s");
        let config = SessionConfig { context: 64, threads: 1, ..Default::default() };
        let mut session = Session::new(&model, config).expect("a session");
        let soft = model.audio().expect("it hears").1.soft;
        for width in [32, 63, 65, 128] {
            let media = [Embedding::audio(vec![0.0; 3 * width], 3, MediaKey::sound(&[]))];
            let result = session.push(Input::Filled { ids: &[soft; 3], media: &media });
            match result {
                Err(Error::Session(SessionError::MediaModel { wanted: 64, found })) => {
                    assert_eq!(found, width);
                }
                other => panic!("{width}: {other:?}"),
            }
            assert!(session.is_empty());
        }
    }
}
