//! The model in the program: a toy of the architecture of Gemma 4 12B, which this project trained
//! to show the engine without a download.

use anyhow::{Result, bail};
use carat::{Model, OpenOptions};

use crate::Usage;

/// Opens it. It sees and hears, by a projector of its own unless the options name one.
///
/// # Errors
/// If the program was built without it, or a projector is named that does not belong to it.
pub(crate) fn open(options: OpenOptions<'_>) -> Result<Model> {
    let Files { text, projector } = files()?;
    Ok(Model::from_bytes(text, OpenOptions { projector_bytes: Some(projector), ..options })?)
}

/// The files of the model.
pub(crate) struct Files {
    /// Metadata, vocabulary and decoder, as a GGUF file.
    pub(crate) text: &'static [u8],
    /// What it sees and hears with, as a GGUF file.
    pub(crate) projector: &'static [u8],
}

/// The bytes of the model.
///
/// # Errors
/// If the program was built without it.
pub(crate) fn files() -> Result<&'static Files> {
    match FILES {
        Some(files) => Ok(files),
        None => bail!(Usage(
            "no model is named, and this program was built without one of its own: name a file \
             with -m"
                .to_owned()
        )),
    }
}

#[cfg(feature = "demo")]
static FILES: Option<&Files> = Some(&Files {
    text: include_bytes!("../models/demo-text.gguf"),
    projector: include_bytes!("../models/demo-mmproj.gguf"),
});

#[cfg(not(feature = "demo"))]
static FILES: Option<&Files> = None;

/// What is said where nobody named a model.
pub(crate) const NOTICE: &str = "no model named: using the built-in toy model, which knows little \
                                 (`carat demo` shows what; -m FILE runs a real one)";

/// What errors call it.
pub(crate) const NAME: &str = "the built-in model";
