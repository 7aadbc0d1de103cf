//! The readers of sound: any bytes are an error or sound that fits the file, soon.

use std::fs;
use std::time::Duration;

use carat::audio::{AudioError, Clip, DecodeOptions, RATE};

use crate::said::within;
use crate::{kit, said};

/// Decodes `data` as a WAV file: where it does not begin like one, the start of one is put there.
pub fn wav(data: &[u8]) -> bool {
    let is_wav = [b"RIFF", b"RIFX", b"RF64"].iter().any(|magic| data.starts_with(*magic))
        && data.get(8..12) == Some(b"WAVE");
    let start = if is_wav { b"".as_slice() } else { b"RIFF\xff\xff\xff\xffWAVE" };
    let file = [start, data].concat();
    let Some(clip) = decode(&file) else { return false };
    // At the lowest rate a byte holds two samples of ADPCM; MPEG audio of 8 kbit/s has fewer.
    let told = 2 * file.len() * (RATE / RATE_MIN) as usize;
    assert!(clip.samples().len() <= told, "{} samples of {} bytes", clip.samples().len(), told);
    true
}

/// Decodes `data` as an MP4 file: where it does not begin like one, the start of one is put there.
///
/// Its tables may name the same bytes as often as they like, so only the caller's limit bounds it.
pub fn mp4(data: &[u8]) -> bool {
    let is_mp4 = data.get(4..8).is_some_and(|name| NAMES.contains(&name));
    let start = if is_mp4 { Vec::new() } else { atom(b"ftyp", &[b"M4A \0\0\0\0"]) };
    decode(&[start, data.to_vec()].concat()).is_some()
}

/// Decodes `data` as whatever sound it begins like: AIFF, AU, CAF, FLAC, MP3, Ogg, AAC or Matroska.
/// Pages of Ogg are tried once more with the checksums that belong to them: otherwise nothing
/// behind them would ever be reached.
pub fn sound(data: &[u8]) -> bool {
    let is_wav = [b"RIFF", b"RIFX", b"RF64"].iter().any(|magic| data.starts_with(*magic));
    if is_wav || data.get(4..8).is_some_and(|name| NAMES.contains(&name)) {
        return false;
    }
    let is_sound = decode(data).is_some();
    if data.starts_with(b"OggS") {
        return decode(&summed(data)).is_some() || is_sound;
    }
    is_sound
}

/// The pages of an Ogg file with their checksums (RFC 3533, section 6), as far as they go.
fn summed(data: &[u8]) -> Vec<u8> {
    let (mut file, mut at) = (data.to_vec(), 0);
    while file[at..].starts_with(b"OggS") {
        let Some(&count) = file.get(at + 26) else { break };
        let Some(lengths) = file.get(at + 27..at + 27 + usize::from(count)) else { break };
        let body: usize = lengths.iter().map(|length| usize::from(*length)).sum();
        let end = (at + 27 + usize::from(count) + body).min(file.len());
        file[at + 22..at + 26].fill(0);
        let sum = file[at..end].iter().fold(0u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
                sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
            })
        });
        file[at + 22..at + 26].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
    file
}

/// The small sound files of the tests.
pub fn sound_seeds() -> Vec<Vec<u8>> {
    let files = [
        "alac.caf",
        "hybrid.ogg",
        "low.mp2",
        "mono.aac",
        "mono.ogg",
        "opus.ogg",
        "opus.webm",
        "silk.ogg",
        "stereo-opus.ogg",
        "stereo.aiff",
        "stereo.flac",
        "stereo.mp2",
        "stereo.mp3",
        "u-law.aifc",
    ];
    let read = |name: &str| fs::read(kit::data().join("audio").join(name)).expect("a test's file");
    let mut seeds: Vec<Vec<u8>> = files.into_iter().map(read).collect();
    let data: Vec<u8> = (0..240).map(|i| (i * 7 % 251) as u8).collect();
    for coding in [1u8, 2, 3, 5, 6, 27] {
        let header = b".snd\0\0\0\x1c\0\0\0\xf0\0\0\0";
        let rest = b"\0\0\x3e\x80\0\0\0\x01\0\0\0\0";
        seeds.push([&header[..], &[coding], rest, &data].concat());
    }
    seeds.push([b"ID3\x04\0\0\0\0\0\x05title".as_slice(), &mpeg_frame().repeat(4)].concat());
    seeds
}

