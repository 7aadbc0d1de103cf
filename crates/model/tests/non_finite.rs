//! A model with weights that are no numbers says so and never speaks: for each format, each kind of
//! matrix, NaN and both infinities. Vectors (norms, scales, divisors) are refused when it is
//! opened.

use crate::common::{self, config, file, tokens};
use carat::sampler::SamplerError;
use carat::{
    Error, Input, Isa, KvType, Model, Sampler, SamplerConfig, Session, SessionConfig, TokenId,
};
use carat_gguf::{Endian, Source, TensorType, Writer};
use carat_kernels::Format;

const POISONS: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// Width of everything, a block of the K formats.
const WIDTH: usize = 256;

/// A Gemma 4 of one sliding and one full layer, all of whose matrices have one format.
#[derive(Clone, Copy)]
struct Made {
    format: Format,
    /// Largest logit; 0 is none.
    cap: f32,
    /// Whether the output head is a matrix of its own.
    has_head: bool,
}

/// What is no number: in tensor `name`, in row `row`.
#[derive(Clone, Copy, Debug)]
struct Poison<'a> {
    name: &'a str,
    row: usize,
    value: f32,
}

const MATRICES: [&str; 15] = [
    "output.weight",
    "blk.0.attn_q.weight",
    "blk.0.attn_k.weight",
    "blk.0.attn_v.weight",
    "blk.0.attn_output.weight",
    "blk.0.ffn_gate.weight",
    "blk.0.ffn_up.weight",
    "blk.0.ffn_down.weight",
    "blk.1.attn_q.weight",
    "blk.1.attn_k.weight",
    "blk.1.attn_output.weight",
    "blk.1.ffn_gate.weight",
    "blk.1.ffn_up.weight",
    "blk.1.ffn_down.weight",
    "token_embd.weight",
];

#[test]
fn a_matrix_with_what_is_no_number_never_speaks() {
    let ids = tokens(3);
    // Whatever the bytes of NVFP4 are, its weights are numbers.
    let formats = Format::ALL.into_iter().filter(|format| *format != Format::NVFP4);
    for (f, format) in formats.enumerate() {
        let made = Made { format, cap: 30.0, has_head: true };
        assert!(said(&open(made, None).expect("a model"), config(), &ids).is_ok(), "{format}");
        // Every third matrix, so that five formats try each.
        for (i, name) in MATRICES.into_iter().enumerate().skip(f % 3).step_by(3) {
            let value = POISONS[(i / 3 + f) % 3];
            // Of the embedding only what the prompt needs is read.
            let row = if name == "token_embd.weight" { ids[1] as usize } else { 37 };
            let poison = Poison { name, row, value };
            let model = open(made, Some(poison)).expect("a model");
            assert_refused(&model, config(), &ids, &format!("{format} {poison:?}"));
        }
    }
}

/// A session whose words are no numbers keeps nothing of a pass, and those beside it have their
/// bits.
#[test]
fn one_session_of_a_pass_that_is_no_number_leaves_the_others_alone() {
    let ids = tokens(6);
    assert!(!ids[..3].contains(&ids[5]), "the poisoned word is not said by the other");
    let made = Made { format: Format::Q4_0, cap: 30.0, has_head: true };
    let poison = Poison { name: "token_embd.weight", row: ids[5] as usize, value: f32::NAN };
    let model = open(made, Some(poison)).expect("a model");
    let make = |ids: &[TokenId]| {
        let mut session = Session::new(&model, config()).expect("a session");
        session.enqueue(Input::Tokens(ids)).expect("room");
        session
    };
    let (mut sick, mut sound, mut alone) = (make(&ids), make(&ids[..3]), make(&ids[..3]));
    for _ in 0..2 {
        let results = carat::evaluate(&mut [&mut sick, &mut sound], &carat::Cancel::new());
        let [sick, sound] = &results.expect("a pass")[..] else { panic!("two") };
        let refused = matches!(sick, Err(Error::Sampler(SamplerError::NotFinite { .. })));
        assert!(refused && sound.is_ok(), "{sick:?} {sound:?}");
    }
    assert_eq!((sick.pending(), sound.pending()), (6, 0));
    let wanted = common::bits(alone.logits().expect("logits"));
    assert!(common::bits(sound.logits().expect("logits")) == wanted);
}

