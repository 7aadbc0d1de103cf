//! Files with a mixture of experts: what is refused by name, and what a file may choose freely.

use crate::altered::{chain, open};
use crate::common::{bits, config, logits, tokens};
use crate::naive::experts::Moe;
use crate::naive::{Shape, made};
use carat::sampler::SamplerError;
use carat::{Config, Error, Experts, Input, Memory, Model, OpenOptions, Session, SessionConfig};
use carat_gguf::{Endian, Gguf, OwnedValue, TensorType, Writer};
use carat_kernels::Format;

/// A tensor of a file.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    kind: TensorType,
    dims: Vec<u64>,
    data: Vec<u8>,
}

/// A file with some keys set (`None` leaves one out) and tensors changed.
fn rewritten(
    bytes: &[u8],
    keys: &[(&str, Option<OwnedValue>)],
    change: impl Fn(Part) -> Vec<Part>,
) -> Vec<u8> {
    let gguf = Gguf::parse(bytes).expect("a file");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        if keys.iter().all(|(name, _)| *name != key) {
            writer = writer.metadata(key, *value);
        }
    }
    for (key, value) in keys {
        if let Some(value) = value {
            writer = writer.metadata(*key, value.clone());
        }
    }
    for t in gguf.tensors() {
        let (name, data) = (t.name.to_owned(), t.data.to_vec());
        let part = Part { name, kind: t.tensor_type, dims: t.shape.to_vec(), data };
        for part in change(part) {
            writer = writer.tensor(part.name, part.kind, &part.dims, part.data);
        }
    }
    writer.to_bytes().expect("a file")
}

fn same(part: Part) -> Vec<Part> {
    vec![part]
}

fn moe(fused: bool) -> Moe {
    Moe { count: 8, used: 3, width: 64, fused, twins: false }
}

fn shape() -> Shape {
    Shape { experts: Some(moe(true)), ..Shape::tiny_s() }
}

fn says(model: &Model) -> Vec<u32> {
    bits(&logits(model, config(), &tokens(30)).concat())
}

#[test]
fn absurd_numbers_are_refused_by_name() {
    let file = made::bytes(&shape());
    let u32s = |numbers: &[u32]| Some(OwnedValue::from(numbers.to_vec()));
    let u32 = |number: u32| Some(OwnedValue::from(number));
    let cases = [
        ("gemma4.expert_used_count", u32(9), "expert_used_count is 9, 1 to 8"),
        ("gemma4.expert_used_count", u32(0), "expert_used_count is 0, 1 to 8"),
        ("gemma4.expert_used_count", None, "gemma4.expert_used_count"),
        ("gemma4.expert_count", u32(5000), "expert_count is 5000, 1 to 4096"),
        ("gemma4.expert_count", u32(7), "blk.0.ffn_gate_inp.weight has shape 64 x 8, 64 x 7"),
        ("gemma4.expert_count", u32(0), "_exps.weight is not part"),
        ("gemma4.expert_count", None, "is not part"),
        ("gemma4.expert_feed_forward_length", None, "expert_feed_forward_length"),
        ("gemma4.expert_feed_forward_length", u32(0), "expert_feed_forward_length is 0"),
        ("gemma4.expert_feed_forward_length", u32(1 << 25), "expert_feed_forward_length is 33554"),
        ("gemma4.expert_feed_forward_length", u32s(&[64, 64]), "is an array of 2"),
        (
            "gemma4.expert_feed_forward_length",
            u32s(&[64, 65, 64]),
            "blk.1.ffn_down_exps.weight has shape 64 x 64 x 8, 65 x 64 x 8 is wanted",
        ),
        ("gemma4.expert_gating_func", u32(2), "expert_gating_func is 2, 1"),
        ("gemma4.expert_weights_norm", Some(false.into()), "expert_weights_norm is false"),
        ("gemma4.expert_weights_scale", Some(2.5f32.into()), "expert_weights_scale is 2.5, 1"),
        ("gemma4.expert_group_count", u32(4), "expert_group_count is 4"),
    ];
    for (key, value, expected) in cases {
        let error = open(&rewritten(&file, &[(key, value)], same)).expect_err(expected);
        assert!(chain(&error).contains(expected), "{key}: {}", chain(&error));
    }
    // What says no more than the architecture does.
    let known = [
        ("gemma4.expert_gating_func", u32(1)),
        ("gemma4.expert_weights_norm", Some(true.into())),
        ("gemma4.expert_weights_scale", Some(1f32.into())),
        ("gemma4.expert_feed_forward_length", u32s(&[64, 64, 64])),
    ];
    let model = open(&rewritten(&file, &known, same)).expect("the same model");
    assert_eq!(says(&model), says(&open(&file).expect("a model")));
}

