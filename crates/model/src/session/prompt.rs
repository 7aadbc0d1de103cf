//! Prompts that begin as the session does: what it holds already is not evaluated again.

use std::ops::ControlFlow;

use super::{MediaPrompt, Progress, Session};
use crate::error::{Error, Result};
use crate::session::SessionError;

/// Where the tokens of a prompt came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptUsage {
    /// Tokens that the session held already.
    pub reused: usize,
    /// Tokens that were evaluated.
    pub computed: usize,
}

impl Session {
    /// Makes the session hold `prompt` and nothing else, and evaluates what is new in it.
    ///
    /// The longest common beginning is kept: tokens that are equal, and media of equal content. So
    /// a conversation may be rendered as a whole for each turn. Where the session cannot go back
    /// to the end of that beginning ([`Session::truncate`]), it goes back to the last
    /// [mark](Session::mark) before, or begins anew.
    ///
    /// # Errors
    /// As [`Session::push_with`]. If the context cannot hold the prompt, the session stays as it
    /// was. After [`Error::Cancelled`] it holds the beginning of the prompt.
    pub fn prompt(
        &mut self,
        prompt: &MediaPrompt,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<PromptUsage> {
        let (usage, kept, held) = self.begin_prompt(prompt)?;
        self.append(None, &prompt.ids[kept..], &prompt.media[held..], progress)?;
        Ok(usage)
    }

    /// Makes the session hold `prompt` and nothing else as [`Session::prompt`] does, and leaves
    /// what is new in it pending.
    ///
    /// # Errors
    /// As [`Session::prompt`].
    pub fn enqueue_prompt(&mut self, prompt: &MediaPrompt) -> Result<PromptUsage> {
        let (usage, kept, held) = self.begin_prompt(prompt)?;
        self.extend(None, &prompt.ids[kept..], &prompt.media[held..])?;
        Ok(usage)
    }

    /// Goes back to what a prompt and the session have in common; says how many tokens and media
    /// these are.
    fn begin_prompt(&mut self, prompt: &MediaPrompt) -> Result<(PromptUsage, usize, usize)> {
        let (wanted, context) = (prompt.ids.len(), self.context());
        if wanted > context {
            return Err(SessionError::ContextFull { wanted, context }.into());
        }
        let places = prompt.places(&self.model)?;
        let common = self.common(prompt, &places);
        let kept = self.keep(common, common < wanted)?;
        let held = places.iter().take_while(|place| place.start < kept).count();
        let computed = wanted - kept + self.pending();
        Ok((PromptUsage { reused: wanted - computed, computed }, kept, held))
    }

    /// The tokens that a prompt and the session begin with alike.
    fn common(&self, prompt: &MediaPrompt, places: &[std::ops::Range<usize>]) -> usize {
        let pairs = self.tokens.iter().zip(&prompt.ids);
        let mut common = pairs.take_while(|(a, b)| a == b).count();
        let media = places.iter().zip(&prompt.media).zip(self.media.iter().map(Some).chain(
            std::iter::repeat(None), // a medium that the session lacks
        ));
        for ((place, embedding), placed) in media {
            if place.start >= common {
                break;
            }
            // Media of one length have the same tokens. One is kept with the token after it.
            let is_equal = placed.is_some_and(|placed| {
                placed.at == *place && placed.key == embedding.key() && place.end < common
            });
            if !is_equal {
                common = place.start;
                break;
            }
        }
        common
    }

    /// Goes back to `tokens` tokens or, where that is not possible, as little further as it is.
    /// Where others follow, no logits are wanted here.
    fn keep(&mut self, tokens: usize, others_follow: bool) -> Result<usize> {
        let cached = if others_follow { tokens } else { tokens.saturating_sub(1) };
        match self.cut(tokens, cached) {
            Ok(()) => return Ok(tokens),
            Err(Error::Session(SessionError::Rollback { .. })) => {}
            Err(e) => return Err(e),
        }
        let mark = self.marks().filter(|mark| *mark <= tokens).last();
        if let Some(mark) = mark
            && self.truncate(mark).is_ok()
        {
            return Ok(mark);
        }
        self.truncate(0).map(|()| 0)
    }
}