/// The sound, which is finite, within the caller's limit and the same every time.
fn decode(file: &[u8]) -> Option<Clip> {
    let options = DecodeOptions { duration_max: LIMIT };
    let first = within(LONGEST, || Clip::decode_with(file, &options));
    let again = Clip::decode_with(file, &options);
    let (clip, again) = match (first, again) {
        (Ok(clip), Ok(again)) => (clip, again),
        (Err(AudioError::Io(error)), _) => panic!("memory cannot fail to be read: {error}"),
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string());
            said::is_a_sentence(&error);
            return None;
        }
        (first, again) => panic!("decoded twice: {first:?}, then {again:?}"),
    };
    assert_eq!(clip, again, "decoded twice");
    let samples = clip.samples();
    assert!(!samples.is_empty());
    // A window on the sound may begin a second late, and joined sounds are rounded up one by one.
    let most = (LIMIT.as_secs() + 2) * u64::from(RATE);
    assert!(samples.len() as u64 <= most, "{} samples", samples.len());
    // Samples of 1e10 are let in, and a filter's output exceeds its input by a few times at most.
    let strange = samples.iter().find(|sample| !sample.is_finite() || sample.abs() > 1e11);
    assert_eq!(strange, None);
    Some(clip)
}

/// A WAV file of every coding, with the headers that programs write.
pub fn wav_seeds() -> Vec<Vec<u8>> {
    let data: Vec<u8> = (0..240).map(|i| (i * 7 % 251) as u8).collect();
    let floats: Vec<u8> = (0..48).flat_map(|i| (i as f32 / 50.0).to_le_bytes()).collect();
    let doubles: Vec<u8> = (0..48).flat_map(|i| (f64::from(i) / 50.0).to_le_bytes()).collect();
    let plain = |tag, channels, bits, data: &[u8]| {
        let body = [format(tag, 16_000, channels, bits), chunk(b"data", data)].concat();
        riff(b"RIFF", &body)
    };
    let mut seeds = vec![
        plain(1, 1, 8, &data),
        plain(1, 1, 16, &data),
        plain(1, 2, 24, &data),
        plain(1, 1, 32, &data),
        plain(3, 1, 32, &floats),
        plain(3, 2, 64, &doubles),
        plain(6, 1, 8, &data),
        plain(7, 2, 8, &data),
    ];
    let data_chunk = chunk(b"data", &data);
    let junk = chunk(b"LIST", b"INFOISFT\x03\0\0\0me\0");
    let mut extensible = [format(0xfffe, 48_000, 2, 16), vec![]].concat();
    extensible.extend([22, 0, 16, 0, 3, 0, 0, 0, 1, 0]);
    extensible.extend(b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    extensible[4] = 40;
    seeds.push(riff(b"RIFF", &[extensible, junk, data_chunk.clone()].concat()));
    // An interrupted recorder, a pipe and sizes of 64 bits.
    let header = format(1, 8_000, 1, 16);
    for (magic, size) in [(b"RIFF", 0u32), (b"RIFF", u32::MAX), (b"RF64", u32::MAX)] {
        let mut sizes = 0u64.to_le_bytes().to_vec();
        sizes.extend((data.len() as u64).to_le_bytes());
        sizes.extend([0; 12]);
        let sizes = if magic == b"RF64" { chunk(b"ds64", &sizes) } else { Vec::new() };
        let mut last = data_chunk.clone();
        last[4..8].copy_from_slice(&size.to_le_bytes());
        let mut file = riff(magic, &[sizes, header.clone(), last].concat());
        file[4..8].copy_from_slice(&if size == 0 { 36 } else { size }.to_le_bytes());
        seeds.push(file);
    }
    // ADPCM of Microsoft and of IMA: four bits a sample, blocks with a predictor first.
    let tables = [256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232i16];
    let mut more = [32, 0, 52, 0, 7, 0].to_vec();
    more.extend(tables.iter().flat_map(|value| value.to_le_bytes()));
    for (tag, more) in [(2, more), (0x11, vec![2, 0, 57, 0])] {
        let mut header = format(tag, 11_025, 1, 4);
        header[20..22].copy_from_slice(&32u16.to_le_bytes());
        header[4..8].copy_from_slice(&(16 + more.len() as u32).to_le_bytes());
        header.extend(more);
        let blocks: Vec<u8> =
            (0..3).flat_map(|_| [&[2u8, 16, 0, 0], &data[..28]].concat()).collect();
        let fact = chunk(b"fact", &150u32.to_le_bytes());
        seeds.push(riff(b"RIFF", &[header, fact, chunk(b"data", &blocks)].concat()));
    }
    seeds.push(plain(0x55, 1, 16, &mpeg_frame().repeat(5)));
    let rifx = [b"fmt \0\0\0\x10\0\x01\0\x01\0\0\x1f\x40\0\0\x3e\x80\0\x02\0\x10data\0\0\0\xf0"];
    seeds.push([b"RIFX\0\0\x01\x14WAVE".as_slice(), rifx[0], &data].concat());
    seeds
}

/// The lowest rate of MPEG-1's layer III, a frame of silence: no bits for any band.
fn mpeg_frame() -> Vec<u8> {
    let mut frame = vec![0xff, 0xfb, 0x18, 0xc4]; // 32 kbit/s, 32 kHz, mono: 144 bytes
    frame.resize(144, 0);
    frame
}

/// A `fmt ` chunk.
fn format(tag: u16, rate: u32, channels: u16, bits: u16) -> Vec<u8> {
    let align = channels * bits.div_ceil(8);
    let mut body = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
    body.extend([rate, rate * u32::from(align)].iter().flat_map(|word| word.to_le_bytes()));
    body.extend([align, bits].iter().flat_map(|word| word.to_le_bytes()));
    chunk(b"fmt ", &body)
}

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [name, (body.len() as u32).to_le_bytes().as_slice(), body, &[0][..body.len() % 2]].concat()
}

