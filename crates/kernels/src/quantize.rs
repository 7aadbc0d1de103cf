//! f32 weights into blocks: for tests, tools and the built-in model, not for the hot path.
//!
//! Q4_0 and Q8_0 give the bytes of ggml's reference quantiser. A block of Q4_K or Q6_K leaves room
//! for choice; here each sub-block tries some scales around the one that just spans its weights,
//! fits the best line through the integers that each gives (weighted least squares) and keeps the
//! one with the least error; then the fitted scales are rounded to the block's integers, and the
//! weights once more to the levels that remain.

use crate::Format;
use crate::block::{Block, BlockQ4_0, BlockQ4_K, BlockQ6_K, BlockQ8_0, F16, pack_scale_mins};

/// Turns f32 weights into GGUF's row-major little-endian blocks.
///
/// `x` may be one row or several: rows are whole blocks and follow each other without gaps. Weights
/// that are not finite, or beyond the range of the format's f16 scales, make the values of their
/// block meaningless; no input panics.
///
/// # Panics
/// If [`Format::can_quantize`] says no, or `out` is not exactly the blocks of `x.len()` weights.
pub fn quantize(format: Format, x: &[f32], out: &mut [u8]) {
    let need = format.row_bytes(x.len());
    let (have, weights) = (out.len(), x.len());
    assert_eq!(have, need, "{format}: {have} bytes for {weights} weights that need {need}");
    match format {
        Format::F32 => each(x, out, |x: &[f32; 1]| x[0].to_le_bytes()),
        Format::F16 => each(x, out, |x: &[f32; 1]| F16::from_f32(x[0])),
        Format::BF16 => each(x, out, |x: &[f32; 1]| half::bf16::from_f32(x[0]).to_le_bytes()),
        Format::Q4_0 => each(x, out, q4_0),
        Format::Q8_0 => each(x, out, q8_0),
        Format::Q4_K => each(x, out, q4_k),
        Format::Q6_K => each(x, out, q6_k),
        _ => panic!("{format} has no quantiser: ask Format::can_quantize first"),
    }
}

fn each<B: bytemuck::Pod, const N: usize>(
    x: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; N]) -> B,
) {
    for (x, out) in x.as_chunks().0.iter().zip(bytemuck::cast_slice_mut(out)) {
        *out = block(x);
    }
}

/// The scale maps the weight of largest magnitude to −8, the one level without a counterpart.
fn q4_0(x: &[f32; 32]) -> BlockQ4_0 {
    let d = first_largest(x) / -8.0;
    let inverse = inverse(d);
    let q = x.map(|x| (x * inverse + 8.5).min(15.0) as u8);
    BlockQ4_0 { d: F16::from_f32(d), qs: std::array::from_fn(|i| q[i] | (q[i + 16] << 4)) }
}

fn q8_0(x: &[f32; 32]) -> BlockQ8_0 {
    let d = first_largest(x).abs() / 127.0;
    let inverse = inverse(d);
    BlockQ8_0 { d: F16::from_f32(d), qs: x.map(|x| (x * inverse).round() as i8) }
}

/// `w = d · sc · q − dmin · m`: a line for each 32 weights, then 6 bits for each slope and offset.
fn q4_k(x: &[f32; 256]) -> BlockQ4_K {
    let subs = x.as_chunks::<32>().0;
    let lines: [Line; 8] = std::array::from_fn(|j| fit_line(&subs[j]));
    let (d, scales) = to_integers(lines.map(|line| line.scale), 63.0);
    let (dmin, mins) = to_integers(lines.map(|line| line.min), 63.0);
    let mut block = BlockQ4_K {
        d,
        dmin,
        scales: pack_scale_mins(&scales.map(|s| s as u8), &mins.map(|m| m as u8)),
        qs: [0; 128],
    };
    for (j, x) in subs.iter().enumerate() {
        let levels = block.sub32(j);
        let (inverse, min) = (inverse(levels.scale[0]), levels.min[0]);
        for (x, qs) in x.iter().zip(&mut block.qs[32 * (j / 2)..]) {
            *qs |= (((x + min) * inverse).round().clamp(0.0, 15.0) as u8) << (4 * (j % 2));
        }
    }
    block
}

/// `w = d · sc · (q − 32)`: a scale for each 16 weights, then 8 bits for each scale.
fn q6_k(x: &[f32; 256]) -> BlockQ6_K {
    let scales: [f32; 16] = std::array::from_fn(|k| fit_scale(&x.as_chunks().0[k]));
    let (d, scales) = to_integers(scales, -128.0);
    let mut block = BlockQ6_K { ql: [0; 128], qh: [0; 64], scales: scales.map(|s| s as i8), d };
    for (j, x) in x.as_chunks::<32>().0.iter().enumerate() {
        let (half, r) = (j / 4, j % 4);
        let inverses = block.sub32(j).scale.map(inverse);
        for (i, x) in x.iter().enumerate() {
            let q = ((x * inverses[i / 16]).round().clamp(-32.0, 31.0) + 32.0) as u8;
            block.ql[64 * half + 32 * (r % 2) + i] |= (q & 15) << (4 * (r / 2));
            block.qh[32 * half + i] |= (q >> 4) << (2 * r);
        }
    }
    block
}

