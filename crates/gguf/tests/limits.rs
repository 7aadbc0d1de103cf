//! Headers with more of anything than a model has: refused by name, before memory is taken for it.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};

use carat_gguf::{Error, Gguf, Source, limits};

/// The beginning of a file that says so many tensors and metadata entries.
fn head(tensors: u64, entries: u64) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(entries.to_le_bytes());
    bytes
}

/// A metadata key with a type (8 string, 9 array, 0 byte).
fn key(bytes: &mut Vec<u8>, name: &str, value_type: u32) {
    bytes.extend((name.len() as u64).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(value_type.to_le_bytes());
}

/// An array of `len` bytes, all zero.
fn array(bytes: &mut Vec<u8>, name: &str, len: u64) {
    key(bytes, name, 9);
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes.resize(bytes.len() + len as usize, 0);
}

fn parsed(bytes: &[u8]) -> Result<usize, Error> {
    Gguf::parse(bytes).map(|gguf| gguf.metadata().len())
}

/// The error of a file on disk, which is parsed as it is read.
fn opened(bytes: &[u8]) -> Option<Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.gguf");
    fs::write(&path, bytes).expect("room");
    Source::open(&path).and_then(|source| source.parse().map(drop)).err()
}

fn is_too_many(error: Option<Error>, wanted_count: u64, wanted_max: u64) {
    let error = error.expect("it is refused");
    let Error::TooMany { count, max, .. } = *error.cause() else { panic!("{error}") };
    assert_eq!((count, max), (wanted_count, wanted_max), "{error}");
}

#[test]
fn counts_have_bounds_beside_the_bytes_that_are_left() {
    let most = limits::TENSORS;
    let mut bytes = head(most + 1, 0);
    bytes.resize(bytes.len() + 24 * (most as usize + 1), 0);
    is_too_many(parsed(&bytes).err(), most + 1, most);
    is_too_many(opened(&bytes), most + 1, most);

    let most = limits::METADATA_ENTRIES;
    for (count, is_refused) in [(most, false), (most + 1, true)] {
        let mut bytes = head(0, count);
        for i in 0..count {
            key(&mut bytes, &format!("k{i}"), 0);
            bytes.push(7);
        }
        match is_refused {
            true => is_too_many(parsed(&bytes).err(), count, most),
            false => assert_eq!(parsed(&bytes).expect("just as many"), most as usize),
        }
    }

    let most = limits::ARRAY_ELEMENTS;
    for (count, is_refused) in [(most, false), (most + 1, true)] {
        let mut bytes = head(0, 1);
        array(&mut bytes, "a", count);
        match is_refused {
            true => is_too_many(parsed(&bytes).err(), count, most),
            false => assert_eq!(parsed(&bytes).expect("just as many"), 1),
        }
    }
}

#[test]
fn a_string_has_a_bound_alone_and_in_an_array() {
    let most = limits::STRING_BYTES;
    for (len, is_refused) in [(most, false), (most + 1, true)] {
        for in_array in [false, true] {
            let mut bytes = head(0, 1);
            key(&mut bytes, "s", if in_array { 9 } else { 8 });
            if in_array {
                bytes.extend(8u32.to_le_bytes());
                bytes.extend(1u64.to_le_bytes());
            }
            bytes.extend(len.to_le_bytes());
            bytes.resize(bytes.len() + len as usize, b'x');
            let found = parsed(&bytes).err();
            let is_named = matches!(&found, Some(Error::NameTooLong { len: l, max, field, .. })
                if (*l, *max) == (len, most) && field.contains("\"s\""));
            assert!(is_named == is_refused && found.is_some() == is_refused, "{found:?}");
        }
    }
}

/// Sixteen arrays of 16 MiB fill it, and the last one is too much. On a disk the file has no more
/// blocks than its first pages: what lies behind the limit is never read.
#[test]
fn a_header_has_a_bound_in_memory_and_on_disk() {
    let mut bytes = head(0, 17);
    for i in 0..17 {
        array(&mut bytes, &format!("a{i}"), limits::ARRAY_ELEMENTS);
    }
    let error = parsed(&bytes).expect_err("17 arrays are more than 256 MiB");
    assert!(matches!(error, Error::HeaderTooLong { max } if max == limits::HEADER_BYTES as u64));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.gguf");
    let mut file = File::create(&path).expect("room");
    // One array of 2^24 strings that are empty but for the last: 128 MiB of zeros, and then a
    // string that would end behind the limit.
    let entries = 3u64;
    file.write_all(&head(0, entries)).expect("room");
    for i in 0..entries {
        let mut start = Vec::new();
        key(&mut start, &format!("a{i}"), 9);
        start.extend(8u32.to_le_bytes());
        start.extend(limits::ARRAY_ELEMENTS.to_le_bytes());
        file.write_all(&start).expect("room");
        file.seek(SeekFrom::Current(8 * limits::ARRAY_ELEMENTS as i64)).expect("a hole");
    }
    let end = file.stream_position().expect("a position");
    file.set_len(end + 4096).expect("a hole");
    let error = Source::open(&path).expect_err("three arrays of 128 MiB");
    assert!(matches!(error.cause(), Error::HeaderTooLong { .. }), "{error}");
    assert!(error.to_string().contains("x.gguf"), "{error}");
}

/// A key may be longer than anybody reads: messages have its beginning.
#[test]
fn long_names_are_cut_in_messages() {
    let long = "ß".repeat(limits::KEY_BYTES as usize / 2);
    let (mut unknown, mut twice) = (head(0, 1), head(0, 2));
    key(&mut unknown, &long, 99);
    for _ in 0..2 {
        key(&mut twice, &long, 0);
        twice.push(1);
    }
    let mut truncated = head(0, 1);
    key(&mut truncated, &long, 0);
    for bytes in [unknown, twice, truncated] {
        let error = parsed(&bytes).expect_err("it is refused").to_string();
        assert!(error.len() < 500 && error.contains("ßßß"), "{} bytes: {error}", error.len());
    }
}
