//! From tokens to text, one token at a time.

use crate::TokenId;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::vocab::{Kind, SPACE};

/// Turns tokens into text as they come.
///
/// Text is handed out only in whole characters: byte tokens are held back until they make one.
/// Bytes that can never make one become U+FFFD, as in [`slice::utf8_chunks`]. Nothing is allocated
/// after construction.
#[derive(Clone, Debug)]
pub struct Decoder<'t> {
    tokenizer: &'t Tokenizer,
    text: String,
    /// The start of a character of which bytes are still to come.
    open: [u8; 4],
    open_len: usize,
    show_special: bool,
    skip_space: bool,
}

impl<'t> Decoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Self {
        // The longest text, and the replacement characters of an open character before it.
        let capacity = tokenizer.vocab.longest + 4 * char::REPLACEMENT_CHARACTER.len_utf8();
        Self {
            tokenizer,
            text: String::with_capacity(capacity),
            open: [0; 4],
            open_len: 0,
            show_special: false,
            skip_space: false,
        }
    }

    /// Whether special tokens give their text, such as `<turn|>`; they give none by default.
    #[must_use]
    pub fn show_special(mut self, show: bool) -> Self {
        self.show_special = show;
        self
    }

    /// Says that the tokens are a text from its beginning and not a continuation: the space that
    /// some vocabularies put before a text is then taken off again.
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.skip_space = self.tokenizer.add_space_prefix;
        self
    }

    /// Adds a token and returns the text that is now complete; empty while a character is open, for
    /// special tokens that are not shown, and for ids outside the vocabulary.
    pub fn push(&mut self, token: TokenId) -> &str {
        self.text.clear();
        let vocab = &self.tokenizer.vocab;
        let Some(piece) = vocab.get(token) else { return "" };
        match vocab.kind(token) {
            Kind::Byte(byte) => {
                self.open[self.open_len] = byte;
                self.open_len += 1;
                self.take_characters();
            }
            Kind::Special if !self.show_special => self.close(),
            _ => {
                self.close();
                let mut parts = piece.split(SPACE);
                self.text.extend(parts.next());
                for part in parts {
                    self.text.push(' ');
                    self.text.push_str(part);
                }
            }
        }
        self.lend()
    }

    /// Ends the text: a character that was left open becomes U+FFFD. The decoder can then be used
    /// again.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        self.close();
        self.lend()
    }

    /// Moves from `open` to `text` what is complete or can never be.
    fn take_characters(&mut self) {
        let bytes = &self.open[..self.open_len];
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                self.text.push_str(text);
                self.open_len = 0;
            }
            Err(error) => {
                // One byte was added to a valid beginning, so nothing before the fault is a
                // character.
                let Some(bad) = error.error_len() else { return };
                self.text.push(char::REPLACEMENT_CHARACTER);
                self.open.copy_within(bad..self.open_len, 0);
                self.open_len -= bad;
                self.take_characters();
            }
        }
    }

    fn close(&mut self) {
        if self.open_len > 0 {
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.open_len = 0;
        }
    }

    fn lend(&mut self) -> &str {
        if self.skip_space && !self.text.is_empty() {
            self.skip_space = false;
            return self.text.strip_prefix(' ').unwrap_or(&self.text);
        }
        &self.text
    }
}
