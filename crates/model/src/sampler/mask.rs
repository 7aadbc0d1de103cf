//! Which tokens may be chosen.

use std::borrow::Cow;

use crate::TokenId;

/// A set of tokens, one bit each: token `i` is bit `i % 32` of word `i / 32`, the lowest bit first.
///
/// A grammar's words of this layout are borrowed as they are. A token whose bit is not there is
/// not in the set; bits beyond the vocabulary mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask<'a> {
    words: Cow<'a, [u32]>,
}

impl<'a> TokenMask<'a> {
    /// The set of the tokens whose bits are set in `words`.
    #[must_use]
    pub fn from_words(words: &'a [u32]) -> Self {
        Self { words: Cow::Borrowed(words) }
    }

    /// The empty set, with room for `vocab_size` tokens.
    #[must_use]
    pub fn none(vocab_size: usize) -> Self {
        Self { words: Cow::Owned(vec![0; vocab_size.div_ceil(32)]) }
    }

    /// The set of the tokens below `vocab_size`.
    #[must_use]
    pub fn all(vocab_size: usize) -> Self {
        let mut words = vec![u32::MAX; vocab_size.div_ceil(32)];
        if let Some(last) = words.last_mut().filter(|_| !vocab_size.is_multiple_of(32)) {
            *last = (1 << (vocab_size % 32)) - 1;
        }
        Self { words: Cow::Owned(words) }
    }

    /// Adds a token. Words that are borrowed are copied first.
    ///
    /// # Panics
    /// When the set has no room for the token.
    pub fn allow(&mut self, token: TokenId) {
        let room = self.words.len() * 32;
        assert!((token as usize) < room, "allow: token {token} in a mask of {room} tokens");
        self.words.to_mut()[token as usize / 32] |= 1 << (token % 32);
    }

    /// Takes a token out. Words that are borrowed are copied first.
    pub fn forbid(&mut self, token: TokenId) {
        if self.allows(token) {
            self.words.to_mut()[token as usize / 32] &= !(1 << (token % 32));
        }
    }

    /// Whether the token is in the set.
    #[must_use]
    pub fn allows(&self, token: TokenId) -> bool {
        self.words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The bits of tokens `64 * run` and up.
    pub(super) fn run(&self, run: usize) -> u64 {
        let word = |at| u64::from(self.words.get(at).copied().unwrap_or(0));
        word(2 * run) | word(2 * run + 1) << 32
    }
}
