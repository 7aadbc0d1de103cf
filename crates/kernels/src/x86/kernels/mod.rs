//! The x86 kernels, written once and compiled for each instruction set that includes this file.
//!
//! The including file defines its vectors in `super::lanes`, its integer sums in `super::products`
//! and `super::tile_products`, the formats that it multiplies in the macro `super::formats!`, and
//! its target features in the macro `kernels!`, which puts them before each function. (rustfmt does
//! not look into that macro.)
//!
//! The modules `simple`, `k`, `iq`, `iq4` and `fp4` unpack weights. A product with few columns
//! (`direct`) multiplies weights as soon as they are unpacked. A product with many columns
//! (`unpacked`) unpacks a slab of weights once, and multiplies it with all columns; `wide` does so
//! with F16 and BF16.

use super::lanes::*;
use crate::activations::{HALF_SUMS, Int8Block, SCALE, SCALED_SUM, SUM, int8_blocks};
use crate::isa::for_columns;
use crate::packed_blocks as packed;
use crate::streams::STREAM_COLUMNS;
use crate::x86::{
    float,
    prefetch::{Ahead, Prefetch},
};
use crate::{Columns, Format, GROUP_COLUMNS, GROUP_ROWS, Streams, Weights, scalar};

mod fp4;
pub(super) mod iq;
mod iq4;
mod k;
mod panel;
mod simple;
mod wide;

/// Scales of 32 weights of each row: one for all 32 (`S = 1`) or one for each 16 (`S = 2`), and the
/// minima that are added to the scaled weights, none (`M = 0`) or one for each scale.
#[derive(Clone, Copy)]
pub(super) struct Scales<const S: usize, const M: usize> {
    pub(super) scale: [F; S],
    pub(super) min: [F; M],
}

kernels! {
/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    let stride = out.len() / x.columns();
    let (grouped, rest) = x.split_at(match takes_panels(w.format(), x.columns()) {
        true => x.columns() / GROUP_COLUMNS * GROUP_COLUMNS,
        false => 0,
    });
    let (out_grouped, out_rest) = out.split_at_mut(grouped.columns() * stride);
    match grouped {
        _ if grouped.columns() == 0 => (),
        Columns::Int8 { data, .. } => {
            multiply_panels(w.format(), groups, w.cols() / 32, int8_blocks(data), out_grouped);
        }
        Columns::F32 { k, values } if w.format() == Format::F16 => {
            wide::multiply(groups, k, values, out_grouped, |w| load_f16(w));
        }
        Columns::F32 { k, values } => {
            wide::multiply(groups, k, values, out_grouped, |w| as_f32(shl::<16>(load_u16(w))));
        }
    }
    rest.for_groups(out_rest, stride, |x, out| for_columns!(x.columns(), matmul_n(w, groups, x, out)));
}

pub(crate) fn matmul_n<const N: usize>(
    w: &Weights<'_>,
    groups: &[u8],
    x: Columns<'_>,
    out: &mut [f32],
) {
    match x {
        Columns::Int8 { data, .. } => multiply(w, groups, int8_blocks::<N>(data), out),
        Columns::F32 { k, values } => match w.format() {
            Format::F16 => float::f16::<N>(groups, k, values, out),
            Format::BF16 => float::bf16::<N>(groups, k, values, out),
            _ => scalar::matmul(w, groups, x, out),
        },
    }
}
}

/// Whether a product of `format` with `columns` columns unpacks its weights beforehand.
fn takes_panels(format: Format, columns: usize) -> bool {
    match format {
        Format::F32 => false,
        Format::F16 | Format::BF16 => columns >= WIDE_COLUMNS,
        _ => columns >= PANEL_COLUMNS && weight_max(format) <= super::PANEL_WEIGHT_MAX,
    }
}

