//! Write, parse, write: the identity; and what truncation and damage do to a valid file.

use carat_gguf::{
    Endian, Error, Gguf, OwnedArray, OwnedValue, TensorType, Value, WriteError, Writer,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        any::<u8>().prop_map_into(),
        any::<i8>().prop_map_into(),
        any::<u16>().prop_map_into(),
        any::<i16>().prop_map_into(),
        any::<u32>().prop_map_into(),
        any::<i32>().prop_map_into(),
        any::<f32>().prop_map_into(),
        any::<bool>().prop_map_into(),
        any::<String>().prop_map_into(),
        any::<u64>().prop_map_into(),
        any::<i64>().prop_map_into(),
        any::<f64>().prop_map_into(),
    ]
}

fn array() -> impl Strategy<Value = OwnedArray> {
    let flat = prop_oneof![
        vec(any::<u8>(), 0..9).prop_map_into(),
        vec(any::<i8>(), 0..9).prop_map_into(),
        vec(any::<u16>(), 0..9).prop_map_into(),
        vec(any::<i16>(), 0..9).prop_map_into(),
        vec(any::<u32>(), 0..9).prop_map_into(),
        vec(any::<i32>(), 0..9).prop_map_into(),
        vec(any::<f32>(), 0..9).prop_map_into(),
        vec(any::<bool>(), 0..9).prop_map_into(),
        vec(any::<String>(), 0..9).prop_map_into(),
        vec(any::<u64>(), 0..9).prop_map_into(),
        vec(any::<i64>(), 0..9).prop_map_into(),
        vec(any::<f64>(), 0..9).prop_map_into(),
    ];
    flat.prop_recursive(5, 24, 3, |inner| vec(inner, 0..4).prop_map(OwnedArray::Array))
}

fn value() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![scalar(), array().prop_map_into()]
}

fn endian() -> impl Strategy<Value = Endian> {
    prop_oneof![Just(Endian::Little), Just(Endian::Big)]
}

proptest! {
    #[test]
    fn metadata_comes_back(
        endian in endian(),
        version in 2..=3u32,
        entries in proptest::collection::btree_map(any::<String>(), value(), 0..8),
    ) {
        prop_assume!(!entries.keys().any(|key| key.starts_with("split.")));
        let writer = entries.iter().fold(Writer::new(endian, version), |w, (key, value)| {
            w.metadata(key.as_str(), value.clone())
        });
        let bytes = writer.to_bytes()?;
        let gguf = Gguf::parse(&bytes)?;
        prop_assert_eq!((gguf.endian(), gguf.version()), (endian, version));
        let found = gguf.metadata().iter().map(|(key, value)| (key.to_owned(), (*value).into()));
        prop_assert_eq!(found.collect::<Vec<(String, OwnedValue)>>(), Vec::from_iter(entries));
        prop_assert_eq!(Writer::copy_of(&gguf).to_bytes()?, bytes);
    }

    #[test]
    fn tensors_come_back(
        endian in endian(),
        alignment in prop_oneof![Just(1u32), Just(8), Just(24), Just(32), Just(4096)],
        tensors in vec((0..TensorType::ALL.len(), 1..3u64, vec(1..4u64, 0..4)), 0..6),
    ) {
        let mut writer = Writer::new(endian, 3).metadata("general.alignment", alignment);
        let mut wanted = Vec::new();
        for (i, (kind, blocks, dims)) in tensors.into_iter().enumerate() {
            let kind = TensorType::ALL[kind];
            let shape = [vec![blocks * kind.block_weights()], dims].concat();
            let bytes = blocks * shape[1..].iter().product::<u64>() * kind.block_bytes();
            let data: Vec<u8> = (0..bytes).map(|b| (b + i as u64) as u8).collect();
            writer = writer.tensor(format!("t{i}"), kind, &shape, data.clone());
            wanted.push((format!("t{i}"), kind, shape, data));
        }
        let bytes = writer.to_bytes()?;
        let gguf = Gguf::parse(&bytes)?;
        prop_assert_eq!(gguf.alignment(), u64::from(alignment));
        prop_assert_eq!(gguf.tensors().len(), wanted.len());
        for (t, (name, kind, shape, data)) in gguf.tensors().iter().zip(&wanted) {
            prop_assert_eq!((t.name, t.tensor_type), (name.as_str(), *kind));
            prop_assert_eq!((&t.shape[..], t.data), (&shape[..], &data[..]));
            prop_assert_eq!(gguf.tensor(name), Some(t));
            let start = t.data.as_ptr() as usize - bytes.as_ptr() as usize;
            prop_assert!(start.is_multiple_of(alignment as usize), "{} at {start}", t.name);
        }
        prop_assert_eq!(Writer::copy_of(&gguf).to_bytes()?, bytes);
    }

    #[test]
    fn any_bytes_behind_a_header_are_survived(
        endian in endian(),
        counts in (0..4u8, 0..4u8),
        body in vec(prop_oneof![3 => Just(0u8), 2 => 0..16u8, 1 => any::<u8>()], 0..400),
    ) {
        let mut bytes = Writer::new(endian, 3).to_bytes()?;
        let lowest = if endian == Endian::Little { 0 } else { 7 };
        (bytes[8 + lowest], bytes[16 + lowest]) = counts;
        bytes.extend(body);
        if let Ok(gguf) = Gguf::parse(&bytes) {
            Writer::copy_of(&gguf).to_bytes()?;
        }
    }
}

