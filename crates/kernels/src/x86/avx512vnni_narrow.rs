//! AVX-512 VNNI on 256 bits: one group of rows at a time, for one column, on some cores for two.
//!
//! Such a product waits for memory, and on some cores one stream of weights arrives faster than
//! two. Where four are read (`crate::Streams`), 512 bits multiply them.
//! With more columns only a test runs this: but for the encoding of `dpbusd` it is what `avxvnni`
//! runs, and more machines know this encoding.

use std::arch::x86_64::_mm256_dpbusd_epi32 as dpbusd;

use super::{every_format as formats, lanes256 as lanes};

/// A tile of panels (`kernels/panel.rs`): vectors of rows, and columns.
const VECTORS: usize = 2;
const TILE_COLUMNS: usize = 4;
/// The greatest unsigned weight of panels: any byte.
const PANEL_WEIGHT_MAX: usize = 255;

macro_rules! kernels {
    ($($function:item)+) => {
        $(
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
            $function
        )+
    };
}

#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[cfg_attr(not(test), expect(dead_code, reason = "the entry for all columns is a test's"))]
#[path = "kernels/mod.rs"]
mod kernels;
#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[path = "kernels/vnni.rs"]
mod vnni;

#[cfg(test)]
pub(crate) use kernels::matmul;
pub(crate) use kernels::matmul_n;
use vnni::{products, tile_products};