/// What follows from the table of formats, which the including file names in its macro `formats!`.
macro_rules! products_of {
    ($($format:ident: $($unpack:ident)::+($name:ident, $block:ident), $max:literal, $offset:literal;)+) => {
        /// The greatest unsigned weight of `format`.
        fn weight_max(format: Format) -> usize {
            match format {
                $(Format::$format => $max,)+
                _ => usize::MAX,
            }
        }

        kernels! {
        fn multiply<const N: usize>(
            w: &Weights<'_>,
            groups: &[u8],
            x: &[Int8Block<N>],
            out: &mut [f32],
        ) {
            match (w.format(), w.streams()) {
                $(
                    (Format::$format, Streams::Few) => direct::$name::<N, false>(groups, x, out),
                    (Format::$format, Streams::Four) => direct::$name::<N, true>(groups, x, out),
                )+
                _ => (), // not multiplied here, or with f32
            }
        }

        /// `in_row` is the number of blocks of 32 weights in a row.
        fn multiply_panels(
            format: Format,
            groups: &[u8],
            in_row: usize,
            x: &[Int8Block<GROUP_COLUMNS>],
            out: &mut [f32],
        ) {
            match format {
                $(Format::$format => unpacked::$name(groups, in_row, x, out),)+
                _ => (),
            }
        }
        }

        /// Products with one to eight columns, which multiply weights as they are unpacked.
        mod direct {
            use super::*;

            kernels! {
            $(
                #[inline(never)]
                pub(super) fn $name<const N: usize, const FOUR: bool>(
                    groups: &[u8],
                    x: &[Int8Block<N>],
                    out: &mut [f32],
                ) {
                    // A condition that is a constant keeps what it rules out from being compiled.
                    if const { FOUR && N > STREAM_COLUMNS } {
                        return $name::<N, false>(groups, x, out);
                    }
                    const PER: usize = Format::$format.block_weights() / 32;
                    type Block = packed::$block;
                    let x = x.as_chunks::<PER>().0;
                    let side_by_side = if FOUR { STREAMS } else { GROUPS };
                    let ahead = Prefetch::of_this_core().ahead(side_by_side);
                    let step = |block: [&Block; GROUPS], x: &[Int8Block<N>; PER], acc: &mut [F; N]| {
                        $($unpack)::+(block, |j, w, scales| {
                            prefetch::<Block, PER>(ahead, block, j);
                            add::<$max, $offset, _, _, N>(&w, scales, &x[j], acc);
                        });
                    };
                    if FOUR {
                        return for_streams(groups, x, out, step);
                    }
                    for_blocks(groups, x, out, step);
                }
            )+
            }
        }

        /// Products with groups of eight columns, which share unpacked weights.
        mod unpacked {
            use super::*;

            kernels! {
            $(
                #[inline(never)]
                pub(super) fn $name(
                    groups: &[u8],
                    in_row: usize,
                    x: &[Int8Block<GROUP_COLUMNS>],
                    out: &mut [f32],
                ) {
                    const PER: usize = Format::$format.block_weights() / 32;
                    type Block = packed::$block;
                    panel::multiply::<Block, PER, $max, $offset, _, _>(groups, in_row, x, out, |block, panels, m| {
                        $($unpack)::+(block, |j, w, scales| panel::set(&mut panels[j], m, w, scales));
                    });
                }
            )+
            }
        }
    };
}

super::formats!(products_of);

