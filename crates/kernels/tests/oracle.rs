//! Every instruction set of this machine against scalar, on the same quantised input.
//!
//! Every format but F32 promises the same bits, and the tests compare bits. F32 products are the
//! gemm crate's: the order of a sum may differ, and the tolerance is derived from that.

use carat_kernels::{
    Columns, Format, Isa, Weights, dequantize, int8_dwords, pack, packed_bytes, quantize,
};
use proptest::prelude::*;

/// The instruction sets under test. `CARAT_TEST_ISA` narrows them to one;
/// `CARAT_REQUIRE_ISA` makes it a failure that this machine lacks one.
fn isas() -> Vec<Isa> {
    if let Ok(required) = std::env::var("CARAT_REQUIRE_ISA") {
        assert!(Isa::by_name(&required).is_some(), "this machine has no {required}");
    }
    match std::env::var("CARAT_TEST_ISA") {
        Ok(name) => vec![Isa::by_name(&name).expect("CARAT_TEST_ISA names an instruction set")],
        Err(_) => Isa::available().to_vec(),
    }
}

/// A reproducible stream of bits (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A matrix, its columns and what they are made of.
struct Case {
    format: Format,
    rows: usize,
    k: usize,
    packed: Vec<u8>,
    plain: Vec<u8>,
    x: Vec<f32>,
}

/// How hard the integers are pushed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Extremes {
    None,
    /// All payload bits alike, activations at ±127: the bounds of the `maddubs` sums.
    Full(u8, [f32; 4]),
}

impl Case {
    fn new(format: Format, rows: usize, k: usize, columns: usize, seed: u64, e: Extremes) -> Self {
        let mut random = Random(seed | 1);
        let mut plain = vec![0; rows * format.row_bytes(k)];
        for block in plain.chunks_exact_mut(format.block_bytes()) {
            random_block(format, &mut random, e, block);
        }
        let mut packed = vec![0; packed_bytes(format, rows, k)];
        pack(format, k, &plain, &mut packed);
        let x = (0..columns * k).map(|i| match e {
            Extremes::None => random.float() * [1.0, 1e-3, 40.0][i / 32 % 3],
            Extremes::Full(_, signs) => signs[i % 4],
        });
        let x = x.collect();
        Self { format, rows, k, packed, plain, x }
    }

    fn product(&self, isa: Isa, groups: std::ops::Range<usize>, columns: &[f32]) -> Vec<f32> {
        let w = Weights::new(self.format, self.rows, self.k, &self.packed);
        let n = columns.len() / self.k;
        let mut data;
        let x = if self.format.wants_int8() {
            data = vec![u32::MAX; int8_dwords(self.k, n)];
            isa.quantize_columns(columns, self.k, &mut data);
            Columns::Int8 { k: self.k, columns: n, data: &data }
        } else {
            Columns::F32 { k: self.k, values: columns }
        };
        let streams = isa.streams(self.format, n).iter();
        let mut products = streams.map(|&streams| {
            let mut out = vec![f32::NAN; groups.len() * 8 * n];
            isa.matmul(&w.in_streams(streams), groups.clone(), x, &mut out);
            out
        });
        let out = products.next().expect("at least one way to read weights");
        for other in products {
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&other) == bits(&out), "{isa:?}, {n} columns: other bits in four streams");
        }
        out
    }

    fn whole(&self, isa: Isa) -> Vec<f32> {
        self.product(isa, 0..self.rows.div_ceil(8), &self.x)
    }

    /// `(Σ w·x, Σ |w·x|)` of each product in f64, `[columns][padded rows]`.
    fn truth(&self) -> Vec<(f64, f64)> {
        let mut w = vec![0.0; self.rows * self.k];
        dequantize(self.format, &self.plain, &mut w);
        let mut out = Vec::new();
        for x in self.x.chunks_exact(self.k) {
            for r in 0..self.rows.next_multiple_of(8) {
                let row = w.get(r * self.k..(r + 1) * self.k).unwrap_or(&[]);
                let terms = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                out.push(terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs())));
            }
        }
        out
    }
}

/// Random payload with finite scales near 0.01 (every f16 of a block has exponent bits 8 to 11).
fn random_block(format: Format, random: &mut Random, e: Extremes, block: &mut [u8]) {
    for byte in block.iter_mut() {
        *byte = match e {
            Extremes::None => random.next() as u8,
            Extremes::Full(byte, _) => byte,
        };
    }
    let halves: &[usize] = match format {
        Format::F32 => {
            return block.copy_from_slice(&random.float().to_le_bytes());
        }
        Format::BF16 => {
            return block.copy_from_slice(&random.float().to_le_bytes()[2..]);
        }
        Format::F16 | Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[0],
        Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S => &[0],
        Format::IQ3_XXS | Format::IQ3_S | Format::IQ4_NL | Format::IQ4_XS => &[0],
        // Powers of two from 2⁻¹¹ to 2⁻⁸.
        Format::MXFP4 => return block[0] = 116 + (random.next() & 3) as u8,
        // Every byte is a finite scale.
        Format::NVFP4 => &[],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
    };
    for &at in halves {
        let bits = 0x2000 | (random.next() as u16 & 0x8FFF);
        block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    }
}

