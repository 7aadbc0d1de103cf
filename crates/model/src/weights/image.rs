//! The image: the matrices of a file in the kernels' eight-row container, one after the other.
//!
//! It is made piece by piece, so that no more of the file is in memory than a piece, and lies either
//! in memory of its own or in a [cache file](super::cache).

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use carat_gguf::{Gguf, Mapping, Source};
use carat_kernels::{Format, pack, packed_bytes};
use rayon::ThreadPool;
use rayon::prelude::*;

use super::{find, format};
use crate::error::{Error, Result};
use crate::pages::Pages;

/// Where an image lies.
#[derive(Debug)]
pub(super) enum Image {
    Memory(Pages),
    /// From this offset of a file.
    File(Mapping, usize),
}

impl Image {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Memory(pages) => pages,
            Self::File(mapping, at) => &mapping.bytes()[*at..],
        }
    }
}

/// A matrix in the eight-row container.
#[derive(Debug)]
pub(crate) struct Matrix {
    format: Format,
    rows: usize,
    cols: usize,
    /// Offset in the image.
    at: usize,
    image: Arc<Image>,
}

impl Matrix {
    /// As the kernels take it.
    pub(crate) fn view(&self) -> carat_kernels::Weights<'_> {
        carat_kernels::Weights::new(self.format, self.rows, self.cols, self.bytes())
    }

    /// As it lies in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        let bytes = packed_bytes(self.format, self.rows, self.cols);
        &self.image.bytes()[self.at..][..bytes]
    }
}

/// The matrices of an image, and where each will lie.
pub(super) struct Plan<'a> {
    pub(super) parts: Vec<Part<'a>>,
    pub(super) bytes: usize,
}

/// A matrix of a [`Plan`].
pub(super) struct Part<'a> {
    name: &'a str,
    /// GGUF rows.
    data: &'a [u8],
    format: Format,
    rows: usize,
    cols: usize,
    /// Offset in the image.
    pub(super) at: usize,
}

impl<'a> Plan<'a> {
    /// A plan for tensors whose shapes [`check_shape`](super::check_shape) has seen.
    pub(super) fn new<S: AsRef<str>>(
        gguf: &'a Gguf<'a>,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut plan = Self { parts: Vec::new(), bytes: 0 };
        for name in names {
            let tensor = find(gguf, name.as_ref())?;
            let part = Part {
                name: tensor.name,
                data: tensor.data,
                format: format(tensor)?,
                rows: tensor.shape.rows() as usize,
                cols: tensor.shape.cols() as usize,
                at: plan.bytes,
            };
            plan.bytes += part.bytes().next_multiple_of(ALIGNMENT);
            plan.parts.push(part);
        }
        Ok(plan)
    }

    /// Makes the image in memory.
    pub(super) fn load(&self, repacking: &mut Repacking<'_>) -> Result<Image> {
        let mut pages = Pages::zeroed("weights", self.bytes)?;
        self.repack(repacking, |at, len, pack| {
            pack(&mut pages[at..at + len]);
            Ok(())
        })?;
        Ok(Image::Memory(pages))
    }

    /// Repacks everything, in order: `room(at, len, pack)` gives `pack` the memory where the `len`
    /// bytes at `at` of the image are to be made.
    pub(super) fn repack(
        &self,
        repacking: &mut Repacking<'_>,
        mut room: impl FnMut(usize, usize, &mut dyn FnMut(&mut [u8])) -> Result<()>,
    ) -> Result<()> {
        let pieces: Vec<_> = self.parts.iter().flat_map(Part::pieces).collect();
        let mut done = 0;
        let total = self.parts.iter().map(|part| part.data.len() as u64).sum();
        for (i, piece) in pieces.iter().enumerate() {
            if let Some(next) = pieces.get(i + 1) {
                repacking.source.will_need(next.data());
            }
            let at = piece.part.at + piece.part.packed(piece.rows.start);
            room(at, piece.part.packed(piece.rows.len()), &mut |out| {
                let width = piece.part.packed(UNIT_ROWS);
                let units = out.par_chunks_mut(width).enumerate();
                let pack = |(i, out): (usize, &mut [u8])| piece.part.pack(piece.unit(i), out);
                repacking.pool.install(|| units.for_each(pack));
            })?;
            repacking.source.release(piece.data());
            done += piece.data().len() as u64;
            if (repacking.progress)(done, total).is_break() {
                return Err(Error::Cancelled { done, total });
            }
        }
        Ok(())
    }

    /// The matrices of the finished image.
    pub(super) fn matrices(&self, image: Image) -> impl Iterator<Item = (&'a str, Matrix)> {
        let image = Arc::new(image);
        self.parts.iter().map(move |part| {
            let Part { name, format, rows, cols, at, .. } = *part;
            (name, Matrix { format, rows, cols, at, image: Arc::clone(&image) })
        })
    }
}

/// What repacking needs beside a plan.
pub(super) struct Repacking<'a> {
    pub(super) source: &'a Source,
    pub(super) pool: &'a ThreadPool,
    /// Hears of bytes read and of how many there are.
    pub(super) progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

/// Rows of a matrix that are repacked before the next progress.
struct Piece<'p, 'a> {
    part: &'p Part<'a>,
    rows: Range<usize>,
}

impl<'a> Piece<'_, 'a> {
    fn data(&self) -> &'a [u8] {
        self.part.data_of(self.rows.clone())
    }

    fn unit(&self, i: usize) -> Range<usize> {
        let start = self.rows.start + i * UNIT_ROWS;
        start..(start + UNIT_ROWS).min(self.rows.end)
    }
}

impl<'a> Part<'a> {
    /// Its length in the image.
    pub(super) fn bytes(&self) -> usize {
        self.packed(self.rows)
    }

    /// Length of so many rows in the image.
    fn packed(&self, rows: usize) -> usize {
        packed_bytes(self.format, rows, self.cols)
    }

    fn pieces(&self) -> impl Iterator<Item = Piece<'_, 'a>> {
        let row = self.format.row_bytes(self.cols);
        let step = (PIECE_BYTES / row).max(1).next_multiple_of(UNIT_ROWS);
        let starts = (0..self.rows).step_by(step);
        starts.map(move |start| Piece { part: self, rows: start..(start + step).min(self.rows) })
    }

    /// Ranges of rows that a thread repacks at a time.
    pub(super) fn units(&self) -> impl Iterator<Item = Range<usize>> {
        let rows = self.rows;
        (0..rows).step_by(UNIT_ROWS).map(move |start| start..(start + UNIT_ROWS).min(rows))
    }

    fn data_of(&self, rows: Range<usize>) -> &'a [u8] {
        let row = self.format.row_bytes(self.cols);
        &self.data[rows.start * row..rows.end * row]
    }

    fn pack(&self, rows: Range<usize>, out: &mut [u8]) {
        pack(self.format, self.cols, self.data_of(rows), out);
    }

    /// Whether the image of a unit of rows is what repacking them gives.
    pub(super) fn is_image_of(&self, rows: Range<usize>, image: &[u8]) -> bool {
        let at = self.at + self.packed(rows.start);
        let mut fresh = vec![0; self.packed(rows.len())];
        self.pack(rows, &mut fresh);
        image[at..][..fresh.len()] == fresh
    }
}

/// Matrices begin at cache lines.
const ALIGNMENT: usize = 64;

/// Bytes of the file between two calls of progress: what is in memory twice at most.
const PIECE_BYTES: usize = 16 << 20;

/// Rows that a thread repacks at a time; a multiple of the container's eight.
const UNIT_ROWS: usize = 64;
