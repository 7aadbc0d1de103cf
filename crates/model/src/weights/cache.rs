//! The cache file: an image on disk, which the next start maps instead of making it again.
//!
//! ```text
//! 0       32 bytes   MAGIC: name and version of the format
//! 32      u64        length of the image, little-endian
//! 40      u64        version of the container, little-endian
//! 48      32 bytes   hash of the headers of the model's files
//! 80      32 bytes   hash of the stamp of these files; zeros where there was none to be trusted
//! 112     32 bytes   identity of the model
//! 144     32 bytes   hash of the image
//! 176     zeros
//! 4064    32 bytes   hash of the 4064 bytes before
//! 4096    the image
//! ```
//!
//! At the start it must be certain that the file is the image of *this* model, and reading seven
//! gigabytes to be certain takes seconds. What is compared instead:
//!
//! 1. The headers (metadata, names and shapes of tensors), which are in memory anyway.
//! 2. The [stamp](carat_gguf::Stamp): lengths, file numbers, modification and *change* times. No
//!    program can set a change time, and every write, cut and replacement renews it, also where the
//!    modification time is set back afterwards. Where the stamp is another one (the model was
//!    copied, touched or given permissions), or the system has no change times (Windows), all of
//!    the model is read and its identity compared; if it is the same, the new stamp is noted. A
//!    stamp younger than [`SETTLED`] is not noted: the clock of the file system may stand still
//!    between two writes.
//! 3. Rows of every matrix, repacked: all of them in a small model, 128 MiB in a large one. This
//!    shows damage of the cache file, and a container that changed without its version.
//!
//! What that leaves: a cache file that was changed after it was written, in rows that are not
//! compared. [`OpenOptions::verify_cache`](crate::OpenOptions::verify_cache) reads and compares all
//! of the model and all of the image. Against somebody who may write the cache file nothing helps
//! that is written in it: such a person may change the answers, as whoever may write the model.
//!
//! A new file is written as a [`PartFile`], is mapped through the handle that wrote it and gets its
//! name last; an existing one is mapped through the handle that was checked. So whatever other
//! processes do to the name meanwhile, the image stays the one of this model. Carat never shortens
//! a cache file and writes nothing but the header into an existing one, whose time of the last
//! write it sets back. So a file that another program cut short or wrote to tells it, and passes
//! end with an error ([`Mapped`]). If it is cut *within* a pass the system ends the process
//! (SIGBUS): that is the price of mapping, and whoever cannot pay it opens models without a cache
//! file.

use std::fs::{self, File, FileTimes};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use carat_gguf::PartFile;
use rayon::ThreadPool;
use rayon::prelude::*;

use super::image::{Hashes, PackedImage, Plan, Repacked, Repacking};
use super::mapped::{Mapped, State, state};
use crate::error::{Error, Result};
use crate::identity::{self, Identity};
use crate::pages::{resize, zeros};

/// Why a cache file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum CacheError {
    /// The system refused to write it.
    #[error("cannot write the cache file {} of {bytes} bytes: make room or do without", path.display())]
    Write { path: PathBuf, bytes: u64, source: io::Error },

    /// The system refused to read it.
    #[error("cannot read the cache file {}: allow it, or name another file for the cache", path.display())]
    Read { path: PathBuf, source: io::Error },

    /// A file where a cache file should be or come.
    #[error("{} is no cache file and is left as it is: name another file for the cache", path.display())]
    NotACache { path: PathBuf },

    /// Somebody cut the file short or wrote to it while a model lived in it.
    #[error("the cache file {} was changed by another program while it was in use: \
        open the model again, and let all of the file be verified", path.display())]
    Changed { path: PathBuf },

    /// A directory where a cache file should be or come.
    #[error("{} is a directory: name a file in it for the cache, as in {}",
        path.display(), path.join("model.cache").display())]
    IsDirectory { path: PathBuf },
}

impl CacheError {
    /// Whether it is a matter of permissions, so that the user can be served without the file.
    fn is_permission(&self) -> bool {
        let (Self::Write { source, .. } | Self::Read { source, .. }) = self else { return false };
        matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    }
}

/// The weights, and how they were come by.
pub(super) struct Opened {
    pub(super) image: PackedImage,
    /// Of the model, if it was looked for.
    pub(super) identity: Option<Identity>,
    /// Why the cache file was not used or not kept.
    pub(super) refused: Option<CacheError>,
}

