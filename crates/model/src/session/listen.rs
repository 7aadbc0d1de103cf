//! Sound that is heard while it is being recorded: evaluated as it comes, so that only the last
//! fraction of a second is left to do when the speaker ends.

use std::ops::ControlFlow;

use super::{Embedding, Session, SessionError};
use crate::TokenId;
use crate::audio::{FRAME, History, LongClip, Stream, segment};
use crate::error::Result;
use crate::text::MediaKey;

/// A sound that a session is listening to, made by [`Session::listen`].
///
/// Once finished, the session holds the same tokens and the same bits as if the sound had been
/// pushed as one [`Medium::Audio`](crate::Medium::Audio), however it was cut into pieces. Dropped
/// before that, it leaves the session in the middle of the sound: [`Session::truncate`] to where
/// it began takes it back.
#[derive(Debug)]
pub struct Listen<'s> {
    session: &'s mut Session,
    long: LongClip,
    stream: Stream,
    splitter: segment::Splitter,
    /// Mono samples of the segment that is growing.
    samples: Vec<f32>,
    /// What the projector remembers of it.
    history: History,
    /// Position of the segment's first token; `None` before its begin token.
    first: Option<usize>,
    /// Samples of the segments before.
    closed: usize,
}

impl Session {
    /// Begins to listen to interleaved PCM of `rate` samples a second and channel. What precedes
    /// the sound in the prompt is pushed before, what follows it after [`Listen::finish`]. In an
    /// empty session BOS comes first.
    ///
    /// A sound of more than 30 s is cut at a quiet point in its past. The session then goes back
    /// there, and as it can only go back [`SessionConfig::rollback`](crate::SessionConfig)
    /// tokens, sound from second 20 on waits for that decision beyond as many: with a rollback of
    /// 250 none does.
    ///
    /// ```no_run
    /// # use carat::{Error, Input, Model, OpenOptions, Session, SessionConfig, audio::LongClip};
    /// # fn microphone() -> impl Iterator<Item = Vec<f32>> { std::iter::empty() }
    /// # fn main() -> Result<(), Error> {
    /// let projector = std::path::Path::new("mmproj.gguf");
    /// let options = OpenOptions { projector: Some(projector), ..Default::default() };
    /// let model = Model::open_with("gemma.gguf", options)?;
    /// let config = SessionConfig { context: 4096, rollback: 250, ..Default::default() };
    /// let mut session = Session::new(&model, config)?;
    /// session.push(Input::Prompt("<|turn>user\n"))?;
    /// let mut listen = session.listen(48_000, 1, LongClip::Split)?;
    /// for piece in microphone() {
    ///     listen.push(&piece)?; // evaluates what is complete
    /// }
    /// listen.finish()?;
    /// session.push(Input::Prompt("<turn|>\n<|turn>model\n"))?;
    /// // session.generate(...) answers
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the model was opened without a projector that hears, the rate is outside 1 to 768 kHz
    /// (without the crate's feature `sound`: is not 16 kHz), or there are not 1 to 64 channels.
    pub fn listen(&mut self, rate: u32, channels: usize, long: LongClip) -> Result<Listen<'_>> {
        let history = self.model.audio()?.0.history();
        Ok(Listen {
            session: self,
            long,
            stream: Stream::new(rate, channels)?,
            splitter: segment::Splitter::default(),
            samples: Vec::new(),
            history,
            first: None,
            closed: 0,
        })
    }
}