kernels! {
/// Calls `step` for each block of each group; `step` adds the block's products to the accumulators.
///
/// `B` is a packed block and `X` the activations for as many weights. Where a vector holds two
/// groups of rows, an odd last group fills both halves and is stored once.
#[inline]
fn for_blocks<B: bytemuck::Pod, X, const N: usize>(
    groups: &[u8],
    x: &[X],
    out: &mut [f32],
    step: impl Fn([&B; GROUPS], &X, &mut [F; N]),
) {
    let stride = out.len() / N;
    let blocks = bytemuck::cast_slice::<u8, B>(groups);
    for (i, blocks) in blocks.chunks(GROUPS * x.len()).enumerate() {
        let mut groups = [&blocks[..x.len()]; GROUPS];
        groups[GROUPS - 1] = &blocks[(GROUPS - 1) * x.len() % blocks.len()..][..x.len()];
        let mut acc = [splat_f32(0); N];
        for (b, x) in x.iter().enumerate() {
            let block = per_group!(groups => &groups[b]);
            step(block, x, &mut acc);
        }
        for c in 0..N {
            store(&mut out[c * stride + i * GROUPS * GROUP_ROWS..(c + 1) * stride], acc[c]);
        }
    }
}

/// [`for_blocks`] with [`STREAMS`] groups side by side, in as many vectors as they fill.
#[inline]
fn for_streams<B: bytemuck::Pod, X, const N: usize>(
    groups: &[u8],
    x: &[X],
    out: &mut [f32],
    step: impl Fn([&B; GROUPS], &X, &mut [F; N]),
) {
    let stride = out.len() / N;
    let blocks = bytemuck::cast_slice::<u8, B>(groups);
    for (i, blocks) in blocks.chunks(STREAMS * x.len()).enumerate() {
        let vectors = blocks.len().div_ceil(GROUPS * x.len());
        let mut groups = [[&blocks[..x.len()]; GROUPS]; STREAMS / GROUPS];
        for (v, groups) in groups.iter_mut().enumerate() {
            for g in 0..GROUPS {
                let at = (v * GROUPS + g) * x.len() % blocks.len();
                groups[g] = &blocks[at..][..x.len()];
            }
        }
        let mut acc = [[splat_f32(0); N]; STREAMS / GROUPS];
        for (b, x) in x.iter().enumerate() {
            for (groups, acc) in groups[..vectors].iter().zip(&mut acc) {
                let block = per_group!(groups => &groups[b]);
                step(block, x, acc);
            }
        }
        for (v, acc) in acc[..vectors].iter().enumerate() {
            let row = (i * STREAMS + v * GROUPS) * GROUP_ROWS;
            for c in 0..N {
                store(&mut out[c * stride + row..(c + 1) * stride], acc[c]);
            }
        }
    }
}

/// Adds the products of 32 weights `w` of each row with `x` to the accumulators `acc`.
#[inline]
fn add<
    const MAX: usize,
    const OFFSET: usize,
    const S: usize,
    const M: usize,
    const N: usize,
>(
    w: &[V; 8],
    Scales { scale, min }: Scales<S, M>,
    x: &Int8Block<N>,
    acc: &mut [F; N],
) {
    let mut add = |half: usize, c: usize, sum: V| {
        add_sum::<S, M, N>(sum, scale[half], min.get(half).copied(), x, half, c, &mut acc[c]);
    };
    if S == 1 {
        let start = |c: usize| offset::<OFFSET>(x[SUM][c]);
        return super::products::<MAX, 8, N>(start, |i| (w[i], &x[i]), |c, sum| add(0, c, sum));
    }
    for half in 0..2 {
        let start = |c: usize| offset::<OFFSET>(x[HALF_SUMS[half]][c]);
        let four = |i: usize| (w[4 * half + i], &x[4 * half + i]);
        super::products::<MAX, 4, N>(start, four, |c, sum| add(half, c, sum));
    }
}

/// Adds the integer sum of column `c` to its accumulator: `acc = fma(sum, scale·d, acc)`, and then
/// `acc = fma(min, d·Σq, acc)` where the format has minima. `half` says which 16 of the 32 weights
/// `sum` is of, where each half has a scale of its own.
#[inline]
fn add_sum<const S: usize, const M: usize, const N: usize>(
    sum: V,
    scale: F,
    min: Option<F>,
    x: &Int8Block<N>,
    half: usize,
    c: usize,
    acc: &mut F,
) {
    *acc = mul_add(to_f32(sum), mul(scale, splat_f32(x[SCALE][c])), *acc);
    if M > 0 && let Some(min) = min {
        let sum = match S {
            1 => splat_f32(x[SCALED_SUM][c]),
            _ => half_sum(x[HALF_SUMS[half]][c], x[SCALE][c]),
        };
        *acc = mul_add(min, sum, *acc);
    }
}

/// Computes `d · Σq` of 16 values from `sum`, which is `−8 · Σq`.
#[inline]
fn half_sum(sum: u32, d: u32) -> F {
    mul(splat_f32(d), to_f32(sar::<3>(sub32(splat(0), splat(sum)))))
}

/// Prefetches the weights that lie `ahead` of part `part` of `block`.
///
/// A block has `PARTS` parts, and each is asked for in its own step of the work, since a burst of
/// requests would exceed the number of outstanding requests that a core can hold.
#[inline]
fn prefetch<B: bytemuck::Pod, const PARTS: usize>(ahead: Ahead, block: [&B; GROUPS], part: usize) {
    let size = size_of::<B>() / PARTS;
    for block in block {
        ahead.prefetch(&bytemuck::bytes_of(block)[part * size..][..size]);
    }
}

/// The value at which an integer sum starts: `−OFFSET · Σq`, which corrects for unsigned weights
/// that are too large by `OFFSET`. `sum` is the column's `−8 · Σq`.
#[inline]
fn offset<const OFFSET: usize>(sum: u32) -> V {
    match OFFSET {
        0 => splat(0),
        4 => sar::<1>(splat(sum)),
        8 => splat(sum),
        16 => shl::<1>(splat(sum)),
        32 => shl::<2>(splat(sum)),
        64 => shl::<3>(splat(sum)),
        _ => shl::<4>(splat(sum)),
    }
}

/// The low or the high four bits of each byte.
#[inline]
fn nibbles<const HIGH: bool>(bytes: V) -> V {
    and(if HIGH { shr::<4>(bytes) } else { bytes }, splat_byte(15))
}
}

const _: () = assert!(GROUP_COLUMNS.is_multiple_of(wide::COLUMNS));

/// The least number of columns for which it is faster to widen weights beforehand.
const WIDE_COLUMNS: usize = 2 * GROUP_COLUMNS;

/// The groups of rows that [`Streams::Four`] reads side by side.
const STREAMS: usize = 4;

/// The least number of columns for which panels are faster: with fewer columns, storing unpacked
/// weights costs more than unpacking them again.
const PANEL_COLUMNS: usize = 4 * GROUP_COLUMNS;
