//! Files as memory: the crate's unsafe lines.
#![expect(unsafe_code, reason = "a mapping is memory that the file system also holds")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// A regular file of at least one byte, mapped read-only.
///
/// Nobody may write to the file or shorten it while it is mapped. Replacing it (writing a new one
/// and renaming it) is safe.
#[derive(Debug)]
pub struct Mapping(Mmap);

impl Mapping {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// If there is none, or it is empty, a directory, not a regular file or not readable.
    pub fn open(path: &Path) -> Result<Self> {
        // Its kind is checked first, because opening a pipe waits.
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

    /// All of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where `data` lies in the file, if it does.
    fn position(&self, data: &[u8]) -> Option<usize> {
        let position = (data.as_ptr() as usize).checked_sub(self.0.as_ptr() as usize)?;
        (position + data.len() <= self.0.len()).then_some(position)
    }

    /// Lets the system read `data`, a part of the file, in advance; says whether it is a part.
    pub(crate) fn will_need(&self, data: &[u8]) -> bool {
        let position = self.position(data);
        #[cfg(unix)]
        if let Some(at) = position {
            let _ = self.0.advise_range(memmap2::Advice::WillNeed, at, data.len()); // advice only
        }
        position.is_some()
    }

    /// Gives back the memory of `data`, a part of the file; says whether it is a part.
    pub(crate) fn release(&self, data: &[u8]) -> bool {
        let position = self.position(data);
        #[cfg(unix)]
        if let Some(at) = position {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: in a read-only mapping of a file, pages that are given back hold what the
            // file holds: the next access reads the same bytes again.
            let _ = unsafe { self.0.unchecked_advise_range(advice, at, data.len()) };
        }
        position.is_some()
    }
}
