//! Files made by the `gguf` Python package, in both byte orders: see `data/make_python_files.py`.

use carat_gguf::{Endian, Gguf, TensorType, Value, ValueType};

const LITTLE: &[u8] = include_bytes!("data/python-little.gguf");
const BIG: &[u8] = include_bytes!("data/python-big.gguf");

fn for_each_file(check: impl Fn(&Gguf<'_>)) {
    for (bytes, endian) in [(LITTLE, Endian::Little), (BIG, Endian::Big)] {
        let gguf = Gguf::parse(bytes).expect("the file is valid");
        assert_eq!((gguf.endian(), gguf.version(), gguf.alignment()), (endian, 3, 64));
        check(&gguf);
    }
}

#[test]
fn single_values() {
    for_each_file(|gguf| {
        let found: Vec<_> =
            gguf.metadata().iter().filter(|(key, _)| key.starts_with("value.")).collect();
        let wanted = [
            ("value.u8", Value::U8(200)),
            ("value.i8", Value::I8(-100)),
            ("value.u16", Value::U16(60_000)),
            ("value.i16", Value::I16(-30_000)),
            ("value.u32", Value::U32(4_000_000_000)),
            ("value.i32", Value::I32(-2_000_000_000)),
            ("value.f32", Value::F32(0.1)),
            ("value.yes", Value::Bool(true)),
            ("value.no", Value::Bool(false)),
            ("value.text", Value::String("zażółć gęślą jaźń 💎")),
            ("value.no_text", Value::String("")),
            ("value.u64", Value::U64((1 << 63) + 1)),
            ("value.i64", Value::I64(-(1 << 62))),
            ("value.f64", Value::F64(0.1)),
        ];
        // The package leaves out texts that are empty.
        let wanted: Vec<_> = wanted.iter().filter(|(key, _)| *key != "value.no_text").collect();
        assert_eq!(found.len(), wanted.len());
        for ((key, value), (wanted_key, wanted)) in found.into_iter().zip(wanted) {
            assert_eq!((key, value), (*wanted_key, wanted));
        }
    });
}

#[test]
fn arrays() {
    for_each_file(|gguf| {
        let m = gguf.metadata();
        let ints: Vec<i64> = m.ints("list.i32").expect("an array of integers").collect();
        assert_eq!(ints, [-1, 0, i32::MAX.into()]);
        assert!(m.uints("list.i32").is_err(), "-1 is negative");
        let floats: Vec<f64> = m.floats("list.f32").expect("an array of floats").collect();
        assert_eq!(floats, [0.5, -0.25, f64::from(1e30f32)]);
        let bools: Vec<bool> = m.bools("list.bool").expect("an array of bools").collect();
        assert_eq!(bools, [true, false, true]);
        let texts: Vec<&str> = m.strings("list.text").expect("an array of strings").collect();
        assert_eq!(texts, ["▁the", "", "<0x0A>"]);
        let bytes = m.array("list.bytes").expect("an array");
        assert_eq!((bytes.element_type(), bytes.bytes()), (ValueType::U8, &[0, 127, 255][..]));
        let nested = m.array("list.nested").expect("an array").arrays().expect("arrays");
        let nested: Vec<Vec<i64>> =
            nested.map(|inner| inner.ints().expect("integers").collect()).collect();
        assert_eq!(nested, [vec![1, 2, 3], vec![4]]);
    });
}

#[test]
fn tensors() {
    for_each_file(|gguf| {
        let found: Vec<_> =
            gguf.tensors().iter().map(|t| (t.name, t.tensor_type, t.shape.to_vec())).collect();
        let wanted = [
            ("f32", TensorType::F32, vec![64, 3]),
            ("f16", TensorType::F16, vec![64, 3]),
            ("i32.3d", TensorType::I32, vec![2, 2, 2]),
            ("f64.one", TensorType::F64, vec![1]),
            ("q8_0", TensorType::Q8_0, vec![64, 3]),
            ("q4_0", TensorType::Q4_0, vec![64, 3]),
        ];
        assert_eq!(found, wanted);
    });
}

#[test]
fn tensor_data() {
    for_each_file(|gguf| {
        let data = |name: &str| gguf.tensor(name).expect("the tensor is there").data;
        let little = gguf.endian() == Endian::Little;
        let f32s: Vec<f32> = data("f32")
            .as_chunks()
            .0
            .iter()
            .map(|b| if little { f32::from_le_bytes(*b) } else { f32::from_be_bytes(*b) })
            .collect();
        let counting: Vec<f32> = (0..192u8).map(f32::from).collect();
        assert_eq!(f32s, counting);
        let i32s: Vec<i32> = data("i32.3d")
            .as_chunks()
            .0
            .iter()
            .map(|b| if little { i32::from_le_bytes(*b) } else { i32::from_be_bytes(*b) })
            .collect();
        assert_eq!(i32s, [-4, -3, -2, -1, 0, 1, 2, 3]);
        assert_eq!(data("f16").len(), 384);
        assert_eq!(data("q4_0").len(), 6 * 18);
        // The first block counts from 0 to 31, so its scale is 31 / 127: q[0] = 0, q[31] = 127.
        let block = &data("q8_0")[..34];
        assert_eq!((block[2], block[33]), (0, 127));
        assert_eq!(data("q8_0").len(), 6 * 34);
    });
    let (little, big) = (Gguf::parse(LITTLE), Gguf::parse(BIG));
    let (little, big) = (little.expect("the file is valid"), big.expect("the file is valid"));
    assert_ne!(little.tensor("f16").map(|t| t.data), big.tensor("f16").map(|t| t.data));
}
