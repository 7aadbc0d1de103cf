//! Why a model cannot be opened or a session cannot go on, each cause with its evidence.

use std::path::PathBuf;

use crate::model_file::ModelFileError;
use crate::tokenizer::TokenizerError;

/// What can go wrong. Wrong files and wrong input end here; broken contracts of the caller panic.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum Error {
    /// The file is no usable GGUF file, or a metadata key is missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] carat_gguf::Error),

    /// The metadata or the tensors of a file cannot be used.
    #[error(transparent)]
    ModelFile(#[from] ModelFileError),

    /// The file's vocabulary is not usable.
    #[error("the tokenizer in the file cannot be used")]
    Tokenizer(#[from] TokenizerError),

    /// The file's chat template does not compile.
    #[cfg(feature = "chat")]
    #[error("the chat template in the file cannot be used")]
    Chat(#[from] crate::chat::ChatError),

    /// Settings of the sampler that make no sense, or logits that nothing can be sampled from.
    #[error(transparent)]
    Sampler(#[from] crate::sampler::SamplerError),

    /// A model whose identity can no longer be told.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),

    /// A cache file that cannot be used.
    #[error(transparent)]
    Cache(#[from] crate::weights::CacheError),

    /// A conversation that cannot be answered.
    #[cfg(feature = "chat")]
    #[error(transparent)]
    Conversation(#[from] crate::conversation::ConversationError),

    /// A session cannot do what it was asked.
    #[error(transparent)]
    Session(#[from] crate::session::SessionError),

    /// A saved session that cannot be written, read or gone on with.
    #[error(transparent)]
    SavedSession(#[from] crate::session::SavedSessionError),

    /// The progress callback asked to stop.
    #[error("cancelled after {done} of {total}")]
    Cancelled { done: u64, total: u64 },

    /// A projector file that cannot be used with the model.
    #[error("the projector {path:?} does not belong to this model")]
    Projector { path: PathBuf, source: Box<Error> },

    /// A drafter file that cannot be used with the model.
    #[error("the drafter {path:?} does not belong to this model")]
    Drafter { path: PathBuf, source: Box<Error> },

    /// Drafts of a model that was opened without a drafter.
    #[error("the model has no drafter: open it with its drafter file (gemma4-assistant)")]
    NoDrafter,

    /// Drafts that are no numbers.
    #[error("the drafter's logits are no numbers: its file is damaged, fetch or convert it again")]
    DraftNotFinite,

    /// Media for a model that has no senses.
    #[error("the model takes no {what}: {hint}")]
    NoProjector { what: &'static str, hint: &'static str },

    /// Pixels that are no picture.
    #[error(transparent)]
    Pixels(#[from] crate::vision::PixelsError),

    /// A picture file that cannot be used.
    #[cfg(feature = "image")]
    #[error(transparent)]
    Image(#[from] crate::vision::ImageError),

    /// A picture that does not fit the model.
    #[error(transparent)]
    Vision(#[from] crate::vision::VisionError),

    /// Samples that are no sound.
    #[error(transparent)]
    Samples(#[from] crate::audio::SamplesError),

    /// A sound file that cannot be used.
    #[cfg(feature = "sound")]
    #[error(transparent)]
    Audio(#[from] crate::audio::AudioError),

    /// A sound that is too long to be heard at once.
    #[error(transparent)]
    OverOneSegment(#[from] crate::audio::OverOneSegment),

    /// A video without pictures.
    #[error(transparent)]
    NoFrames(#[from] crate::video::NoFrames),

    /// A video file that cannot be used.
    #[cfg(feature = "film")]
    #[error(transparent)]
    Video(#[from] crate::video::VideoError),

    /// A grammar that cannot be used, or a token that it forbids.
    #[cfg(feature = "grammar")]
    #[error(transparent)]
    Grammar(#[from] crate::grammar::GrammarError),

    /// A model that takes more memory than it may.
    #[error(
        "the model takes {wanted} bytes of memory and may take {most}: allow more, \
         or open one with smaller weights"
    )]
    MaxMemory { wanted: u64, most: u64 },

    /// The system gave no memory.
    #[error(transparent)]
    Memory(#[from] crate::pages::MemoryError),

    /// Too many threads, or none that the system would start.
    #[error(transparent)]
    Threads(#[from] crate::pool::ThreadsError),
}

/// The result inside this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
