//! Which tokens may come next in an answer that has a format or calls tools.

use crate::TokenId;
#[cfg(feature = "grammar")]
use crate::error::Result;
#[cfg(feature = "grammar")]
use crate::grammar::Constraint;
#[cfg(feature = "grammar")]
use crate::tokenizer::Tokenizer;

/// A constraint that begins once thoughts are over.
#[cfg(feature = "grammar")]
#[derive(Clone, Debug)]
pub(super) struct Guide {
    constraint: Constraint,
    place: Place,
    /// The tokens around a thought.
    channel: Option<(TokenId, TokenId)>,
    /// What may be said in a thought: all but the end of the answer.
    thoughts: Vec<u32>,
    allowed: Vec<u32>,
}

#[cfg(feature = "grammar")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The answer, or a thought that may come before it.
    Start,
    Thought,
    Answer,
}

#[cfg(feature = "grammar")]
impl Guide {
    /// A guide for an answer that begins within a thought, may begin with one, or neither.
    pub(super) fn new(
        constraint: Constraint,
        tokenizer: &Tokenizer,
        is_thinking: bool,
        may_think: bool,
    ) -> Self {
        let pair = (tokenizer.special("<|channel>"), tokenizer.special("<channel|>"));
        let mut thoughts = vec![u32::MAX; tokenizer.vocab_size().div_ceil(32)];
        if let Some(last) = thoughts.last_mut()
            && !tokenizer.vocab_size().is_multiple_of(32)
        {
            *last = (1 << (tokenizer.vocab_size() % 32)) - 1;
        }
        let calls = ["<|tool_call>", "<tool_call|>"].map(|name| tokenizer.special(name));
        for id in tokenizer.eog().iter().chain(calls.iter().flatten()) {
            thoughts[*id as usize / 32] &= !(1 << (id % 32));
        }
        let place = match (is_thinking, may_think) {
            (true, _) => Place::Thought,
            (false, true) => Place::Start,
            (false, false) => Place::Answer,
        };
        let channel = pair.0.zip(pair.1);
        Self { constraint, place, channel, thoughts, allowed: Vec::new() }
    }

    /// The tokens that may come next, a bit for each.
    pub(super) fn allowed(&mut self) -> Result<&[u32]> {
        match self.place {
            Place::Thought => Ok(&self.thoughts),
            Place::Answer => Ok(self.constraint.mask()?),
            Place::Start => {
                self.allowed.clear();
                self.allowed.extend_from_slice(self.constraint.mask()?);
                if let Some((open, _)) = self.channel {
                    self.allowed[open as usize / 32] |= 1 << (open % 32);
                }
                Ok(&self.allowed)
            }
        }
    }

    /// Goes on by a token of the answer.
    pub(super) fn accept(&mut self, token: TokenId) -> Result<()> {
        let (open, close) = self.channel.map_or((None, None), |(a, b)| (Some(a), Some(b)));
        match self.place {
            Place::Start if Some(token) == open => self.place = Place::Thought,
            Place::Thought => {
                if Some(token) == close {
                    self.place = Place::Answer;
                }
            }
            Place::Start | Place::Answer => {
                self.place = Place::Answer;
                self.constraint.accept(token)?;
            }
        }
        Ok(())
    }

    /// Cuts drafts where one may not come next, and appends what must follow them, up to `most` in
    /// all.
    ///
    /// It is a copy of the constraint that goes ahead: drafts leave no trace in this one, neither
    /// in what it has worked nor in an error.
    pub(super) fn cut(&self, drafts: &mut Vec<TokenId>, most: usize) {
        let mut ahead = self.clone();
        let may_come = |id: &&TokenId| {
            let word = ahead.allowed().ok().and_then(|words| words.get(**id as usize / 32));
            word.is_some_and(|word| word >> (**id % 32) & 1 == 1) && ahead.accept(**id).is_ok()
        };
        let count = drafts.iter().take_while(may_come).count();
        let is_whole = count == drafts.len();
        drafts.truncate(count);
        if is_whole && count < most {
            drafts.extend(ahead.forced().into_iter().take(most - count));
        }
    }

    /// Tokens that are the only ones possible.
    pub(super) fn forced(&mut self) -> Vec<TokenId> {
        match self.place {
            Place::Answer => self.constraint.forced(),
            Place::Start | Place::Thought => Vec::new(),
        }
    }
}

/// There are no grammars in this build, so that nothing guides an answer.
#[cfg(not(feature = "grammar"))]
#[derive(Debug)]
pub(super) enum Guide {}

#[cfg(not(feature = "grammar"))]
impl Guide {
    pub(super) fn allowed(&mut self) -> crate::error::Result<&[u32]> {
        match *self {}
    }

    pub(super) fn accept(&mut self, _: TokenId) -> crate::error::Result<()> {
        match *self {}
    }

    pub(super) fn cut(&self, _: &mut Vec<TokenId>, _: usize) {
        match *self {}
    }

    pub(super) fn forced(&mut self) -> Vec<TokenId> {
        match *self {}
    }
}
