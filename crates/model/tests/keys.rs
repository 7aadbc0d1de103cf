//! Keys and tensors that other programs write or leave out: each is honoured, makes no difference
//! for a reason, or is refused by name. None is ignored in silence.
//!
//! The lists follow what llama.cpp reads for `gemma4` and `gemma3` and what Ollama's converters
//! write.

use crate::altered::{Change, chain, changed, open, set};
use crate::common::{self, bits, config, file, logits, model, tokens};
use carat::{Config, LayerKind, Model, OpenOptions, Rope, Tokenizer};
use carat_gguf::{Endian, Gguf, OwnedValue, Source, TensorType, Writer};

/// Values that llama.cpp fills in, other spellings of one value, and what says that something is
/// absent.
#[test]
fn these_make_no_difference() {
    let ids = tokens(20);
    let plain = bits(&logits(&model("f32"), config(), &ids).concat());
    let cases = [
        Change::Drop("gemma4.rope.freq_base_swa"),
        Change::Drop("gemma4.rope.dimension_count"),
        Change::Drop("gemma4.rope.dimension_count_swa"),
        Change::Drop("gemma4.attention.shared_kv_layers"),
        Change::Drop("gemma4.embedding_length_per_layer_input"),
        set("gemma4.attention.sliding_window_pattern", vec![1i32, 1, 0]),
        set("gemma4.attention.sliding_window_pattern", vec![1u8, 1, 0]),
        set("gemma4.attention.sliding_window_pattern", 3u32),
        set("gemma4.rope.scaling.type", "none"),
        set("gemma4.rope.scaling.type", "linear"),
        set("gemma4.rope.scaling.factor", 1f32),
        set("gemma4.rope.scaling.factor", 0f32),
        set("gemma4.rope.scaling.original_context_length", 4096u32),
        set("gemma4.attn_logit_softcapping", 0f32),
        set("gemma4.attention.scale", 1f32),
        set("gemma4.attention.causal", true),
        set("gemma4.logit_scale", 1f32),
        set("gemma4.expert_count", 0u32),
        set("gemma4.expert_used_count", 8u32),
        set("gemma4.vocab_size", 512u32),
        set("gemma4.vision.block_count", 27u32),
        set("gemma4.vision.attention.layer_norm_epsilon", 1e-6f32),
        set("gemma4.audio.conv_kernel_size", 5u32),
        set("gemma4.a_later_remark", "whatever"),
        set("general.architecture_version", "2"),
        Change::AddTensor("v.patch_embd.weight"),
        Change::AddTensor("v.blk.0.attn_q.weight"),
        Change::AddTensor("a.conv1d.0.weight"),
        Change::AddTensor("mm.input_projection.weight"),
    ];
    for change in cases {
        let what = format!("{change:?}");
        let model = open(&changed(&change)).unwrap_or_else(|e| panic!("{what}: {}", chain(&e)));
        assert!(bits(&logits(&model, config(), &ids).concat()) == plain, "{what}");
    }
}

