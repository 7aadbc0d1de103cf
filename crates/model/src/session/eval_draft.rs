//! The drafter's numbers, for comparing them with others.

use std::sync::Arc;

use super::{Session, SessionError};
use crate::TokenId;
use crate::draft::{self, Start};
use crate::engine::Cancelled;
use crate::error::{Error, Result};
use crate::pages::zeros;

impl Session {
    /// Drafts `steps` tokens greedily after the conversation and `first`, which need not be one
    /// that the model would say, and goes on past any end of generation. `each` sees the logits of
    /// every step, one for each token of the vocabulary, and the hidden row that the next one
    /// begins with. The session stays as it is.
    ///
    /// # Errors
    /// [`Error::NoDrafter`] if the model was opened without one, [`SessionError::NothingPushed`] in
    /// an empty session, [`SessionError::Token`] if `first` does not exist,
    /// [`Error::DraftNotFinite`], [`Error::Cancelled`], or no memory.
    pub fn eval_draft(
        &mut self,
        first: TokenId,
        steps: usize,
        mut each: impl FnMut(&[f32], &[f32]),
    ) -> Result<Vec<TokenId>> {
        if !self.model.drafts() {
            return Err(Error::NoDrafter);
        }
        let vocab = self.model.config().vocab;
        if first as usize >= vocab {
            return Err(SessionError::Token { id: first, vocab }.into());
        }
        self.settle()?;
        if self.hidden_at != self.kv.len() {
            self.go_back(self.kv.len() - 1)?;
            self.settle()?;
        }
        let mut tokens = zeros("drafts", steps)?;
        let (engine, model) = (Arc::clone(&self.engine), self.model.clone());
        let cancelled = |Cancelled| Error::Cancelled { done: 0, total: steps as u64 };
        let mut turn = engine.turn(&self.cancel).map_err(cancelled)?;
        let (pool, frame) = turn.parts();
        let (kv, row) = (&self.kv, &self.hidden);
        let start = Start { model: &model, kv, row, tokens: &[first], past_end: true };
        let drafted = draft::draft(&start, pool, &mut tokens, frame, &mut each);
        if drafted.map_err(cancelled)? < steps {
            return Err(Error::DraftNotFinite);
        }
        Ok(tokens)
    }
}