impl Listen<'_> {
    /// Takes the next piece, of any length, and evaluates the frames of 40 ms that it completes,
    /// 16 or more at a time. It returns when that is done: what is recorded meanwhile makes the
    /// next piece.
    ///
    /// # Errors
    /// For samples that are not finite (then nothing of the piece is taken), if the context cannot
    /// hold the sound, or it exceeds 30 s where that is refused. The session is best truncated to
    /// where the sound began then. After [`Error::Cancelled`](crate::Error::Cancelled) the piece is
    /// taken, and the next one, which may be empty, goes on with it.
    pub fn push(&mut self, interleaved: &[f32]) -> Result<()> {
        self.stream.push(interleaved, &mut self.samples)?;
        self.split(false)?;
        let ready = self.ready()?;
        match ready >= self.heard() + BLOCK {
            true => self.hear(ready, self.samples.len(), false),
            false => Ok(()),
        }
    }

    /// Frames of sound in the session so far, each a token, those of earlier segments left out.
    pub fn heard(&self) -> usize {
        self.first.map_or(0, |first| self.session.tokens.len() - first)
    }

    /// The sound is over: evaluates the rest and closes it.
    ///
    /// # Errors
    /// As [`Listen::push`], if there was no sound at all, or the last instant lacks channels.
    pub fn finish(mut self) -> Result<()> {
        self.stream.finish(&mut self.samples)?;
        if self.samples.is_empty() && self.closed == 0 {
            return Err(crate::audio::SamplesError::NoSamples.into());
        }
        self.split(true)?;
        let end = self.samples.len();
        match end {
            0 => Ok(()),
            _ => self.hear(self.session.model.audio()?.0.tokens(end)?, end, true),
        }
    }

    /// Looks at new frames, and closes segments that grow too long.
    fn split(&mut self, at_end: bool) -> Result<()> {
        loop {
            let next = self.splitter.frames() * FRAME;
            let end = self.samples.len().min(next + FRAME);
            let is_whole = end == next + FRAME;
            if next >= self.samples.len() || !(is_whole || at_end) {
                return Ok(());
            }
            self.splitter.push(&self.samples[next..end]);
            let Some(cut) = self.splitter.cut() else { continue };
            if self.long == LongClip::Refuse {
                return Err(segment::too_long(self.closed + end).into());
            }
            let end = cut * FRAME;
            let (audio, _) = self.session.model.audio()?;
            let (tokens, settled) = (audio.tokens(end)?, audio.settled(end));
            self.back(settled)?;
            self.hear(tokens, end, true)?;
            self.samples.drain(..end);
            self.splitter.forget(cut);
            self.closed += end;
            self.first = None;
        }
    }

    /// Tokens that can be evaluated: no more than can be taken back to a cut.
    fn ready(&self) -> Result<usize> {
        let (audio, _) = self.session.model.audio()?;
        let first_cut = audio.settled(segment::CUT_FRAME_MIN * FRAME);
        let most = first_cut.saturating_add(self.session.limits.rollback);
        Ok(audio.settled(self.samples.len()).min(most))
    }

    /// Takes back what the session heard of the segment beyond `tokens`.
    fn back(&mut self, tokens: usize) -> Result<()> {
        let Some(first) = self.first.filter(|_| self.heard() > tokens) else { return Ok(()) };
        let wanted = first + tokens;
        let session = &mut *self.session;
        session.rewind(wanted).map_err(|least| SessionError::Rollback { wanted, least })?;
        session.forget(wanted);
        Ok(())
    }

    /// Evaluates the segment, of which there are so many `samples`, up to token `to`, and its end
    /// if it `ends` there.
    fn hear(&mut self, to: usize, samples: usize, ends: bool) -> Result<()> {
        let tokens = self.session.model.audio()?.1;
        let mut ids: Vec<TokenId> = Vec::new();
        if self.first.is_none() {
            ids.extend(self.session.bos_before(Some(tokens.begin)));
            ids.push(tokens.begin);
        }
        let from = self.heard();
        let samples = &self.samples[..samples];
        let key = |is_closed| MediaKey::sound(if is_closed { samples } else { &[] });
        let media: Vec<Embedding> = match from < to {
            true => {
                let rows = self.session.sound(samples, from..to, &mut self.history)?;
                vec![Embedding::audio(rows, to - from, key(false))]
            }
            false => Vec::new(),
        };
        let first = self.first.unwrap_or(self.session.tokens.len() + ids.len());
        ids.extend(std::iter::repeat_n(tokens.soft, to - from));
        ids.extend(ends.then_some(tokens.end));
        let result = self.session.append(None, &ids, &media, &mut |_| ControlFlow::Continue(()));
        if self.session.tokens.len() >= first {
            self.first = Some(first); // of what was cancelled the first chunks were heard
        }
        // What is not closed has no key of its own: it is not known what it will be.
        self.session.join_sound(first, key(ends && result.is_ok()));
        result
    }
}

impl Session {
    /// Makes one medium of the last two, where the second goes on with the sound of the first, and
    /// gives it its key. Its first token is at `first`.
    fn join_sound(&mut self, first: usize, key: MediaKey) {
        if let [.., last, next] = &mut self.media[..]
            && !last.is_image
            && !next.is_image
            && last.at.end == next.at.start
        {
            last.at.end = next.at.end;
            self.media.pop();
        }
        if let Some(last) = self.media.last_mut().filter(|last| last.at.start == first) {
            last.key = key;
        }
    }
}

/// Frames evaluated at least at a time while sound comes in: 0.64 s. Less reads all weights more
/// often, more leaves more to be done after the last word.
const BLOCK: usize = 16;
