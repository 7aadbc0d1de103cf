//! Samples that stand in a file as they are: integers, floats and the two telephone codings.

use std::io::{Read, Seek};

use super::AudioError;
use crate::media::samples::{Resampler, check_channels};

/// What the bytes of a sample mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// One byte of it has its zero at 128.
    Unsigned,
    Integer,
    Float,
    ALaw,
    MuLaw,
}

/// How the samples of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) coding: Coding,
    pub(crate) bytes_per_sample: usize,
    pub(crate) big_endian: bool,
    pub(crate) rate: u32,
    pub(crate) channels: usize,
}

/// The samples of a file, read piece by piece.
pub(crate) struct Pcm<R> {
    source: R,
    pub(crate) layout: Layout,
    left: Option<u64>, // bytes of samples; `None` where the file's end is theirs
    bytes: Vec<u8>,
}

impl<R: Read + Seek> Pcm<R> {
    /// `source` stands at the first sample; `size` is how many bytes of samples the header states.
    ///
    /// # Errors
    /// A rate or channel count of no use.
    pub(crate) fn new(source: R, layout: Layout, size: Option<u64>) -> Result<Pcm<R>, AudioError> {
        Resampler::check(layout.rate)?;
        check_channels(layout.channels)?;
        Ok(Pcm { source, layout, left: size, bytes: Vec::new() })
    }

    /// Sample frames that the header states and that fit into a file of `bytes` bytes.
    pub(crate) fn frames_told(&self, bytes: u64) -> u64 {
        self.left.unwrap_or(bytes).min(bytes) / self.frame_bytes() as u64
    }

    /// Replaces `out` by the next interleaved samples: nothing at the end.
    pub(crate) fn read(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let frame = self.frame_bytes();
        let wanted = self.left.unwrap_or(u64::MAX).min((PIECE_FRAMES * frame) as u64);
        self.bytes.clear();
        let read = (&mut self.source).take(wanted).read_to_end(&mut self.bytes)?;
        if let Some(left) = &mut self.left
            && read as u64 == wanted
        {
            *left -= wanted;
        }
        out.clear();
        decode(&self.layout, &self.bytes[..read / frame * frame], out);
        Ok(())
    }

    /// Whether all was there that the header states.
    pub(crate) fn is_complete(&self) -> bool {
        self.left.is_none_or(|left| left == 0)
    }

    fn frame_bytes(&self) -> usize {
        self.layout.bytes_per_sample * self.layout.channels
    }
}

/// Appends samples of full scale 1.
fn decode(layout: &Layout, bytes: &[u8], out: &mut Vec<f32>) {
    let width = layout.bytes_per_sample;
    let bits = |sample: &[u8]| number(sample, layout.big_endian);
    let samples = bytes.chunks_exact(width);
    match layout.coding {
        // In the high bits of 32: exact in f64, then rounded once.
        Coding::Integer | Coding::Unsigned => {
            let zero = if layout.coding == Coding::Unsigned { 1 << 31 } else { 0 };
            out.extend(samples.map(|sample| {
                let bits = (bits(sample) as u32) << (32 - 8 * width);
                (f64::from((bits ^ zero) as i32) / 2_147_483_648.0) as f32
            }));
        }
        Coding::Float if width == 4 => {
            out.extend(samples.map(|sample| f32::from_bits(bits(sample) as u32)));
        }
        Coding::Float => out.extend(samples.map(|sample| f64::from_bits(bits(sample)) as f32)),
        Coding::ALaw => out.extend(bytes.iter().map(|&code| f32::from(a_law(code)) / 32_768.0)),
        Coding::MuLaw => out.extend(bytes.iter().map(|&code| f32::from(mu_law(code)) / 32_768.0)),
    }
}

/// The number that at most eight bytes are.
pub(crate) fn number(bytes: &[u8], big_endian: bool) -> u64 {
    let join = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
    if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
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

pub(crate) fn read_up_to(source: &mut impl Read, size: u64) -> Result<Vec<u8>, AudioError> {
    let mut bytes = Vec::new();
    source.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Sample frames decoded at once.
const PIECE_FRAMES: usize = 4096;
