//! The image: the matrices of a file in the kernels' eight-row container, one after the other.
//!
//! It is made piece by piece, so that no more of the file is in memory than each thread works on,
//! and lies either in memory of its own or in a [cache file](super::cache). For a cache file all
//! bytes are hashed while they pass by.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use carat_gguf::{Gguf, Tensor};
use carat_kernels::{Format, GROUP_ROWS, pack, packed_bytes};
use rayon::ThreadPool;
use rayon::prelude::*;

use super::mapped::Mapped;
use super::{find, format, stacked};
use crate::error::{Error, Result};
use crate::identity::{self, Identity};
use crate::pages::{Pages, resize};

/// The memory of an image.
#[derive(Debug)]
pub(super) enum PackedImage {
    Memory(Pages),
    /// A mapped file, in which the image begins at this offset.
    File(Mapped, usize),
}

impl PackedImage {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Memory(pages) => pages,
            Self::File(mapped, at) => &mapped.bytes()[*at..],
        }
    }
}

/// A matrix in the eight-row container, or several of the same shape, one after the other.
#[derive(Debug)]
pub(crate) struct Matrix {
    format: Format,
    /// Of one of them, like `cols`.
    rows: usize,
    cols: usize,
    count: usize,
    /// The offset in the image.
    at: usize,
    image: Arc<PackedImage>,
}

impl Matrix {
    /// The matrix as the kernels take it, the first where there are several.
    pub(crate) fn view(&self) -> carat_kernels::Weights<'_> {
        self.nth(0)
    }

    /// One of several matrices.
    pub(crate) fn nth(&self, i: usize) -> carat_kernels::Weights<'_> {
        carat_kernels::Weights::new(self.format, self.rows, self.cols, self.nth_bytes(i))
    }

    /// Whether the image that the matrix is in is the one that was opened.
    ///
    /// # Errors
    /// If it lies in a file that was changed since, or the file system does not answer.
    pub(super) fn check(&self) -> Result<()> {
        match &*self.image {
            PackedImage::Memory(_) => Ok(()),
            PackedImage::File(mapped, _) => Ok(mapped.check()?),
        }
    }

    /// The bytes of one of several matrices.
    pub(crate) fn nth_bytes(&self, i: usize) -> &[u8] {
        let bytes = packed_bytes(self.format, self.rows, self.cols);
        &self.bytes()[i * bytes..][..bytes]
    }

    /// Whether it lies in a mapped file.
    pub(super) fn is_mapped(&self) -> bool {
        matches!(&*self.image, PackedImage::File(..))
    }

    /// Lets the system read one of several matrices in advance, if it lies in a mapped file.
    pub(super) fn will_need(&self, i: usize) {
        if let PackedImage::File(mapped, start) = &*self.image {
            let bytes = packed_bytes(self.format, self.rows, self.cols);
            mapped.will_need(start + self.at + i * bytes, bytes);
        }
    }

    /// The bytes of all of it in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        let bytes = self.count * packed_bytes(self.format, self.rows, self.cols);
        &self.image.bytes()[self.at..][..bytes]
    }
}

/// Loads the matrix called `name` with its rows in another order: row `i` is `order[i]` of the
/// file, whose shape [`check_shape`](super::check_shape) has compared. `order` names each row once.
pub(crate) fn reordered(
    gguf: &Gguf<'_>,
    name: &str,
    order: &[u32],
    pool: &ThreadPool,
) -> Result<Matrix> {
    let tensor = find(gguf, name)?;
    let (format, cols) = (format(tensor)?, tensor.shape.cols() as usize);
    let mut pages = Pages::zeroed("weights", packed_bytes(format, order.len(), cols))?;
    let row = format.row_bytes(cols);
    let units = pages.par_chunks_mut(packed_bytes(format, UNIT_ROWS, cols));
    let units = units.zip(order.par_chunks(UNIT_ROWS));
    let gather = |buffer: &mut Vec<u8>, (out, ids): (&mut [u8], &[u32])| {
        resize("weights", buffer, ids.len() * row)?;
        for (id, bytes) in ids.iter().zip(buffer.chunks_exact_mut(row)) {
            gguf.read(tensor, *id as usize * row, bytes)?;
        }
        pack(format, cols, buffer, out);
        Ok(())
    };
    pool.install(|| units.map_init(Vec::new, gather).collect::<Result<()>>())?;
    let image = Arc::new(PackedImage::Memory(pages));
    Ok(Matrix { format, rows: order.len(), cols, count: 1, at: 0, image })
}