/// Maps the cache file at `path`, which is made first where there is none of this model. Without
/// the permission to read or to write it, the image is made in memory. `verify` compares all of the
/// model and of the image.
///
/// # Errors
/// If there is a file that is no cache file, or a new one cannot be written for want of room.
pub(super) fn open_or_write(
    plan: &Plan<'_>,
    path: &Path,
    verify: bool,
    repacking: &mut Repacking<'_>,
) -> Result<Opened> {
    PartFile::remove_orphans(path);
    let opened = match Cache::open(path) {
        Ok(Some(cache)) => cache.image(plan, path, verify, repacking),
        Ok(None) => Ok(None),
        Err(e) => Err(e.into()),
    };
    let opened = match opened {
        Ok(Some(opened)) => return Ok(opened),
        Ok(None) => write(plan, path, repacking),
        Err(e) => Err(e),
    };
    match opened {
        Err(Error::Cache(refused)) if refused.is_permission() => {
            let image = plan.load(repacking)?;
            Ok(Opened { image, identity: None, refused: Some(refused) })
        }
        other => other,
    }
}

/// An open cache file, of whatever model.
struct Cache {
    file: File,
    /// Whether the header may be written.
    is_writable: bool,
    /// Before anything of it was read.
    state: State,
    header: [u8; HEADER_BYTES],
}

impl Cache {
    /// The cache file at `path`; none if there is no file, or one without a whole header.
    fn open(path: &Path) -> Result<Option<Self>, CacheError> {
        let failed = |source| CacheError::Read { path: path.to_owned(), source };
        // Its kind is checked first, because opening a pipe waits.
        match fs::metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
            Ok(found) if found.is_dir() => {
                return Err(CacheError::IsDirectory { path: path.to_owned() });
            }
            Ok(found) if !found.is_file() => {
                return Err(CacheError::NotACache { path: path.to_owned() });
            }
            Ok(_) => {}
        }
        let writable = File::options().read(true).write(true).open(path);
        let is_writable = writable.is_ok();
        let file = match writable.or_else(|_| File::open(path)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let state = state(&file).map_err(failed)?;
        let mut start = Vec::new();
        (&file).take(HEADER_BYTES as u64).read_to_end(&mut start).map_err(failed)?;
        if !start.is_empty() && !start.starts_with(NAME) {
            return Err(CacheError::NotACache { path: path.to_owned() });
        }
        let Ok(header) = start.try_into() else { return Ok(None) };
        Ok(Some(Self { file, is_writable, state, header }))
    }

    /// The image, if it is that of the model in `plan`.
    fn image(
        self,
        plan: &Plan<'_>,
        path: &Path,
        verify: bool,
        repacking: &mut Repacking<'_>,
    ) -> Result<Option<Opened>> {
        let found = Header::parse(&self.header);
        let Some(found) = found.filter(|found| found.is_about(plan)) else { return Ok(None) };
        let mapped = Mapped::new(&self.file, path, self.state)?;
        if mapped.bytes().len() != HEADER_BYTES + plan.bytes {
            return Ok(None);
        }
        let stamp = stamp(plan)?;
        let is_same = stamp.is_some() && stamp == found.stamp;
        if verify || !is_same {
            let now = Identity::read(plan.gguf, repacking.pool, repacking.progress)?;
            if now != found.identity {
                return Ok(None);
            }
        }
        let read = |at: usize, out: &mut [u8]| -> Result<()> {
            // Through the mapping: the bytes that the kernels will see.
            out.copy_from_slice(&mapped.bytes()[HEADER_BYTES + at..][..out.len()]);
            Ok(())
        };
        let is_whole = match verify {
            true => plan.hash_image(repacking.pool, read)? == found.image,
            false => true,
        };
        if !is_whole || !is_image(plan, &mapped.bytes()[HEADER_BYTES..], repacking.pool)? {
            return Ok(None);
        }
        let identity = Some(found.identity);
        if !is_same && self.is_writable {
            // Without it the next start compares everything again, and nothing else is lost.
            let _ = self.note(&Header { stamp, ..found });
        }
        if mapped.check().is_err() {
            return Ok(None); // somebody wrote to it meanwhile
        }
        let in_file = |part: Range<usize>| HEADER_BYTES + part.start..HEADER_BYTES + part.end;
        mapped.read_ahead(plan.in_order_of_use().map(in_file).collect());
        let image = PackedImage::File(mapped, HEADER_BYTES);
        Ok(Some(Opened { image, identity, refused: None }))
    }

