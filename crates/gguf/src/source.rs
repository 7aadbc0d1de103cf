//! A model on disk: the file, or all files of a split model.
//!
//! The headers are read into memory, and the data of tensors is read when it is asked for
//! ([`Gguf::read`]). So a file that another program cuts short is an error and not the end of the
//! process. The files are mapped as well, because [`Tensor::data`](crate::Tensor::data) is a view.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::header::{self, Bytes};
use crate::mmap::Mapping;
use crate::reader::header_too_long;
use crate::split::{SplitName, parse_parts};
use crate::tensor_file::TensorFile;
use crate::{Error, Gguf, Result, Tensor, limits};

/// The open file of a model, or all its parts. [`parse`](Self::parse) borrows from it.
#[derive(Debug)]
pub struct Source {
    parts: Vec<Part>,
    paths: Vec<PathBuf>,
}

/// One file.
struct Part {
    file: File,
    /// All of the header, or as much as it takes to see what is wrong with it.
    head: Vec<u8>,
    /// Never read here.
    mapping: Mapping,
}

/// What the file system says of the files of a model. Writing to a file, cutting it or putting
/// another one in its place changes it; so may a change of its name or permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Lengths, times and numbers of the files, in order of the parts.
    pub bytes: Vec<u8>,
    /// When a file was changed last.
    pub changed: SystemTime,
}

impl Source {
    /// Opens the file at `path`. If the name is that of the first part of a split model
    /// (`name-00001-of-00003.gguf`), opens the others beside it as well.
    ///
    /// Only the headers are read. Fails if a file is missing, empty, a directory or not readable,
    /// and if `path` is a part other than the first.
    pub fn open(path: &Path) -> Result<Self> {
        let mut source = Self { parts: Vec::new(), paths: Vec::new() };
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
        let parts: Vec<_> = self.parts.iter().map(Part::bytes).collect();
        let gguf = parse_parts(&parts).map_err(|(part, e)| {
            let path = self.paths[part].clone();
            Error::InFile { path, source: Box::new(e) }
        })?;
        Ok(Gguf { source: Some(self), ..gguf })
    }

    /// The size of all files together, in bytes.
    pub fn bytes_total(&self) -> u64 {
        self.parts.iter().map(|part| part.mapping.bytes().len() as u64).sum()
    }

    /// The files, in order of their parts.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What the file system says of the files now. `None` where it does not tell when a file was
    /// changed last by whatever means: a time that any program can set back is no evidence.
    ///
    /// # Errors
    /// If the file system does not answer.
    pub fn stamp(&self) -> Result<Option<Stamp>> {
        let mut stamp = Stamp { bytes: Vec::new(), changed: SystemTime::UNIX_EPOCH };
        for (part, path) in self.parts.iter().zip(&self.paths) {
            let found = part.file.metadata();
            let found = found.map_err(|source| Error::Read { path: path.clone(), source })?;
            let Some((numbers, changed)) = numbers(&found) else { return Ok(None) };
            stamp.bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
            stamp.changed = stamp.changed.max(changed);
        }
        Ok(Some(stamp))
    }

    /// Reads `out.len()` bytes of the data of `tensor` from byte `at` of it.
    pub(crate) fn read(&self, tensor: &Tensor<'_>, at: u64, out: &mut [u8]) -> Result<()> {
        let at = tensor.at + at;
        read_exact_at(&self.parts[tensor.part].file, out, at).map_err(|source| {
            let path = self.paths[tensor.part].clone();
            read_error(path, at, out.len(), source)
        })
    }

    /// Lets the system read the same bytes in advance.
    pub(crate) fn will_need(&self, tensor: &Tensor<'_>, at: u64, len: usize) {
        self.parts[tensor.part].mapping.will_need((tensor.at + at) as usize, len);
    }

