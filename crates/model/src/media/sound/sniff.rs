//! What kind of file it is, by its first bytes: names and extensions lie.

use std::io::{Read, Seek, SeekFrom};

use super::{AudioError, frames};
use crate::media::samples::SamplesError;

/// A container that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The offset at which the sound begins: after an ID3 tag, else 0.
    pub(crate) at: u64,
}

/// # Errors
/// [`AudioError::Empty`] and [`AudioError::NotAudio`].
pub(crate) fn recognise(source: &mut (impl Read + Seek)) -> Result<Kind, AudioError> {
    let mut at = 0;
    for _ in 0..TAGS_MAX {
        let head = head(source, at, HEAD)?;
        match head.as_slice() {
            [] if at == 0 => return Err(AudioError::Empty),
            [] => break,
            // ID3v2: four sizes of seven bits; bit 4 of the flags adds a footer.
            [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
                let size =
                    [a, b, c, d].iter().fold(0, |size, &&byte| size << 7 | u64::from(byte & 127));
                at += 10 + size + if flags & 16 != 0 { 10 } else { 0 };
            }
            found => {
                if let Some(name) = container(found) {
                    return Ok(Kind { name, at });
                }
                break;
            }
        }
    }
    // Junk, zeros or a tag of the wrong size may stand before frames, nothing else before others.
    let first = head(source, 0, HEAD)?;
    let tagged = first.starts_with(b"ID3");
    if tagged || known(&first).is_none() && !is_text(&first) {
        for from in if tagged { vec![at, 0] } else { vec![0] } {
            let name = match frames::find(&head(source, from, JUNK_MAX)?) {
                Some(frames::Codec::Aac) => "AAC",
                Some(frames::Codec::Layer(_)) => "MP3",
                None => continue,
            };
            return Ok(Kind { name, at: from });
        }
    }
    if tagged && head(source, at, 1)?.is_empty() {
        return Err(SamplesError::NoSamples.into());
    }
    Err(other(&if tagged { head(source, at, HEAD)? } else { first }))
}

/// At most `size` bytes from `at`.
fn head(source: &mut (impl Read + Seek), at: u64, size: usize) -> Result<Vec<u8>, AudioError> {
    source.seek(SeekFrom::Start(at))?;
    let mut head = Vec::new();
    source.take(size as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn container(head: &[u8]) -> Option<&'static str> {
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    let riff = [b"RIFF", b"RF64", b"RIFX"].iter().any(|magic| has(0, *magic));
    match head {
        _ if riff && has(8, b"WAVE") => Some("WAV"),
        _ if has(0, b"fLaC") => Some("FLAC"),
        _ if has(0, b"OggS") => Some("Ogg"),
        _ if has(0, b"FORM") && (has(8, b"AIFF") || has(8, b"AIFC")) => Some("AIFF"),
        _ if has(0, b".snd") => Some("AU"),
        _ if has(0, b"caff") => Some("CAF"),
        _ if has(0, b"\x1a\x45\xdf\xa3") => Some("Matroska or WebM"),
        _ if MP4_ATOMS.iter().any(|name| has(4, name)) => Some("MP4"),
        _ => match frames::header(head)?.codec {
            frames::Codec::Aac => Some("AAC"),
            // Text in UTF-16 begins as layer I does: that takes more than one frame to know.
            frames::Codec::Layer(1) => None,
            frames::Codec::Layer(_) => Some("MP3"),
        },
    }
}

/// What it is instead.
fn known(head: &[u8]) -> Option<&'static str> {
    let is = |&&(at, magic, _): &&(usize, &[u8], _)| head.get(at..at + magic.len()) == Some(magic);
    OTHERS.iter().find(is).map(|&(_, _, name)| name)
}

fn is_text(head: &[u8]) -> bool {
    std::str::from_utf8(head).is_ok_and(|text| !text.contains('\0'))
}

