//! Tokens that a model says, one by one.

use std::iter::FusedIterator;

use super::Session;
use crate::error::Result;
use crate::{Sampler, TokenId, TokenMask};

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
        self.session.settle()?;
        self.session.choose(self.sampler, None)
    }
}

impl Session {
    /// Samples a token, one that is allowed, from the logits after the last one, which are there,
    /// and appends it; `None` where generation ends, and [`Session::stop`] says why.
    pub(crate) fn choose(
        &mut self,
        sampler: &mut Sampler,
        allowed: Option<&TokenMask<'_>>,
    ) -> Result<Option<TokenId>> {
        self.suppress();
        let tokenizer = self.model.tokenizer();
        let id = match allowed {
            Some(allowed) => sampler.sample_masked(&self.logits, allowed)?,
            None => sampler.sample(&self.logits)?,
        };
        if tokenizer.is_eog(id) {
            // Its random number is used up, though it is no part of the text.
            sampler.seek(sampler.position().wrapping_add(1));
            self.stop = Some(Stop::EndOfGeneration(id));
            return Ok(None);
        }
        if self.tokens.len() == self.limits.context {
            self.stop = Some(Stop::ContextFull);
            return Ok(None);
        }
        sampler.accept(id);
        self.tokens.push(id);
        Ok(Some(id))
    }

    /// Makes the tokens impossible that the model must never say.
    pub(super) fn suppress(&mut self) {
        for id in self.model.tokenizer().suppressed() {
            if let Some(logit) = self.logits.get_mut(*id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
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
