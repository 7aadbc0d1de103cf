//! The reader of model files: any bytes are an error or a model that survives being written.
//!
//! What parses is written by our own writer in both byte orders and parsed again; the three must
//! have the same metadata and the same tensors.

use carat_gguf::{
    Array, Endian, Gguf, OwnedArray, OwnedValue, TensorType, Value, ValueType, Writer,
};

use crate::said;

/// Parses `data`; what parses must be written and parsed back equal.
pub fn gguf(data: &[u8]) -> bool {
    let first = match Gguf::parse(data) {
        Ok(first) => first,
        Err(error) => return said::refused(&error),
    };
    assert!(first.tensors().iter().all(|t| first.tensor(t.name) == Some(t)));

    let same_order = Writer::copy_of(&first).to_bytes().expect("what parses can be written");
    let second = Gguf::parse(&same_order).expect("what was written parses");
    assert_same(&first, &second);
    let again = Writer::copy_of(&second).to_bytes().expect("what parses can be written");
    assert!(again == same_order, "writing is not a function of what was parsed");

    let endian = match first.endian() {
        Endian::Little => Endian::Big,
        Endian::Big => Endian::Little,
    };
    let other_order = in_order(endian, &first).to_bytes().expect("what parses can be written");
    let third = Gguf::parse(&other_order).expect("what was written parses");
    assert_eq!(third.endian(), endian);
    assert_same(&first, &third);
    true
}

/// Small files of every kind of value, both byte orders and versions, and some that are broken.
pub fn gguf_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for endian in [Endian::Little, Endian::Big] {
        seeds.push(written(&Writer::new(endian, 2)));
        seeds.push(written(&every_value(endian)));
        seeds.push(written(&every_tensor_type(endian)));
        let aligned = Writer::new(endian, 3)
            .metadata("general.alignment", 8u32)
            .metadata("split.no", 0u16)
            .metadata("split.count", 1u16)
            .tensor("a", TensorType::F16, &[3, 2], vec![1; 12])
            .tensor("b", TensorType::I64, &[1, 1, 1, 1], vec![2; 8]);
        seeds.push(written(&aligned));
    }
    let whole = written(&every_value(Endian::Little));
    seeds.push(whole[..whole.len() / 2].to_vec());
    seeds.push(b"GGUF\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec());
    seeds
}

fn every_value(endian: Endian) -> Writer<'static> {
    let nested = OwnedArray::Array(vec![
        vec![1u8, 2].into(),
        vec!["a", "ä"].into(),
        OwnedArray::Array(vec![vec![f64::MIN].into()]),
    ]);
    Writer::new(endian, 3)
        .metadata("u8", u8::MAX)
        .metadata("i8", i8::MIN)
        .metadata("u16", u16::MAX)
        .metadata("i16", i16::MIN)
        .metadata("u32", u32::MAX)
        .metadata("i32", i32::MIN)
        .metadata("f32", f32::MIN_POSITIVE)
        .metadata("bool", true)
        .metadata("string", "<|turn>\u{2581}\u{1F48E}")
        .metadata("u64", u64::MAX)
        .metadata("i64", i64::MIN)
        .metadata("f64", f64::NEG_INFINITY)
        .metadata("numbers", vec![0u64, 1, u64::MAX])
        .metadata("signed", vec![-1i32, 1])
        .metadata("floats", vec![f32::NAN, -0.0])
        .metadata("bools", vec![true, false])
        .metadata("strings", vec!["", "\u{2581}the", "<0x0A>"])
        .metadata("nested", nested)
        .metadata("empty", Vec::<u32>::new())
}

fn every_tensor_type(endian: Endian) -> Writer<'static> {
    TensorType::ALL.iter().fold(Writer::new(endian, 3), |writer, t| {
        let data = vec![t.id() as u8; t.block_bytes() as usize];
        writer.tensor(t.name(), *t, &[t.block_weights(), 1], data)
    })
}

fn written(writer: &Writer<'_>) -> Vec<u8> {
    writer.to_bytes().expect("the seeds are valid")
}

fn in_order<'a>(endian: Endian, gguf: &Gguf<'a>) -> Writer<'a> {
    let mut writer = Writer::new(endian, gguf.version());
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, OwnedValue::from(*value));
    }
    for t in gguf.tensors() {
        writer = writer.tensor(t.name, t.tensor_type, &t.shape, t.data);
    }
    writer
}

fn assert_same(a: &Gguf<'_>, b: &Gguf<'_>) {
    assert_eq!((a.version(), a.alignment()), (b.version(), b.alignment()));
    assert_eq!(a.metadata().len(), b.metadata().len());
    for ((key, value), (other_key, other)) in a.metadata().iter().zip(b.metadata().iter()) {
        assert_eq!(key, other_key);
        assert!(same_value(value, other), "{key:?}: {value} became {other}");
        assert!(same_value(b.metadata().get(key).expect("every key is found"), other));
    }
    assert_eq!(a.tensors().len(), b.tensors().len());
    for (t, other) in a.tensors().iter().zip(b.tensors()) {
        assert_eq!((t.name, t.tensor_type, t.shape), (other.name, other.tensor_type, other.shape));
        assert!(t.data == other.data, "the data of tensor {:?} changed", t.name);
    }
}

/// Equal to the bit, so that NaN equals itself.
fn same_value(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
        (Value::Array(a), Value::Array(b)) => same_array(*a, *b),
        _ => a == b,
    }
}

fn same_array(a: Array<'_>, b: Array<'_>) -> bool {
    fn same<T>(
        a: Option<impl ExactSizeIterator<Item = T>>,
        b: Option<impl ExactSizeIterator<Item = T>>,
        eq: impl Fn(T, T) -> bool,
    ) -> bool {
        let (Some(a), Some(b)) = (a, b) else { return false };
        a.len() == b.len() && a.zip(b).all(|(a, b)| eq(a, b))
    }
    if (a.element_type(), a.len()) != (b.element_type(), b.len()) {
        return false;
    }
    match a.element_type() {
        ValueType::String => same(a.strings(), b.strings(), |a, b| a == b),
        ValueType::Bool => same(a.bools(), b.bools(), |a, b| a == b),
        ValueType::Array => same(a.arrays(), b.arrays(), same_array),
        // Widening a NaN may change its bits: quiet is enough.
        ValueType::F32 | ValueType::F64 => same(a.floats(), b.floats(), |a, b| {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }),
        ValueType::U64 => same(a.uints(), b.uints(), |a, b| a == b),
        _ => same(a.ints(), b.ints(), |a, b| a == b),
    }
}
