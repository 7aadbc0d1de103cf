//! Several conversations in one forward pass, so that the weights are read once for all of them.

use std::sync::Arc;

use super::{Progress, Session, SessionError, Stop};
use crate::cancel::Cancel;
use crate::engine::Cancelled;
use crate::error::{Error, Result};
use crate::sampler::not_finite;
use crate::text::{self, Share};
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
/// For all: [`Error::Cancelled`] once `cancel` is set (handles of the sessions are not looked at),
/// [`SessionError::OtherEngine`] if they do not share their threads, or no memory. All sessions are
/// then as they were. For one, in its place: what [`Session::generate`] gives.
///
/// # Panics
/// As [`Session::generate`].
pub fn step(seats: &mut [Seat<'_>], cancel: &Cancel) -> Result<Vec<Result<Step>>> {
    let Some(first) = seats.first() else { return Ok(Vec::new()) };
    let (engine, model) = (Arc::clone(&first.session.engine), first.session.model.clone());
    if let Some(index) = seats.iter().position(|seat| !Arc::ptr_eq(&seat.session.engine, &engine)) {
        return Err(SessionError::OtherEngine { index }.into());
    }
    let pending: Vec<usize> = seats.iter().map(|seat| seat.session.pending()).collect();
    let shares = shares(seats);
    let taking = |seat: usize| shares[seat] > 0;
    let needs: Vec<_> = (0..seats.len())
        .filter(|seat| taking(*seat))
        .map(|seat| Share { limits: seats[seat].session.limits, tokens: shares[seat] })
        .collect();
    let mut kept = vec![true; seats.len()];
    if !needs.is_empty() {
        engine.reserve(text::pass_need(model.config(), &needs))?;
        let cancelled = |Cancelled| {
            let total = shares.iter().sum::<usize>() as u64;
            Error::Cancelled { done: 0, total }
        };
        let mut turn = engine.turn(cancel).map_err(cancelled)?;
        let (pool, frame) = turn.parts();
        let seats = seats.iter_mut().enumerate().filter(|(seat, _)| taking(*seat));
        let mut streams: Vec<_> = seats
            .map(|(seat, Seat { session, .. })| {
                session.stream(shares[seat], None, shares[seat] == pending[seat])
            })
            .collect();
        text::forward(&model, pool, &mut streams, frame).map_err(cancelled)?;
        let mut are_kept = streams.iter().map(text::Stream::is_kept);
        for (seat, is_kept) in kept.iter_mut().enumerate() {
            if taking(seat) {
                *is_kept = are_kept.next() == Some(true);
            }
        }
    }
    let results = seats.iter_mut().enumerate().map(|(seat, Seat { session, sampler })| {
        let (done, total) = (shares[seat], pending[seat]);
        if done > 0 {
            session.passed(kept[seat], done == total);
        }
        if !kept[seat] {
            return Err(not_finite(&session.logits, session.logits.len()).into());
        }
        if done < total {
            return Ok(Step::Reading(Progress { done, total }));
        }
        if let Some(stop) = session.stop {
            return Ok(Step::Stopped(stop));
        }
        session.settle()?;
        Ok(match (session.choose(sampler)?, session.stop) {
            (None, Some(stop)) => Step::Stopped(stop),
            (Some(token), _) => Step::Token(token),
            (None, None) => Step::Stopped(Stop::ContextFull),
        })
    });
    Ok(results.collect())
}

impl Session {
    /// Tokens that are not evaluated yet.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.kv.len()
    }
}

/// How many pending tokens of each session take part in the next pass.
fn shares(seats: &[Seat<'_>]) -> Vec<usize> {
    let most = seats.iter().map(|seat| seat.session.chunk).max().unwrap_or(0);
    let is_decoding = |seat: &Seat<'_>| seat.session.pending() == 1;
    let decoding = seats.iter().filter(|seat| is_decoding(seat)).count();
    let mut left = most.saturating_sub(decoding);
    let share = |seat: &Seat<'_>| {
        if is_decoding(seat) {
            return 1;
        }
        let tokens = match left {
            0 => 0,
            left => seat.session.pass_tokens(left),
        };
        left = left.saturating_sub(tokens);
        tokens
    };
    seats.iter().map(share).collect()
}
