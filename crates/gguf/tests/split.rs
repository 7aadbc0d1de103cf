//! Models in several files, and files that are none.

use std::fs;
use std::path::PathBuf;

use carat_gguf::{Endian, Error, Gguf, Source, TensorType, Writer};
use tempfile::TempDir;

/// Part `no` (from 0) of `count`, with one tensor named after it.
fn part(no: u16, count: u16) -> Writer<'static> {
    let writer = Writer::new(Endian::Little, 3)
        .metadata("split.no", no)
        .metadata("split.count", count)
        .metadata("split.tensors.count", i32::from(count));
    let writer = if no == 0 { writer.metadata("general.name", "split") } else { writer };
    writer.tensor(format!("t{no}"), TensorType::I8, &[3], vec![no as u8; 3])
}

fn bytes(writer: Writer<'_>) -> Vec<u8> {
    writer.to_bytes().expect("the part is valid")
}

/// Three parts on disk, in a folder that goes away with the test.
fn three_parts() -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<PathBuf> =
        (1..=3).map(|n| folder.path().join(format!("model-{n:05}-of-00003.gguf"))).collect();
    for (no, path) in paths.iter().enumerate() {
        fs::write(path, bytes(part(no as u16, 3))).expect("the folder is writable");
    }
    (folder, paths)
}

#[test]
fn the_first_part_opens_all() {
    let (_folder, paths) = three_parts();
    let source = Source::open(&paths[0]).expect("all parts are there");
    assert_eq!(source.paths(), paths);
    let sizes = paths.iter().map(|p| fs::metadata(p).expect("the part is there").len());
    assert_eq!(source.bytes_total(), sizes.sum::<u64>());

    let gguf = source.parse().expect("the parts are valid");
    assert_eq!(gguf.parts(), 3);
    assert_eq!(gguf.metadata().string("general.name").ok(), Some("split"));
    for (no, t) in gguf.tensors().iter().enumerate() {
        assert_eq!((t.name, t.part), (format!("t{no}").as_str(), no));
        assert_eq!(t.data, [no as u8; 3]);
        assert_eq!(gguf.tensor(t.name), Some(t));
    }

    let whole = Writer::copy_of(&gguf).to_bytes().expect("the copy is valid");
    let whole = Gguf::parse(&whole).expect("the copy is one file");
    assert_eq!((whole.parts(), whole.metadata().len(), whole.tensors().len()), (1, 1, 3));
}

#[test]
fn a_later_part_names_the_first() {
    let (_folder, paths) = three_parts();
    let error = Source::open(&paths[1]).expect_err("the second part was given");
    assert!(matches!(&error, Error::NotFirstPart { part: 2, first, .. } if *first == paths[0]));
    assert!(error.to_string().contains("model-00001-of-00003.gguf"), "{error}");
}

/// File systems that do not tell capitals apart often give them back.
#[test]
fn the_extension_may_be_in_capitals() {
    let (folder, paths) = three_parts();
    for path in &paths {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let name = name.replace(".gguf", ".GGUF");
        fs::rename(path, folder.path().join(name)).expect("the folder is writable");
    }
    let path = |n| folder.path().join(format!("model-{n:05}-of-00003.GGUF"));
    let source = Source::open(&path(1)).expect("all parts are there");
    assert_eq!(source.parse().expect("the parts are valid").parts(), 3);
    let error = Source::open(&path(2)).expect_err("the second part was given");
    assert!(error.to_string().contains("model-00001-of-00003.GGUF"), "{error}");
}

#[test]
fn a_missing_part_is_named() {
    let (_folder, paths) = three_parts();
    fs::remove_file(&paths[2]).expect("the part was there");
    let error = Source::open(&paths[0]).expect_err("the third part is gone");
    assert!(matches!(&error, Error::MissingPart { part: 3, parts: 3, path } if *path == paths[2]));
    assert!(error.to_string().contains("model-00003-of-00003.gguf"), "{error}");
}

#[test]
fn an_error_names_the_file_of_its_part() {
    let (_folder, paths) = three_parts();
    fs::write(&paths[1], b"<html>not found</html>").expect("the folder is writable");
    let source = Source::open(&paths[0]).expect("all parts are there");
    let error = source.parse().expect_err("the second part is a web page");
    assert!(matches!(&error, Error::InFile { path, .. } if *path == paths[1]));
    assert!(matches!(error.cause(), Error::BadMagic { .. }));
    assert!(error.to_string().contains("model-00002-of-00003.gguf"), "{error}");
}

