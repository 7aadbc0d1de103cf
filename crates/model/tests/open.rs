//! Files that are not what they should be are refused with the evidence, and what a file may
//! choose freely makes no difference.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::altered::{Change, chain, changed, open, set};
use crate::common::{bits, config, file, kit, logits, model, seeing_model, tokens};
use carat::{
    Architecture, Config, Error, LayerKind, Memory, MemoryPlan, Model, ModelFileError, OpenOptions,
    Rope, Session, SessionConfig, SessionError,
};
use carat_gguf::{Endian, Gguf, Source, TensorType, Writer};

#[test]
fn packed_weights_are_all_that_a_decoded_token_reads() {
    for quant in ["f32", "q4_0"] {
        let source = Source::open(&file(quant)).expect("tiny-s");
        let gguf = source.parse().expect("tiny-s parses");
        // Its rows are multiples of eight: no padding. The embedding is the head, and comes last.
        let in_layer =
            |t: &&carat_gguf::Tensor<'_>| t.name.starts_with("blk.") && t.shape.len() > 1;
        let mut wanted: Vec<_> =
            gguf.tensors().iter().filter(in_layer).map(|t| t.data.len()).collect();
        let head = gguf.tensor("token_embd.weight").expect("an embedding").data.len();
        let model = model(quant);
        let mut found: Vec<_> = model.packed_weights().map(<[u8]>::len).collect();
        assert_eq!(found.pop(), Some(head), "{quant}");
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{quant}");
        // They lie in one stretch, and none is named twice.
        let starts: HashSet<_> = model.packed_weights().map(<[u8]>::as_ptr).collect();
        assert_eq!(starts.len(), wanted.len() + 1);
    }
}

/// Keys that the architecture does not fix: each is missed by its name.
#[test]
fn missing_keys_are_named() {
    for key in [
        "general.architecture",
        "gemma4.block_count",
        "gemma4.context_length",
        "gemma4.embedding_length",
        "gemma4.feed_forward_length",
        "gemma4.attention.head_count",
        "gemma4.attention.head_count_kv",
        "gemma4.rope.freq_base",
        "gemma4.attention.layer_norm_rms_epsilon",
        "gemma4.attention.key_length",
        "gemma4.attention.value_length",
        "gemma4.attention.key_length_swa",
        "gemma4.attention.value_length_swa",
        "gemma4.attention.sliding_window",
        "gemma4.attention.sliding_window_pattern",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
    ] {
        let error = open(&changed(&Change::Drop(key))).expect_err(key);
        assert!(chain(&error).contains(key), "{key}: {}", chain(&error));
    }
}

