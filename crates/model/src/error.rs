//! Why a model cannot be opened or a session cannot go on, each cause with its evidence.

use std::path::PathBuf;

use carat_gguf::Shape;

use crate::tokenizer::TokenizerError;

/// What can go wrong. Wrong files and wrong input end here; broken contracts of the caller panic.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum Error {
    /// The file is no usable GGUF file, or a metadata key is missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] carat_gguf::Error),

    /// The file's vocabulary is not usable.
    #[error("the tokenizer in the file cannot be used")]
    Tokenizer(#[from] TokenizerError),

    /// The file's chat template does not compile.
    #[error("the chat template in the file cannot be used")]
    Chat(#[from] crate::chat::ChatError),

    /// Settings of the sampler that make no sense, or logits that nothing can be sampled from.
    #[error(transparent)]
    Sampler(#[from] crate::sampler::SamplerError),

    /// A model of another family.
    #[error("the file's general.architecture is {found:?}, supported are gemma4 and gemma3")]
    Architecture { found: String },

    /// A metadata value that cannot be true or that this engine has no use for.
    #[error("{key} is {found}, {wanted} is wanted")]
    Value { key: String, found: String, wanted: String },

    /// Part of the architecture that this engine does not compute.
    #[error("{what} is not supported: {hint}")]
    Unsupported { what: String, hint: &'static str },

    /// The numbers of the file are in the other byte order.
    #[error(
        "the file is big-endian and this engine computes with little-endian weights: \
         convert it with llama.cpp's gguf_convert_endian.py or fetch the little-endian file"
    )]
    BigEndian,

    /// A tensor that the architecture needs.
    #[error("tensor {name} is missing from the file: it is damaged or made for another program")]
    MissingTensor { name: String },

    /// A tensor whose sizes disagree with the metadata.
    #[error("tensor {name} has shape {found}, {wanted} is wanted by the metadata")]
    TensorShape { name: String, found: Shape, wanted: Shape },

    /// A tensor in a format without a kernel.
    #[error("tensor {name} is stored as {found}, which has no kernel: supported are {supported}")]
    TensorType { name: String, found: &'static str, supported: String },

    /// A tensor that stands for a computation which this engine does not know.
    #[error(
        "tensor {name} is not part of the architecture as this engine computes it: \
         the file needs a newer version or another program"
    )]
    UnknownTensor { name: String },

    /// A cache file that cannot be written.
    #[error("cannot write the cache file {} of {bytes} bytes: make room or do without", path.display())]
    Cache { path: PathBuf, bytes: u64, source: std::io::Error },

    /// A file where a cache file should be or come.
    #[error("{} is no cache file and is left as it is: name another file for the cache", path.display())]
    NotACache { path: PathBuf },

    /// A session cannot do what it was asked.
    #[error(transparent)]
    Session(#[from] crate::session::SessionError),

    /// The progress callback asked to stop.
    #[error("cancelled after {done} of {total}")]
    Cancelled { done: u64, total: u64 },

    /// A projector file that cannot be used with the model.
    #[error("the projector {path:?} does not belong to this model")]
    Projector { path: PathBuf, source: Box<Error> },

    /// A projector made for a model of another width.
    #[error("it makes rows of {found} values and the model's have {wanted}: use the model's own")]
    ProjectorRows { found: usize, wanted: usize },

    /// A vocabulary without a token that media need.
    #[error("the model's vocabulary has no token {name}: it was not made for media")]
    MediaToken { name: &'static str },

    /// Media for a model that has no senses.
    #[error("the model takes no {what}: {hint}")]
    NoProjector { what: &'static str, hint: &'static str },

    /// A picture that cannot be used.
    #[error(transparent)]
    Image(#[from] crate::vision::ImageError),

    /// Sound that cannot be used.
    #[error(transparent)]
    Audio(#[from] crate::audio::AudioError),

    /// A video that cannot be used.
    #[error(transparent)]
    Video(#[from] crate::video::VideoError),

    /// The system gave no memory.
    #[error(transparent)]
    Memory(#[from] crate::pages::MemoryError),

    /// Too many threads, or none that the system would start.
    #[error(transparent)]
    Threads(#[from] crate::pool::ThreadsError),
}

/// The result inside this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