fn assert_same_bits(got: &[f32], want: &[f32], what: std::fmt::Arguments<'_>) {
    let differ = |i: &usize| got[*i].to_bits() != want[*i].to_bits();
    let wrong: Vec<_> = (0..want.len()).filter(differ).collect();
    let first: Vec<_> = wrong.iter().take(4).map(|&i| (i, got[i], want[i])).collect();
    assert!(wrong.is_empty(), "{what}: {} of {} differ: {first:?}", wrong.len(), want.len());
}

/// The product in exact arithmetic, and how far any order of f32 additions may be from it.
fn assert_close_to_truth(case: &Case, got: &[f32], what: std::fmt::Arguments<'_>) {
    for (i, (got, (want, size))) in got.iter().zip(case.truth()).enumerate() {
        // A sum of n terms in any order is off by at most n·ε·Σ|term| (Higham, section 4.2).
        let bound = case.k as f64 * f64::from(f32::EPSILON) * size;
        assert!((f64::from(*got) - want).abs() <= bound, "{what} at {i}: {got} for {want}");
    }
}

fn check(case: &Case) {
    let want = case.whole(Isa::scalar());
    for isa in isas() {
        let what = format!("{} on {isa:?}, {}x{}", case.format, case.rows, case.k);
        let got = case.whole(isa);
        if case.format != Format::F32 {
            assert_same_bits(&got, &want, format_args!("{what}"));
        } else {
            assert_close_to_truth(case, &got, format_args!("{what}"));
        }
    }
}

#[test]
fn every_format_and_column_count_equals_scalar() {
    for format in Format::ALL {
        for columns in 1..=8 {
            let block = format.block_weights().max(32);
            // The last is longer than any kernel takes at once.
            for (rows, k) in [(1, block), (8, 2 * block), (19, 3 * block), (9, 1280)] {
                check(&Case::new(format, rows, k, columns, columns as u64, Extremes::None));
            }
        }
    }
}

/// Many columns take another way on x86: weights are unpacked for all of them.
#[test]
fn many_columns_equal_scalar() {
    for format in Format::ALL {
        let block = format.block_weights().max(32);
        // Columns that are no whole group; rows of more than one tile, and of more than are
        // unpacked at once; k of less than a slab, and of one and a part.
        for (rows, k, columns) in
            [(19, block, 32), (40, 3 * block, 37), (72, 1280, 33), (8, 800, 9)]
        {
            let k = k.next_multiple_of(block);
            check(&Case::new(format, rows, k, columns, 11, Extremes::None));
        }
    }
    // Formats without blocks have rows of any length.
    for format in [Format::F16, Format::BF16] {
        for (rows, k, columns) in [(24, 1, 16), (16, 67, 17), (48, 64, 24), (40, 129, 40)] {
            check(&Case::new(format, rows, k, columns, 12, Extremes::None));
        }
    }
}

#[test]
fn extreme_weights_and_activations_do_not_saturate() {
    let signs = [[127.0; 4], [-127.0; 4], [127.0, -127.0, 127.0, -127.0], [127., 127., 0., 0.]];
    for format in Format::ALL.into_iter().filter(|format| format.wants_int8()) {
        for byte in [0x00, 0xFF, 0x80, 0x7F, 0xF0, 0x0F] {
            for signs in signs {
                let k = 2 * format.block_weights();
                for columns in [1, 3, 8, 32] {
                    check(&Case::new(format, 24, k, columns, 7, Extremes::Full(byte, signs)));
                }
            }
        }
    }
}

#[test]
fn scalar_is_the_product_of_what_dequantize_says() {
    for format in Format::ALL {
        let k = 2 * format.block_weights().max(32);
        let mut case = Case::new(format, 16, k, 4, 99, Extremes::None);
        // Integers up to 127 in every block survive the quantisation of activations unchanged.
        let mut random = Random(5);
        for x in case.x.chunks_exact_mut(32) {
            x.fill_with(|| (random.next() % 255) as f32 - 127.0);
            x[0] = 127.0;
        }
        for isa in isas() {
            assert_close_to_truth(&case, &case.whole(isa), format_args!("{format} on {isa:?}"));
        }
    }
}

