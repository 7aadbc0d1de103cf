//! The special tokens that structure an answer.

use crate::{TokenId, Tokenizer};

/// Each pair is there or not: without its end, a beginning means nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    channel: Option<(TokenId, TokenId)>,
    call: Option<(TokenId, TokenId)>,
    turn: Option<TokenId>,
}

/// What a token does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    OpenChannel,
    CloseChannel,
    OpenCall,
    CloseCall,
}

impl Marks {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        let pair = |open, close| Some((tokenizer.special(open)?, tokenizer.special(close)?));
        Self {
            channel: pair("<|channel>", "<channel|>"),
            call: pair("<|tool_call>", "<tool_call|>"),
            turn: tokenizer.special("<|turn>"),
        }
    }

    /// The two tokens around a channel.
    pub(super) fn channel(&self) -> Option<(TokenId, TokenId)> {
        self.channel
    }

    pub(super) fn of(&self, token: TokenId) -> Option<Mark> {
        let of = |pair: Option<(TokenId, TokenId)>, open, close| match pair? {
            (first, _) if first == token => Some(open),
            (_, last) if last == token => Some(close),
            _ => None,
        };
        of(self.channel, Mark::OpenChannel, Mark::CloseChannel)
            .or_else(|| of(self.call, Mark::OpenCall, Mark::CloseCall))
    }

    /// The tokens of the turn that a prompt ends with.
    pub(super) fn last_turn<'p>(&self, prompt: &'p [TokenId]) -> &'p [TokenId] {
        let start = self.turn.and_then(|turn| prompt.iter().rposition(|token| *token == turn));
        &prompt[start.unwrap_or(0)..]
    }
}

/// The longest name of a channel, in bytes. The known ones are single words.
pub(super) const NAME_MAX: usize = 64;
