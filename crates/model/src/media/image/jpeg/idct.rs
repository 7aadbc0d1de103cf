//! The inverse DCT of 8 x 8 coefficients, in the integers of the reference's JPEG library.
//!
//! Loeffler, Ligtenberg and Moschytz (ICASSP 1989): eight values with eleven multiplications, first
//! the columns, then the rows. Constants have 13 fraction bits; the columns keep two more bits than
//! the result, so that only the rows round it. These shifts decide the last bit of every pixel.

/// Coefficients times quantisation steps, in natural order, to 8 x 8 samples at `out`, whose rows
/// are `stride` apart.
///
/// Values are 16 bits wide where the reference's vector code has them so: products and sums wrap,
/// the results of the columns saturate. Only a damaged file holds coefficients that show it.
pub(super) fn inverse(coefficients: &[i16; 64], steps: &[u16; 64], out: &mut [u8], stride: usize) {
    let value = |at: usize| coefficients[at].wrapping_mul(steps[at] as i16);
    let mut work = [0i16; 64];
    if coefficients[8..] == [0; 56] {
        // What the transform below gives, but that these wrap: many blocks are flat downwards.
        (0..64).for_each(|at| work[at] = value(at % 8) << KEPT);
    } else {
        for x in 0..8 {
            let values = eight(std::array::from_fn(|y| value(8 * y + x)), FRACTION - KEPT);
            (0..8).for_each(|y| work[8 * y + x] = values[y]);
        }
    }
    for (y, row) in work.as_chunks().0.iter().enumerate() {
        let values = eight(*row, FRACTION + KEPT + 3);
        let out = &mut out[stride * y..stride * y + 8];
        for (out, value) in out.iter_mut().zip(values) {
            *out = value.saturating_add(128).clamp(0, 255) as u8;
        }
    }
}

/// The transform of one line, rounded to `shift` bits less.
fn eight(v: [i16; 8], shift: u32) -> [i16; 8] {
    let times = |value: i32, constant: i32| value.wrapping_mul(constant);
    let sum = |a: usize, b: usize| i32::from(v[a].wrapping_add(v[b]));
    let wide = v.map(i32::from);

    let turned = times(wide[2] + wide[6], 4_433); // 0.541196100
    let even2 = turned - times(wide[6], 15_137); // 1.847759065
    let even3 = turned + times(wide[2], 6_270); // 0.765366865
    let even0 = sum(0, 4) << FRACTION;
    let even1 = i32::from(v[0].wrapping_sub(v[4])) << FRACTION;
    let even = [
        even0.wrapping_add(even3),
        even1.wrapping_add(even2),
        even1.wrapping_sub(even2),
        even0.wrapping_sub(even3),
    ];

    let both = times(sum(7, 3).wrapping_add(sum(5, 1)), 9_633); // 1.175875602
    let z1 = times(wide[7] + wide[1], -7_373); // 0.899976223
    let z2 = times(wide[5] + wide[3], -20_995); // 2.562915447
    let z3 = both.wrapping_sub(times(sum(7, 3), 16_069)); // 1.961570560
    let z4 = both.wrapping_sub(times(sum(5, 1), 3_196)); // 0.390180644
    let odd = [
        times(wide[1], 12_299).wrapping_add(z1).wrapping_add(z4), // 1.501321110
        times(wide[3], 25_172).wrapping_add(z2).wrapping_add(z3), // 3.072711026
        times(wide[5], 16_819).wrapping_add(z2).wrapping_add(z4), // 2.053119869
        times(wide[7], 2_446).wrapping_add(z1).wrapping_add(z3),  // 0.298631336
    ];

    std::array::from_fn(|i| {
        let value =
            if i < 4 { even[i].wrapping_add(odd[i]) } else { even[7 - i].wrapping_sub(odd[7 - i]) };
        let rounded = value.wrapping_add(1 << (shift - 1)) >> shift;
        rounded.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    })
}

/// Fraction bits of the constants.
const FRACTION: u32 = 13;

/// Bits that the columns keep beyond the result's.
const KEPT: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition (ITU-T T.81 A.3.3), in f64.
    fn by_definition(coefficients: &[i16; 64]) -> [f64; 64] {
        use std::f64::consts::{FRAC_1_SQRT_2, PI};
        let scale = |k: usize| if k == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        let wave =
            |x: usize, k: usize| ((2 * x + 1) as f64 * k as f64 * PI / 16.0).cos() * scale(k);
        std::array::from_fn(|i| {
            let (x, y) = (i % 8, i / 8);
            let term = |k: usize| f64::from(coefficients[k]) * wave(x, k % 8) * wave(y, k / 8);
            128.0 + (0..64).map(term).sum::<f64>() / 4.0
        })
    }

    #[test]
    fn samples_are_the_definition_rounded() {
        let mut state = 1u32;
        let mut next = |range: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as i32 % (2 * range + 1) - range) as i16
        };
        for range in [0, 1, 20, 60] {
            let coefficients: [i16; 64] = std::array::from_fn(|_| next(range));
            let mut out = [0; 64];
            inverse(&coefficients, &[1; 64], &mut out, 8);
            for (found, wanted) in out.iter().zip(by_definition(&coefficients)) {
                // Half for the rounding, and what 13 bits of constants lose.
                let error = (f64::from(*found) - wanted.clamp(0.0, 255.0)).abs();
                assert!(error < 0.6, "{found} for {wanted} at range {range}");
            }
        }
    }

    #[test]
    fn impossible_coefficients_wrap_and_saturate() {
        let mut out = [7; 64];
        inverse(&[i16::MIN; 64], &[u16::MAX; 64], &mut out, 8);
        let mut high = [0; 64];
        (high[0], high[8]) = (2_000, 1);
        inverse(&high, &[4; 64], &mut out, 8);
        assert_eq!(out, [255; 64]);
        // Flat downwards, 16 000 << 2 wraps to -1536: by hand, 128 - 48.
        (high[0], high[8]) = (2_000, 0);
        inverse(&high, &[8; 64], &mut out, 8);
        assert_eq!(out, [80; 64]);
    }
}
