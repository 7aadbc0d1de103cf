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
//! `avx512vbmi` multiplies the formats with codebooks in a way of its own, and leaves the others to
//! `avx512vnni`.
//! `prefetch` says how far ahead of their use this core is best asked for weights.

/// The block formats: the function that unpacks one, the name of its products, its packed block,
/// the greatest unsigned weight, and the offset that makes weights unsigned.
macro_rules! every_format {
    ($table:ident) => {
        $table! {
            Q4_0: simple::q4_0(q4_0, Q4_0x8), 15, 8;
            Q4_1: simple::q4_1(q4_1, Q4_1x8), 15, 0;
            Q5_0: simple::q5_0(q5_0, Q5_0x8), 31, 16;
            Q5_1: simple::q5_1(q5_1, Q5_1x8), 31, 0;
            Q8_0: simple::q8_0(q8_0, Q8_0x8), 255, 128;
            Q2_K: k::q2_k(q2_k, Q2Kx8), 3, 0;
            Q3_K: k::q3_k(q3_k, Q3Kx8), 7, 4;
            Q4_K: k::q4_k(q4_k, Q4Kx8), 15, 0;
            Q5_K: k::q5_k(q5_k, Q5Kx8), 31, 0;
            Q6_K: k::q6_k(q6_k, Q6Kx8), 63, 32;
            IQ2_XXS: iq::iq2_xxs(iq2_xxs, IQ2XXSx8), 107, 64;
            IQ2_XS: iq::iq2_xs(iq2_xs, IQ2XSx8), 107, 64;
            IQ2_S: iq::iq2_s(iq2_s, IQ2Sx8), 107, 64;
            IQ3_XXS: iq::iq3_xxs(iq3_xxs, IQ3XXSx8), 63, 32;
            IQ3_S: iq::iq3_s(iq3_s, IQ3Sx8), 31, 16;
            IQ4_NL: iq4::iq4_nl(iq4_nl, IQ4NLx8), 255, 128;
            IQ4_XS: iq4::iq4_xs(iq4_xs, IQ4XSx8), 255, 128;
            MXFP4: fp4::mxfp4(mxfp4, MXFP4x8), 28, 16;
            NVFP4: fp4::nvfp4(nvfp4, NVFP4x8), 28, 16;
        }
    };
}
use every_format;

/// A part of each group of rows in a vector, of which there are one or two:
/// `per_group!(b => &b.qs[0])` is what `b.map(|b| &b.qs[0])` is.
///
/// It has no functions. `map` and `array::from_fn` have about eight each, for every format,
/// instruction set and number of columns, and the time to compile goes with their number.
macro_rules! per_group {
    ($groups:ident => $part:expr) => {{
        let mut parts = [{
            let $groups = $groups[0];
            $part
        }; GROUPS];
        parts[GROUPS - 1] = {
            let $groups = $groups[GROUPS - 1];
            $part
        };
        parts
    }};
}

pub(crate) mod avx2;
pub(crate) mod avx512vbmi;
pub(crate) mod avx512vnni;
pub(crate) mod avx512vnni_narrow;
pub(crate) mod avxvnni;
mod float;
mod lanes256;
mod lanes512;
mod prefetch;
mod quantize;
pub(crate) mod scores;
mod vbmi;
mod widen;
