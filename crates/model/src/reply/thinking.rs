//! How long a model may think.

use std::mem;

use super::marks::{Mark, Marks, NAME_MAX};
use crate::tokenizer::Decoder;
use crate::{TokenId, Tokenizer};

/// Counts the tokens of thoughts in one answer, of all channels together, and says when they must
/// end.
///
/// Only what [`Splitter`](super::Splitter) gives as a thought counts: not the names of channels,
/// nor special tokens around them, nor tool calls, within which nothing is ever closed.
///
/// Whoever generates tells every accepted token, those that were forced as well:
///
/// ```
/// use carat::{TokenId, Tokenizer};
/// use carat::reply::ThinkingBudget;
///
/// /// Tokens that must come next, in place of what would be sampled.
/// fn forced(budget: &mut ThinkingBudget<'_>, accepted: TokenId) -> Vec<TokenId> {
///     budget.accept(accepted).unwrap_or_default().to_vec()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ThinkingBudget<'t> {
    marks: Marks,
    decoder: Decoder<'t>,
    open: TokenId,
    /// The closing token; before it, a channel's name, for a channel that has none yet.
    closing: Vec<TokenId>,
    left: usize,
    channel: Channel,
    in_call: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    None,
    /// The first line, so many bytes of it.
    Name(usize),
    Body,
    /// It was said that the channel must be closed.
    Closing,
}

impl<'t> ThinkingBudget<'t> {
    /// A budget of `tokens` for one answer; `None` if the vocabulary has no channels.
    #[must_use]
    pub fn new(tokenizer: &'t Tokenizer, tokens: usize) -> Option<Self> {
        let marks = Marks::new(tokenizer);
        let (open, close) = marks.channel()?;
        let mut closing = tokenizer.encode(EMPTY);
        closing.push(close);
        Some(Self {
            marks,
            decoder: tokenizer.decoder(),
            open,
            closing,
            left: tokens,
            channel: Channel::None,
            in_call: false,
        })
    }

    /// Takes note of the prompt that the answer follows, whose last turn may end within a channel,
    /// and says as [`ThinkingBudget::accept`] does what must come first. Thoughts of the prompt
    /// cost nothing.
    pub fn begin(&mut self, prompt: &[TokenId]) -> Option<&[TokenId]> {
        let left = mem::replace(&mut self.left, usize::MAX);
        for token in self.marks.last_turn(prompt) {
            self.accept(*token);
        }
        self.left = left;
        self.close()
    }

    /// Counts a token of the answer. If the channel must be closed now, returns the tokens that
    /// must come next: `<channel|>`, after a name for a channel that was just opened. That is said
    /// once for every channel.
    pub fn accept(&mut self, token: TokenId) -> Option<&[TokenId]> {
        match (self.marks.of(token), self.in_call) {
            (Some(Mark::OpenCall), _) => self.in_call = true,
            (Some(Mark::CloseCall), true) => self.in_call = false,
            (_, true) => {}
            (Some(Mark::OpenChannel), false) => {
                self.decoder.finish(); // no bytes of another name
                self.channel = Channel::Name(0);
            }
            (Some(Mark::CloseChannel), false) => self.channel = Channel::None,
            (Some(Mark::CloseCall) | None, false) => self.think(token),
        }
        self.close()
    }

    /// The token that must not be sampled any more: once the budget is spent, the one that opens a
    /// channel.
    #[must_use]
    pub fn forbidden(&self) -> Option<TokenId> {
        (self.left == 0).then_some(self.open)
    }

    /// Tokens that are left to think.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }

    fn think(&mut self, token: TokenId) {
        match self.channel {
            Channel::Name(bytes) => {
                let text = self.decoder.push(token);
                let bytes = bytes + text.find('\n').unwrap_or(text.len());
                let is_over = bytes > NAME_MAX || text.contains('\n');
                self.channel = if is_over { Channel::Body } else { Channel::Name(bytes) };
            }
            Channel::Body => self.left = self.left.saturating_sub(1),
            Channel::None | Channel::Closing => {}
        }
    }

    fn close(&mut self) -> Option<&[TokenId]> {
        let first = match self.channel {
            _ if self.left > 0 || self.in_call => return None,
            Channel::Name(0) => 0,
            Channel::Body => self.closing.len() - 1,
            _ => return None,
        };
        self.channel = Channel::Closing;
        Some(&self.closing[first..])
    }
}

/// What the templates of Gemma 4 write between the tokens of a channel without thoughts.
const EMPTY: &str = "thought\n";
