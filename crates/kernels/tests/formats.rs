//! What holds for every format and any input: sizes, and what quantising may cost.

use carat_kernels::{Format, dequantize, quantize};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn rows_are_whole_blocks_and_add_up(
        format in any_format(),
        a in 0..1000_usize,
        b in 0..1000_usize,
    ) {
        let (weights, bytes) = (format.block_weights(), format.block_bytes());
        prop_assert_eq!(format.row_bytes(weights), bytes);
        prop_assert_eq!(
            format.row_bytes((a + b) * weights),
            format.row_bytes(a * weights) + format.row_bytes(b * weights)
        );
    }

    #[test]
    fn any_bytes_dequantize(format in any_format(), bytes in vec(any::<u8>(), 0..2000)) {
        let blocks = bytes.len() / format.block_bytes();
        let mut out = vec![0.0; blocks * format.block_weights()];
        dequantize(format, &bytes[..blocks * format.block_bytes()], &mut out);
    }

    /// Any bits at all, with NaN and infinities: no panic, and the blocks can be read.
    #[test]
    fn any_floats_quantize(
        format in quantizable(),
        x in vec(any::<u32>().prop_map(f32::from_bits), 512),
    ) {
        round_trip(format, &x);
    }

    /// Blocks do not see each other.
    #[test]
    fn blocks_are_independent(format in quantizable(), x in weights(1024)) {
        let whole = round_trip(format, &x);
        let parts: Vec<f32> = x.chunks(256).flat_map(|x| round_trip(format, x)).collect();
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn the_error_is_within_the_step(format in quantizable(), x in weights(256)) {
        let y = round_trip(format, &x);
        for (x, y) in x.chunks(format.block_weights()).zip(y.chunks(format.block_weights())) {
            let bound = bound(format, x);
            for (x, y) in x.iter().zip(y) {
                prop_assert!((x - y).abs() <= bound, "{format}: {x} became {y}, bound {bound}");
            }
        }
    }
}

/// The most by which a weight of this block may change.
///
/// A nearest level is at most half a step away. Besides: Q4_0 has no level +8, so a weight opposite
/// to the largest may lose a whole step; and the f16 scale is off by 2⁻¹¹ of itself, or by 2⁻²⁵
/// where it is subnormal, times the integers that it is multiplied with. For the K-quants the step
/// is that of the coarsest sub-block, whose scale is a small integer as well: Q6_K's may be off by
/// half of 1/128, times 32 is an eighth of a step; Q4_K's scale and min by half of 1/63 each, times
/// 15 that makes a quarter of a step. The fit may give up another step of a weight that saturates.
fn bound(format: Format, x: &[f32]) -> f32 {
    let largest = x.iter().fold(0.0, |a: f32, x| a.max(x.abs()));
    let low = x.iter().fold(0.0, |a: f32, x| a.min(*x));
    let high = x.iter().fold(0.0, |a: f32, x| a.max(*x));
    let scaled = |step: f32, steps: f32, q: f32, sub_scale: f32| {
        steps * step + q * (step * EPS16 + sub_scale * TINY16)
    };
    match format {
        Format::F32 => 0.0,
        Format::F16 => largest * EPS16 + TINY16,
        Format::BF16 => largest / 256.0,
        Format::Q4_0 => scaled(largest / 8.0, 1.0, 8.5, 1.0),
        Format::Q8_0 => scaled(largest / 127.0, 0.5, 127.5, 1.0),
        Format::Q4_K => scaled((high - low) / 15.0, 1.75, 30.0, 63.0),
        Format::Q6_K => scaled(largest / 32.0, 1.625, 32.0, 128.0),
        _ => unreachable!("{format} has no quantiser"),
    }
}

/// Half a unit in the last place of a binary16, relative, and of a subnormal one, absolute.
const EPS16: f32 = 1.0 / 2048.0;
const TINY16: f32 = 1.0 / 33_554_432.0;

fn round_trip(format: Format, x: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0xAA; format.row_bytes(x.len())];
    quantize(format, x, &mut bytes);
    let mut y = vec![f32::NAN; x.len()];
    dequantize(format, &bytes, &mut y);
    y
}

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::ALL.to_vec())
}

fn quantizable() -> impl Strategy<Value = Format> {
    any_format().prop_filter("has a quantiser", |format| format.can_quantize())
}

/// Weights of one magnitude out of many, some of them with an offset, some with zeros or outliers.
fn weights(n: usize) -> impl Strategy<Value = Vec<f32>> {
    let kind = prop_oneof![4 => -1.0_f32..1.0, 1 => Just(0.0), 1 => 0.5_f32..0.6];
    let outlier = prop_oneof![20 => Just(1.0_f32), 1 => Just(8.0)];
    (vec((kind, outlier), n), -30_i32..12, prop_oneof![Just(0.0_f32), -2.0_f32..2.0]).prop_map(
        |(x, exponent, offset)| {
            x.into_iter()
                .map(|(x, outlier)| (x * outlier + offset) * 2.0_f32.powi(exponent))
                .collect()
        },
    )
}