#[test]
fn repeated_blocks_fill_a_tensor_and_no_more() {
    let blocks: Vec<u8> = (0..2 * 18).collect(); // two blocks of Q4_0
    let whole: Vec<u8> = blocks.iter().copied().cycle().take(5 * 18).collect();
    let of = |writer: Writer<'_>| {
        let after = writer.tensor("after", TensorType::F32, &[1], vec![1, 2, 3, 4]);
        after.to_bytes().expect("the file is valid")
    };
    let dims = [32, 5];
    let repeated = Writer::new(Endian::Little, 3).repeated("t", TensorType::Q4_0, &dims, &blocks);
    let given = Writer::new(Endian::Little, 3).tensor("t", TensorType::Q4_0, &dims, whole);
    assert_eq!(of(repeated), of(given));
    for (dims, blocks) in [(&[32, 5][..], &[][..]), (&[31], &blocks)] {
        let writer = Writer::new(Endian::Little, 3).repeated("t", TensorType::Q4_0, dims, blocks);
        assert!(writer.to_bytes().is_err(), "{dims:?}");
    }
}

/// Above 127 bytes a length is not ASCII any more, which the reader treats differently.
#[test]
fn long_strings_in_arrays() {
    for endian in [Endian::Little, Endian::Big] {
        for bytes in [126, 127, 128, 129, 195, 255, 256, 70_000] {
            let wanted = ["ä", &"y".repeat(bytes), "", &"€".repeat(bytes / 3)];
            let file = Writer::new(endian, 3).metadata("list", wanted.to_vec()).to_bytes();
            let file = file.expect("the file is valid");
            let gguf = Gguf::parse(&file).expect("the file is valid");
            let found = gguf.metadata().strings("list").expect("an array of strings");
            assert_eq!(found.len(), 4);
            assert!(found.eq(wanted), "{endian} {bytes}");
        }
    }
}

/// A little of everything, ending with data that fills its padding exactly.
fn small_file(endian: Endian) -> Vec<u8> {
    Writer::new(endian, 3)
        .metadata("text", "ä")
        .metadata("flag", true)
        .metadata("list", vec!["a", "", "b"])
        .metadata("nested", vec![OwnedArray::from(vec![1u16, 2]), vec![true].into()])
        .tensor("scalar", TensorType::F32, &[], vec![1; 4])
        .tensor("q4_0", TensorType::Q4_0, &[32, 16], vec![2; 288])
        .to_bytes()
        .expect("the file is valid")
}

