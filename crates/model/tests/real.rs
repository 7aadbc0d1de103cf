//! The real Gemma 3 270M against Hugging Face's greedy text (`data/gemma3-270m.json`: the weights
//! of the same file, dequantised, in f32).
//!
//! `scripts/fetch-270m.sh` puts the model in its place; `.ci/run test` calls it.

use std::path::{Path, PathBuf};

use crate::common::{self, argmax, isa};
use carat::{
    DraftConfig, Input, Isa, Model, Sampler, SamplerConfig, Session, SessionConfig, TokenId,
};
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

/// Text that repeats itself across the end of the sliding window, which has 512 positions.
#[test]
fn drafts_change_no_text() {
    let model = model();
    let words = "Bread is made of flour, water and salt; it is baked for an hour. ".repeat(60);
    let mut ids = model.tokenizer().encode_prompt(&format!("<bos>{words}"));
    ids.truncate(490);
    for temperature in [0.0, 1.0] {
        let [mut plain, mut drafting] = [0, 6].map(|most| {
            let draft = DraftConfig { most, adaptive: false };
            let config = SessionConfig { context: 1024, isa: isa(), draft, ..Default::default() };
            Session::new(&model, config).expect("a session")
        });
        for session in [&mut plain, &mut drafting] {
            let sampling = SamplerConfig { temperature, seed: 5, ..Default::default() };
            let vocab = model.tokenizer().vocab_size();
            let mut sampler = Sampler::new(sampling, vocab).expect("a sampler");
            session.push(Input::Tokens(&ids)).expect("a push");
            for token in session.generate(&mut sampler).take(60) {
                token.expect("a token");
            }
        }
        assert_eq!(plain.tokens(), drafting.tokens(), "temperature {temperature}");
        let [a, b] =
            [&mut plain, &mut drafting].map(|session| session.logits().expect("logits").to_vec());
        assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
        let stats = drafting.draft_stats();
        assert!(stats.accepted > 10 && stats.accepted < stats.drafted, "{stats:?}");
    }
}

#[test]
fn the_greedy_text_is_that_of_the_reference() {
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

        // Weights were read in both ways meanwhile, where there are two.
        let readings = session.weight_readings();
        assert_eq!(readings.is_empty(), !isa().name().starts_with("avx"), "{readings:?}");
        let speeds = readings.iter().flat_map(|reading| reading.gb_s);
        assert!(speeds.into_iter().all(|gb_s| gb_s > 0.0 && gb_s < 1e5), "{readings:?}");
    }
    assert!(confident > 15, "only {confident} steps were compared");
}

/// The mean negative log-likelihood of a passage, within the 1 % that 8-bit activations may cost.
#[test]
fn a_passage_is_as_likely_as_in_the_reference() {
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

/// Ten turns, longer in all than the sliding window of 512 tokens: each costs what is new in it,
/// and the logits have the bits of a session that reads everything anew.
#[cfg(feature = "chat")]
#[test]
fn a_conversation_of_ten_turns_is_read_once() {
    use std::sync::Arc;

    use carat::{AnswerOptions, Chat, ChatConfig, ChatTemplate, Event, Message};

    let template = "{{ bos_token }}{% for m in messages %}<start_of_turn>\
        {{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n\
        {% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}";
    let template = Arc::new(ChatTemplate::new(template).expect("a template"));
    let model = model();
    let session = SessionConfig { context: 4096, marks: 2, isa: isa(), ..Default::default() };
    let config = ChatConfig { session, template: Some(template), tools: Vec::new() };
    let mut chat = Chat::new(&model, config.clone()).expect("a chat");
    let words = "Tell me more about rivers, mountains and the sea. ".repeat(8);
    for turn in 0..10 {
        chat.push(Message::user(format!("Question {turn}. {words}")));
        let messages = chat.messages().to_vec();
        // The last token of an answer was never evaluated.
        let evaluated = chat.session().len() - chat.session().pending();
        let before = chat.session().tokens()[..evaluated].to_vec();
        let mut options = AnswerOptions { max_tokens: Some(40), ..AnswerOptions::default() };
        options.sampling.seed = turn;
        let mut logits = Vec::new();
        let mut usage = None;
        // The bits before anything is chosen.
        for stop in [true, false] {
            let mut options = options.clone();
            options.max_tokens = if stop { Some(0) } else { options.max_tokens };
            for event in chat.reply(options).expect("an answer") {
                if let Event::Done(done) = event.expect("an event") {
                    usage = usage.or(Some(done.usage));
                }
            }
            if stop {
                logits = common::bits(chat.session_mut().logits().expect("logits"));
                let prompt = chat.session().tokens();
                let common = prompt.iter().zip(&before).take_while(|(a, b)| a == b).count();
                let usage = usage.expect("an end");
                assert_eq!(usage.cached_tokens, common, "turn {turn}");
                assert!(turn == 0 || common >= 100 * turn as usize, "turn {turn}: {common}");
            }
        }
        if turn % 3 == 2 {
            let mut fresh = Chat::new(&model, config.clone()).expect("a chat");
            fresh.set_messages(messages);
            let mut stop = options;
            stop.max_tokens = Some(0);
            fresh.reply(stop).expect("an answer").for_each(|event| drop(event.expect("an event")));
            let wanted = common::bits(fresh.session_mut().logits().expect("logits"));
            assert!(logits == wanted, "turn {turn}");
        }
    }
    assert!(chat.session().len() > 1024);
}
