//! The real Gemma 3 270M against Hugging Face's greedy text (`data/gemma3-270m.json`: the weights
//! of the same file, dequantised, in f32).
//!
//! `scripts/fetch-270m.sh` puts the model in its place; `.ci/run test` calls it.

mod common;
#[path = "common/emulated.rs"]
mod emulated;

use std::path::{Path, PathBuf};

use carat::{Input, Isa, Model, Sampler, SamplerConfig, Session, SessionConfig, TokenId};
use common::{argmax, isa};
use emulated::emulated;
use serde_json::Value;

/// Where the likeliest token leads by less, 8-bit activations may choose another one.
const CONFIDENT: f64 = 0.5;

struct Prompt {
    text: String,
    ids: Vec<TokenId>,
    /// What the reference continues with, and by how much each token leads.
    greedy: Vec<TokenId>,
    margin: Vec<f64>,
}

fn reference() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gemma3-270m.json");
    let text = std::fs::read_to_string(path).expect("the reference");
    serde_json::from_str(&text).expect("JSON")
}

fn prompts() -> Vec<Prompt> {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let ids = |value: &Value| -> Vec<TokenId> {
        list(value).iter().map(|id| id.as_u64().expect("an id") as TokenId).collect()
    };
    let prompt = |p: &Value| Prompt {
        text: p["text"].as_str().expect("a text").to_owned(),
        ids: ids(&p["ids"]),
        greedy: ids(&p["greedy"]),
        margin: list(&p["margin"]).iter().map(|m| m.as_f64().expect("a number")).collect(),
    };
    list(&reference()["prompts"]).iter().map(prompt).collect()
}

fn model() -> Model {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../models/gemma-3-270m-q4_k_m.gguf"].iter().collect();
    Model::open(path).unwrap_or_else(|e| panic!("{e}; scripts/fetch-270m.sh fetches the model"))
}

fn session(model: &Model) -> Session {
    let config = SessionConfig { context: 1024, isa: isa(), ..Default::default() };
    Session::new(model, config).expect("a session")
}

#[test]
fn the_greedy_text_is_that_of_the_reference() {
    if emulated() {
        return; // the models of the other tests show the instruction sets; this one takes minutes
    }
    let model = model();
    // Scalar kernels take a second a token.
    let count = if isa() == Isa::scalar() { 1 } else { usize::MAX };
    let mut confident = 0;
    for prompt in prompts().into_iter().take(count) {
        let text = &prompt.text;
        let mut session = session(&model);
        session.push(Input::Text(text)).expect("a push");
        assert_eq!(session.tokens(), prompt.ids, "{text:?}");
        for (i, (want, margin)) in prompt.greedy.iter().zip(&prompt.margin).enumerate() {
            let got = argmax(session.logits().expect("logits"));
            assert!(*margin < CONFIDENT || got == *want as usize, "{text:?} token {i}: {got}");
            confident += usize::from(*margin >= CONFIDENT);
            session.push(Input::Tokens(&[*want])).expect("a push");
        }

        // By the iterator, as far as the reference is sure.
        let sure = prompt.margin.iter().take_while(|margin| **margin >= CONFIDENT).count();
        session.truncate(0).expect("an empty session");
        session.push(Input::Text(text)).expect("a push");
        let vocab = model.tokenizer().vocab_size();
        let mut sampler = Sampler::new(SamplerConfig::default(), vocab).expect("a sampler");
        let got: Result<Vec<_>, _> = session.generate(&mut sampler).take(sure).collect();
        assert_eq!(got.expect("tokens"), prompt.greedy[..sure], "{text:?}");
    }
    assert!(confident > 15, "only {confident} steps were compared");
}

/// The mean negative log-likelihood of a passage, within the 1 % that 8-bit activations may cost.
#[test]
fn a_passage_is_as_likely_as_in_the_reference() {
    if emulated() || isa() == Isa::scalar() {
        return;
    }
    let model = model();
    let passage = &reference()["passage"];
    let text = passage["text"].as_str().expect("a text");
    let mut ids: Vec<TokenId> = model.tokenizer().bos().into_iter().collect();
    ids.extend(model.tokenizer().encode(text));
    let mut nll = 0.0;
    let score = |at: usize, row: &[f32]| {
        let Some(next) = ids.get(at + 1) else { return };
        let max = f64::from(row[argmax(row)]);
        let sum: f64 = row.iter().map(|x| (f64::from(*x) - max).exp()).sum();
        nll -= f64::from(row[*next as usize]) - max - sum.ln();
    };
    session(&model).eval(&ids, score).expect("an evaluation");
    let (mean, want) = (nll / (ids.len() - 1) as f64, passage["mean_nll"].as_f64());
    let want = want.expect("a number");
    println!("{mean} against {want}");
    assert!((mean / want - 1.0).abs() < 0.01, "{mean} against {want}");
}
