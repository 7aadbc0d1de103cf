//! The readers of pictures: any bytes are an error or a picture, soon. No decoder of this project
//! panics; where one of other people's does, that is an error.

use std::fs;
use std::time::Duration;

use carat::vision::{Budget, ImageError, Picture};

use crate::said::within;
use crate::{kit, said};

/// Decodes `data` as a TIFF file: where it does not begin like one, the start of one is put there.
pub fn tiff(data: &[u8]) -> bool {
    let is_tiff = data.starts_with(b"II") || data.starts_with(b"MM");
    let file = [if is_tiff { b"".as_slice() } else { b"II*\0" }, data].concat();
    decode(&file, Decoders::Ours)
}

/// Decodes `data` as a GIF or BMP file, whichever it begins like.
pub fn bitmap(data: &[u8]) -> bool {
    (data.starts_with(b"GIF8") || data.starts_with(b"BM")) && decode(data, Decoders::Ours)
}

/// Decodes `data` as any other picture: PNG, WebP, HEIC, ICO, QOI, TGA or a portable map.
pub fn picture(data: &[u8]) -> bool {
    let others: [&[u8]; 5] = [b"GIF8", b"BM", b"II", b"MM", b"\xff\xd8\xff"];
    !others.iter().any(|start| data.starts_with(start)) && decode(data, Decoders::Others)
}

/// Whose decoders read a format.
#[derive(PartialEq, Eq)]
enum Decoders {
    Ours,
    Others,
}

fn decode(data: &[u8], by: Decoders) -> bool {
    let budget = Budget::ALL[0];
    match within(LONGEST, || Picture::decode(data, budget)) {
        Ok(picture) => {
            assert!((1..=budget.tokens()).contains(&picture.tokens()));
            true
        }
        Err(ImageError::Decoder { source, .. }) if by == Decoders::Ours => panic!("{source}"),
        Err(error) => said::refused(&error),
    }
}

/// Small pictures of the tests in each of these formats, and portable maps of every kind.
pub fn picture_seeds() -> Vec<Vec<u8>> {
    let files = [
        "damaged/few-colours.png",
        "damaged/interlaced.png",
        "damaged/no-palette.png",
        "damaged/palette.tga",
        "damaged/xmp.webp",
        "damaged/exif-prefix.webp",
        "damaged/anim.webp",
        "damaged/icon.ico",
        "modes/la.png",
        "modes/ya16.png",
        "modes/rgb48.png",
        "modes/clip.png",
        "modes/lossy.webp",
        "modes/turned.webp",
        "modes/gray.heic",
        "modes/full.heic",
        "near/h2v1.heic",
        "near/turned.heic",
        "near/rgba.heic",
    ];
    let read =
        |name: &&str| fs::read(kit::data().join("images").join(name)).expect("a test's file");
    let mut seeds: Vec<Vec<u8>> = files.iter().map(read).collect();
    let maps: [&[u8]; 8] = [
        b"P1\n# c\n4 2\n1011 0 0 1 1",
        b"P2 2 2 9\n0 5 9 3",
        b"P3 1 2 255 1 2 3 4 5 6",
        b"P4 9 2\n\x5a\x80\xff\0",
        b"P5 3 1 255\nabc",
        b"P5 2 1 65535\nabcd",
        b"P6 2 1 100\nabcdef",
        b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\nabcdefgh",
    ];
    seeds.extend(maps.map(<[u8]>::to_vec));
    // QOI: two pixels, a run, a difference and an index.
    seeds.push(
        b"qoif\0\0\0\x05\0\0\0\x01\x03\0\xfe\x10\x20\x30\xc1\x6b\x05\0\0\0\0\0\0\0\x01".to_vec(),
    );
    // An uncompressed TGA file of 2 x 1 pixels, and one in runs.
    for (kind, pixels) in [(2u8, &b"abcdef"[..]), (10, b"\x81abc")] {
        let header = [0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 24, 0];
        seeds.push([&header[..], pixels].concat());
    }
    seeds
}

