//! The eight-row container: the one layout that every kernel reads.
//!
//! Eight GGUF rows that lie under each other are interleaved block by block, without a byte more or
//! less. Within a block each field is cut into units (two bytes for f16 headers, one for MXFP4's,
//! four for all else) and unit `u` of the eight rows is stored side by side:
//!
//! ```text
//! GGUF    row 0: d q0 q1 q2 q3 | d q0 ..      row 7: d q0 q1 q2 q3 | d q0 ..
//! packed  block 0: d(rows 0-7) q0(rows 0-7) q1(rows 0-7) .. | block 1: ..
//! ```
//!
//! A 32-byte vector of payload then holds, in lane `r`, the same four consecutive weights of row
//! `r`: the operand of `maddubs`, `dpbusd` and `sdot` as it is, and eight sums of eight rows come
//! out side by side without a horizontal addition. The order of bits within a unit stays ggml's.
//!
//! A last group of fewer than eight rows is filled up with zero bytes. F32 matrices stay row-major:
//! the `gemm` crate multiplies them.

use crate::block::{Block, Field, with_block};
use crate::{Format, Streams, dequantize};

/// Rows in a group of the container.
pub const GROUP_ROWS: usize = 8;

/// Bytes of a packed matrix of `rows` x `cols` weights.
///
/// # Panics
/// If `cols` is not a whole number of the format's blocks.
pub fn packed_bytes(format: Format, rows: usize, cols: usize) -> usize {
    padded_rows(format, rows) * format.row_bytes(cols)
}

/// Interleaves GGUF rows of `cols` weights, beginning at a group's first row.
///
/// # Panics
/// If `rows` is not a whole number of rows, or `out` is not [`packed_bytes`] long.
pub fn pack(format: Format, cols: usize, rows: &[u8], out: &mut [u8]) {
    let row = format.row_bytes(cols);
    assert!(row > 0 && rows.len().is_multiple_of(row), "{} bytes in rows of {row}", rows.len());
    let need = packed_bytes(format, rows.len() / row, cols);
    assert_eq!(out.len(), need, "{} packed bytes where {need} are needed", out.len());
    if format == Format::F32 {
        return out.copy_from_slice(rows);
    }
    let block = format.block_bytes();
    for (rows, out) in rows.chunks(row * GROUP_ROWS).zip(out.chunks_exact_mut(row * GROUP_ROWS)) {
        if rows.len() < out.len() {
            out.fill(0);
        }
        for (b, out) in out.chunks_exact_mut(block * GROUP_ROWS).enumerate() {
            for (r, row) in rows.chunks_exact(row).enumerate() {
                interleave(format, &row[b * block..][..block], r, out);
            }
        }
    }
}

/// The inverse of [`pack`]: `rows` receives as many GGUF rows as it has room for.
///
/// # Panics
/// If `rows` is not a whole number of rows, or `packed` is not [`packed_bytes`] long.
pub fn unpack(format: Format, cols: usize, packed: &[u8], rows: &mut [u8]) {
    let row = format.row_bytes(cols);
    assert!(row > 0 && rows.len().is_multiple_of(row), "{} bytes in rows of {row}", rows.len());
    let need = packed_bytes(format, rows.len() / row, cols);
    assert_eq!(packed.len(), need, "{} packed bytes where {need} are needed", packed.len());
    if format == Format::F32 {
        return rows.copy_from_slice(packed);
    }
    let block = format.block_bytes();
    let groups = packed.chunks_exact(row * GROUP_ROWS);
    for (rows, packed) in rows.chunks_mut(row * GROUP_ROWS).zip(groups) {
        for (r, row) in rows.chunks_exact_mut(row).enumerate() {
            let blocks = packed.chunks_exact(block * GROUP_ROWS);
            for (out, packed) in row.chunks_exact_mut(block).zip(blocks) {
                deinterleave(format, packed, r, out);
            }
        }
    }
}

/// A packed matrix: `rows` outputs of `cols` inputs each.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    data: &'a [u8],
    pub(crate) streams: Streams,
}

impl<'a> Weights<'a> {
    /// Views bytes that [`pack`] wrote.
    ///
    /// # Panics
    /// If `data` is not [`packed_bytes`] long.
    pub fn new(format: Format, rows: usize, cols: usize, data: &'a [u8]) -> Self {
        let need = packed_bytes(format, rows, cols);
        assert_eq!(data.len(), need, "{format} {rows}x{cols}: {} bytes of {need}", data.len());
        Self { format, rows, cols, data, streams: Streams::Few }
    }

