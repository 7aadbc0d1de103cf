//! Opus, which the library of decoders takes from files but does not decode.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::packet::Packet;

use super::AudioError;

/// The decoder of a stream of one or two channels, at 48 kHz.
pub(crate) struct Opus {
    decoder: rusty_opus::OpusDecoder,
    channels: usize,
    /// What every sample is multiplied by.
    gain: f32,
    /// Sample frames that stand before the sound.
    skip: usize,
    buffer: Vec<f32>,
}

impl Opus {
    /// `skips` leaves out what the header says, where the container does not do so itself.
    ///
    /// # Errors
    /// More than two channels, and a header that makes no sense.
    pub(crate) fn new(
        params: &AudioCodecParameters,
        container: &'static str,
        skips: bool,
    ) -> Result<Opus, AudioError> {
        let head = params.extra_data.as_deref().and_then(Head::read);
        let damaged = || AudioError::Damaged { container, why: "its Opus header".to_string() };
        let head = head.ok_or_else(damaged)?;
        let channels = usize::from(head.channels);
        if !(1..=2).contains(&channels) || head.streams > 1 {
            let codec = format!("Opus in {channels} channels, one or two are decoded");
            return Err(AudioError::UnsupportedCodec { container, codec });
        }
        let decoder =
            rusty_opus::OpusDecoder::new(OPUS_RATE as i32, channels).map_err(|_| damaged())?;
        // RFC 7845, 5.1: in 1/256 dB.
        let gain = 10f32.powf(f32::from(head.gain) / (20.0 * 256.0));
        let buffer = vec![0.0; FRAMES_MAX * channels];
        let skip = if skips { head.skip.into() } else { 0 };
        Ok(Opus { decoder, channels, gain, skip, buffer })
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Replaces `out` by the packet's samples, interleaved. False for a packet that is damaged.
    pub(crate) fn decode(&mut self, packet: &Packet, out: &mut Vec<f32>) -> bool {
        out.clear();
        // An empty packet stands for a lost one, of which nobody says how long it was.
        if packet.data.is_empty() {
            return false;
        }
        let Ok(frames) = self.decoder.decode(&packet.data, FRAMES_MAX, &mut self.buffer) else {
            return false;
        };
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        let cut = usize::try_from(packet.trim_end.get()).unwrap_or(usize::MAX);
        let end = frames.saturating_sub(cut).max(skipped);
        let samples = &self.buffer[skipped * self.channels..end * self.channels];
        out.extend(samples.iter().map(|sample| sample * self.gain));
        true
    }
}

/// The identification header, RFC 7845, 5.1; in MP4 the same, big-endian.
struct Head {
    channels: u8,
    skip: u16,
    gain: i16,
    streams: u8,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.strip_prefix(b"OpusHead").unwrap_or(bytes);
        let &[version, channels, a, b, _, _, _, _, c, d, family, ref mapping @ ..] = bytes else {
            return None;
        };
        // Version 0 is MP4's, which has the bytes the other way round.
        let word = if version == 0 { u16::from_be_bytes } else { u16::from_le_bytes };
        let streams = if family == 0 { 1 } else { *mapping.first()? };
        Some(Head { channels, skip: word([a, b]), gain: word([c, d]) as i16, streams })
    }
}

/// Samples a second of every Opus stream.
pub(crate) const OPUS_RATE: u32 = 48_000;

/// 120 ms, the longest packet (RFC 6716, 3.2.5).
const FRAMES_MAX: usize = 5760;
