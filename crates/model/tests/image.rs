//! Pictures against the reference: its own cases, every mode and format against Pillow, and files
//! that are too large, cut short, damaged, or no pictures at all.

use std::fs;
use std::path::{Path, PathBuf};

use carat::vision::{Budget, ImageError, Picture, PixelsError, VisionError};

/// File, budget, columns, rows, and the hash of the reference's pixels.
const REFERENCE: [(&str, usize, usize, usize, u64); 3] = [
    ("tiny.png", 70, 9, 7, 0xd96c_0085_eef2_0e2d),
    ("sixteen.png", 70, 7, 9, 0x2484_d396_70ea_1425),
    ("exif.jpg", 140, 9, 14, 0x18e6_3725_a658_2036),
];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images").join(name)
}

/// The pictures of `modes/`, without what is expected of them.
fn modes() -> Vec<PathBuf> {
    let entries = fs::read_dir(data("modes")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| !path.to_string_lossy().ends_with(".expected.png")).collect();
    paths.sort();
    assert!(paths.len() >= 80, "the test data is missing: only {} files", paths.len());
    paths
}

fn smallest() -> Budget {
    Budget::ALL[0]
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[test]
fn pictures_are_the_references() {
    for (name, budget, columns, rows, wanted) in REFERENCE {
        let picture = Picture::open(data(name), Budget::try_from(budget).unwrap()).unwrap();
        assert_eq!((picture.columns(), picture.rows()), (columns, rows), "{name}");
        assert_eq!(picture.tokens(), columns * rows, "{name}");
        assert_eq!((picture.width(), picture.height()), (48 * columns, 48 * rows), "{name}");
        assert_eq!(hash(picture.pixels()), wanted, "{name} has other pixels");
    }
}

#[test]
fn every_mode_of_every_format_becomes_pillows_rgb() {
    for path in modes() {
        let found = Picture::open(&path, smallest()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let expected = format!("{}.expected.png", path.display());
        let expected = image::open(expected).unwrap().into_rgb8();
        let (width, height) = expected.dimensions();
        let wanted = Picture::from_rgb(width, height, &expected, smallest()).unwrap();
        let pairs = found.pixels().iter().zip(wanted.pixels());
        let differ = pairs.filter(|(a, b)| a != b).count();
        assert_eq!((found.columns(), found.rows()), (wanted.columns(), wanted.rows()), "{path:?}");
        assert_eq!(differ, 0, "{path:?} differs in so many of {}", wanted.pixels().len());
        assert_eq!(found, wanted);
    }
}

#[test]
fn the_content_tells_the_format_and_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.jpg");
    fs::copy(data("tiny.png"), &path).unwrap();
    let tiny = Picture::open(data("tiny.png"), smallest()).unwrap();
    assert_eq!(Picture::open(&path, smallest()).unwrap(), tiny);
    assert_eq!(Picture::decode(&fs::read(&path).unwrap(), smallest()).unwrap(), tiny);
}

#[test]
fn what_is_no_picture_says_what_it_is() {
    let cases: [(&[u8], &str); 4] = [
        (b"hello", "the data is text,"),
        (b"%PDF-1.7 ....", "the data is a PDF document,"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0", "the data is a film,"),
        (&[0, 1, 2, 255], "the data is of no known kind (it begins with [00, 01, 02, ff]),"),
    ];
    for (bytes, wanted) in cases {
        let error = Picture::decode(bytes, smallest()).unwrap_err();
        assert!(matches!(error, ImageError::Format { .. }), "{error:?}");
        assert!(error.to_string().starts_with(wanted), "{error}");
    }
    let avif = Picture::decode(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", smallest()).unwrap_err();
    assert!(matches!(avif, ImageError::NoDecoder { format: "AVIF" }), "{avif:?}");
    assert!(matches!(Picture::decode(b"", smallest()), Err(ImageError::Empty)));
    assert!(matches!(Picture::open(data("none"), smallest()), Err(ImageError::Read { .. })));
    assert!(matches!(Picture::open(data(""), smallest()), Err(ImageError::Folder { .. })));
}

/// A PNG file of these sides without a pixel: signature and header, whose checksum is computed.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut crc = u32::MAX;
    for byte in &chunk {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = (crc >> 1) ^ ((crc & 1) * 0xedb8_8320));
    }
    let signature = b"\x89PNG\r\n\x1a\n\0\0\0\r".as_slice();
    let end = b"\0\0\0\x01IDAT\0\0\0\0\0".as_slice();
    [signature, &chunk, &(!crc).to_be_bytes(), end].concat()
}

/// Headers of these sides in other formats.
fn headers(width: u16, height: u16) -> [(&'static str, Vec<u8>); 3] {
    let (w, h) = (width.to_le_bytes(), height.to_le_bytes());
    let gif = [b"GIF89a".as_slice(), &w, &h, b"\0\0\0,\0\0\0\0", &w, &h, b"\0\x02\0;"].concat();
    let bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".as_slice();
    let bmp = [bmp, &w, &[0; 2], &h, &[0; 2], &[1, 0, 24], &[0; 25]].concat();
    let (w, h) = (width.to_be_bytes(), height.to_be_bytes());
    let sof = [b"\xff\xd8\xff\xc0\0\x0b\x08".as_slice(), &h, &w, &[1, 1, 0x11, 0]].concat();
    let jpeg = [&sof[..], b"\xff\xda\0\x08\x01\x01\0\0\x3f\0\xff\xd9"].concat();
    [("gif", gif), ("bmp", bmp), ("jpeg", jpeg)]
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let mut cases = headers(65_535, 65_535).to_vec();
    cases.push(("png", png_header(30_000, 30_000)));
    cases.push(("png", png_header(1, 1 << 21)));
    for (name, bytes) in cases {
        let error = Picture::decode(&bytes, smallest()).unwrap_err();
        let ImageError::Pixels(error) = error else { panic!("{name}: {error:?}") };
        assert!(matches!(error, PixelsError::TooLarge { .. }), "{name}: {error:?}");
    }
    let many = vec![0; 3 << 21];
    let error = Picture::from_rgb(1, 1 << 21, &many, smallest()).unwrap_err();
    assert!(matches!(error, PixelsError::TooLarge { .. }), "{error:?}");
}

#[test]
fn pictures_without_pixels_are_refused() {
    let mut cases = Vec::new();
    for (width, height) in [(0, 0), (0, 5), (5, 0)] {
        cases.extend(headers(width, height));
        cases.push(("png", png_header(width.into(), height.into())));
    }
    for (name, bytes) in cases {
        assert!(Picture::decode(&bytes, smallest()).is_err(), "{name}");
    }
    let none = Picture::from_rgb(0, 5, &[], smallest());
    assert!(matches!(none, Err(PixelsError::NoPixels { width: 0, height: 5 })));
    let few = Picture::from_rgb(2, 2, &[0; 11], smallest());
    assert!(matches!(few, Err(PixelsError::Buffer { wanted: 12, found: 11, .. })));
}

/// A TIFF file of one row of four pixels whose compression has this number.
fn tiff(compression: u16) -> Vec<u8> {
    let fields: [(u16, u16); 7] =
        [(256, 4), (257, 1), (258, 8), (259, compression), (262, 1), (273, 98), (279, 4)];
    let mut bytes = b"II*\0\x08\0\0\0\x07\0".to_vec();
    for (tag, value) in fields {
        bytes.extend([tag, 3, 1, 0, value, 0].map(u16::to_le_bytes).as_flattened());
    }
    bytes.extend([0; 4]);
    bytes.extend([1, 2, 3, 4]);
    bytes
}

#[test]
fn fields_without_values_are_as_no_fields() {
    let whole = tiff(1);
    for field in 0..7 {
        let mut bytes = whole.clone();
        bytes[10 + 12 * field + 4] = 0;
        let found = Picture::decode(&bytes, smallest());
        assert!(!matches!(found, Err(ImageError::Decoder { .. })), "field {field}: {found:?}");
        // Only the sides and the place of the pixels are wanted.
        assert_eq!(found.is_err(), [0, 1, 5].contains(&field), "field {field}");
    }
}

#[test]
fn variants_that_are_not_read_are_named() {
    assert!(Picture::decode(&tiff(1), smallest()).is_ok());
    for (compression, name) in [
        (6, "old-style JPEG compression"),
        (34_661, "JBIG compression"),
        (34_925, "LZMA compression"),
        (50_001, "WebP compression"),
        (60_000, "a compression of an unknown number"),
    ] {
        let error = Picture::decode(&tiff(compression), smallest()).unwrap_err();
        let ImageError::Variant { format, source } = &error else { panic!("{error:?}") };
        assert_eq!((*format, source.to_string().as_str()), ("TIFF", name));
    }
}

#[test]
fn files_that_are_cut_short_are_errors() {
    for path in modes() {
        let bytes = fs::read(&path).unwrap();
        let is_jpeg = path.extension().is_some_and(|e| e == "jpg");
        // A JPEG file must reach its last bytes: as many as are decoded ahead. The others may lack
        // what follows the pixels.
        let lengths = if is_jpeg { 1..bytes.len() - 10 } else { 1..bytes.len() / 2 };
        for length in lengths {
            let found = Picture::decode(&bytes[..length], smallest());
            assert!(found.is_err(), "{path:?} cut to {length} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = |range: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % range
    };
    for path in modes() {
        let whole = fs::read(&path).unwrap();
        for _ in 0..20 {
            let mut bytes = whole.clone();
            (0..=next(3)).for_each(|_| bytes[next(whole.len())] = next(256) as u8);
            match Picture::decode(&bytes, smallest()) {
                Ok(picture) => assert!((1..=70).contains(&picture.tokens()), "{path:?}"),
                Err(error) => assert!(!matches!(error, ImageError::Decoder { .. }), "{error:?}"),
            }
        }
    }
}

#[test]
fn extreme_sides_become_one_row_or_column() {
    for (width, height, columns, rows) in
        [(1, 20_000, 1, 280), (20_000, 1, 280, 1), (3, 4_000, 1, 280), (1, 1, 16, 16)]
    {
        let pixels: Vec<u8> = (0..3 * width * height).map(|i| (i / 3 % 251) as u8).collect();
        let picture = Picture::from_rgb(width, height, &pixels, Budget::default()).unwrap();
        assert_eq!((picture.columns(), picture.rows()), (columns, rows), "{width} x {height}");
    }
}

#[test]
fn budgets_are_those_of_the_model() {
    for tokens in [70, 140, 280, 560, 1120] {
        assert_eq!(Budget::try_from(tokens).unwrap().tokens(), tokens);
    }
    for tokens in [0, 1, 256, 1121, usize::MAX] {
        assert!(matches!(Budget::try_from(tokens), Err(VisionError::Budget { .. })), "{tokens}");
    }
    assert_eq!(Budget::default().tokens(), 280);
}
