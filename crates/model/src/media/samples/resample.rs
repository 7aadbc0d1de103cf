//! Any sample rate to 16 kHz, incrementally, with nothing left above 8 kHz to fold back.
//!
//! Output `i` is the sound at `i / 16000` seconds; `n` samples give `round(n * 16000 / rate)`.

use super::SamplesError;
use super::filter::{Filter, RATES};

/// Samples per second that the model hears.
pub const RATE: u32 = 16_000;

/// Mono samples of one rate in, mono samples at 16 kHz out.
#[derive(Debug)]
pub(crate) struct Resampler {
    rate: u32,
    filter: Option<Filter>,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// # Errors
    /// [`SamplesError::SampleRate`] outside 1 to 768 kHz.
    pub(crate) fn new(rate: u32) -> Result<Resampler, SamplesError> {
        Resampler::check(rate)?;
        Ok(Resampler { rate, filter: Filter::of(rate), taken: 0, given: 0 })
    }

    /// # Errors
    /// [`SamplesError::SampleRate`] where [`new`](Resampler::new) would fail.
    pub(crate) fn check(rate: u32) -> Result<(), SamplesError> {
        match RATES.contains(&rate) {
            true => Ok(()),
            false => Err(SamplesError::SampleRate { found: rate }),
        }
    }

    /// Appends to `out` what `samples` make final: earlier output never changes.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let before = out.len();
        match &mut self.filter {
            None => out.extend_from_slice(samples),
            Some(filter) => filter.push(samples, out),
        }
        self.taken += samples.len() as u64;
        self.given += (out.len() - before) as u64;
    }

    /// Appends what is left, as if silence followed, and is ready for another sound.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        let rate = u64::from(self.rate);
        let wanted = (self.taken * u64::from(RATE) + rate / 2) / rate;
        if let Some(filter) = &mut self.filter {
            while self.given < wanted {
                let before = out.len();
                filter.flush(out);
                let missing = usize::try_from(wanted - self.given).unwrap_or(usize::MAX);
                out.truncate(before.saturating_add(missing));
                self.given += (out.len() - before) as u64;
            }
            filter.reset();
        }
        (self.taken, self.given) = (0, 0);
    }
}
