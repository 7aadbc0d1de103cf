//! WAV files, which come with every kind of careless header.
//!
//! Only what is needed to find the samples is believed: the type, rate and channels of the `fmt `
//! chunk and where the `data` chunk begins. Its size is an upper bound, for a recorder that was
//! switched off leaves a wrong one, and a program that writes to a pipe leaves 0 or 2³¹ and more.

use std::io::{Read, Seek, SeekFrom};

use super::stream::check_channels;
use super::{AudioError, resample::Resampler};

/// The samples of a file, read piece by piece.
pub(crate) struct Wav<R> {
    source: R,
    coding: Coding,
    bytes_per_sample: usize,
    pub(crate) rate: u32,
    pub(crate) channels: usize,
    left: u64,     // bytes of samples
    endless: bool, // `left` means nothing
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Integer,
    Float,
    ALaw,
    MuLaw,
}

impl<R: Read + Seek> Wav<R> {
    /// Reads up to the first sample.
    ///
    /// # Errors
    /// What the header is lacking, or a coding, rate or channel count of no use.
    pub(crate) fn open(mut source: R) -> Result<Wav<R>, AudioError> {
        let mut format = None;
        let (mut at, mut long_data) = (12, None);
        source.seek(SeekFrom::Start(0))?;
        let riff_size = le(&read_up_to(&mut source, 12)?, 4, 4);
        for _ in 0..CHUNKS_MAX {
            source.seek(SeekFrom::Start(at))?;
            let head = read_up_to(&mut source, 8)?;
            let size = le(&head, 4, 4);
            match head.get(..4) {
                Some(b"fmt ") => format = Some(read_up_to(&mut source, size.min(40))?),
                // RF64: the sizes that do not fit into 32 bits, the second is that of the samples.
                Some(b"ds64") => long_data = Some(le(&read_up_to(&mut source, 16)?, 8, 8)),
                Some(b"data") => {
                    let format =
                        format.ok_or_else(|| damaged("no fmt chunk before the samples"))?;
                    let mut wav = Wav::with_format(source, &format)?;
                    let open = size == 0 && matches!(riff_size, 0 | PIPED..);
                    wav.endless = open || size >= PIPED;
                    wav.left = match long_data.filter(|_| size >= PIPED) {
                        Some(long) => long,
                        None if wav.endless => u64::MAX,
                        None => size,
                    };
                    return Ok(wav);
                }
                Some(_) => {}
                None => return Err(damaged("it ends before its samples")),
            }
            at += 8 + size + size % 2;
        }
        Err(damaged("no samples among its first chunks"))
    }

    fn with_format(source: R, format: &[u8]) -> Result<Wav<R>, AudioError> {
        if format.len() < 16 {
            return Err(damaged("its fmt chunk is too short"));
        }
        let (rate, channels) = (le(format, 4, 4) as u32, le(format, 2, 2) as usize);
        let (align, bits) = (le(format, 12, 2) as usize, le(format, 14, 2) as usize);
        Resampler::check(rate)?;
        check_channels(channels)?;
        // A sample of 12 bits stands in the high bits of two bytes: full scale is that of its room.
        let room = if align > 0 && align.is_multiple_of(channels) { align / channels } else { 0 };
        let bytes_per_sample = if room * 8 >= bits.max(8) { room } else { bits.div_ceil(8) };
        let tag = match le(format, 0, 2) {
            0xfffe if format.len() >= 26 => le(format, 24, 2), // the coding is in the GUID
            tag => tag,
        };
        let coding = match (tag, bytes_per_sample) {
            (1, 1..=4) => Coding::Integer,
            (3, 4 | 8) => Coding::Float,
            (6, 1) => Coding::ALaw,
            (7, 1) => Coding::MuLaw,
            _ => return Err(unsupported(tag, bits)),
        };
        let (left, endless, bytes) = (0, false, Vec::new());
        Ok(Wav { source, coding, bytes_per_sample, rate, channels, left, endless, bytes })
    }

