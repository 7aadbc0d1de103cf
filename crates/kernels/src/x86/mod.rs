//! x86-64: one text, several instruction sets.
//!
//! For a block of 32 weights of eight (AVX-512: sixteen) rows and one column
//!
//! ```text
//! s    = Σ w[i]·q[i]                          how, `products` of the instruction set says
//! acc  = fma(cvt(s), scale·d, acc)
//! acc  = fma(−min, d·Σq, acc)                 only for formats that have a min
//! ```
//!
//! Weights are unsigned, as `maddubs` and `dpbusd` want them. An offset is not subtracted from the
//! weights but from their sum, which starts at `−offset·Σq`. Every integer sum is exact, and the
//! float operations are those of `scalar` in the same order, so the results are the same bits.
//!
//! `kernels/` is the text: how the weights of each format are unpacked, and what follows for a few
//! columns and for many. It is compiled into each of the instruction sets, which say what a vector
//! is (`lanes256`, `lanes512`), how products are summed, and how large a tile their registers hold.
//! `prefetch` says how far ahead of their use this core is best asked for weights.

pub(crate) mod avx2;
pub(crate) mod avx512vnni;
pub(crate) mod avx512vnni_narrow;
pub(crate) mod avxvnni;
mod float;
mod lanes256;
mod lanes512;
mod prefetch;
mod quantize;
mod widen;
