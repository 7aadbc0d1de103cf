//! F32 weights times f32 columns, by the `gemm` crate.

#![expect(unsafe_code, reason = "gemm takes pointers and strides")]

/// `out[columns][rows] = x[columns][k] · wᵀ`, with `w` the little-endian bytes of `[rows][k]`.
///
/// `out` may have more rows than `w` (the padding of a last group): those come out as zero.
pub(crate) fn matmul(w: &[u8], k: usize, x: &[f32], out: &mut [f32]) {
    let w: &[f32] = bytemuck::cast_slice(w);
    let (rows, columns) = (w.len() / k, x.len() / k);
    let stride = out.len() / columns;
    if rows < stride {
        out.fill(0.0);
    }
    assert!(w.len() == rows * k && x.len() == columns * k && out.len() == columns * stride);
    assert!(rows <= stride, "{rows} rows in room for {stride}");
    // SAFETY: the assertions above say that row r < rows and column c < columns address elements
    // w[r·k ..][..k], x[c·k ..][..k] and out[c·stride + r], all inside their slices; `out` is
    // borrowed mutably, so it overlaps neither operand.
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