    /// Writes another header, which is no change for those who have the image mapped.
    fn note(&self, header: &Header) -> io::Result<()> {
        write_at(&self.file, 0, &header.bytes())?;
        match self.state.1 {
            Some(time) => self.file.set_times(FileTimes::new().set_modified(time)),
            None => Ok(()),
        }
    }
}

/// What the header says.
struct Header {
    image_bytes: u64,
    heads: blake3::Hash,
    stamp: Option<blake3::Hash>,
    identity: Identity,
    image: blake3::Hash,
}

impl Header {
    fn new(plan: &Plan<'_>, stamp: Option<blake3::Hash>, repacked: &Repacked) -> Self {
        let Repacked { identity, image } = *repacked;
        let (image_bytes, heads) = (plan.bytes as u64, identity::heads(plan.gguf));
        Self { image_bytes, heads, stamp, identity, image }
    }

    /// The header in the first bytes of a file; none of another version, or a damaged one.
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (content, hash) = bytes.split_at(HEADER_BYTES - 32);
        let is_known = content.starts_with(MAGIC) && number(&content[40..]) == CONTAINER;
        if !is_known || hash != blake3::hash(content).as_bytes() {
            return None;
        }
        let hash = |at: usize| bytes_32(&content[at..]);
        Some(Self {
            image_bytes: number(&content[32..]),
            heads: hash(48).into(),
            stamp: Some(hash(80)).filter(|stamp| *stamp != [0; 32]).map(blake3::Hash::from_bytes),
            identity: Identity::from_bytes(hash(112)),
            image: hash(144).into(),
        })
    }

    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, MAGIC);
        put(32, &self.image_bytes.to_le_bytes());
        put(40, &CONTAINER.to_le_bytes());
        put(48, self.heads.as_bytes());
        put(80, &self.stamp.map_or([0; 32], blake3::Hash::into));
        put(112, self.identity.bytes());
        put(144, self.image.as_bytes());
        let hash = blake3::hash(&bytes[..HEADER_BYTES - 32]);
        bytes[HEADER_BYTES - 32..].copy_from_slice(hash.as_bytes());
        bytes
    }

    /// Whether the model may be the one in `plan`.
    fn is_about(&self, plan: &Plan<'_>) -> bool {
        self.image_bytes == plan.bytes as u64 && self.heads == identity::heads(plan.gguf)
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[i]))
}

fn bytes_32(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| bytes[i])
}

/// The hash of the stamp of the model's files, unless they were changed a moment ago.
fn stamp(plan: &Plan<'_>) -> Result<Option<blake3::Hash>> {
    let Some(source) = plan.gguf.source() else { return Ok(None) };
    let now = SystemTime::now();
    let stamp = source.stamp()?.filter(|stamp| is_settled(stamp.changed, now));
    Ok(stamp.map(|stamp| blake3::hash(&stamp.bytes)))
}

/// Whether another write would get another time than `changed`. By a clock that was set back nobody
/// knows, and the model is read whole.
fn is_settled(changed: SystemTime, now: SystemTime) -> bool {
    now.duration_since(changed).is_ok_and(|age| age > SETTLED)
}

/// Compares every unit of rows, or every so many of a large image, and the last of each matrix.
fn is_image(plan: &Plan<'_>, image: &[u8], pool: &ThreadPool) -> Result<bool> {
    let stride = plan.bytes.div_ceil(COMPARED_BYTES).max(1);
    let mut units = Vec::new();
    for part in &plan.parts {
        let count = part.units().count();
        let some = part.units().enumerate().filter(|(i, _)| i % stride == 0 || i + 1 == count);
        units.extend(some.map(|(_, rows)| (part, rows)));
    }
    let is_same = |(part, rows): (&super::image::PlannedMatrix<'_>, Range<usize>)| {
        let at = part.place(rows.start);
        let mut fresh = zeros("the cache file's rows", part.packed(rows.len()))?;
        part.pack(rows, &mut Vec::new(), &mut fresh)?;
        Ok(image[at..][..fresh.len()] == fresh)
    };
    let all: Result<Vec<bool>> = pool.install(|| units.into_par_iter().map(is_same).collect());
    Ok(all?.into_iter().all(|same| same))
}

