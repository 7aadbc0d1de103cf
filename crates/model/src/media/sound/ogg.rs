//! Whether an Ogg file is whole, and what it holds: by its pages alone (RFC 3533).
//!
//! The demuxer passes over pages that are damaged or lacking, and does not tell.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

/// What the pages tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Every page is undamaged and follows the one before. A recorder that was stopped may leave
    /// out the mark on the last one: its sound is whole all the same, as ffmpeg has it, too.
    pub(crate) whole: bool,
    /// The coding of the first stream, where it is one that is only named.
    pub(crate) only_named: Option<&'static str>,
}

/// Reads all pages.
pub(crate) fn pages(file: &mut (impl Read + Seek)) -> io::Result<Pages> {
    let mut pages = Pages { whole: true, only_named: None };
    let mut streams: HashMap<u32, (u32, bool)> = HashMap::new(); // next page, ended
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut file = io::BufReader::new(file.take(end));
    let mut page = Vec::new();
    loop {
        page.clear();
        (&mut file).take(HEADER as u64).read_to_end(&mut page)?;
        if page.is_empty() {
            break;
        }
        if page.len() < HEADER || !page.starts_with(b"OggS") {
            // Zeros at the end are those of a disk.
            pages.whole &= page.iter().all(|&byte| byte == 0);
            break;
        }
        let lacings = usize::from(page[26]);
        (&mut file).take(lacings as u64).read_to_end(&mut page)?;
        let body: u64 = page[HEADER..].iter().map(|&size| u64::from(size)).sum();
        let wanted = page.len() as u64 + body;
        (&mut file).take(body).read_to_end(&mut page)?;
        let told = le(&page, 22);
        page[22..26].fill(0);
        if (page.len() as u64) < wanted || page.iter().fold(0, crc32) != told {
            pages.whole = false;
        }
        let (serial, number, flags) = (le(&page, 14), le(&page, 18), page[5]);
        if streams.is_empty() {
            pages.only_named = named(page.get(HEADER + lacings..).unwrap_or_default());
        }
        let (next, ended) = streams.entry(serial).or_insert((number, false));
        pages.whole &= *next == number && !*ended;
        (*next, *ended) = (number.wrapping_add(1), flags & LAST != 0);
        if streams.len() > STREAMS_MAX {
            break;
        }
    }
    Ok(pages)
}

/// Codings that Ogg files are made of and that nothing here decodes.
fn named(first_packet: &[u8]) -> Option<&'static str> {
    match first_packet {
        [b'S', b'p', b'e', b'e', b'x', b' ', ..] => Some("Speex"),
        [b'C', b'E', b'L', b'T', b' ', ..] => Some("CELT, the forerunner of Opus"),
        [b'P', b'C', b'M', b' ', ..] => Some("PCM in a way that was never common"),
        [_, b'm', b'i', b'd', b'i', ..] => Some("MIDI"),
        _ => None,
    }
}

fn le(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

/// The polynomial of Ethernet, first bit first, from zero.
fn crc32(crc: u32, &byte: &u8) -> u32 {
    crc << 8 ^ CRC[(crc >> 24) as usize ^ usize::from(byte)]
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = ((i as u32) << 24, 0);
        while bit < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Bytes of a page before its table of sizes.
const HEADER: usize = 27;

/// The flag of a stream's last page.
const LAST: u8 = 4;

/// No file has more streams, short of one made to fill the memory.
const STREAMS_MAX: usize = 4096;
