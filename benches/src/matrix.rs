//! Matrices and columns of any format, for kernels that are measured one by one.

use carat_kernels::{Columns, Format, GROUP_ROWS, Isa, Weights, int8_dwords, packed_bytes};

use crate::random::Xorshift;

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
        let packed_block = format.block_bytes() * GROUP_ROWS;
        let bytes = (0..packed_bytes(format, rows, cols)).map(|i| {
            let byte = random.next() as u8;
            // No byte above 0x3f, whatever field it falls into: every scale is then finite and
            // below 2. Indices into a codebook are any byte, since the whole of it has to be in the
            // cache; the scale, two bytes a row, stands before them.
            let is_index = format.has_codebook() && i % packed_block >= 2 * GROUP_ROWS;
            // Exponents: subnormal numbers would be slow.
            let is_exponent = match format {
                Format::MXFP4 => i % packed_block < GROUP_ROWS,
                Format::BF16 => i % 2 == 1,
                Format::F32 => i % 4 == 3,
                _ => false,
            };
            match byte {
                byte if is_index => byte,
                byte if is_exponent && format == Format::MXFP4 => byte & 0x3f | 0x40,
                byte if is_exponent => byte & 0x0f | 0x30,
                byte => byte & 0x3f,
            }
        });
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

/// Columns of a prompt, as many as weights are unpacked for.
pub const PROMPT_COLUMNS: usize = 64;
