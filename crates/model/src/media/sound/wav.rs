//! WAV files, which come with every kind of careless header.
//!
//! Only what is needed to find the samples is believed: the type, rate and channels of the `fmt `
//! chunk and where the `data` chunk begins. Its size is an upper bound, for a recorder that was
//! switched off leaves a wrong one, and a program that writes to a pipe leaves 0 or 2³¹ and more.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::AudioError;
use super::pcm::{Coding, Layout, Pcm, number, read_up_to};

/// What the `data` chunk holds.
pub(crate) enum Wav<R> {
    /// Samples as they are.
    Pcm(Pcm<R>),
    /// Frames of MPEG audio, at these bytes of the file.
    Mpeg(Range<u64>),
    /// ADPCM of so many bytes of which so many are there.
    Adpcm { told: u64, found: u64 },
}

/// Reads up to the first sample.
///
/// # Errors
/// What the header is lacking, or a coding, rate or channel count of no use.
pub(crate) fn open<R: Read + Seek>(mut source: R) -> Result<Wav<R>, AudioError> {
    let mut format = None;
    let (mut at, mut long_data) = (12, None);
    let end = source.seek(SeekFrom::End(0))?;
    source.seek(SeekFrom::Start(0))?;
    let riff = read_up_to(&mut source, 12)?;
    let big_endian = riff.starts_with(b"RIFX");
    let riff_size = field(&riff, 4..8, big_endian);
    for _ in 0..CHUNKS_MAX {
        source.seek(SeekFrom::Start(at))?;
        let head = read_up_to(&mut source, 8)?;
        let size = field(&head, 4..8, big_endian);
        match head.get(..4) {
            Some(b"fmt ") => format = Some(read_up_to(&mut source, size.min(40))?),
            // RF64: the sizes that do not fit into 32 bits, the second is that of the samples.
            Some(b"ds64") => {
                long_data = Some(field(&read_up_to(&mut source, 16)?, 8..16, big_endian));
            }
            Some(b"data") => {
                let format = format.ok_or_else(|| damaged("no fmt chunk before the samples"))?;
                let long_data = long_data.filter(|_| size >= PIPED);
                // A recorder that was switched off leaves the sizes of the time before it began.
                let unwritten = size == 0 && (riff_size <= at || riff_size >= PIPED);
                let size = match long_data {
                    None if unwritten || size >= PIPED => None,
                    None => Some(size),
                    long => long,
                };
                return with_format(source, &format, big_endian, at + 8..end, size);
            }
            Some(_) => {}
            None => return Err(damaged("it ends before its samples")),
        }
        at += 8 + size + size % 2;
    }
    Err(damaged("no samples among its first chunks"))
}

/// `source` stands at the first sample, `data` is from there to the end of the file.
fn with_format<R: Read + Seek>(
    source: R,
    format: &[u8],
    big_endian: bool,
    data: Range<u64>,
    size: Option<u64>,
) -> Result<Wav<R>, AudioError> {
    if format.len() < 16 {
        return Err(damaged("its fmt chunk is too short"));
    }
    let field = |range| field(format, range, big_endian);
    let (rate, channels) = (field(4..8) as u32, field(2..4) as usize);
    let (align, bits) = (field(12..14) as usize, field(14..16) as usize);
    // A sample of 12 bits stands in the high bits of two bytes: full scale is that of its room.
    let fits = align > 0 && channels > 0 && align.is_multiple_of(channels);
    let room = if fits { align / channels } else { 0 };
    let bytes_per_sample = if room * 8 >= bits.max(8) { room } else { bits.div_ceil(8) };
    let tag = match field(0..2) {
        0xfffe if format.len() >= 26 => field(24..26), // the coding is in the GUID
        tag => tag,
    };
    let coding = match (tag, bytes_per_sample) {
        (1, 1) => Coding::Unsigned,
        (1, 2..=4) => Coding::Integer,
        (3, 4 | 8) => Coding::Float,
        (6, 1) => Coding::ALaw,
        (7, 1) => Coding::MuLaw,
        (2 | 0x11, _) if !big_endian => {
            let found = data.end.saturating_sub(data.start);
            return Ok(Wav::Adpcm { told: size.unwrap_or(found), found });
        }
        (0x50 | 0x55, _) => {
            let told = data.start.saturating_add(size.unwrap_or(u64::MAX));
            return Ok(Wav::Mpeg(data.start..told.min(data.end)));
        }
        _ => return Err(unsupported(tag, bits)),
    };
    let layout = Layout { coding, bytes_per_sample, big_endian, rate, channels };
    Pcm::new(source, layout, size).map(Wav::Pcm)
}

fn unsupported(tag: u64, bits: usize) -> AudioError {
    let codec = match tag {
        1 | 3 | 6 | 7 => format!("PCM of {bits} bits (format {tag})"),
        2 | 0x11 => "ADPCM".to_string(),
        0x31 => "GSM".to_string(),
        0xff | 0x1600..=0x1602 => "AAC".to_string(),
        0x160..=0x163 => "Windows Media Audio".to_string(),
        0x2000 => "AC-3".to_string(),
        _ => format!("in the unknown format {tag:#06x}"),
    };
    AudioError::UnsupportedCodec { container: "WAV", codec }
}

fn damaged(why: &str) -> AudioError {
    AudioError::Damaged { container: "WAV", why: why.to_string() }
}

/// The number in this range of `bytes`; bytes that are not there count as 0.
fn field(bytes: &[u8], range: Range<usize>, big_endian: bool) -> u64 {
    let mut field = [0; 8];
    let there = bytes.get(range.start.min(bytes.len())..range.end.min(bytes.len()));
    let there = there.unwrap_or_default();
    field[..there.len()].copy_from_slice(there);
    number(&field[..range.len()], big_endian)
}

/// A size from here on is what programs leave that write to a pipe: 2³¹ less a header, 2³² - 1.
const PIPED: u64 = 0x7fff_0000;

/// No file has more chunks before its samples, short of one made to keep a reader busy.
const CHUNKS_MAX: usize = 4096;
