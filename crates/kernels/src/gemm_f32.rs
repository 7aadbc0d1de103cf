//! F32 weights times f32 columns, by the `gemm` crate.

#![expect(unsafe_code, reason = "gemm takes pointers and strides")]

/// `out[columns][rows] = x[columns][k] · wᵀ`, with `w` the little-endian bytes of `[rows][k]`.
///
/// `out` may have more rows than `w` (the padding of a last group): those come out as zero.
pub(crate) fn matmul(w: &[u8], k: usize, x: &[f32], out: &mut [f32]) {
    // Whoever brings bytes of their own need not know of alignment.
    let copy: Vec<f32>;
    let w: &[f32] = match bytemuck::try_cast_slice(w) {
        Ok(w) => w,
        Err(_) => {
            copy = w.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            &copy
        }
    };
    let (rows, columns) = (w.len() / k, x.len() / k);
    let stride = out.len() / columns;
    if rows < stride {
        out.fill(0.0);
    }
    assert!(w.len() == rows * k && x.len() == columns * k && out.len() == columns * stride);
    assert!(rows <= stride, "{rows} rows in room for {stride}");
    // SAFETY: the assertions above say that row r < rows and column c < columns address elements
    // w[r·k ..][..k], x[c·k ..][..k] and out[c·stride + r], all inside their slices; `out` is
    // borrowed mutably, so it overlaps neither operand. Lengths of slices fit an `isize`, and the
    // strides are less than those. `out` is not read, since the factor of what it held is absent.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            k,
            out.as_mut_ptr(),
            stride as isize,
            1,
            false,
            w.as_ptr(),
            1,
            k as isize,
            x.as_ptr(),
            k as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, whose sums are exact in any order.
    #[test]
    fn rows_and_columns_of_any_number_are_multiplied_in_their_places() {
        for (rows, stride, columns, k) in
            [(5, 8, 3, 7), (8, 8, 1, 1), (1, 8, 9, 33), (16, 16, 2, 4)]
        {
            let weight = |r: usize, i: usize| ((r * 7 + i * 3) % 11) as f32 - 5.0;
            let value = |c: usize, i: usize| ((c * 5 + i * 2) % 13) as f32 - 6.0;
            let w: Vec<f32> = (0..rows * k).map(|n| weight(n / k, n % k)).collect();
            let x: Vec<f32> = (0..columns * k).map(|n| value(n / k, n % k)).collect();
            let mut out = vec![f32::NAN; columns * stride];
            matmul(bytemuck::cast_slice(&w), k, &x, &mut out);
            let shifted: Vec<u8> = [&[0], bytemuck::cast_slice(&w)].concat();
            let mut again = vec![f32::NAN; columns * stride];
            matmul(&shifted[1..], k, &x, &mut again);
            assert_eq!(out, again, "weights at an odd address");
            for (at, found) in out.into_iter().enumerate() {
                let (c, r) = (at / stride, at % stride);
                let sum: f32 = (0..k).map(|i| weight(r, i) * value(c, i)).sum();
                let wanted = if r < rows { sum } else { 0.0 };
                assert_eq!(found, wanted, "row {r} of {rows}, column {c} of {columns}, k {k}");
            }
        }
    }
}
