//! What is not a number stays none: NaN and infinities through every operation, on every
//! instruction set of this machine, at lengths around every edge.

use carat_kernels::{Columns, Format, Isa, Weights, int8_dwords, pack, packed_bytes};

const POISONS: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn isas() -> Vec<Isa> {
    match std::env::var("CARAT_TEST_ISA") {
        Ok(name) => vec![Isa::by_name(&name).expect("CARAT_TEST_ISA names an instruction set")],
        Err(_) => Isa::available().to_vec(),
    }
}

/// Runs a case for every instruction set, poison, length, and place of the poison; the other values
/// are small numbers.
fn for_each(mut case: impl FnMut(Isa, &[f32], usize)) {
    for isa in isas() {
        for poison in POISONS {
            for len in [1, 3, 4, 8, 9, 31, 32, 41] {
                for at in 0..len {
                    let mut x: Vec<f32> = (0..len).map(|i| (i % 7) as f32 / 3.0 - 1.0).collect();
                    x[at] = poison;
                    case(isa, &x, at);
                }
            }
        }
    }
}

#[test]
fn element_wise_operations_keep_what_is_no_number() {
    for_each(|isa, x, at| {
        let what = format!("{isa:?}: {} of {} is {}", at, x.len(), x[at]);
        let ones = vec![1.0; x.len()];

        let mut normed = vec![0.0; x.len()];
        isa.rms_norm(&mut normed, x, Some(&ones), 1e-6);
        assert!(normed.iter().all(|x| x.is_nan()), "norm, {what}: {normed:?}");
        normed.copy_from_slice(x);
        isa.rms_norm_in_place(&mut normed, None, 1e-6);
        assert!(normed.iter().all(|x| x.is_nan()), "norm, {what}: {normed:?}");
        normed.copy_from_slice(x);
        isa.layer_norm_in_place(&mut normed, &ones, &ones, 1e-6);
        assert!(normed.iter().all(|x| x.is_nan()), "layer norm, {what}: {normed:?}");

        let mut gated = x.to_vec();
        isa.gelu_mul(&mut gated, &ones);
        assert!(!gated[at].is_finite(), "gelu, {what}: {}", gated[at]);
        let mut gated = ones.clone();
        isa.gelu_mul(&mut gated, x);
        assert!(!gated[at].is_finite(), "gelu times it, {what}: {}", gated[at]);

        let mut gated = x.to_vec();
        isa.silu(&mut gated);
        assert!(!gated[at].is_finite(), "silu, {what}: {}", gated[at]);
        for (x, y) in [(x, ones.as_slice()), (&ones, x)] {
            let mut gated = x.to_vec();
            isa.sigmoid_mul(&mut gated, y);
            assert!(!gated[at].is_finite(), "gated unit, {what}: {}", gated[at]);
        }

        assert!(!isa.is_finite(x), "{what}");
        assert!(isa.is_finite(&ones), "{what}");

        let mut capped = x.to_vec();
        isa.softcap(&mut capped, 30.0);
        assert!(capped[at].is_nan(), "softcap, {what}: {}", capped[at]);
        let others = (0..x.len()).filter(|i| *i != at);
        assert!(others.clone().all(|i| capped[i].is_finite()), "softcap, {what}");

        let mut held = x.to_vec();
        isa.clamp(&mut held, -3.0, 3.0);
        assert!(held[at].is_nan(), "clamp, {what}: {}", held[at]);
        assert!(others.clone().all(|i| held[i].is_finite()), "clamp, {what}");
    });
}

/// Minus infinity is a score that nobody sees, all else makes the sum no number.
#[test]
fn exponentials_keep_what_is_no_number() {
    for_each(|isa, x, at| {
        let what = format!("{isa:?}: {} of {} is {}", at, x.len(), x[at]);
        let max = isa.max(x);
        match x[at] {
            f32::NEG_INFINITY => assert!(!max.is_nan(), "max, {what}"),
            f32::INFINITY => assert_eq!(max, f32::INFINITY, "{what}"),
            _ => assert!(max.is_nan(), "max, {what}: {max}"),
        }
        let largest = x.iter().copied().filter(|x| x.is_finite()).fold(-1.0, f32::max);
        for max in [max, largest] {
            let mut exponentials = x.to_vec();
            let sum = isa.exp_sub_sum(&mut exponentials, max);
            match x[at] {
                f32::NEG_INFINITY => assert!(x.len() == 1 || exponentials[at] == 0.0, "{what}"),
                f32::INFINITY if max.is_finite() => assert!(exponentials[at] > 1e38, "{what}"),
                _ => assert!(exponentials[at].is_nan() && sum.is_nan(), "exp, {what}: {sum}"),
            }
        }
    });
}

