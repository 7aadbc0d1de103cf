//! What kind of file it is, by its first bytes: names and extensions lie.

use std::io::{Read, Seek, SeekFrom};

use super::AudioError;

/// A container that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Where it begins: behind an ID3 tag, else 0.
    pub(crate) at: u64,
}

/// # Errors
/// [`AudioError::Empty`] and [`AudioError::NotAudio`].
pub(crate) fn recognise(source: &mut (impl Read + Seek)) -> Result<Kind, AudioError> {
    let mut at = 0;
    for _ in 0..TAGS_MAX {
        source.seek(SeekFrom::Start(at))?;
        let mut head = Vec::with_capacity(HEAD);
        source.take(HEAD as u64).read_to_end(&mut head)?;
        match head.as_slice() {
            [] if at == 0 => return Err(AudioError::Empty),
            [] => return Err(AudioError::NoSamples),
            // ID3v2: four sizes of seven bits; bit 4 of the flags adds a footer.
            [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
                let size =
                    [a, b, c, d].iter().fold(0, |size, &&byte| size << 7 | u64::from(byte & 127));
                at += 10 + size + if flags & 16 != 0 { 10 } else { 0 };
            }
            head => {
                let name = container(head).ok_or_else(|| other(head))?;
                return Ok(Kind { name, at });
            }
        }
    }
    Err(other(b"ID3"))
}

fn container(head: &[u8]) -> Option<&'static str> {
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    match head {
        _ if (has(0, b"RIFF") || has(0, b"RF64")) && has(8, b"WAVE") => Some("WAV"),
        _ if has(0, b"fLaC") => Some("FLAC"),
        _ if has(0, b"OggS") => Some("Ogg"),
        _ if MP4_ATOMS.iter().any(|name| has(4, name)) => Some("MP4"),
        // Sync, then layer III, then neither bit rate 15 nor sample rate 3.
        [0xff, b, c, ..] if b & 0xe6 == 0xe2 && c & 0xf0 != 0xf0 && c & 0x0c != 0x0c => Some("MP3"),
        [0xff, b, ..] if b & 0xf6 == 0xf0 => Some("AAC"),
        _ => None,
    }
}

/// Names what it is instead, for the message.
fn other(head: &[u8]) -> AudioError {
    let known =
        OTHERS.iter().find(|(at, magic, _)| head.get(*at..at + magic.len()) == Some(*magic));
    let found = match known {
        Some((_, _, name)) => (*name).to_string(),
        None if std::str::from_utf8(head).is_ok_and(|text| !text.contains('\0')) => "text".into(),
        None => {
            let bytes: Vec<String> =
                head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("data that begins with {}", bytes.join(" "))
        }
    };
    AudioError::NotAudio { found }
}

/// The longest magic ends here.
const HEAD: usize = 16;

/// Some programs put a second tag before the first.
const TAGS_MAX: usize = 4;

/// `ftyp` begins every MP4; QuickTime files may begin with any of the others.
const MP4_ATOMS: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];

const OTHERS: [(usize, &[u8], &str); 16] = [
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (8, b"WEBP", "a WebP picture"),
    (8, b"AVI ", "an AVI video"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
    (0, b"FORM", "an AIFF file"),
    (0, b"caff", "a CAF file"),
    (0, b"RIFX", "a big-endian WAV file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media file"),
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
            (b"\xff\xf1\x50\x80", "AAC"),
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
            (b"FORM\0\0\0\0AIFF", "an AIFF file"),
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
