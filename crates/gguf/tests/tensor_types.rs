//! The table of tensor types against the tables of ggml.

use carat_gguf::TensorType;

/// Id, name, weights and bytes per block: `GGMLQuantizationType` and `GGML_QUANT_SIZES` of the
/// `gguf` Python package 0.19.0, with two lines from ggml's own headers (`ggml.h`,
/// `ggml-common.h`): `Q8_1`, where the package counts 40 bytes of a layout that ggml has left, and
/// `Q2_0`, which the package does not have yet.
const GGML: [(u32, &str, u64, u64); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

/// Ids that `ggml.h` keeps in comments.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

#[test]
fn the_table_is_ggmls() {
    let ours: Vec<_> = TensorType::ALL
        .iter()
        .map(|t| (t.id(), t.name(), t.block_weights(), t.block_bytes()))
        .collect();
    assert_eq!(ours, GGML);
}

#[test]
fn ids_and_names_lead_back() {
    for t in TensorType::ALL {
        assert_eq!(TensorType::from_id(t.id()), Some(*t));
        assert_eq!(TensorType::from_name(t.name()), Some(*t));
        assert_eq!(TensorType::from_name(&t.name().to_lowercase()), Some(*t));
        assert_eq!(TensorType::removed_name(t.id()), None);
    }
    assert_eq!(TensorType::from_name("Q4_X"), None);
}

#[test]
fn every_id_up_to_the_last_is_known_or_removed() {
    for id in 0..=42 {
        let removed = REMOVED.iter().find(|(removed, _)| *removed == id).map(|(_, name)| *name);
        assert_eq!(TensorType::removed_name(id), removed, "{id}");
        assert_eq!(TensorType::from_id(id).is_none(), removed.is_some(), "{id}");
    }
    for id in [43, 1 << 16, u32::MAX] {
        assert_eq!((TensorType::from_id(id), TensorType::removed_name(id)), (None, None));
    }
}

#[test]
fn bytes_are_counted_in_whole_blocks() {
    assert_eq!(TensorType::Q4_K.bytes_of(512), Some(288));
    assert_eq!(TensorType::Q4_K.bytes_of(0), Some(0));
    assert_eq!(TensorType::Q4_K.bytes_of(300), None);
    assert_eq!(TensorType::F32.bytes_of(u64::MAX / 4), Some(u64::MAX - 3));
    assert_eq!(TensorType::F32.bytes_of(u64::MAX / 4 + 1), None);
    assert_eq!(TensorType::Q4_0.bytes_of(1 << 63), Some((1 << 58) * 18));
}
