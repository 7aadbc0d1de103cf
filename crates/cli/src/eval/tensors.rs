//! Safetensors files of what `carat eval` computes, written row by row.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use carat::TokenId;
use carat_gguf::PartFile;
use serde_json::json;

/// The beginning of a safetensors file: its length in 8 bytes, then JSON, filled up with spaces so
/// that the floats are aligned.
///
/// A tensor is its name, type and shape; those without rows are left out.
pub(super) fn header(tensors: &[(&str, &str, &[usize])]) -> Result<Vec<u8>> {
    let mut map = serde_json::Map::new();
    let mut begin = 0usize;
    for &(name, dtype, shape) in tensors.iter().filter(|(.., shape)| shape.first() != Some(&0)) {
        let bytes = shape.iter().try_fold(VALUE_BYTES, |n, size| n.checked_mul(*size));
        let end = bytes.and_then(|n| n.checked_add(begin));
        let end = end.context("the tensors are larger than any file")?;
        let offsets = [begin, end];
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        map.insert(name.to_owned(), entry);
        begin = end;
    }
    let mut text = serde_json::Value::Object(map).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(ALIGNMENT) - text.len()));
    Ok([&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat())
}

/// A file that appears under its name when it is complete, and not at all before.
pub(super) struct Output {
    file: BufWriter<File>,
    /// The file and the name it gets; `None` for a device or pipe, which is written in place.
    part: Option<(PartFile, PathBuf)>,
}

impl Output {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let (file, part) = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => (File::create(path)?, None),
            _ => {
                let part = PartFile::create(path)?;
                (part.file().try_clone()?, Some((part, path.to_owned())))
            }
        };
        Ok(Self { file: BufWriter::new(file), part })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    pub(super) fn write_floats(&mut self, values: &[f32]) -> io::Result<()> {
        values.iter().try_for_each(|x| self.write(&x.to_le_bytes()))
    }

    pub(super) fn write_ids(&mut self, ids: &[TokenId]) -> io::Result<()> {
        ids.iter().try_for_each(|id| self.write(&id.cast_signed().to_le_bytes()))
    }

    pub(super) fn keep(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.part.map_or(Ok(()), |(part, path)| part.persist(&path))
    }
}

/// The types of values.
pub(super) const F32: &str = "F32";
pub(super) const I32: &str = "I32";

/// Bytes of a value of either type.
const VALUE_BYTES: usize = 4;

/// What the safetensors crate fills its header up to.
const ALIGNMENT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_safetensors_reads() {
        let mut file =
            header(&[("logits", F32, &[2, 3]), ("none", F32, &[0, 7]), ("ids", I32, &[2])])
                .unwrap();
        assert!((file.len() - 8).is_multiple_of(ALIGNMENT));
        let values = [0.0f32, 1.5, -2.0, 3.0, f32::MAX, f32::MIN_POSITIVE];
        values.iter().for_each(|x| file.extend(x.to_le_bytes()));
        [7i32, 8].iter().for_each(|id| file.extend(id.to_le_bytes()));
        let read = safetensors::SafeTensors::deserialize(&file).unwrap();
        let logits = read.tensor("logits").unwrap();
        assert_eq!((logits.shape(), logits.dtype()), (&[2, 3][..], safetensors::Dtype::F32));
        assert_eq!(logits.data(), bytes_of(&values));
        let ids = read.tensor("ids").unwrap();
        assert_eq!((ids.shape(), ids.dtype()), (&[2][..], safetensors::Dtype::I32));
        assert_eq!(ids.data(), [7, 0, 0, 0, 8, 0, 0, 0]);
    }

    #[test]
    fn sizes_beyond_any_file_are_an_error() {
        assert!(header(&[("logits", F32, &[usize::MAX / 2, 262_144])]).is_err());
    }

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let names = || fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
        let mut left = Output::create(&path).unwrap();
        left.write(b"half").unwrap();
        assert_eq!((names().count(), path.exists()), (1, false));
        drop(left);
        assert_eq!(names().count(), 0);
        let mut kept = Output::create(&path).unwrap();
        kept.write(b"whole").unwrap();
        kept.keep().unwrap();
        assert!(names().eq(["out"]) && fs::read(&path).unwrap() == b"whole");
    }

    #[test]
    #[cfg(unix)]
    fn a_device_is_written_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let mut output = Output::create(Path::new("/dev/null")).unwrap();
        output.write(b"nothing").unwrap();
        output.keep().unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    fn bytes_of(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }
}
