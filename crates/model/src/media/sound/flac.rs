//! The header of a FLAC file, made anew: damaged comments or pictures keep nobody from the sound.
//!
//! Of all metadata only STREAMINFO matters, and of that only what the first frame does not say
//! itself (RFC 9639, 8.2 and 9.1). The demuxer gets a STREAMINFO that fits the frames.

use std::io::{self, Read, Seek, SeekFrom};

use super::view::Piece;

/// The pieces of the file for its demuxer: a header, and the frames. All of it where no frame is
/// found.
pub(crate) fn pieces(file: &mut (impl Read + Seek)) -> io::Result<Vec<Piece>> {
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    let told = (head.get(4).is_some_and(|kind| kind & 127 == 0)).then(|| head.get(8..42)).flatten();
    let Some((at, frame)) = first_frame(&head, told.map(told_format)) else {
        return Ok(vec![Piece::File(0..end)]);
    };
    let header = Piece::Bytes(stream_info(&frame, told));
    Ok(vec![header, Piece::File(at as u64..end)])
}

/// Bytes of a frame of so many samples in all channels at the most: 32 bits each and one more for
/// a channel that is a difference, a header, and what stands before each channel.
pub(crate) fn size_max(samples: usize) -> usize {
    samples / 8 * 33 + 256
}

/// Rate, channels and bits a sample.
type Format = (u32, u32, u32);

/// What a frame's header says; rate and bits may be left to STREAMINFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    variable: bool,
    block: u32,
    rate: Option<u32>,
    channels: u32,
    bits: Option<u32>,
}

/// The frame after the metadata, or the first place that looks like one where these lead nowhere.
fn first_frame(head: &[u8], told: Option<Format>) -> Option<(usize, Frame)> {
    let usable = |at: usize| {
        let frame = frame(head.get(at..)?)?;
        (told.is_some() || frame.rate.is_some() && frame.bits.is_some()).then_some((at, frame))
    };
    let mut at = 4;
    while let Some(&[kind, a, b, c]) = head.get(at..at + 4) {
        at += 4 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
        if kind & 128 != 0 {
            break;
        }
    }
    usable(at).or_else(|| (4..head.len()).find_map(usable))
}

fn told_format(info: &[u8]) -> Format {
    let word = be(&info[10..14]);
    (word >> 12, (word >> 9 & 7) + 1, ((word & 0x1f0) >> 4) + 1)
}

/// A frame's header with its checksum.
fn frame(bytes: &[u8]) -> Option<Frame> {
    let &[0xff, sync, sizes, format, number, ..] = bytes else { return None };
    if sync & 0xfe != 0xf8 || format & 1 != 0 {
        return None;
    }
    let mut at = 4 + match number.leading_ones() {
        0 => 1,
        ones @ 2..=7 => ones as usize,
        _ => return None,
    };
    let mut take = |width: usize| {
        at += width;
        bytes.get(at - width..at).map(be)
    };
    let block = match sizes >> 4 {
        0 => return None,
        1 => 192,
        code @ 2..=5 => 576 << (code - 2),
        6 => take(1)? + 1,
        7 => take(2)? + 1,
        code => 256 << (code - 8),
    };
    let rate = match sizes & 15 {
        0 => None,
        12 => Some(take(1)? * 1000),
        13 => Some(take(2)?),
        14 => Some(take(2)? * 10),
        code => Some(*RATES.get(usize::from(code) - 1)?),
    };
    let channels = match format >> 4 {
        code @ 0..=7 => u32::from(code) + 1,
        8..=10 => 2,
        _ => return None,
    };
    let bits = match format >> 1 & 7 {
        0 => None,
        code => Some(*BITS.get(usize::from(code) - 1)?).filter(|&bits| bits > 0),
    };
    let checked = bytes.get(..at)?.iter().fold(0, |crc, &byte| crc8(crc ^ byte));
    let variable = sync & 1 == 1;
    (bytes.get(at) == Some(&checked)).then_some(Frame { variable, block, rate, channels, bits })
}

/// x^8 + x^2 + x + 1.
fn crc8(byte: u8) -> u8 {
    (0..8).fold(byte, |crc, _| if crc & 128 != 0 { crc << 1 ^ 7 } else { crc << 1 })
}

/// The marker and a STREAMINFO block, the last one, for these frames.
fn stream_info(frame: &Frame, told: Option<&[u8]>) -> Vec<u8> {
    let (told_rate, _, told_bits) = told.map_or((0, 0, 0), told_format);
    // The total of samples, 36 bits, is only in STREAMINFO; 0 is unknown.
    let total =
        told.map_or(0, |info| u64::from(info[13] & 15) << 32 | u64::from(be(&info[14..18])));
    let (least, most) = if frame.variable { (16, 0xffff) } else { (frame.block, frame.block) };
    let rate = u64::from(frame.rate.unwrap_or(told_rate));
    let bits = u64::from(frame.bits.unwrap_or(told_bits).max(1));
    let format = rate << 44 | u64::from(frame.channels - 1) << 41 | (bits - 1) << 36 | total;
    let mut block = b"fLaC\x80\0\0\x22".to_vec();
    block.extend((least as u16).to_be_bytes());
    block.extend((most as u16).to_be_bytes());
    block.extend([0; 6]); // sizes of frames: unknown
    block.extend(format.to_be_bytes());
    block.extend([0; 16]); // no checksum
    block
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

const RATES: [u32; 11] =
    [88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];

/// 0 is reserved.
const BITS: [u32; 7] = [8, 12, 0, 16, 20, 24, 32];

/// Covers of albums stand before the first frame; at most so much is searched.
const HEAD: u64 = 32 << 20;
