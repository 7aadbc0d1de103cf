//! Sound that arrives piece by piece, as from a microphone.

use super::{SamplesError, resample::Resampler};

/// Interleaved PCM of any rate and channel count in, final mono samples at 16 kHz out.
///
/// Whatever the sizes of the pieces, their outputs together are those of the whole in one piece,
/// bit for bit. Output lags input by about one and a half blocks of the resampler (0.13 s at
/// 48 kHz) and not at all at 16 kHz.
#[derive(Debug)]
pub struct Stream {
    channels: usize,
    resampler: Resampler,
    partial: Vec<f32>, // the samples of a frame whose other channels have not come yet
    mono: Vec<f32>,
    taken: u64, // interleaved samples
}

impl Stream {
    /// # Errors
    /// [`SamplesError::SampleRate`] outside 1 to 768 kHz (without the feature `sound`: other than
    /// 16 kHz), [`SamplesError::Channels`] outside 1 to 64.
    pub fn new(rate: u32, channels: usize) -> Result<Stream, SamplesError> {
        check_channels(channels)?;
        let resampler = Resampler::new(rate)?;
        Ok(Stream { channels, resampler, partial: Vec::new(), mono: Vec::new(), taken: 0 })
    }

    /// Appends to `out` the mono samples that `interleaved` makes final. A piece may end between
    /// the channels of one instant.
    ///
    /// # Errors
    /// [`SamplesError::NotFinite`] for NaN, infinity and numbers that no recording has; nothing of
    /// the piece is taken then, and the stream stays usable.
    pub fn push(&mut self, interleaved: &[f32], out: &mut Vec<f32>) -> Result<(), SamplesError> {
        check_finite(interleaved, self.taken)?;
        self.taken += interleaved.len() as u64;
        let missing = (self.channels - self.partial.len()) % self.channels;
        let (first, rest) = interleaved.split_at(missing.min(interleaved.len()));
        self.partial.extend_from_slice(first);
        self.mono.clear();
        if self.partial.len() == self.channels {
            mix(&self.partial, self.channels, &mut self.mono);
            self.partial.clear();
        }
        let whole = rest.len() / self.channels * self.channels;
        mix(&rest[..whole], self.channels, &mut self.mono);
        self.partial.extend_from_slice(&rest[whole..]);
        self.resampler.push(&self.mono, out);
        Ok(())
    }

    /// Appends what is left and is ready for another sound of the same rate and channels.
    ///
    /// # Errors
    /// [`SamplesError::Interleaving`] where the last instant lacks channels; all that came before
    /// is in `out` all the same.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), SamplesError> {
        self.resampler.finish(out);
        let samples = std::mem::take(&mut self.taken);
        if self.partial.is_empty() {
            return Ok(());
        }
        self.partial.clear();
        Err(SamplesError::Interleaving { samples, channels: self.channels })
    }
}

/// Appends the plain mean over the channels of every instant: what the reference hears.
pub(crate) fn mix(interleaved: &[f32], channels: usize, mono: &mut Vec<f32>) {
    if channels == 1 {
        mono.extend_from_slice(interleaved);
        return;
    }
    let frames = interleaved.chunks_exact(channels);
    mono.extend(frames.map(|frame| frame.iter().sum::<f32>() / channels as f32));
}

pub(crate) fn check_channels(channels: usize) -> Result<(), SamplesError> {
    match (1..=CHANNELS_MAX).contains(&channels) {
        true => Ok(()),
        false => Err(SamplesError::Channels { found: channels }),
    }
}

/// `before` samples came before these, for the message.
pub(crate) fn check_finite(samples: &[f32], before: u64) -> Result<(), SamplesError> {
    match samples.iter().position(|s| s.is_nan() || s.abs() > SAMPLE_MAX) {
        None => Ok(()),
        Some(at) => Err(SamplesError::NotFinite { at: before + at as u64, value: samples[at] }),
    }
}

/// More than third-order ambisonics and every cinema format have; a header that states more lies.
const CHANNELS_MAX: usize = 64;

/// Above 32-bit integers stored as floats without scaling; squares and sums stay finite below.
const SAMPLE_MAX: f32 = 1e10;