#[test]
fn wrong_files_are_refused_with_the_evidence() {
    let q4 = |dims: &[u64]| Change::Tensor("blk.1.ffn_up.weight", TensorType::Q4_0, dims.to_vec());
    let bytes = Change::Tensor("blk.1.ffn_up.weight", TensorType::I8, vec![64, 128]);
    let divisors = Change::Tensor("rope_freqs.weight", TensorType::F32, vec![32]);
    let cases = [
        (set("general.architecture", "llama"), "\"llama\", supported are gemma4 and gemma3"),
        (set("gemma4.block_count", 0u32), "gemma4.block_count is 0"),
        (set("gemma4.block_count", u32::MAX), "gemma4.block_count is 4294967295"),
        (set("gemma4.block_count", 4u32), "sliding_window_pattern is 3"),
        (set("gemma4.block_count", "three"), "gemma4.block_count"),
        (set("gemma4.embedding_length", 65u32), "token_embd.weight has shape 64 x 512, 65 x 512"),
        (set("gemma4.embedding_length", u64::MAX), "embedding_length is 18446744073709551615"),
        (set("gemma4.feed_forward_length", vec![128u32, 128]), "feed_forward_length is an array"),
        (set("gemma4.feed_forward_length", vec![128u32, 0, 128]), "feed_forward_length is 0"),
        (set("gemma4.attention.head_count", 0u32), "attention.head_count is 0"),
        (
            set("gemma4.attention.head_count", 3u32),
            "head_count is 3, a multiple of head_count_kv 2",
        ),
        (set("gemma4.attention.head_count", 4u32), "blk.0.attn_q.weight"),
        (set("gemma4.attention.head_count_kv", vec![2u32, 2]), "head_count_kv is an array of 2"),
        (set("gemma4.attention.key_length", 63u32), "attention.key_length is 63, an even number"),
        (set("gemma4.attention.key_length", 16384u32), "attention.key_length is 16384"),
        (set("gemma4.attention.value_length", 32u32), "attention.value_length is 32, 64"),
        (set("gemma4.attention.sliding_window", 0u32), "attention.sliding_window is 0"),
        (
            set("gemma4.attention.shared_kv_layers", 2u32),
            "shared_kv_layers is 2, a full layer with keys of its own before layer 2",
        ),
        (set("gemma4.embedding_length_per_layer_input", 8u32), "per_layer_model_proj.weight is"),
        (set("gemma4.expert_count", 8u32), "gemma4.expert_used_count"),
        (set("gemma4.rope.dimension_count", 128u32), "rope.dimension_count is 128, 1 to 64"),
        (set("gemma4.rope.freq_base", f32::NAN), "rope.freq_base is NaN"),
        (set("gemma4.attention.layer_norm_rms_epsilon", -1f32), "rms_epsilon is -1"),
        (set("gemma4.final_logit_softcapping", f32::INFINITY), "softcapping is inf"),
        (Change::DropTensor("token_embd.weight"), "token_embd.weight is missing"),
        (Change::DropTensor("blk.2.ffn_gate.weight"), "blk.2.ffn_gate.weight is missing"),
        (Change::DropTensor("blk.0.attn_v.weight"), "blk.0.attn_v.weight is missing"),
        (Change::DropTensor("blk.1.layer_output_scale.weight"), "layer_output_scale.weight is"),
        (Change::AddTensor("blk.1.ffn_gate_inp.weight"), "blk.1.ffn_gate_inp.weight is not part"),
        (Change::AddTensor("blk.3.attn_norm.weight"), "blk.3.attn_norm.weight is not part"),
        (Change::AddTensor("output.weight"), "output.weight has shape 1, 64 x 512 is wanted"),
        (q4(&[128, 64]), "blk.1.ffn_up.weight has shape 128 x 64, 64 x 128 is wanted"),
        (q4(&[64, 128, 2]), "blk.1.ffn_up.weight has shape 64 x 128 x 2"),
        (bytes, "blk.1.ffn_up.weight is stored as I8"),
        (divisors, "rope_freqs.weight is 0, a positive divisor is wanted"),
    ];
    for (change, expected) in cases {
        let what = format!("{change:?}");
        let error = open(&changed(&change)).expect_err(&what);
        assert!(chain(&error).contains(expected), "{what}: {}", chain(&error));
    }
}

#[test]
fn big_endian_files_say_what_to_do() {
    let source = Source::open(&file("f32")).expect("tiny-s");
    let gguf = source.parse().expect("tiny-s parses");
    let mut writer = Writer::new(Endian::Big, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for tensor in gguf.tensors() {
        let swapped: Vec<u8> =
            tensor.data.chunks(4).flat_map(|b| b.iter().rev()).copied().collect();
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, swapped);
    }
    let error = open(&writer.to_bytes().expect("a file")).expect_err("big-endian");
    assert!(matches!(error, Error::ModelFile(ModelFileError::BigEndian)), "{error}");
}

