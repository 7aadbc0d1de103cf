//! Where the sound of an MP4 track begins and ends, and a file that its demuxer can take.
//!
//! An AAC encoder puts silence before the first sample (1024 or 2112 samples of it) and tells so
//! in the track's edit list, which the demuxer reads over, or in a comment of iTunes. Both are
//! looked up here, along `moov/trak/{tkhd, edts/elst, mdia/mdhd}` (ISO/IEC 14496-12).

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::view::Piece;

/// What the demuxer is not told or does not ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Movie {
    /// The file as the demuxer takes it: one that ends early is said to end there, and one of
    /// early QuickTime gets a type.
    pub(crate) pieces: Vec<Piece>,
    /// The last atom says that it goes on after the end of the file.
    pub(crate) is_cut: bool,
    /// There is no index, or not all of it.
    pub(crate) lacks_index: bool,
    /// It has 24-bit samples of QuickTime (`in24`) that no `enda` says to be little-endian.
    pub(crate) is_big_endian: bool,
    /// The tracks that say where their sound begins.
    pub(crate) sounds: Vec<Sound>,
}

/// Ticks of `scale` to the second among which the sound of `track` lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sound {
    pub(crate) track: u32,
    pub(crate) start: u64,
    /// `None` where it lasts as long as there are samples.
    pub(crate) end: Option<u64>,
    pub(crate) scale: u32,
}

/// Reads the structure of the file.
pub(crate) fn movie(file: &mut (impl Read + Seek)) -> io::Result<Movie> {
    let end = file.seek(SeekFrom::End(0))?;
    let (atoms, cut) = children(file, 0..end)?;
    let has = |name: &[u8; 4]| atoms.iter().any(|atom| &atom.name == name);
    let mut movie = Movie { is_cut: cut.is_some(), ..Movie::default() };
    movie.lacks_index = !has(b"moov");
    if let Some(moov) = atoms.iter().find(|child| &child.name == b"moov") {
        movie.sounds = sounds(file, moov.body.clone())?;
        file.seek(SeekFrom::Start(moov.body.start))?;
        let mut index = Vec::new();
        file.take((moov.body.end - moov.body.start).min(INDEX_MAX)).read_to_end(&mut index)?;
        let has = |what: &[u8]| index.windows(what.len()).any(|window| window == what);
        movie.is_big_endian = has(b"in24") && !has(b"enda\0\x01");
    }
    // The last atom's size, made that of the bytes that are there.
    let stretch = cut.as_ref().or(atoms.last().filter(|last| last.is_open && !has(b"ftyp")));
    movie.pieces = match stretch {
        Some(atom) => {
            let size = u32::try_from(end - atom.start).unwrap_or(0);
            let header = [&size.to_be_bytes(), atom.name.as_slice()].concat();
            // A wide size stays where it was, as the first of the data.
            let kept = atom.start + 8;
            vec![Piece::File(0..atom.start), Piece::Bytes(header), Piece::File(kept..end)]
        }
        None => vec![Piece::File(0..end)],
    };
    if !has(b"ftyp") {
        movie.pieces.push(Piece::Bytes(b"\0\0\0\x10ftypqt  \0\0\0\0".to_vec()));
    }
    Ok(movie)
}

struct Atom {
    name: [u8; 4],
    start: u64,
    body: Range<u64>,
    /// It lasts to the end of the file, and does not say how long that is.
    is_open: bool,
}

fn sounds(file: &mut (impl Read + Seek), moov: Range<u64>) -> io::Result<Vec<Sound>> {
    let (atoms, _) = children(file, moov.clone())?;
    let mut movie_scale = 0;
    if let Some(header) = atoms.iter().find(|atom| &atom.name == b"mvhd") {
        movie_scale = after_times(&head(file, header)?);
    }
    let mut sounds = Vec::new();
    for trak in atoms.iter().filter(|atom| &atom.name == b"trak") {
        sounds.push(sound(file, trak, movie_scale)?);
    }
    // iTunes tells in a comment, in samples: of the one track of its files.
    if let [only] = sounds.as_mut_slice()
        && only.start == 0
        && let Some((start, length)) = itunes(file, moov)?
    {
        (only.start, only.end) = (start, (length > 0).then(|| start.saturating_add(length)));
    }
    sounds.retain(|sound| sound.scale > 0 && (sound.start > 0 || sound.end.is_some()));
    Ok(sounds)
}

