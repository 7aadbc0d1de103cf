//! Logits have the same bits on every instruction set, x86 and Arm, whatever the threads, chunks,
//! drafts and other sessions: the hashes that are recorded here hold for all of them. What they are
//! hashes of is right because the tests of the numbers say so (`golden.rs`, `toy.rs`).
//!
//! F32 matrices are left out: their products are the gemm crate's, whose order is its own.

use std::path::{Path, PathBuf};

use crate::common::{self, config, model, tokens};
use crate::emulated::emulated;
use carat::{
    Cancel, DraftConfig, Drafts, Input, Isa, KvType, Model, Sampler, SamplerConfig, Seat, Session,
    SessionConfig, TokenId, step,
};

/// The instruction sets under test: all of this machine unless `CARAT_TEST_ISA` names one.
fn isas() -> Vec<Isa> {
    match std::env::var("CARAT_TEST_ISA") {
        Ok(_) => vec![common::isa()],
        Err(_) => Isa::available().to_vec(),
    }
}

/// The hash of all logits after each of `ids`, in the byte order of the disk.
fn hash(model: &Model, config: SessionConfig, ids: &[TokenId]) -> String {
    let mut session = Session::new(model, config).expect("a session");
    let mut hasher = blake3::Hasher::new();
    let add = |_, row: &[f32]| {
        for logit in row {
            hasher.update(&logit.to_bits().to_le_bytes());
        }
    };
    session.eval(ids, add).expect("an evaluation");
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Asserts that a file's logits have the same hash on every instruction set, with each kind of
/// cache, and the recorded one where there is one.
fn assert_same(name: &str, model: &Model, ids: &[TokenId], recorded: Option<[&str; 3]>) {
    let mut found = Vec::new();
    for isa in isas() {
        let kinds = [KvType::F32, KvType::F16, KvType::Q8];
        let hash = |kv| hash(model, SessionConfig { kv, isa, context: 512, ..config() }, ids);
        found.push((isa.name(), kinds.map(hash)));
    }
    let wanted = recorded.map_or_else(|| found[0].1.clone(), |hashes| hashes.map(str::to_owned));
    assert!(found.iter().all(|(_, hashes)| *hashes == wanted), "{name}: {found:#?}");
}

/// Longer than the kit's window of 8 many times over, and than one block of a full layer (256).
#[test]
fn the_kit_has_the_same_logits_everywhere() {
    let ids = tokens(300);
    for (quant, recorded) in [("q4_0", Some(KIT_Q4_0)), ("q8_0", None), ("bf16", None)] {
        assert_same(quant, &model(quant), &ids, recorded);
    }
}

fn toy() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/models/demo-text.gguf");
    Model::open(path).expect("the model in the program")
}

#[test]
fn the_model_in_the_program_has_the_same_logits_everywhere() {
    let model = toy();
    let ids = model.tokenizer().encode_prompt(PROMPT);
    assert_same("toy", &model, &ids, Some(TOY));
}

/// A few tokens, because the scalar kernels are to come to an end.
#[test]
fn the_real_270m_has_the_same_logits_everywhere() {
    let path = repository("models/gemma-3-270m-q4_k_m.gguf");
    if emulated() || !path.exists() {
        return eprintln!("skipped: emulated, or scripts/fetch-270m.sh did not fetch the model");
    }
    let model = Model::open(path).expect("a model");
    let ids = model.tokenizer().encode_prompt("<bos>The rain in Spain");
    assert_same("270M", &model, &ids, None);
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The logits after a prompt and some tokens, which may come in any way.
#[test]
fn ways_of_evaluation_do_not_change_a_bit() {
    let model = toy();
    let ids = model.tokenizer().encode_prompt(PROMPT);
    // An emulator has time for one.
    let isas = if emulated() { vec![common::isa()] } else { isas() };
    for isa in isas {
        let base = SessionConfig { isa, context: 512, kv: KvType::F16, ..config() };
        let wanted = said(&model, base.clone(), &ids, 0);
        let ways = [
            SessionConfig { threads: 3, ..base.clone() },
            SessionConfig { prefill_chunk: 1, ..base.clone() },
            SessionConfig { prefill_chunk: 7, threads: 2, ..base.clone() },
            SessionConfig { draft: DraftConfig { most: 5, adaptive: false }, ..base.clone() },
            SessionConfig { own_threads: true, ..base.clone() },
        ];
        for way in ways {
            let what = format!("{way:?}");
            assert!(said(&model, way, &ids, 0) == wanted, "{what}");
        }
        assert!(said(&model, base.clone(), &ids, 3) == wanted, "{isa:?}, with three others");
        assert!(said(&model, base, &ids, 0) == wanted, "{isa:?}, once more");
    }
}

/// What a session says after `ids`, and its logits in the end, beside `others` in the same passes.
fn said(
    model: &Model,
    config: SessionConfig,
    ids: &[TokenId],
    others: usize,
) -> (Vec<TokenId>, Vec<u32>) {
    let vocab = model.tokenizer().vocab_size();
    let sampling = SamplerConfig { temperature: 1.0, seed: 5, ..SamplerConfig::default() };
    let mut talks: Vec<_> = (0..=others)
        .map(|i| {
            let mut session = Session::new(model, config.clone()).expect("a session");
            if config.draft.most > 0 {
                session.set_drafts(Drafts::Lookup).expect("room");
            }
            session.enqueue(Input::Tokens(&ids[..ids.len() - i])).expect("room");
            (session, Sampler::new(sampling.clone(), vocab).expect("a sampler"))
        })
        .collect();
    let mut steps = 0;
    while talks[0].0.len() < ids.len() + SAID && steps < 3 * SAID + ids.len() {
        let seats = talks.iter_mut().map(|(session, sampler)| Seat { session, sampler });
        for step in step(&mut seats.collect::<Vec<_>>(), &Cancel::new()).expect("a pass") {
            step.expect("a step");
        }
        steps += 1;
    }
    let session = &mut talks[0].0;
    let logits = session.logits().expect("logits").iter().map(|x| x.to_bits()).collect();
    (session.tokens().to_vec(), logits)
}

const SAID: usize = 12;

const PROMPT: &str = "<bos><|turn>user\nRepeat: silver river, silver river<turn|>\n<|turn>model\n";

// The first 16 digits of BLAKE3 for keys and values in f32, f16 and q8.
const KIT_Q4_0: [&str; 3] = ["6cc4974bc81f241d", "18fa21a0c846f5a8", "b73c779bb575d505"];
const TOY: [&str; 3] = ["71f8cfb2f6a12088", "52bfd916c17e1fb2", "974ece5a912ca283"];
