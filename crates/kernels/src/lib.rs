//! Quantised matrix kernels and element-wise f32 operations for CPU inference.
//!
//! A kernel here is arithmetic and nothing else: it allocates nothing, starts no threads, reads no
//! files and knows no model. It computes any range of rows, so the caller owns the scheduling. What
//! it runs on is a value: an [`Isa`] can only be had from [`Isa::available`], which asks the CPU.
//!
//! A product takes three steps: weights are brought into the eight-row container once ([`pack`]),
//! activation columns are quantised ([`Isa::quantize_columns`]), and ranges of rows are
//! multiplied ([`Isa::matmul`]).
//!
//! ```
//! use carat_kernels::{Columns, Format, Isa, Weights, int8_dwords, pack, packed_bytes, quantize};
//!
//! let (rows, k, isa) = (8, 32, Isa::best());
//! let identity: Vec<f32> = (0..rows * k).map(|i| (i / k == i % k) as u8 as f32).collect();
//! let mut plain = vec![0; rows * Format::Q8_0.row_bytes(k)];
//! quantize(Format::Q8_0, &identity, &mut plain);
//! let mut packed = vec![0; packed_bytes(Format::Q8_0, rows, k)];
//! pack(Format::Q8_0, k, &plain, &mut packed);
//!
//! let x: Vec<f32> = (0..k).map(|i| i as f32).collect();
//! let mut data = vec![0; int8_dwords(k, 1)];
//! isa.quantize_columns(&x, k, &mut data);
//!
//! let weights = Weights::new(Format::Q8_0, rows, k, &packed);
//! let mut out = [0.0; 8];
//! isa.matmul(&weights, 0..1, Columns::Int8 { k, columns: 1, data: &data }, &mut out);
//! assert!(out.iter().zip(&x).all(|(out, x)| (out - x).abs() < 0.2));
//! ```

mod activations;
mod attention;
mod block;
mod eight;
mod format;
mod gemm_f32;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packed;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod packed_blocks;
mod quantize;
mod scalar;
mod streams;
mod vector_ops;
mod widen;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use activations::{Columns, GROUP_COLUMNS, int8_dwords};
pub use format::{Format, dequantize};
pub use isa::Isa;
pub use packed::{GROUP_ROWS, Weights, pack, packed_bytes, unpack};
pub use quantize::quantize;
pub use streams::Streams;

impl Format {
    /// True for the block formats, which multiply [`Columns::Int8`]; F32, F16 and BF16 multiply
    /// [`Columns::F32`].
    pub const fn wants_int8(self) -> bool {
        self.block_weights() > 1
    }
}
