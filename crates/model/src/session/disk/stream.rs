//! Bytes on their way to a saved session and from one, with the hash of all before them.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use super::SavedSessionError;

/// A saved session that is being written.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    path: Option<&'a Path>,
    hasher: blake3::Hasher,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write, path: Option<&'a Path>) -> Self {
        Self { out, path, hasher: blake3::Hasher::new() }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), SavedSessionError> {
        // What was hashed a moment ago is still in the core's cache when it is copied.
        for piece in bytes.chunks(PIECE_BYTES) {
            self.hasher.update(piece);
            let path = self.path;
            self.out.write_all(piece).map_err(|source| SavedSessionError::Write {
                path: path.map(Path::to_owned),
                source,
            })?;
        }
        Ok(())
    }

    /// Ends a section with the hash of all bytes before.
    pub(super) fn seal(&mut self) -> Result<(), SavedSessionError> {
        let hash = self.hasher.finalize();
        self.put(hash.as_bytes())
    }
}

/// A saved session that is being read.
pub(super) struct Input<'a> {
    input: &'a mut dyn Read,
    path: Option<&'a Path>,
    hasher: blake3::Hasher,
    /// What is being read, and how many bytes are left of it.
    part: &'static str,
    left: u64,
    /// The bytes that were read, and those that there must be.
    at: u64,
    total: u64,
}

impl<'a> Input<'a> {
    pub(super) fn new(input: &'a mut dyn Read, path: Option<&'a Path>) -> Self {
        let hasher = blake3::Hasher::new();
        Self { input, path, hasher, part: "header", left: 0, at: 0, total: 0 }
    }

    /// Begins a section of so many bytes.
    pub(super) fn begin(&mut self, part: &'static str, bytes: u64) {
        (self.part, self.left) = (part, bytes);
        self.total = self.total.max(self.at.saturating_add(bytes).saturating_add(HASH_BYTES));
    }

    /// Says how many bytes there must be in all.
    pub(super) fn expect(&mut self, total: u64) {
        self.total = total;
    }

    /// Fills `out` with the next bytes of the section.
    pub(super) fn take(&mut self, out: &mut [u8]) -> Result<(), SavedSessionError> {
        self.left = self.left.checked_sub(out.len() as u64).ok_or_else(|| self.damaged())?;
        for piece in out.chunks_mut(PIECE_BYTES) {
            self.fill(piece)?;
            self.hasher.update(piece);
        }
        Ok(())
    }

    /// The next number.
    pub(super) fn number<const N: usize>(&mut self) -> Result<[u8; N], SavedSessionError> {
        let mut bytes = [0; N];
        self.take(&mut bytes)?;
        Ok(bytes)
    }

    /// Ends the section: nothing may be left of it, and its hash must be right.
    pub(super) fn end(&mut self) -> Result<(), SavedSessionError> {
        let wanted = self.hasher.finalize();
        let mut found = [0; HASH_BYTES as usize];
        let is_whole = self.left == 0;
        self.fill(&mut found)?;
        self.hasher.update(&found);
        match is_whole && wanted == blake3::Hash::from_bytes(found) {
            true => Ok(()),
            false => Err(self.damaged()),
        }
    }

    /// The error of a section that cannot be as it was saved.
    pub(super) fn damaged(&self) -> SavedSessionError {
        SavedSessionError::Damaged { path: self.path(), part: self.part }
    }

    pub(super) fn path(&self) -> Option<std::path::PathBuf> {
        self.path.map(Path::to_owned)
    }

    /// Fills `out` with what comes next, be it of the section or its hash.
    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), SavedSessionError> {
        while !out.is_empty() {
            match self.input.read(out) {
                Ok(0) => {
                    let (found, wanted) = (self.at, self.total);
                    return Err(SavedSessionError::Cut { path: self.path(), found, wanted });
                }
                Ok(len) => {
                    self.at += len as u64;
                    out = &mut out[len..];
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(SavedSessionError::Read { path: self.path(), source }),
            }
        }
        Ok(())
    }
}

/// Bytes of a hash.
pub(super) const HASH_BYTES: u64 = 32;

/// It stays in a core's cache.
const PIECE_BYTES: usize = 256 << 10;
