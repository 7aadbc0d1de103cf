//! Models in several files: how the parts are named, and how they become one.
//!
//! Part `n` of `m` is called `name-0000n-of-0000m.gguf`, counted from 1, and its metadata says
//! `split.no` (counted from 0) and `split.count`. The first part has the metadata of the model;
//! every part has its own tensors and its own data section.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::header::{Bytes, File};
use crate::{Error, Gguf, Metadata, Result};

/// Parses the parts in order and joins them. The number beside an error is its part, from 0.
pub(crate) fn parse_parts<'a>(parts: &[Bytes<'a>]) -> Result<Gguf<'a>, (usize, Error)> {
    let mut whole: Option<Gguf<'a>> = None;
    let mut index = HashMap::new();
    for (part, bytes) in parts.iter().enumerate() {
        let wrong = |e| (part, e);
        let file = File::parse(*bytes, part, &mut index).map_err(wrong)?;
        check_split_keys(&file.metadata, part, parts.len()).map_err(wrong)?;
        let File { head, version, endian, alignment, metadata, tensors } = file;
        match &mut whole {
            Some(gguf) if gguf.endian != endian => {
                return Err(wrong(Error::MixedEndian { found: endian, wanted: gguf.endian }));
            }
            Some(gguf) => {
                gguf.tensors.extend(tensors);
                gguf.heads.push(head);
            }
            None => {
                whole = Some(Gguf {
                    version,
                    endian,
                    alignment,
                    metadata,
                    tensors,
                    index: HashMap::new(),
                    parts: parts.len(),
                    heads: vec![head],
                    source: None,
                });
            }
        }
    }
    let mut gguf = whole.ok_or((0, Error::NoParts))?;
    gguf.index = index;
    check_tensor_count(&gguf).map_err(|e| (0, e))?;
    Ok(gguf)
}

/// A file on its own needs no split keys; if it has them, they must say that it is whole.
fn check_split_keys(m: &Metadata<'_>, part: usize, parts: usize) -> Result<()> {
    let (count, no) = match parts {
        1 => (m.opt_uint(SPLIT_COUNT)?.unwrap_or(1), m.opt_uint(SPLIT_NO)?.unwrap_or(0)),
        _ => (m.uint(SPLIT_COUNT)?, m.uint(SPLIT_NO)?),
    };
    // `split.count` of 0 marks a file that was never split.
    if count.max(1) != parts as u64 {
        return Err(Error::WrongPartCount { found: count, wanted: parts as u64 });
    }
    if no != part as u64 {
        return Err(Error::WrongPart { found: no, wanted: part as u64 });
    }
    Ok(())
}

fn check_tensor_count(gguf: &Gguf<'_>) -> Result<()> {
    let found = gguf.tensors.len() as u64;
    match gguf.metadata.opt_uint(SPLIT_TENSORS_COUNT)? {
        Some(wanted) if gguf.parts > 1 && wanted != found => {
            Err(Error::WrongSplitTensorCount { found, wanted })
        }
        _ => Ok(()),
    }
}

/// The name of a file that is part of a split model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SplitName {
    /// The path up to the numbers.
    prefix: PathBuf,
    /// `.gguf` as this file has it: some systems write it in capitals.
    extension: String,
    /// From 1.
    pub part: u32,
    pub parts: u32,
}

impl SplitName {
    /// `None` for names of another form: they are whole files.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (stem, extension) = name.split_at_checked(name.len().checked_sub(".gguf".len())?)?;
        if !extension.eq_ignore_ascii_case(".gguf") {
            return None;
        }
        let (rest, parts) = stem.rsplit_once("-of-")?;
        let (prefix, part) = rest.rsplit_once('-')?;
        let number = |digits: &str| -> Option<u32> {
            let plain = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
            if plain { digits.parse().ok() } else { None }
        };
        let (part, parts) = (number(part)?, number(parts)?);
        (1..=parts).contains(&part).then(|| Self {
            prefix: path.with_file_name(prefix),
            extension: extension.to_owned(),
            part,
            parts,
        })
    }

    /// The path of part `part`, counted from 1.
    pub(crate) fn path_of(&self, part: u32) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(format!("-{part:05}-of-{:05}{}", self.parts, self.extension));
        path.into()
    }
}

pub(crate) const SPLIT_NO: &str = "split.no";
pub(crate) const SPLIT_COUNT: &str = "split.count";
pub(crate) const SPLIT_TENSORS_COUNT: &str = "split.tensors.count";