/// The order of tensors, a second copy of the embedding as output head, a pattern of one number
/// and sizes per layer instead of for all: all the same model.
#[test]
fn what_a_file_may_choose_makes_no_difference() {
    let ids = tokens(20);
    let plain = bits(&logits(&model("f32"), config(), &ids).concat());
    let source = Source::open(&file("f32")).expect("tiny-s");
    let gguf = source.parse().expect("tiny-s parses");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = match key {
            "gemma4.feed_forward_length" => writer.metadata(key, vec![128u64, 128, 128]),
            "gemma4.attention.head_count" => writer.metadata(key, vec![2i32, 2, 2]),
            "gemma4.attention.sliding_window_pattern" => writer.metadata(key, 3u32),
            _ => writer.metadata(key, *value),
        };
    }
    for tensor in gguf.tensors().iter().rev() {
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, tensor.data);
    }
    let embedding = gguf.tensor("token_embd.weight").expect("an embedding");
    writer = writer.tensor("output.weight", TensorType::F32, &embedding.shape, embedding.data);
    let other = open(&writer.to_bytes().expect("a file")).expect("the same model");
    assert!(bits(&logits(&other, config(), &ids).concat()) == plain);
}

/// Without divisors in the file, the number of turning dimensions says what they say; where it says
/// that the whole head turns, which no Gemma 4 does, the divisors are missed.
#[test]
fn proportional_rope_comes_from_divisors_or_from_the_dimension_count() {
    let ids = tokens(20);
    let with = bits(&logits(&model("f32"), config(), &ids).concat());
    let without = open(&changed(&Change::DropTensor("rope_freqs.weight")));
    assert!(chain(&without.expect_err("no divisors")).contains("rope_freqs.weight is missing"));

    let source = Source::open(&file("f32")).expect("tiny-s");
    let gguf = source.parse().expect("tiny-s parses");
    let divisors = gguf.tensor("rope_freqs.weight").expect("divisors").data;
    let one = 1f32.to_le_bytes();
    let turning = divisors.chunks(4).filter(|d| **d == one).count();
    let count = u32::try_from(2 * turning).expect("a small number");
    let bytes = changed(&set("gemma4.rope.dimension_count", count));
    let gguf = Gguf::parse(&bytes).expect("a file");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for tensor in gguf.tensors().iter().filter(|t| t.name != "rope_freqs.weight") {
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, tensor.data);
    }
    let counted = open(&writer.to_bytes().expect("a file")).expect("a model");
    let counted = logits(&counted, config(), &ids).concat();
    // A divisor of 1e30 leaves an angle of 1e-29, whose sine is no bit of any product here.
    assert!(bits(&counted) == with);
}

/// Gemma 3 files do not write what the architecture fixes (facts page, section 11).
#[test]
fn gemma3_fills_in_what_its_architecture_fixes() {
    let common = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "gemma3")
        .metadata("gemma3.block_count", 7u32)
        .metadata("gemma3.context_length", 32768u32)
        .metadata("gemma3.embedding_length", 640u32)
        .metadata("gemma3.feed_forward_length", 2048u32)
        .metadata("gemma3.attention.head_count", 4u32)
        .metadata("gemma3.attention.head_count_kv", 1u32)
        .metadata("gemma3.attention.layer_norm_rms_epsilon", 1e-6f32)
        .metadata("gemma3.attention.key_length", 256u32)
        .metadata("gemma3.attention.value_length", 256u32)
        .metadata("gemma3.attention.sliding_window", 512u32)
        .metadata("gemma3.rope.freq_base", 1e6f32)
        .metadata("tokenizer.ggml.tokens", vec!["a", "b"]);
    let read = |writer: &Writer<'_>| {
        let bytes = writer.to_bytes().expect("a file");
        Config::from_metadata(Gguf::parse(&bytes).expect("a file").metadata())
    };
    let config = read(&common).expect("a config");
    assert_eq!(config.architecture, Architecture::Gemma3);
    let full: Vec<bool> = config.layers.iter().map(|l| l.kind == LayerKind::Full).collect();
    assert_eq!(full, [false, false, false, false, false, true, false]);
    assert_eq!(config.rope_sliding, Rope { base: 1e4, pairs: 128, divisor: 1.0 });
    assert_eq!(config.rope_full, Rope { base: 1e6, pairs: 128, divisor: 1.0 });
    assert_eq!((config.attention_scale, config.softcap), (1.0 / 16.0, None));

    let scaled = common
        .clone()
        .metadata("gemma3.rope.scaling.type", "linear")
        .metadata("gemma3.rope.scaling.factor", 8f32);
    let config = read(&scaled).expect("a config");
    assert_eq!((config.rope_full.divisor, config.rope_sliding.divisor), (8.0, 1.0));

    let yarn = common.metadata("gemma3.rope.scaling.type", "yarn");
    let error = read(&yarn).expect_err("another scaling");
    assert!(error.to_string().contains("gemma3.rope.scaling.type is yarn"), "{error}");
}

