//! The mel spectrogram that the conformer hears.
//!
//! ```text
//! frame i    = samples 160 (i − 1) .. 160 (i + 1), zeros before the first sample
//! y[k]       = |DFT of 512 points (Hann · frame, then zeros)|      k = 0 ..= 256, 31.25 Hz apart
//! mel[i][m]  = ln(Σ_k filter[m][k] · y[k] + 0.001)
//! ```
//!
//! The filters are triangles from 0 to 8000 Hz whose corners are evenly spaced on the mel scale of
//! HTK, `2595 log10(1 + f / 700)`, and whose peaks are 1. A frame is real where a sample follows
//! it; the others are all zero, as the reference masks them.
//!
//! Everything is f64, which costs next to nothing here, and is rounded to f32 once. The transform
//! is the library's scalar one: the others are chosen by the CPU and have other bits.

use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlannerScalar};

use crate::media::samples::RATE;

/// Samples from one frame to the next: 10 ms. A frame has twice as many.
pub(super) const HOP: usize = 160;

/// Window, filters and transform.
pub(super) struct Mel {
    window: [f64; FRAME],
    filters: Vec<Filter>,
    fft: Arc<dyn Fft<f64>>,
}

/// The weights of the spectrum's bins from `first` on.
#[derive(Debug)]
struct Filter {
    first: usize,
    weights: Vec<f64>,
}

impl fmt::Debug for Mel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mel").field("filters", &self.filters.len()).finish_non_exhaustive()
    }
}

impl Mel {
    /// A spectrogram of so many bins.
    pub(super) fn new(bins: usize) -> Self {
        let turn = |i| 2.0 * PI * i as f64 / FRAME as f64;
        // The reference keeps the window in f32.
        let window = std::array::from_fn(|i| f64::from((0.5 - 0.5 * turn(i).cos()) as f32));
        let fft = FftPlannerScalar::new().plan_fft_forward(POINTS);
        Self { window, filters: filters(bins), fft }
    }

    /// Fills `out`, one value a bin, with frame `i` of a sound; zeros for a frame that is not real.
    pub(super) fn frame(&self, samples: &[f32], i: isize, out: &mut [f32]) {
        if i < 0 || !is_real(samples.len(), i.unsigned_abs()) {
            return out.fill(0.0);
        }
        let end = (i.unsigned_abs() + 1) * HOP;
        let mut wave = [Complex::new(0.0, 0.0); POINTS];
        for (j, wave) in wave[..FRAME].iter_mut().enumerate() {
            // Before the first sample there is nothing.
            let sample = (end + j).checked_sub(FRAME).map_or(0.0, |at| samples[at]);
            wave.re = f64::from(sample) * self.window[j];
        }
        let mut spectrum = [Complex::new(0.0, 0.0); POINTS];
        let mut scratch = [Complex::new(0.0, 0.0); POINTS];
        let scratch = &mut scratch[..self.fft.get_outofplace_scratch_len()];
        self.fft.process_outofplace_with_scratch(&mut wave, &mut spectrum, scratch);
        let mut magnitudes = [0.0; BINS];
        for (magnitude, y) in magnitudes.iter_mut().zip(spectrum) {
            *magnitude = (y.re * y.re + y.im * y.im).sqrt();
        }
        for (out, filter) in out.iter_mut().zip(&self.filters) {
            let heard = &magnitudes[filter.first..][..filter.weights.len()];
            let sum: f64 = filter.weights.iter().zip(heard).map(|(w, y)| w * y).sum();
            *out = (sum + FLOOR).ln() as f32;
        }
    }
}

/// Whether frame `i` of a sound of so many samples is real: its samples are there, and another one.
pub(super) fn is_real(samples: usize, i: usize) -> bool {
    samples > (i + 1) * HOP
}

/// Triangles over the bins of the spectrum; those between two bins have no weights.
fn filters(count: usize) -> Vec<Filter> {
    let top = 2595.0 * (1.0 + f64::from(RATE / 2) / 700.0).log10();
    let corner = |i: usize| {
        let mel = top * i as f64 / (count + 1) as f64;
        700.0 * (10f64.powf(mel / 2595.0) - 1.0)
    };
    let bin = |k: usize| k as f64 * f64::from(RATE) / POINTS as f64;
    let filter = |i: usize| {
        let [low, peak, high] = [corner(i), corner(i + 1), corner(i + 2)];
        let weight = |k| {
            let (up, down) = ((bin(k) - low) / (peak - low), (high - bin(k)) / (high - peak));
            up.min(down).max(0.0)
        };
        let first = (0..BINS).position(|k| weight(k) > 0.0).unwrap_or(0);
        let weights = (first..BINS).map(weight).take_while(|w| *w > 0.0).collect();
        Filter { first, weights }
    };
    (0..count).map(filter).collect()
}