/// The row of a token that nobody said is its logit, be it capped or not.
#[test]
fn a_logit_that_is_no_number_never_goes_unnoticed() {
    for value in POISONS {
        for (cap, has_head) in [(30.0, true), (0.0, true), (30.0, false), (0.0, false)] {
            for format in [Format::F32, Format::BF16, Format::Q4_0, Format::Q6_K] {
                let name = if has_head { "output.weight" } else { "token_embd.weight" };
                let poison = Poison { name, row: 500, value };
                let model = open(Made { format, cap, has_head }, Some(poison)).expect("a model");
                let what = format!("{format}, cap {cap}, {poison:?}");
                assert_refused(&model, config(), &tokens(3), &what);
            }
        }
    }
}

/// Every way through the engine: instruction sets, types of the cache, few tokens and many,
/// threads.
#[test]
fn no_path_makes_a_number_of_it() {
    for (f, format) in [Format::BF16, Format::Q5_K].into_iter().enumerate() {
        for (i, name) in MATRICES[..14].iter().enumerate().skip(f).step_by(2) {
            let poison = Poison { name, row: 3, value: POISONS[i / 2 % 3] };
            let made = Made { format, cap: 30.0, has_head: true };
            let model = open(made, Some(poison)).expect("a model");
            for isa in Isa::available() {
                for (kv, threads, count) in
                    [(KvType::F16, 2, 1), (KvType::Q8, 1, 9), (KvType::F32, 2, 40)]
                {
                    let config = SessionConfig { kv, threads, isa: *isa, ..config() };
                    let what = format!("{format} {poison:?} {isa:?} {kv:?} {count}");
                    assert_refused(&model, config, &tokens(count), &what);
                }
            }
        }
    }
}

#[test]
fn vectors_with_what_is_no_number_are_refused_by_name() {
    let names = [
        "output_norm.weight",
        "rope_freqs.weight",
        "blk.0.attn_norm.weight",
        "blk.0.attn_q_norm.weight",
        "blk.1.attn_k_norm.weight",
        "blk.1.post_attention_norm.weight",
        "blk.0.ffn_norm.weight",
        "blk.1.post_ffw_norm.weight",
        "blk.1.layer_output_scale.weight",
    ];
    for name in names {
        for value in POISONS {
            let poison = Poison { name, row: 0, value };
            let made = Made { format: Format::Q8_0, cap: 30.0, has_head: true };
            let error = open(made, Some(poison)).expect_err("a refusal").to_string();
            assert!(error.contains(name) && error.contains(&value.to_string()), "{error}");
        }
    }
}

/// Nothing was said, whoever asks is told of it, and asking again makes no difference.
fn assert_refused(model: &Model, config: SessionConfig, ids: &[TokenId], what: &str) {
    let is_told = |error: &Error| matches!(error, Error::Sampler(SamplerError::NotFinite { .. }));
    let error = said(model, config.clone(), ids).expect_err(what);
    assert!(is_told(&error), "{what}: {error}");

    let mut session = Session::new(model, config).expect("a session");
    let mut rows = 0;
    let error = session.eval(ids, |_, row| {
        assert!(row.iter().all(|x| x.is_finite()), "{what}: row {rows}");
        rows += 1;
    });
    assert!(is_told(&error.expect_err(what)) && rows < ids.len(), "{what}: {rows} rows");
    for _ in 0..2 {
        let mut sampler = Sampler::new(SamplerConfig::gemma(), 512).expect("a sampler");
        let next = session.generate(&mut sampler).next().expect("an answer");
        assert!(is_told(&next.expect_err(what)), "{what}");
    }
}

/// What the model says in eight tokens.
fn said(model: &Model, config: SessionConfig, ids: &[TokenId]) -> Result<Vec<TokenId>, Error> {
    let mut session = Session::new(model, config)?;
    session.push(Input::Tokens(ids))?;
    let mut sampler = Sampler::new(SamplerConfig::default(), 512)?;
    session.generate(&mut sampler).take(8).collect()
}

fn open(made: Made, poison: Option<Poison<'_>>) -> Result<Model, Error> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, write(made, poison)).expect("a file");
    Model::open(path)
}

