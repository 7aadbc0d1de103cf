//! Why a grammar cannot be used, or a token not be accepted.

use crate::TokenId;
use crate::words::{head, one_line};

/// What can go wrong with grammars. All but the last three come before the first token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum GrammarError {
    /// The text is no JSON.
    #[error("the schema is no JSON ({}); pass a JSON Schema", one_line(reason))]
    NotJson { reason: String },

    /// A keyword of a schema has a value that it cannot have.
    #[error(
        "{} of the schema is {}, {wanted} is wanted; correct the schema",
        one_line(at),
        one_line(found)
    )]
    Malformed { at: String, found: String, wanted: &'static str },

    /// A keyword that would be ignored, or one that is followed only in part.
    #[error("{} of the schema is not supported: {}", one_line(at), one_line(hint))]
    Unsupported { at: String, hint: String },

    /// No value satisfies the schema.
    #[error("no value satisfies {}; correct the contradiction in the schema", one_line(what))]
    Unsatisfiable { what: String },

    /// More than the limits allow.
    #[error("the grammar has {found} {what}, at most {max} are supported; make it smaller")]
    TooLarge { what: &'static str, found: usize, max: usize },

    /// llguidance refuses the grammar.
    #[error("the grammar cannot be used ({}); correct it", one_line(reason))]
    Refused { reason: String },

    /// A tool that cannot be called.
    #[error("the tool {:?} cannot be offered: {}", head(name), one_line(reason))]
    Tool { name: String, reason: String },

    /// The vocabulary has no tokens for calls.
    #[error("the vocabulary has no token {token}; use a Gemma 4 model to call tools")]
    NoToken { token: &'static str },

    /// No trie could be built.
    #[error("the vocabulary cannot be used with grammars: {}", one_line(reason))]
    Vocabulary { reason: String },

    /// A token that the mask forbids. The constraint is as before.
    #[error("token {token} is not allowed by the grammar here; sample under the mask")]
    NotAllowed { token: TokenId },

    /// More tokens are to be taken back than were accepted.
    #[error("{wanted} tokens are to be taken back of {found}; take back fewer")]
    TooFew { wanted: usize, found: usize },

    /// The parser gave up, because the grammar is too ambiguous or too large.
    #[error("the grammar cannot go on ({}); make it simpler", one_line(reason))]
    Stuck { reason: String },
}

/// The first line of a message of llguidance, which may go on with states and stack traces.
pub(super) fn first_line(message: &str) -> String {
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    line.trim().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keywords, places and words of a schema stand in messages: none of them speaks to a terminal.
    #[test]
    fn words_of_a_schema_are_escaped() {
        let odd = || "a\u{7f}\u{9b}2J\x1b".to_owned();
        let errors = [
            GrammarError::NotJson { reason: odd() },
            GrammarError::Malformed { at: odd(), found: odd(), wanted: "a number" },
            GrammarError::Unsupported { at: odd(), hint: odd() },
            GrammarError::Unsatisfiable { what: odd() },
            GrammarError::Refused { reason: odd() },
            GrammarError::Tool { name: odd(), reason: odd() },
            GrammarError::Vocabulary { reason: odd() },
            GrammarError::Stuck { reason: odd() },
        ];
        for error in errors {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.contains(r"a\u{7f}\u{9b}2J\u{1b}"), "{text:?}");
        }
    }
}
