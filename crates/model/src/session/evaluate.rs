//! Forward passes over the tokens that are not in the cache yet, a chunk at a time.
//!
//! A pass is kept whole or not at all: one that is cancelled, that panics or that ends in logits
//! which are no numbers leaves the session as it was. Callbacks run between passes: if one panics,
//! the session holds what was evaluated before, and the panic goes on to the caller.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Instant;

use carat_kernels::GROUP_COLUMNS;

use super::{Embedding, Placed, Progress, Session, SessionError};
use crate::TokenId;
use crate::draft::Pass;
use crate::error::{Error, Result};
use crate::pages::{MemoryError, zeros};
use crate::sampler::not_finite;
use crate::text::{self, PassError, Stream};

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
        self.extend(None, ids, media)?;
        let mut each = |position, row: &[f32]| {
            if position >= before {
                each(position, row)
            }
        };
        let result = self.evaluate_rows(&mut each);
        self.end(result, before)
    }

    /// Evaluates all tokens that are not in the cache, and calls `each` with their positions and
    /// logits.
    fn evaluate_rows(&mut self, each: &mut dyn FnMut(usize, &[f32])) -> Result<(), Ended> {
        let (hidden, vocab) = (self.model.config().hidden, self.model.config().vocab);
        let none = |error: MemoryError| Ended::Error(error.into());
        let mut rows = zeros("logits", vocab * GROUP_COLUMNS).map_err(none)?; // [tokens, vocab]
        let mut x = Vec::new(); // [tokens, hidden]
        let (first, total) = (self.kv.len(), self.tokens.len() - self.kv.len());
        while self.kv.len() < self.tokens.len() {
            let mut position = self.kv.len();
            let cancelled = self.cancelled(first, total);
            let tokens = self.pass_tokens(self.chunk);
            x.resize(tokens * hidden, 0.0);
            self.pass(tokens, Some(&mut x), false).map_err(&cancelled)?;
            for x in x.chunks(GROUP_COLUMNS * hidden) {
                let rows = &mut rows[..x.len() / hidden * vocab];
                if !self.logits_of(x, rows).map_err(&cancelled)? {
                    return Err(Ended::Error(not_finite(rows, vocab).into()));
                }
                for row in rows.chunks_exact(vocab) {
                    call(|| each(position, row))?;
                    position += 1;
                }
            }
        }
        Ok(())
    }

    /// Appends tokens and evaluates them.
    pub(crate) fn append(
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
    pub(crate) fn settle(&mut self) -> Result<()> {
        if self.tokens.is_empty() {
            return Err(SessionError::NothingPushed.into());
        }
        let have = self.kv.len();
        if have == self.tokens.len() && self.logits_at != have {
            if self.hidden_at == have {
                return self.settle_from_hidden();
            }
            self.go_back(have - 1)?;
        }
        self.take_over_pending()?;
        self.draft(1);
        let before = self.tokens.len();
        let result = self.evaluate(&mut |_| ControlFlow::Continue(()));
        self.end(result, before)
    }

    /// Takes over the pending tokens that the last pass evaluated as drafts.
    fn take_over_pending(&mut self) -> Result<()> {
        let count = self.evaluated_ahead();
        if count > 0 && self.cancel.is_cancelled() {
            return Err(Error::Cancelled { done: 0, total: self.pending() as u64 });
        }
        self.take_over(count);
        Ok(())
    }

    /// [`Session::settle`] where the last pass left the last row.
    fn settle_from_hidden(&mut self) -> Result<()> {
        let hidden = std::mem::take(&mut self.hidden);
        let mut logits = std::mem::take(&mut self.logits);
        let result = self.logits_of(&hidden, &mut logits);
        (self.hidden, self.logits) = (hidden, logits);
        match result {
            Ok(true) => {
                self.logits_at = self.kv.len();
                if self.stop.is_some() {
                    self.suppress(); // as the generation left them that ended here
                }
                Ok(())
            }
            Ok(false) => Err(not_finite(&self.logits, self.logits.len()).into()),
            Err(stopped) => Err(stopped.after(0, 1)),
        }
    }

    /// Turns residual rows, at most [`GROUP_COLUMNS`], into logits, and says whether these are
    /// numbers.
    fn logits_of(&self, x: &[f32], logits: &mut [f32]) -> Result<bool, PassError> {
        let mut turn = self.engine.turn(&self.cancel)?;
        let weights = self.model.weights();
        weights.check().map_err(PassError::File)?;
        let (pool, frame) = turn.parts();
        let are_finite = text::logits(&self.model, pool, x, logits, frame);
        turn.is_whole()?;
        weights.check().map_err(PassError::File)?;
        Ok(are_finite)
    }

    /// Evaluates all tokens that are not in the cache.
    fn evaluate(
        &mut self,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Ended> {
        let first = self.kv.len();
        let total = self.tokens.len() - first;
        while self.kv.len() < self.tokens.len() {
            let cancelled = self.cancelled(first, total);
            let tokens = self.pass_tokens(self.chunk);
            let is_last = self.kv.len() + tokens == self.tokens.len();
            if !self.pass(tokens, None, is_last).map_err(&cancelled)? {
                return Err(Ended::Error(not_finite(&self.logits, self.logits.len()).into()));
            }
            let done = self.kv.len() - first;
            if call(|| progress(Progress { done, total }))?.is_break() && done < total {
                let (done, total) = (done as u64, total as u64);
                return Err(Ended::Error(Error::Cancelled { done, total }));
            }
        }
        Ok(())
    }

    /// The error of an evaluation of `total` tokens that is cancelled now, or fails.
    fn cancelled(&self, first: usize, total: usize) -> impl Fn(PassError) -> Ended + use<> {
        let (done, total) = ((self.kv.len() - first) as u64, total as u64);
        move |stopped| Ended::Error(stopped.after(done, total))
    }

    /// Ends an evaluation of tokens that were appended to `before` others: what was not evaluated
    /// is dropped, and a callback's panic goes on.
    fn end(&mut self, result: Result<(), Ended>, before: usize) -> Result<()> {
        let Err(ended) = result else { return Ok(()) };
        self.forget(before.max(self.kv.len()));
        match ended {
            Ended::Error(error) => Err(error),
            Ended::Panic(panic) => resume_unwind(panic),
        }
    }

    /// Tokens of the next pass, if it may have `most`: never a part of a picture whose tokens see
    /// each other, so that a picture may make them more.
    pub(super) fn pass_tokens(&self, most: usize) -> usize {
        let start = self.kv.len();
        let end = (start + most).min(self.tokens.len());
        if !self.model.config().pictures_see_themselves() {
            return end - start;
        }
        let cut =
            |placed: &&Placed| placed.is_image && placed.at.start < end && end < placed.at.end;
        match self.media.iter().find(cut) {
            Some(placed) if placed.at.start > start => placed.at.start - start,
            Some(placed) => placed.at.end - start,
            None => end - start,
        }
    }

    /// Runs the next `tokens` tokens through the model; `rows` receives their residual rows. With
    /// logits, says whether these are numbers; the pass is dropped if they are not.
    fn pass(
        &mut self,
        tokens: usize,
        mut rows: Option<&mut [f32]>,
        with_logits: bool,
    ) -> Result<bool, PassError> {
        let (engine, model) = (Arc::clone(&self.engine), self.model.clone());
        let mut turn = engine.turn(&self.cancel)?;
        let (pool, frame) = turn.parts();
        let guessed = if with_logits { self.proposed(tokens) } else { 0 };
        let begun = self.ahead.is_some().then(Instant::now);
        let mut streams = [self.stream(tokens, rows.as_deref_mut(), with_logits)];
        text::forward(&model, pool, &mut streams, frame)?;
        let [stream] = streams;
        let is_kept = stream.is_kept();
        drop(turn);
        if let Some(begun) = begun.filter(|_| is_kept && with_logits) {
            let pass = Pass { tokens: tokens + guessed, guessed, own: guessed };
            self.passed_ahead(tokens, pass, begun.elapsed().as_secs_f64());
        }
        if let Some(rows) = rows.filter(|_| is_kept) {
            let last = rows.len() - self.hidden.len();
            self.hidden.copy_from_slice(&rows[last..]);
        }
        self.passed(is_kept, with_logits);
        Ok(is_kept)
    }

    /// The part that the next `tokens` tokens have in a pass, with the drafts that are proposed for
    /// it.
    pub(super) fn stream<'a>(
        &'a mut self,
        tokens: usize,
        rows: Option<&'a mut [f32]>,
        with_logits: bool,
    ) -> Stream<'a> {
        let has_drafts = with_logits && self.proposed(tokens) > 0;
        if !has_drafts {
            self.drop_ahead(); // the pass overwrites what full layers hold of them
        }
        let start = self.kv.len();
        let first = self.media.partition_point(|placed| placed.at.end <= start);
        let count = self.media[first..].partition_point(|placed| placed.at.start < start + tokens);
        let media = &self.media[first..first + count];
        if with_logits {
            self.logits_at = 0; // what stands there is overwritten, whether or not the pass is kept
        }
        let (hidden, vocab) = (self.hidden.len(), self.logits.len());
        let ahead = self.ahead.as_mut().filter(|_| has_drafts);
        let ahead = ahead.map(|ahead| ahead.part(hidden, vocab));
        let ids = &self.tokens[start..start + tokens];
        let rows = rows.unwrap_or(&mut self.hidden);
        let logits = with_logits.then_some(&mut self.logits[..]);
        let mut stream = Stream::new(&mut self.kv, ids, media, rows, logits);
        stream.ahead = ahead;
        stream
    }

    /// Takes note of a pass that was run to its end.
    pub(super) fn passed(&mut self, is_kept: bool, with_logits: bool) {
        if !is_kept {
            return;
        }
        let end = self.kv.len();
        self.hidden_at = end;
        if with_logits {
            self.logits_at = end;
        }
        for placed in self.media.iter_mut().filter(|placed| placed.at.end <= end) {
            placed.rows = Arc::default(); // evaluated: the cache has them now
        }
    }
}

