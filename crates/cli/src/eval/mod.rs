//! `carat eval`: the engine's numbers, for comparing it with others.

pub(crate) mod audio;
pub(crate) mod draft;
pub(crate) mod image;
pub(crate) mod logits;
pub(crate) mod perplexity;
pub(crate) mod template;
mod tensors;
pub(crate) mod tokenize;
pub(crate) mod video;
