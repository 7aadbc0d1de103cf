//! Where the sound of an MP4 track begins.
//!
//! An AAC encoder puts silence before the first sample (1024 or 2112 samples of it) and tells so
//! in the track's edit list, which the demuxer reads over. Only that one number is looked up here,
//! as the time scale is, along `moov/trak/{tkhd, edts/elst, mdia/mdhd}` (ISO/IEC 14496-12).

use std::io::{self, Read, Seek, SeekFrom};

/// Ticks of `scale` to the second that come before the sound of `track`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) track: u32,
    pub(crate) ticks: u64,
    pub(crate) scale: u32,
}

/// The starts of all tracks whose edit list is readable; none from a file of another kind.
pub(crate) fn starts(file: &mut (impl Read + Seek)) -> io::Result<Vec<Start>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut found = Vec::new();
    if let Some(moov) = children(file, 0..end)?.into_iter().find(|child| &child.name == b"moov") {
        for trak in children(file, moov.body)?.iter().filter(|child| &child.name == b"trak") {
            found.extend(start(file, trak)?);
        }
    }
    Ok(found)
}

struct Atom {
    name: [u8; 4],
    body: std::ops::Range<u64>,
}

fn start(file: &mut (impl Read + Seek), trak: &Atom) -> io::Result<Option<Start>> {
    let mut start = Start::default();
    for child in children(file, trak.body.clone())? {
        match &child.name {
            // The track's number stands behind two times, which version 1 has wider.
            b"tkhd" => start.track = after_times(&head(file, &child)?),
            b"edts" => {
                let lists = children(file, child.body)?;
                if let Some(list) = lists.iter().find(|list| &list.name == b"elst") {
                    start.ticks = first_time(&head(file, list)?);
                }
            }
            b"mdia" => {
                let headers = children(file, child.body)?;
                if let Some(header) = headers.iter().find(|header| &header.name == b"mdhd") {
                    start.scale = after_times(&head(file, header)?);
                }
            }
            _ => {}
        }
    }
    Ok((start.ticks > 0 && start.scale > 0).then_some(start))
}

/// The atoms within `range`. One that is cut off or makes no sense ends the list.
fn children(file: &mut (impl Read + Seek), range: std::ops::Range<u64>) -> io::Result<Vec<Atom>> {
    let mut atoms = Vec::new();
    let mut at = range.start;
    while atoms.len() < ATOMS_MAX && range.end - at >= 8 {
        file.seek(SeekFrom::Start(at))?;
        let header = read_up_to::<16>(file)?;
        let name = [header[4], header[5], header[6], header[7]];
        let (skip, size) = match be32(&header, 0) {
            0 => (8, range.end - at),
            1 => (16, be64(&header, 8)),
            size => (8, u64::from(size)),
        };
        if size < skip || size > range.end - at {
            break;
        }
        atoms.push(Atom { name, body: at + skip..at + size });
        at += size;
    }
    Ok(atoms)
}

/// The first bytes of an atom's body, zeros where it is shorter.
fn head(file: &mut (impl Read + Seek), atom: &Atom) -> io::Result<[u8; HEAD]> {
    file.seek(SeekFrom::Start(atom.body.start))?;
    let mut file = file.take(atom.body.end - atom.body.start);
    read_up_to(&mut file)
}

fn read_up_to<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut read = 0;
    while read < N {
        match file.read(&mut bytes[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(bytes)
}

/// The number behind creation and modification time: `tkhd`'s track, `mdhd`'s time scale.
fn after_times(head: &[u8; HEAD]) -> u32 {
    be32(head, if head[0] == 1 { 20 } else { 12 })
}

/// The media time of the first edit that is not a pause (-1).
fn first_time(head: &[u8; HEAD]) -> u64 {
    let wide = head[0] == 1;
    let entry = if wide { 20 } else { 12 };
    for edit in 0..be32(head, 4).min(EDITS_MAX) as usize {
        let time = match wide {
            true => be64(head, 8 + edit * entry + 8),
            false => u64::from(be32(head, 8 + edit * entry + 4)),
        };
        if time != if wide { u64::MAX } else { u64::from(u32::MAX) } {
            return time;
        }
    }
    0
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

/// A pause and the sound: further edits are not looked at.
const EDITS_MAX: u32 = 2;

/// Version, flags, count and two entries of the wider kind.
const HEAD: usize = 8 + EDITS_MAX as usize * 20;

/// No file has more atoms side by side, short of one that was made to keep a reader busy.
const ATOMS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(8 + body.len()).unwrap();
        [&size.to_be_bytes(), name.as_slice(), body].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn file(tkhd: &[u32], elst: &[u32], mdhd: &[u32]) -> Vec<u8> {
        let edts = atom(b"edts", &atom(b"elst", &words(elst)));
        let mdia = atom(b"mdia", &atom(b"mdhd", &words(mdhd)));
        let trak = [atom(b"tkhd", &words(tkhd)), edts, mdia].concat();
        let moov = atom(b"moov", &atom(b"trak", &trak));
        [atom(b"ftyp", b"M4A "), moov].concat()
    }

    fn read(bytes: &[u8]) -> Vec<Start> {
        starts(&mut io::Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn narrow_and_wide_tables_are_read() {
        let wanted = [Start { track: 7, ticks: 1024, scale: 44_100 }];
        let pause = [0, 2, 500, u32::MAX, 0x10000, 900, 1024, 0x10000];
        assert_eq!(read(&file(&[0, 1, 2, 7], &pause, &[0, 1, 2, 44_100])), wanted);
        let wide_header = |value| [1 << 24, 0, 1, 0, 2, value];
        let wide = [1 << 24, 1, 0, 900, 0, 1024, 0x10000];
        assert_eq!(read(&file(&wide_header(7), &wide, &wide_header(44_100))), wanted);
    }

    #[test]
    fn what_says_nothing_gives_nothing() {
        let plain = file(&[0, 1, 2, 7], &[0, 1, 900, 0, 0x10000], &[0, 1, 2, 44_100]);
        assert_eq!(read(&plain), []);
        assert_eq!(read(b"RIFF and so on, in no way an MP4"), []);
        assert_eq!(read(b""), []);
    }

    #[test]
    fn damage_never_panics() {
        let good = file(&[0, 1, 2, 7], &[0, 1, 900, 1024, 0x10000], &[0, 1, 2, 44_100]);
        for length in 0..good.len() {
            read(&good[..length]);
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                read(&bad);
            }
        }
    }
}
