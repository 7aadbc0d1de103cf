//! AVX-VNNI: `dpbusd` on 256 bits, one group of rows at a time; see `kernels/vnni.rs`.

use std::arch::x86_64::_mm256_dpbusd_avx_epi32 as dpbusd;

use super::{every_format as formats, lanes256 as lanes};

/// A tile of panels (`kernels/panel.rs`): vectors of rows, and columns.
const VECTORS: usize = 2;
const TILE_COLUMNS: usize = 4;
/// The greatest unsigned weight of panels: any byte.
const PANEL_WEIGHT_MAX: usize = 255;

macro_rules! kernels {
    ($($function:item)+) => {
        $(
            #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
            $function
        )+
    };
}

#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[path = "kernels/mod.rs"]
mod kernels;
#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[path = "kernels/vnni.rs"]
mod vnni;

pub(crate) use super::quantize::quantize;
pub(crate) use super::widen::{scale_int8, widen_f16};
pub(crate) use kernels::matmul;
use vnni::{products, tile_products};
