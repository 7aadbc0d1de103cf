//! Why a model file or a projector file cannot be used.

use carat_gguf::Shape;

/// A fault of the metadata or the tensors of a file. The file itself is well-formed GGUF.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum ModelFileError {
    /// A metadata key is missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] carat_gguf::Error),

    /// A model of another family.
    #[error("the file's general.architecture is {found:?}, supported are gemma4 and gemma3")]
    Architecture { found: String },

    /// A file that is not a model of this engine, but one that is known by name.
    #[error("this is {what}, which {problem}: {hint}")]
    OtherFile { what: String, problem: String, hint: &'static str },

    /// A metadata value that cannot be true or that this engine has no use for.
    #[error("{key} is {found}, {wanted} is wanted")]
    Value { key: String, found: String, wanted: String },

    /// Part of the architecture that this engine does not compute.
    #[error("{what} is not supported: {hint}")]
    Unsupported { what: String, hint: &'static str },

    /// A metadata key that may change the results in a way that this engine does not know.
    #[error(
        "metadata key {key} is {found}, and this version does not know what it changes: \
         the file needs a newer version or another program",
        key = key.escape_debug()
    )]
    UnknownKey { key: String, found: String },

    /// The numbers of the file are in the other byte order.
    #[error(
        "the file is big-endian and this engine computes with little-endian weights: \
         convert it with llama.cpp's gguf_convert_endian.py or fetch the little-endian file"
    )]
    BigEndian,

    /// A tensor that the architecture needs.
    #[error("tensor {name} is missing from the file: it is damaged or made for another program")]
    MissingTensor { name: String },

    /// A file with metadata alone.
    #[error(
        "the file has metadata and no tensors ({name} is the first that is missing): \
         it is a vocabulary without a model, fetch the whole model"
    )]
    NoTensors { name: String },

    /// A tensor whose sizes disagree with the metadata.
    #[error("tensor {name} has shape {found}, {wanted} is wanted by the metadata")]
    TensorShape { name: String, found: Shape, wanted: Shape },

    /// A tensor in a format without a kernel.
    #[error("tensor {name} is stored as {found}, which has no kernel: supported are {supported}")]
    TensorType { name: String, found: &'static str, supported: String },

    /// A tensor that stands for a computation which this engine does not know.
    #[error(
        "tensor {name} is not part of the architecture as this engine computes it: \
         the file needs a newer version or another program",
        name = name.escape_debug()
    )]
    UnknownTensor { name: String },

    /// A projector made for a model of another width.
    #[error("it makes rows of {found} values and the model's have {wanted}: use the model's own")]
    ProjectorRows { found: usize, wanted: usize },

    /// A drafter made for another model.
    #[error(
        "it drafts for a model {what} {found} and this one has {wanted}: use the model's own drafter"
    )]
    DrafterMismatch { what: &'static str, found: String, wanted: String },

    /// A vocabulary without a token that media need.
    #[error("the model's vocabulary has no token {name}: it was not made for media")]
    MediaToken { name: &'static str },
}
