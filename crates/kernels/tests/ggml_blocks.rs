//! Blocks and floats as ggml has them, bit for bit: `data/make_ggml_blocks.py` makes the files with
//! the `gguf` Python package.

use std::fmt::{Debug, LowerHex};
use std::path::Path;

use carat_kernels::{Format, dequantize, quantize};

#[test]
fn dequantize_gives_the_floats_of_ggml() {
    for format in Format::ALL {
        let file = read("dequantize", format);
        let (blocks, floats) = file.split_at(file.len() - float_bytes(format, &file));
        let floats = to_floats(floats);
        let mut out = vec![f32::NAN; floats.len()];
        dequantize(format, blocks, &mut out);
        assert_same(format, "weight", &bits(&out), &bits(&floats));
    }
}

/// A row may start anywhere in a file: nothing depends on the address of the bytes.
#[test]
fn dequantize_takes_any_address_and_any_number_of_blocks() {
    for format in Format::ALL {
        let file = read("dequantize", format);
        let floats = to_floats(&file[file.len() - float_bytes(format, &file)..]);
        for (shift, count) in [(0, 0), (1, 1), (2, 2), (3, 3)] {
            let bytes = count * format.block_bytes();
            let shifted = [vec![0xAA; shift], file[..bytes].to_vec()].concat();
            let mut out = vec![f32::NAN; count * format.block_weights()];
            dequantize(format, &shifted[shift..], &mut out);
            assert_same(format, "weight", &bits(&out), &bits(&floats[..out.len()]));
        }
    }
}

#[test]
fn quantize_gives_the_bytes_of_ggml() {
    for format in [Format::F16, Format::BF16, Format::Q4_0, Format::Q8_0] {
        let file = read("quantize", format);
        let (floats, blocks) = file.split_at(float_bytes(format, &file));
        let mut out = vec![0xAA; blocks.len()];
        quantize(format, &to_floats(floats), &mut out);
        assert_same(format, "byte", &out, blocks);
    }
}

fn read(folder: &str, format: Format) -> Vec<u8> {
    let path = format!("tests/data/{folder}/{format}.bin");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file holds the same weights twice, as blocks and as floats: how many bytes are the floats'.
fn float_bytes(format: Format, file: &[u8]) -> usize {
    let floats = 4 * format.block_weights();
    let both = floats + format.block_bytes();
    assert!(!file.is_empty() && file.len().is_multiple_of(both), "{format}: {} bytes", file.len());
    file.len() / both * floats
}

fn to_floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn assert_same<T: PartialEq + LowerHex + Debug>(
    format: Format,
    unit: &str,
    have: &[T],
    want: &[T],
) {
    assert_eq!(have.len(), want.len(), "{format}");
    let differ: Vec<usize> = (0..have.len()).filter(|i| have[*i] != want[*i]).collect();
    let show = |i: &usize| format!("{unit} {i} is {:x}, ggml has {:x}", have[*i], want[*i]);
    let first: Vec<String> = differ.iter().take(8).map(show).collect();
    let (count, all) = (differ.len(), have.len());
    assert!(differ.is_empty(), "{format}: {count} of {all} differ: {}", first.join("; "));
}
