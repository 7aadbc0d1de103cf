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
    pub(super) fn prompt(&mut self, text: &str, trusted: impl Iterator<Item = Range<usize>>) {
        let tokenizer = self.tokenizer;
        let mut at = 0;
        for span in trusted {
            let mut end = span.start;
            tokenizer.special.split(&text[span], |part| match part {
                Part::Text(part) => end += part.len(),
                Part::Token(id) => {
                    self.text(&text[at..end], at == 0);
                    self.out.push(id);
                    end += tokenizer.vocab.text(id).len();
                    at = end;
                }
            });
        }
        self.text(&text[at..], at == 0);
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