/// Samples of a frame.
const FRAME: usize = 2 * HOP;

/// Points of the transform, and the bins of its spectrum.
const POINTS: usize = 512;
const BINS: usize = POINTS / 2 + 1;

/// What is added before the logarithm.
const FLOOR: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, sample by sample; the sums run in another order than the transform's.
    fn naive(samples: &[f32], i: usize, bins: usize) -> Vec<f64> {
        let at = |j: usize| match (160 * i + j).checked_sub(160) {
            Some(at) => f64::from(samples[at]),
            None => 0.0,
        };
        // The reference keeps the window in f32.
        let hann = |j: usize| f64::from((PI * j as f64 / 320.0).sin().powi(2) as f32);
        let mut magnitudes = Vec::new();
        for k in 0..=256 {
            let (mut re, mut im) = (0.0, 0.0);
            for j in 0..320 {
                let angle = 2.0 * PI * ((j * k) % 512) as f64 / 512.0;
                re += hann(j) * at(j) * angle.cos();
                im -= hann(j) * at(j) * angle.sin();
            }
            magnitudes.push(re.hypot(im));
        }
        let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
        let hertz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
        let step = mel(8000.0) / (bins + 1) as f64;
        let mut out = Vec::new();
        for m in 0..bins {
            let corners = [0, 1, 2].map(|c| hertz(step * (m + c) as f64));
            let mut sum = 0.0;
            for (k, magnitude) in magnitudes.iter().enumerate() {
                let f = 31.25 * k as f64;
                if corners[0] < f && f <= corners[1] {
                    sum += magnitude * (f - corners[0]) / (corners[1] - corners[0]);
                } else if corners[1] < f && f < corners[2] {
                    sum += magnitude * (corners[2] - f) / (corners[2] - corners[1]);
                }
            }
            out.push((sum + 0.001).ln());
        }
        out
    }

    fn noise(samples: usize, loud: f32) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..samples).map(|_| loud * next()).collect()
    }

    #[test]
    fn frames_are_what_the_definition_says() {
        let square: Vec<f32> =
            (0..1000).map(|i| if i / 20 % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let sounds =
            [noise(1000, 0.5), noise(1000, 1e-6), vec![0.0; 1000], square, noise(1000, 1e5)];
        for bins in [1, 16, 128, 300] {
            let mel = Mel::new(bins);
            for samples in &sounds {
                for i in 0..6 {
                    let mut got = vec![f32::NAN; bins];
                    mel.frame(samples, i as isize, &mut got);
                    for (got, want) in got.iter().zip(naive(samples, i, bins)) {
                        let off = (f64::from(*got) - want).abs();
                        assert!(off < 1e-6 * want.abs().max(1.0), "frame {i}: {got} for {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn frames_that_no_sample_follows_are_zero() {
        let mel = Mel::new(16);
        for (samples, real) in [(1, 0), (160, 0), (161, 1), (320, 1), (321, 2), (480_000, 2999)] {
            let sound = noise(samples, 0.5);
            for i in [-3, -1, 0, 1, 2, 2998, 2999, 3000] {
                let mut frame = [f32::NAN; 16];
                mel.frame(&sound, i, &mut frame);
                let is_real = (0..real).contains(&i);
                assert_eq!(frame == [0.0; 16], !is_real, "frame {i} of {samples} samples");
            }
        }
    }

    /// The first bin, the number and the sum of the weights that the reference's library makes.
    #[test]
    fn filters_have_the_reference_corners() {
        let filters = filters(128);
        // transformers 5.24, mel_filter_bank(257, 128, 0, 8000, 16000, None, "htk").
        for (m, first, count, sum) in FILTERS {
            let filter = &filters[m];
            assert_eq!((filter.first, filter.weights.len()), (first, count), "filter {m}");
            assert!((filter.weights.iter().sum::<f64>() - sum).abs() < 1e-9, "filter {m}");
        }
    }

    const FILTERS: [(usize, usize, usize, f64); 8] = [
        (0, 0, 0, 0.0),
        (1, 1, 1, 0.7660076749659691),
        (2, 1, 1, 0.23399232503403095),
        (5, 3, 1, 0.5683535503007195),
        (40, 27, 2, 0.9741045153153606),
        (90, 108, 5, 2.6335765873283905),
        (126, 241, 10, 5.222970002899206),
        (127, 246, 11, 5.310226887057993),
    ];
}
