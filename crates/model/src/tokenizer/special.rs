//! Which tokens are structure and which are text, and where they stand in a string.
//!
//! A type alone does not tell. Files of Gemma 4 mark `<|turn>` as control but `<|channel>`,
//! `<|tool_call>` and `<|"|>` as user-defined, the type that files of Gemma 3 give to newline runs
//! and HTML tags, and also to `<start_of_image>`. What user text could forge must not hang on that,
//! so a token is special when
//!
//! * its type is control or unknown, or
//! * its type is user-defined and its text is in angle brackets and no HTML tag, or
//! * its text is one of the family's markers, whatever its type, or
//! * a key such as `tokenizer.ggml.eos_token_id` names it.
//!
//! Everything else that is user-defined is plain text which is cut out before merging,
//! `[multimodal]` of Gemma 3 and 4 among it: no template and no key gives it a meaning, and a text
//! that has it is one token in every other engine, too.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::TokenId;
use crate::tokenizer::TokenizerError;
use crate::tokenizer::vocab::{Kind, Vocab};
use crate::words::head;

/// The kind of every token from its type and text.
pub(super) fn classify(
    tokens: impl Iterator<Item = (i64, impl AsRef<str>)>,
) -> Result<Vec<Kind>, TokenizerError> {
    let kind = |(id, (found, text)): (usize, (i64, _))| {
        let text: &str = AsRef::as_ref(&text);
        Ok(match found {
            6 => Kind::Byte(byte_of(text).ok_or_else(|| {
                let text = head(text);
                TokenizerError::BadByte { id, text }
            })?),
            2 | 3 => Kind::Special,
            0..=6 if FAMILY_MARKERS.contains(&text) => Kind::Special,
            4 if is_bracketed(text) && !is_html_tag(text) => Kind::Special,
            1 => Kind::Text,
            4 => Kind::UserDefined,
            0 | 5 => Kind::Unused,
            _ => return Err(TokenizerError::BadType { id, found }),
        })
    };
    tokens.enumerate().map(kind).collect()
}

/// Finds given tokens in a string: leftmost first, of those the longest.
#[derive(Debug)]
pub(super) struct Matcher {
    automaton: Option<AhoCorasick>,
    ids: Vec<TokenId>,
}

impl Matcher {
    /// A matcher for the tokens of `kind`. Tokens without text are left out; of equal texts the
    /// lowest id counts.
    pub(super) fn new(vocab: &Vocab, kind: Kind) -> Result<Self, TokenizerError> {
        let wanted = |id: &TokenId| vocab.kind(*id) == kind && !vocab.text(*id).is_empty();
        let mut ids: Vec<TokenId> = vocab.ids().filter(wanted).collect();
        ids.sort_by_key(|id| vocab.text(*id));
        ids.dedup_by_key(|id| vocab.text(*id));
        if ids.is_empty() {
            return Ok(Self { automaton: None, ids });
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // The other kinds need memory out of proportion to long patterns.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(ids.iter().map(|id| vocab.text(*id)))
            .map_err(|error| TokenizerError::Matcher { reason: error.to_string() })?;
        Ok(Self { automaton: Some(automaton), ids })
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let automaton = self.automaton.as_ref().map_or(0, AhoCorasick::memory_usage);
        automaton + size_of_val(&self.ids[..])
    }

    /// The token with this text.
    pub(super) fn token(&self, vocab: &Vocab, text: &str) -> Option<TokenId> {
        let found = self.ids.binary_search_by(|id| vocab.text(*id).cmp(text));
        found.ok().map(|at| self.ids[at])
    }

    /// The parts of `text` in order: matched tokens and what lies between; no part is empty.
    pub(super) fn split<'t>(&self, text: &'t str, mut each: impl FnMut(Part<'t>)) {
        let mut at = 0;
        for found in self.automaton.iter().flat_map(|automaton| automaton.find_iter(text)) {
            if at < found.start() {
                each(Part::Text(&text[at..found.start()]));
            }
            each(Part::Token(self.ids[found.pattern()]));
            at = found.end();
        }
        if at < text.len() {
            each(Part::Text(&text[at..]));
        }
    }
}

/// What [`Matcher::split`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Text(&'t str),
    Token(TokenId),
}

/// Tokens that end a generation in every model of the family (Gemma 3: the first two).
pub(super) const END_OF_GENERATION: [&str; 4] =
    ["<eos>", "<end_of_turn>", "<turn|>", "<|tool_response>"];

/// The byte of `<0x0A>`.
fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { u8::from_str_radix(digits, 16).ok() } else { None }
}

fn is_bracketed(text: &str) -> bool {
    text.len() > 2 && text.starts_with('<') && text.ends_with('>')
}

fn is_html_tag(text: &str) -> bool {
    let inner = text.strip_prefix("</").or_else(|| text.strip_prefix('<'));
    let name = inner.and_then(|t| t.strip_suffix('>'));
    name.is_some_and(|name| HTML_TAGS.contains(&name))
}

/// The markers of Gemma 3 and Gemma 4 (their `tokenizer_config.json`).
const FAMILY_MARKERS: [&str; 29] = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
    "<|turn>",
    "<turn|>",
    "<|think|>",
    "<|channel>",
    "<channel|>",
    "<|tool>",
    "<tool|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    "<|\"|>",
    "<|image>",
    "<|image|>",
    "<image|>",
    "<|audio>",
    "<|audio|>",
    "<audio|>",
    "<|video|>",
];

/// The tags that Gemma 3 has tokens for: all of them HTML but `bbox`. Each is also there with a
/// slash.
const HTML_TAGS: [&str; 35] = [
    "table",
    "caption",
    "thead",
    "tbody",
    "tfoot",
    "tr",
    "th",
    "td",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "strong",
    "em",
    "b",
    "i",
    "u",
    "s",
    "sub",
    "sup",
    "code",
    "a",
    "html",
    "body",
    "img",
    "span",
    "bbox",
    "ul",
    "li",
    "div",
    "iframe",
    "footer",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_type_and_text() {
        let cases = [
            (1, "word", Kind::Text),
            (1, "<|turn>", Kind::Special),
            (1, "<0x41>", Kind::Text),
            (2, "<unk>", Kind::Special),
            (3, "x", Kind::Special),
            (4, "\n\n", Kind::UserDefined),
            (4, "</table>", Kind::UserDefined),
            (4, "<|tool_call>", Kind::Special),
            (4, "<|\"|>", Kind::Special),
            (4, "<start_of_image>", Kind::Special),
            (4, "<eos>", Kind::Special),
            (4, "[multimodal]", Kind::UserDefined),
            (3, "[multimodal]", Kind::Special),
            (1, "[multimodal]", Kind::Text),
            (4, "<|new_marker|>", Kind::Special),
            (4, "[new marker]", Kind::UserDefined),
            (4, "<>", Kind::UserDefined),
            (5, "word", Kind::Unused),
            (6, "<0xfF>", Kind::Byte(255)),
        ];
        let kinds = classify(cases.iter().map(|(found, text, _)| (*found, *text)));
        let wanted: Vec<Kind> = cases.iter().map(|case| case.2).collect();
        assert_eq!(kinds.expect("all types are defined"), wanted);
        for text in ["<0x4>", "<0x+1>", "<0x041>", "0x41", ""] {
            assert!(matches!(
                classify([(6, text)].into_iter()),
                Err(TokenizerError::BadByte { .. })
            ));
        }
        assert!(matches!(
            classify([(7, "x")].into_iter()),
            Err(TokenizerError::BadType { id: 0, found: 7 })
        ));
    }
}