/// Writes a cache file and maps what was written.
fn write(plan: &Plan<'_>, path: &Path, repacking: &mut Repacking<'_>) -> Result<Opened> {
    let bytes = (HEADER_BYTES + plan.bytes) as u64;
    let failed = |source: io::Error| {
        Error::Cache(CacheError::Write { path: path.to_owned(), bytes, source })
    };
    let before = stamp(plan)?;
    let part = PartFile::create(path).map_err(failed)?;
    let file = part.file();
    file.set_len(bytes).map_err(failed)?;
    let hashes = repack_to(file, plan, repacking, &failed)?;
    let repacked = plan.repacked(&hashes)?;
    // A model that was written meanwhile has no stamp that stands for what was read.
    let stamp = before.filter(|before| stamp(plan).is_ok_and(|now| now == Some(*before)));
    let header = Header::new(plan, stamp, &repacked);
    write_at(file, 0, &header.bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let mapped = Mapped::new(file, path, state(file).map_err(failed)?)?;
    let refused = match part.persist(path) {
        Ok(()) => None,
        Err(source) => {
            let refused = CacheError::Write { path: path.to_owned(), bytes, source };
            if !refused.is_permission() {
                return Err(refused.into());
            }
            // In a shared folder the place may be somebody else's. The mapping stays.
            Some(refused)
        }
    };
    let image = PackedImage::File(mapped, HEADER_BYTES);
    Ok(Opened { image, identity: Some(repacked.identity), refused })
}

/// Repacks all of the image into `file`. While a piece is repacked another thread writes the one
/// before.
fn repack_to(
    file: &File,
    plan: &Plan<'_>,
    repacking: &mut Repacking<'_>,
    failed: &dyn Fn(io::Error) -> Error,
) -> Result<Vec<Hashes>> {
    thread::scope(|scope| {
        let (to_writer, pieces) = mpsc::channel::<(usize, Vec<u8>)>();
        let (give_back, buffers) = mpsc::channel();
        for _ in 0..BUFFERS {
            let _ = give_back.send(Ok(Vec::new())); // to the other end, which is here
        }
        let writer = move || {
            for (at, piece) in pieces {
                let written = write_at(file, HEADER_BYTES + at, &piece);
                if give_back.send(written.map(|()| piece)).is_err() {
                    return; // whoever repacks has ended
                }
            }
        };
        thread::Builder::new()
            .name("carat-cache".into())
            .spawn_scoped(scope, writer)
            .map_err(failed)?;
        let writer_died = || io::Error::other("the thread that writes it has ended");
        let written = || buffers.recv().map_err(|_| writer_died()).flatten();
        let hashes = plan.repack(repacking, true, |at, len, pack| {
            let mut piece = written().map_err(failed)?;
            resize("the cache file's rows", &mut piece, len)?;
            pack(&mut piece)?;
            to_writer.send((at, piece)).map_err(|_| failed(writer_died()))
        })?;
        for _ in 0..BUFFERS {
            written().map_err(failed)?;
        }
        Ok(hashes)
    })
}

fn write_at(mut file: impl Write + Seek, at: usize, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(bytes)
}

/// What every version begins with.
const NAME: &[u8] = b"carat weights image, ";

/// A new version of the header needs a new number.
const MAGIC: &[u8; 32] = b"carat weights image, version 2\n\0";

/// The version of the kernels' eight-row container.
const CONTAINER: u64 = 1;

/// Pieces of the image: one is repacked while the other is written.
const BUFFERS: usize = 2;

/// A page, so that the image begins at one.
const HEADER_BYTES: usize = 4096;

/// About as much of an image is compared with the model.
const COMPARED_BYTES: usize = 128 << 20;

/// File systems note times in steps of up to two seconds (FAT).
const SETTLED: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_makes_no_stamp_trusted() {
        let (now, second) = (SystemTime::UNIX_EPOCH + 1000 * SETTLED, Duration::from_secs(1));
        assert!(is_settled(now - SETTLED - second, now));
        for changed in [now, now - second, now - SETTLED, now + second, now + 500 * SETTLED] {
            assert!(!is_settled(changed, now), "{changed:?}");
        }
        assert!(is_settled(SystemTime::UNIX_EPOCH, now), "a model of 1970 is settled");
        assert!(!is_settled(now, SystemTime::UNIX_EPOCH), "and not in 1970");
    }
}
