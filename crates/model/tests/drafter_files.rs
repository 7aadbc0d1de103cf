//! Which files are drafters of a model: layouts, ordered heads, what is refused and how, where
//! drafters are found, and the memory that they take.

use std::collections::HashSet;
use std::error::Error as _;
use std::ops::ControlFlow;

use crate::common::{self, config, file, kit, tokens};
use crate::naive::drafter::{DraftShape, Layout, bytes};
use crate::naive::{Kind, Shape, made};
use carat::{
    Cancel, DrafterConfig, Error, Input, MemoryPlan, Model, OpenOptions, Session, SessionConfig,
    drafters_beside, projectors_beside,
};
use carat_gguf::{Endian, Gguf, OwnedValue, TensorType, Writer};
use carat_kernels::Format;

/// A drafter of tiny-s.
fn plain() -> DraftShape {
    DraftShape {
        hidden: 32,
        sliding: vec![true, true, true, false],
        heads: vec![2, 2, 4, 2],
        ffn: vec![64; 4],
        format: Format::F32,
        layout: Layout::Main,
        clusters: None,
    }
}

/// One thing that is different in a file.
enum Change {
    Set(&'static str, OwnedValue),
    Drop(&'static str),
    DropTensor(&'static str),
    Add(&'static str, TensorType, Vec<u64>),
    Replace(&'static str, TensorType, Vec<u64>, Vec<u8>),
}

fn set(key: &'static str, value: impl Into<OwnedValue>) -> Change {
    Change::Set(key, value.into())
}

/// A file with a change; keys stand without the architecture's prefix.
fn changed(bytes: &[u8], change: &Change) -> Vec<u8> {
    let gguf = Gguf::parse(bytes).expect("a file");
    let architecture = gguf.metadata().string("general.architecture").expect("a name");
    let full = |key: &str| match key.starts_with("general.") || key.starts_with("tokenizer.") {
        true => key.to_owned(),
        false => format!("{architecture}.{key}"),
    };
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = match change {
            Change::Set(name, _) | Change::Drop(name) if full(name) == key => writer,
            _ => writer.metadata(key, *value),
        };
    }
    if let Change::Set(key, value) = change {
        writer = writer.metadata(full(key), value.clone());
    }
    for t in gguf.tensors() {
        writer = match change {
            Change::DropTensor(name) if *name == t.name => writer,
            Change::Replace(name, kind, dims, data) if *name == t.name => {
                writer.tensor(*name, *kind, dims, data.clone())
            }
            _ => writer.tensor(t.name, t.tensor_type, &t.shape, t.data),
        };
    }
    if let Change::Add(name, kind, dims) = change {
        let zeros = kind.bytes_of(dims.iter().product()).expect("whole blocks");
        writer = writer.tensor(*name, *kind, dims, vec![0; zeros as usize]);
    }
    writer.to_bytes().expect("a file")
}

fn open(drafter: Vec<u8>) -> Result<Model, Error> {
    let options = OpenOptions { drafter_bytes: Some(drafter.leak()), ..Default::default() };
    Model::open_with(file("f32"), options)
}

/// The logits of two steps and the drafted tokens.
fn drafts(model: &Model) -> (Vec<f32>, Vec<u32>) {
    let mut session = Session::new(model, config()).expect("a session");
    session.push(Input::Tokens(&tokens(20))).expect("a push");
    let mut logits = Vec::new();
    let each = |row: &[f32], _: &[f32]| logits.extend_from_slice(row);
    let tokens = session.eval_draft(300, 2, each).expect("drafts");
    (logits, tokens)
}

fn said(error: &Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// The names of a layout do not matter, and neither does the format of a matrix.
#[test]
fn layouts_say_the_same() {
    let shape = |layout| DraftShape { layout, ..plain() };
    let target = Shape::tiny_s();
    let main = drafts(&open(bytes(&shape(Layout::Main), &target)).expect("a drafter"));
    for layout in [Layout::Ik, Layout::IkMain] {
        let file = bytes(&shape(layout), &target);
        assert!(drafts(&open(file).expect("a drafter")) == main, "{layout:?}");
    }
    // The width of the model is in the matrix that leads back to it.
    let unnamed = changed(&bytes(&plain(), &target), &Change::Drop("embedding_length_out"));
    assert!(drafts(&open(unnamed).expect("a drafter")) == main);
    let fits = |format: &Format| format.can_quantize() && 32 % format.block_weights() == 0;
    for format in Format::ALL.iter().copied().filter(fits) {
        if format == Format::F32 {
            continue;
        }
        let file = bytes(&DraftShape { format, ..plain() }, &target);
        let (logits, _) = drafts(&open(file).expect("a drafter"));
        // The second step may be after another token.
        let mut both = logits.iter().zip(&main.0).take(512);
        assert!(both.all(|(a, b)| (a - b).abs() < 4.0) && logits != main.0, "{format}");
    }
}

/// An ordered head that cannot be trusted is left aside: the dense one is used.
#[test]
fn maps_that_are_not_understood_leave_the_dense_head() {
    let target = Shape::tiny_s();
    let ordered = |layout| DraftShape { clusters: Some((32, 4)), layout, ..plain() };
    let dense = drafts(&open(bytes(&plain(), &target)).expect("a drafter"));
    let by_clusters = bytes(&ordered(Layout::Main), &target);
    let of_main = drafts(&open(by_clusters.clone()).expect("a drafter"));
    assert!(of_main != dense, "an ordered head gives most tokens the same logit");
    for layout in [Layout::Ik, Layout::IkMain] {
        let file = bytes(&ordered(layout), &target);
        assert!(drafts(&open(file).expect("a drafter")) == of_main, "{layout:?}");
    }
    let map = |values: Vec<u32>| {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Change::Replace("masked_embd_ordering", TensorType::I32, vec![512], bytes)
    };
    for change in [
        map((0..512).map(|i| i % 31).collect()),
        map((0..512).map(|i| i + 1).collect()),
        map(vec![0; 512]),
        Change::Replace("masked_embd_ordering", TensorType::F16, vec![512], vec![0; 1024]),
        Change::Replace("masked_embd_ordering", TensorType::I32, vec![511], vec![0; 2044]),
        Change::Replace(
            "masked_embd_centroids.weight",
            TensorType::F32,
            vec![16, 32],
            vec![0; 2048],
        ),
        Change::DropTensor("masked_embd_ordering"),
        Change::DropTensor("masked_embd_centroids.weight"),
        set("use_ordered_embeddings", false),
        set("n_centroids", 64u32),
        set("centroid_top_k", 0u32),
    ] {
        // The matrices are those of the drafter with an ordered head.
        let without = changed(&by_clusters, &set("use_ordered_embeddings", false));
        let wanted = drafts(&open(without).expect("a drafter"));
        let model = open(changed(&by_clusters, &change)).expect("a drafter");
        assert!(drafts(&model) == wanted);
    }
    // All clusters are the dense head.
    let all = bytes(&DraftShape { clusters: Some((32, 1000)), ..plain() }, &target);
    let without = changed(&all, &set("use_ordered_embeddings", false));
    let (found, wanted) = (open(all).expect("a drafter"), open(without).expect("a drafter"));
    assert_eq!(drafts(&found).1, drafts(&wanted).1);
}

#[test]
fn other_files_and_drafters_of_other_models_are_refused_by_name() {
    let target = Shape::tiny_s();
    let good = bytes(&plain(), &target);
    let other = |shape: &Shape| bytes(&plain(), shape);
    let [sliding, full] = target.kinds;
    let tokens: Vec<String> = (0..512).map(|i| format!("t{i}")).collect();
    let cases = [
        (set("general.architecture", "gemma4-dspark"), "a drafter of another kind", "Google"),
        (set("general.architecture", "dflash"), "a drafter of another kind", "Google"),
        (set("general.architecture", "clip"), "no drafter", "gemma4-assistant"),
        (set("general.type", "adapter"), "adapter", "merged"),
        (Change::DropTensor("blk.1.attn_q.weight"), "blk.1.attn_q.weight is missing", ""),
        (Change::DropTensor("blk.3.layer_output_scale.weight"), "layer_output_scale", "missing"),
        (Change::DropTensor("nextn.pre_projection.weight"), "pre_projection", "missing"),
        (Change::DropTensor("rope_freqs.weight"), "rope_freqs.weight is missing", ""),
        (Change::DropTensor("token_embd.weight"), "token_embd.weight is missing", ""),
        (Change::Add("blk.0.attn_k.weight", TensorType::F32, vec![32, 64]), "attn_k", "not part"),
        (Change::Add("output.weight", TensorType::F32, vec![32, 512]), "output.weight", "not part"),
        (set("block_count", 0u32), "block_count is 0", "1 to"),
        (set("block_count", u32::MAX), "block_count is 4294967295", "1 to"),
        (set("block_count", 4000u32), "shared_kv_layers is 4", "4000"),
        (set("embedding_length", 33u32), "shape", "wanted"),
        (set("embedding_length_out", 65u32), "of width 65", "has 64"),
        (set("attention.sliding_window", 9u32), "a window of 9", "has 8"),
        (set("attention.key_length", 32u32), "value_length", "32"),
        (set("attention.head_count", 3u32), "head_count", "multiple"),
        (set("attention.shared_kv_layers", 2u32), "shared_kv_layers is 2", "4"),
        (set("nextn_predict_layers", 1u32), "nextn_predict_layers is 1", "4"),
        (set("expert_count", 8u32), "expert_count is 8", "0"),
        (set("embedding_length_per_layer_input", 8u32), "per_layer_input is 8", "0"),
        (set("attn_logit_softcapping", 50f32), "cap on attention scores", ""),
        (set("rope.scaling.factor", 8f32), "scaled RoPE", ""),
        (set("attention.temperature", 8f32), "attention.temperature", "newer version"),
        (set("tokenizer.ggml.tokens", tokens), "the token 0 \"t0\"", "\"<pad>\""),
        (set("tokenizer.ggml.tokens", vec!["a", "b"]), "of length 2", "512"),
        (Change::Drop("attention.sliding_window_pattern"), "sliding_window_pattern", ""),
        (Change::Drop("attention.layer_norm_rms_epsilon"), "layer_norm_rms_epsilon", ""),
    ];
    let files = cases.iter().map(|(change, a, b)| (changed(&good, change), *a, *b));
    let longer = Shape { kinds: [Kind { head_dim: 16, ..sliding }, full], ..target.clone() };
    let others = [
        (other(&Shape { hidden: 70, ..target.clone() }), "of width 70", "own drafter"),
        (other(&longer), "heads of length 16", "has 32"),
        (Writer::new(Endian::Little, 3).to_bytes().expect("a file"), "general.architecture", ""),
        (std::fs::read(file("f32")).expect("tiny-s"), "\"gemma4\"", "gemma4-assistant"),
    ];
    for (file, a, b) in files.chain(others) {
        let text = said(&open(file).expect_err(a));
        assert!(text.contains(a) && text.contains(b), "{a}, {b}: {text}");
        assert!(text.starts_with("the drafter \"in memory\" does not belong"), "{text}");
    }
}

/// A model without layers of a kind has no keys for a drafter that reads them, and Gemma 3 has no
/// drafter at all.
#[test]
fn models_without_such_layers_are_told_apart() {
    let tiny_s = Shape::tiny_s();
    let only_full = Shape { sliding: vec![false; 3], ..tiny_s.clone() };
    let kind = tiny_s.kinds[0];
    let gemma3 = Shape {
        gemma4: false,
        kinds: [kind, Kind { base: 1e6, ..kind }],
        share_k: false,
        ..tiny_s.clone()
    };
    for (target, word) in [(only_full, "sliding layers"), (gemma3, "Gemma 4")] {
        let drafter = bytes(&plain(), &tiny_s).leak();
        let options = OpenOptions { drafter_bytes: Some(drafter), ..Default::default() };
        let model = Model::from_bytes(made::bytes(&target).leak(), options);
        let text = said(&model.expect_err(word));
        assert!(text.contains(word), "{text}");
    }
}

/// Whatever is cut off or overwritten gives a value or an error.
#[test]
fn damaged_files_never_panic() {
    let good = bytes(&plain(), &Shape::tiny_s());
    let target = std::fs::read(file("q4_0")).expect("tiny-s").leak();
    let open = |bytes: Vec<u8>| {
        let options = OpenOptions { drafter_bytes: Some(bytes.leak()), ..Default::default() };
        Model::from_bytes(target, options).map(drop)
    };
    let head = good.len()
        - Gguf::parse(&good).expect("a file").tensors().iter().fold(0, |n, t| n + t.data.len());
    for cut in (0..head).step_by(997).chain([good.len() - 32]) {
        assert!(open(good[..cut].to_vec()).is_err(), "{cut}");
    }
    for at in (0..head).step_by(641) {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        let _ = open(bytes);
    }
}

/// A norm that holds what is no number is refused; matrices that do end a round.
#[test]
fn what_is_no_number_is_no_draft() {
    let good = bytes(&plain(), &Shape::tiny_s());
    let nan = |n: usize| f32::NAN.to_le_bytes().repeat(n);
    let norm = Change::Replace("output_norm.weight", TensorType::F32, vec![32], nan(32));
    let text = said(&open(changed(&good, &norm)).expect_err("a norm"));
    assert!(text.contains("output_norm.weight") && text.contains("finite"), "{text}");
    let head = Change::Replace("token_embd.weight", TensorType::F32, vec![32, 512], nan(32 * 512));
    let model = open(changed(&good, &head)).expect("matrices are not looked through");
    let mut session = Session::new(&model, config()).expect("a session");
    session.push(Input::Tokens(&tokens(20))).expect("a push");
    let error = session.eval_draft(300, 2, |_, _| ()).expect_err("no numbers");
    assert!(matches!(error, Error::DraftNotFinite), "{error}");
    assert!(matches!(session.eval_draft(512, 2, |_, _| ()), Err(Error::Session(_))));
    let model = Model::open(file("f32")).expect("tiny-s");
    let mut session = Session::new(&model, config()).expect("a session");
    assert!(matches!(session.eval_draft(300, 2, |_, _| ()), Err(Error::NoDrafter)));
}

/// What the model never says is not drafted: the next best is.
#[test]
fn suppressed_tokens_are_not_drafted() {
    let drafter = bytes(&plain(), &Shape::tiny_s()).leak();
    let text = std::fs::read(file("f32")).expect("tiny-s");
    let open = |suppressed: Vec<u32>| {
        let text = changed(&text, &set("tokenizer.ggml.suppress_tokens", suppressed)).leak();
        let options = OpenOptions { drafter_bytes: Some(drafter), ..Default::default() };
        drafts(&Model::from_bytes(text, options).expect("a model"))
    };
    let (logits, _) = open(vec![0]);
    let mut order: Vec<u32> = (0..512).collect();
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    for count in 0..4 {
        let (seen, tokens) = open(order[..count].to_vec());
        assert_eq!(tokens[0], order[count]);
        assert!(seen[..512] == logits[..512], "the logits that are shown are the network's own");
    }
}

/// Only drafters that fit are found beside a model, the smallest first, and no projector is taken
/// for one nor the other way round.
#[test]
fn drafters_are_found_beside_their_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).expect("a file");
    let tiny_s = Shape::tiny_s();
    let other = Shape { hidden: 70, ..tiny_s.clone() };
    let model = path("gemma-assistant-style.gguf");
    std::fs::copy(file("f32"), &model).expect("a copy");
    assert!(drafters_beside(&model).expect("a folder").is_empty());
    write("gemma-MTP.gguf", &bytes(&plain(), &tiny_s));
    write("drafter.gguf", &bytes(&DraftShape { format: Format::Q8_0, ..plain() }, &tiny_s));
    write("other-assistant.gguf", &bytes(&plain(), &other));
    write("draft-of-a-letter.gguf", b"Dear madam");
    write("unnamed.gguf", &bytes(&plain(), &tiny_s));
    write("mmproj-assistant.gguf", &std::fs::read(kit().join("mmproj-f32.gguf")).expect("bytes"));
    std::fs::copy(file("q4_0"), path("assistant-q4_0.gguf")).expect("a copy");
    let found = drafters_beside(&model).expect("a folder");
    assert_eq!(found, [path("drafter.gguf"), path("gemma-MTP.gguf")]);
    assert_eq!(projectors_beside(&model).expect("a folder"), [path("mmproj-assistant.gguf")]);
    assert!(drafters_beside(&path("none.gguf")).is_err());
    let options = OpenOptions { drafter: Some(&found[0]), ..Default::default() };
    assert!(Model::open_with(&model, options).expect("a model").drafts());
}

/// What a plan says is what a model takes, and a limit counts the drafter.
#[test]
fn drafters_are_in_the_plan_of_memory() {
    let text = std::fs::read(file("q8_0")).expect("tiny-s");
    for clusters in [None, Some((32, 4))] {
        let file = bytes(&DraftShape { clusters, ..plain() }, &Shape::tiny_s());
        let gguf = Gguf::parse(&file).expect("a file");
        let plan = MemoryPlan::new(&Gguf::parse(&text).expect("a file")).expect("a plan");
        let settings = SessionConfig { context: 64, prefill_chunk: 1, ..config() };
        let without = plan.session(&settings).expect("a plan");
        let memory = plan.with_drafter(&gguf).expect("a plan").session(&settings).expect("a plan");
        let tensors: usize = gguf.tensors().iter().map(|t| t.data.len()).sum();
        assert_eq!((without.drafter, memory.drafter), (0, tensors as u64));
        assert!(memory.scratch >= without.scratch && memory.total() > without.total());
        let open = |max_memory| {
            let (text, drafter) = (text.clone().leak(), file.clone().leak());
            let drafter_bytes = Some(&*drafter);
            Model::from_bytes(text, OpenOptions { drafter_bytes, max_memory, ..Default::default() })
        };
        let model = open(None).expect("a model");
        assert_eq!(model.bytes(), memory.weights + memory.drafter);
        let mut session = Session::new(&model, settings).expect("a session");
        assert_eq!(session.memory(), memory);
        session.push(Input::Tokens(&tokens(40))).expect("a push");
        session.eval_draft(300, 3, |_, _| ()).expect("drafts");
        let (declared, used) = session.scratch();
        assert_eq!(used, declared, "scratch");
        let most = memory.weights + memory.drafter;
        assert!(matches!(open(Some(most)), Err(Error::MaxMemory { .. })), "without vocabulary");
    }
}

/// Loading a drafter is heard of and can be broken off: that is no fault of its file.
#[test]
fn a_drafter_that_loads_can_be_cancelled() {
    let file = &*bytes(&plain(), &Shape::tiny_s()).leak();
    let open = |progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>, cancel: &Cancel| {
        let options = OpenOptions {
            drafter_bytes: Some(file),
            progress: Some(progress),
            cancel: Some(cancel),
            ..Default::default()
        };
        Model::open_with(common::file("q4_0"), options)
    };
    let mut heard = Vec::new();
    let mut listen = |done, total| {
        heard.push((done, total));
        ControlFlow::Continue(())
    };
    open(&mut listen, &Cancel::new()).expect("a model");
    let totals: HashSet<u64> = heard.iter().map(|(_, total)| *total).collect();
    let whole = heard.iter().filter(|(done, total)| done == total).count();
    assert_eq!((totals.len(), whole), (2, 2), "the drafter and the model: {heard:?}");
    let (first, of_drafter) = (heard[0], heard.iter().take_while(|h| h.1 == heard[0].1).count());
    // At the first word, and at the last one of the drafter.
    for at in [1, of_drafter] {
        let mut calls = 0;
        let mut stop = |_, total| {
            calls += 1;
            assert_eq!(total, first.1, "the model is not read any more");
            if calls == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let stopped = open(&mut stop, &Cancel::new());
        assert!(matches!(stopped, Err(Error::Cancelled { .. })), "{stopped:?}");
    }
    let cancel = Cancel::new();
    cancel.cancel();
    let stopped = open(&mut |_, _| panic!("it is over"), &cancel);
    assert!(matches!(stopped, Err(Error::Cancelled { .. })), "{stopped:?}");
}

/// The drafter among the data of these tests is the one that is made here. Where it is to be made
/// anew, remove the file first.
#[test]
fn the_kept_drafter_is_the_made_one() {
    let path = kit().join("../tiny-s-drafter/drafter-q8_0.gguf");
    let made = bytes(&DraftShape { format: Format::Q8_0, ..plain() }, &Shape::tiny_s());
    if !path.exists() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, &made).expect("a file");
    }
    assert!(std::fs::read(&path).expect("a file") == made, "remove {}", path.display());
}

/// What a drafter's file says can be read without its model.
#[test]
fn the_shape_of_a_drafter_is_read_alone() {
    let file = bytes(
        &DraftShape { clusters: Some((32, 4)), layout: Layout::Ik, ..plain() },
        &Shape::tiny_s(),
    );
    let config = DrafterConfig::from_gguf(&Gguf::parse(&file).expect("a file")).expect("a drafter");
    assert_eq!((config.hidden, config.target_hidden, config.vocab), (32, 64, 512));
    assert_eq!((config.window, config.layers.len()), (Some(8), 4));
    assert_eq!((config.clusters, config.clusters_used), (Some(32), 4));
    assert!(config.ignored_keys.is_empty(), "{:?}", config.ignored_keys);
}
