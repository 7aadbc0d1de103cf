//! AVX-512 VNNI: `dpbusd` on 512 bits, two groups of rows at a time; see `kernels/vnni.rs`.
//!
//! A broadcast is part of the instruction here, and 32 registers hold the sums and accumulators of
//! eight columns.

pub(super) use std::arch::x86_64::_mm512_dpbusd_epi32 as dpbusd;

use super::prefetch::Prefetch;
use super::{avx512vnni_narrow, every_format as formats, lanes512 as lanes};
use crate::{Columns, Streams, Weights};

/// A tile of panels (`kernels/panel.rs`): vectors of rows, and columns.
pub(super) const VECTORS: usize = 2;
pub(super) const TILE_COLUMNS: usize = 8;
/// The greatest unsigned weight of panels: any byte.
pub(super) const PANEL_WEIGHT_MAX: usize = 255;

macro_rules! kernels {
    ($($function:item)+) => {
        $(
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
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
use vnni::{products, tile_products};

kernels! {
/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    let narrow = match w.streams() {
        Streams::Few => Prefetch::of_this_core().narrow_columns,
        Streams::Four => 0,
    };
    match x.columns() {
        1 if narrow >= 1 => avx512vnni_narrow::matmul_n::<1>(w, groups, x, out),
        2 if narrow >= 2 => avx512vnni_narrow::matmul_n::<2>(w, groups, x, out),
        _ => kernels::matmul(w, groups, x, out),
    }
}
}
