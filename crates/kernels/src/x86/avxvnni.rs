//! AVX-VNNI: `dpbusd` on 256 bits, one group of rows at a time; see `kernels/vnni.rs`.

use std::arch::x86_64::_mm256_dpbusd_avx_epi32 as dpbusd;

use super::lanes256 as lanes;

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
use vnni::products;