/// No pass is longer than the context, so no memory is taken for one.
#[test]
fn memory_is_for_what_fits_into_the_context() {
    let model = seeing_model("q4_0");
    let with = |prefill_chunk| {
        let settings = SessionConfig { context: 100, prefill_chunk, ..config() };
        Session::new(&model, settings).expect("a session").memory()
    };
    assert_eq!(with(100), with(4096));
    let memory = with(100);
    let parts = [memory.weights, memory.projector, memory.tokenizer, memory.kv, memory.scratch];
    assert!(parts.iter().all(|part| *part > 0));
    assert_eq!(memory.total(), parts.iter().sum::<u64>());
}

/// Scratch memory is that of the passes, logits and tokens of four bytes each, and for each token
/// of the longest picture its 48 x 48 pixels of three bytes and a row of f32.
#[test]
fn memory_counts_a_picture_where_the_model_sees() {
    for (context, longest) in [(100, 100), (4096, 1120)] {
        let settings = SessionConfig { context, ..config() };
        for (model, picture) in
            [(model("q4_0"), 0), (seeing_model("q4_0"), longest * (48 * 48 * 3 + 64 * 4))]
        {
            let session = Session::new(&model, settings.clone()).expect("a session");
            let wanted = session.scratch().0 + 512 * 4 + context * 4 + picture;
            assert_eq!(session.memory().scratch, wanted as u64);
        }
    }
}

/// The plan for a file is what a session then has.
#[test]
fn memory_is_known_beforehand() {
    for quant in ["f32", "q4_0"] {
        let model = model(quant);
        let source = Source::open(&file(quant)).expect("tiny-s");
        let gguf = source.parse().expect("tiny-s parses");
        let settings = SessionConfig { context: 1000, ..config() };
        let plan = Memory::plan(&gguf, &settings).expect("a plan");
        let session = Session::new(&model, settings).expect("a session");
        assert_eq!(plan, session.memory());
        // f32 keys and values: two sliding layers of 72 positions with two vectors of 64 values,
        // one full layer with one such vector and the quarter of another that turns.
        assert_eq!(plan.kv, (2 * 72 * 2 * 64 + 1000 * (64 + 16)) * 4);
        let tensors = gguf.tensors().iter().map(|t| t.data.len() as u64);
        let rope = gguf.tensor("rope_freqs.weight").expect("divisors").data.len() as u64;
        println!("{quant}: {plan:?}, divisors {rope}");
        // Row counts are multiples of eight or 1: padding is what vectors do not have.
        assert_eq!(plan.weights, tensors.sum::<u64>());
    }
}

