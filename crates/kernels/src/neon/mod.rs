//! NEON: one text, three instruction sets.
//!
//! A vector of 32 payload bytes is two registers, rows 0–3 and rows 4–7: the halves of a group. For
//! 32 weights of four rows and one column
//!
//! ```text
//! s    = Σ w[i]·q[i]                          how, `products` of the instruction set says
//! acc  = fma(cvt(s), scale·d, acc)
//! acc  = fma(−min, d·Σq, acc)                 only for formats that have a min
//! ```
//!
//! Weights are signed bytes. Those of up to six bits are so as they are, and their offset is not
//! subtracted from each of them but from their sum, which starts at `−offset·Σq`. (Q5_0 alone
//! assembles its weights with the offset, because there that is the shortest way.) Every integer
//! sum is exact, and the float operations are those of `scalar` in the same order, so the results
//! are the same bits.
//!
//! `kernels/` is the text: how the weights of each format are unpacked and what follows. It is
//! compiled into `baseline`, `dotprod` and `i8mm`, which say what a register of sums holds and how
//! products are summed: `products::<MAX, LEN, N>(sums, x, w)` adds the products of `4·LEN` weights,
//! where `w(g)` is weights `4g ..` of four rows, of magnitudes up to `MAX`, and `x` the 8-bit
//! values of all columns, `N` registers for 16 weights.
//!
//! One half is multiplied with all columns before the other: eight columns take eight registers of
//! sums and eight accumulators, and the rest is for the operands.
//!
//! Instructions per 32 weights of eight rows, everything included, in products of 64 rows with
//! columns of 1024 (executed under qemu, compiled by rustc 1.96):
//!
//! | columns        | Q4_0 | Q8_0 | Q4_K | Q5_K | Q6_K |
//! |----------------|------|------|------|------|------|
//! | 1, `dotprod`   | 55   | 42   | 90   | 141  | 136  |
//! | 4, `dotprod`   | 168  | 159  | 171  | 236  | 249  |
//! | 4, `i8mm`      | 126  | 116  | 197  | 259  | 246  |
//! | 8, `dotprod`   | 284  | 272  | 316  | 384  | 417  |
//! | 8, `i8mm`      | 254  | 254  | 306  | 364  | 416  |
//!
//! With eight columns 128 of them are `sdot`, or 64 `smmla` and 16 `zip`, and 48 turn sums into
//! accumulators: an order of operations that all instruction sets share.

use crate::activations;

pub(crate) mod baseline;
mod dot;
pub(crate) mod dotprod;
mod float;
pub(crate) mod i8mm;
mod lanes;
mod widen;

/// See [`Isa::quantize_columns`](crate::Isa::quantize_columns).
#[target_feature(enable = "neon")]
pub(crate) fn quantize(x: &[f32], k: usize, out: &mut [u32]) {
    activations::quantize(x, k, out);
}

/// The data of [`Columns::Int8`](crate::Columns::Int8).
#[derive(Clone, Copy)]
struct Int8<'a> {
    columns: usize,
    data: &'a [u32],
}

/// Evaluates an expression for every other `g` in `0..LEN`, each a constant; `LEN` is 4 or 8.
///
/// A loop would do if the compiler promised to unroll it. Low and high nibbles of a vector, where
/// they are weights of one block, follow each other, so that no register has to keep them.
macro_rules! for_steps {
    ($len:ident, $g:ident => $body:expr) => {
        if $len == 8 {
            $crate::neon::for_steps!($g in 0 4 2 6 => $body);
        } else {
            $crate::neon::for_steps!($g in 0 2 => $body);
        }
    };
    ($g:ident in $($step:literal)+ => $body:expr) => {
        $({
            let $g: usize = $step;
            $body
        })+
    };
}
use for_steps;

/// Evaluates an expression for every `i` in `0..N`, each a constant, as lanes of registers must be.
macro_rules! for_registers {
    ($i:ident => $body:expr) => {
        $crate::neon::for_registers!($i in 0 1 2 3 4 5 6 7 => $body)
    };
    ($i:ident in $($index:literal)+ => $body:expr) => {
        $(
            if $index < N {
                let $i: usize = $index;
                $body
            }
        )+
    };
}
use for_registers;