/// The matrix of these values, in rows of `cols`.
pub(crate) fn of_values(values: &[f32], cols: usize) -> Result<Matrix> {
    let (format, rows) = (Format::F32, values.len() / cols);
    let mut pages = Pages::zeroed("weights", packed_bytes(format, rows, cols))?;
    pack(format, cols, bytemuck::cast_slice(values), &mut pages);
    let image = Arc::new(PackedImage::Memory(pages));
    Ok(Matrix { format, rows, cols, count: 1, at: 0, image })
}

/// The matrices of an image, and the place of each.
pub(super) struct Plan<'a> {
    pub(super) gguf: &'a Gguf<'a>,
    pub(super) parts: Vec<PlannedMatrix<'a>>,
    pub(super) bytes: usize,
}

/// A matrix of a [`Plan`].
pub(super) struct PlannedMatrix<'a> {
    gguf: &'a Gguf<'a>,
    /// The tensor's rows as GGUF stores them.
    tensor: &'a Tensor<'a>,
    format: Format,
    /// Of all matrices in the tensor.
    rows: usize,
    cols: usize,
    /// How many matrices the tensor holds, one after the other.
    count: usize,
    /// The offset in the image.
    pub(super) at: usize,
}

/// The hashes of each unit of rows: of the file, and of the image.
pub(super) type Hashes = (Vec<blake3::Hash>, Vec<blake3::Hash>);

impl<'a> Plan<'a> {
    /// A plan for tensors whose shapes [`check_shape`](super::check_shape) has seen.
    pub(super) fn new<S: AsRef<str>>(
        gguf: &'a Gguf<'a>,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut plan = Self { gguf, parts: Vec::new(), bytes: 0 };
        for name in names {
            let tensor = find(gguf, name.as_ref())?;
            let part = PlannedMatrix {
                gguf,
                tensor,
                format: format(tensor)?,
                rows: tensor.shape.rows() as usize,
                cols: tensor.shape.cols() as usize,
                count: stacked(tensor),
                at: plan.bytes,
            };
            plan.bytes += part.bytes().next_multiple_of(ALIGNMENT);
            plan.parts.push(part);
        }
        Ok(plan)
    }

    /// Repacks all matrices into memory.
    pub(super) fn load(&self, repacking: &mut Repacking<'_>) -> Result<PackedImage> {
        let mut pages = Pages::zeroed("weights", self.bytes)?;
        self.repack(repacking, false, |at, len, pack| pack(&mut pages[at..at + len]))?;
        Ok(PackedImage::Memory(pages))
    }

    /// Repacks everything, in order: `room(at, len, pack)` gives `pack` the memory where the `len`
    /// bytes at `at` of the image are to be made. With `hashes` all bytes are hashed on the way.
    pub(super) fn repack(
        &self,
        repacking: &mut Repacking<'_>,
        hashes: bool,
        mut room: impl FnMut(usize, usize, &mut dyn FnMut(&mut [u8]) -> Result<()>) -> Result<()>,
    ) -> Result<Vec<Hashes>> {
        let pieces: Vec<_> = self.parts.iter().flat_map(PlannedMatrix::pieces).collect();
        let total = self.parts.iter().map(|part| part.tensor.data.len() as u64).sum();
        let mut found: Vec<Hashes> = self.parts.iter().map(|_| Hashes::default()).collect();
        let (mut done, mut part) = (0, 0);
        for (i, piece) in pieces.iter().enumerate() {
            if let Some(next) = pieces.get(i + 1) {
                next.will_need();
            }
            while self.parts[part].at != piece.part.at {
                part += 1;
            }
            let at = piece.part.place(piece.rows.start);
            room(at, piece.part.packed(piece.rows.len()), &mut |out| {
                let packed = repacking.pool.install(|| piece.pack(out, hashes))?;
                for (of_file, of_image) in packed.into_iter().flatten() {
                    found[part].0.push(of_file);
                    found[part].1.push(of_image);
                }
                Ok(())
            })?;
            done += piece.bytes().len() as u64;
            if (repacking.progress)(done, total).is_break() {
                return Err(Error::Cancelled { done, total });
            }
        }
        Ok(found)
    }

