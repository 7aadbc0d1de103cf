//! Rotary position embedding: the angles, computed once per forward pass.
//!
//! Frequencies and angles are rounded to f32 where the reference implementation rounds them, or
//! far positions would turn by another angle; powers, sines and cosines are then taken accurately,
//! and not by the system's library, whose last bits differ between systems.

use crate::config::Rope;

/// The frequency of each of the `head_dim / 2` pairs; 0 for pairs that do not turn.
///
/// `divisors`, where there are any, divide the frequencies one by one.
pub(crate) fn frequencies(rope: Rope, head_dim: usize, divisors: Option<&[f32]>) -> Vec<f32> {
    let frequency = |i: usize| {
        if i >= rope.pairs {
            return 0.0;
        }
        let exponent = (2 * i) as f32 / head_dim as f32;
        let divisor = divisors.map_or(1.0, |d| d[i]);
        let power = libm::pow(f64::from(rope.base), f64::from(exponent)) as f32;
        1.0 / power / rope.divisor / divisor
    };
    (0..head_dim / 2).map(frequency).collect()
}

/// Fills `cos` and `sin`, `[tokens][frequencies]`, for positions from `start` on.
pub(crate) fn fill(frequencies: &[f32], start: usize, cos: &mut [f32], sin: &mut [f32]) {
    if frequencies.is_empty() {
        return;
    }
    let rows = cos.chunks_exact_mut(frequencies.len()).zip(sin.chunks_exact_mut(frequencies.len()));
    for (t, (cos, sin)) in rows.enumerate() {
        let position = (start + t) as f32;
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(frequencies) {
            let (s, c) = libm::sincos(f64::from(position * frequency));
            (*cos, *sin) = (c as f32, s as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gemma 4 12B, full layers: theta 1e6, 64 of 256 pairs turn.
    #[test]
    fn proportional_spacing_is_that_of_the_whole_head() {
        let rope = Rope { base: 1e6, pairs: 64, divisor: 1.0 };
        let turning = frequencies(rope, 512, None);
        assert_eq!(turning.len(), 256);
        assert_eq!(turning[0], 1.0);
        assert!((f64::from(turning[63]) / 1e6f64.powf(-126.0 / 512.0) - 1.0).abs() < 1e-6);
        assert!(turning[64..].iter().all(|f| *f == 0.0));

        let mut divisors = [1e30; 256];
        divisors[..64].fill(1.0);
        let divided = frequencies(Rope { pairs: 256, ..rope }, 512, Some(&divisors));
        assert_eq!(divided[..64], turning[..64]);
        assert!(divided[64..].iter().all(|f| *f < 1e-29));
    }

    /// The reference multiplies in f32, and far positions show it: 100001 times the f32 0.1 is
    /// 10000.100149, and 10000.1005859375 is the nearest f32.
    #[test]
    fn angles_are_rounded_to_f32() {
        let (mut cos, mut sin) = ([f32::NAN], [f32::NAN]);
        fill(&[0.1], 100_001, &mut cos, &mut sin);
        let angle = 10_000.100_585_937_5_f64;
        assert_eq!((cos[0], sin[0]), (angle.cos() as f32, angle.sin() as f32));
    }

    #[test]
    fn angles_are_positions_times_frequencies() {
        let (mut cos, mut sin) = ([f32::NAN; 6], [f32::NAN; 6]);
        fill(&[1.0, 0.5, 0.0], 3, &mut cos, &mut sin);
        let expected = [3.0f64, 1.5, 0.0, 4.0, 2.0, 0.0];
        for i in 0..6 {
            assert_eq!(cos[i], expected[i].cos() as f32, "{i}");
            assert_eq!(sin[i], expected[i].sin() as f32, "{i}");
        }
    }
}