#[test]
fn parts_must_belong_together() {
    let big =
        bytes(Writer::new(Endian::Big, 3).metadata("split.no", 1u16).metadata("split.count", 2u16));
    let no_keys = bytes(Writer::new(Endian::Little, 3));
    let same_tensor = bytes(part(1, 2).tensor("t0", TensorType::I8, &[1], vec![0]));
    let more_tensors = bytes(part(1, 2).tensor("x", TensorType::I8, &[1], vec![0]));
    let (first, second, of_three) = (bytes(part(0, 2)), bytes(part(1, 2)), bytes(part(1, 3)));
    assert!(Gguf::parse_split(&[&first, &second]).is_ok());
    assert!(Gguf::parse_split(&[&bytes(part(0, 1))]).is_ok());

    type Case<'a> = (&'a str, Vec<&'a [u8]>, fn(&Error) -> bool);
    let cases: [Case<'_>; 8] = [
        ("none", vec![], |e| matches!(e, Error::NoParts)),
        ("swapped", vec![&second, &first], |e| {
            matches!(e, Error::WrongPart { found: 1, wanted: 0 })
        }),
        ("first twice", vec![&first, &first], |e| matches!(e, Error::DuplicateTensor { .. })),
        ("one short", vec![&first], |e| matches!(e, Error::WrongPartCount { found: 2, wanted: 1 })),
        ("of another split", vec![&first, &of_three], |e| {
            matches!(e, Error::WrongPartCount { found: 3, wanted: 2 })
        }),
        (
            "no keys",
            vec![&first, &no_keys],
            |e| matches!(e, Error::MissingKey { key } if key == "split.count"),
        ),
        ("other byte order", vec![&first, &big], |e| {
            matches!(e, Error::MixedEndian { found: Endian::Big, wanted: Endian::Little })
        }),
        (
            "tensor in two parts",
            vec![&first, &same_tensor],
            |e| matches!(e, Error::DuplicateTensor { tensor, .. } if tensor == "t0"),
        ),
    ];
    for (name, parts, is_expected) in cases {
        let error = Gguf::parse_split(&parts).expect_err(name);
        assert!(is_expected(error.cause()), "{name}: {error:?}");
    }
    let error = Gguf::parse_split(&[&first, &more_tensors]).expect_err("a tensor too many");
    assert!(matches!(error.cause(), Error::WrongSplitTensorCount { found: 3, wanted: 2 }));
}

#[test]
fn names_of_another_form_are_whole_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in [
        "model.gguf",
        "00001-of-00002.gguf",
        "m-00003-of-00002.gguf",
        "m-00000-of-00002.gguf",
        "m-1-of-2.gguf",
        "m-00001-of-0000२.gguf",
        "m-00001-of-00002.gguf.bak",
        "m-00001-of-00001.gguf",
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes(Writer::new(Endian::Little, 3))).expect("the folder is writable");
        let source = Source::open(&path).expect(name);
        assert_eq!(source.parse().map(|gguf| gguf.parts()).ok(), Some(1), "{name}");
    }
}

#[test]
fn what_cannot_be_opened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty.gguf"), b"").expect("the folder is writable");

    let missing = Source::open(&path("missing.gguf")).expect_err("there is no file");
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
    let directory = Source::open(folder.path()).expect_err("it is a directory");
    assert!(matches!(directory, Error::IsDirectory { .. }), "{directory:?}");
    let empty = Source::open(&path("empty.gguf")).expect_err("it is empty");
    assert!(matches!(empty, Error::EmptyFile { .. }), "{empty:?}");
    let below_a_file = Source::open(&path("empty.gguf").join("x")).expect_err("not a folder");
    assert!(matches!(below_a_file, Error::Io { .. } | Error::NotFound { .. }), "{below_a_file:?}");
    for error in [missing, directory, empty, below_a_file] {
        let text = error.to_string();
        assert!(text.contains(&folder.path().display().to_string()), "{text}");
    }
    #[cfg(unix)]
    {
        let device = Source::open("/dev/null".as_ref()).expect_err("it is a device");
        assert!(matches!(device, Error::NotAFile { .. }), "{device:?}");
    }
}
