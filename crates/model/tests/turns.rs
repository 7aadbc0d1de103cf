//! What ends a turn and what is never said: each token that the file names, with the likeliest
//! tokens of the reference implementation for a model that would say them.

use crate::common::{argmax, cases, config, file, reference};
use carat::{Input, Model, Sampler, SamplerConfig, Session, SessionConfig, Stop, TokenId};
use carat_gguf::{Endian, OwnedValue, Source, Writer};

/// tiny-s with one metadata key more, and the rows of two tokens of its embedding, which is its
/// output head as well, in each other's place.
fn changed(key: Option<(&str, OwnedValue)>, swap: Option<[TokenId; 2]>) -> Model {
    let source = Source::open(&file("f32")).expect("tiny-s");
    let gguf = source.parse().expect("tiny-s parses");
    let mut writer = Writer::new(Endian::Little, 3);
    for (name, value) in gguf.metadata().iter() {
        writer = writer.metadata(name, *value);
    }
    if let Some((key, value)) = key {
        writer = writer.metadata(key, value);
    }
    for tensor in gguf.tensors() {
        let mut data = tensor.data.to_vec();
        if let Some([a, b]) = swap.filter(|_| tensor.name == "token_embd.weight") {
            let row = data.len() / 512;
            let (a, b) = (a as usize * row, b as usize * row);
            (0..row).for_each(|i| data.swap(a + i, b + i));
        }
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, data);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, writer.to_bytes().expect("a file")).expect("a file");
    Model::open(path).expect("a model")
}

/// The first token said after `ids`, and why there is none.
fn first(
    model: &Model,
    ids: &[TokenId],
    sampling: SamplerConfig,
) -> (Option<TokenId>, Option<Stop>) {
    let mut session = Session::new(model, config()).expect("a session");
    session.push(Input::Tokens(ids)).expect("a push");
    let mut sampler = Sampler::new(sampling, 512).expect("a sampler");
    let token = session.generate(&mut sampler).next().transpose().expect("a token or none");
    assert_eq!(session.len(), ids.len() + usize::from(token.is_some()));
    (token, session.stop())
}

#[test]
fn every_token_that_ends_a_turn_ends_it() {
    let [case, _] = &cases()[..] else { panic!("two cases") };
    let (ids, said) = (&case.ids, case.greedy[0]);
    let greedy = SamplerConfig::default;
    let plain = changed(None, None);
    assert_eq!(first(&plain, ids, greedy()), (Some(said), None));
    for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
        let model = changed(Some((key, said.into())), None);
        assert_eq!(
            first(&model, ids, greedy()),
            (None, Some(Stop::EndOfGeneration(said))),
            "{key}"
        );
    }
    // Named by their text alone, the first one by the file as well.
    let mut tried = 0;
    for text in ["<eos>", "<end_of_turn>", "<turn|>", "<|tool_response>"] {
        let Some(end) = plain.tokenizer().special(text) else { continue };
        assert!(!ids.contains(&end) && !ids.contains(&said), "{text} is part of the prompt");
        let model = changed(None, Some([end, said]));
        assert_eq!(
            first(&model, ids, greedy()),
            (None, Some(Stop::EndOfGeneration(end))),
            "{text}"
        );
        tried += 1;
    }
    assert!(tried >= 3, "tiny-s has {tried} of them");
}

/// A full context stops a model that goes on, not one that has ended its turn.
#[test]
fn a_turn_that_ends_with_the_context_has_ended() {
    let [case, _] = &cases()[..] else { panic!("two cases") };
    let said = case.greedy[0];
    let ending = changed(Some(("tokenizer.ggml.eot_token_id", said.into())), None);
    for (model, stop) in
        [(changed(None, None), Stop::ContextFull), (ending, Stop::EndOfGeneration(said))]
    {
        let config = SessionConfig { context: case.ids.len(), ..config() };
        let mut session = Session::new(&model, config).expect("a session");
        session.push(Input::Tokens(&case.ids)).expect("a push");
        let mut sampler = Sampler::new(SamplerConfig::default(), 512).expect("a sampler");
        assert!(session.generate(&mut sampler).next().is_none());
        assert_eq!(session.stop(), Some(stop));
        // The token that ended the turn was drawn: the next turn begins with another number.
        let has_ended = matches!(stop, Stop::EndOfGeneration(_));
        assert_eq!(sampler.position(), u64::from(has_ended));
        session.truncate(case.ids.len() - 1).expect("tokens to take back");
        assert_eq!(session.stop(), None);
    }
}

#[test]
fn suppressed_tokens_are_never_said() {
    let [case, _] = &cases()[..] else { panic!("two cases") };
    let mut logits = reference(&format!("{}.logits.f32", case.name)).pop().expect("a row");
    // The likeliest ones, as the reference has them.
    let mut ranked = Vec::new();
    for _ in 0..4 {
        let likeliest = argmax(&logits);
        ranked.push(likeliest as TokenId);
        logits[likeliest] = f32::NEG_INFINITY;
    }
    assert_eq!(ranked[0], case.greedy[0]);
    for suppressed in 1..4 {
        let ids: Vec<u32> = ranked[..suppressed].to_vec();
        let model = changed(Some(("tokenizer.ggml.suppress_tokens", ids.clone().into())), None);
        let greedy = first(&model, &case.ids, SamplerConfig::default());
        assert_eq!(greedy, (Some(ranked[suppressed]), None), "{ids:?}");
        for seed in 0..50 {
            let sampling = SamplerConfig { seed, temperature: 0.3, ..SamplerConfig::gemma() };
            let (said, _) = first(&model, &case.ids, sampling);
            assert!(said.is_none_or(|said| !ids.contains(&said)), "{said:?} of {ids:?}");
        }
    }
}
