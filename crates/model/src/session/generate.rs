//! Tokens that a model says, one by one.

use std::iter::FusedIterator;

use super::Session;
use crate::error::Result;
use crate::{Sampler, TokenId};

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Stop {
    /// The model chose this token. It was neither yielded nor appended.
    EndOfGeneration(TokenId),
    /// The session holds as many tokens as its context allows.
    ContextFull,
}

/// The tokens of [`Session::generate`].
#[derive(Debug)]
pub struct Generate<'s> {
    session: &'s mut Session,
    sampler: &'s mut Sampler,
    ended: bool,
}

impl<'s> Generate<'s> {
    pub(super) fn new(session: &'s mut Session, sampler: &'s mut Sampler) -> Self {
        Self { session, sampler, ended: false }
    }
}

impl Generate<'_> {
    fn step(&mut self) -> Result<Option<TokenId>> {
        let Self { session, sampler, .. } = self;
        session.settle()?;
        let tokenizer = session.model.tokenizer();
        for id in tokenizer.suppressed() {
            if let Some(logit) = session.logits.get_mut(*id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let id = sampler.sample(&session.logits)?;
        if tokenizer.is_eog(id) {
            session.stop = Some(Stop::EndOfGeneration(id));
            return Ok(None);
        }
        if session.tokens.len() == session.limits.context {
            session.stop = Some(Stop::ContextFull);
            return Ok(None);
        }
        sampler.accept(id);
        session.tokens.push(id);
        Ok(Some(id))
    }
}

impl Iterator for Generate<'_> {
    type Item = Result<TokenId>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}

impl FusedIterator for Generate<'_> {}