    /// Sample frames that the header states and that fit into a file of `bytes` bytes.
    pub(crate) fn frames_told(&self, bytes: u64) -> u64 {
        self.left.min(bytes) / (self.bytes_per_sample * self.channels) as u64
    }

    /// Replaces `out` by the next interleaved samples: nothing at the end.
    pub(crate) fn read(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let frame = self.bytes_per_sample * self.channels;
        let wanted = self.left.min((PIECE_FRAMES * frame) as u64);
        self.bytes.clear();
        let read = (&mut self.source).take(wanted).read_to_end(&mut self.bytes)?;
        self.left = if (read as u64) < wanted { self.left } else { self.left - wanted };
        let whole = read / frame * frame;
        out.clear();
        decode(self.coding, self.bytes_per_sample, &self.bytes[..whole], out);
        Ok(())
    }

    /// Whether all was there that the header states.
    pub(crate) fn is_complete(&self) -> bool {
        self.endless || self.left == 0
    }
}

/// Appends samples of full scale 1.
fn decode(coding: Coding, width: usize, bytes: &[u8], out: &mut Vec<f32>) {
    let samples = bytes.chunks_exact(width);
    match coding {
        // In the high bits of 32: exact in f64, then rounded once. One byte is unsigned.
        Coding::Integer => out.extend(samples.map(|sample| {
            let bits = (le(sample, 0, width) as u32) << (32 - 8 * width);
            let sign = if width == 1 { 1 << 31 } else { 0 };
            (f64::from((bits ^ sign) as i32) / 2_147_483_648.0) as f32
        })),
        Coding::Float if width == 4 => {
            out.extend(samples.map(|sample| f32::from_bits(le(sample, 0, 4) as u32)));
        }
        Coding::Float => out.extend(samples.map(|sample| f64::from_bits(le(sample, 0, 8)) as f32)),
        Coding::ALaw => out.extend(bytes.iter().map(|&code| f32::from(a_law(code)) / 32_768.0)),
        Coding::MuLaw => out.extend(bytes.iter().map(|&code| f32::from(mu_law(code)) / 32_768.0)),
    }
}

/// ITU-T G.711, table 1a, scaled to 16 bits.
fn a_law(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (segment, step) = (code >> 4 & 7, i16::from(code & 15) << 4 | 8);
    let magnitude = if segment == 0 { step } else { (step | 0x100) << (segment - 1) };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// ITU-T G.711, table 2a, scaled to 16 bits.
fn mu_law(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((i16::from(code & 15) << 3 | 0x84) << (code >> 4 & 7)) - 0x84;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

fn unsupported(tag: u64, bits: usize) -> AudioError {
    let codec = match tag {
        1 | 3 | 6 | 7 => format!("PCM of {bits} bits (format {tag})"),
        2 | 0x11 => "ADPCM".to_string(),
        0x31 => "GSM".to_string(),
        0x50 | 0x55 => "MPEG audio".to_string(),
        0xff | 0x1600..=0x1602 => "AAC".to_string(),
        _ => format!("in the unknown format {tag:#06x}"),
    };
    AudioError::UnsupportedCodec { container: "WAV", codec }
}

fn damaged(why: &str) -> AudioError {
    AudioError::Damaged { container: "WAV", why: why.to_string() }
}

fn read_up_to(source: &mut impl Read, size: u64) -> Result<Vec<u8>, AudioError> {
    let mut bytes = Vec::new();
    source.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The little-endian number of `width` bytes at `at`; bytes that are not there count as 0.
fn le(bytes: &[u8], at: usize, width: usize) -> u64 {
    let bytes = bytes.iter().skip(at).take(width);
    bytes.enumerate().fold(0, |value, (i, &byte)| value | u64::from(byte) << (8 * i))
}

/// A size from here on is what programs leave that write to a pipe: 2³¹ less a header, 2³² - 1.
const PIPED: u64 = 0x7fff_0000;

/// Sample frames decoded at once.
const PIECE_FRAMES: usize = 4096;

/// No file has more chunks before its samples, short of one made to keep a reader busy.
const CHUNKS_MAX: usize = 4096;
