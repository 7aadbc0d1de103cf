//! The data of one tensor in its file, for whoever reads parts of it as long as a model lives.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::mmap::Mapping;
use crate::source::{read_error, read_exact_at};
use crate::{Error, Result};

/// The data of one tensor on disk. The file stays open, so it may get another name or be deleted
/// where the system allows that. If somebody writes to it or cuts it short, reading is an error or
/// gives other bytes; [`is_unchanged`](Self::is_unchanged) tells.
#[derive(Debug)]
pub struct TensorFile {
    file: File,
    path: PathBuf,
    /// Only for advice, never read.
    mapping: Mapping,
    /// Where the data starts in the file, and its length.
    at: u64,
    bytes: u64,
    /// The length of the file and the time of the last write, when it was opened.
    state: (u64, SystemTime),
}

impl TensorFile {
    pub(crate) fn new(file: &File, path: PathBuf, at: u64, bytes: u64) -> Result<Self> {
        let failed = |source| Error::Read { path: path.clone(), source };
        let file = file.try_clone().map_err(failed)?;
        let mapping = Mapping::new(&file).map_err(failed)?;
        let state = state(&file, &path)?;
        Ok(Self { file, path, mapping, at, bytes, state })
    }

    /// The length of the data in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `out.len()` bytes of the data from byte `at` of it.
    ///
    /// # Errors
    /// If the file was cut short since, or cannot be read.
    ///
    /// # Panics
    /// If the tensor has fewer bytes.
    pub fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let (len, bytes) = (out.len() as u64, self.bytes);
        assert!(
            at.checked_add(len).is_some_and(|end| end <= bytes),
            "{len} bytes from {at} on of a tensor of {bytes}"
        );
        let at = self.at + at;
        read_exact_at(&self.file, out, at)
            .map_err(|source| read_error(self.path.clone(), at, out.len(), source))
    }

    /// Lets the system read `len` bytes from `at` on in advance.
    pub fn will_need(&self, at: u64, len: usize) {
        self.mapping.will_need((self.at + at) as usize, len);
    }

    /// Whether the file has the length and the time of the last write that it had when this was
    /// made.
    ///
    /// # Errors
    /// If the file system does not answer.
    pub fn is_unchanged(&self) -> Result<bool> {
        Ok(state(&self.file, &self.path)? == self.state)
    }
}

/// The length of a file and the time of its last write; 1970 where the system does not know.
fn state(file: &File, path: &Path) -> Result<(u64, SystemTime)> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let found = file.metadata().map_err(failed)?;
    Ok((found.len(), found.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
}
