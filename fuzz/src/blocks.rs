//! Any bytes as blocks of any format: every instruction set gives scalar's bits, packing has an
//! exact inverse, and a row looked up is the row dequantised.

use carat_kernels::{
    Columns, Format, Isa, Weights, dequantize, int8_dwords, pack, packed_bytes, unpack,
};

/// Input: a byte for the format, one for the number of columns, one for the shape, then weights.
pub fn blocks(data: &[u8]) -> bool {
    let [which, columns, shape, weights @ ..] = data else { return false };
    if weights.is_empty() {
        return false;
    }
    let format = Format::ALL[usize::from(*which) % Format::ALL.len()];
    // Few columns, and as many as a panel begins at with some more.
    let columns = usize::from(columns % 8 + 1 + if columns & 0x80 == 0 { 0 } else { 31 });
    let rows = usize::from(shape % 17) + 1;
    let k = format.block_weights().max(32) * (usize::from(shape / 17 % 3) + 1);

    let need = rows * format.row_bytes(k);
    let plain: Vec<u8> = weights.iter().copied().cycle().take(need).collect();
    let mut packed = vec![0; packed_bytes(format, rows, k)];
    pack(format, k, &plain, &mut packed);
    let mut back = vec![0; plain.len()];
    unpack(format, k, &packed, &mut back);
    assert!(back == plain, "{format} {rows}x{k}: unpacking is not the inverse of packing");

    let w = Weights::new(format, rows, k, &packed);
    let last = rows - 1;
    let (mut want, mut got) = (vec![0.0; k], vec![0.0; k]);
    dequantize(format, &plain[last * format.row_bytes(k)..], &mut want);
    w.dequantize_row(last, &mut got);
    assert!(same(&got, &want), "{format} {rows}x{k}: the last row looked up is another");

    // Activations from the same bytes, both signs, with blocks of very different size.
    let value = |i: usize| f32::from(weights[i % weights.len()].cast_signed());
    let x: Vec<f32> = (0..columns * k).map(|i| value(i) * [1.0, 0.01, 900.0][i / 32 % 3]).collect();
    let want = product(Isa::scalar(), &w, &x);
    for isa in Isa::available() {
        let got = product(*isa, &w, &x);
        // F32 is the gemm crate's product on every instruction set: there is nothing to compare.
        let shape = format_args!("{format} {rows}x{k}, {columns} columns").to_string();
        assert!(format == Format::F32 || same(&got, &want), "{shape}: {isa:?} is not scalar");
    }
    true
}

fn product(isa: Isa, w: &Weights<'_>, x: &[f32]) -> Vec<f32> {
    let (k, columns) = (w.cols(), x.len() / w.cols());
    let mut out = vec![f32::NAN; columns * 8 * w.groups()];
    let mut data = vec![0; int8_dwords(k, columns)];
    isa.quantize_columns(x, k, &mut data);
    let columns = if w.format().wants_int8() {
        Columns::Int8 { k, columns, data: &data }
    } else {
        Columns::F32 { k, values: x }
    };
    isa.matmul(w, 0..w.groups(), columns, &mut out);
    out
}

/// Equal bits; one NaN is as good as another.
fn same(a: &[f32], b: &[f32]) -> bool {
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// One seed for each format and a few shapes, with payload bytes that reach the extremes.
pub fn blocks_seeds() -> Vec<Vec<u8>> {
    (0..Format::ALL.len())
        .map(|which| {
            let many = if which % 2 == 0 { 0x80 } else { 0 };
            let head = [which as u8, (which * 3) as u8 + many, (which * 29) as u8];
            let payload = (0..40u8).map(|i| [0x00, 0xFF, 0x80, i.wrapping_mul(73)][which % 4] ^ i);
            head.into_iter().chain(payload).collect()
        })
        .collect()
}