#[test]
fn these_are_refused_by_name() {
    let cases = [
        (set("gemma4.rope.scaling.factor", 8f32), "gemma4.rope.scaling.factor 8"),
        (set("gemma4.rope.scale_linear", 8f32), "gemma4.rope.scale_linear 8"),
        (set("gemma4.rope.scaling.type", "yarn"), "gemma4.rope.scaling.type is yarn"),
        (set("gemma4.rope.scaling.attn_factor", 2f32), "gemma4.rope.scaling.attn_factor is 2"),
        (set("gemma4.rope.freq_scale", 0.125f32), "gemma4.rope.freq_scale is 0.125"),
        (set("gemma4.rope.dimension_sections", vec![16u32, 8, 8]), "rope.dimension_sections is"),
        (set("gemma4.attn_logit_softcapping", 50f32), "gemma4.attn_logit_softcapping"),
        (set("gemma4.attention.causal", false), "gemma4.attention.causal"),
        (set("gemma4.attention.temperature_length", 8192u32), "attention.temperature_length is"),
        (set("gemma4.attention.value_scale", 2f32), "gemma4.attention.value_scale is 2"),
        (set("gemma4.attention.scale", 0f32), "gemma4.attention.scale is 0"),
        (set("gemma4.logit_scale", 0.5f32), "gemma4.logit_scale is 0.5"),
        (set("gemma4.residual_scale", 0.5f32), "gemma4.residual_scale is 0.5"),
        (set("gemma4.expert_group_count", 4u32), "gemma4.expert_group_count is 4"),
        (set("gemma4.nextn_predict_layers", 1u32), "gemma4.nextn_predict_layers is 1"),
        (set("gemma4.activation_sparsity_scale", vec![0.5f32; 3]), "activation_sparsity_scale"),
        (set("gemma4.attention.sliding_window_pattern", vec![1i32, 0]), "pattern is 2"),
        (set("gemma4.attention.sliding_window_pattern", "all"), "sliding_window_pattern"),
        (Change::DropTensor("rope_freqs.weight"), "rope_freqs.weight is missing"),
        (Change::AddTensor("blk.0.attn_q.bias"), "blk.0.attn_q.bias is not part"),
        (Change::AddTensor("blk.0.attn_q.scale"), "blk.0.attn_q.scale is not part"),
        (Change::AddTensor("blk.0.attn_sinks.weight"), "blk.0.attn_sinks.weight is not part"),
        (Change::AddTensor("output.bias"), "output.bias is not part"),
        (Change::AddTensor("output_norm.bias"), "output_norm.bias is not part"),
        (Change::AddTensor("token_embd_norm.weight"), "token_embd_norm.weight is not part"),
        (Change::AddTensor("rope_factors_long.weight"), "rope_factors_long.weight is not part"),
        (Change::AddTensor("per_layer_model_proj.weight"), "per_layer_model_proj.weight is not"),
    ];
    for (change, expected) in cases {
        let what = format!("{change:?}");
        let said = chain(&open(&changed(&change)).expect_err(&what));
        assert!(said.contains(expected) && !said.contains('\n'), "{what}: {said}");
    }
}

/// A later converter may add what it likes about a model; what was left aside is on record.
#[test]
fn keys_that_nothing_is_known_of_are_listed() {
    let ignored = |change: &Change| {
        let bytes = changed(change);
        let gguf = Gguf::parse(&bytes).expect("a file");
        Config::from_gguf(&gguf).expect("a config").ignored_keys
    };
    assert_eq!(ignored(&set("gemma4.a_later_remark", 7u32)), ["gemma4.a_later_remark"]);
    assert!(ignored(&set("gemma4.vision.image_size", 896u32)).is_empty());
    assert!(ignored(&set("llama.rope.freq_base", 1f32)).is_empty(), "of no concern");
}

/// Half the scale is half of every query: with the weights of the queries' norm halved, which no
/// rounding shows, the scale of 1 gives the same bits.
#[test]
fn the_attention_scale_is_honoured() {
    let ids = tokens(20);
    let halved = open(&changed(&set("gemma4.attention.scale", 0.5f32))).expect("a model");
    let source = Source::open(&file("f32")).expect("tiny-s");
    let gguf = source.parse().expect("tiny-s parses");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for t in gguf.tensors() {
        let half = |b: &[u8]| (f32::from_le_bytes(b.try_into().expect("four")) / 2.0).to_le_bytes();
        let data = match t.name.contains("attn_q_norm") {
            true => t.data.chunks(4).flat_map(half).collect(),
            false => t.data.to_vec(),
        };
        writer = writer.tensor(t.name, t.tensor_type, &t.shape, data);
    }
    let other = open(&writer.to_bytes().expect("a file")).expect("a model");
    let [halved, other, plain] =
        [&halved, &other, &model("f32")].map(|model| bits(&logits(model, config(), &ids).concat()));
    assert!(halved == other && halved != plain);
}

/// Without the key there is no cap: `30 tanh(x / 30)` of these logits are those of the whole file.
#[test]
fn a_missing_cap_means_none() {
    let ids = tokens(20);
    let bare = open(&changed(&Change::Drop("gemma4.final_logit_softcapping"))).expect("a model");
    let (bare, capped) = (logits(&bare, config(), &ids), logits(&model("f32"), config(), &ids));
    for (x, y) in bare.concat().iter().zip(capped.concat()) {
        let wanted = 30.0 * (f64::from(*x) / 30.0).tanh();
        assert!((wanted - f64::from(y)).abs() < 1e-5, "{x} {y}");
    }
}

