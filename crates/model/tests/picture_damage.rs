//! Pictures that are damaged, turned, or of rare kinds, against Pillow: what it makes of each
//! stands beside it. And PNG files damaged here, whose picture is that of the sound file.

use std::fs;
use std::path::{Path, PathBuf};

use carat::vision::{Budget, ImageError, Picture};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images").join(name)
}

fn smallest() -> Budget {
    Budget::ALL[0]
}

#[test]
fn every_file_becomes_pillows_rgb() {
    let mut count = 0;
    for entry in fs::read_dir(folder("damaged")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".expected.png") {
            continue;
        }
        count += 1;
        let found = Picture::open(&path, smallest()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let expected = image::open(format!("{}.expected.png", path.display())).unwrap();
        let expected = expected.into_rgb8();
        let (width, height) = expected.dimensions();
        let wanted = Picture::from_rgb(width, height, &expected, smallest()).unwrap();
        assert!(found == wanted, "{path:?} has other pixels than Pillow makes of it");
    }
    assert!(count >= 30, "the test data is missing: only {count} files");
}

/// Where the chunk of this kind begins.
fn place(file: &[u8], kind: &[u8; 4]) -> usize {
    file.windows(4).position(|window| window == kind).expect("the chunk is there") - 4
}

#[test]
fn a_png_file_may_lack_what_follows_its_pixels() {
    let sound = fs::read(folder("tiny.png")).unwrap();
    let wanted = Picture::decode(&sound, smallest()).unwrap();
    let (data, end) = (place(&sound, b"IDAT"), place(&sound, b"IEND"));
    let mut bad_sum = sound.clone();
    bad_sum[end - 1] ^= 1;
    let unknown = [&sound[..end], b"\0\0\0\x02ABCDxy\0\0\0\0", &sound[end..]].concat();
    for (what, file) in [
        ("no end", &sound[..end]),
        ("no checksum either", &sound[..end - 4]),
        ("a wrong checksum of pixels", &bad_sum),
        ("an unknown chunk", &unknown),
    ] {
        assert_eq!(Picture::decode(file, smallest()).unwrap(), wanted, "{what}");
    }
    let mut bad_header = sound.clone();
    bad_header[data - 1] ^= 1;
    let error = Picture::decode(&bad_header, smallest()).unwrap_err();
    assert!(matches!(error, ImageError::Damaged { .. }), "{error:?}");
    let error = Picture::decode(&sound[..data + 20], smallest()).unwrap_err();
    assert!(matches!(error, ImageError::Truncated { .. }), "{error:?}");
}

#[test]
fn portable_maps_are_scaled() {
    // By hand: halves of 255 and of 65535, the latter clipped.
    let cases: [(&[u8], [u8; 6]); 5] = [
        (b"P1\n# c\n2 1\n10", [0, 0, 0, 255, 255, 255]),
        (b"P2 2 1 2 1#x\n 2 ", [128, 128, 128, 255, 255, 255]),
        (b"P4 2 1\n\x40", [255, 255, 255, 0, 0, 0]),
        (b"P5 2 1 65535\n\0\x07\x80\0", [7, 7, 7, 255, 255, 255]),
        (b"P6 2 1 5\n\0\x01\x02\x03\x04\x05", [0, 51, 102, 153, 204, 255]),
    ];
    for (file, pixels) in cases {
        let found = Picture::decode(file, smallest()).unwrap();
        assert_eq!(found, Picture::from_rgb(2, 1, &pixels, smallest()).unwrap(), "{file:?}");
    }
    for file in [b"P6 2 1 255\nabc".as_slice(), b"P2 2 1 9\n1"] {
        let error = Picture::decode(file, smallest()).unwrap_err();
        assert!(matches!(error, ImageError::Truncated { .. }), "{error:?}");
    }
}