/// `w = scale · q − min` with both not negative.
#[derive(Clone, Copy)]
struct Line {
    scale: f32,
    min: f32,
}

/// The line that the weights lose least on when `q` is 0 to 15.
///
/// Each trial counts its integers from the offset of the best line so far. A weight's error counts
/// `rms + |x|` times: large weights move the products most, and the first term keeps the small ones
/// from being given up.
fn fit_line(x: &[f32; 32]) -> Line {
    let low = x.iter().fold(0.0, |a: f32, b| a.min(*b));
    let high = x.iter().fold(low, |a, b| a.max(*b));
    let rms = (x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 32.0).sqrt();
    let weights = x.map(|x| rms + f64::from(x.abs()));

    let span = (high - low) / 15.0;
    let mut best = (f64::INFINITY, Line { scale: span, min: -low });
    for steps in STRETCHES.map(|stretch| 15.0 + stretch) {
        let inverse = inverse(span * 15.0 / steps);
        let q = x.map(|x| ((x + best.1.min) * inverse).round().clamp(0.0, 15.0));
        for line in [Some(best.1), least_squares(x, &q, &weights)].into_iter().flatten() {
            let error = (0..32)
                .map(|i| weights[i] * f64::from(line.scale * q[i] - line.min - x[i]).powi(2))
                .sum();
            if error < best.0 {
                best = (error, line);
            }
        }
    }
    best.1
}

/// The best line through the points (q, x) without a negative scale or min, if there is one.
fn least_squares(x: &[f32; 32], q: &[f32; 32], weights: &[f64; 32]) -> Option<Line> {
    let (mut n, mut sx, mut sq, mut sqq, mut sqx) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for ((x, q), weight) in x.iter().zip(q).zip(weights) {
        let (x, q) = (f64::from(*x), f64::from(*q));
        n += weight;
        sx += weight * x;
        sq += weight * q;
        sqq += weight * q * q;
        sqx += weight * q * x;
    }
    let determinant = n * sqq - sq * sq;
    let min = (sq * sqx - sqq * sx) / determinant;
    let (scale, min) = if min >= 0.0 {
        ((n * sqx - sq * sx) / determinant, min)
    } else {
        (sqx / sqq, 0.0) // `min` shares the sign of `dmin`, which is plus
    };
    (scale > 0.0 && scale.is_finite()).then_some(Line { scale: scale as f32, min: min as f32 })
}

/// The scale that the weights lose least on when `q` is −32 to 31; errors count `x²` times.
fn fit_scale(x: &[f32; 16]) -> f32 {
    let largest = first_largest(x);
    let mut best = (0.0, largest / -32.0);
    for steps in STRETCHES.map(|stretch| 32.0 + stretch) {
        let inverse = inverse(largest / -steps);
        let q = x.map(|x| (x * inverse).round().clamp(-32.0, 31.0));
        let (mut qx, mut qq) = (0.0, 0.0);
        for (x, q) in x.iter().zip(q) {
            let (x, q) = (f64::from(*x), f64::from(q));
            qx += x * x * q * x;
            qq += x * x * q * q;
        }
        // With the optimal scale qx / qq the error is Σ x⁴ − qx² / qq.
        let gain = qx * qx / qq;
        if gain > best.0 {
            best = (gain, (qx / qq) as f32);
        }
    }
    best.1
}

/// One f16 for all of `values`, and each of them as a multiple of it; the largest in magnitude is
/// `top` times the f16 (or one less, as an i8 has no 128).
fn to_integers<const N: usize>(values: [f32; N], top: f32) -> (F16, [f32; N]) {
    let unit = F16::from_f32((first_largest(&values) / top).clamp(-F16_MAX, F16_MAX));
    let inverse = inverse(unit.to_f32());
    let (low, high) = if top < 0.0 { (top, -top - 1.0) } else { (0.0, top) };
    (unit, values.map(|value| (value * inverse).round().clamp(low, high)))
}

/// The first of the values that have the largest magnitude, with its sign.
fn first_largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |a: f32, b| if b.abs() > a.abs() { *b } else { a })
}

/// 1 / d, and 0 for 0: a block of zeros has zeros for integers.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The largest finite binary16.
const F16_MAX: f32 = 65504.0;