fn sound(file: &mut (impl Read + Seek), trak: &Atom, movie_scale: u32) -> io::Result<Sound> {
    let mut sound = Sound::default();
    let mut edit = Edit::default();
    for child in children(file, trak.body.clone())?.0 {
        match &child.name {
            // The track's number stands after two times, which version 1 has wider.
            b"tkhd" => sound.track = after_times(&head(file, &child)?),
            b"edts" => {
                let (lists, _) = children(file, child.body)?;
                if let Some(list) = lists.iter().find(|list| &list.name == b"elst") {
                    edit = first_edit(&head(file, list)?);
                }
            }
            b"mdia" => {
                let (headers, _) = children(file, child.body)?;
                if let Some(header) = headers.iter().find(|header| &header.name == b"mdhd") {
                    sound.scale = after_times(&head(file, header)?);
                }
            }
            _ => {}
        }
    }
    sound.start = edit.time;
    // The length is in ticks of the movie, rounded: the last tick counts as a whole.
    if edit.is_only && edit.length > 0 && edit.time > 0 && movie_scale > 0 {
        let (length, scale) = (u128::from(edit.length) + 1, u128::from(sound.scale));
        let ticks = u64::try_from(length * scale / u128::from(movie_scale)).unwrap_or(u64::MAX);
        // A coarse clock cannot tell where within its tick the sound ends.
        sound.end = Some(edit.time.saturating_add(ticks));
    }
    Ok(sound)
}

/// iTunes's priming and length in samples: ` 00000000 PRIMING PADDING LENGTH ...` in hexadecimal.
fn itunes(file: &mut (impl Read + Seek), moov: Range<u64>) -> io::Result<Option<(u64, u64)>> {
    file.seek(SeekFrom::Start(moov.start))?;
    let mut bytes = Vec::new();
    file.take((moov.end - moov.start).min(INDEX_MAX)).read_to_end(&mut bytes)?;
    const NAME: &[u8] = b"iTunSMPB";
    let Some(at) = bytes.windows(NAME.len()).position(|window| window == NAME) else {
        return Ok(None);
    };
    // After the name: size, "data", type, language.
    let text = bytes.get(at + NAME.len() + 16..).unwrap_or_default();
    let text = &text[..text.len().min(128)];
    let printable = text.iter().take_while(|byte| byte.is_ascii_hexdigit() || **byte == b' ');
    let text: String = printable.map(|&byte| char::from(byte)).collect();
    let mut fields = text.split_whitespace().map(|field| u64::from_str_radix(field, 16));
    Ok(match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(Ok(_)), Some(Ok(priming)), Some(Ok(_)), Some(Ok(length))) => Some((priming, length)),
        _ => None,
    })
}

/// The atoms within `range`, and the one that ends after it. One that makes no sense ends the list.
fn children(
    file: &mut (impl Read + Seek),
    range: Range<u64>,
) -> io::Result<(Vec<Atom>, Option<Atom>)> {
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
        if size < skip {
            break;
        }
        let is_open = be32(&header, 0) == 0;
        let end = at.saturating_add(size).min(range.end);
        let atom = Atom { name, start: at, body: (at + skip).min(end)..end, is_open };
        if size > range.end - at {
            return Ok((atoms, name.iter().all(u8::is_ascii_graphic).then_some(atom)));
        }
        atoms.push(atom);
        at += size;
    }
    Ok((atoms, None))
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

/// The number after creation and modification time: `tkhd`'s track, `mdhd`'s time scale.
fn after_times(head: &[u8; HEAD]) -> u32 {
    be32(head, if head[0] == 1 { 20 } else { 12 })
}

/// The first edit that is not a pause.
#[derive(Clone, Copy, Debug, Default)]
struct Edit {
    time: u64,
    length: u64,
    is_only: bool,
}

fn first_edit(head: &[u8; HEAD]) -> Edit {
    let wide = head[0] == 1;
    let entry = if wide { 20 } else { 12 };
    let edits = be32(head, 4);
    for edit in 0..edits.min(EDITS_MAX) {
        let at = 8 + edit as usize * entry;
        let (length, time) = match wide {
            true => (be64(head, at), be64(head, at + 8)),
            false => (u64::from(be32(head, at)), u64::from(be32(head, at + 4))),
        };
        let pause = if wide { u64::MAX } else { u64::from(u32::MAX) };
        if time != pause {
            return Edit { time, length, is_only: edit + 1 == edits };
        }
    }
    Edit::default()
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

/// No index is larger than this, the comments and pictures in it included.
const INDEX_MAX: u64 = 256 << 20;

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

    fn read(bytes: &[u8]) -> Vec<Sound> {
        movie(&mut io::Cursor::new(bytes)).unwrap().sounds
    }

    #[test]
    fn narrow_and_wide_tables_are_read() {
        let wanted = [Sound { track: 7, start: 1024, end: None, scale: 44_100 }];
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