#[test]
fn every_truncation_is_an_error() {
    for endian in [Endian::Little, Endian::Big] {
        let whole = small_file(endian);
        let gguf = Gguf::parse(&whole).expect("the file is valid");
        assert_eq!(gguf.tensor("scalar").map(|t| t.shape.to_vec()), Some(vec![1]));
        for len in 0..whole.len() {
            let error = Gguf::parse(&whole[..len]).expect_err("the last byte belongs to a tensor");
            let says_so = matches!(
                error,
                Error::Truncated { .. }
                    | Error::CountTooLarge { .. }
                    | Error::TensorOutOfRange { .. }
            );
            assert!(says_so, "{len} bytes: {error:?}");
        }
    }
}

#[test]
fn every_damaged_byte_is_survived() {
    for endian in [Endian::Little, Endian::Big] {
        let whole = small_file(endian);
        for i in 0..whole.len() {
            for damage in [0x01, 0x80, 0xFF, whole[i]] {
                let mut bytes = whole.clone();
                bytes[i] ^= damage;
                if let Ok(gguf) = Gguf::parse(&bytes) {
                    Writer::copy_of(&gguf).to_bytes().expect("what parses can be written");
                }
            }
        }
    }
}

#[test]
fn typed_getters_say_what_is_wrong() {
    let bytes = Writer::new(Endian::Little, 3)
        .metadata("minus", -5i32)
        .metadata("name", "x".repeat(100))
        .metadata("layers", vec![4i32, 0])
        .metadata("big", u64::MAX)
        .to_bytes()
        .expect("the file is valid");
    let gguf = Gguf::parse(&bytes).expect("the file is valid");
    let m = gguf.metadata();
    let says = |e: Error| e.to_string();
    assert_eq!(
        m.uint("minus").map_err(says),
        Err(r#"metadata key "minus" is i32 -5, wanted a non-negative integer"#.to_owned())
    );
    assert_eq!((m.int("minus").ok(), m.uint("big").ok()), (Some(-5), Some(u64::MAX)));
    assert!(m.int("big").is_err());
    assert!(m.float("minus").is_err(), "integers are not floats");
    assert!(
        m.uint("name")
            .map_err(says)
            .expect_err("a string")
            .ends_with("…, wanted a non-negative integer")
    );
    assert_eq!(m.uints("layers").map_err(says).map(Vec::from_iter), Ok(vec![4, 0]));
    assert_eq!(
        m.strings("layers").map(drop).map_err(says),
        Err(r#"metadata key "layers" is array of 2 i32s, wanted an array of strings"#.to_owned())
    );
    assert_eq!(m.opt_uint("nothing").map_err(says), Ok(None));
    assert!(m.opt_uint("name").is_err());
    assert!(matches!(m.uint("nothing"), Err(Error::MissingKey { key }) if key == "nothing"));
    assert_eq!(m.get("big"), Some(&Value::U64(u64::MAX)));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let writer = || Writer::new(Endian::Little, 3);
    let deep = (0..8).fold(OwnedArray::U8(vec![1]), |inner, _| OwnedArray::Array(vec![inner]));
    let cases = [
        (Writer::new(Endian::Little, 1), "version 1"),
        (writer().metadata("k".repeat(65536), 1u8), "65535"),
        (writer().metadata("k", 1u8).metadata("k", 2u8), "`k` is used twice"),
        (writer().metadata("general.alignment", 13u32), "13"),
        (writer().metadata("general.alignment", 32u64), "U64(32)"),
        (writer().metadata("deep", deep), "deep"),
        (writer().tensor("t".repeat(65), TensorType::I8, &[1], vec![0]), "64"),
        (writer().tensor("t", TensorType::Q8_0, &[33], vec![0; 34]), "Q8_0"),
        (writer().tensor("t", TensorType::I8, &[1, 0], vec![]), "[1, 0]"),
        (writer().tensor("t", TensorType::I8, &[1; 5], vec![0]), "[1, 1, 1, 1, 1]"),
        (writer().tensor("t", TensorType::I8, &[2], vec![0]), "1 bytes of data, wanted 2"),
    ];
    for (writer, says) in cases {
        let error: WriteError = writer.to_bytes().expect_err(says);
        assert!(error.to_string().contains(says), "{error} does not say {says}");
    }
}
