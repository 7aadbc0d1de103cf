//! What a session promises about where it begins, what it reports and when it ends.

use std::ops::ControlFlow;

use crate::common::{bits, config, model, push, seeing_model, tokens};
use carat::{
    ChatTemplate, Error, Input, Model, Part, Progress, Sampler, SamplerConfig, Session,
    SessionConfig, SessionError, TokenId,
};
use serde_json::json;

fn session(model: &Model) -> Session {
    Session::new(model, config()).expect("a session")
}

fn greedy() -> Sampler {
    Sampler::new(SamplerConfig::default(), 512).expect("a sampler")
}

/// The tokens of a new session after one push.
fn pushed(model: &Model, input: Input<'_>) -> Vec<TokenId> {
    let mut session = session(model);
    session.push(input).expect("a push");
    session.tokens().to_vec()
}

#[test]
fn bos_begins_a_session_once() {
    let model = model("q4_0");
    let tokenizer = model.tokenizer();
    let bos = tokenizer.bos().expect("tiny-s has one");
    let words = tokenizer.encode("the fox");
    let first = [&[bos], &words[..]].concat();
    let template = ChatTemplate::new("{{ bos_token }}{{ words }}").expect("a template");
    let render = |bos: &str| {
        template.render(&json!({ "bos_token": bos, "words": "the fox" })).expect("a prompt")
    };
    for (what, input) in [
        ("text", Input::Text("the fox")),
        ("a prompt", Input::Prompt("the fox")),
        ("a prompt with BOS", Input::Prompt("<bos>the fox")),
        ("parts", Input::Parts(&[Part::Text("the fox")])),
        ("a template without BOS", Input::Rendered(&render(""))),
        ("a template with BOS", Input::Rendered(&render("<bos>"))),
        ("a conversation", Input::Conversation { prompt: &render("<bos>"), media: &[] }),
    ] {
        assert_eq!(pushed(&model, input), first, "{what}");
    }
    assert_eq!(pushed(&model, Input::Tokens(&words)), words);

    let mut session = session(&model);
    for _ in 0..2 {
        session.push(Input::Text("the fox")).expect("a push");
    }
    assert_eq!(session.tokens(), [&first[..], &words].concat());
}

#[test]
fn bos_takes_room_in_the_context() {
    let model = model("q4_0");
    let words = model.tokenizer().encode("the quick brown fox").len();
    for room in [words, words + 1] {
        let mut session =
            Session::new(&model, SessionConfig { context: room, ..config() }).expect("a session");
        match session.push(Input::Text("the quick brown fox")) {
            Ok(()) => assert_eq!((room, session.len()), (words + 1, words + 1)),
            Err(Error::Session(SessionError::ContextFull { wanted, context })) => {
                assert_eq!((wanted, context, session.len()), (words + 1, words, 0));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// What was generated last is evaluated with the next tokens, but it is not one of them.
#[test]
fn eval_reports_its_own_tokens_only() {
    let model = model("q4_0");
    let ids = tokens(6);
    let mut session = session(&model);
    push(&mut session, &ids[..4]);
    session.generate(&mut greedy()).next().expect("a token").expect("a token");
    let mut seen = Vec::new();
    session.eval(&ids[4..], |position, _| seen.push(position)).expect("an evaluation");
    assert_eq!(seen, [5, 6]);
}

#[test]
fn breaking_off_after_the_last_chunk_cancels_nothing() {
    let model = model("q4_0");
    let mut session = session(&model);
    let stop_at_end = &mut |progress: Progress| match progress.done == progress.total {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    session.push_with(Input::Tokens(&tokens(9)), stop_at_end).expect("all of it");
    assert_eq!(session.len(), 9);

    // Progress is that of the push, whatever was there before.
    let mut seen = Vec::new();
    let count = &mut |progress: Progress| {
        seen.push((progress.done, progress.total));
        ControlFlow::Continue(())
    };
    session.push_with(Input::Tokens(&tokens(5)), count).expect("a push");
    assert_eq!(seen, [(5, 5)]);
}

/// The session then holds the beginning of the sound, and what is pushed next comes after it.
#[test]
fn a_push_that_ends_within_sound_holds_its_beginning() {
    let model = seeing_model("q8_0");
    let soft = model.tokenizer().special("<|audio|>").expect("tiny-s hears");
    let samples: Vec<f32> = (0..20 * 640).map(|i| (i as f32 * 0.37).sin() / 2.0).collect();
    let ids = [&tokens(3)[..], &[soft; 20]].concat();
    let config = SessionConfig { prefill_chunk: 7, ..config() };

    let mut cut = Session::new(&model, config.clone()).expect("a session");
    let sound = cut.embed_samples(&samples).expect("sound").into_embeddings();
    let input = Input::Filled { ids: &ids, media: &sound };
    let cancelled = cut.push_with(input, &mut |_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(Error::Cancelled { done: 7, total: 23 })), "{cancelled:?}");
    assert_eq!(cut.tokens(), &ids[..7]);

    let mut short = Session::new(&model, config).expect("a session");
    let start = short.embed_samples(&samples[..4 * 640]).expect("sound").into_embeddings();
    short.push(Input::Filled { ids: &ids[..7], media: &start }).expect("a push");
    for session in [&mut cut, &mut short] {
        let more = session.embed_samples(&samples[..9 * 640]).expect("sound");
        session.push(Input::Parts(&[Part::Text("and"), Part::Medium(&more)])).expect("a push");
    }
    assert_eq!(cut.tokens(), short.tokens());
    assert!(bits(cut.logits().expect("logits")) == bits(short.logits().expect("logits")));
}

#[test]
fn generation_that_failed_has_ended() {
    let model = model("q4_0");
    let mut session = session(&model);
    let mut sampler = greedy();
    let mut tokens = session.generate(&mut sampler);
    let error = tokens.next().expect("an answer").expect_err("nothing was pushed");
    assert!(matches!(error, Error::Session(SessionError::NothingPushed)), "{error}");
    for _ in 0..3 {
        assert!(tokens.next().is_none());
    }
}

/// A penalty this strong makes what was said less likely than anything else.
#[test]
fn what_was_generated_is_penalised() {
    let model = model("f32");
    let sampling = SamplerConfig {
        repetition_penalty: 1e30,
        repetition_last_n: 100,
        ..SamplerConfig::default()
    };
    let mut sampler = Sampler::new(sampling, 512).expect("a sampler");
    let mut session = session(&model);
    push(&mut session, &[300, 301, 302]);
    let mut said: Vec<_> =
        session.generate(&mut sampler).take(40).map(|token| token.expect("a token")).collect();
    let count = said.len();
    said.sort_unstable();
    said.dedup();
    assert!(count > 10 && said.len() == count, "{} of {count} tokens differ", said.len());
}
