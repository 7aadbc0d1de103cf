//! The specification: what every other instruction set has to reproduce bit by bit.
//!
//! For row `r`, column `c` and 32 weights at a time, with `w` the integer weights and `q` the
//! quantised activations:
//!
//! ```text
//! sum  = Σ w[i]·q[i]                                        exact
//! acc  = fma(sum, scale · d, acc)                           scale of the weights, d of the column
//! acc  = fma(−min, d · Σq, acc)                             only for formats that have a min
//! ```
//!
//! Formats with a scale for each 16 weights do this for the first half, then for the second. There
//! is one accumulator for a row and column, so neither the number of columns nor the range of rows
//! changes a bit. F16 and BF16 multiply f32 activations: `acc = fma(w[k], x[k], acc)`, in order.

use crate::activations::{HALF_SUMS, Int8Block, SCALE, SCALED_SUM};
use crate::block::{Block, Sub32, with_block};
use crate::packed::{GROUP_ROWS, Weights, deinterleave};
use crate::{Columns, Format, dequantize};

pub(crate) use crate::activations::quantize;
pub(crate) use crate::widen::{scale_int8, widen_f16};

/// `out[columns][rows of the groups]`; see [`Isa::matmul`](crate::Isa::matmul).
pub(crate) fn matmul(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    let stride = out.len() / x.columns();
    x.for_groups(out, stride, |x, out| matmul_group(w, groups, x, out));
}

/// At most [`GROUP_COLUMNS`](crate::GROUP_COLUMNS) columns.
fn matmul_group(w: &Weights<'_>, groups: &[u8], x: Columns<'_>, out: &mut [f32]) {
    let (format, columns) = (w.format(), x.columns());
    let group_bytes = GROUP_ROWS * format.row_bytes(w.cols());
    let stride = out.len() / columns;
    for (g, group) in groups.chunks_exact(group_bytes).enumerate() {
        for r in 0..GROUP_ROWS {
            for c in 0..columns {
                out[c * stride + g * GROUP_ROWS + r] = match x {
                    Columns::Int8 { data, .. } => {
                        with_block!(format, B => dot::<B>(group, r, data, columns, c), else f32::NAN)
                    }
                    Columns::F32 { k, values } => dot_f32(format, group, r, &values[c * k..][..k]),
                };
            }
        }
    }
}

/// One row of a packed group times column `c` of `columns`.
fn dot<B: Block>(group: &[u8], r: usize, data: &[u32], columns: usize, c: usize) -> f32 {
    let mut acc = 0.0f32;
    let mut column = data.chunks_exact(columns * size_of::<Int8Block<1>>() / 4).map(|block| {
        let mut rows = block.chunks_exact(columns);
        std::array::from_fn(|_| rows.next().map_or(0, |row| row[c]))
    });
    for packed in group.chunks_exact(GROUP_ROWS * size_of::<B>()) {
        let mut block = B::zeroed();
        deinterleave(B::FORMAT, packed, r, bytemuck::bytes_of_mut(&mut block));
        for j in 0..B::WEIGHTS / 32 {
            let Some(x) = column.next() else { return f32::NAN };
            acc = add_block::<B>(&block.sub32(j), &x, acc);
        }
    }
    acc
}

fn add_block<B: Block>(w: &Sub32, x: &[u32; 13], mut acc: f32) -> f32 {
    let q: [i8; 32] = bytemuck::must_cast(*x.first_chunk::<8>().expect("13 rows"));
    let d = f32::from_bits(x[SCALE]);
    let dot = |range: std::ops::Range<usize>| {
        range.map(|i| i32::from(w.q[i]) * i32::from(q[i])).sum::<i32>() as f32
    };
    if B::SCALES_OF_16 {
        for half in 0..2 {
            acc = dot(16 * half..16 * half + 16).mul_add(w.scale[half] * d, acc);
            if B::HAS_MIN {
                let sum = x[HALF_SUMS[half]] as i32 / -8;
                acc = (-w.min[half]).mul_add(d * sum as f32, acc);
            }
        }
    } else {
        acc = dot(0..32).mul_add(w.scale[0] * d, acc);
        if B::HAS_MIN {
            acc = (-w.min[0]).mul_add(f32::from_bits(x[SCALED_SUM]), acc);
        }
    }
    acc
}

/// One row of F16 or BF16 times a column of f32.
fn dot_f32(format: Format, group: &[u8], r: usize, x: &[f32]) -> f32 {
    let weights = group.as_chunks::<{ 2 * GROUP_ROWS }>().0;
    weights.iter().zip(x).fold(0.0, |acc, (rows, x)| {
        let mut w = [0.0];
        dequantize(format, &rows[2 * r..][..2], &mut w);
        w[0].mul_add(*x, acc)
    })
}