#[test]
fn missing_and_wrong_tensors_are_named() {
    for fused in [true, false] {
        let file = made::bytes(&Shape { experts: Some(moe(fused)), ..shape() });
        let gguf = Gguf::parse(&file).expect("a file");
        let of_experts = |name: &str| {
            name.contains("exps") || name.contains("ffn_gate_inp") || name.contains("_ffw_norm_")
        };
        let names: Vec<_> = gguf.tensors().iter().map(|t| t.name.to_owned()).collect();
        let names: Vec<_> =
            names.iter().filter(|n| n.starts_with("blk.1.") && of_experts(n)).collect();
        assert_eq!(names.len(), if fused { 8 } else { 9 });
        for name in names {
            let without = |part: Part| if part.name == *name { vec![] } else { vec![part] };
            let error = open(&rewritten(&file, &[], without)).expect_err(name);
            assert!(chain(&error).contains(&format!("{name} is missing")), "{}", chain(&error));
            let longer = |mut part: Part| {
                if part.name == *name {
                    *part.dims.last_mut().expect("a dimension") += 1;
                    part.data.resize(part.dims.iter().product::<u64>() as usize * 4, 0);
                }
                vec![part]
            };
            let error = open(&rewritten(&file, &[], longer)).expect_err(name);
            assert!(chain(&error).contains(&format!("{name} has shape")), "{}", chain(&error));
        }
    }
}

/// Rows that are gate and up in turns are the same numbers as two tensors.
#[test]
fn fused_and_separate_tensors_are_the_same_model() {
    for format in [Format::F32, Format::BF16, Format::Q4_0] {
        let fused = made::bytes(&Shape { format, ..shape() });
        let apart = rewritten(&fused, &[], |part| {
            let Some(layer) = part.name.strip_suffix("ffn_gate_up_exps.weight") else {
                return vec![part];
            };
            let dims = vec![part.dims[0], part.dims[1] / 2, part.dims[2]];
            let half = part.data.len() / 16;
            let of = |first: usize| {
                part.data.chunks(half).skip(first).step_by(2).flatten().copied().collect()
            };
            let one = |name, first| Part {
                name: format!("{layer}{name}"),
                kind: part.kind,
                dims: dims.clone(),
                data: of(first),
            };
            vec![one("ffn_gate_exps.weight", 0), one("ffn_up_exps.weight", 1)]
        });
        let [fused, apart] = [fused, apart].map(|file| open(&file).expect("a model"));
        assert_eq!(says(&fused), says(&apart), "{format}");
    }
    // Both at once are one too many.
    let both = |part: Part| match part.name.replace("ffn_down_exps", "ffn_gate_exps") {
        name if part.name.ends_with("ffn_down_exps.weight") => {
            vec![Part { name, ..part.clone() }, part]
        }
        _ => vec![part],
    };
    let error = open(&rewritten(&made::bytes(&shape()), &[], both)).expect_err("both");
    assert!(chain(&error).contains("ffn_gate_exps.weight is not part"), "{}", chain(&error));
}

