//! The filter that takes away what lies above 8 kHz, and with it samples.
//!
//! The filter is a windowed sinc as long as one block, applied by FFT: spectrum of `in` samples,
//! times the filter, cut or padded to the spectrum of `out` samples. Both block sizes are even, so
//! that half a block, the filter's delay, is a whole number of samples on either side and is taken
//! off exactly. Where the two rates have no small common block, the nearest ratio takes its
//! place if it is off by a few millionths only, an order below the error of a sound card's clock.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::RATE;

/// Mono samples of one rate in, as many as fill blocks; mono samples at 16 kHz out.
#[derive(Debug)]
pub(super) struct Filter {
    fft: Fft<f32>,
    block: Vec<f32>, // input that does not fill a block yet
    output: Vec<f32>,
    skip: usize, // output that is still delay
}

impl Filter {
    /// The filter for a rate; 16 kHz needs none.
    pub(super) fn of(rate: u32) -> Option<Filter> {
        (rate != RATE).then(|| Filter::new(rate))
    }

    fn new(rate: u32) -> Filter {
        let (input, output) = block_sizes(rate);
        let fft = Fft::new_custom(
            input,
            output,
            input,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Input,
        )
        .expect("the sizes are not zero");
        debug_assert_eq!((fft.fft_size_in(), fft.fft_size_out()), (input, output));
        let skip = fft.output_delay();
        Filter { fft, block: Vec::with_capacity(input), output: vec![0.0; output], skip }
    }

    /// Appends to `out` what `samples` make final.
    pub(super) fn push(&mut self, mut samples: &[f32], out: &mut Vec<f32>) {
        while !samples.is_empty() {
            let room = self.fft.fft_size_in() - self.block.len();
            let (now, later) = samples.split_at(room.min(samples.len()));
            self.block.extend_from_slice(now);
            samples = later;
            if self.block.len() == self.fft.fft_size_in() {
                self.run(out);
            }
        }
    }

    /// Turns the full input block into an output block.
    fn run(&mut self, out: &mut Vec<f32>) {
        let frames = self.output.len();
        let input = InterleavedSlice::new(&self.block, 1, self.block.len());
        let output = InterleavedSlice::new_mut(&mut self.output, 1, frames);
        let (input, mut output) = (input.expect("one channel"), output.expect("one channel"));
        self.fft
            .process_into_buffer(&input, &mut output, None)
            .expect("both buffers have exactly the sizes that the resampler was made with");
        self.block.clear();
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        out.extend_from_slice(&self.output[skipped..]);
    }

    /// Appends what silence behind the samples makes final: at least one sample after a few calls.
    pub(super) fn flush(&mut self, out: &mut Vec<f32>) {
        self.block.resize(self.fft.fft_size_in(), 0.0);
        self.run(out);
    }

    /// Forgets the sound.
    pub(super) fn reset(&mut self) {
        self.fft.reset();
        self.block.clear();
        self.skip = self.fft.output_delay();
    }
}

/// Even numbers of samples at `rate` and at 16 kHz that last equally long, or nearly so.
fn block_sizes(rate: u32) -> (usize, usize) {
    let (rate, target) = (rate as usize, RATE as usize);
    let wanted = BLOCK_INPUT.max(BLOCK_OUTPUT * rate / target);
    let divisor = gcd(rate, target);
    let (unit_in, unit_out) = (rate / divisor, target / divisor);
    let units = wanted.div_ceil(unit_in).next_multiple_of(2);
    let exact = (units * unit_in, units * unit_out);
    if exact.0 <= EXACT_INPUT_MAX {
        return exact;
    }
    let near = (wanted.next_multiple_of(2)..=2 * wanted).step_by(2).map(|input| {
        let output = (input * target + rate) / (2 * rate) * 2;
        ((output * rate).abs_diff(input * target) as f64 / (input * target) as f64, input, output)
    });
    match near.min_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((off, input, output)) if off < RATIO_ERROR_MAX => (input, output),
        _ => exact,
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The rates that are filtered: below no speech survives, above nothing records.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Up to here a block is as long as the ratio wants it: all rates up to 100 kHz, and the usual
/// ones above.
const EXACT_INPUT_MAX: usize = 200_000;

/// Two hours drift by less than half a block: the last output is always still to come.
const RATIO_ERROR_MAX: f64 = 4e-6;

/// Input samples per block, and with them taps of the filter. At 4096 the filter falls from full
/// to nothing within 100 to 200 Hz at the usual rates.
const BLOCK_INPUT: usize = 4096;

/// Output samples per block at the least: at high rates 4096 taps would be too short a time.
const BLOCK_OUTPUT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_rates_have_exact_blocks() {
        let cases = [
            (8_000, (4096, 8192)),
            (11_025, (4410, 6400)),
            (22_050, (4410, 3200)),
            (44_100, (4410, 1600)),
            (48_000, (4098, 1366)),
            (96_000, (6144, 1024)),
            (192_000, (12_288, 1024)),
        ];
        for (rate, wanted) in cases {
            assert_eq!(block_sizes(rate), wanted, "{rate} Hz");
        }
    }

    #[test]
    fn all_rates_have_bounded_blocks_of_the_right_ratio() {
        for rate in (1_000..=768_000).step_by(997).chain(15_900..16_100).chain([767_999]) {
            let (input, output) = block_sizes(rate);
            let ratio = input as f64 * f64::from(RATE) / (output as f64 * f64::from(rate));
            assert!((ratio - 1.0).abs() < RATIO_ERROR_MAX, "{rate} Hz: {input} to {output}");
            assert!(input.is_multiple_of(2) && output.is_multiple_of(2), "{rate} Hz");
            assert!(input <= 500_000 && output <= 132_000, "{rate} Hz: {input} to {output}");
        }
    }
}
