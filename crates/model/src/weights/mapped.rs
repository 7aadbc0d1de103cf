//! A cache file while it is mapped.
//!
//! Whoever reads a page of a mapping that the file no longer has is ended by the system (SIGBUS),
//! and what another program writes into the file is what the kernels multiply with. Neither can be
//! kept from happening, so every pass asks the file system before its first and after its last
//! product whether the file is as it was: a file that was cut or written to between two passes ends
//! the next one with an error, and one that was written to within a pass ends that one. What is
//! left is a file that is cut within a pass: the program `carat` says so in a sentence, and other
//! programs decide by their handler of SIGBUS what they do.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use carat_gguf::Mapping;

use super::cache::CacheError;

/// A mapped file that nobody else may change.
#[derive(Debug)]
pub(super) struct Mapped {
    mapping: Arc<Mapping>,
    file: File,
    path: PathBuf,
    state: State,
}

/// The length of a file, and the time of the last write where the system knows it.
pub(super) type State = (u64, Option<SystemTime>);

impl Mapped {
    /// Maps `file`, which is at `path` and was found in `state` before its content was looked at.
    ///
    /// # Errors
    /// If the system cannot map it.
    pub(super) fn new(file: &File, path: &Path, state: State) -> Result<Self, CacheError> {
        let path = path.to_owned();
        let parts = || Ok::<_, io::Error>((Arc::new(Mapping::new(file)?), file.try_clone()?));
        match parts() {
            Ok((mapping, file)) => Ok(Self { mapping, file, path, state }),
            Err(source) => Err(CacheError::Read { path, source }),
        }
    }

    /// All of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.mapping.bytes()
    }

    /// Lets the system read `len` bytes from `at` on in advance.
    pub(super) fn will_need(&self, at: usize, len: usize) {
        self.mapping.will_need(at, len);
    }

    /// Lets the system read `ranges` of the file from now on, one after the other, as far as it
    /// does not hold them.
    pub(super) fn read_ahead(&self, ranges: Vec<Range<usize>>) {
        #[cfg(unix)]
        super::readahead::start(&self.file, &self.mapping, ranges);
        #[cfg(not(unix))]
        drop(ranges);
    }

    /// Whether the file is as it was.
    ///
    /// # Errors
    /// If its length or its time say something else, or the file system does not answer.
    pub(super) fn check(&self) -> Result<(), CacheError> {
        let failed = |source| CacheError::Read { path: self.path.clone(), source };
        // Another process that notes a new stamp in the header sets the time back at once.
        for _ in 0..LOOKS {
            if state(&self.file).map_err(failed)? == self.state {
                return Ok(());
            }
            sleep(PAUSE);
        }
        Err(CacheError::Changed { path: self.path.clone() })
    }
}

/// What the file system says of a file now.
pub(super) fn state(file: &File) -> io::Result<State> {
    let found = file.metadata()?;
    Ok((found.len(), found.modified().ok()))
}

/// How often a file is looked at that seems to have changed, and the time between.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);
