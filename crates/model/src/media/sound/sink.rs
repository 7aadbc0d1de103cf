//! Takes decoded packets, gives mono samples at 16 kHz.

use std::time::Duration;

use super::{AudioError, DecodeOptions};
use crate::media::samples::{Resampler, SamplesError, check_channels, check_finite, mix};

/// Mono samples at 16 kHz, and whether the whole file was heard.
pub(crate) struct Decoded {
    pub(crate) samples: Vec<f32>,
    pub(crate) complete: bool,
}

/// Mixes and resamples what it is given, up to the caller's limit.
pub(crate) struct Sink<'a> {
    options: &'a DecodeOptions,
    window: (f64, f64),
    rate: u32,
    resampler: Option<Resampler>,
    before: Duration, // of other rates
    frames: u64,      // decoded so far at this rate
    mono: Vec<f32>,
    samples: Vec<f32>,
}

impl Sink<'_> {
    /// Takes what lies within the seconds of `window` only.
    pub(crate) fn new(options: &DecodeOptions, window: (f64, f64)) -> Sink<'_> {
        let (rate, frames, before) = (0, 0, Duration::ZERO);
        let (resampler, mono, samples) = (None, Vec::new(), Vec::new());
        Sink { options, window, rate, resampler, before, frames, mono, samples }
    }

    /// Takes interleaved samples; another rate than before begins another sound, as in joined
    /// files.
    pub(crate) fn take(
        &mut self,
        pcm: &[f32],
        rate: u32,
        channels: usize,
    ) -> Result<(), AudioError> {
        check_channels(channels)?;
        check_finite(pcm, self.frames * channels as u64)?;
        if self.rate != rate {
            self.end_sound();
            self.resampler = Some(Resampler::new(rate)?);
            self.rate = rate;
        }
        let Some(resampler) = &mut self.resampler else { return Ok(()) };
        self.mono.clear();
        mix(pcm, channels, &mut self.mono);

        let before = self.frames;
        self.frames += self.mono.len() as u64;
        let inside = |seconds: f64| {
            let frame = (seconds * f64::from(rate)).round() as u64; // infinity saturates
            usize::try_from(frame.clamp(before, self.frames) - before).unwrap_or(usize::MAX)
        };
        let (from, to) = (inside(self.window.0), inside(self.window.1));
        resampler.push(&self.mono[from.min(to)..to], &mut self.samples);
        let heard = self.before.saturating_add(seconds(self.frames, rate));
        self.options.check(heard.saturating_sub(self.before_sound()))
    }

    /// Sample frames taken, those outside the window included.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Time taken, that outside the window included.
    pub(crate) fn time(&self) -> Duration {
        let now = if self.rate > 0 { seconds(self.frames, self.rate) } else { Duration::ZERO };
        self.before.saturating_add(now)
    }

    /// What an encoder put before the sound does not count, as far as an encoder would.
    fn before_sound(&self) -> Duration {
        Duration::try_from_secs_f64(self.window.0.min(1.0)).unwrap_or_default()
    }

    fn end_sound(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut self.samples);
        }
        self.before = self.time();
        self.frames = 0;
    }

    pub(crate) fn finish(mut self, complete: bool) -> Result<Decoded, AudioError> {
        self.end_sound();
        match self.samples.is_empty() {
            true => Err(SamplesError::NoSamples.into()),
            false => Ok(Decoded { samples: self.samples, complete }),
        }
    }
}

/// `frames` at `rate` as time, good for an hour as for a damaged header's billion years.
pub(crate) fn seconds(frames: u64, rate: u32) -> Duration {
    let nanos = u128::from(frames % u64::from(rate)) * 1_000_000_000 / u128::from(rate);
    Duration::new(frames / u64::from(rate), u32::try_from(nanos).unwrap_or(0))
}

/// No window at all.
pub(crate) const WHOLE: (f64, f64) = (0.0, f64::INFINITY);