    /// The data of `tensor` to be read later, when the source may be gone.
    pub(crate) fn tensor_file(&self, tensor: &Tensor<'_>) -> Result<TensorFile> {
        let path = self.paths[tensor.part].clone();
        let bytes = tensor.data.len() as u64;
        TensorFile::new(&self.parts[tensor.part].file, path, tensor.at, bytes)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        self.parts.push(Part::open(path)?);
        self.paths.push(path.to_owned());
        Ok(())
    }
}

impl Part {
    fn open(path: &Path) -> Result<Self> {
        // Its kind is checked first, because opening a pipe waits.
        let path_buf = || path.to_owned();
        let io = |source: io::Error| match source.kind() {
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
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(Error::EmptyFile { path: path_buf() });
        }
        let mapping = Mapping::new(&file).map_err(io)?;
        let mut part = Self { file, head: Vec::new(), mapping };
        part.read_head(path)?;
        Ok(part)
    }

    /// Reads more and more of the file, until the parser wants nothing that is not there.
    fn read_head(&mut self, path: &Path) -> Result<()> {
        let len = self.mapping.bytes().len();
        let mut wanted = HEAD_BYTES;
        loop {
            let have = self.head.len();
            let more = wanted.min(len) - have;
            self.head.try_reserve_exact(more).map_err(|_| {
                let source = ErrorKind::OutOfMemory.into();
                Error::Read { path: path.to_owned(), source }
            })?;
            self.head.resize(have + more, 0);
            read_exact_at(&self.file, &mut self.head[have..], have as u64)
                .map_err(|source| read_error(path.to_owned(), have as u64, more, source))?;
            match header::File::parse(self.bytes(), 0, &mut HashMap::new()) {
                Err(Error::Truncated { need, have, .. })
                    if need <= have && self.head.len() >= limits::HEADER_BYTES =>
                {
                    let source = Box::new(header_too_long());
                    return Err(Error::InFile { path: path.to_owned(), source });
                }
                Err(Error::Truncated { at, need, have, .. }) if need <= have => {
                    // What is there fits in memory: the position stays far below 2^63.
                    wanted = usize::try_from(at + need).unwrap_or(len).max(4 * wanted);
                    wanted = wanted.min(limits::HEADER_BYTES);
                }
                Err(_) => return Ok(()), // the same again when it is parsed
                Ok(file) => {
                    let head = file.head.len().max(header::MAGIC_BYTES_SEEN).min(len);
                    self.head.truncate(head);
                    self.head.shrink_to_fit();
                    return Ok(());
                }
            }
        }
    }

    fn bytes(&self) -> Bytes<'_> {
        Bytes { head: &self.head, all: self.mapping.bytes() }
    }
}

/// Without the bytes of the header.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, head, mapping } = self;
        write!(f, "{file:?}, a header of {} bytes, {mapping:?}", head.len())
    }
}

pub(crate) fn read_error(path: PathBuf, at: u64, need: usize, source: io::Error) -> Error {
    match source.kind() {
        ErrorKind::UnexpectedEof => Error::CutShort { path, at, need: need as u64 },
        _ => Error::Read { path, source },
    }
}

#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, at) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => (out, at) = (&mut out[n..], at + n as u64),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The change time is the evidence: no program can set it, and every write, every new length and
/// every time that is set renews it. The number of the device is not among them: after the next
/// start of the system it may be another one.
#[cfg(unix)]
fn numbers(found: &Metadata) -> Option<([i128; 4], SystemTime)> {
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;
    let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
    let changed = nanoseconds(found.ctime(), found.ctime_nsec());
    let modified = nanoseconds(found.mtime(), found.mtime_nsec());
    // Times before 1970 are as old as any.
    let since_1970 = Duration::from_nanos(u64::try_from(changed).unwrap_or_default());
    let numbers = [found.len().into(), found.ino().into(), changed, modified];
    Some((numbers, SystemTime::UNIX_EPOCH.checked_add(since_1970)?))
}

#[cfg(not(unix))]
fn numbers(_: &Metadata) -> Option<([i128; 4], SystemTime)> {
    None
}

/// Most headers without a vocabulary are shorter.
const HEAD_BYTES: usize = 1 << 20;
