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

    /// A model whose identity can no longer be told.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),

    /// A cache file that cannot be used.
    #[error(transparent)]
    Cache(#[from] crate::weights::CacheError),

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

    /// `truncate` to a length that the session has not reached.
    #[error("cannot truncate to {wanted} tokens, the session holds {have}")]
    TruncateBeyond { wanted: usize, have: usize },

    /// `truncate` further back than the sliding layers remember.
    #[error(
        "cannot truncate to {wanted} tokens, the sliding layers remember enough down to {least}: \
         truncate to 0 and push again, or make a session with a larger rollback"
    )]
    Rollback { wanted: usize, least: usize },

    /// `generate` in a session that holds nothing.
    #[error("nothing was pushed, there is no token to continue from")]
    NothingPushed,

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

    /// A picture with a side that the model has no positions for.
    #[error(
        "the picture has {columns} x {rows} patches, the model has positions for {positions} in \
         each direction: choose a smaller budget or a less extreme shape"
    )]
    ImagePositions { columns: usize, rows: usize, positions: usize },

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

    /// `truncate` into a medium.
    #[error(
        "cannot truncate to {wanted} tokens, a medium is there: truncate to {start} or to {end}"
    )]
    TruncateMedium { wanted: usize, start: usize, end: usize },

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
    #[error("no memory for {bytes} bytes of {what}: close other programs or ask for less context")]
    Memory { what: &'static str, bytes: u64 },

    /// The system gave no threads.
    #[error("cannot start {threads} threads")]
    Threads { threads: usize, source: std::io::Error },
}

/// The result inside this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
