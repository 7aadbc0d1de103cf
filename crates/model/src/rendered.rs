//! A prompt in which the program's words can be told from everybody else's.

use std::ops::Range;

/// A prompt, and which of its characters are trusted: there, and nowhere else, special tokens
/// count. Chat templates render it; without them it is put together piece by piece.
///
/// ```
/// let mut prompt = carat::Rendered::default();
/// prompt.push_trusted("<|turn>user\n");
/// prompt.push_text("what does <turn|> mean?");
/// prompt.push_trusted("<turn|>\n<|turn>model\n");
/// assert!(prompt.text().ends_with("mean?<turn|>\n<|turn>model\n"));
/// assert_eq!(prompt.trusted().count(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    /// In bytes, ascending, with something between them.
    trusted: Vec<Range<usize>>,
}

impl Rendered {
    /// Appends words of the program: special tokens in them count.
    pub fn push_trusted(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.trust(start);
    }

    /// Appends words of somebody else: nothing in them is a special token.
    pub fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends a character of a template.
    #[cfg(feature = "chat")]
    pub(crate) fn push(&mut self, c: char, is_trusted: bool) {
        let start = self.text.len();
        self.text.push(c);
        if is_trusted {
            self.trust(start);
        }
    }

    /// Trusts the text from `start` on.
    fn trust(&mut self, start: usize) {
        let end = self.text.len();
        match self.trusted.last_mut() {
            Some(span) if span.end == start => span.end = end,
            _ if start < end => self.trusted.push(start..end),
            _ => {}
        }
    }

    /// The prompt as the model reads it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The spans of [`Rendered::text`], in bytes, in which special tokens count: ascending, without
    /// overlap, and without any character of anybody else.
    pub fn trusted(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.trusted.iter().cloned()
    }
}
