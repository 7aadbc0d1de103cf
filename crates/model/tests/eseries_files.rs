//! Files of E2B and E4B that say something impossible, and files that other converters write.

use crate::altered::{Change, chain, changed_in, open, set, zeros};
use crate::common::{bits, config, logits, push, tokens};
use crate::naive::{Shape, made};
use carat::{Config, Input, KvSource, Session};
use carat_gguf::{Endian, Gguf, TensorType, Writer};

/// The own layers are: sliding, full, sliding, sliding. Full, sliding, full, sliding follow.
fn bytes() -> Vec<u8> {
    made::bytes(&Shape::eseries())
}

#[test]
fn layers_find_the_last_one_of_their_kind() {
    let bytes = bytes();
    let config = Config::from_gguf(&Gguf::parse(&bytes).expect("a file")).expect("a config");
    let sources: Vec<_> = config.layers.iter().map(|layer| layer.kv).collect();
    let of = [KvSource::Of(1), KvSource::Of(3)];
    assert_eq!(sources, [[KvSource::Own; 4].as_slice(), &of, &of].concat());
    let ffn: Vec<_> = config.layers.iter().map(|layer| layer.ffn).collect();
    assert_eq!((ffn, config.per_layer), (Shape::eseries().ffn, 9));
}

/// Sizes are known by their number of layers.
#[test]
fn models_are_known_by_name() {
    let named = |layers: usize, per_layer: usize| {
        let shape = Shape {
            sliding: (1..=layers).map(|i| i % 5 > 0).collect(),
            ffn: vec![24; layers],
            shared: 0,
            per_layer,
            ..Shape::eseries()
        };
        let bytes = made::bytes(&shape);
        let config = Config::from_gguf(&Gguf::parse(&bytes).expect("a file")).expect("a config");
        config.name().into_owned()
    };
    assert_eq!(named(35, 3), "Gemma 4 E2B");
    assert_eq!(named(42, 3), "Gemma 4 E4B");
    assert_eq!(named(7, 3), "Gemma 4 E-series of 7 layers");
    assert_eq!(named(48, 0), "Gemma 4 12B");
}

