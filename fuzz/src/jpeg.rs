//! The reader of JPEG: any bytes are an error or a picture, always the same one, soon, and with the
//! sides that its header says.

use std::time::{Duration, Instant};

use carat::vision::{Budget, ImageError, Picture};

use crate::said;

/// Decodes `data` as a JPEG file: where it does not begin like one, the start of one is put there.
pub fn jpeg(data: &[u8]) -> bool {
    let start: &[u8] = if data.starts_with(b"\xff\xd8\xff") { b"" } else { b"\xff\xd8\xff" };
    let file = [start, data].concat();
    let began = Instant::now();
    let found = decode(&file);
    assert!(began.elapsed() < LONGEST, "{} bytes took {:?}", file.len(), began.elapsed());
    assert_eq!(found, decode(&file), "the second time something else is found");
    let picture = match found {
        Ok(picture) => picture,
        Err(error) => return said::refused(&error),
    };
    if let Some((width, height)) = sides(&file) {
        let wanted = blank(width, height);
        let shape = |picture: &Picture| [picture.columns(), picture.rows()];
        let turned = blank(height, width);
        let is_shape = shape(&picture) == shape(&wanted) || shape(&picture) == shape(&turned);
        assert!(is_shape, "{width} x {height} pixels became {picture:?}");
    }
    true
}

/// The picture, or what the error says.
fn decode(file: &[u8]) -> Result<Picture, String> {
    match Picture::decode(file, Budget::ALL[0]) {
        Err(ImageError::Decoder { source, .. }) => panic!("{source}"),
        other => other.map_err(|error| error.to_string()),
    }
}

fn blank(width: u32, height: u32) -> Picture {
    let pixels = vec![0; 3 * width as usize * height as usize];
    Picture::from_rgb(width, height, &pixels, Budget::ALL[0]).expect("the sides are few pixels")
}

/// Width and height in the first frame header, if only whole segments stand before it and the
/// pixels are few.
fn sides(file: &[u8]) -> Option<(u32, u32)> {
    let mut rest = &file[2..];
    while let [0xff, marker @ 0xc0..=0xfe, length @ ..] = rest {
        let (length, _) = length.split_first_chunk()?;
        let body = rest[2..].get(2..usize::from(u16::from_be_bytes(*length)))?;
        if let (0xc0..=0xc2 | 0xc9 | 0xca, [_, h, i, w, x, ..]) = (marker, body) {
            let pair = |high: &u8, low: &u8| u32::from(u16::from_be_bytes([*high, *low]));
            let (width, height) = (pair(w, x), pair(h, i));
            return (width * height != 0 && width * height <= 1 << 20).then_some((width, height));
        }
        if (0xd0..=0xda).contains(marker) {
            return None;
        }
        rest = &rest[4 + body.len()..];
    }
    None
}

/// Every coding that is read, gray to four colours, with and without restarts and turns. The coded
/// bytes are arbitrary: any bits are some codes of these tables.
pub fn jpeg_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for coding in [0xc0, 0xc2, 0xc9, 0xca] {
        for sampling in [&[0x11][..], &[0x22, 0x11, 0x11], &[0x21, 0x12, 0x11, 0x21]] {
            let segments = [tables(), frame(coding, sampling)].concat();
            seeds.push(file(&[segments, scans(coding, sampling.len() as u8, 0)].concat()));
        }
    }
    let color = [0x41, 0x11, 0x11];
    let with = |more: &[u8]| {
        let segments = [more, &tables(), &frame(0xc0, &color)].concat();
        file(&[segments, scans(0xc0, 3, 2)].concat())
    };
    seeds.push(with(&segment(0xdd, &[0, 2])));
    seeds.push(with(&segment(0xee, b"Adobe\0\x64\0\0\0\0\0")));
    let turned = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    seeds.push(with(&segment(0xe1, turned)));
    // Without tables, those of the standard count.
    let steps = segment(0xdb, &[&[0][..], &[1; 64]].concat());
    seeds.push(file(&[steps, frame(0xc0, &[0x11]), scans(0xc0, 1, 0)].concat()));
    seeds
}

fn file(segments: &[u8]) -> Vec<u8> {
    [b"\xff\xd8", segments, b"\xff\xd9"].concat()
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff, marker], &(body.len() as u16 + 2).to_be_bytes()[..], body].concat()
}

/// Steps of the quantisation; codes of 4 bits for DC and of 8 bits for AC coefficients.
fn tables() -> Vec<u8> {
    let steps = [&[0][..], &[3; 64]].concat();
    let counts = |bits: usize, count: u8| {
        let mut counts = [0; 16];
        counts[bits - 1] = count;
        counts
    };
    let dc: Vec<u8> = (0..12).collect();
    let runs = (0..16).flat_map(|run| (1..=10).map(move |size| run << 4 | size));
    let ac: Vec<u8> = runs.chain([0x00, 0xf0]).collect();
    let dc = [&[0x00][..], &counts(4, 12), &dc].concat();
    let ac = [&[0x10][..], &counts(8, 162), &ac].concat();
    [segment(0xdb, &steps), segment(0xc4, &dc), segment(0xc4, &ac)].concat()
}

/// The header of a picture of 21 x 13 pixels.
fn frame(coding: u8, sampling: &[u8]) -> Vec<u8> {
    let mut body = vec![8, 0, 13, 0, 21, sampling.len() as u8];
    for (id, &factors) in (1..).zip(sampling) {
        body.extend([id, factors, 0]);
    }
    segment(coding, &body)
}

/// One scan, or those of a progressive picture: DC, DC again, AC, AC again. `restarts` is how many
/// markers stand between the coded bytes.
fn scans(coding: u8, components: u8, restarts: u8) -> Vec<u8> {
    let coded: Vec<u8> = (0..120u32).map(|i| (i * i * 37 % 251) as u8).collect();
    let mut data = coded.clone();
    for restart in 0..restarts {
        data.extend([&[0xff, 0xd0 + restart][..], &coded].concat());
    }
    let scan = |ids: std::ops::RangeInclusive<u8>, spectrum: [u8; 3]| {
        let mut body = vec![ids.clone().count() as u8];
        ids.for_each(|id| body.extend([id, 0]));
        body.extend(spectrum);
        [segment(0xda, &body), data.clone()].concat()
    };
    match coding {
        0xc2 | 0xca => [
            scan(1..=components, [0, 0, 1]),
            scan(1..=1, [1, 63, 1]),
            scan(1..=components, [0, 0, 0x10]),
            scan(1..=1, [1, 63, 0x10]),
        ]
        .concat(),
        _ => scan(1..=components, [0, 63, 0]),
    }
}

/// Far more than a picture of any size takes; an endless loop takes longer.
const LONGEST: Duration = Duration::from_secs(30);