/// A picture in every compression, as strips, tiles and planes, with colors of every meaning.
pub fn tiff_seeds() -> Vec<Vec<u8>> {
    let plain: Vec<u8> = (0..3 * SIDE * SIDE).map(|i| (i * 5 % 251) as u8).collect();
    let gray = &plain[..SIDE * SIDE];
    let rgb = [(258, 8), (262, 2), (277, 3)];
    let with = |more: &[(u16, u16)]| [&rgb, more].concat();
    let mut seeds = Vec::new();
    for is_big_endian in [false, true] {
        let file = |fields: &[(u16, u16)], data: &[u8]| tiff_file(is_big_endian, fields, data);
        seeds.push(file(&rgb, &plain));
        seeds.push(file(&with(&[(266, 2)]), &plain));
        seeds.push(file(&with(&[(284, 2)]), &plain));
        seeds.push(file(&with(&[(322, 16), (323, 16)]), &plain.repeat(4)));
        seeds.push(file(&with(&[(259, 8), (317, 2)]), &deflate(&plain)));
        seeds.push(file(&with(&[(259, 5), (317, 2)]), &lzw(&plain)));
        seeds.push(file(&with(&[(259, 32_773)]), &pack_bits(&plain)));
        seeds.push(file(&with(&[(259, 50_000)]), &zstandard(&plain)));
        seeds.push(file(&[(258, 8), (262, 6), (277, 3), (530, 2)], &plain));
        seeds.push(file(&[(258, 8), (262, 8), (277, 3)], &plain));
        seeds.push(file(&[(258, 8), (262, 2), (277, 4), (338, 1)], &plain.repeat(2)));
        seeds.push(file(&[(258, 8), (262, 3), (277, 1), (320, 9)], gray));
        seeds.push(file(&[(258, 12), (262, 1), (277, 1)], &plain));
        seeds.push(file(&[(258, 16), (262, 5), (277, 4)], &plain.repeat(4)));
        let floats = [(258, 32), (262, 1), (277, 1), (339, 3), (259, 8), (317, 3)];
        seeds.push(file(&floats, &deflate(&[gray, gray, gray, gray].concat())));
        for compression in [2, 3, 4, 32_771] {
            // In Group 4 each set bit is a row like the one above, in the others runs of two.
            let fax = [(258, 1), (262, 0), (277, 1), (259, compression), (292, 1)];
            seeds.push(file(&fax, &[0xff; 8]));
            seeds.push(file(&fax, &[0, 0x17, 0x31, 0xa0, 0x01, 0x35, 0xc7, 0x26, 0xb2, 0x9d]));
        }
        seeds.push(file(&with(&[(259, 7)]), b"\xff\xd8\xff\xda"));
    }
    seeds
}

/// A picture of `SIDE` x `SIDE` pixels with these fields of one short number each.
fn tiff_file(is_big_endian: bool, fields: &[(u16, u16)], data: &[u8]) -> Vec<u8> {
    let short = |v: u16| if is_big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    let long = |v: u32| if is_big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
    let at = 8 + 2 + 12 * (fields.len() + 4) + 4;
    let places = if fields.iter().any(|field| field.0 == 322) { [324, 325] } else { [273, 279] };
    let mut all = [&[(256, SIDE as u16), (257, SIDE as u16)], fields].concat();
    all.extend([(places[0], at as u16), (places[1], data.len() as u16)]);
    all.sort();
    let mut file = if is_big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
    file.extend(long(8));
    file.extend(short(all.len() as u16));
    for (tag, value) in all {
        file.extend([short(tag), short(3)].concat());
        file.extend(long(1));
        file.extend([short(value), short(0)].concat());
    }
    file.extend(long(0));
    file.extend(data);
    file
}

/// Pixels as one literal run after the other.
fn pack_bits(data: &[u8]) -> Vec<u8> {
    data.chunks(128).flat_map(|run| [&[run.len() as u8 - 1], run].concat()).collect()
}

