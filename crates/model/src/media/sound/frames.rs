//! MPEG audio and AAC as bare frames: junk, tags and other recordings may stand in between.
//!
//! A frame says how long it is and nothing says where the next one begins, so one counts when
//! another of its kind follows at its end (ISO/IEC 11172-3, 2.4.1.3 and 13818-7, 6.2). Tags are
//! passed over: ID3 before, between and after, ID3v1 and APE at the end. A recording may
//! begin with a frame without sound in which Xing's, LAME's or Fraunhofer's encoder says how many
//! follow and how many samples at either end are padding; two joined files have two of those.

use std::io::{Read, Seek, SeekFrom};

use super::AudioError;

/// What the frames hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Layer I, II or III.
    Layer(u8),
    /// AAC with ADTS headers.
    Aac,
}

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) codec: Codec,
    pub(crate) rate: u32,
    pub(crate) channels: usize,
    /// Bytes before the coded sound, a checksum included in AAC only.
    pub(crate) head: usize,
    /// Bytes of the frame.
    pub(crate) size: usize,
    /// Sample frames it decodes to.
    pub(crate) samples: u64,
    /// Where layer III has its side information.
    side: usize,
    mpeg1: bool,
}

/// What comes next in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A recording begins: what its first frame says, if there is one that says something.
    Start(Told),
    /// A frame of sound.
    Frame(Header, Vec<u8>),
    End,
}

/// What an encoder says about a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) frames: Option<u64>,
    /// Samples to leave out at the start and at the end.
    pub(crate) delay: u64,
    pub(crate) padding: u64,
}

/// The frames of a file, one after another.
pub(crate) struct Frames<R> {
    source: R,
    window: Vec<u8>,
    at: usize, // in the window
    unread: u64,
    last: Option<Header>,
    in_step: bool, // the last frame ends here
    begun: bool,   // the recording, with `Next::Start`
    heard: bool,   // a frame of sound
    damaged: bool,
}

impl<R: Read + Seek> Frames<R> {
    pub(crate) fn new(mut source: R, start: u64) -> Result<Frames<R>, AudioError> {
        let unread = source.seek(SeekFrom::End(0))?.saturating_sub(start);
        source.seek(SeekFrom::Start(start))?;
        let (window, last) = (Vec::new(), None);
        let (in_step, begun, heard, damaged) = (false, false, false, false);
        Ok(Frames { source, window, at: 0, unread, last, in_step, begun, heard, damaged })
    }

    /// Whether something was lost: junk between frames, or a last frame that is cut off.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged
    }

    pub(crate) fn next(&mut self) -> Result<Next, AudioError> {
        let mut junk = false;
        loop {
            self.fill(HEAD)?;
            if self.here().is_empty() {
                self.damaged |= junk && self.heard;
                return Ok(Next::End);
            }
            // A tag that is longer than the file lies about its size.
            if let Some(size) = tag(self.here()).filter(|&size| size <= self.left()) {
                self.skip(size)?;
                (self.last, self.begun, self.in_step) = (None, false, false);
                continue;
            }
            let Some((found, is_cut)) = self.frame()? else {
                // Zeros are padding.
                junk |= self.here()[0] != 0;
                self.at += 1;
                self.in_step = false;
                continue;
            };
            self.damaged |= (junk || is_cut) && self.heard;
            if is_cut {
                return Ok(Next::End);
            }
            let frame = self.here()[..found.size].to_vec();
            let told = found.told(&frame);
            if told.is_none() && self.begun {
                self.at += found.size;
                (self.last, self.in_step, self.heard) = (Some(found), true, true);
                return Ok(Next::Frame(found, frame));
            }
            // A frame that tells is no sound; one that does not comes the next time.
            if told.is_some() {
                self.at += found.size;
                (self.last, self.in_step) = (Some(found), true);
            }
            self.begun = true;
            return Ok(Next::Start(told.unwrap_or_default()));
        }
    }

    /// The frame that begins here, and whether it is cut off.
    fn frame(&mut self) -> Result<Option<(Header, bool)>, AudioError> {
        let Some(found) = header(self.here()) else { return Ok(None) };
        self.fill(FRAMES_SURE * (FRAME_MAX + HEAD))?;
        let bytes = self.here();
        if self.last.is_some_and(|last| !last.is_like(&found)) {
            // Another recording begins without a word, or there is damage.
            return Ok(sure(bytes).map(|found| (found, false)));
        }
        let Some(after) = bytes.get(found.size..) else {
            return Ok(self.in_step.then_some((found, true)));
        };
        let follows = after.is_empty()
            || tag(after).is_some()
            || header(after).is_some_and(|next| found.is_like(&next));
        Ok((follows || self.in_step).then_some((found, false)))
    }

    /// Holds the next `size` bytes, fewer at the end only.
    fn fill(&mut self, size: usize) -> Result<(), AudioError> {
        if self.window.len() - self.at < size && self.unread > 0 {
            self.window.drain(..self.at);
            self.at = 0;
            let wanted = (WINDOW - self.window.len()) as u64;
            let read = (&mut self.source).take(wanted).read_to_end(&mut self.window)?;
            let ended = (read as u64) < wanted;
            self.unread = if ended { 0 } else { self.unread.saturating_sub(read as u64) };
        }
        Ok(())
    }

    fn here(&self) -> &[u8] {
        &self.window[self.at..]
    }

    fn left(&self) -> u64 {
        (self.window.len() - self.at) as u64 + self.unread
    }

    /// At most to the end.
    fn skip(&mut self, size: u64) -> Result<(), AudioError> {
        let held = (self.window.len() - self.at) as u64;
        self.at += usize::try_from(size.min(held)).unwrap_or(usize::MAX);
        let beyond = size.saturating_sub(held);
        if beyond > 0 {
            self.source.seek(SeekFrom::Current(i64::try_from(beyond).unwrap_or(i64::MAX)))?;
            self.unread = self.unread.saturating_sub(beyond);
        }
        Ok(())
    }
}

