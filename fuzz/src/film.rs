//! Animations: any bytes are an error or frames in the order of time, within the caller's limit,
//! and the same every time. The decoders are other people's: where one panics, that is an error.

use std::fs;
use std::time::Duration;

use carat::video::{Video, VideoConfig};

use crate::said::within;
use crate::{kit, said};

/// Decodes `data` as an animated GIF, PNG or WebP file.
pub fn film(data: &[u8]) -> bool {
    if !STARTS.iter().any(|start| data.starts_with(start)) {
        return false;
    }
    let config = VideoConfig { frames_max: FRAMES, ..VideoConfig::default() };
    let first = within(LONGEST, || Video::decode(data, &config));
    let again = Video::decode(data, &config);
    let (video, again) = match (first, again) {
        (Ok(video), Ok(again)) => (video, again),
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string());
            return said::refused(&error);
        }
        (first, again) => panic!("decoded twice: {first:?}, then {again:?}"),
    };
    assert!(video == again, "decoded twice");
    assert!((1..=FRAMES).contains(&video.frames.len()), "{} frames", video.frames.len());
    assert!(video.frames.iter().all(|frame| frame.seconds.is_finite() && frame.seconds >= 0.0));
    let ascend = video
        .frames
        .windows(2)
        .all(|pair| pair[0].index < pair[1].index && pair[0].seconds <= pair[1].seconds);
    assert!(ascend, "frames are not in order");
    let tokens = config.budget.tokens();
    assert!(video.frames.iter().all(|f| (1..=tokens).contains(&f.picture.tokens())));
    true
}

/// The animations of the tests, and a GIF of three frames in several places.
pub fn film_seeds() -> Vec<Vec<u8>> {
    let files =
        ["moving.png", "damaged/anim.webp", "damaged/anim-blended.webp", "damaged/apng.png"];
    let read = |name: &str| fs::read(kit::data().join("images").join(name)).expect("a test's file");
    let mut seeds: Vec<Vec<u8>> = files.into_iter().map(read).collect();
    for dispose in 0..4u8 {
        let mut gif = b"GIF89a\x06\0\x04\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
        gif.extend(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0");
        for frame in 0..3u8 {
            gif.extend([0x21, 0xf9, 4, dispose << 2 | frame & 1, 10 * frame, 0, 1, 0]);
            gif.extend([0x2c, frame, 0, 0, 0, 6 - frame, 0, 4, 0, 0]);
            // Codes of three bits: clear, 0 or 1, end. What is missing stays as it was.
            gif.extend([2, 2, 0b0100_0100 | frame << 3 & 8, 1, 0]);
        }
        gif.push(b';');
        seeds.push(gif);
    }
    seeds
}

const STARTS: [&[u8]; 3] = [b"GIF8", b"\x89PNG", b"RIFF"];

/// Few, so that it is chosen among them.
const FRAMES: usize = 3;

/// A release decodes the most pixels that are taken in a minute or two.
const LONGEST: Duration = Duration::from_secs(120);