/// llama.cpp takes a missing scale of a layer for 1.
#[test]
fn layers_without_a_scale_are_scaled_by_one() {
    let ids = tokens(20);
    let source = Source::open(&file("f32")).expect("tiny-s");
    let gguf = source.parse().expect("tiny-s parses");
    let made = |ones: bool| {
        let mut writer = Writer::new(Endian::Little, 3);
        for (key, value) in gguf.metadata().iter() {
            writer = writer.metadata(key, *value);
        }
        for t in gguf.tensors() {
            let is_scale = t.name.contains("layer_output_scale");
            writer = match (is_scale, ones) {
                (true, false) => writer,
                (true, true) => {
                    writer.tensor(t.name, TensorType::F32, &[1], 1f32.to_le_bytes().to_vec())
                }
                _ => writer.tensor(t.name, t.tensor_type, &t.shape, t.data),
            };
        }
        let model = open(&writer.to_bytes().expect("a file")).expect("a model");
        bits(&logits(&model, config(), &ids).concat())
    };
    assert!(made(true) == made(false));
}

/// What each file says of itself is told to the user.
#[test]
fn other_files_are_known_by_name() {
    let architecture = |name: &'static str| set("general.architecture", name);
    let cases = [
        (changed(&architecture("clip")), "projector (mmproj)", "--mmproj"),
        (changed(&architecture("gemma4-assistant")), "a drafter of Gemma 4", "of that model"),
        (changed(&architecture("gemma4_mtp")), "a drafter of Gemma 4", "of that model"),
        (changed(&architecture("gemma3n")), "this is Gemma 3n", "Gemma 3 or of Gemma 4"),
        (changed(&architecture("gemma2")), "this is Gemma 2", "Gemma 3 or of Gemma 4"),
        (changed(&architecture("qwen3")), "\"qwen3\"", "gemma4 and gemma3"),
        (changed(&set("general.type", "adapter")), "adapter (LoRA)", "merged"),
    ];
    for (bytes, name, hint) in cases {
        let said = chain(&open(&bytes).expect_err(name));
        assert!(said.contains(name) && said.contains(hint), "{name}: {said}");
    }
}