impl Header {
    /// Frames of one recording share layer, version and rate.
    fn is_like(&self, other: &Header) -> bool {
        (self.codec, self.rate, self.mpeg1) == (other.codec, other.rate, other.mpeg1)
    }

    /// The frame as the decoder takes it, `None` where it takes none such. Of layer II it takes the
    /// rates that the standard allows (ISO/IEC 11172-3, 2.4.2.3), and encoders use others: few
    /// bits in two channels, and many in one.
    pub(crate) fn allowed(&self, mut frame: Vec<u8>) -> Option<Vec<u8>> {
        if self.codec != Codec::Layer(2) {
            return Some(frame);
        }
        let rates = if self.mpeg1 { BIT_RATES[1] } else { BIT_RATES[4] };
        let index = usize::from(frame[2] >> 4);
        let kilobits = *rates.get(index.checked_sub(1)?)?;
        if self.channels == 1 {
            return (kilobits <= 192).then_some(frame);
        }
        if matches!(kilobits, 32 | 48 | 56 | 80) {
            // Up to 48 kbit/s a channel are coded alike; the rest of the frame is not looked at.
            let index = rates.iter().position(|&rate| rate == 96)? as u8 + 1;
            frame[2] = index << 4 | frame[2] & 0x0d; // no padding
            frame.resize(144 * 96_000 / self.rate as usize, 0);
        }
        Some(frame)
    }

    /// Whether a granule of a layer III frame has a mixed block: two long subbands, the rest short.
    pub(crate) fn has_mixed_blocks(&self, frame: &[u8]) -> bool {
        if self.codec != Codec::Layer(3) {
            return false;
        }
        let bit =
            |at: usize| frame.get(self.head + at / 8).is_some_and(|b| b >> (7 - at % 8) & 1 == 1);
        // ISO/IEC 11172-3, 2.4.1.7: lengths of the fields before the first granule and of each.
        let (first, granules, length, flag) = match (self.mpeg1, self.channels) {
            (true, 1) => (9 + 5 + 4, 2, 59, 33),
            (true, _) => (9 + 3 + 8, 4, 59, 33),
            (false, 1) => (8 + 1, 1, 63, 38),
            (false, _) => (8 + 2, 2, 63, 38),
        };
        (0..granules).map(|granule| first + granule * length + flag).any(|switching| {
            bit(switching) && bit(switching + 1) && !bit(switching + 2) && bit(switching + 3)
        })
    }

    /// What a frame without sound tells.
    fn told(&self, frame: &[u8]) -> Option<Told> {
        if self.codec != Codec::Layer(3) {
            return None;
        }
        let number = |at: usize| {
            let bytes = frame.get(at..at + 4)?;
            Some(bytes.iter().fold(0u32, |value, &byte| value << 8 | u32::from(byte)))
        };
        let xing = self.head + self.side;
        match frame.get(xing..xing + 4) {
            Some(b"Xing" | b"Info") => {}
            // Fraunhofer's stands at 36, whatever the side information takes.
            _ if frame.get(36..40) == Some(b"VBRI") => {
                let frames = number(50).map(u64::from);
                return Some(Told { frames, ..Told::default() });
            }
            _ => return None,
        }
        let flags = number(xing + 4)?;
        let mut at = xing + 8;
        let frames = if flags & 1 != 0 { number(at).map(u64::from) } else { None };
        at += [(1, 4), (2, 4), (4, 100), (8, 4)]
            .iter()
            .filter(|(flag, _)| flags & flag != 0)
            .map(|(_, size)| size)
            .sum::<usize>();
        let mut told = Told { frames, ..Told::default() };
        // LAME's part: nine bytes of name, and at its byte 21 twice twelve bits.
        let named = frame.get(at..at + 4).is_some_and(|name| name.iter().all(u8::is_ascii_graphic));
        if let (true, Some(&[a, b, c])) = (named, frame.get(at + 21..at + 24)) {
            let delay = u64::from(a) << 4 | u64::from(b) >> 4;
            let padding = u64::from(b & 15) << 8 | u64::from(c);
            told.delay = delay + DECODER_DELAY;
            told.padding = padding.saturating_sub(DECODER_DELAY);
        }
        Some(told)
    }
}