#[test]
fn neither_rows_nor_columns_of_a_call_change_a_bit() {
    for format in Format::ALL {
        let k = format.block_weights().max(64);
        let case = Case::new(format, 24, k, 8, 3, Extremes::None);
        for isa in isas() {
            let whole = case.whole(isa);
            for (c, x) in case.x.chunks_exact(k).enumerate() {
                for g in 0..3 {
                    let want = &whole[c * 24 + g * 8..][..8];
                    let got = case.product(isa, g..g + 1, x);
                    if format == Format::F32 {
                        // The gemm crate may choose another kernel: two roundings of one sum.
                        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4;
                        assert!(got.iter().zip(want).all(close), "{isa:?}: {got:?} {want:?}");
                    } else {
                        assert_same_bits(&got, want, format_args!("{format} on {isa:?}"));
                    }
                }
            }
        }
    }
}

#[test]
fn weights_of_known_value_give_known_products() {
    for format in Format::ALL.into_iter().filter(|format| format.can_quantize()) {
        let k = 256;
        let w: Vec<f32> = (0..8 * k).map(|i| if i % k == i / k { 1.0 } else { 0.0 }).collect();
        let mut plain = vec![0; 8 * format.row_bytes(k)];
        quantize(format, &w, &mut plain);
        let mut packed = vec![0; packed_bytes(format, 8, k)];
        pack(format, k, &plain, &mut packed);
        let x: Vec<f32> = (0..k).map(|i| (i + 1) as f32).collect();
        let case = Case { format, rows: 8, k, packed, plain, x };
        for isa in isas() {
            for (r, got) in case.whole(isa).iter().enumerate() {
                let want = (r + 1) as f32;
                assert!((got - want).abs() < 0.2, "{format} on {isa:?}: row {r} gives {got}");
            }
        }
    }
}

/// Weights of 1 under each of the 256 bytes that may be a scale, times 1: the scale, as the
/// specifications of the formats have it, but for what ggml makes of their NaN.
#[test]
fn every_byte_of_scale_is_the_float_that_it_stands_for() {
    let mxfp4 = |e: u8| 2.0_f64.powi(i32::from(e) - 127);
    let nvfp4 = |x: u8| match (i32::from(x >> 3 & 15), f64::from(x & 7)) {
        _ if x == 0x7F => 0.0,
        (0, mantissa) => mantissa / 8.0 * 2.0_f64.powi(-6),
        (exponent, mantissa) => (1.0 + mantissa / 8.0) * 2.0_f64.powi(exponent - 7),
    };
    let scales: [(Format, &dyn Fn(u8) -> f64); 2] =
        [(Format::MXFP4, &mxfp4), (Format::NVFP4, &nvfp4)];
    for (format, scale) in scales {
        let (rows, k, block) = (256, format.block_weights(), format.block_bytes());
        let mut plain = vec![0x22; rows * block]; // twos are doubles of ones
        for (r, row) in plain.chunks_exact_mut(block).enumerate() {
            row[..if format == Format::MXFP4 { 1 } else { 4 }].fill(r as u8);
        }
        let mut packed = vec![0; packed_bytes(format, rows, k)];
        pack(format, k, &plain, &mut packed);
        for at in [0, 17, k - 1] {
            for columns in [1, 3, 8, 33] {
                let x = (0..columns * k).map(|i| if i % k == at { 1.0 } else { 0.0 }).collect();
                let case =
                    Case { format, rows, k, packed: packed.clone(), plain: plain.clone(), x };
                for isa in isas() {
                    for (i, got) in case.whole(isa).into_iter().enumerate() {
                        let want = scale((i % rows) as u8) as f32;
                        // The scale of a column is rounded, and its product with a tiny scale, too,
                        // to a multiple of the smallest f32: of which 254 make this sum.
                        let bound = 1e-6 * want + 254.0 * f32::from_bits(1);
                        let is_near = got == want || (got - want).abs() <= bound;
                        assert!(is_near, "{format} on {isa:?} at {i}: {got} for {want}");
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_shape_equals_scalar(
        which in 0..Format::ALL.len(),
        rows in 1usize..40,
        blocks in 1usize..9,
        columns in prop_oneof![1usize..=8, 1usize..=70],
        seed: u64,
    ) {
        let format = Format::ALL[which];
        let k = blocks * format.block_weights().max(32);
        check(&Case::new(format, rows, k, columns, seed, Extremes::None));
    }

    #[test]
    fn quantised_activations_are_the_same_everywhere(
        x in prop::collection::vec(prop::num::f32::ANY, 64..=64),
        scale in prop::sample::select(vec![1.0f32, 1e-30, 0.0]),
    ) {
        let x: Vec<f32> = x.into_iter().map(|x| x * scale).collect();
        let mut want = vec![0; int8_dwords(32, 2)];
        Isa::scalar().quantize_columns(&x, 32, &mut want);
        for isa in isas() {
            let mut got = vec![u32::MAX; want.len()];
            isa.quantize_columns(&x, 32, &mut got);
            // No NaN comes out, whatever goes in: infinity times 0 counts as -127, never as 0.
            prop_assert_eq!(&got, &want, "{:?}", isa);
        }
    }
}