/// The same bits of `d` and of all else on every instruction set; every product with the block is
/// NaN, and none with another column changes.
#[test]
fn quantised_activations_and_their_products_keep_what_is_no_number() {
    for format in Format::ALL {
        let (rows, k) = (19, 512);
        let weights = packed(format, rows, k, None);
        let weights = Weights::new(format, rows, k, &weights);
        for n in [1, 3, 8, 37] {
            let clean: Vec<f32> = (0..k * n).map(|i| (i * 97 % 255) as f32 / 50.0 - 2.0).collect();
            for (case, poison) in (0..).zip(POISONS) {
                let (column, at) = ((case * 5 + 2) % n, (case * 211 + 17) % k);
                let mut poisoned = clean.clone();
                poisoned[column * k + at] = poison;
                for isa in isas() {
                    let what = format!("{format} {isa:?}, column {column} of {n} has {poison}");
                    if format.wants_int8() {
                        let quantised = quantised(isa, &poisoned, k);
                        assert!(quantised == quantised_by_scalar(&poisoned, k), "{what}");
                    }
                    let [good, bad] = [&clean, &poisoned].map(|x| product(isa, &weights, x));
                    for (c, (good, bad)) in
                        good.chunks_exact(24).zip(bad.chunks_exact(24)).enumerate()
                    {
                        match c == column {
                            true => assert!(bad[..rows].iter().all(|x| !x.is_finite()), "{what}"),
                            false => assert_eq!(good, bad, "{what}"),
                        }
                    }
                }
            }
        }
    }
}

/// A scale or weight that is no number makes its row's products none, and no other's.
#[test]
fn products_of_scales_that_are_no_numbers_are_none() {
    // Every byte that is a scale is a number.
    let has_numbers_only = |format| matches!(format, Format::MXFP4 | Format::NVFP4);
    for format in Format::ALL.into_iter().filter(|format| !has_numbers_only(*format)) {
        let (rows, k) = (19, 512);
        let clean = packed(format, rows, k, None);
        for (case, poison) in (0..).zip(POISONS) {
            let row = case * 7 + 3;
            let poisoned = packed(format, rows, k, Some((row, poison)));
            let [clean, poisoned] = [&clean, &poisoned].map(|w| Weights::new(format, rows, k, w));
            let mut values = vec![0.0; k];
            poisoned.dequantize_row(row, &mut values);
            assert!(values.iter().any(|x| !x.is_finite()), "{format} {poison}");
            for n in [1, 3, 8, 37] {
                // Zeros as well: nothing times no number is no number.
                let x: Vec<f32> = (0..k * n).map(|i| (i * 97 % 255) as f32 / 50.0 - 2.0).collect();
                for x in [x, vec![0.0; k * n]] {
                    for isa in isas() {
                        let [good, bad] = [&clean, &poisoned].map(|w| product(isa, w, &x));
                        for (i, (good, bad)) in good.iter().zip(bad).enumerate() {
                            match i % 24 == row {
                                true => {
                                    assert!(!bad.is_finite(), "{format} {isa:?} {poison}: {bad}")
                                }
                                false => assert_eq!(*good, bad, "{format} {isa:?} {poison} {i}"),
                            }
                        }
                    }
                }
            }
        }
    }
}

fn quantised(isa: Isa, x: &[f32], k: usize) -> Vec<u32> {
    let mut data = vec![u32::MAX; int8_dwords(k, x.len() / k)];
    isa.quantize_columns(x, k, &mut data);
    data
}

fn quantised_by_scalar(x: &[f32], k: usize) -> Vec<u32> {
    quantised(Isa::scalar(), x, k)
}

fn product(isa: Isa, w: &Weights<'_>, x: &[f32]) -> Vec<f32> {
    let (k, columns) = (w.cols(), x.len() / w.cols());
    let mut out = vec![0.0; w.groups() * 8 * columns];
    if w.format().wants_int8() {
        let data = quantised(isa, x, k);
        isa.matmul(w, 0..w.groups(), Columns::Int8 { k, columns, data: &data }, &mut out);
    } else {
        isa.matmul(w, 0..w.groups(), Columns::F32 { k, values: x }, &mut out);
    }
    out
}

/// A matrix of arbitrary payload and scales near 0.01, in one of whose rows the scale of a block,
/// or in formats without one a weight, is `poison`.
fn packed(format: Format, rows: usize, k: usize, poison: Option<(usize, f32)>) -> Vec<u8> {
    let mut plain: Vec<u8> = (0..rows * format.row_bytes(k)).map(|i| (i * i % 251) as u8).collect();
    let row_blocks = format.row_bytes(k) / format.block_bytes();
    for (i, block) in plain.chunks_exact_mut(format.block_bytes()).enumerate() {
        let poison = poison.filter(|(row, _)| i == row * row_blocks + row_blocks / 2);
        let finite = 0.01 + (i % 5) as f32 / 500.0;
        let value = poison.map_or(finite, |(_, poison)| poison);
        // Offsets of the f16 scales in ggml's blocks.
        let scales: &[usize] = match format {
            Format::F32 => {
                block.copy_from_slice(&value.to_le_bytes());
                continue;
            }
            Format::BF16 => {
                block.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes());
                continue;
            }
            Format::MXFP4 => {
                block[0] = 116 + (i % 4) as u8; // 2⁻¹¹ to 2⁻⁸
                continue;
            }
            Format::NVFP4 => continue,
            Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
            Format::Q2_K => &[80, 82],
            Format::Q3_K => &[108],
            Format::Q6_K => &[208],
            _ => &[0],
        };
        for (s, at) in scales.iter().enumerate() {
            let is_other = poison.is_some_and(|(row, _)| row % scales.len() != s);
            let value = if is_other { finite } else { value };
            block[*at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
        }
    }
    let mut packed = vec![0; packed_bytes(format, rows, k)];
    pack(format, k, &plain, &mut packed);
    packed
}