#[test]
fn impossible_files_are_refused_with_the_evidence() {
    let shared = |n: u32| set("gemma4.attention.shared_kv_layers", n);
    let heads = |n: [u32; 8]| set("gemma4.attention.head_count_kv", n.to_vec());
    let per_layer = |n: u32| set("gemma4.embedding_length_per_layer_input", n);
    let tensor = |name, kind, dims: &[u64]| Change::Tensor(name, kind, dims.to_vec());
    let cases = [
        (shared(9), "shared_kv_layers is 9, at most 8, the number of layers"),
        (shared(u32::MAX), "shared_kv_layers is 4294967295, at most 8"),
        (shared(8), "shared_kv_layers is 8, a sliding layer with keys of its own before layer 0"),
        (shared(7), "is 7, a full layer with keys of its own before layer 1"),
        (shared(3), "blk.4.attn_k.weight is missing"),
        (heads([2, 1, 2, 2, 1, 4, 1, 2]), "head_count_kv is 4 in layer 5, 2, as in layer 3"),
        (per_layer(8), "per_layer_model_proj.weight has shape 70 x 72, 70 x 64"),
        (per_layer(0), "is not part of the architecture"),
        (per_layer(1 << 20), "per_layer_input is 1048576, 1 to 16384"),
        (set("gemma4.feed_forward_length", vec![9u32; 7]), "feed_forward_length is an array of 7"),
        (set("gemma4.feed_forward_length", 40u32), "blk.1.ffn_gate.weight has shape"),
        (Change::DropTensor(TABLE), "per_layer_token_embd.weight is missing"),
        (Change::DropTensor("per_layer_model_proj.weight"), "model_proj.weight is missing"),
        (Change::DropTensor("per_layer_proj_norm.weight"), "proj_norm.weight is missing"),
        (Change::DropTensor("blk.6.inp_gate.weight"), "blk.6.inp_gate.weight is missing"),
        (Change::DropTensor("blk.0.proj.weight"), "blk.0.proj.weight is missing"),
        (Change::DropTensor("blk.3.post_norm.weight"), "blk.3.post_norm.weight is missing"),
        (Change::DropTensor("blk.1.attn_k_norm.weight"), "blk.1.attn_k_norm.weight is missing"),
        (tensor(TABLE, TensorType::F32, &[72, 511]), "72 x 511, 72 x 512 is wanted"),
        (tensor(TABLE, TensorType::F32, &[71, 512]), "71 x 512, 72 x 512 is wanted"),
        (tensor(TABLE, TensorType::I8, &[72, 512]), "is stored as I8, which has no kernel"),
        (tensor("blk.2.proj.weight", TensorType::F32, &[70, 9]), "70 x 9, 9 x 70 is wanted"),
        (Change::AddTensor("blk.4.attn_k.bias"), "blk.4.attn_k.bias is not part"),
        (Change::AddTensor("blk.8.attn_k.weight"), "blk.8.attn_k.weight is not part"),
    ];
    let bytes = bytes();
    let gguf = Gguf::parse(&bytes).expect("a file");
    for (change, wanted) in cases {
        let text = chain(&open(&changed_in(&gguf, &change)).expect_err(wanted));
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

/// Most files have keys and values for layers that read those of others; they are left aside, of
/// whatever shape and format they are.
#[test]
fn keys_of_layers_that_have_none_are_left_aside() {
    let (bytes, ids) = (bytes(), tokens(20));
    let gguf = Gguf::parse(&bytes).expect("a file");
    let plain = open(&bytes).expect("a model");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for tensor in gguf.tensors() {
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, tensor.data);
    }
    for (name, kind, dims) in [
        ("blk.4.attn_k.weight", TensorType::F32, &[70u64, 26][..]),
        ("blk.4.attn_v.weight", TensorType::I8, &[3]),
        ("blk.5.attn_k_norm.weight", TensorType::F32, &[10]),
        ("blk.7.attn_v.weight", TensorType::MXFP4, &[64, 2]),
    ] {
        writer = writer.tensor(name, kind, dims, zeros(kind, dims));
    }
    let full = open(&writer.to_bytes().expect("a file")).expect("a model");
    assert_eq!(full.bytes(), plain.bytes());
    let of = |model| bits(&logits(model, config(), &ids).concat());
    assert!(of(&full) == of(&plain));
}

/// A file whose row of the table for token 300 has no number in the vector of a layer.
fn poisoned(layer: usize) -> Vec<u8> {
    let mut bytes = bytes();
    let at = Gguf::parse(&bytes).expect("a file").tensor(TABLE).expect("a table").at as usize;
    let value = 300 * 72 + layer * 9 + 2;
    bytes[at + 4 * value..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    bytes
}

/// No pass is kept that saw what is no number.
#[test]
fn a_table_that_is_no_numbers_ends_the_pass() {
    let model = open(&poisoned(2)).expect("a model");
    let mut session = Session::new(&model, config()).expect("a session");
    push(&mut session, &[280, 281]);
    let error = session.push(Input::Tokens(&[282, 300, 283])).expect_err("no numbers");
    assert!(chain(&error).contains("is NaN, a finite number is wanted"), "{}", chain(&error));
    assert_eq!(session.len(), 2);
    push(&mut session, &[282, 283]);
}

/// Behind the last layer with keys of its own no token sees another one: what is wrong with one in
/// the middle there changes nothing, unless its row is wanted.
#[test]
fn last_layers_do_not_look_at_other_rows() {
    let ids = [280, 300, 281, 282];
    let sound = open(&bytes()).expect("a model");
    let want = bits(&push(&mut Session::new(&sound, config()).expect("a session"), &ids));
    for layer in [3, 4, 5, 7] {
        let model = open(&poisoned(layer)).expect("a model");
        let session = || Session::new(&model, config()).expect("a session");
        assert!(bits(&push(&mut session(), &ids)) == want, "layer {layer}");
        session().push(Input::Tokens(&ids[..2])).expect_err("the row of this token");
        session().eval(&ids, |_, _| {}).expect_err("all rows");
    }
}

const TABLE: &str = "per_layer_token_embd.weight";
