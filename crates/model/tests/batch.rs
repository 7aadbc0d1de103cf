//! Several sessions in one pass: each has the bits that it has alone.

use crate::common::{
    bits, config, embed_case, media_cases, model, read_case, seeing_model, tokens,
};
use carat::{
    Cancel, Error, Input, KvType, Model, Sampler, SamplerConfig, Seat, Session, SessionConfig,
    SessionError, Step, Stop, step,
};

/// A session with something to read, and a sampler of its own.
struct Talk {
    session: Session,
    sampler: Sampler,
}

impl Talk {
    fn new(model: &Model, config: SessionConfig, seed: u64) -> Self {
        let sampling = SamplerConfig { temperature: 1.0, top_k: 50, seed, ..Default::default() };
        let sampler = Sampler::new(sampling, model.tokenizer().vocab_size()).expect("a sampler");
        Self { session: Session::new(model, config).expect("a session"), sampler }
    }

    fn bits(&mut self) -> Vec<u32> {
        bits(self.session.logits().expect("logits"))
    }
}

fn steps(talks: &mut [Talk]) -> Vec<Step> {
    let seats = talks.iter_mut().map(|Talk { session, sampler }| Seat { session, sampler });
    let steps = step(&mut seats.collect::<Vec<_>>(), &Cancel::new()).expect("a step");
    steps.into_iter().map(|step| step.expect("a step")).collect()
}

/// Some settings, none of which may show in another session.
fn settings(i: usize) -> SessionConfig {
    let kv = [KvType::F32, KvType::F16, KvType::Q8][i % 3];
    let (context, rollback) = ([512, 100, 300][i % 3], [0, 5, 64, 7][i % 4]);
    SessionConfig { kv, context, rollback, prefill_chunk: [16, 64, 5][i % 3], ..config() }
}

#[test]
fn sessions_in_one_pass_have_the_bits_they_have_alone() {
    for quant in ["q4_0", "bf16", "f32"] {
        let model = model(quant);
        // From one that decodes at once to prompts of several passes; more than eight columns.
        let lengths = [1, 90, 3, 40, 17, 1, 64, 2, 33, 8];
        let prompt = |i: usize| tokens(lengths[i] + i)[i..].to_vec();
        for threads in [1, 3] {
            let make = |i| Talk::new(&model, SessionConfig { threads, ..settings(i) }, i as u64);
            let mut together: Vec<_> = (0..lengths.len()).map(make).collect();
            for (i, talk) in together.iter_mut().enumerate() {
                talk.session.enqueue(Input::Tokens(&prompt(i))).expect("room");
            }
            for _ in 0..40 {
                steps(&mut together);
            }
            for (i, talk) in together.iter_mut().enumerate() {
                let mut alone = make(i);
                alone.session.push(Input::Tokens(&prompt(i))).expect("a push");
                let said = talk.session.len() - lengths[i];
                for token in alone.session.generate(&mut alone.sampler).take(said) {
                    token.expect("a token");
                }
                assert!(said > 5 || talk.session.stop().is_some(), "{quant} {i}: {said} tokens");
                assert_eq!(talk.session.tokens(), alone.session.tokens(), "{quant} {i}");
                assert!(talk.bits() == alone.bits(), "{quant} {i}, {threads} threads");
            }
        }
    }
}

/// Pictures see themselves whole, in a pass that others share.
#[test]
fn media_in_one_pass_have_the_bits_they_have_alone() {
    let model = seeing_model("q8_0");
    let settings = || SessionConfig { prefill_chunk: 20, ..config() };
    let mut together = Vec::new();
    for case in media_cases() {
        let mut talk = Talk::new(&model, settings(), 1);
        let media = embed_case(&mut talk.session, &case);
        let input = Input::Filled { ids: &case.ids, media: &media };
        talk.session.enqueue(input).expect("room");
        together.push(talk);
    }
    while together.iter().any(|talk| talk.session.pending() > 1) {
        steps(&mut together);
    }
    for (case, talk) in media_cases().into_iter().zip(&mut together) {
        let mut alone = Talk::new(&model, settings(), 1);
        read_case(&mut alone.session, &case);
        let said = talk.session.len() - case.ids.len();
        for token in alone.session.generate(&mut alone.sampler).take(said) {
            token.expect("a token");
        }
        assert_eq!(talk.session.tokens(), alone.session.tokens(), "{}", case.name);
        assert!(talk.bits() == alone.bits(), "{}", case.name);
    }
}

