//! Sounds for the tests: WAV files made here, the fixtures' source, and how near two sounds are.
#![allow(dead_code, reason = "every test program uses a part of it")]

use std::path::Path;

/// What the samples of a WAV file are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coding {
    /// Integers of so many bits.
    Pcm(u16),
    /// Floats of so many bits.
    Float(u16),
    /// 16-bit integers after the header with a channel mask.
    Extensible,
    /// G.711, North America.
    MuLaw,
    /// G.711, elsewhere.
    ALaw,
    /// Any registered number, at 4 bits.
    Tag(u16),
}

/// A WAV file with this header and these bytes of samples.
pub(crate) fn wav(coding: Coding, rate: u32, channels: u16, data: &[u8]) -> Vec<u8> {
    let (tag, bits) = match coding {
        Coding::Pcm(bits) => (1, bits),
        Coding::Float(bits) => (3, bits),
        Coding::Extensible => (0xfffe, 16),
        Coding::ALaw => (6, 8),
        Coding::MuLaw => (7, 8),
        Coding::Tag(tag) => (tag, 4),
    };
    let align = channels.saturating_mul(bits.div_ceil(8));
    let mut format = Vec::new();
    format.extend(u16::to_le_bytes(tag));
    format.extend(channels.to_le_bytes());
    format.extend(rate.to_le_bytes());
    format.extend(rate.saturating_mul(align.into()).to_le_bytes());
    format.extend(align.to_le_bytes());
    format.extend(bits.to_le_bytes());
    if let Coding::Extensible = coding {
        format.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
        format.extend(*b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    }
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let data_chunk = [b"data", size(data).as_slice(), data].concat();
    let chunks = [b"WAVEfmt ", size(&format).as_slice(), &format, &data_chunk].concat();
    [b"RIFF", size(&chunks).as_slice(), &chunks].concat()
}

/// A 16-bit WAV file of these samples, its data at byte 44.
pub(crate) fn wav_of(rate: u32, channels: u16, samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> =
        samples.iter().flat_map(|s| ((s * 32_768.0) as i16).to_le_bytes()).collect();
    wav(Coding::Pcm(16), rate, channels, &data)
}

/// The sound that `make_audio.py` put into the fixtures, interleaved.
pub(crate) fn triangle(rate: u32, channels: usize, seconds: f64) -> Vec<f32> {
    let (rate, frames) = (i64::from(rate), (f64::from(rate) * seconds) as i64);
    let sample = |frame: i64, channel: i64| {
        let period = rate / (300 + 200 * channel);
        let triangle = (4 * (frame % period) - 2 * period).abs() - period;
        let swell = 4_000 + frame * 12_000 / frames;
        (triangle * swell).div_euclid(period) as f32 / 32_768.0
    };
    let channels = i64::try_from(channels).unwrap();
    (0..frames * channels).map(|i| sample(i / channels, i % channels)).collect()
}

/// A file of `tests/data/audio`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(DATA).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// 16-bit little-endian samples.
pub(crate) fn pcm16(bytes: &[u8]) -> Vec<f32> {
    let samples = bytes.as_chunks().0.iter();
    samples.map(|&bytes| f32::from(i16::from_le_bytes(bytes)) / 32_768.0).collect()
}

/// Power of `wanted` over that of the difference.
pub(crate) fn snr_db(wanted: &[f32], found: &[f32]) -> f64 {
    assert_eq!(wanted.len(), found.len());
    let square = |x: f64| x * x;
    let signal: f64 = wanted.iter().map(|&w| square(w.into())).sum();
    let noise: f64 =
        wanted.iter().zip(found).map(|(&w, &f)| square(f64::from(w) - f64::from(f))).sum();
    10.0 * (signal / noise).log10()
}

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/audio");
