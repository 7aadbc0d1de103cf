//! A model on disk: the file, or all files of a split model, mapped.

use std::path::{Path, PathBuf};

use crate::mmap::Mapping;
use crate::split::{SplitName, parse_parts};
use crate::{Error, Gguf, Result};

/// The mapped file of a model, or all its parts. [`parse`](Self::parse) borrows from it.
///
/// Nobody may write to the files or shorten them while they are mapped. Replacing a file (writing a
/// new one and renaming it) is safe.
#[derive(Debug)]
pub struct Source {
    paths: Vec<PathBuf>,
    mappings: Vec<Mapping>,
}

impl Source {
    /// Maps the file at `path`. If the name is that of the first part of a split model
    /// (`name-00001-of-00003.gguf`), maps the others beside it as well.
    ///
    /// Nothing is read yet. Fails if a file is missing, empty, a directory or not readable, and if
    /// `path` is a part other than the first.
    pub fn open(path: &Path) -> Result<Self> {
        let mut source = Self { paths: Vec::new(), mappings: Vec::new() };
        source.add(path)?;
        let Some(name) = SplitName::of(path) else { return Ok(source) };
        if name.part != 1 {
            let (path, first) = (path.to_owned(), name.path_of(1));
            return Err(Error::NotFirstPart { path, part: name.part, first });
        }
        for part in 2..=name.parts {
            source.add(&name.path_of(part)).map_err(|e| match e {
                Error::NotFound { path } => Error::MissingPart { path, part, parts: name.parts },
                other => other,
            })?;
        }
        Ok(source)
    }

    /// Parses the metadata and the descriptions of the tensors, and checks all of it. The data of
    /// the tensors is not touched.
    pub fn parse(&self) -> Result<Gguf<'_>> {
        let parts: Vec<&[u8]> = self.mappings.iter().map(Mapping::bytes).collect();
        parse_parts(&parts).map_err(|(part, e)| {
            let path = self.paths[part].clone();
            Error::InFile { path, source: Box::new(e) }
        })
    }

    /// Lets the system read `data` of a tensor in advance.
    pub fn will_need(&self, data: &[u8]) {
        let _ = self.mappings.iter().any(|mapping| mapping.will_need(data));
    }

    /// Gives back the memory that `data` of a tensor takes; whoever reads it again, reads the file
    /// again.
    pub fn release(&self, data: &[u8]) {
        let _ = self.mappings.iter().any(|mapping| mapping.release(data));
    }

    /// The size of all files together, in bytes.
    pub fn bytes_total(&self) -> u64 {
        self.mappings.iter().map(|m| m.bytes().len() as u64).sum()
    }

    /// The files, in order of their parts.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        self.mappings.push(Mapping::open(path)?);
        self.paths.push(path.to_owned());
        Ok(())
    }
}