fn write(made: Made, poison: Option<Poison<'_>>) -> Vec<u8> {
    let source = Source::open(&file("f32")).expect("tiny-s");
    let tiny_s = source.parse().expect("tiny-s parses");
    let n = |n: usize| u32::try_from(n).expect("a small number");
    let key = |key: &str| format!("gemma4.{key}");
    let mut w = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "gemma4")
        .metadata(key("block_count"), 2u32)
        .metadata(key("context_length"), 4096u32)
        .metadata(key("embedding_length"), n(WIDTH))
        .metadata(key("feed_forward_length"), n(WIDTH))
        .metadata(key("attention.head_count"), 4u32)
        .metadata(key("attention.head_count_kv"), 4u32)
        .metadata(key("attention.layer_norm_rms_epsilon"), 1e-6f32)
        .metadata(key("attention.key_length"), 64u32)
        .metadata(key("attention.value_length"), 64u32)
        .metadata(key("attention.key_length_swa"), 64u32)
        .metadata(key("attention.value_length_swa"), 64u32)
        .metadata(key("attention.sliding_window"), 8u32)
        .metadata(key("attention.sliding_window_pattern"), vec![true, false])
        .metadata(key("attention.shared_kv_layers"), 0u32)
        .metadata(key("embedding_length_per_layer_input"), 0u32)
        .metadata(key("rope.freq_base"), 1e6f32)
        .metadata(key("rope.freq_base_swa"), 1e4f32)
        .metadata(key("rope.dimension_count"), 64u32)
        .metadata(key("rope.dimension_count_swa"), 64u32)
        .metadata(key("final_logit_softcapping"), made.cap);
    for (key, value) in tiny_s.metadata().iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        w = w.metadata(key, *value);
    }
    let of = |name: &str| poison.filter(|poison| poison.name == name);
    let kind = TensorType::from_name(made.format.name()).expect("a ggml type");
    for name in MATRICES.into_iter().filter(|name| made.has_head || *name != "output.weight") {
        let rows = if name.starts_with("blk.") { WIDTH } else { 512 };
        let bytes = matrix(made.format, rows, of(name));
        w = w.tensor(name, kind, &[WIDTH as u64, rows as u64], bytes);
    }
    let mut vectors = vec![("output_norm.weight".to_owned(), WIDTH)];
    vectors.push(("rope_freqs.weight".to_owned(), 32));
    for i in 0..2 {
        let mut add = |name: &str, len| vectors.push((format!("blk.{i}.{name}.weight"), len));
        let norms = ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"];
        norms.into_iter().for_each(|name| add(name, WIDTH));
        ["attn_q_norm", "attn_k_norm"].into_iter().for_each(|name| add(name, 64));
        add("layer_output_scale", 1);
    }
    for (name, len) in &vectors {
        let mut values = vec![1.0f32; *len];
        if let Some(poison) = of(name) {
            values[len / 2] = poison.value;
        }
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        w = w.tensor(name, TensorType::F32, &[*len as u64], bytes);
    }
    w.to_bytes().expect("a file")
}

/// `[rows, WIDTH]` weights of arbitrary payload with scales near 0.01; the scale of a block, or in
/// formats without one a weight, is the poison.
fn matrix(format: Format, rows: usize, poison: Option<Poison<'_>>) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..rows * format.row_bytes(WIDTH)).map(|i| (i * i % 251) as u8).collect();
    let row_blocks = format.row_bytes(WIDTH) / format.block_bytes();
    for (i, block) in bytes.chunks_exact_mut(format.block_bytes()).enumerate() {
        let is_poisoned = |poison: &Poison<'_>| i == poison.row * row_blocks + row_blocks / 2;
        let finite = ((i * 7 % 11) as f32 - 5.0) / 500.0;
        let value = poison.filter(is_poisoned).map_or(finite, |poison| poison.value);
        // Offsets of the f16 scales in ggml's blocks.
        let scales: &[usize] = match format {
            Format::F32 => {
                block.copy_from_slice(&value.to_le_bytes());
                continue;
            }
            Format::BF16 => {
                block.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes());
                continue;
            }
            // The greatest weights under the greatest scale are infinite; there is no NaN.
            Format::MXFP4 if !value.is_finite() => {
                block[1..].fill(0x77);
                block[0] = 0xFF;
                continue;
            }
            Format::MXFP4 => {
                block[0] = 116 + (i % 4) as u8; // 2⁻¹¹ to 2⁻⁸
                continue;
            }
            Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
            Format::Q2_K => &[80, 82],
            Format::Q3_K => &[108],
            Format::Q6_K => &[208],
            _ => &[0],
        };
        for at in scales {
            block[*at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
        }
    }
    bytes
}
