//! AVX-512 with VBMI, whose instructions look 64 indices up at once.
//!
//! It is for the formats with codebooks, whose look-ups one by one take longer than memory and
//! multiplications together.
//!
//! One column takes 512 bits here as well: not memory limits these formats.

use super::avx512vnni::{self, PANEL_WEIGHT_MAX, TILE_COLUMNS, VECTORS, dpbusd};
use super::lanes512 as lanes;
use crate::{Columns, Weights};

macro_rules! formats {
    ($table:ident) => {
        $table! {
            IQ2_XXS: crate::x86::avx512vbmi::codebooks::iq2_xxs(iq2_xxs, IQ2XXSx8), 107, 64;
            IQ2_XS: crate::x86::avx512vbmi::codebooks::iq2_xs(iq2_xs, IQ2XSx8), 107, 64;
            IQ2_S: crate::x86::avx512vbmi::codebooks::iq2_s(iq2_s, IQ2Sx8), 107, 64;
            IQ3_XXS: crate::x86::avx512vbmi::codebooks::iq3_xxs(iq3_xxs, IQ3XXSx8), 63, 32;
            IQ3_S: crate::x86::avx512vbmi::codebooks::iq3_s(iq3_s, IQ3Sx8), 31, 16;
        }
    };
}
use formats;
macro_rules! kernels {
    ($($function:item)+) => {
        $(
            #[target_feature(
                enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi"
            )]
            $function
        )+
    };
}

mod codebooks;
#[allow(clippy::duplicate_mod, reason = "compiled once for each instruction set")]
#[expect(dead_code, reason = "other formats are multiplied elsewhere")]
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
    match w.format().has_codebook() {
        true => kernels::matmul(w, groups, x, out),
        false => avx512vnni::matmul(w, groups, x, out),
    }
}
}
