//! What the benchmarks share: matrices and columns of any format, and the roof above them.
//!
//! A kernel that reads its weights once cannot be faster than reading them and doing nothing else.
//! [`read`] is that, over the same bytes in the same run; a kernel's GB/s divided by it is the part
//! of the machine that the kernel uses, and the one figure that two machines can compare.

use carat_kernels::{Columns, Format, Isa, Weights, int8_dwords, packed_bytes};

/// The README's example, compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// A packed matrix of arbitrary but finite weights.
#[derive(Debug)]
pub struct Matrix {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Matrix {
    /// Makes `rows` x `cols` weights; the same ones every time.
    pub fn new(format: Format, rows: usize, cols: usize) -> Self {
        let mut random = Xorshift::default();
        // No byte above 0x3f, whatever field it falls into: every scale is then finite, below 2.
        let bytes = (0..packed_bytes(format, rows, cols)).map(|_| random.next() as u8 & 0x3f);
        Self { format, rows, cols, bytes: bytes.collect() }
    }

    /// The matrix as kernels take it.
    pub fn weights(&self) -> Weights<'_> {
        Weights::new(self.format, self.rows, self.cols, &self.bytes)
    }

    /// The weights' bytes: what a product has to read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Columns of activations in the form that a format's kernels want.
#[derive(Debug)]
pub enum Activations {
    /// 8 bits, for the block formats.
    Int8 {
        /// Values in a column.
        k: usize,
        /// Number of columns.
        columns: usize,
        /// As [`Isa::quantize_columns`] wrote them.
        data: Vec<u32>,
    },
    /// Plain values.
    F32 {
        /// Values in a column.
        k: usize,
        /// `[columns][k]`.
        values: Vec<f32>,
    },
}

impl Activations {
    /// Makes `columns` columns of `k` values between -1 and 1; the same ones every time.
    pub fn new(format: Format, k: usize, columns: usize) -> Self {
        let mut random = Xorshift::default();
        let values: Vec<f32> =
            (0..k * columns).map(|_| random.next() as i32 as f32 / 2e9).collect();
        if !format.wants_int8() {
            return Self::F32 { k, values };
        }
        let mut data = vec![0; int8_dwords(k, columns)];
        Isa::scalar().quantize_columns(&values, k, &mut data);
        Self::Int8 { k, columns, data }
    }

    /// The columns as kernels take them.
    pub fn columns(&self) -> Columns<'_> {
        match self {
            Self::Int8 { k, columns, data } => Columns::Int8 { k: *k, columns: *columns, data },
            Self::F32 { k, values } => Columns::F32 { k: *k, values },
        }
    }
}

/// Reads every byte once, as fast as one thread can; the result depends on all of them.
pub fn read(bytes: &[u8]) -> u64 {
    let (lines, rest) = bytes.as_chunks::<64>();
    let mut sums = [0u64; 8];
    for line in lines {
        for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
            *sum ^= u64::from_le_bytes(*word);
        }
    }
    sums.iter().sum::<u64>().wrapping_add(rest.iter().map(|&byte| u64::from(byte)).sum())
}

/// Marsaglia's xorshift64.
#[derive(Debug)]
struct Xorshift(u64);

impl Default for Xorshift {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
