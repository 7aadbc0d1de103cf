//! Files as memory: the crate's one unsafe line.
#![expect(unsafe_code, reason = "a mapping is memory that the file system also holds")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// A regular file of at least one byte, mapped read-only.
#[derive(Debug)]
pub(crate) struct Mapping(Mmap);

impl Mapping {
    /// Maps the file at `path`; its kind is checked first, because opening a pipe waits.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let path_buf = || path.to_owned();
        let io = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => Error::NotFound { path: path_buf() },
            _ => Error::Io { path: path_buf(), source },
        };
        let found = fs::metadata(path).map_err(io)?;
        if found.is_dir() {
            return Err(Error::IsDirectory { path: path_buf() });
        }
        if !found.is_file() {
            return Err(Error::NotAFile { path: path_buf() });
        }
        if found.len() == 0 {
            return Err(Error::EmptyFile { path: path_buf() });
        }
        let file = fs::File::open(path).map_err(io)?;
        // SAFETY: the mapping is private to this struct, read-only, and lives as long as every
        // slice of it (`bytes` ties them to `self`). What remains is that nobody truncates or
        // writes the file meanwhile; no process can be kept from that, so it is a documented
        // condition of `Source`, as it is of every program that maps its models.
        let mmap = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self(mmap))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
