//! Which model a command runs: a file that was named, or the one in the program.

use std::path::{Path, PathBuf};

use anyhow::Result;
use carat::{Model, OpenOptions};
use carat_gguf::{Gguf, Source};

use crate::builtin;
use crate::load::{self, about};
use crate::text::say;

/// The model of a command.
#[derive(Clone, Debug)]
pub(crate) enum Chosen {
    /// The file at a path, the first part of a split one.
    File(PathBuf),
    /// The model in the program.
    BuiltIn,
}

impl Chosen {
    /// The model that was named. Says so where none was, and the one in the program is used.
    ///
    /// # Errors
    /// If none was named, and the program has none.
    pub(crate) fn of(named: Option<&Path>) -> Result<Self> {
        match named {
            Some(path) => Ok(Self::File(path.to_owned())),
            None => {
                builtin::files()?;
                say!("carat: {}", builtin::NOTICE);
                Ok(Self::BuiltIn)
            }
        }
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::BuiltIn => builtin::NAME.to_owned(),
        }
    }

    /// Reads its header; an error begins with `what` and names the model.
    pub(crate) fn header<T>(
        &self,
        what: &str,
        read: impl FnOnce(&Gguf<'_>) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::File(path) => {
                let source = Source::open(path).map_err(|e| about(path, what, e))?;
                let gguf = source.parse().map_err(|e| about(path, what, e))?;
                read(&gguf).map_err(|e| about(path, what, e))
            }
            Self::BuiltIn => {
                let read = || read(&Gguf::parse(builtin::files()?.text)?);
                read().map_err(|e| e.context(format!("{what} {}", builtin::NAME)))
            }
        }
    }

    /// Loads it.
    pub(crate) fn open(&self, options: OpenOptions<'_>) -> Result<Model> {
        match self {
            Self::File(path) => load::model(path, options),
            Self::BuiltIn => builtin::open(options),
        }
    }
}
