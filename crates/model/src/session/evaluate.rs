//! Forward passes over the tokens that are not in the cache yet, a chunk at a time.
//!
//! Callbacks run between passes or after one, never in the middle: if one panics, the session holds
//! what was evaluated before, and the panic goes on to the caller. A panic inside a pass leaves
//! rings that are overwritten in part, and the session refuses all further work.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use carat_kernels::GROUP_COLUMNS;

use super::media::Placed;
use super::{Embedding, Progress, Session, SessionError};
use crate::TokenId;
use crate::arena::Frame;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::pool::Pool;
use crate::sampler::not_finite;
use crate::text::{self, Span};

/// Why an evaluation ended before all tokens were evaluated.
enum Ended {
    Error(Error),
    /// A callback panicked with this.
    Panic(Box<dyn Any + Send>),
}

impl Session {
    /// Appends tokens and calls `each` with the logits after every one of them, in order; the
    /// position counts from the start of the session.
    ///
    /// # Errors
    /// As [`Session::push`].
    pub fn eval(&mut self, ids: &[TokenId], each: impl FnMut(usize, &[f32])) -> Result<()> {
        self.eval_filled(ids, &[], each)
    }

    /// [`Session::eval`] of tokens whose runs of soft tokens stand for embeddings, in order.
    ///
    /// # Errors
    /// As [`Session::push`]. After an error, and after a panic of `each`, the session holds what
    /// was evaluated.
    pub fn eval_filled(
        &mut self,
        ids: &[TokenId],
        media: &[Embedding],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        let before = self.tokens.len();
        let vocab = self.model.config().vocab;
        self.extend(None, ids, media)?;
        let mut rows = vec![0.0; vocab * GROUP_COLUMNS]; // [tokens, vocab]
        let mut result = Ok(());
        while result.is_ok() && self.kv.len() < self.tokens.len() {
            let mut position = self.kv.len();
            self.pass(|model, pool, x, mut frame, logits| {
                let hidden = model.config().hidden;
                for x in x.chunks(GROUP_COLUMNS * hidden) {
                    let rows = &mut rows[..x.len() / hidden * vocab];
                    let scratch = frame.nested();
                    let are_finite = pool.enter(|| text::logits(model, pool, x, rows, scratch));
                    if !are_finite && result.is_ok() {
                        result = Err(Ended::Error(not_finite(rows, vocab).into()));
                    }
                    for row in rows.chunks_exact(vocab) {
                        if position >= before && result.is_ok() {
                            result = call(|| each(position, row));
                        }
                        position += 1;
                    }
                }
                let last = (x.len() / hidden - 1) % GROUP_COLUMNS;
                logits.copy_from_slice(&rows[last * vocab..(last + 1) * vocab]);
            });
        }
        self.end(result, before)
    }

    /// Appends tokens and evaluates them.
    pub(super) fn append(
        &mut self,
        bos: Option<TokenId>,
        ids: &[TokenId],
        media: &[Embedding],
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<()> {
        let before = self.tokens.len();
        self.extend(bos, ids, media)?;
        let result = self.evaluate(progress);
        self.end(result, before)
    }

    /// Makes `logits` those after the last token.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.check_whole()?;
        if self.tokens.is_empty() {
            return Err(SessionError::NothingPushed.into());
        }
        let (before, result) =
            (self.tokens.len(), self.evaluate(&mut |_| ControlFlow::Continue(())));
        self.end(result, before)
    }

    /// Evaluates all tokens that are not in the cache.
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Ended> {
        let first = self.kv.len();
        let total = self.tokens.len() - first;
        while self.kv.len() < self.tokens.len() {
            let mut are_finite = false;
            self.pass(|model, pool, x, mut frame, logits| {
                let last = &x[x.len() - model.config().hidden..];
                are_finite = pool.enter(|| text::logits(model, pool, last, logits, frame.nested()));
            });
            if !are_finite {
                let vocab = self.logits.len();
                return Err(Ended::Error(not_finite(&self.logits, vocab).into()));
            }
            let done = self.kv.len() - first;
            if call(|| progress(Progress { done, total }))?.is_break() && done < total {
                let (done, total) = (done as u64, total as u64);
                return Err(Ended::Error(Error::Cancelled { done, total }));
            }
        }
        Ok(())
    }

    /// Ends an evaluation of tokens that were appended to `before` others: what was not evaluated
    /// is dropped, and a callback's panic goes on.
    fn end(&mut self, result: Result<(), Ended>, before: usize) -> Result<()> {
        let Err(ended) = result else { return Ok(()) };
        self.forget(before.max(self.kv.len()));
        match ended {
            Ended::Error(error @ Error::Sampler(_)) => {
                self.logits.fill(f32::NAN); // so that whoever asks for them hears of it again
                Err(error)
            }
            Ended::Error(error) => Err(error),
            Ended::Panic(panic) => resume_unwind(panic),
        }
    }

