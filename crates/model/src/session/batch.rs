//! Several conversations in one forward pass, so that the weights are read once for all of them.

use std::sync::Arc;
use std::time::Instant;

use super::{Progress, Session, SessionError, Stop};
use crate::cancel::Cancel;
use crate::draft::{DRAFT_MAX, Pass};
use crate::engine::Cancelled;
use crate::error::{Error, Result};
use crate::sampler::not_finite;
use crate::text::{self, Share, Stream};
use crate::{Sampler, TokenId};

/// A session that takes part in a [`step`], and what chooses its tokens.
#[derive(Debug)]
pub struct Seat<'a> {
    /// The conversation.
    pub session: &'a mut Session,
    /// Chooses its next token.
    pub sampler: &'a mut Sampler,
}

/// What a [`step`] did for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The next token, which is now part of the session.
    Token(TokenId),
    /// A part of its prompt was read, in tokens, counted from the beginning of the step; none if
    /// others filled the pass.
    Reading(Progress),
    /// Generation has ended, and stays so until something is appended.
    Stopped(Stop),
}

/// Evaluates in one forward pass what is pending in several sessions, and chooses the next token of
/// each one that has nothing left to read then: as [`Session::generate`] would, with the same bits.
///
/// A token that was chosen before is pending, and so is input that [`Session::enqueue`] appended.
/// First every session that has one token pending gets its row of the pass, then prompts share what
/// is left of the largest [`prefill_chunk`](crate::SessionConfig::prefill_chunk), in the order of
/// the seats; a picture, which cannot be cut, may make the pass longer. So a conversation goes on
/// while another one's prompt is read.
///
/// Decoding is bound by reading weights. Two to eight sessions cost little more than one.
///
/// ```no_run
/// # use carat::{Cancel, Error, Input, Model, Sampler, SamplerConfig, Seat, Session};
/// # use carat::{SessionConfig, Step};
/// # fn main() -> Result<(), Error> {
/// let model = Model::open("gemma.gguf")?;
/// let vocab = model.tokenizer().vocab_size();
/// let mut talks = Vec::new();
/// for text in ["The capital of France is", "Two and two are"] {
///     let mut session = Session::new(&model, SessionConfig::default())?;
///     session.enqueue(Input::Text(text))?;
///     talks.push((session, Sampler::new(SamplerConfig::default(), vocab)?));
/// }
/// for _ in 0..32 {
///     let seats = talks.iter_mut().map(|(session, sampler)| Seat { session, sampler });
///     for (talk, step) in carat::step(&mut seats.collect::<Vec<_>>(), &Cancel::new())?
///         .into_iter()
///         .enumerate()
///     {
///         if let Step::Token(token) = step? {
///             println!("{talk}: {token}");
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// For all those of [`evaluate`]; for one, in its place, what [`Session::generate`] gives.
///
/// # Panics
/// As [`Session::generate`].
pub fn step(seats: &mut [Seat<'_>], cancel: &Cancel) -> Result<Vec<Result<Step>>> {
    let mut sessions: Vec<_> = seats.iter_mut().map(|seat| &mut *seat.session).collect();
    let evaluated = evaluate(&mut sessions, cancel)?;
    let next = |(progress, Seat { session, sampler }): (Result<Progress>, &mut Seat<'_>)| {
        let progress = progress?;
        if progress.done < progress.total {
            return Ok(Step::Reading(progress));
        }
        if let Some(stop) = session.stop {
            return Ok(Step::Stopped(stop));
        }
        session.settle()?;
        Ok(match (session.choose(sampler, None)?, session.stop) {
            (None, Some(stop)) => Step::Stopped(stop),
            (Some(token), _) => Step::Token(token),
            (None, None) => Step::Stopped(Stop::ContextFull),
        })
    };
    Ok(evaluated.into_iter().zip(seats).map(next).collect())
}

/// Evaluates in one forward pass what is pending in several sessions, as far as it fits into the
/// pass, and says how many tokens of how many each of them had. [`step`] tells how they share it.
///
/// # Errors
/// For all: [`Error::Cancelled`] once `cancel` is set (handles of the sessions are not looked at),
/// [`SessionError::OtherEngine`] if they do not share their threads, no memory, or a model file of
/// which rows are read and that was changed. All sessions are then as they were. For one, in its
/// place: logits that are no numbers; it is as it was, too.
pub fn evaluate(sessions: &mut [&mut Session], cancel: &Cancel) -> Result<Vec<Result<Progress>>> {
    let Some(first) = sessions.first() else { return Ok(Vec::new()) };
    let (engine, model) = (Arc::clone(&first.engine), first.model.clone());
    if let Some(index) = sessions.iter().position(|other| !Arc::ptr_eq(&other.engine, &engine)) {
        return Err(SessionError::OtherEngine { index }.into());
    }
    let totals: Vec<usize> = sessions.iter().map(|session| session.pending()).collect();
    // Tokens that an earlier pass evaluated as drafts need no other.
    let are_ahead: Vec<bool> = sessions.iter().map(|session| session.is_ahead()).collect();
    let shares = shares(sessions, &are_ahead);
    let total = shares.iter().sum::<usize>() as u64;
    let cancelled = |Cancelled| Error::Cancelled { done: 0, total };
    if cancel.is_cancelled() && are_ahead.contains(&true) {
        return Err(cancelled(Cancelled));
    }
    draft(sessions, &shares);
    let parts: Vec<Share> = parts(sessions, &shares);
    let columns = parts.iter().map(|part| part.tokens).sum();
    let guessed = parts.iter().map(|part| part.guessed).sum();
    let (mut are_kept, mut seconds) = (Vec::new(), 0.0); // of those that take part
    if total > 0 {
        engine.reserve(text::pass_need(model.config(), &parts))?;
        let mut turn = engine.turn(cancel).map_err(cancelled)?;
        let (pool, frame) = turn.parts();
        let begun = Instant::now();
        let streams = sessions.iter_mut().zip(&shares).filter(|(_, share)| **share > 0);
        let mut streams: Vec<_> = streams
            .map(|(session, share)| session.stream(*share, None, *share == session.pending()))
            .collect();
        let passed = text::forward(&model, pool, &mut streams, frame);
        passed.map_err(|stopped| stopped.after(0, total))?;
        seconds = begun.elapsed().as_secs_f64();
        are_kept.extend(streams.iter().map(Stream::is_kept));
    }
    let mut passed = are_kept.into_iter().zip(parts);
    let results = sessions.iter_mut().zip(shares).zip(totals).map(|((session, done), total)| {
        let Some((is_kept, part)) = (done > 0).then(|| passed.next()).flatten() else {
            let done = session.evaluated_ahead();
            session.take_over(done);
            return Ok(Progress { done, total });
        };
        session.passed(is_kept, done == total);
        if !is_kept {
            return Err(not_finite(&session.logits, session.logits.len()).into());
        }
        if done == total {
            let pass = Pass { tokens: columns, guessed, own: part.guessed };
            session.passed_ahead(done, pass, seconds);
        }
        Ok(Progress { done, total })
    });
    Ok(results.collect())
}

/// Lets sessions draft that say one token after another, unless one of them reads a prompt in the
/// pass: there are many tokens in it then.
fn draft(sessions: &mut [&mut Session], shares: &[usize]) {
    let talks = sessions.iter().filter(|session| session.pending() > 0).count();
    let is_short = |(session, share): (&&mut Session, &usize)| {
        *share == 0 || *share == session.pending() && *share <= DRAFT_MAX
    };
    if sessions.iter().zip(shares).all(is_short) {
        let drafting = sessions.iter_mut().zip(shares).filter(|(_, share)| **share > 0);
        drafting.for_each(|(session, _)| session.draft(talks));
    }
}

/// What the sessions with a share take part in the pass with.
fn parts(sessions: &[&mut Session], shares: &[usize]) -> Vec<Share> {
    let taking_part = sessions.iter().zip(shares).filter(|(_, share)| **share > 0);
    let part = |(session, tokens): (&&mut Session, &usize)| {
        let guessed = session.proposed(*tokens);
        Share { limits: session.limits, tokens: tokens + guessed, guessed }
    };
    taking_part.map(part).collect()
}

impl Session {
    /// Tokens that are not evaluated yet.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.kv.len()
    }
}

/// How many pending tokens of each session take part in the next pass: none of one that has them
/// already.
fn shares(sessions: &[&mut Session], are_ahead: &[bool]) -> Vec<usize> {
    let most = sessions.iter().map(|session| session.chunk).max().unwrap_or(0);
    let decoding = sessions.iter().filter(|session| session.pending() == 1).count();
    let mut left = most.saturating_sub(decoding);
    let share = |(session, is_ahead): (&&mut Session, &bool)| {
        if *is_ahead {
            return 0;
        }
        if session.pending() == 1 {
            return 1;
        }
        let tokens = if left == 0 { 0 } else { session.pass_tokens(left) };
        left = left.saturating_sub(tokens);
        tokens
    };
    sessions.iter().zip(are_ahead).map(share).collect()
}
