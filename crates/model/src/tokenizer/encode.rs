//! The steps from text to tokens, in the order that [`super`] lists.

use std::ops::Range;

use crate::TokenId;
use crate::tokenizer::bpe::Bpe;
use crate::tokenizer::merge::{Joins, Merger};
use crate::tokenizer::special::Part;
use crate::tokenizer::vocab::{self, NONE};
use crate::tokenizer::{Scheme, Tokenizer};

/// One text on its way to tokens.
pub(super) struct Encoding<'t> {
    tokenizer: &'t Tokenizer,
    out: Vec<TokenId>,
    merger: Merger,
    normalised: String,
}

impl<'t> Encoding<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, bytes: usize) -> Self {
        let out = Vec::with_capacity(bytes / 3);
        Self { tokenizer, out, merger: Merger::default(), normalised: String::new() }
    }

    pub(super) fn finish(self) -> Vec<TokenId> {
        self.out
    }

    /// Parses special tokens that lie within one of the `trusted` spans, which ascend and do not
    /// overlap.
    ///
    /// They are matched after spaces became U+2581: the vocabulary has them in that form.
    pub(super) fn prompt(&mut self, text: &str, trusted: impl Iterator<Item = Range<usize>>) {
        let tokenizer = self.tokenizer;
        // What stands after the last special token, and the span that is searched for the next.
        let (mut plain, mut searched) = (String::new(), String::new());
        let (mut at, mut first) = (0, true);
        for span in trusted {
            vocab::push_normalised(&mut plain, &text[at..span.start]);
            at = span.end;
            searched.clear();
            vocab::push_normalised(&mut searched, &text[span]);
            tokenizer.special.split(&searched, |part| match part {
                Part::Text(part) => plain.push_str(part),
                Part::Token(id) => {
                    self.text(&plain, first);
                    self.out.push(id);
                    plain.clear();
                    first = false;
                }
            });
        }
        vocab::push_normalised(&mut plain, &text[at..]);
        self.text(&plain, first);
    }

    /// Encodes text without special tokens.
    pub(super) fn text(&mut self, text: &str, first: bool) {
        if text.is_empty() {
            return;
        }
        let tokenizer = self.tokenizer;
        let mut normalised = std::mem::take(&mut self.normalised);
        normalised.clear();
        if first && tokenizer.add_space_prefix {
            normalised.push(vocab::SPACE);
        }
        vocab::push_normalised(&mut normalised, text);
        tokenizer.user_defined.split(&normalised, |part| match part {
            Part::Token(id) => self.out.push(id),
            Part::Text(part) => self.scheme(part),
        });
        self.normalised = normalised;
    }

    fn scheme(&mut self, text: &str) {
        match &self.tokenizer.scheme {
            Scheme::Spm(spm) => self.merge(&spm.joins(&self.tokenizer.vocab), text),
            Scheme::Bpe(bpe) => {
                for run in Bpe::runs(text) {
                    let newlines = if run.starts_with('\n') { run.len() } else { 0 };
                    match bpe.newline_run(newlines) {
                        Some(id) => self.out.push(id),
                        None => self.merge(bpe, run),
                    }
                }
            }
        }
    }

    fn merge(&mut self, joins: &impl Joins, text: &str) {
        let Self { tokenizer, out, merger, .. } = self;
        for piece in tokenizer.neighbours.pieces(text) {
            for symbol in merger.merge(joins, &tokenizer.chars, piece) {
                if symbol.id != NONE {
                    out.push(symbol.id);
                    continue;
                }
                let bytes = &piece.as_bytes()[symbol.start as usize..][..symbol.len as usize];
                let known = |b: &u8| tokenizer.bytes[usize::from(*b)] != NONE;
                if bytes.iter().all(known) {
                    out.extend(bytes.iter().map(|b| tokenizer.bytes[usize::from(*b)]));
                } else {
                    out.extend(tokenizer.unknown);
                }
            }
        }
    }
}