/// By how many steps more or less than the integers span the weights are spread: less saturates
/// none, more lets the extreme ones saturate for the sake of the others.
const STRETCHES: [f32; 21] = {
    let mut stretches = [0.0; 21];
    let mut i = 0;
    while i < 21 {
        stretches[i] = 0.1 * (i as f32 - 10.0);
        i += 1;
    }
    stretches
};

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;
    use crate::block::Sub32;
    use crate::dequantize;

    proptest! {
        /// Whatever scales were chosen, no sign is wasted on them and every weight is at the
        /// nearest level they leave.
        #[test]
        fn weights_take_the_nearest_level(
            x in proptest::array::uniform32(-1.0_f32..1.0),
            exponents in proptest::array::uniform8(-12_i32..4),
            offset in -1.5_f32..1.5,
        ) {
            let x: [f32; 256] = std::array::from_fn(|i| {
                (x[(7 * i + i / 32) % 32] + offset) * 2.0_f32.powi(exponents[i / 32])
            });
            let (q4, q6) = (q4_k(&x), q6_k(&x));
            prop_assert!(q4.d.to_f32() >= 0.0 && q4.dmin.to_f32() >= 0.0);
            for (j, x) in x.as_chunks().0.iter().enumerate() {
                prop_assert_eq!(farther_than_nearest(x, &q4.sub32(j), 0..16), None);
                prop_assert_eq!(farther_than_nearest(x, &q6.sub32(j), -32..32), None);
            }
        }
    }

    /// The errors of ggml's own quantiser on the same weights, around 0 and around 5, as
    /// `tests/data/make_ggml_blocks.py` prints them (ggml 0.25.3). Two searches that try different
    /// scales may differ by half a percent.
    #[test]
    fn the_error_is_that_of_ggml() {
        let cases = [
            (Format::Q4_K, 0.0, 3.99348e-2),
            (Format::Q4_K, 5.0, 1.06856e-1),
            (Format::Q6_K, 0.0, 9.79932e-3),
            (Format::Q6_K, 5.0, 4.68915e-2),
        ];
        for (format, offset, ggml) in cases {
            let x = bell_shaped(1 << 16).map(|x| x + offset).collect::<Vec<_>>();
            let y = round_trip(format, &x);
            let sum: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum();
            let error = (sum / x.len() as f64).sqrt();
            assert!(error < 1.005 * ggml, "{format} around {offset}: {error:e}, ggml {ggml:e}");
        }
    }

    /// The largest scale and min take the largest integer, so that the others lose least.
    #[test]
    fn scales_use_all_their_bits() {
        let x: [f32; 256] = bell_shaped(256).collect::<Vec<_>>().try_into().unwrap();
        let levels = |j: usize| q4_k(&x).sub32(j);
        let (d, dmin) = (q4_k(&x).d.to_f32(), q4_k(&x).dmin.to_f32());
        assert_eq!((0..8).map(|j| levels(j).scale[0] / d).fold(0.0, f32::max), 63.0);
        assert_eq!((0..8).map(|j| levels(j).min[0] / dmin).fold(0.0, f32::max), 63.0);
        assert_eq!(q6_k(&x).scales.map(i8::unsigned_abs).into_iter().max(), Some(128));
    }

    #[test]
    fn zeros_stay_zeros() {
        for format in Format::ALL.into_iter().filter(|format| format.can_quantize()) {
            assert_eq!(round_trip(format, &[0.0; 512]), [0.0; 512], "{format}");
        }
    }

    #[test]
    #[should_panic(expected = "Q5_K has no quantiser")]
    fn a_format_without_quantiser_is_refused() {
        quantize(Format::Q5_K, &[0.0; 256], &mut [0; 176]);
    }

    /// The first weight that another level would suit better, beyond rounding error.
    fn farther_than_nearest(x: &[f32; 32], sub: &Sub32, levels: Range<i8>) -> Option<String> {
        let value = |i: usize, q: i8| sub.scale[i / 16] * f32::from(q) - sub.min[i / 16];
        let farther = |i: &usize| {
            let error = (x[*i] - value(*i, sub.q[*i])).abs();
            let slack = 4.0 * f32::EPSILON * (x[*i].abs() + sub.min[*i / 16].abs());
            levels.clone().any(|q| (x[*i] - value(*i, q)).abs() + slack < error)
        };
        let i = (0..32).find(farther)?;
        Some(format!("weight {i} is {}, level {} is {}", x[i], sub.q[i], value(i, sub.q[i])))
    }

    fn round_trip(format: Format, x: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0xAA; format.row_bytes(x.len())];
        quantize(format, x, &mut bytes);
        let mut y = vec![f32::NAN; x.len()];
        dequantize(format, &bytes, &mut y);
        y
    }

    /// Sums of four uniform values, which is close enough to the weights of a network.
    fn bell_shaped(n: usize) -> impl Iterator<Item = f32> {
        let mut state = 20_u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n).map(move |_| (0..4).map(|_| uniform()).sum())
    }
}
