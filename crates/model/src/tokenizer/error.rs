//! Why a vocabulary cannot be used.

/// A fault of the `tokenizer.ggml.*` keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum TokenizerError {
    /// A key is missing or of another type.
    #[error(transparent)]
    Metadata(#[from] carat_gguf::Error),

    /// The system gave no memory.
    #[error(transparent)]
    Memory(#[from] crate::pages::MemoryError),

    /// A scheme other than the two of the Gemma family.
    #[error(
        "tokenizer.ggml.model is {found:?}; \
         gemma4 and llama are supported: use a GGUF file of Gemma 3 or Gemma 4"
    )]
    UnknownModel { found: String },

    /// Two arrays that must go together do not.
    #[error(
        "{key} has {found} entries for {wanted} tokens; \
         the file is damaged, convert the model again"
    )]
    WrongLength { key: &'static str, found: usize, wanted: usize },

    /// A key names a token that does not exist.
    #[error(
        "{key} names token {id} of a vocabulary of {vocab_size}; \
         the file is damaged, convert the model again"
    )]
    IdOutOfRange { key: &'static str, id: u64, vocab_size: usize },

    /// More text or tokens than 32-bit offsets hold.
    #[error("the vocabulary has {found} {what}, at most {max} are supported")]
    TooLarge { what: &'static str, found: usize, max: usize },

    /// A token type that the format does not define.
    #[error(
        "tokenizer.ggml.token_type of token {id} is {found}, types 0 to 6 are defined; \
         convert the model again"
    )]
    BadType { id: usize, found: i64 },

    /// A byte token that does not say which byte.
    #[error(
        "token {id} is of the byte type but its text is {text:?} and not of the form \
         <0x0A>; convert the model again"
    )]
    BadByte { id: usize, text: String },

    /// A score that cannot be ordered.
    #[error("tokenizer.ggml.scores of token {id} is not a number; convert the model again")]
    BadScore { id: usize },

    /// A merge without its two parts.
    #[error(
        "tokenizer.ggml.merges entry {index} is {text:?}, \
         two pieces with one space between are wanted; \
         convert the model again"
    )]
    BadMerge { index: usize, text: String },

    /// Some text could not be encoded at all.
    #[error(
        "the vocabulary lacks the byte token <0x{missing:02X}> and \
         tokenizer.ggml.unknown_token_id, \
         so that some text has no tokens; convert the model again"
    )]
    NoFallback { missing: u8 },

    /// The special or user-defined tokens are too many for the matcher.
    #[error("no matcher could be built for the special tokens: {reason}")]
    Matcher { reason: String },
}
