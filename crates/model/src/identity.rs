//! The identity of a model: a hash of all that its files say.
//!
//! ```text
//! identity = H("carat model identity 1" ‖ H(header of each part) ‖ H'(each tensor))
//! H'(tensor) = H(H(rows 0..64 as stored) ‖ H(rows 64..128) ‖ ...)
//! ```
//!
//! H is BLAKE3, tensors come in the order of the files. The groups of rows are those that a thread
//! repacks at a time, so that the hash is taken of bytes that are at hand.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use carat_gguf::{Gguf, Source, Stamp, Tensor};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// What a model is known by: the same for two files only if all metadata and all weights are the
/// same. It does not depend on the name or the place of the file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 32]);

#[cfg(feature = "serde")]
impl serde::Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Identity {
    /// As a number of 256 bits.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads all tensors of a file, on the threads of `pool`; `progress` hears of bytes read and of
    /// how many there are.
    ///
    /// # Errors
    /// If the file cannot be read, and [`Error::Cancelled`] if `progress` breaks.
    pub(crate) fn read(
        gguf: &Gguf<'_>,
        pool: &ThreadPool,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        let total = gguf.tensors().iter().map(|tensor| tensor.data.len() as u64).sum();
        let mut done = 0;
        let mut hashes = Vec::new();
        for tensor in gguf.tensors() {
            let groups = groups(tensor);
            let mut all = Vec::with_capacity(groups.len());
            // So many at a time that progress is seen to be made.
            let width = groups.first().map_or(1, Range::len).max(1);
            for some in groups.chunks((STEP_BYTES / width).max(1)) {
                let hash = |group: &Range<usize>| hash_of(gguf, tensor, group.clone());
                let read: Result<Vec<_>> = pool.install(|| some.par_iter().map(hash).collect());
                all.extend(read?);
                done += some.iter().map(|group| group.len() as u64).sum::<u64>();
                if progress(done, total).is_break() {
                    return Err(Error::Cancelled { done, total });
                }
            }
            hashes.push(joined(&all));
        }
        Ok(Self::of(gguf, &hashes))
    }

    /// The identity of a file whose tensors have these hashes, in order.
    pub(crate) fn of(gguf: &Gguf<'_>, tensors: &[blake3::Hash]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"carat model identity 1");
        hasher.update(heads(gguf).as_bytes());
        for hash in tensors {
            hasher.update(hash.as_bytes());
        }
        Self(hasher.finalize().into())
    }
}

/// Why an identity cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum IdentityError {
    /// The file is no longer what the model was made of.
    #[error("{} was changed after the model was opened: open it again", path.display())]
    Changed { path: PathBuf },
}

/// The file that a model was made of, and the identity once it is known: it is looked for only
/// where it is asked for, since that takes as long as reading the file.
#[derive(Debug)]
pub(crate) struct Origin {
    place: Place,
    identity: OnceLock<Identity>,
}

enum Place {
    File {
        path: PathBuf,
        /// Of when it was opened.
        stamp: Option<Stamp>,
    },
    Memory(&'static [u8]),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{path:?}"),
            Self::Memory(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

impl Origin {
    /// The origin of a model that is about to be read from `source`.
    pub(crate) fn new(source: &Source) -> Result<Self> {
        let path = source.paths().first().map_or(Path::new(""), PathBuf::as_path);
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let place = Place::File { path, stamp: source.stamp()? };
        Ok(Self { place, identity: OnceLock::new() })
    }

    /// The origin of a model that is about to be read from memory.
    pub(crate) fn memory(bytes: &'static [u8]) -> Self {
        Self { place: Place::Memory(bytes), identity: OnceLock::new() }
    }

    /// The bytes of a model that is in memory.
    pub(crate) fn memory_bytes(&self) -> Option<&'static [u8]> {
        match self.place {
            Place::Memory(bytes) => Some(bytes),
            Place::File { .. } => None,
        }
    }

    /// The same with its identity, if that is known.
    pub(crate) fn known(self, identity: Option<Identity>) -> Self {
        Self { identity: identity.map_or_else(OnceLock::new, OnceLock::from), ..self }
    }

    /// The identity, read from the file if need be, which must be as it was.
    pub(crate) fn identity(&self, pool: impl FnOnce() -> Result<ThreadPool>) -> Result<Identity> {
        if let Some(identity) = self.identity.get() {
            return Ok(*identity);
        }
        let read =
            |gguf: &Gguf<'_>| Identity::read(gguf, &pool()?, &mut |_, _| ControlFlow::Continue(()));
        let identity = match &self.place {
            Place::Memory(bytes) => read(&Gguf::parse(bytes)?)?,
            Place::File { path, stamp } => {
                let source = Source::open(path)?;
                let identity = read(&source.parse()?)?;
                if source.stamp()? != *stamp {
                    return Err(IdentityError::Changed { path: path.clone() }.into());
                }
                identity
            }
        };
        Ok(*self.identity.get_or_init(|| identity))
    }
}

/// The hash of all headers, which say what the tensors are.
pub(crate) fn heads(gguf: &Gguf<'_>) -> blake3::Hash {
    joined(&gguf.heads().iter().map(|head| blake3::hash(head)).collect::<Vec<_>>())
}

/// The hash of the data of a tensor.
pub(crate) fn tensor(gguf: &Gguf<'_>, tensor: &Tensor<'_>) -> Result<blake3::Hash> {
    let hashes: Result<Vec<_>> =
        groups(tensor).into_iter().map(|group| hash_of(gguf, tensor, group)).collect();
    Ok(joined(&hashes?))
}

/// The hash of hashes.
pub(crate) fn joined(hashes: &[blake3::Hash]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for hash in hashes {
        hasher.update(hash.as_bytes());
    }
    hasher.finalize()
}

/// The bytes of each group of rows. Data that is not whole rows does not come out of a [`Gguf`].
fn groups(tensor: &Tensor<'_>) -> Vec<Range<usize>> {
    let len = tensor.data.len();
    let row = len / tensor.shape.rows() as usize;
    let step = row.saturating_mul(GROUP_ROWS).max(1);
    (0..len).step_by(step).map(|start| start..start.saturating_add(step).min(len)).collect()
}

/// Reads a group piece by piece: a row may be as long as the file.
fn hash_of(gguf: &Gguf<'_>, tensor: &Tensor<'_>, group: Range<usize>) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; group.len().min(BUFFER_BYTES)];
    for at in group.clone().step_by(BUFFER_BYTES) {
        let len = (group.end - at).min(BUFFER_BYTES);
        gguf.read(tensor, at, &mut buffer[..len])?;
        hasher.update(&buffer[..len]);
    }
    Ok(hasher.finalize())
}

/// As it is written, in hexadecimal digits.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// Rows that are hashed together. Another number makes other identities of the same models.
pub(crate) const GROUP_ROWS: usize = 64;

/// Bytes of a file between two calls of progress.
const STEP_BYTES: usize = 8 << 20;

/// It stays in a core's cache.
const BUFFER_BYTES: usize = 256 << 10;