/// Whether the file is one of bare frames, by three in a row within `head`.
pub(crate) fn find(head: &[u8]) -> Option<Codec> {
    (0..head.len()).find_map(|start| Some(sure(&head[start..])?.codec))
}

/// The first of enough frames in a row.
fn sure(bytes: &[u8]) -> Option<Header> {
    let first = header(bytes)?;
    let mut at = 0;
    for _ in 0..FRAMES_SURE {
        let next = header(bytes.get(at..)?)?;
        at = if next.is_like(&first) { at + next.size } else { return None };
    }
    Some(first)
}

/// The header at the start of `bytes`.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let &[0xff, b, c, d, ..] = bytes else { return None };
    match (b >> 5, b >> 1 & 3) {
        (7, 0) if b & 0x10 != 0 => adts(bytes),
        (7, layer) if layer > 0 => mpeg(b, c, d),
        _ => None,
    }
}

/// ISO/IEC 11172-3, 2.4.1.3, with the lower rates of 13818-3 and of version 2.5.
fn mpeg(b: u8, c: u8, d: u8) -> Option<Header> {
    let layer = 4 - (b >> 1 & 3);
    let (shift, mpeg1) = match b >> 3 & 3 {
        3 => (0, true),
        2 => (1, false),
        0 => (2, false),
        _ => return None,
    };
    let rate = *[44_100u32, 48_000, 32_000].get(usize::from(c >> 2 & 3))? >> shift;
    let kilobits = match (mpeg1, layer) {
        (true, 1) => BIT_RATES[0],
        (true, 2) => BIT_RATES[1],
        (true, _) => BIT_RATES[2],
        (false, 1) => BIT_RATES[3],
        (false, _) => BIT_RATES[4],
    };
    // 0 is a free rate: nothing says where such a frame ends.
    let bits = usize::from(*kilobits.get(usize::from(c >> 4).checked_sub(1)?)?) * 1000;
    let (samples, slot) = match (layer, mpeg1) {
        (1, _) => (384, 4),
        (3, false) => (576, 1),
        _ => (1152, 1),
    };
    let slots = samples / 8 / slot * bits / rate as usize + usize::from(c >> 1 & 1);
    let channels = if d >> 6 == 3 { 1 } else { 2 };
    let head = if b & 1 == 0 { 6 } else { 4 };
    let side = match (mpeg1, channels) {
        (true, 2) => 32,
        (true, _) | (false, 2) => 17,
        _ => 9,
    };
    let (codec, size, samples) = (Codec::Layer(layer), slots * slot, samples as u64);
    (size > head + side).then_some(Header {
        codec,
        rate,
        channels,
        head,
        size,
        samples,
        side,
        mpeg1,
    })
}

/// ISO/IEC 13818-7, 6.2.
fn adts(bytes: &[u8]) -> Option<Header> {
    let &[_, b, c, d, e, f, g, ..] = bytes else { return None };
    let rate = *AAC_RATES.get(usize::from(c >> 2 & 15))?;
    let channels = match (c & 1) << 2 | d >> 6 {
        7 => 8,
        other => usize::from(other),
    };
    let size = usize::from(d & 3) << 11 | usize::from(e) << 3 | usize::from(f >> 5);
    let head = if b & 1 == 0 { 9 } else { 7 };
    let samples = 1024 * u64::from(1 + (g & 3));
    let (codec, side, mpeg1) = (Codec::Aac, 0, true);
    (size > head).then_some(Header { codec, rate, channels, head, size, samples, side, mpeg1 })
}

/// The size of the tag that stands here.
fn tag(bytes: &[u8]) -> Option<u64> {
    match bytes {
        // ID3v2: four sizes of seven bits; bit 4 of the flags adds a footer.
        &[b'I', b'D', b'3', major, _, flags, a, b, c, d, ..] if major < 0xff => {
            let size = [a, b, c, d].iter().fold(0, |size, &byte| size << 7 | u64::from(byte & 127));
            Some(10 + size + if flags & 16 != 0 { 10 } else { 0 })
        }
        [b'T', b'A', b'G', ..] => Some(128),
        // APEv2: the size counts items and footer; a header of 32 bytes was first.
        [b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', rest @ ..] if rest.len() >= 24 => {
            Some(32 + rest[4..8].iter().rev().fold(0, |size, &byte| size << 8 | u64::from(byte)))
        }
        _ => None,
    }
}

/// kbit/s of index 1 and up: layers I to III of MPEG-1, layer I and the others of MPEG-2.
const BIT_RATES: [[u16; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

const AAC_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// A layer III decoder gives its first sample so much later (LAME's tag counts without it).
const DECODER_DELAY: u64 = 529;

/// As much of what follows a frame as a header and a tag need to be known by.
const HEAD: usize = 32;

/// Frames in a row that random bytes do not show.
const FRAMES_SURE: usize = 3;

/// The longest frame is one of AAC.
const FRAME_MAX: usize = 8191;

/// Bytes held.
const WINDOW: usize = 1 << 16;
