//! Files on disk: what is read of them, when, and what happens if they change meanwhile.

use std::fs::{self, File};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use carat_gguf::{Endian, Error, Gguf, Source, TensorType, Writer};

/// A file with a header of about `header` bytes and a tensor of 1000 bytes.
fn bytes(header: usize) -> Vec<u8> {
    let words: Vec<String> = (0..header / 20).map(|i| format!("word {i:7}")).collect();
    Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "test")
        .metadata("words", words)
        .tensor("t", TensorType::I8, &[100, 10], (0..1000u32).map(|i| i as u8).collect::<Vec<_>>())
        .to_bytes()
        .expect("a file")
}

fn write(folder: &tempfile::TempDir, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join("x.gguf");
    fs::write(&path, bytes).expect("the folder is writable");
    path
}

fn cut(path: &Path, len: u64) {
    let file = File::options().write(true).open(path).expect("a file");
    file.set_len(len).expect("a cut");
}

#[test]
fn headers_of_any_length_are_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for header in [0, 1 << 10, 1 << 20, 5 << 20] {
        let bytes = bytes(header);
        let path = write(&folder, &bytes);
        let source = Source::open(&path).expect("a file");
        let (gguf, wanted) = (source.parse().expect("a model"), Gguf::parse(&bytes).expect("it"));
        assert_eq!(gguf.tensors(), wanted.tensors());
        assert_eq!(gguf.heads(), wanted.heads());
        assert!(bytes.starts_with(gguf.heads()[0]) && gguf.heads()[0].len() >= header);
        let words = |gguf: &Gguf<'_>| gguf.metadata().array("words").map(|w| w.len()).ok();
        assert_eq!(words(&gguf), words(&wanted));
        let tensor = gguf.tensor("t").expect("a tensor");
        for gguf in [&gguf, &wanted] {
            let mut out = [0; 5];
            gguf.read(tensor, 255, &mut out).expect("a read");
            assert_eq!(out, [255, 0, 1, 2, 3]);
        }
        assert_eq!(bytes[tensor.at as usize..][..3], [0, 1, 2]);
    }
}

/// The parser sees a part of the file at first; its errors are those of the whole.
#[test]
fn a_file_that_ends_too_soon_is_the_same_error_on_disk_and_in_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = bytes(3 << 20);
    for len in [1, 3, 30, 63, 64, 65, 999, 1 << 20, (1 << 20) + 1, 2 << 20, whole.len() - 100] {
        let path = write(&folder, &whole[..len]);
        let source = Source::open(&path).expect("a file");
        let on_disk = source.parse().map(drop).expect_err("it is cut").cause().to_string();
        let in_memory = Gguf::parse(&whole[..len]).map(drop).expect_err("it is cut").to_string();
        assert_eq!(on_disk, in_memory, "{len}");
    }
}

#[test]
fn a_file_cut_while_it_is_open_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = bytes(2 << 20);
    let path = write(&folder, &bytes);
    let source = Source::open(&path).expect("a file");
    cut(&path, bytes.len() as u64 - 500);
    let gguf = source.parse().expect("the header is in memory");
    let tensor = gguf.tensor("t").expect("a tensor");
    gguf.read(tensor, 0, &mut [0; 400]).expect("it is still there");
    let error = gguf.read(tensor, 0, &mut [0; 1000]).expect_err("it is gone");
    assert!(matches!(error, Error::CutShort { need: 1000, .. }), "{error:?}");
    assert!(error.to_string().contains("x.gguf was cut short"), "{error}");
    cut(&path, 0);
    assert!(gguf.read(tensor, 0, &mut [0; 1]).is_err());
    assert!(source.parse().is_ok(), "again");
}

#[cfg(unix)]
#[test]
fn a_stamp_changes_with_the_file_whatever_its_time_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = bytes(100);
    let path = write(&folder, &bytes);
    let source = Source::open(&path).expect("a file");
    let stamp = || source.stamp().expect("it answers").expect("there are change times");
    let first = stamp();
    assert_eq!(first, stamp());
    sleep(Duration::from_millis(20)); // more than a step of the file system's clock
    let time = fs::metadata(&path).and_then(|found| found.modified()).expect("a time");
    let before = SystemTime::now();
    fs::write(&path, &bytes).expect("the folder is writable");
    let file = File::options().write(true).open(&path).expect("a file");
    file.set_modified(time).expect("a time");
    assert_ne!(stamp().bytes, first.bytes);
    assert!(stamp().changed + Duration::from_millis(20) > before);
}

/// The data of a tensor outlives the source: the file may lose its name, and tells when it is
/// written to or cut short.
#[test]
fn the_data_of_a_tensor_can_be_read_after_the_source_is_gone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = bytes(3000);
    let path = write(&folder, &bytes);
    let open = || {
        let source = Source::open(&path).expect("a file");
        let gguf = source.parse().expect("a model");
        let tensor = gguf.tensor("t").expect("a tensor");
        gguf.tensor_file(tensor).expect("a file").expect("it is on disk")
    };
    let data = open();
    assert_eq!((data.bytes(), data.path()), (1000, &*path));
    let mut out = [0; 5];
    data.will_need(0, 1000);
    data.read(995, &mut out).expect("a read");
    assert_eq!(out, [227, 228, 229, 230, 231]); // 995 to 999 less 3 times 256
    assert!(data.is_unchanged().expect("an answer"));
    #[cfg(unix)]
    {
        fs::rename(&path, folder.path().join("y.gguf")).expect("another name");
        fs::remove_file(folder.path().join("y.gguf")).expect("no name");
        data.read(0, &mut out).expect("a read");
        assert_eq!(out, [0, 1, 2, 3, 4]);
        assert!(data.is_unchanged().expect("an answer"));
        fs::write(&path, &bytes).expect("the folder is writable");
    }
    let data = open();
    cut(&path, bytes.len() as u64 - 40); // 24 of these are padding
    assert!(!data.is_unchanged().expect("an answer"));
    assert!(matches!(data.read(995, &mut out), Err(Error::CutShort { .. })));

    let gguf = Gguf::parse(&bytes).expect("a model");
    let tensor = gguf.tensor("t").expect("a tensor");
    assert!(gguf.tensor_file(tensor).expect("no error").is_none(), "in memory");
}

#[test]
#[should_panic(expected = "5 bytes from 996 on of a tensor of 1000")]
fn more_bytes_than_a_tensor_has_are_the_callers_fault() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = Source::open(&write(&folder, &bytes(0))).expect("a file");
    let gguf = source.parse().expect("a model");
    let data = gguf.tensor_file(gguf.tensor("t").expect("a tensor")).expect("a file");
    let _ = data.expect("it is on disk").read(996, &mut [0; 5]);
}