fn riff(magic: &[u8; 4], chunks: &[u8]) -> Vec<u8> {
    chunk(magic, &[b"WAVE", chunks].concat())
}

/// MP4 and QuickTime files of every coding, whole, in fragments, edited and without a type.
pub fn mp4_seeds() -> Vec<Vec<u8>> {
    let data: Vec<u8> = (0..240).map(|i| (i * 7 % 251) as u8).collect();
    let mut seeds = Vec::new();
    for (coding, size) in [
        (b"sowt", 2),
        (b"twos", 2),
        (b"in24", 3),
        (b"in32", 4),
        (b"fl32", 4),
        (b"fl64", 8),
        (b"alaw", 1),
        (b"ulaw", 1),
    ] {
        let samples = data.len() as u32 / size;
        let track = Track { entry: entry(coding, size as u16 * 8, &[]), size, samples, ticks: 1 };
        seeds.push([quicktime_type(), movie(&track, 0, &data)].concat());
    }
    let silence = [0, 0xc8, 0, 0x80, 0x23, 0x80]; // a frame of AAC, no sound in one channel
    let aac = Track { entry: entry(b"mp4a", 16, &esds()), size: 6, samples: 5, ticks: 1024 };
    let file_type = || atom(b"ftyp", &[b"M4A \0\0\0\0M4A isom"]);
    seeds.push([file_type(), movie(&aac, 0, &silence.repeat(5))].concat());
    seeds.push([file_type(), movie(&aac, 1024, &silence.repeat(5))].concat());
    seeds.push(movie(&aac, 0, &silence.repeat(5)));
    seeds.push([file_type(), fragments(&aac, &silence.repeat(5))].concat());
    let head = atom(b"dOps", &[&[0, 1, 0, 120, 0, 0, 0xbb, 0x80, 0, 0, 0]]);
    let opus = Track { entry: entry(b"Opus", 16, &head), size: 3, samples: 4, ticks: 960 };
    seeds.push([file_type(), movie(&opus, 120, &[0xf8, 0xff, 0xfe].repeat(4))].concat());
    // Apple's lossless coding, 16 bits: frames of 16 samples that are stored as they are.
    let cookie = b"\0\0\0\0\0\0\0\x10\0\x10\x28\x0a\x0e\x01\0\xff\0\0\0\0\0\0\0\0\0\0\x3e\x80";
    let alac = atom(b"alac", &[cookie]);
    let stored = [&[0, 0, 2], &data[..34]].concat(); // one channel, a flag "not compressed"
    let alac = Track { entry: entry(b"alac", 16, &alac), size: 37, samples: 3, ticks: 16 };
    seeds.push([file_type(), movie(&alac, 0, &stored.repeat(3))].concat());
    let cut = seeds[8].len() - 4;
    seeds.push(seeds[8][..cut].to_vec());
    seeds
}

/// One track of sound.
struct Track {
    /// How it is coded, an atom of `stsd`.
    entry: Vec<u8>,
    /// Bytes of a coded sample, all alike.
    size: u32,
    samples: u32,
    /// What each lasts, at 16 kHz.
    ticks: u32,
}

/// Index and data of `track`, of which the sound begins at tick `start`.
fn movie(track: &Track, start: u32, data: &[u8]) -> Vec<u8> {
    // The index is as long whatever it says of where the data begin.
    let size = index(track, start, 0).len() as u32;
    [index(track, start, 32 + size), atom(b"mdat", &[data])].concat()
}