/// Who decodes goes on in every pass while a long prompt is read beside it.
#[test]
fn a_prompt_holds_nobody_up() {
    let model = model("q4_0");
    let make = |seed| {
        Talk::new(&model, SessionConfig { prefill_chunk: 10, context: 512, ..config() }, seed)
    };
    let mut talks = [make(1), make(2), make(3)];
    for (talk, length) in talks.iter_mut().zip([1, 100, 30]) {
        talk.session.enqueue(Input::Tokens(&tokens(length))).expect("room");
    }
    let mut read = [0, 0];
    for _ in 0..8 {
        let steps = steps(&mut talks);
        assert!(matches!(steps[0], Step::Token(_)), "{steps:?}");
        for (read, step) in read.iter_mut().zip(&steps[1..]) {
            *read += if let Step::Reading(progress) = step { progress.done } else { 0 };
        }
    }
    assert_eq!(read, [8 * 9, 0], "the first prompt has what the others leave, the next one waits");
}

#[test]
fn who_has_ended_says_why_and_the_others_go_on() {
    let model = model("q4_0");
    let make = |context| Talk::new(&model, SessionConfig { context, ..config() }, 9);
    let mut talks = [make(12), make(64)];
    for talk in &mut talks {
        talk.session.enqueue(Input::Tokens(&tokens(11))).expect("room");
    }
    assert!(matches!(steps(&mut talks)[..], [Step::Token(a), Step::Token(b)] if a == b));
    let [first, second] = steps(&mut talks)[..] else { panic!("two") };
    assert_eq!(first, Step::Stopped(Stop::ContextFull));
    assert!(matches!(second, Step::Token(_)), "{second:?}");
    assert_eq!(talks[0].session.stop(), Some(Stop::ContextFull));
    assert_eq!(steps(&mut talks)[0], Step::Stopped(Stop::ContextFull), "it stays so");
    assert!(step(&mut [], &Cancel::new()).expect("nothing to do").is_empty());
}

#[test]
fn what_is_wrong_with_one_is_told_in_its_place() {
    let model = model("q4_0");
    let make = || Talk::new(&model, config(), 4);
    let (mut empty, mut sound) = (make(), make());
    sound.session.enqueue(Input::Tokens(&tokens(5))).expect("room");
    let seats = [&mut empty, &mut sound];
    let mut seats = seats.map(|Talk { session, sampler }| Seat { session, sampler });
    let steps = step(&mut seats, &Cancel::new()).expect("a step");
    assert!(
        matches!(&steps[0], Err(Error::Session(SessionError::NothingPushed))),
        "{:?}",
        steps[0]
    );
    assert!(matches!(&steps[1], Ok(Step::Token(_))), "{:?}", steps[1]);
}

#[test]
fn sessions_with_other_threads_are_refused_and_cancelled_ones_stay_as_they_were() {
    let model = model("q4_0");
    let mut talks = [Talk::new(&model, config(), 1), Talk::new(&model, config(), 2)];
    let own = SessionConfig { own_threads: true, ..config() };
    let mut other = Talk::new(&model, own, 3);
    for talk in talks.iter_mut().chain([&mut other]) {
        talk.session.enqueue(Input::Tokens(&tokens(20))).expect("room");
    }
    {
        let [first, second] = &mut talks;
        let seats = [first, &mut other, second];
        let mut seats = seats.map(|Talk { session, sampler }| Seat { session, sampler });
        let result = step(&mut seats, &Cancel::new());
        assert!(
            matches!(result, Err(Error::Session(SessionError::OtherEngine { index: 1 }))),
            "{result:?}"
        );
    }
    let cancel = Cancel::new();
    cancel.cancel();
    let seats = talks.iter_mut().map(|Talk { session, sampler }| Seat { session, sampler });
    let result = step(&mut seats.collect::<Vec<_>>(), &cancel);
    assert!(matches!(result, Err(Error::Cancelled { done: 0, total: 40 })), "{result:?}");
    for talk in &mut talks {
        assert_eq!((talk.session.len(), talk.session.pending()), (20, 20));
        assert!(talk.bits() == other.bits());
    }
}
