//! Activations as the matrix kernels want them: columns (tokens) in groups of eight.
//!
//! Block formats multiply 8-bit activations. For each 32 values `x` of a column
//!
//! ```text
//! d = max|x| / 127        q[i] = round(x[i] / d) in -127 ..= 127, ties to even
//! ```
//!
//! Columns stand in groups of eight, the last of which may be smaller, one group after the other.
//! A block of a group of `n` columns is 13 rows of `n` dwords: eight rows of four `q` each, `d`,
//! `d · Σq`, `−8 · Σq`, and `−8 · Σq` of the two halves of 16. A kernel thus walks one array from
//! front to back, a dword broadcast is one column's operand, and a sum that starts at a multiple of
//! `−8 · Σq` takes the offset of unsigned weights off: 8 is that of Q4_0, the others are shifts.
//!
//! −128 never occurs, so that |q| fits a signed byte and `maddubs` has the bounds that the kernels
//! derive from 127. Scales per 32 instead of ggml's 256 are closer to the f32 product.
//!
//! Where a value is NaN or infinite, `d` is NaN, and so is every product with the block.

use crate::Isa;

/// Columns that are interleaved; a last group may have fewer.
pub const GROUP_COLUMNS: usize = 8;

/// The columns of one matrix product.
#[derive(Clone, Copy, Debug)]
pub enum Columns<'a> {
    /// What [`Isa::quantize_columns`] wrote; for the block formats.
    Int8 {
        /// Values in a column.
        k: usize,
        /// Number of columns.
        columns: usize,
        /// [`int8_dwords`]`(k, columns)` dwords.
        data: &'a [u32],
    },
    /// Plain values; for F32, F16 and BF16.
    F32 {
        /// Values in a column.
        k: usize,
        /// `[columns][k]`.
        values: &'a [f32],
    },
}

impl Columns<'_> {
    /// Values in a column.
    pub fn k(&self) -> usize {
        match *self {
            Columns::Int8 { k, .. } | Columns::F32 { k, .. } => k,
        }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        match *self {
            Columns::Int8 { columns, .. } => columns,
            Columns::F32 { k, values } => values.len().checked_div(k).unwrap_or(0),
        }
    }

    /// The first columns, whole groups of them, and the rest.
    pub(crate) fn split_at(self, columns: usize) -> (Self, Self) {
        match self {
            Self::Int8 { k, columns: all, data } => {
                let (head, tail) = data.split_at(int8_dwords(k, columns));
                let part = |columns, data| Self::Int8 { k, columns, data };
                (part(columns, head), part(all - columns, tail))
            }
            Self::F32 { k, values } => {
                let (head, tail) = values.split_at(k * columns);
                (Self::F32 { k, values: head }, Self::F32 { k, values: tail })
            }
        }
    }

    /// Hands each group to `multiply`, with its part of `out`, `[columns][stride]`.
    pub(crate) fn for_groups(
        mut self,
        out: &mut [f32],
        stride: usize,
        mut multiply: impl FnMut(Self, &mut [f32]),
    ) {
        for out in out.chunks_mut(GROUP_COLUMNS * stride) {
            let (group, rest) = self.split_at(GROUP_COLUMNS.min(self.columns()));
            multiply(group, out);
            self = rest;
        }
    }
}

/// Dwords that `columns` columns of `k` values take once quantised.
///
/// # Panics
/// If `k` is not a multiple of 32.
pub fn int8_dwords(k: usize, columns: usize) -> usize {
    assert!(k.is_multiple_of(32), "{k} values in blocks of 32");
    k / 32 * BLOCK_ROWS * columns
}

/// A block of `N` columns: rows 0 to 7 are `q`, then the rows named below.
pub(crate) type Int8Block<const N: usize> = [[u32; N]; BLOCK_ROWS];

pub(crate) const BLOCK_ROWS: usize = 13;
/// `d`, an f32.
pub(crate) const SCALE: usize = 8;
/// `d · Σq`, an f32.
pub(crate) const SCALED_SUM: usize = 9;
/// `−8 · Σq`, an i32.
pub(crate) const SUM: usize = 10;
/// `−8 · Σq` of the first 16, then of the last 16.
pub(crate) const HALF_SUMS: [usize; 2] = [11, 12];

/// Views quantised data as blocks of `N` columns.
pub(crate) fn int8_blocks<const N: usize>(data: &[u32]) -> &[Int8Block<N>] {
    data.as_chunks().0.as_chunks().0
}

impl Isa {
    /// Quantises `[columns][k]` values to 8 bits for [`Columns::Int8`].
    ///
    /// A block that holds a value that is not finite gets a scale of NaN.
    ///
    /// # Panics
    /// If `out` is not [`int8_dwords`] long or there are no columns.
    pub fn quantize_columns(self, x: &[f32], k: usize, out: &mut [u32]) {
        assert!(k > 0 && x.len().is_multiple_of(k), "{} values in columns of {k}", x.len());
        let columns = x.len() / k;
        assert!(columns > 0, "no columns");
        let need = int8_dwords(k, columns);
        assert_eq!(out.len(), need, "{} dwords where {need} are needed", out.len());
        let group = int8_dwords(k, GROUP_COLUMNS);
        for (x, out) in x.chunks(k * GROUP_COLUMNS).zip(out.chunks_mut(group)) {
            self.quantize_checked(x, k, out);
        }
    }
}

/// Quantises every block; inlined into one function per instruction set, so that all of them run
/// the same operations in the same order.
#[inline(always)]
pub(crate) fn quantize(x: &[f32], k: usize, out: &mut [u32]) {
    for_columns(x, k, out, quantize_block);
}