/// A projector of another kind is refused by name, and so is what is no projector.
#[test]
fn other_projectors_are_known_by_name() {
    let source = Source::open(&common::kit().join("mmproj-f32.gguf")).expect("the projector");
    let gguf = source.parse().expect("it parses");
    let with = |key: &str, value: &str| {
        let mut writer = Writer::new(Endian::Little, 3).metadata(key, value);
        for (key, value) in gguf.metadata().iter().filter(|(found, _)| *found != key) {
            writer = writer.metadata(key, *value);
        }
        for t in gguf.tensors() {
            writer = writer.tensor(t.name, t.tensor_type, &t.shape, t.data);
        }
        writer
    };
    let plain = || with("general.name", "plain");
    let layer = plain().tensor("v.blk.0.ln1.weight", TensorType::F32, &[1], vec![0; 4]);
    let bias = plain().tensor("mm.input_projection.bias", TensorType::F32, &[1], vec![0; 4]);
    let cases = [
        (with("clip.vision.projector_type", "gemma4v"), "clip.vision.attention.head_count is 0"),
        (with("clip.audio.projector_type", "gemma4a"), "clip.audio.attention.head_count is 0"),
        (with("clip.vision.projector_type", "siglip"), "\"siglip\", \"gemma4uv\" or"),
        (with("general.architecture", "gemma4"), "no projector but a file of architecture"),
        (layer, "v.blk.0.ln1.weight is not part"),
        (bias, "mm.input_projection.bias is not part"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mmproj.gguf");
    let opened = |writer: &Writer<'_>| {
        std::fs::write(&path, writer.to_bytes().expect("a file")).expect("the folder is writable");
        let options = OpenOptions { projector: Some(&path), ..Default::default() };
        Model::open_with(file("f32"), options)
    };
    for (writer, expected) in cases {
        let said = chain(&opened(&writer).expect_err(expected));
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(opened(&plain()).is_ok());
}

/// Ollama's files of Gemma 4 call the tokenizer `llama` and mean Gemma 4's.
#[test]
fn ranked_merges_are_known_under_their_other_names() {
    let read = |changes: &[(&str, Option<OwnedValue>)]| {
        let source = Source::open(&file("f32")).expect("tiny-s");
        let gguf = source.parse().expect("tiny-s parses");
        let mut writer = Writer::new(Endian::Little, 3);
        for (key, value) in gguf.metadata().iter() {
            if changes.iter().all(|(changed, _)| *changed != key) {
                writer = writer.metadata(key, *value);
            }
        }
        for (key, value) in changes {
            writer = match value {
                Some(value) => writer.metadata(*key, value.clone()),
                None => writer,
            };
        }
        let bytes = writer.to_bytes().expect("a file");
        let gguf = Gguf::parse(&bytes).expect("a file");
        Tokenizer::from_gguf(&gguf)
    };
    let (key, pre) = ("tokenizer.ggml.model", "tokenizer.ggml.pre");
    let (scores, merges) = ("tokenizer.ggml.scores", "tokenizer.ggml.merges");
    let text = "the rain in the other part of the house\n\n is it there";
    let wanted = read(&[]).expect("a tokenizer").encode(text);
    let named = |model: &str, pre_is: Option<&str>| {
        [(key, Some(OwnedValue::from(model))), (pre, pre_is.map(OwnedValue::from))]
    };
    for changes in
        [named("llama", Some("gemma4")), named("gpt2", Some("gemma4")), named("llama", None)]
    {
        let [model, pre] = &changes;
        for more in [None, Some((scores, None))] {
            let all: Vec<_> = [model, pre].into_iter().chain(&more).cloned().collect();
            let tokenizer = read(&all).unwrap_or_else(|e| panic!("{changes:?}: {e}"));
            assert_eq!(tokenizer.encode(text), wanted, "{changes:?}");
            assert!(tokenizer.add_bos());
        }
    }
    let [model, pre] = named("llama", Some("gemma4"));
    let error = read(&[model, pre, (merges, None)]).expect_err("no merges");
    assert!(error.to_string().contains(merges), "{error}");
    let [model, pre] = named("gpt2", None);
    let error = read(&[model, pre]).expect_err("another scheme");
    assert!(error.to_string().contains("gpt2"), "{error}");
}

/// A Gemma 3 of `layers` layers, as far as metadata goes.
fn gemma3(layers: u32, change: &[(&str, OwnedValue)]) -> Result<Config, String> {
    let mut writer = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "gemma3")
        .metadata("gemma3.block_count", layers)
        .metadata("gemma3.context_length", 131_072u32)
        .metadata("gemma3.embedding_length", 5376u32)
        .metadata("gemma3.feed_forward_length", 2048u32)
        .metadata("gemma3.attention.head_count", 32u32)
        .metadata("gemma3.attention.head_count_kv", 16u32)
        .metadata("gemma3.attention.key_length", 128u32)
        .metadata("gemma3.attention.value_length", 128u32)
        .metadata("gemma3.attention.sliding_window", 1024u32)
        .metadata("tokenizer.ggml.tokens", vec!["a", "b"]);
    for (key, value) in change {
        writer = writer.metadata(format!("gemma3.{key}"), value.clone());
    }
    let bytes = writer.to_bytes().expect("a file");
    let gguf = Gguf::parse(&bytes).expect("a file");
    Config::from_gguf(&gguf).map_err(|e| e.to_string())
}

/// The sizes differ in the attention scale (27B: hidden / heads is 168, the head is 128) and in the
/// scaling of RoPE, which only Ollama's files leave out.
#[test]
fn sizes_of_gemma3_are_known_by_their_layers() {
    let llama_cpp: &[(&str, OwnedValue)] = &[("rope.freq_base", 1e6f32.into())];
    let explicit: &[(&str, OwnedValue)] = &[
        ("rope.freq_base", 1e6f32.into()),
        ("rope.scaling.type", "linear".into()),
        ("rope.scaling.factor", 4f32.into()),
    ];
    for (layers, square, divisor) in
        [(18, 128.0, 1.0), (26, 128.0, 1.0), (34, 128.0, 8.0), (48, 128.0, 8.0), (62, 168.0, 8.0)]
    {
        let read = |change| gemma3(layers, change).expect("a config");
        let scale = 1.0 / f32::sqrt(square);
        for config in [read(&[]), read(llama_cpp), read(explicit)] {
            assert_eq!(config.attention_scale, scale, "{layers}");
            assert_eq!(config.norm_eps, 1e-6);
            assert_eq!((config.rope_full.base, config.rope_sliding.base), (1e6, 1e4));
            assert_eq!(config.rope_sliding.divisor, 1.0);
        }
        assert_eq!(read(&[]).rope_full.divisor, divisor, "{layers}, made by Ollama");
        assert_eq!(read(llama_cpp).rope_full.divisor, 1.0, "{layers}, made by llama.cpp");
        assert_eq!(read(explicit).rope_full.divisor, 4.0, "{layers}, as it says");
        let own = read(&[("attention.scale", 0.25f32.into())]);
        assert_eq!(own.attention_scale, 0.25, "{layers}");
    }
}

#[test]
fn gemma3_is_read_as_ollama_and_llama_cpp_write_it() {
    let ollama = gemma3(
        26,
        &[
            ("rope.local.freq_base", 2e4f32.into()),
            ("rope.global.freq_base", 5e5f32.into()),
            ("final_logit_softcapping", 30f32.into()),
            ("mm.tokens_per_image", 256u32.into()),
            ("vision.block_count", 27u32.into()),
        ],
    );
    let ollama = ollama.expect("a config");
    assert_eq!(ollama.rope_sliding, Rope { base: 2e4, pairs: 64, divisor: 1.0 });
    assert_eq!(ollama.rope_full, Rope { base: 5e5, pairs: 64, divisor: 1.0 });
    assert_eq!(ollama.softcap, None, "a fault of the converter, corrected by Ollama as well");
    assert!(ollama.ignored_keys.is_empty());

    let base = ("rope.freq_base", OwnedValue::from(1e6f32));
    let capped = gemma3(26, &[base.clone(), ("final_logit_softcapping", 30f32.into())]);
    assert_eq!(capped.expect("a config").softcap, Some(30.0));
    let swa = gemma3(18, &[base.clone(), ("rope.freq_base_swa", 3e4f32.into())]);
    assert_eq!(swa.expect("a config").rope_sliding.base, 3e4);
    let old_name = gemma3(34, &[base.clone(), ("rope.scale_linear", 2f32.into())]);
    assert_eq!(old_name.expect("a config").rope_full.divisor, 2.0);

    let pattern = |value: OwnedValue| {
        let config = gemma3(4, &[base.clone(), ("attention.sliding_window_pattern", value)]);
        let layers = config.expect("a config").layers.into_iter();
        layers.map(|layer| layer.kind == LayerKind::Sliding).collect::<Vec<_>>()
    };
    assert_eq!(pattern(2u32.into()), [true, false, true, false]);
    assert_eq!(pattern(vec![1i32, 0, 0, 1].into()), [true, false, false, true]);
    assert_eq!(pattern(vec![true, true, false, true].into()), [true, true, false, true]);
    assert_eq!(pattern(true.into()), [true; 4]);

    let refused = [
        (("rope.dimension_count", OwnedValue::from(64u32)), "rope.dimension_count is 64, 128"),
        (("attn_logit_softcapping", 50f32.into()), "attn_logit_softcapping"),
        (("rope.scaling.type", "yarn".into()), "rope.scaling.type is yarn"),
        (("rope.freq_scale", 0.125f32.into()), "rope.freq_scale is 0.125"),
    ];
    for (change, expected) in refused {
        let said = gemma3(18, &[base.clone(), change]).expect_err(expected);
        assert!(said.contains(expected), "{said}");
    }
}
