//! Files as memory: the crate's unsafe line.
#![expect(unsafe_code, reason = "a mapping is memory that the file system also holds")]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// A file, mapped read-only as it was when it was mapped.
///
/// Whoever reads bytes that another program has cut off meanwhile is ended by the system (SIGBUS),
/// and bytes that are overwritten in place change. Replacing the file (writing a new one and
/// renaming it) is safe.
#[derive(Debug)]
pub struct Mapping(Mmap);

impl Mapping {
    /// Maps all of `file`, which can be closed afterwards.
    ///
    /// # Errors
    /// If the system cannot map it: a pipe, a device, an empty file on some systems.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the mapping is private to this struct, read-only, and lives as long as every
        // slice of it (`bytes` ties them to `self`). What remains is that nobody truncates or
        // writes the file meanwhile; no process can be kept from that, so it is a documented
        // condition of this type.
        let mmap = unsafe { Mmap::map(file) }?;
        Ok(Self(mmap))
    }

    /// All of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lets the system read `len` bytes from `at` on in advance.
    pub fn will_need(&self, at: usize, len: usize) {
        #[cfg(unix)]
        let _ = self.0.advise_range(memmap2::Advice::WillNeed, at, len); // advice only
        #[cfg(not(unix))]
        let _ = (at, len);
    }
}