    /// Puts the hashes together, with those of the tensors that are no part of the image.
    pub(super) fn repacked(&self, hashes: &[Hashes]) -> Result<Repacked> {
        // Units that are not the identity's have other hashes: the tensor is read again.
        let parts = self.parts.iter().zip(hashes).filter(|(part, _)| part.is_seamless());
        let known: HashMap<_, _> =
            parts.map(|(part, (file, _))| (part.tensor.name, identity::joined(file))).collect();
        let hash = |tensor: &Tensor<'_>| match known.get(tensor.name) {
            Some(hash) => Ok(*hash),
            None => identity::tensor(self.gguf, tensor),
        };
        let tensors: Result<Vec<_>> = self.gguf.tensors().iter().map(hash).collect();
        let image: Vec<_> = hashes.iter().map(|(_, image)| identity::joined(image)).collect();
        Ok(Repacked {
            identity: Identity::of(self.gguf, &tensors?),
            image: identity::joined(&image),
        })
    }

    /// The hash of an image that `read(at, out)` reads, as [`Repacked::image`] has it.
    pub(super) fn hash_image(
        &self,
        pool: &ThreadPool,
        read: impl Fn(usize, &mut [u8]) -> Result<()> + Sync,
    ) -> Result<blake3::Hash> {
        let hash = |part: &PlannedMatrix<'_>| -> Result<blake3::Hash> {
            let units: Vec<_> = part.units().collect();
            let hash_unit = |buffer: &mut Vec<u8>, rows: &Range<usize>| {
                resize("weights", buffer, part.packed(rows.len()))?;
                read(part.place(rows.start), buffer)?;
                Ok(blake3::hash(buffer))
            };
            let units = units.par_iter().map_init(Vec::new, hash_unit);
            Ok(identity::joined(&units.collect::<Result<Vec<_>>>()?))
        };
        let parts: Result<Vec<_>> = pool.install(|| self.parts.iter().map(hash).collect());
        Ok(identity::joined(&parts?))
    }

    /// The parts of the image that every pass reads, in the order in which it does: the embedding,
    /// the first in the file, is the matrix of the logits as well. Experts are read as they are
    /// chosen, and may be more than the memory holds.
    pub(super) fn in_order_of_use(&self) -> impl Iterator<Item = Range<usize>> {
        let (first, others) = self.parts.split_at(self.parts.len().min(1));
        let parts = others.iter().chain(first).filter(|part| part.count == 1);
        parts.map(|part| part.at..part.at + part.bytes())
    }

    /// The matrices of the finished image.
    pub(super) fn matrices(&self, image: PackedImage) -> impl Iterator<Item = (&'a str, Matrix)> {
        let image = Arc::new(image);
        self.parts.iter().map(move |part| {
            let PlannedMatrix { tensor, format, cols, count, at, .. } = *part;
            let (rows, image) = (part.rows / count, Arc::clone(&image));
            (tensor.name, Matrix { format, rows, cols, count, at, image })
        })
    }
}

/// What repacking needs beside a plan.
pub(super) struct Repacking<'a> {
    pub(super) pool: &'a ThreadPool,
    /// Is called with the bytes read so far and the bytes to read in all; may break off.
    pub(super) progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

/// The hashes of an image that was just made.
pub(super) struct Repacked {
    /// The hash of the model file.
    pub(super) identity: Identity,
    /// The hash of the image.
    pub(super) image: blake3::Hash,
}

/// The rows of a matrix that are repacked between two calls of progress.
struct Piece<'p, 'a> {
    part: &'p PlannedMatrix<'a>,
    rows: Range<usize>,
}

impl Piece<'_, '_> {
    /// Where it lies in the data of the tensor.
    fn bytes(&self) -> Range<usize> {
        self.part.bytes_of(&self.rows)
    }

    fn will_need(&self) {
        let bytes = self.bytes();
        self.part.gguf.will_need(self.part.tensor, bytes.start, bytes.len());
    }

    /// Repacks it into `out`; with `hashes` gives those of each unit, of the file and of the image.
    fn pack(
        &self,
        out: &mut [u8],
        hashes: bool,
    ) -> Result<Vec<Option<(blake3::Hash, blake3::Hash)>>> {
        let pack = |buffer: &mut Vec<u8>, (i, out): (usize, &mut [u8])| {
            self.part.pack(self.unit(i), buffer, out)?;
            Ok(hashes.then(|| (blake3::hash(buffer), blake3::hash(out))))
        };
        let units = out.par_chunks_mut(self.part.packed(UNIT_ROWS)).enumerate();
        units.map_init(Vec::new, pack).collect()
    }