    /// How the weights are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Outputs of the matrix, without padding.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Groups of [`GROUP_ROWS`] rows, the last one perhaps padded.
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP_ROWS)
    }

    /// The packed bytes of a range of groups (F32: of their rows, unpadded).
    pub(crate) fn group_bytes(&self, groups: std::ops::Range<usize>) -> &'a [u8] {
        let row = self.format.row_bytes(self.cols);
        let end = (groups.end * GROUP_ROWS).min(padded_rows(self.format, self.rows));
        &self.data[groups.start * GROUP_ROWS * row..end * row]
    }

    /// Turns one row into f32, as an embedding look-up does.
    ///
    /// # Panics
    /// If there is no such row or `out` is not `cols` long.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "room for {} of {} columns", out.len(), self.cols);
        let group = self.group_bytes(row / GROUP_ROWS..row / GROUP_ROWS + 1);
        if self.format == Format::F32 {
            let bytes = self.cols * 4;
            return dequantize(self.format, &group[row % GROUP_ROWS * bytes..][..bytes], out);
        }
        let (block, weights) = (self.format.block_bytes(), self.format.block_weights());
        let mut buffer = [0; 1024]; // at least four blocks of any format
        let batch = buffer.len() / block;
        let packed = group.chunks(batch * block * GROUP_ROWS);
        for (packed, out) in packed.zip(out.chunks_mut(batch * weights)) {
            let plain = &mut buffer[..packed.len() / GROUP_ROWS];
            let blocks = packed.chunks_exact(block * GROUP_ROWS);
            for (plain, packed) in plain.chunks_exact_mut(block).zip(blocks) {
                deinterleave(self.format, packed, row % GROUP_ROWS, plain);
            }
            dequantize(self.format, plain, out);
        }
    }
}

fn padded_rows(format: Format, rows: usize) -> usize {
    if format == Format::F32 { rows } else { rows.next_multiple_of(GROUP_ROWS) }
}

/// Spreads one block of row `r` over the packed block of its group.
fn interleave(format: Format, block: &[u8], r: usize, packed: &mut [u8]) {
    let mut at = 0;
    for field in fields(format) {
        let end = at + field.unit * field.count;
        let (units, packed) = (&block[at..end], &mut packed[at * GROUP_ROWS..end * GROUP_ROWS]);
        match field.unit {
            1 => copy_units::<1>(units, packed.as_chunks_mut().0[r..].iter_mut()),
            2 => copy_units::<2>(units, packed.as_chunks_mut().0[r..].iter_mut()),
            _ => copy_units::<4>(units, packed.as_chunks_mut().0[r..].iter_mut()),
        }
        at = end;
    }
}

fn copy_units<'a, const N: usize>(units: &[u8], packed: impl Iterator<Item = &'a mut [u8; N]>) {
    for (unit, packed) in units.as_chunks().0.iter().zip(packed.step_by(GROUP_ROWS)) {
        *packed = *unit;
    }
}

/// Gathers the block of row `r` from the packed block of its group.
pub(crate) fn deinterleave(format: Format, packed: &[u8], r: usize, block: &mut [u8]) {
    let mut at = 0;
    for field in fields(format) {
        let end = at + field.unit * field.count;
        let (units, packed) = (&mut block[at..end], &packed[at * GROUP_ROWS..end * GROUP_ROWS]);
        let packed = packed.chunks_exact(field.unit).skip(r).step_by(GROUP_ROWS);
        for (unit, packed) in units.chunks_exact_mut(field.unit).zip(packed) {
            unit.copy_from_slice(packed);
        }
        at = end;
    }
}

/// F16 and BF16 count as blocks of one weight.
fn fields(format: Format) -> &'static [Field] {
    with_block!(format, B => B::FIELDS, else &[Field { unit: 2, count: 1 }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 167 + i / 251) as u8).collect()
    }

    #[test]
    fn packing_has_an_exact_inverse_for_any_number_of_rows() {
        for format in Format::ALL {
            for (rows, cols) in [(1, 256), (7, 512), (8, 256), (9, 768), (24, 256)] {
                let plain = bytes(rows * format.row_bytes(cols));
                let mut packed = vec![0xAA; packed_bytes(format, rows, cols)];
                pack(format, cols, &plain, &mut packed);
                let mut back = vec![0x55; plain.len()];
                unpack(format, cols, &packed, &mut back);
                assert!(back == plain, "{format} {rows}x{cols}");
            }
        }
    }

    #[test]
    fn a_vector_of_payload_holds_four_weights_of_each_row() {
        let (rows, cols) = (8, 64);
        let mut plain = vec![0; rows * Format::Q8_0.row_bytes(cols)];
        for (r, row) in plain.chunks_exact_mut(2 * 34).enumerate() {
            for (i, byte) in row.iter_mut().enumerate() {
                *byte = (16 * r + i % 34) as u8;
            }
        }
        let mut packed = vec![0; packed_bytes(Format::Q8_0, rows, cols)];
        pack(Format::Q8_0, cols, &plain, &mut packed);
        let second_block = &packed[8 * 34..];
        let second_vector = &second_block[16 + 32..][..32];
        let want: Vec<u8> = (0..8).flat_map(|r| (0..4).map(move |i| 16 * r + 2 + 4 + i)).collect();
        assert_eq!(second_vector, want);
        assert_eq!(second_block[..4], [0, 1, 16, 17]); // the scales of rows 0 and 1
    }

    #[test]
    fn a_row_looked_up_is_the_row_dequantised() {
        for format in Format::ALL {
            let (rows, cols) = (11, 1536);
            let plain = bytes(rows * format.row_bytes(cols));
            let mut packed = vec![0; packed_bytes(format, rows, cols)];
            pack(format, cols, &plain, &mut packed);
            let weights = Weights::new(format, rows, cols, &packed);
            for (r, row) in plain.chunks_exact(format.row_bytes(cols)).enumerate() {
                let (mut want, mut got) = (vec![0.0; cols], vec![f32::NAN; cols]);
                dequantize(format, row, &mut want);
                weights.dequantize_row(r, &mut got);
                let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                assert!(bits(got) == bits(want), "{format} row {r}");
            }
        }
    }
}
