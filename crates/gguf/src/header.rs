//! The head of one file: magic, version, byte order, metadata, tensors.

use std::collections::HashMap;

use crate::metadata::ENTRY_BYTES_MIN;
use crate::reader::{Field, Reader};
use crate::tensor::{INFO_BYTES_MIN, Section, TensorInfo, check_overlap};
use crate::{Endian, Error, Metadata, Result, Tensor, Value, limits};

/// The bytes of a file.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a> {
    /// Its beginning, which is read. If the header is longer, the error is [`Error::Truncated`]
    /// with a `need` that is no more than what the file has left.
    pub head: &'a [u8],
    /// All of it, which is cut into the data of tensors and not read.
    pub all: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// A file in memory.
    pub(crate) fn of(all: &'a [u8]) -> Self {
        Self { head: all, all }
    }
}

/// One file, parsed: a whole model or a part of one.
pub(crate) struct File<'a> {
    /// From the magic to the last description of a tensor.
    pub head: &'a [u8],
    pub version: u32,
    pub endian: Endian,
    pub alignment: u64,
    pub metadata: Metadata<'a>,
    pub tensors: Vec<Tensor<'a>>,
}

impl<'a> File<'a> {
    /// Parses part `part` (0 for an ordinary file). `index` has the names of the tensors of all
    /// earlier parts, with their positions, and gets those of this one.
    pub(crate) fn parse(
        bytes: Bytes<'a>,
        part: usize,
        index: &mut HashMap<&'a str, usize>,
    ) -> Result<Self> {
        let mut r = Reader::new_of(bytes.head, bytes.all.len());
        let version = read_version(&mut r)?;
        let tensors_field = Field("tensor count", "");
        let entries_field = Field("metadata count", "");
        let tensors_at = r.at();
        let tensor_count = r.count(tensors_field, INFO_BYTES_MIN, limits::TENSORS)?;
        let most = limits::METADATA_ENTRIES;
        let entry_count = r.count(entries_field, ENTRY_BYTES_MIN, most)?;
        let metadata = Metadata::read(&mut r, entry_count)?;
        let alignment = read_alignment(&metadata)?;

        r.check_count(tensors_field, tensors_at, tensor_count, INFO_BYTES_MIN)?;
        let mut infos = Vec::new();
        for _ in 0..tensor_count {
            let info = TensorInfo::read(&mut r, alignment)?;
            if index.insert(info.name, index.len()).is_some() {
                return Err(Error::DuplicateTensor { tensor: info.name.to_owned(), at: info.at });
            }
            r.check_header()?;
            infos.push(info);
        }
        // A file without tensors may end here. Lengths of slices stay below 2^63: no overflow.
        let data_at = r.at().next_multiple_of(alignment);
        let data = usize::try_from(data_at).ok().and_then(|at| bytes.all.get(at..));
        let need = infos.iter().map(TensorInfo::end).max().unwrap_or(0).saturating_add(data_at);
        let file = bytes.all.len() as u64;
        let section = Section { data: data.unwrap_or_default(), at: data_at, file, need };
        let tensors = infos
            .into_iter()
            .map(|info| info.locate(&section, part))
            .collect::<Result<Vec<_>>>()?;
        check_overlap(&tensors)?;
        let head = r.since(0);
        Ok(Self { head, version, endian: r.endian, alignment, metadata, tensors })
    }
}

/// Reads magic and version, and finds the byte order: a version is small, so of its four bytes the
/// first or the last is not zero.
fn read_version(r: &mut Reader<'_>) -> Result<u32> {
    let head = r.clone().take(r.left().min(MAGIC_BYTES_SEEN as u64), Field("magic", ""))?;
    if !head.starts_with(MAGIC) && !MAGIC.starts_with(head) {
        let found = head[..head.len().min(4)].escape_ascii().to_string();
        return Err(Error::BadMagic { found: format!("\"{found}\""), hint: guess(head) });
    }
    r.take(4, Field("magic", ""))?;
    let little = r.u32(Field("version", ""))?;
    let big = little.swap_bytes();
    let version = little.min(big);
    r.endian = if little <= big { Endian::Little } else { Endian::Big };
    match version {
        2 | 3 => Ok(version),
        1 => Err(Error::UnsupportedVersion { found: 1, hint: "convert the model again" }),
        0 => Err(Error::UnsupportedVersion { found: 0, hint: "the file is damaged" }),
        found => {
            Err(Error::UnsupportedVersion { found, hint: "the file is newer than this program" })
        }
    }
}

fn read_alignment(metadata: &Metadata<'_>) -> Result<u64> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else { return Ok(ALIGNMENT_DEFAULT) };
    let &Value::U32(found) = value else {
        let (key, found) = (ALIGNMENT_KEY.to_owned(), value.to_string());
        return Err(Error::WrongType { key, wanted: "a u32", found });
    };
    let found = u64::from(found);
    if !alignment_is_valid(found) {
        return Err(Error::BadAlignment { found });
    }
    Ok(found)
}

/// The specification wants a multiple of 8, ggml a power of two; both are read.
pub(crate) fn alignment_is_valid(alignment: u64) -> bool {
    alignment > 0 && (alignment.is_power_of_two() || alignment.is_multiple_of(8))
}

/// What a file that is not GGUF may be, and what to do about it.
fn guess(head: &[u8]) -> &'static str {
    let text = head.trim_ascii_start();
    let starts = |magic: &[u8]| head.starts_with(magic);
    // ggml wrote its old magics as little-endian numbers, so in the file they read backwards.
    if [b"lmgg", b"fmgg", b"tjgg", b"algg", b"ggml", b"ggmf", b"ggjt", b"GGML", b"GGMF", b"GGJT"]
        .iter()
        .any(|magic| starts(*magic))
    {
        "it is in a GGML format from before GGUF (GGML, GGMF, GGJT), convert the model again"
    } else if starts(b"FUGG") {
        "the magic is reversed, the program that wrote the file is wrong"
    } else if starts(b"PK\x03\x04") {
        "it is a ZIP archive, perhaps a PyTorch checkpoint: unpack or convert it to GGUF"
    } else if head.get(8) == Some(&b'{') && head[..8].ends_with(&[0, 0, 0]) {
        "it is a safetensors file, convert it to GGUF"
    } else if starts(b"version https://git-lfs") {
        "it is a Git LFS pointer, fetch the file it stands for"
    } else if starts(b"\x1f\x8b") || starts(b"\x28\xb5\x2f\xfd") || starts(b"\xfd7zXZ") {
        "it is compressed, unpack it"
    } else if text.get(..5).is_some_and(|t| {
        [b"<!DOC", b"<html", b"<?xml"].iter().any(|tag| t.eq_ignore_ascii_case(*tag))
    }) {
        "it is a web page, the download went wrong"
    } else if head.iter().all(|b| *b == 0) {
        "it starts with zeros, the download is not complete"
    } else if is_text(head) {
        "it is a text file, a model in GGUF format is wanted"
    } else {
        "a model in GGUF format is wanted"
    }
}

/// Whether this is UTF-8 without NUL; the last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let utf8 = std::str::from_utf8(head).map_or_else(|e| e.error_len().is_none(), |_| true);
    utf8 && !head.contains(&0)
}

/// The first bytes of every file, in both byte orders.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";

/// As much of the beginning is looked at to say what a file is that is not GGUF.
pub(crate) const MAGIC_BYTES_SEEN: usize = 64;

/// The key that overrides [`ALIGNMENT_DEFAULT`].
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// The alignment of data in bytes (GGUF specification, `general.alignment`).
pub(crate) const ALIGNMENT_DEFAULT: u64 = 32;