/// A layer whose expert length is 0 has none, and is like one of a dense model.
#[test]
fn layers_may_have_no_experts() {
    let widths = OwnedValue::from(vec![64u32, 0, 64]);
    let file = rewritten(
        &made::bytes(&shape()),
        &[("gemma4.expert_feed_forward_length", Some(widths))],
        |part| {
            let is_experts = ["exps", "ffn_gate_inp", "_ffw_norm_"].iter();
            let is_experts = is_experts.copied().any(|word| part.name.contains(word));
            if part.name.starts_with("blk.1.") && is_experts { vec![] } else { vec![part] }
        },
    );
    let model = open(&file).expect("a model");
    let experts: Vec<_> = model.config().layers.iter().map(|layer| layer.experts).collect();
    let some = Some(Experts { count: 8, used: 3, width: 64 });
    assert_eq!(experts, [some, None, some]);
    assert!(says(&model) != says(&open(&made::bytes(&shape())).expect("a model")));
}

/// What is no number in a router, a norm or a scale is refused; in an expert's matrix it becomes
/// an error of the token that is sent there.
#[test]
fn what_is_no_number_never_speaks() {
    let file = made::bytes(&Shape { experts: Some(Moe { used: 8, ..moe(true) }), ..shape() });
    let poisoned = |name: &'static str, value: f32| {
        rewritten(&file, &[], move |mut part| {
            if part.name == name {
                let middle = part.data.len() / 8 * 4;
                part.data[middle..middle + 4].copy_from_slice(&value.to_le_bytes());
            }
            vec![part]
        })
    };
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for name in [
            "blk.0.ffn_gate_inp.weight",
            "blk.1.ffn_gate_inp.scale",
            "blk.2.ffn_down_exps.scale",
            "blk.0.pre_ffw_norm_2.weight",
        ] {
            let error = open(&poisoned(name, value)).expect_err(name);
            assert!(chain(&error).contains(name), "{}", chain(&error));
        }
        for name in ["blk.1.ffn_gate_up_exps.weight", "blk.1.ffn_down_exps.weight"] {
            let model = open(&poisoned(name, value)).expect("a model");
            assert_speechless(&model, name);
        }
    }
    // Numbers so large that the router's logits are none, since every product overflows: no panic,
    // and no text.
    let huge = rewritten(&file, &[], |mut part| {
        if part.name.starts_with("blk.0.ffn_gate_inp.") {
            let bytes = part.data.len() / 4;
            part.data = f32::MAX.to_le_bytes().repeat(bytes);
        }
        vec![part]
    });
    assert_speechless(&open(&huge).expect("a model"), "huge");
}

fn assert_speechless(model: &Model, what: &str) {
    let mut session = Session::new(model, config()).expect("a session");
    let error = session.push(Input::Tokens(&tokens(3))).expect_err(what);
    let is_refused = matches!(error, Error::Sampler(SamplerError::NotFinite { .. }));
    assert!(is_refused, "{what}: {error}");
}

/// The image on disk holds experts one by one, also where their rows are no multiple of eight.
#[test]
fn a_cache_file_holds_the_experts() {
    let odd = Moe { width: 21, ..moe(true) };
    for (format, moe) in [(Format::Q4_0, moe(true)), (Format::BF16, odd), (Format::F32, odd)] {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, cache) = (dir.path().join("model.gguf"), dir.path().join("model.cache"));
        let file = made::bytes(&Shape { format, experts: Some(moe), ..shape() });
        std::fs::write(&path, &file).expect("a file");
        let without = Model::open(&path).expect("a model");
        for verify_cache in [false, false, true] {
            let options =
                OpenOptions { cache: Some(&cache), verify_cache, ..OpenOptions::default() };
            let model = Model::open_with(&path, options).expect("a model");
            assert!(model.cache_refused().is_none());
            assert_eq!(says(&model), says(&without), "{format}");
            let ids = [&model, &without].map(|model| model.identity().expect("an identity"));
            assert_eq!(ids[0], ids[1], "{format}");
        }
    }
}

