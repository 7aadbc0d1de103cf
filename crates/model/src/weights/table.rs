//! A matrix that is never in memory: the per-layer embeddings, of which a pass needs one row for
//! each of its tokens.
//!
//! In E2B and E4B it is half of the file. It stays there as it is, row after row, also where the
//! other weights come from a cache file, and rows are read through a handle of the file that was
//! opened with the model. That handle still reads the right bytes after the file was renamed,
//! deleted or replaced by another one. If somebody writes to the file itself, its length or its
//! time says so, and passes end with an error from then on.

use std::path::PathBuf;

use carat_gguf::{Gguf, Tensor, TensorFile};
use carat_kernels::{Format, dequantize};

use crate::error::Result;
use crate::identity::IdentityError;

/// The rows of a matrix where they lie, `[rows, cols]`.
#[derive(Debug)]
pub(crate) struct Table {
    format: Format,
    cols: usize,
    rows: Rows,
}

enum Rows {
    File(TensorFile),
    Memory(&'static [u8]),
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file) => write!(f, "{} bytes of {:?}", file.bytes(), file.path()),
            Self::Memory(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

impl Table {
    /// The table that `tensor` is, whose shape has been compared; `memory` has the bytes of a model
    /// that was not opened from a file.
    pub(super) fn new(
        gguf: &Gguf<'_>,
        tensor: &Tensor<'_>,
        format: Format,
        memory: Option<&'static [u8]>,
    ) -> Result<Self> {
        let rows = match gguf.tensor_file(tensor)? {
            Some(file) => Rows::File(file),
            None => {
                let bytes = memory.and_then(|memory| memory.get(tensor.at as usize..));
                let bytes = bytes.and_then(|bytes| bytes.get(..tensor.data.len()));
                Rows::Memory(bytes.expect("a model without a file is in memory"))
            }
        };
        Ok(Self { format, cols: tensor.shape.cols() as usize, rows })
    }

    /// The length of the whole table in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.rows {
            Rows::File(file) => file.bytes(),
            Rows::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Whether rows are those of the model that was opened; asked before and after a pass reads
    /// some.
    ///
    /// # Errors
    /// If the file was changed, or the file system does not answer.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.rows {
            Rows::File(file) if !file.is_unchanged()? => {
                let path: PathBuf = file.path().to_owned();
                Err(IdentityError::Changed { path }.into())
            }
            _ => Ok(()),
        }
    }

    /// Lets the system read a row in advance.
    pub(crate) fn will_need(&self, row: usize) {
        if let Rows::File(file) = &self.rows {
            let bytes = self.format.row_bytes(self.cols);
            file.will_need((row * bytes) as u64, bytes);
        }
    }

    /// Reads a row and calls `each` with its values, some at a time and in order, and the number of
    /// those before.
    ///
    /// # Errors
    /// If the file was cut short, or cannot be read.
    pub(crate) fn row(&self, row: usize, mut each: impl FnMut(usize, &mut [f32])) -> Result<()> {
        let (mut values, mut read) = ([0.0; PIECE], [0; PIECE_BYTES]);
        let start = row * self.format.row_bytes(self.cols);
        for first in (0..self.cols).step_by(PIECE) {
            let values = &mut values[..PIECE.min(self.cols - first)];
            let at = start + self.format.row_bytes(first);
            let len = self.format.row_bytes(values.len());
            let bytes = match &self.rows {
                Rows::Memory(bytes) => &bytes[at..at + len],
                Rows::File(file) => {
                    file.read(at as u64, &mut read[..len])?;
                    &read[..len]
                }
            };
            dequantize(self.format, bytes, values);
            each(first, values);
        }
        Ok(())
    }
}

/// Values that are read at a time, on the stack: whole blocks of every format.
const PIECE: usize = 4096;

/// As many in F32, the longest format.
const PIECE_BYTES: usize = PIECE * size_of::<f32>();