/// Names what it is instead, for the message.
fn other(head: &[u8]) -> AudioError {
    let found = match known(head) {
        Some(name) => name.to_string(),
        None if is_text(head) => "text".into(),
        // A frame whose header names no rate: nothing says where it ends.
        None if matches!(head, &[0xff, b, c, ..] if b & 0xe6 == 0xe2 && c & 0xf0 == 0) => {
            "MP3 of a free bit rate".into()
        }
        None => {
            let bytes: Vec<String> =
                head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("data that begins with {}", bytes.join(" "))
        }
    };
    AudioError::NotAudio { found }
}

/// No more junk than this stands before the first frame; some of it is needed for three frames.
const JUNK_MAX: usize = 256 << 10;

/// The longest magic ends here.
const HEAD: usize = 20;

/// Some programs put a second tag before the first.
const TAGS_MAX: usize = 4;

/// `ftyp` begins every MP4; QuickTime files may begin with any of the others.
const MP4_ATOMS: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];

const OTHERS: [(usize, &[u8], &str); 28] = [
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (8, b"WEBP", "a WebP picture"),
    (8, b"AVI ", "an AVI video"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"Creative Voice File", "a VOC file"),
    (0, b"riff\x2e\x91\xcf\x11", "a Sony Wave64 file"),
    (0, b"\x0b\x77", "an AC-3 or E-AC-3 file"),
    (0, b"\x77\x0b", "an AC-3 file of swapped bytes"),
    (0, b"\x7f\xfe\x80\x01", "a DTS file"),
    (0, b"DSD ", "a DSD file (DSF)"),
    (0, b"FRM8", "a DSD file (DSDIFF)"),
    (0, b"FORM", "an IFF file without AIFF sound"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"MPCK", "a Musepack file"),
    (0, b"MP+", "a Musepack file"),
    (0, b"TTA", "a True Audio file"),
    (0, b".RMF", "a RealMedia file"),
    (0, b".ra\xfd", "a RealAudio file"),
    (0, b"ajkg", "a Shorten file"),
    (0, b"FLV\x01", "a Flash video"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media (WMA, ASF) file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"MThd", "a MIDI file"),
    (0, b"GGUF", "a model file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
];

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn kind(bytes: &[u8]) -> Result<Kind, String> {
        recognise(&mut Cursor::new(bytes)).map_err(|error| error.to_string())
    }

    #[test]
    fn containers_are_known_by_their_bytes() {
        let cases: [(&[u8], &str); 7] = [
            (b"RIFF\x24\0\0\0WAVEfmt ", "WAV"),
            (b"fLaC\0\0\0\x22", "FLAC"),
            (b"OggS\0\x02", "Ogg"),
            (b"\0\0\0\x1cftypM4A ", "MP4"),
            (b"\xff\xfb\x90\x64", "MP3"),
            (b"\xff\xf3\x40\xc0", "MP3"),
            (b"\xff\xf1\x50\x80\x02\x1f\xfc", "AAC"),
        ];
        for (bytes, name) in cases {
            assert_eq!(kind(bytes), Ok(Kind { name, at: 0 }));
        }
    }

    #[test]
    fn tags_are_skipped() {
        let tag = |size: [u8; 4]| [b"ID3\x04\0\0", size.as_slice()].concat();
        let tagged = [tag([0, 0, 1, 2]), vec![0xff; 130], tag([0; 4]), b"fLaC".to_vec()].concat();
        assert_eq!(kind(&tagged).unwrap(), Kind { name: "FLAC", at: 150 });
        assert!(kind(&tag([127; 4])).is_err(), "the tag is longer than the file");
        assert!(kind(&tag([0; 4]).repeat(9)).is_err());
    }

    #[test]
    fn other_files_are_named() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "is empty"),
            (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
            (b"#!AMR\n", "an AMR file"),
            (b"hello, this is not audio", "text is not audio"),
            (b"\xff\xfeh\0i\0", "begins with ff fe 68 00 69 00"),
            (b"\0", "begins with 00"),
        ];
        for (bytes, wanted) in cases {
            let message = kind(bytes).unwrap_err();
            assert!(message.contains(wanted), "{message}");
        }
    }
}