/// The same model and projector, out of memory: the same identity and the same bits.
#[test]
fn a_model_in_memory_is_the_model_in_the_file() {
    let projector = kit().join("mmproj-f32.gguf");
    let read = |path: &Path| &*fs::read(path).expect("a file").leak();
    let (text, senses) = (read(&file("q4_0")), read(&projector));
    let options = OpenOptions { projector_bytes: Some(senses), ..Default::default() };
    let model = Model::from_bytes(text, options).expect("a model");
    let seeing = seeing_model("q4_0");
    assert_eq!(model.identity().expect("one"), seeing.identity().expect("one"));
    let identity = |model: &Model| model.projector_identity().expect("one");
    assert_eq!(identity(&model), identity(&seeing));
    assert_eq!(model.bytes(), seeing.bytes());
    let ids = tokens(40);
    let all = |model| bits(&logits(model, config(), &ids).concat());
    assert!(all(&model) == all(&seeing));
    let sound = |model| {
        let mut session = Session::new(model, config()).expect("a session");
        session.embed_samples(&[0.1; 2000]).expect("sound")
    };
    assert_eq!(sound(&model), sound(&seeing));

    let cut = Model::from_bytes(&text[..text.len() - 100], OpenOptions::default());
    assert!(matches!(cut, Err(Error::Gguf(_))), "{cut:?}");
    let options = OpenOptions { projector_bytes: Some(text), ..Default::default() };
    let wrong = Model::from_bytes(text, options);
    assert!(matches!(wrong, Err(Error::Projector { .. })), "{wrong:?}");
}

#[test]
fn a_model_may_take_no_more_memory_than_it_is_allowed() {
    let model = seeing_model("q4_0");
    let plan = model.bytes() + model.tokenizer().bytes() as u64;
    let projector = kit().join("mmproj-f32.gguf");
    for (most, fits) in [(plan, true), (plan - 1, false), (0, false)] {
        let options = OpenOptions {
            max_memory: Some(most),
            projector: Some(&projector),
            ..Default::default()
        };
        match Model::open_with(file("q4_0"), options) {
            Ok(_) => assert!(fits, "{most}"),
            Err(Error::MaxMemory { wanted, most: found }) => {
                assert!(!fits && found == most && wanted > most && wanted <= plan, "{wanted}");
            }
            Err(e) => panic!("{e}"),
        }
    }
}

/// What a session takes is counted with its model; what is asked for is compared to the byte.
#[test]
fn a_session_may_take_no_more_memory_than_it_is_allowed() {
    let model = seeing_model("q4_0");
    let config = SessionConfig { context: 100, marks: 1, ..config() };
    let memory = Session::new(&model, config.clone()).expect("a session").memory();
    let made =
        |most| Session::new(&model, SessionConfig { max_memory: Some(most), ..config.clone() });
    made(memory.total()).expect("room for all of it");
    for most in [memory.total() - 1, model.bytes(), 0] {
        let error = made(most).expect_err("no room");
        let said = error.to_string();
        let Error::Session(SessionError::MaxMemory { memory: wanted, most: found }) = error else {
            panic!("{said}");
        };
        assert_eq!((*wanted, found), (memory, most));
        let numbers =
            [memory.total(), memory.weights, memory.projector, memory.kv, memory.scratch, most];
        for number in numbers {
            assert!(said.contains(&number.to_string()), "{number}: {said}");
        }
        assert!(!said.contains("drafter"), "{said}");
    }
    // A caller may ask for anything.
    let absurd = SessionConfig { marks: usize::MAX, max_memory: Some(1 << 40), ..config };
    let error = Session::new(&model, absurd).expect_err("no room");
    assert!(matches!(error, Error::Session(SessionError::MaxMemory { .. })), "{error}");
}

/// The plan that leaves the vocabulary out is the other one without it.
#[test]
fn a_plan_can_do_without_the_vocabulary() {
    let source = Source::open(&file("q4_0")).expect("a file");
    let gguf = source.parse().expect("GGUF");
    let config = SessionConfig { context: 100, ..config() };
    let whole = MemoryPlan::new(&gguf).and_then(|plan| plan.session(&config)).expect("a plan");
    let quick = MemoryPlan::without_vocabulary(&gguf).and_then(|plan| plan.session(&config));
    assert!(whole.tokenizer > 0);
    assert_eq!(quick.expect("a plan"), Memory { tokenizer: 0, ..whole });
}
