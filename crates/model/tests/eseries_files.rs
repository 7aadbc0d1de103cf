//! Files of E2B and E4B that say something impossible, and files that other converters write.

mod altered;
mod common;
mod naive;

use altered::{Change, chain, changed_in, open, set, zeros};
use carat::{Config, KvSource};
use carat_gguf::{Endian, Gguf, TensorType, Writer};
use common::{bits, config, logits, tokens};
use naive::{Shape, made};

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

#[test]
fn impossible_files_are_refused_with_the_evidence() {
    let shared = |n: u32| set("gemma4.attention.shared_kv_layers", n);
    let heads = |n: [u32; 8]| set("gemma4.attention.head_count_kv", n.to_vec());
    let per_layer = |n: u32| set("gemma4.embedding_length_per_layer_input", n);
    let table = "per_layer_token_embd.weight";
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
        (Change::DropTensor(table), "per_layer_token_embd.weight is missing"),
        (Change::DropTensor("per_layer_model_proj.weight"), "model_proj.weight is missing"),
        (Change::DropTensor("per_layer_proj_norm.weight"), "proj_norm.weight is missing"),
        (Change::DropTensor("blk.6.inp_gate.weight"), "blk.6.inp_gate.weight is missing"),
        (Change::DropTensor("blk.0.proj.weight"), "blk.0.proj.weight is missing"),
        (Change::DropTensor("blk.3.post_norm.weight"), "blk.3.post_norm.weight is missing"),
        (Change::DropTensor("blk.1.attn_k_norm.weight"), "blk.1.attn_k_norm.weight is missing"),
        (tensor(table, TensorType::F32, &[72, 511]), "72 x 511, 72 x 512 is wanted"),
        (tensor(table, TensorType::F32, &[71, 512]), "71 x 512, 72 x 512 is wanted"),
        (tensor(table, TensorType::I8, &[72, 512]), "is stored as I8, which has no kernel"),
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

/// What the weights are wrong about is found where they are used, and no pass that saw it is kept.
#[test]
fn a_table_that_is_no_numbers_ends_the_pass() {
    let bytes = bytes();
    let gguf = Gguf::parse(&bytes).expect("a file");
    let table = gguf.tensor("per_layer_token_embd.weight").expect("a table");
    let mut poisoned = bytes.clone();
    let row = table.at as usize + 300 * 72 * 4; // of token 300, the vector of layer 2
    poisoned[row + 4 * 20..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let model = open(&poisoned).expect("a model");
    let mut session = carat::Session::new(&model, config()).expect("a session");
    common::push(&mut session, &[280, 281]);
    let error = session.push(carat::Input::Tokens(&[282, 300, 283])).expect_err("no numbers");
    assert!(chain(&error).contains("is NaN, a finite number is wanted"), "{}", chain(&error));
    assert_eq!(session.len(), 2);
    common::push(&mut session, &[282, 283]);
}