    /// Tokens of the next pass: a chunk, but never a part of a picture, whose tokens see each
    /// other.
    fn pass_tokens(&self) -> usize {
        let start = self.kv.len();
        let end = (start + self.chunk).min(self.tokens.len());
        let cut =
            |placed: &&Placed| placed.is_image && placed.at.start < end && end < placed.at.end;
        match self.media.iter().find(cut) {
            Some(placed) if placed.at.start > start => placed.at.start - start,
            Some(placed) => placed.at.end - start,
            None => end - start,
        }
    }

    /// Runs the next chunk of tokens through the model; `then` gets their residual rows, and the
    /// logits to fill.
    fn pass(&mut self, then: impl FnOnce(&Model, &Pool, &[f32], Frame<'_>, &mut [f32])) {
        self.is_broken = true; // until the end of the pass
        let start = self.kv.len();
        let tokens = self.pass_tokens();
        let (model, pool, kv) = (&self.model, &self.pool, &mut self.kv);
        let ids = &self.tokens[start..start + tokens];
        let first = self.media.partition_point(|placed| placed.at.end <= start);
        let count = self.media[first..].partition_point(|placed| placed.at.start < start + tokens);
        let media = &mut self.media[first..first + count];
        let mut frame = self.arena.frame();
        let x = frame.take(tokens * model.config().hidden); // [tokens, hidden]
        let image = |q| media.iter().find(|placed| placed.is_image && placed.at.contains(&q));
        let visible = |q| image(q).map_or(q + 1, |placed| placed.at.end);
        let span = Span { start, tokens, visible: &visible };
        pool.enter(|| {
            text::embed(model, pool, ids, x);
            media.iter().for_each(|placed| placed.fill(start, model.config().hidden, x));
            text::forward(model, pool, kv, &span, x, frame.nested());
        });
        for placed in media.iter_mut().filter(|placed| placed.at.end <= start + tokens) {
            placed.rows = Arc::default(); // evaluated: the cache has them now
        }
        then(model, pool, x, frame, &mut self.logits);
        self.is_broken = false;
    }
}

/// Calls a callback and catches its panic.
fn call<R>(callback: impl FnOnce() -> R) -> Result<R, Ended> {
    catch_unwind(AssertUnwindSafe(callback)).map_err(Ended::Panic)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audio::LongClip;
    use crate::vision::{Budget, Picture};
    use crate::{Input, Sampler, SamplerConfig, SessionConfig};

    /// Whatever it is asked, it says that it is of no use any more.
    #[test]
    fn a_panic_inside_a_pass_is_the_end_of_the_session() {
        let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-s");
        let model = Model::open(kit.join("text-q4_0.gguf")).expect("tiny-s");
        let config = SessionConfig { context: 64, threads: 2, ..Default::default() };
        let mut session = Session::new(&model, config).expect("a session");
        session.push(Input::Tokens(&[2, 300, 301])).expect("a push");
        session.extend(None, &[302], &[]).expect("room");
        let panic = catch_unwind(AssertUnwindSafe(|| {
            session.pass(|_, pool, _, _, _| {
                pool.chunks(&mut [0; 8], 1, |i, _| assert!(i != 5, "unit five"));
            });
        }));
        assert!(panic.is_err());

        let is_broken = |result: Result<()>| match result {
            Err(Error::Session(SessionError::Broken)) => {}
            other => panic!("{other:?}"),
        };
        is_broken(session.push(Input::Text("on")));
        is_broken(session.push(Input::Tokens(&[])));
        is_broken(session.eval(&[300], |_, _| {}));
        is_broken(session.logits().map(|_| ()));
        is_broken(session.truncate(0));
        is_broken(session.listen(16_000, 1, LongClip::Split).map(|_| ()));
        is_broken(session.embed_samples(&[0.0; 640]).map(|_| ()));
        let picture = Picture::from_rgb(48, 48, &[0; 48 * 48 * 3], Budget::default());
        is_broken(session.embed_picture(&picture.expect("a picture")).map(|_| ()));
        let mut sampler = Sampler::new(SamplerConfig::default(), 512).expect("a sampler");
        is_broken(session.generate(&mut sampler).next().expect("an answer").map(|_| ()));
        assert_eq!(session.len(), 4);
        // The model is none the worse.
        let config = SessionConfig { context: 64, ..Default::default() };
        Session::new(&model, config).expect("a session").push(Input::Text("on")).expect("a push");
    }
}
