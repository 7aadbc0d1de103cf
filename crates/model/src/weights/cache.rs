//! The cache file: an image on disk, which the next start maps instead of making it again.
//!
//! ```text
//! 0       32 bytes   MAGIC, name and version of the format
//! 32      u64        length of the image, little-endian
//! 40      zeros
//! 4096    the image
//! ```
//!
//! Nothing in it says of which model it is. That is found by repacking rows of every matrix of the
//! model and comparing: all of them in a small model, so many in a large one that it takes a
//! fraction of a second. So a file of another model, another version of the container or a damaged
//! disk is not taken for the image, and is replaced. The file is written under another name and
//! gets its own when it is complete.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use carat_gguf::Mapping;
use rayon::ThreadPool;
use rayon::prelude::*;
use tempfile::{Builder, NamedTempFile};

use super::image::{Image, Plan, Repacking};
use crate::error::{Error, Result};

/// Maps the cache file at `path`, which is made first where there is none of this model.
///
/// # Errors
/// If there is a file that is no cache file, or a new one cannot be written.
pub(super) fn open_or_write(
    plan: &Plan<'_>,
    path: &Path,
    repacking: &mut Repacking<'_>,
) -> Result<Image> {
    if let Some(image) = open(plan, path, repacking.pool)? {
        return Ok(image);
    }
    write(plan, path, repacking)?;
    Ok(Image::File(Mapping::open(path)?, HEADER_BYTES))
}

/// The image in the file at `path`; none if there is no file, or one of another model.
fn open(plan: &Plan<'_>, path: &Path, pool: &ThreadPool) -> Result<Option<Image>> {
    if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
        return Ok(None);
    }
    let mapping = match Mapping::open(path) {
        Err(carat_gguf::Error::NotFound { .. }) => return Ok(None),
        other => other?,
    };
    let bytes = mapping.bytes();
    if !bytes.starts_with(NAME) {
        return Err(Error::NotACache { path: path.to_owned() });
    }
    let fits = bytes.len() == HEADER_BYTES + plan.bytes
        && bytes[..HEADER_BYTES] == header(plan)
        && is_image(plan, &bytes[HEADER_BYTES..], pool);
    Ok(fits.then_some(Image::File(mapping, HEADER_BYTES)))
}

fn header(plan: &Plan<'_>) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..][..8].copy_from_slice(&(plan.bytes as u64).to_le_bytes());
    header
}

/// Compares every unit of rows, or every so many of a large image, and the last of each matrix.
fn is_image(plan: &Plan<'_>, image: &[u8], pool: &ThreadPool) -> bool {
    let stride = plan.bytes.div_ceil(COMPARED_BYTES).max(1);
    let mut units = Vec::new();
    for part in &plan.parts {
        let count = part.units().count();
        let some = part.units().enumerate().filter(|(i, _)| i % stride == 0 || i + 1 == count);
        units.extend(some.map(|(_, rows)| (part, rows)));
    }
    pool.install(|| units.into_par_iter().all(|(part, rows)| part.is_image_of(rows, image)))
}

fn write(plan: &Plan<'_>, path: &Path, repacking: &mut Repacking<'_>) -> Result<()> {
    let bytes = (HEADER_BYTES + plan.bytes) as u64;
    let failed = |source: io::Error| Error::Cache { path: path.to_owned(), bytes, source };
    let mut temporary = temporary(path).map_err(failed)?;
    let file = temporary.as_file_mut();
    file.write_all(&header(plan)).map_err(failed)?;
    file.set_len(bytes).map_err(failed)?;
    let mut buffer = Vec::new();
    plan.repack(repacking, |at, len, pack| {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let piece = &mut buffer[..len];
        pack(piece);
        write_at(file, HEADER_BYTES + at, piece).map_err(failed)
    })?;
    file.sync_all().map_err(failed)?;
    temporary.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn write_at(file: &mut File, at: usize, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(bytes)
}

/// A file beside `path` that vanishes unless it is finished.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Builder::new().prefix(&format!("{name}.")).suffix(".part").tempfile_in(folder)
}

/// What every version begins with.
const NAME: &[u8] = b"carat weights image, ";

/// A new version of the header needs a new number; one of the container shows in the comparison.
const MAGIC: &[u8; 32] = b"carat weights image, version 1\n\0";

/// A page, so that the image begins at one.
const HEADER_BYTES: usize = 4096;

/// About as much of an image is compared with the model.
const COMPARED_BYTES: usize = 128 << 20;