    fn unit(&self, i: usize) -> Range<usize> {
        let start = self.rows.start + i * UNIT_ROWS;
        start..(start + UNIT_ROWS).min(self.rows.end)
    }
}

impl<'a> PlannedMatrix<'a> {
    /// The length of the matrix in the image.
    pub(super) fn bytes(&self) -> usize {
        self.count * self.packed(self.rows / self.count)
    }

    /// The length of `rows` rows in the image, which follow each other there.
    pub(super) fn packed(&self, rows: usize) -> usize {
        packed_bytes(self.format, rows, self.cols)
    }

    /// The offset of a row in the image, the first of a group of the container.
    pub(super) fn place(&self, row: usize) -> usize {
        let run = self.run();
        self.at + row / run * self.packed(run) + self.packed(row % run)
    }

    /// Rows that follow each other in the image as in the file: all of them, or those of one of
    /// several matrices whose last groups are filled up.
    fn run(&self) -> usize {
        let each = self.rows / self.count;
        if each.is_multiple_of(GROUP_ROWS) { self.rows } else { each }
    }

    fn is_seamless(&self) -> bool {
        self.run() == self.rows
    }

    /// Ranges of `step` rows, as far as the runs go.
    fn ranges(&self, step: usize) -> impl Iterator<Item = Range<usize>> {
        let run = self.run();
        (0..self.rows).step_by(run).flat_map(move |first| {
            let starts = (first..first + run).step_by(step);
            starts.map(move |start| start..(start + step).min(first + run))
        })
    }

    fn pieces(&self) -> impl Iterator<Item = Piece<'_, 'a>> {
        let row = self.format.row_bytes(self.cols);
        let step = (PIECE_BYTES / row).max(1).next_multiple_of(UNIT_ROWS);
        self.ranges(step).map(|rows| Piece { part: self, rows })
    }

    /// Ranges of rows that a thread repacks at a time.
    pub(super) fn units(&self) -> impl Iterator<Item = Range<usize>> {
        self.ranges(UNIT_ROWS)
    }

    fn bytes_of(&self, rows: &Range<usize>) -> Range<usize> {
        let row = self.format.row_bytes(self.cols);
        rows.start * row..rows.end * row
    }

    /// Reads rows of the file into `buffer` and repacks them into `out`.
    pub(super) fn pack(
        &self,
        rows: Range<usize>,
        buffer: &mut Vec<u8>,
        out: &mut [u8],
    ) -> Result<()> {
        let bytes = self.bytes_of(&rows);
        resize("weights", buffer, bytes.len())?;
        self.gguf.read(self.tensor, bytes.start, buffer)?;
        pack(self.format, self.cols, buffer, out);
        Ok(())
    }
}

/// Matrices begin at cache lines.
const ALIGNMENT: usize = 64;

/// Bytes of the file between two calls of progress, which may break off: a slow disk reads them in
/// less than a tenth of a second.
const PIECE_BYTES: usize = 4 << 20;

/// Rows that a thread repacks at a time; a multiple of the container's eight.
const UNIT_ROWS: usize = identity::GROUP_ROWS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_experts_is_used_and_the_embedding_last() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny-s/text-q4_0.gguf");
        let bytes = std::fs::read(file).expect("the kit is part of the repository");
        let gguf = Gguf::parse(&bytes).expect("the kit is well-formed");
        let names = ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_up.weight"];
        let mut plan = Plan::new(&gguf, names).expect("matrices");
        let ranges: Vec<_> = plan.parts.iter().map(|p| p.at..p.at + p.bytes()).collect();
        let used: Vec<_> = plan.in_order_of_use().collect();
        assert_eq!(used, [&ranges[1..], &ranges[..1]].concat());
        plan.parts[1].count = 2;
        let used: Vec<_> = plan.in_order_of_use().collect();
        assert_eq!(used, [ranges[2].clone(), ranges[0].clone()]);
        plan.parts.clear();
        assert_eq!(plan.in_order_of_use().count(), 0);
    }
}
