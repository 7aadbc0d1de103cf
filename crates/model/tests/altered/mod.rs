//! tiny-s with one thing changed, and what comes of opening it.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::error::Error as _;
use std::path::PathBuf;

use carat::{Error, Model};
use carat_gguf::{Endian, Gguf, OwnedValue, Source, TensorType, Writer};

use crate::common::file;

/// One thing that is different from tiny-s.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Set(&'static str, OwnedValue),
    Drop(&'static str),
    DropTensor(&'static str),
    AddTensor(&'static str),
    Tensor(&'static str, TensorType, Vec<u64>),
}

pub(crate) fn set(key: &'static str, value: impl Into<OwnedValue>) -> Change {
    Change::Set(key, value.into())
}

/// tiny-s with a change, as the bytes of a file.
pub(crate) fn changed(change: &Change) -> Vec<u8> {
    let source = Source::open(&file("f32")).expect("tiny-s");
    changed_in(&source.parse().expect("tiny-s parses"), change)
}

/// Another model with a change, as the bytes of a file.
pub(crate) fn changed_in(gguf: &Gguf<'_>, change: &Change) -> Vec<u8> {
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = match change {
            Change::Drop(name) if *name == key => writer,
            Change::Set(name, value) if *name == key => writer.metadata(key, value.clone()),
            _ => writer.metadata(key, *value),
        };
    }
    if let Change::Set(key, value) = change
        && !gguf.metadata().contains_key(key)
    {
        writer = writer.metadata(*key, value.clone());
    }
    for tensor in gguf.tensors() {
        writer = match change {
            Change::DropTensor(name) if *name == tensor.name => writer,
            Change::Tensor(name, kind, dims) if *name == tensor.name => {
                writer.tensor(*name, *kind, dims, zeros(*kind, dims))
            }
            _ => writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, tensor.data),
        };
    }
    if let Change::AddTensor(name) = change {
        writer = writer.tensor(*name, TensorType::F32, &[1], vec![0; 4]);
    }
    writer.to_bytes().expect("a file")
}

pub(crate) fn zeros(kind: TensorType, dims: &[u64]) -> Vec<u8> {
    let bytes = kind.bytes_of(dims.iter().product()).expect("whole blocks");
    vec![0; usize::try_from(bytes).expect("a small tensor")]
}

/// Opens bytes as a file would be.
pub(crate) fn open(bytes: &[u8]) -> Result<Model, Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let path: PathBuf = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a file");
    Model::open(path)
}

pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