/// Calls a callback and catches its panic.
fn call<R>(callback: impl FnOnce() -> R) -> Result<R, Ended> {
    catch_unwind(AssertUnwindSafe(callback)).map_err(Ended::Panic)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::SafeTensors;

    use super::*;
    use crate::shared_kit::shared_kit;
    use crate::text::MediaKey;
    use crate::{Input, KvType, Model, SessionConfig};

    /// A panic in the middle of a pass: the session holds what it held, and goes on with the same
    /// bits.
    #[test]
    fn a_panic_inside_a_pass_leaves_no_trace() {
        let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-s");
        let model = Model::open(kit.join("text-q4_0.gguf")).expect("tiny-s");
        let config = SessionConfig { context: 64, threads: 2, ..Default::default() };
        let ids: Vec<TokenId> = (300..340).collect();
        let mut whole = Session::new(&model, config.clone()).expect("a session");
        whole.push(Input::Tokens(&ids)).expect("a push");

        let mut session = Session::new(&model, config).expect("a session");
        session.push(Input::Tokens(&ids[..20])).expect("a push");
        session.extend(None, &ids[20..], &[]).expect("room");
        let engine = Arc::clone(&session.engine);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let mut turn = engine.turn(&session.cancel).expect("a turn");
            let (pool, frame) = turn.parts();
            // The vector of an embedding that does not exist: a worker panics.
            let ids = [ids[20], TokenId::MAX];
            let mut stream = session.stream(2, None, true);
            stream.ids = &ids;
            let _ = text::forward(&model, pool, &mut [stream], frame);
        }));
        assert!(panic.is_err());
        let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let found = bits(session.logits().expect("logits"));
        assert!(found == bits(whole.logits().expect("logits")));
    }

    /// tiny-e's media cases, where that kit is: the rows are those of the reference, in place of a
    /// projector's. Its soft tokens are 1019 for pictures and 1020 for sound.
    #[test]
    fn media_in_the_e_series_are_those_of_the_reference() {
        let Some(kit) = shared_kit("tiny-e") else { return };
        let bytes = std::fs::read(kit.join("reference.safetensors")).expect("a file");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let words = |name: &str| -> Vec<u32> {
            let data = tensors.tensor(name).expect("a tensor").data().to_vec();
            data.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
        };
        let floats = |name: &str| words(name).into_iter().map(f32::from_bits).collect::<Vec<_>>();
        let model = Model::open(kit.join("text-f32.gguf")).expect("tiny-e");
        let rows = [floats("image_embeddings"), floats("audio_embeddings")];
        for (case, chunk) in [("image", 7), ("image", 256), ("audio", 256), ("mixed", 11)] {
            let (kv, ids) = (KvType::F32, words(&format!("{case}.ids")));
            let config =
                SessionConfig { context: 200, prefill_chunk: chunk, kv, ..Default::default() };
            let mut session = Session::new(&model, config).expect("a session");
            for (soft, rows) in [1019, 1020].into_iter().zip(&rows) {
                let Some(start) = ids.iter().position(|id| *id == soft) else { continue };
                let at = start..start + rows.len() / 128;
                assert!(ids[at.clone()].iter().all(|id| *id == soft), "{case}");
                let (key, rows) = (MediaKey([0; 32]), rows.as_slice().into());
                session.media.push(Placed { at, is_image: soft == 1019, key, rows });
            }
            session.media.sort_by_key(|placed| placed.at.start);
            session.tokens.extend(&ids);
            let mut found = Vec::new();
            let result = session.evaluate_rows(&mut |_, row| found.extend_from_slice(row));
            assert!(result.is_ok(), "{case}");
            let wanted = floats(&format!("{case}.logits.f32"));
            assert_eq!(found.len(), wanted.len(), "{case}");
            let difference = |(a, b): (&f32, &f32)| (a - b).abs();
            let most = found.iter().zip(&wanted).map(difference).fold(0.0, f32::max);
            println!("{case} in chunks of {chunk}: {most:e}");
            assert!(most <= 2e-3 && found.iter().all(|x| x.is_finite()), "{case}: {most}");
        }
    }
}
