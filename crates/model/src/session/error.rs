//! Why a session cannot do what it was asked.

use super::Memory;

/// A fault of what was pushed, or of when it was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum SessionError {
    /// Token ids beyond the vocabulary.
    #[error("token {id} does not exist, the vocabulary has {vocab} tokens")]
    Token { id: u32, vocab: usize },

    /// More tokens than the session can hold.
    #[error(
        "{wanted} tokens do not fit into a context of {context}: \
         truncate the session or make one with a larger context"
    )]
    ContextFull { wanted: usize, context: usize },

    /// A session longer than the model was made for.
    #[error("a context of {wanted} tokens is more than the model's {model}: ask for less")]
    ContextTooLong { wanted: usize, model: usize },

    /// A session setting outside its range.
    #[error("{setting} is {found}, {wanted} is wanted")]
    Setting { setting: &'static str, found: usize, wanted: &'static str },

    /// More memory than the session may take.
    #[error(
        "the session needs {} bytes of memory ({}) and may take {most}: \
         ask for less context, or allow more",
        memory.total(), parts(memory)
    )]
    MaxMemory { memory: Box<Memory>, most: u64 },

    /// `truncate` to a length that the session has not reached.
    #[error("cannot truncate to {wanted} tokens, the session holds {have}")]
    TruncateBeyond { wanted: usize, have: usize },

    /// `truncate` further back than the sliding layers remember.
    #[error(
        "cannot truncate to {wanted} tokens, the sliding layers remember enough down to {least}: \
         truncate to 0 and push again, or make a session with a larger rollback"
    )]
    Rollback { wanted: usize, least: usize },

    /// `truncate` into a medium.
    #[error(
        "cannot truncate to {wanted} tokens, a medium is there: truncate to {start} or to {end}"
    )]
    TruncateMedium { wanted: usize, start: usize, end: usize },

    /// `generate` in a session that holds nothing.
    #[error("nothing was pushed, there is no token to continue from")]
    NothingPushed,

    /// Sessions in one pass that do not share their threads.
    #[error(
        "session {index} of the pass has other threads than the first one: \
         make the sessions of one model with the same settings"
    )]
    OtherEngine { index: usize },

    /// Not as many media as places for them.
    #[error("the prompt has places for {wanted} media, {found} were given")]
    MediaCount { wanted: usize, found: usize },

    /// A medium of another kind than its place.
    #[error("the prompt has a place for {wanted} where {found} was given: mind their order")]
    MediaKind { wanted: &'static str, found: &'static str },

    /// A medium of another length than its place.
    #[error(
        "the prompt has {wanted} tokens for a medium of {found}: both must come from one budget"
    )]
    MediaTokens { wanted: usize, found: usize },

    /// An embedding that another model made.
    #[error("an embedding has rows of {found} values, the model's have {wanted}: embed it anew")]
    MediaModel { wanted: usize, found: usize },
}

/// What memory is for, as far as there is some.
fn parts(memory: &Memory) -> String {
    let Memory { weights, projector, drafter, tokenizer, kv, scratch, .. } = *memory;
    let parts = [
        ("weights", weights),
        ("projector", projector),
        ("drafter", drafter),
        ("vocabulary", tokenizer),
        ("keys and values", kv),
        ("scratch", scratch),
    ];
    let parts = parts.into_iter().filter(|(_, bytes)| *bytes > 0);
    let parts: Vec<_> = parts.map(|(what, bytes)| format!("{what} {bytes}")).collect();
    parts.join(", ")
}