/// Spreads what `quantize_block` makes of each 32 values over the rows of their block.
#[inline(always)]
pub(crate) fn for_columns(
    x: &[f32],
    k: usize,
    out: &mut [u32],
    quantize_block: impl Fn(&[f32; 32]) -> [u32; BLOCK_ROWS],
) {
    let columns = x.len() / k;
    for (c, column) in x.chunks_exact(k).enumerate() {
        let blocks = out.chunks_exact_mut(BLOCK_ROWS * columns);
        for (x, out) in column.as_chunks::<32>().0.iter().zip(blocks) {
            for (row, value) in out.chunks_exact_mut(columns).zip(quantize_block(x)) {
                row[c] = value;
            }
        }
    }
}

#[inline(always)]
fn quantize_block(x: &[f32; 32]) -> [u32; BLOCK_ROWS] {
    // The bits of numbers without a sign are in the numbers' order, infinity and NaN come last.
    let mut max = [0; 8];
    for x in x.as_chunks::<8>().0 {
        for (max, x) in max.iter_mut().zip(x) {
            *max = x.abs().to_bits().max(*max);
        }
    }
    let (d, inverse) = scale(max.into_iter().fold(0, u32::max));
    let mut q = [0i8; 32];
    for (q, x) in q.iter_mut().zip(x) {
        let y = (x * inverse).round_ties_even();
        let y = if y > -127.0 { y } else { -127.0 }; // also catches NaN
        *q = if y < 127.0 { y } else { 127.0 } as i8;
    }
    let half = |q: &[i8]| q.iter().map(|&q| i32::from(q)).sum::<i32>();
    block_rows(q, d, [half(&q[..16]), half(&q[16..])])
}

/// `d` and `1 / d` of a block whose largest magnitude has these bits.
#[inline(always)]
pub(crate) fn scale(max: u32) -> (f32, f32) {
    let max = f32::from_bits(max);
    let max = if max < f32::INFINITY { max } else { f32::NAN };
    // Below the smallest normal number 1 / d could overflow; such values round to nothing.
    let d = if max / 127.0 < f32::MIN_POSITIVE { 0.0 } else { max / 127.0 };
    (d, if d > 0.0 { 1.0 / d } else { 0.0 })
}

/// The rows of one column of a block, `halves` being the sums of 16.
#[inline(always)]
pub(crate) fn block_rows(q: [i8; 32], d: f32, halves: [i32; 2]) -> [u32; BLOCK_ROWS] {
    let sum = halves[0] + halves[1];
    let mut out = [0; BLOCK_ROWS];
    for (out, q) in out.iter_mut().zip(q.as_chunks::<4>().0) {
        *out = u32::from_le_bytes(q.map(|q| q as u8));
    }
    out[SCALE] = d.to_bits();
    out[SCALED_SUM] = (d * sum as f32).to_bits();
    out[SUM] = (-8 * sum) as u32;
    out[HALF_SUMS[0]] = (-8 * halves[0]) as u32;
    out[HALF_SUMS[1]] = (-8 * halves[1]) as u32;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(x: [f32; 32]) -> [u32; BLOCK_ROWS] {
        let mut out = [u32::MAX; BLOCK_ROWS];
        quantize(&x, 32, &mut out);
        out
    }

    #[test]
    fn rounds_to_the_nearest_step_and_sums_what_it_rounded() {
        let mut x = [0.0; 32];
        (x[0], x[1], x[2], x[5], x[16]) = (127.0, 0.5, 1.5, -2.4, -127.0);
        let out = block(x);
        assert_eq!(out[0].to_le_bytes(), [127, 0, 2, 0]); // ties to even
        assert_eq!(out[1].to_le_bytes(), [0, -2i8 as u8, 0, 0]);
        assert_eq!(out[4].to_le_bytes()[0] as i8, -127);
        assert_eq!(f32::from_bits(out[SCALE]), 1.0);
        assert_eq!(f32::from_bits(out[SCALED_SUM]), 0.0);
        assert_eq!(out[SUM] as i32, 0);
        assert_eq!(HALF_SUMS.map(|row| out[row] as i32), [-8 * 127, 8 * 127]);
    }

    #[test]
    fn zero_tiny_and_infinite_blocks_stay_in_range() {
        let values = [0.0, -0.0, 1e-45, f32::MIN_POSITIVE, f32::MAX];
        let none = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
        for (value, at) in values.into_iter().chain(none).flat_map(|v| (0..32).map(move |i| (v, i)))
        {
            let mut x = [1.0; 32];
            x[at] = value;
            let out = block(x);
            let [scale, sum] = [SCALE, SCALED_SUM].map(|row| f32::from_bits(out[row]));
            assert_eq!(scale.is_finite(), value.is_finite(), "{value} at {at}");
            assert_eq!(scale.is_nan() && sum.is_nan(), !value.is_finite(), "{value} at {at}");
            for dword in &out[..8] {
                assert!(dword.to_le_bytes().iter().all(|&q| q != 0x80), "{value}: {out:?}");
            }
        }
        assert_eq!(block([1e-45; 32])[SCALE], 0);
    }

    #[test]
    fn columns_interleave_within_a_block() {
        let x: Vec<f32> = (0..3 * 64).map(|i| (i % 23) as f32 - 11.0).collect();
        let mut out = vec![0; int8_dwords(64, 3)];
        quantize(&x, 64, &mut out);
        for (b, blocks) in int8_blocks::<3>(&out).iter().enumerate() {
            for c in 0..3 {
                let x: [f32; 32] = x[c * 64 + b * 32..][..32].try_into().expect("32 values");
                assert_eq!(blocks.map(|row| row[c]), block(x));
            }
        }
    }
}
