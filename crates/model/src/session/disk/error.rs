//! Why a saved session cannot be written, read or gone on with.

use std::io;
use std::path::{Path, PathBuf};

use crate::Identity;
use crate::text::kv_cache::KvType;

/// A fault of a saved session; `path` is its place, where it is a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum SavedSessionError {
    /// Something else where a saved session should be or come.
    #[error("{} is no saved session and is left as it is: name another file", name(path))]
    NotASession { path: Option<PathBuf> },

    /// Another version of the format.
    #[error(
        "{} has version {found} of the format, this program reads version {wanted}: \
         use the program that saved it, or push the conversation again",
        name(path)
    )]
    Version { path: Option<PathBuf>, found: u32, wanted: u32 },

    /// The end is missing.
    #[error(
        "{} is cut short, it has {found} bytes of {wanted}: \
         take another copy of it, or push the conversation again",
        name(path)
    )]
    Cut { path: Option<PathBuf>, found: u64, wanted: u64 },

    /// Bytes that are not those that were saved.
    #[error(
        "{} is damaged, its {part} cannot be used: \
         take another copy of it, or push the conversation again",
        name(path)
    )]
    Damaged { path: Option<PathBuf>, part: &'static str },

    /// Keys and values of another model.
    #[error(
        "{} was saved with the model {found:.16}, this one is {wanted:.16}: open the model of then",
        name(path)
    )]
    OtherModel { path: Option<PathBuf>, found: Identity, wanted: Identity },

    /// Media of another projector, or of one that the model was opened without.
    #[error(
        "{} holds media of the projector {found:.16}, the model was opened with {}: \
         open it with the projector of then",
        name(path),
        wanted.map_or("none".to_owned(), |wanted| format!("{wanted:.16}"))
    )]
    OtherProjector { path: Option<PathBuf>, found: Identity, wanted: Option<Identity> },

    /// Keys and values in another type.
    #[error(
        "{} holds keys and values as {found:?} where {wanted:?} is asked for: ask for {found:?}",
        name(path)
    )]
    OtherKv { path: Option<PathBuf>, found: KvType, wanted: KvType },

    /// Keys and values in another layout.
    #[error(
        "{} was saved for {found} as {what} where this program has {wanted}: \
         use the program that saved it, or push the conversation again",
        name(path)
    )]
    OtherLayout { path: Option<PathBuf>, what: &'static str, found: u64, wanted: u64 },

    /// More tokens than the session can hold.
    #[error(
        "{} has {tokens} tokens, which do not fit into a context of {context}: \
         ask for a larger context",
        name(path)
    )]
    TooLong { path: Option<PathBuf>, tokens: u64, context: usize },

    /// The system refused to write it.
    #[error(
        "{} cannot be written, the place stays as it was: make room or name another",
        name(path)
    )]
    Write { path: Option<PathBuf>, source: io::Error },

    /// The system refused to read it.
    #[error("{} cannot be read: mind its name and its permissions", name(path))]
    Read { path: Option<PathBuf>, source: io::Error },
}

/// How a saved session is called.
fn name(path: &Option<PathBuf>) -> String {
    path.as_deref().map_or("what was given".to_owned(), |path: &Path| path.display().to_string())
}
