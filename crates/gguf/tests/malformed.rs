//! Hostile and broken files: each row is a name, the bytes, the error, and words of its message.

mod raw;

use carat_gguf::{Error, Gguf};
use raw::tensor::{F32, Q4_K, Q8_0};
use raw::value::{ARRAY, BOOL, STRING, U8, U32, U64};
use raw::{Raw, big_file, file};

struct Row {
    name: &'static str,
    bytes: Vec<u8>,
    is_expected: fn(&Error) -> bool,
    says: &'static str,
}

macro_rules! rows {
    ($($name:literal: $bytes:expr => $error:pat, says $says:literal;)+) => {
        vec![$(Row {
            name: $name,
            bytes: $bytes,
            is_expected: |e| { use Error::*; matches!(e, $error) },
            says: $says,
        },)+]
    };
}

fn check(rows: Vec<Row>) {
    let failures: Vec<String> = rows
        .iter()
        .filter_map(|row| match Gguf::parse(&row.bytes) {
            Ok(_) => Some(format!("{}: it parsed", row.name)),
            Err(e) if !(row.is_expected)(&e) => Some(format!("{}: {e:?}", row.name)),
            Err(e) if !e.to_string().contains(row.says) => {
                Some(format!("{}: {:?} is not in {:?}", row.name, row.says, e.to_string()))
            }
            Err(_) => None,
        })
        .collect();
    assert!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// A valid file with room for damage; rows that change one thing of it can be trusted.
fn one_tensor(name: &str, dims: &[u64], tensor_type: u32, offset: u64) -> Raw {
    file(1, 0).tensor(name, dims, tensor_type, offset)
}

#[test]
fn the_builder_makes_valid_files() {
    let little = file(1, 2)
        .key("a", ARRAY)
        .array(STRING, 1)
        .text("x")
        .key("b", BOOL)
        .bytes(&[1])
        .tensor("t", &[256, 1], Q4_K, 32)
        .data(32 + 144)
        .done();
    let gguf = Gguf::parse(&little).expect("valid");
    assert_eq!((gguf.metadata().len(), gguf.tensors().len()), (2, 1));
    assert!(Gguf::parse(&big_file(0, 0).done()).is_ok());
}

#[test]
fn files_of_another_kind() {
    check(rows! {
        "old ggjt": bytes(b"tjgg\x03\0\0\0") => BadMagic { .. }, says "before GGUF";
        "old ggml": bytes(b"lmgg\0\0\0\0") => BadMagic { .. }, says "GGML";
        "old ggml, spelled forward": bytes(b"GGML\0\0\0\0") => BadMagic { .. }, says "\"GGML\"";
        "reversed magic": bytes(b"FUGG\x03\0\0\0") => BadMagic { .. }, says "reversed";
        "web page": bytes(b"\n<!DOCTYPE html><html>") => BadMagic { .. }, says "web page";
        "zip": bytes(b"PK\x03\x04\x14\0") => BadMagic { .. }, says "ZIP";
        "safetensors": bytes(b"\x48\x01\0\0\0\0\0\0{\"a\":") => BadMagic { .. }, says "safetensors";
        "lfs pointer": bytes(b"version https://git-lfs.github.com/spec/v1\n") => BadMagic { .. },
            says "Git LFS";
        "gzip": bytes(b"\x1f\x8b\x08\0") => BadMagic { .. }, says "compressed";
        "zeros": vec![0; 100] => BadMagic { .. }, says "zeros";
        "text": "Грузится модель: подождите, пожалуйста, ещё немного".into() => BadMagic { .. },
            says "text file";
        "binary": bytes(b"\x80\x02}q\0\x01") => BadMagic { .. }, says "\\x80\\x02}q";
        "one wrong letter": bytes(b"GGUE\x03\0\0\0") => BadMagic { .. }, says "\"GGUE\"";
    });
}

#[test]
fn headers() {
    check(rows! {
        "empty": bytes(b"") => Truncated { at: 0, need: 4, have: 0, .. }, says "magic";
        "half a magic": bytes(b"GG") => Truncated { at: 0, need: 4, have: 2, .. }, says "magic";
        "magic only": bytes(b"GGUF") => Truncated { at: 4, need: 4, have: 0, .. }, says "version";
        "half a version": bytes(b"GGUF\x03\0") => Truncated { at: 4, have: 2, .. }, says "version";
        "version 0": bytes(b"GGUF\0\0\0\0") => UnsupportedVersion { found: 0, .. }, says "damaged";
        "version 1": bytes(b"GGUF\x01\0\0\0") => UnsupportedVersion { found: 1, .. },
            says "convert the model again";
        "version 1, big": bytes(b"GGUF\0\0\0\x01") => UnsupportedVersion { found: 1, .. },
            says "version 1";
        "version 4": bytes(b"GGUF\x04\0\0\0") => UnsupportedVersion { found: 4, .. }, says "newer";
        "version of all ones": bytes(b"GGUF\xff\xff\xff\xff") =>
            UnsupportedVersion { found: u32::MAX, .. }, says "4294967295";
        "no counts": bytes(b"GGUF\x03\0\0\0") => Truncated { at: 8, need: 8, have: 0, .. },
            says "tensor count";
        "no metadata count": file(0, 0).done()[..17].to_vec() => Truncated { at: 16, have: 1, .. },
            says "metadata count";
        "all tensors of the world": file(u64::MAX, 0).filler(64).done() =>
            CountTooLarge { at: 8, count: u64::MAX, .. }, says "tensor count";
        "tensor count whose bytes overflow": file(1 << 61, 0).filler(64).done() =>
            CountTooLarge { at: 8, .. }, says "do not fit";
        "all metadata of the world": file(0, u64::MAX).filler(64).done() =>
            CountTooLarge { at: 16, count: u64::MAX, have: 64, .. }, says "metadata count";
        "one entry more than fits": file(0, 2).filler(25).done() =>
            CountTooLarge { at: 16, count: 2, each_min: 13, have: 25, .. }, says "metadata count";
        "tensors that fit only before the metadata":
            file(2, 1).key("k", STRING).text([b'x'; 99]).filler(47).done() =>
            CountTooLarge { at: 8, count: 2, each_min: 24, have: 47, .. }, says "tensor count";
        "counts in the other byte order": big_file(0, 1 << 56).filler(64).done() =>
            CountTooLarge { count: 0x0100_0000_0000_0000, .. }, says "metadata count";
    });
}

#[test]
fn metadata_keys_and_scalars() {
    check(rows! {
        "endless key": file(0, 1).u64(u64::MAX).filler(64).done() =>
            NameTooLong { at: 24, len: u64::MAX, max: 65535, .. }, says "metadata key";
        "key of 65536 bytes": file(0, 1).key(&"k".repeat(65536), U8).bytes(&[1]).done() =>
            NameTooLong { at: 24, len: 65536, .. }, says "at most 65535";
        "key beyond the end": file(0, 1).u64(60).filler(20).done() =>
            Truncated { at: 32, need: 60, have: 20, .. }, says "metadata key";
        "key that is not UTF-8": file(0, 1).text(b"ab\xffcdefgh").filler(20).done() =>
            NotUtf8 { at: 34, byte: 0xff, .. }, says "metadata key";
        "no type": file(0, 1).text("general.name").done() =>
            Truncated { at: 44, need: 4, have: 0, .. }, says "type of metadata key \"general.name";
        "type 13": file(0, 1).key("general.name", 13).filler(8).done() =>
            UnknownValueType { at: 44, id: 13, .. }, says "general.name";
        "type of all ones": file(0, 1).key("general.name", u32::MAX).filler(8).done() =>
            UnknownValueType { id: u32::MAX, .. }, says "0 to 12";
        "half a number": file(0, 1).key("count", U64).bytes(&[1, 2, 3, 4]).done() =>
            Truncated { at: 41, need: 8, have: 4, .. }, says "value of metadata key \"count\"";
        "string beyond the end": file(0, 1).key("name", STRING).u64(9).bytes(b"12345678").done() =>
            Truncated { at: 48, need: 9, have: 8, .. }, says "value of metadata key \"name\"";
        "endless string": file(0, 1).key("name", STRING).u64(u64::MAX).filler(8).done() =>
            Truncated { need: u64::MAX, .. }, says "18446744073709551615";
        "string that is not UTF-8": file(0, 1).key("name", STRING).text(b"abc\xc3\x28").done() =>
            NotUtf8 { at: 51, byte: 0xc3, .. }, says "0xc3";
        "string of a surrogate": file(0, 1).key("name", STRING).text(b"\xed\xa0\x80").done() =>
            NotUtf8 { at: 48, byte: 0xed, .. }, says "value of metadata key \"name\"";
        "bool of 2": file(0, 1).key("flag", BOOL).bytes(&[2]).done() =>
            BadBool { at: 40, found: 2, .. }, says "value of metadata key \"flag\"";
        "key twice": file(0, 2).key("a", U8).bytes(&[1]).key("a", BOOL).bytes(&[1]).done() =>
            DuplicateKey { first_at: 24, at: 38, .. }, says "\"a\"";
        "a key with a terminal escape": file(0, 1).key("\x1b[31m", 99).filler(9).done() =>
            UnknownValueType { .. }, says "\\u{1b}[31m";
    });
}

/// Levels that would take the stack of whoever follows them; Miri needs minutes to write so many.
const VERY_DEEP: u32 = if cfg!(miri) { 100 } else { 1_000_000 };

#[test]
fn metadata_arrays() {
    let nested = |depth| (0..depth).fold(file(0, 1).key("deep", ARRAY), |r, _| r.array(ARRAY, 1));
    check(rows! {
        "no element type": file(0, 1).key("list", ARRAY).bytes(&[4]).done() =>
            Truncated { at: 40, need: 4, have: 1, .. }, says "value of metadata key \"list\"";
        "element type 99": file(0, 1).key("list", ARRAY).array(99, 0).done() =>
            UnknownValueType { at: 40, id: 99, .. }, says "list";
        "no length": file(0, 1).key("list", ARRAY).u32(U8).done() =>
            Truncated { at: 44, need: 8, have: 0, .. }, says "list";
        "endless bytes": file(0, 1).key("list", ARRAY).array(U8, u64::MAX).filler(9).done() =>
            CountTooLarge { at: 44, count: u64::MAX, each_min: 1, have: 9, .. }, says "list";
        "a length whose bytes overflow":
            file(0, 1).key("list", ARRAY).array(U64, 1 << 61).filler(9).done() =>
            CountTooLarge { count: 0x2000_0000_0000_0000, each_min: 8, .. }, says "list";
        "numbers, one byte short": file(0, 1).key("list", ARRAY).array(U32, 2).filler(7).done() =>
            CountTooLarge { count: 2, each_min: 4, have: 7, .. }, says "list";
        "more strings than fit": file(0, 1).key("list", ARRAY).array(STRING, 3).filler(23).done() =>
            CountTooLarge { count: 3, each_min: 8, have: 23, .. }, says "list";
        "second string beyond the end":
            file(0, 1).key("list", ARRAY).array(STRING, 2).text("a").u64(5).bytes(b"1234").done() =>
            Truncated { at: 69, need: 5, have: 4, .. }, says "list";
        "string in a list that is not UTF-8":
            file(0, 1).key("list", ARRAY).array(STRING, 2).text("a").text(b"b\xfe").done() =>
            NotUtf8 { at: 70, byte: 0xfe, .. }, says "list";
        "bool in a list": file(0, 1).key("list", ARRAY).array(BOOL, 3).bytes(&[0, 1, 255]).done() =>
            BadBool { at: 54, found: 255, .. }, says "list";
        "arrays nine deep": nested(8).array(U8, 0).done() =>
            NestedTooDeep { max: 8, .. }, says "deep";
        "arrays very deep": nested(VERY_DEEP).done() =>
            NestedTooDeep { max: 8, at: 136, .. }, says "deep";
        "more arrays than fit": file(0, 1).key("list", ARRAY).array(ARRAY, 2).filler(23).done() =>
            CountTooLarge { count: 2, each_min: 12, have: 23, .. }, says "list";
        "inner array longer than the file":
            file(0, 1).key("list", ARRAY).array(ARRAY, 1).array(U32, 9).filler(35).done() =>
            CountTooLarge { count: 9, each_min: 4, have: 35, .. }, says "list";
    });
    // The length of the second string completes the character that the first one breaks off.
    let across = file(0, 1).key("list", ARRAY).array(STRING, 2).text(b"a\xc3").text([b'x'; 0x80]);
    // The last byte of a big-endian length does the same with the start of its own string.
    let big = big_file(0, 1)
        .bytes(b"\0\0\0\0\0\0\0\x04list\0\0\0\x09\0\0\0\x08\0\0\0\0\0\0\0\x01")
        .bytes(b"\0\0\0\0\0\0\0\xc3\x80")
        .bytes(&[b'x'; 0xc2]);
    check(rows! {
        "character across two strings": across.done() => NotUtf8 { at: 61, byte: 0xc3, .. },
            says "list";
        "character across length and string": big.done() => NotUtf8 { at: 60, byte: 0x80, .. },
            says "list";
    });
    assert!(Gguf::parse(&nested(7).array(U8, 0).done()).is_ok(), "eight deep is allowed");
}

#[test]
fn alignments() {
    let aligned = |value_type| file(0, 1).key("general.alignment", value_type);
    check(rows! {
        "alignment 0": aligned(U32).u32(0).done() => BadAlignment { found: 0 }, says "alignment";
        "alignment 13": aligned(U32).u32(13).done() => BadAlignment { found: 13 }, says "13";
        "alignment of all ones": aligned(U32).u32(u32::MAX).done() => BadAlignment { .. },
            says "4294967295";
        "alignment as u64": aligned(U64).u64(32).done() => WrongType { .. }, says "u64 32";
        "alignment as text": aligned(STRING).text("32").done() => WrongType { .. },
            says "string \"32\"";
        "alignment beyond the file":
            file(1, 1).key("general.alignment", U32).u32(1 << 31).tensor("t", &[1], F32, 0)
            .data(4).done() => TensorOutOfRange { data_at: 0x8000_0000, have: 0, .. }, says "\"t\"";
    });
    for valid in [1, 4, 8, 24, 32, 4096] {
        assert!(Gguf::parse(&aligned(U32).u32(valid).done()).is_ok(), "alignment {valid}");
    }
}

#[test]
fn tensor_descriptions() {
    let name65 = "n".repeat(65);
    check(rows! {
        "name of 65 bytes": one_tensor(&name65, &[1], F32, 0).data(4).done() =>
            NameTooLong { at: 24, len: 65, max: 64, .. }, says "tensor name";
        "name beyond the end": file(1, 0).u64(60).filler(30).done() =>
            Truncated { at: 32, need: 60, have: 30, .. }, says "tensor name";
        "name that is not UTF-8": file(1, 0).text(b"\x80").filler(40).done() =>
            NotUtf8 { at: 32, byte: 0x80, .. }, says "tensor name";
        "five dimensions": one_tensor("t", &[1, 1, 1, 1, 1], F32, 0).data(4).done() =>
            TooManyDimensions { found: 5, max: 4, at: 33, .. }, says "\"t\"";
        "endless dimensions": file(1, 0).text("t").u32(u32::MAX).filler(40).done() =>
            TooManyDimensions { found: u32::MAX, .. }, says "4294967295";
        "half a dimension": file(1, 0).text("tensor").u32(2).u64(1).bytes(&[1, 0, 0]).done() =>
            Truncated { at: 50, need: 8, have: 3, .. }, says "dimension of tensor \"tensor\"";
        "dimension of 0": one_tensor("t", &[32, 0], F32, 0).data(4).done() =>
            ZeroDimension { at: 45, index: 1, .. }, says "dimension 1";
        "elements overflow": one_tensor("t", &[1 << 32, 1 << 32], F32, 0).data(4).done() =>
            ShapeOverflow { at: 33, .. }, says "4294967296 x 4294967296";
        "dimensions that wrap to one": one_tensor("t", &[3, 0xAAAA_AAAA_AAAA_AAAB], F32, 0)
            .data(4).done() => ShapeOverflow { .. }, says "overflows";
        "bytes overflow": one_tensor("t", &[1 << 62], F32, 0).data(4).done() =>
            ShapeOverflow { at: 33, .. }, says "overflows";
        "type not in the table": one_tensor("t", &[1], 43, 0).data(4).done() =>
            UnknownTensorType { at: 45, id: 43, .. }, says "type 43";
        "type of all ones": one_tensor("t", &[1], u32::MAX, 0).data(4).done() =>
            UnknownTensorType { id: u32::MAX, .. }, says "\"t\"";
        "type removed before GGUF": one_tensor("t", &[32], 4, 0).data(99).done() =>
            RemovedTensorType { id: 4, name: "Q4_2", .. }, says "convert";
        "type removed later": one_tensor("t", &[32], 33, 0).data(99).done() =>
            RemovedTensorType { id: 33, .. }, says "Q4_0_8_8";
        "rows of half a block": one_tensor("t", &[48, 2], Q8_0, 0).data(102).done() =>
            PartialBlock { at: 33, row: 48, block: 32, tensor_type: "Q8_0", .. }, says "multiple";
        "scalar of a block type": one_tensor("t", &[], Q4_K, 0).data(144).done() =>
            PartialBlock { row: 1, block: 256, .. }, says "Q4_K";
        "no offset": file(1, 0).text("tensor").u32(0).u32(F32).bytes(&[0; 6]).done() =>
            Truncated { at: 46, need: 8, have: 6, .. }, says "offset of tensor \"tensor\"";
        "second description missing": file(2, 0).tensor("a tensor", &[1; 4], F32, 0).done() =>
            Truncated { at: 88, .. }, says "tensor name";
    });
}

#[test]
fn tensor_data() {
    let two = |second: &str, offset| {
        file(2, 0).tensor("a", &[16], F32, 0).tensor(second, &[1], F32, offset)
    };
    check(rows! {
        "unaligned offset": one_tensor("t", &[1], F32, 4).data(8).done() =>
            UnalignedTensor { at: 49, offset: 4, alignment: 32, .. }, says "multiple";
        "offset behind the end": one_tensor("t", &[1], F32, 64).data(64).done() =>
            TensorOutOfRange { at: 49, offset: 64, size: 4, data_at: 64, have: 64, .. },
            says "\"t\"";
        "offset whose end overflows": one_tensor("t", &[64], F32, u64::MAX - 31).data(64).done() =>
            TensorOutOfRange { size: 256, .. }, says "cut short";
        "data one byte short": one_tensor("t", &[2], F32, 0).data(7).done() =>
            TensorOutOfRange { offset: 0, size: 8, have: 7, .. }, says "cut short";
        "two tensors cut within the first": two("b", 64).data(20).done() =>
            TensorOutOfRange { data_at: 96, have: 20, file: 116, need: 164, .. },
            says "the file has 116 bytes and its tensors need 164: it is cut short";
        "no data section": one_tensor("t", &[1], F32, 0).done() =>
            TensorOutOfRange { data_at: 64, have: 0, .. }, says "byte 64";
        "size far beyond the file": one_tensor("t", &[1 << 40], F32, 0).data(64).done() =>
            TensorOutOfRange { size: 0x400_0000_0000, .. }, says "4398046511104";
        "overlap": two("b", 32).data(64).done() =>
            OverlappingTensors { offset: 32, other_end: 64, .. }, says "\"b\"";
        "the same bytes": two("b", 0).data(64).done() =>
            OverlappingTensors { offset: 0, .. }, says "overlaps";
        "overlap, later one first":
            file(2, 0).tensor("z", &[1], F32, 32).tensor("a", &[9], F32, 0).data(64).done() =>
            OverlappingTensors { offset: 32, other_end: 36, .. }, says "tensor \"z\" at offset 32";
        "name twice": two("a", 64).data(68).done() =>
            DuplicateTensor { at: 57, .. }, says "\"a\"";
    });
    assert!(Gguf::parse(&two("b", 64).data(68).done()).is_ok(), "side by side is allowed");
}

#[test]
fn parts_of_split_files() {
    check(rows! {
        "first of three": file(0, 1).key("split.count", U32).u32(3).done() =>
            WrongPartCount { found: 3, wanted: 1 }, says "split.count";
        "second of one": file(0, 1).key("split.no", U32).u32(1).done() =>
            WrongPart { found: 1, wanted: 0 }, says "split.no";
        "count as text": file(0, 1).key("split.count", STRING).text("3").done() =>
            WrongType { .. }, says "split.count";
    });
}