/// A zlib stream of one stored block.
fn deflate(data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in data {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let checksum = (b << 16 | a).to_be_bytes();
    let head = [&[0x78, 0x01, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes()].concat();
    [&head, data, &checksum].concat()
}

/// LZW with codes of nine bits alone: the table is emptied before they would grow.
fn lzw(data: &[u8]) -> Vec<u8> {
    let codes = data
        .chunks(200)
        .flat_map(|run| std::iter::once(256u16).chain(run.iter().map(|&byte| u16::from(byte))));
    bits(codes.chain([257]), 9, true)
}

/// A Zstandard frame of one raw block: no checksum, a content size of two bytes.
fn zstandard(data: &[u8]) -> Vec<u8> {
    let size = (data.len() as u16).wrapping_sub(256).to_le_bytes();
    let block = ((data.len() as u32) << 3 | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x60], &size[..], &block[..3], data].concat()
}

/// Codes of `width` bits, from the high or the low end of each byte.
fn bits(codes: impl Iterator<Item = u16>, width: u32, from_high: bool) -> Vec<u8> {
    let (mut held, mut count, mut out) = (0u32, 0, Vec::new());
    for code in codes.chain([0]) {
        held = if from_high {
            held << width | u32::from(code)
        } else {
            held | u32::from(code) << count
        };
        count += width;
        while count >= 8 {
            count -= 8;
            out.push(if from_high { held >> count } else { held } as u8);
            held = if from_high { held & ((1 << count) - 1) } else { held >> 8 };
        }
    }
    out
}

/// GIF files with frames in several places, BMP files with every header and compression.
pub fn bitmap_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (screen, left, flags) in [(SIDE, 0, 0), (SIDE, 5, 0x40), (0, 3, 0x83)] {
        let codes = (0..SIDE * SIDE).flat_map(|i| if i % 14 == 0 { vec![16, 3] } else { vec![5] });
        let data = bits(codes.map(|code| code as u16).chain([17]), 5, false);
        let screen = (screen as u16).to_le_bytes();
        let mut file = [b"GIF89a", &screen[..], &screen, &[0x83, 0, 0], &[99; 48]].concat();
        file.extend(b"\x21\xf9\x04\x01\0\0\x02\0,");
        file.extend([left, 0, left, 0, SIDE as u8, 0, SIDE as u8, 0, flags]);
        file.extend(if flags & 0x80 == 0 { vec![] } else { vec![7; 48] });
        file.push(4);
        data.chunks(255).for_each(|block| file.extend([&[block.len() as u8], block].concat()));
        file.extend(b"\0;");
        seeds.push(file);
    }
    let rows: Vec<u8> = (0..4 * SIDE * SIDE).map(|i| (i * 7 % 253) as u8).collect();
    for (size, bits, compression) in [
        (12u32, 4u16, 0u32),
        (12, 24, 0),
        (40, 1, 0),
        (40, 8, 0),
        (40, 16, 0),
        (40, 16, 3),
        (56, 32, 3),
        (64, 4, 0),
        (40, 8, 1),
        (124, 4, 2),
    ] {
        let mut file = b"BM\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend(size.to_le_bytes());
        let side = SIDE as u32;
        let sides = [side.to_le_bytes(), side.wrapping_neg().to_le_bytes()];
        let short = (SIDE as u16).to_le_bytes();
        file.extend(if size == 12 { [short, short].concat() } else { sides.concat() });
        file.extend([1, 0].into_iter().chain(bits.to_le_bytes()));
        file.extend(if size == 12 { vec![] } else { compression.to_le_bytes().to_vec() });
        file.resize(14 + size as usize, 0);
        file.extend(if bits <= 8 { vec![42; 4 << bits] } else { vec![0; 12] });
        match compression {
            1 | 2 => file.extend([3, 9, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0, 2, 1, 1, 9, 9, 0, 1]),
            _ => file.extend(&rows),
        }
        seeds.push(file);
    }
    seeds
}

/// Pixels along a side of the seeds.
const SIDE: usize = 12;

/// What the most pixels that are read take in a release.
const LONGEST: Duration = Duration::from_secs(10);