/// A movie whose samples stand in two fragments.
fn fragments(track: &Track, data: &[u8]) -> Vec<u8> {
    let empty = Track { entry: track.entry.clone(), samples: 0, ..*track };
    let mut file = index(&empty, 0, 0);
    let half = track.samples / 2;
    for (number, samples) in [half, track.samples - half].into_iter().enumerate() {
        let run = |at: u32| {
            let header = words(b"tfhd", &[0x2_0000, 1]); // offsets count from the fragment
            let time = words(b"tfdt", &[0, number as u32 * half * track.ticks]);
            let run = words(b"trun", &[1, samples, at]);
            let sequence = words(b"mfhd", &[0, number as u32 + 1]);
            atom(b"moof", &[&sequence, &atom(b"traf", &[&header, &time, &run])])
        };
        let size = run(0).len() as u32;
        file.extend(run(size + 8));
        let from = number * (half * track.size) as usize;
        file.extend(atom(b"mdat", &[&data[from..from + (samples * track.size) as usize]]));
    }
    file
}

/// `moov` for one track: all samples in one chunk `at` this place of the file.
fn index(track: &Track, start: u32, at: u32) -> Vec<u8> {
    let length = track.samples * track.ticks;
    let unless_empty = |all: &[u32]| if length > 0 { all.to_vec() } else { vec![0, 0] };
    let tables = [
        atom(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], &track.entry]),
        words(b"stts", &unless_empty(&[0, 1, track.samples, track.ticks])),
        words(b"stsc", &unless_empty(&[0, 1, 1, track.samples, 1])),
        words(b"stsz", &[0, track.size, track.samples]),
        words(b"stco", &unless_empty(&[0, 1, at])),
    ];
    let media = [
        words(b"mdhd", &[0, 0, 0, 16_000, length, 0x55c4_0000]),
        atom(b"hdlr", &[&[0; 8], b"soun", &[0; 13]]),
        atom(
            b"minf",
            &[
                &words(b"smhd", &[0, 0]),
                &atom(
                    b"dinf",
                    &[&atom(b"dref", &[&[0, 0, 0, 0, 0, 0, 0, 1], &words(b"url ", &[1])])],
                ),
                &atom(b"stbl", &[&tables.concat()]),
            ],
        ),
    ];
    let edit = words(b"elst", &[0, 1, length.saturating_sub(start), start, 0x1_0000]);
    let track_header = [&[7, 0, 0, 1, 0, length][..], &[0; 15]].concat();
    let track = atom(
        b"trak",
        &[
            &words(b"tkhd", &track_header),
            &if start > 0 { atom(b"edts", &[&edit]) } else { Vec::new() },
            &atom(b"mdia", &[&media.concat()]),
        ],
    );
    let header = [&[0, 0, 0, 16_000, length, 0x1_0000, 0x100_0000][..], &[0; 17], &[2]].concat();
    let extends = words(b"trex", &[0, 1, 1, TICKS_OF_AAC, 6, 0]);
    let extends = if length == 0 { atom(b"mvex", &[&extends]) } else { Vec::new() };
    atom(b"moov", &[&words(b"mvhd", &header), &track, &extends])
}

/// A sample description: one channel at 16 kHz, with what the coding needs more.
fn entry(coding: &[u8; 4], bits: u16, more: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    body.extend(bits.to_be_bytes());
    body.extend([0; 4]);
    body.extend((16_000u32 << 16).to_be_bytes());
    atom(coding, &[&body, more])
}

/// AAC-LC at 16 kHz in one channel, as MPEG-4 describes a decoder.
fn esds() -> Vec<u8> {
    let config = [5, 2, 0x14, 0x08];
    let decoder = [&[4, 19, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &config].concat();
    let descriptor = [&[3, 27, 0, 1, 0][..], &decoder, &[6, 1, 2]].concat();
    atom(b"esds", &[&[0; 4], &descriptor])
}

fn quicktime_type() -> Vec<u8> {
    atom(b"ftyp", &[b"qt  \0\0\0\0qt  qt  "])
}

/// An atom of big-endian words, the first of them version and flags.
fn words(name: &[u8; 4], words: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    atom(name, &[&bytes])
}

fn atom(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(8 + body.len() as u32).to_be_bytes(), name.as_slice(), &body].concat()
}

/// Samples of a frame of AAC, which a fragment's samples last unless it says otherwise.
const TICKS_OF_AAC: u32 = 1024;

/// What an MP4 file may begin with.
const NAMES: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];

/// Far more than twenty seconds of sound take.
const LONGEST: Duration = Duration::from_secs(3);

/// More sound is not wanted.
const LIMIT: Duration = Duration::from_secs(20);

/// The lowest sample rate that is taken.
const RATE_MIN: u32 = 1000;