/// Three layers of eight experts of three matrices of 64 x 64 weights, three of them a token's.
#[test]
fn the_plan_tells_experts_from_other_weights() {
    for (format, bytes_of_matrix) in [(Format::F32, 64 * 64 * 4), (Format::Q4_0, 64 * 2 * 18)] {
        let file = made::bytes(&Shape { format, ..shape() });
        let gguf = Gguf::parse(&file).expect("a file");
        let plan = Memory::plan(&gguf, &config()).expect("a plan");
        let expert = 3 * bytes_of_matrix;
        assert_eq!(plan.experts, 3 * 8 * expert);
        assert_eq!(plan.experts_of_token, 3 * 3 * expert);
        assert_eq!(plan.least(), plan.total() - 3 * 5 * expert);
        let model = open(&file).expect("a model");
        let session = Session::new(&model, SessionConfig { ..config() }).expect("a session");
        assert_eq!(session.memory(), plan);

        // What a token reads is all matrices but the experts that it is not sent through.
        let matrices = gguf.tensors().iter().filter(|t| t.shape.rows() > 1);
        let all: usize = matrices.map(|t| t.data.len()).sum();
        let read: usize = model.packed_weights().map(<[u8]>::len).sum();
        assert_eq!(read as u64, all as u64 - plan.experts + plan.experts_of_token, "{format}");
    }
}

/// Sizes of the family by the numbers of the public configurations.
#[test]
fn models_are_known_by_name() {
    let config = |layers: u32, heads: u32, [sliding, full]: [u32; 2], experts: bool| {
        let kv_heads = (1..=layers).map(|i| if i % 6 == 0 { full } else { sliding });
        let mut w = Writer::new(Endian::Little, 3)
            .metadata("general.architecture", "gemma4")
            .metadata("gemma4.attention.head_count_kv", kv_heads.collect::<Vec<_>>())
            .metadata("gemma4.attention.layer_norm_rms_epsilon", 1e-6f32)
            .metadata("gemma4.rope.freq_base", 1e6f32)
            .metadata("tokenizer.ggml.tokens", vec!["a", "b"]);
        for (key, number) in [
            ("block_count", layers),
            ("embedding_length", 2816),
            ("context_length", 262_144),
            ("feed_forward_length", 2112),
            ("attention.head_count", heads),
            ("attention.key_length", 512),
            ("attention.value_length", 512),
            ("attention.key_length_swa", 256),
            ("attention.value_length_swa", 256),
            ("attention.sliding_window", 1024),
            ("attention.sliding_window_pattern", 6),
            ("expert_count", if experts { 128 } else { 0 }),
            ("expert_used_count", 8),
            ("expert_feed_forward_length", 704),
        ] {
            w = w.metadata(format!("gemma4.{key}"), number);
        }
        let bytes = w.to_bytes().expect("a file");
        let gguf = Gguf::parse(&bytes).expect("what was written");
        Config::from_metadata(gguf.metadata()).expect("a config")
    };
    let a26 = config(30, 16, [8, 2], true);
    assert_eq!(a26.name(), "Gemma 4 26B-A4B");
    assert_eq!(a26.experts(), Some(Experts { count: 128, used: 8, width: 704 }));
    assert_eq!([4, 5].map(|i| a26.layers[i].kv_heads), [8, 2]);
    let b31 = config(60, 32, [16, 4], false);
    assert_eq!((&*b31.name(), b31.experts()), ("Gemma 4 31B", None));
    assert_eq!(config(48, 16, [8, 1], false).name(), "Gemma 4 12B");
    assert_eq!(config(7, 16, [8, 1], false).name(), "a Gemma 4");
    assert_eq!(config(7, 16, [8, 1], true).name(), "a Gemma 4 with a mixture of experts");
}
