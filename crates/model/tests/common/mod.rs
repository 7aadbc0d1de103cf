//! The reference kit `tiny-s` and what the tests do with it.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod shared_kit;

use std::path::{Path, PathBuf};

use carat::{Input, Isa, KvType, Model, OpenOptions, Session, SessionConfig, TokenId};
use safetensors::SafeTensors;

/// The instruction set that `CARAT_TEST_ISA` names, the best one without it.
pub(crate) fn isa() -> Isa {
    match std::env::var("CARAT_TEST_ISA") {
        Ok(name) => Isa::by_name(&name).unwrap_or_else(|| panic!("this CPU has no {name}")),
        Err(_) => Isa::best(),
    }
}

/// An exact cache, one thread, and the instruction set under test.
pub(crate) fn config() -> SessionConfig {
    SessionConfig { kv: KvType::F32, threads: 1, isa: isa(), ..Default::default() }
}

/// The model with its projector.
pub(crate) fn seeing_model(quant: &str) -> Model {
    let projector = kit().join("mmproj-f32.gguf");
    let options = OpenOptions { projector: Some(&projector), ..Default::default() };
    Model::open_with(file(quant), options).expect("a model with senses")
}

pub(crate) fn model(quant: &str) -> Model {
    let file = file(quant);
    Model::open(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

pub(crate) fn file(quant: &str) -> PathBuf {
    kit().join(format!("text-{quant}.gguf"))
}

/// The logits after every token of `ids`, pushed into a new session.
pub(crate) fn logits(model: &Model, config: SessionConfig, ids: &[TokenId]) -> Vec<Vec<f32>> {
    let mut session = Session::new(model, config).expect("a session");
    let mut rows = Vec::new();
    session
        .eval(ids, |position, row| {
            assert_eq!(position, rows.len());
            rows.push(row.to_vec());
        })
        .expect("an evaluation");
    rows
}

/// `n` tokens that exist and are not special, the same ones every time.
pub(crate) fn tokens(n: usize) -> Vec<TokenId> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
        261 + (state >> 16) % 200
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Pushes `ids` and returns the logits after the last of them.
pub(crate) fn push(session: &mut Session, ids: &[TokenId]) -> Vec<f32> {
    session.push(Input::Tokens(ids)).expect("a push");
    session.logits().expect("logits").to_vec()
}

/// Bits, so that a NaN or a signed zero cannot hide a difference.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// One case of the kit.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) ids: Vec<TokenId>,
    /// What the reference implementation continues with.
    pub(crate) greedy: Vec<TokenId>,
}

/// The text cases.
pub(crate) fn cases() -> Vec<Case> {
    cases_named(["text-short", "text-long"])
}

/// The cases with pictures and sound.
pub(crate) fn media_cases() -> Vec<Case> {
    cases_named(["image", "audio", "mixed"])
}

/// The rows of the media of such a case.
#[cfg(all(feature = "image", feature = "sound"))]
pub(crate) fn embed_case(session: &mut Session, case: &Case) -> Vec<carat::Embedding> {
    let budget = carat::vision::Budget::try_from(70).expect("a budget");
    let picture = carat::vision::Picture::open(kit().join("image.png"), budget).expect("a picture");
    let clip = carat::audio::Clip::open(kit().join("audio.wav")).expect("a clip");
    let sound = session.embed_samples(clip.samples()).expect("sound");
    let image = session.embed_picture(&picture).expect("a picture");
    match case.name {
        "audio" => sound.into_embeddings(),
        "image" => image.into_embeddings(),
        _ => [sound, image].map(carat::Medium::into_embeddings).concat(),
    }
}

/// Reads such a case with its media.
#[cfg(all(feature = "image", feature = "sound"))]
pub(crate) fn read_case(session: &mut Session, case: &Case) {
    let media = embed_case(session, case);
    session.push(Input::Filled { ids: &case.ids, media: &media }).expect("a push");
}

fn cases_named<const N: usize>(names: [&'static str; N]) -> Vec<Case> {
    cases_in(&kit(), names)
}

/// Cases of the kit in `folder`.
pub(crate) fn cases_in<const N: usize>(folder: &Path, names: [&'static str; N]) -> Vec<Case> {
    let text = std::fs::read_to_string(folder.join("reference.json")).expect("reference.json");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let list = |name: &str, key: &str| -> Vec<TokenId> {
        let ids = json["cases"][name][key].as_array().expect("a list of ids");
        ids.iter().map(|id| id.as_u64().expect("an id") as TokenId).collect()
    };
    let case = |name| Case { name, ids: list(name, "ids"), greedy: list(name, "greedy_f32") };
    names.map(case).into()
}

/// A tensor of the reference, cut into rows.
pub(crate) fn reference(name: &str) -> Vec<Vec<f32>> {
    reference_in(&kit(), name)
}

/// A tensor of the reference of the kit in `folder`, cut into rows.
pub(crate) fn reference_in(folder: &Path, name: &str) -> Vec<Vec<f32>> {
    let file = folder.join("reference.safetensors");
    let bytes = std::fs::read(file).expect("reference.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = tensors.tensor(name).expect("a tensor of that name");
    let float = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
    let values: Vec<f32> = tensor.data().chunks_exact(4).map(float).collect();
    let width = *tensor.shape().last().expect("a shape");
    values.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

/// How far `got` is from `want`, over all rows.
#[derive(Debug)]
pub(crate) struct Distance {
    /// Share of rows with the same greatest logit.
    pub(crate) top1: f64,
    /// Mean Kullback-Leibler divergence, in nats.
    pub(crate) kl: f64,
    /// Greatest difference of a logit.
    pub(crate) max: f64,
}

pub(crate) fn distance(want: &[Vec<f32>], got: &[Vec<f32>]) -> Distance {
    assert_eq!(want.len(), got.len(), "rows");
    let (mut same, mut kl, mut max) = (0, 0.0, 0.0f64);
    for (want, got) in want.iter().zip(got) {
        assert_eq!(want.len(), got.len(), "logits");
        same += usize::from(argmax(want) == argmax(got));
        let (p, q) = (log_softmax(want), log_softmax(got));
        kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        for (want, got) in want.iter().zip(got) {
            let difference = f64::from((want - got).abs());
            max = if difference <= max { max } else { difference }; // keeps NaN
        }
    }
    let rows = want.len() as f64;
    Distance { top1: same as f64 / rows, kl: kl / rows, max }
}

pub(crate) fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("some logits")
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
    row.iter().map(|x| x - max - sum.ln()).collect()
}

/// Asserts that a model whose logits are exact says what the reference says after a case.
pub(crate) fn assert_greedy(model: &Model, case: &Case) {
    let mut session = Session::new(model, config()).expect("a session");
    session.push(Input::Tokens(&case.ids)).expect("a push");
    for (i, want) in case.greedy.iter().enumerate() {
        let got = argmax(session.logits().expect("logits"));
        assert_eq!(got, *want as usize, "{} token {i}", case.name);
        session.push(Input::Tokens(&[*want])).expect("a push");
    }
}

/// The folder of the kit.
pub(crate) fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-s")
}
