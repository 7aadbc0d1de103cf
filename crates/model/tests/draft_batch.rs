//! Drafts of several sessions in one pass, and beside pictures and sound.

use crate::common::{config, media_cases, model, read_case, seeing_model, tokens};
use crate::drafting::{Talk, assert_same, fixed, said, said_by, samplings, scripted};
use crate::saved::bytes;
use carat::{
    Cancel, DraftConfig, Error, Input, KvType, SamplerConfig, Seat, SessionConfig, Step, step,
};

fn steps(talks: &mut [Talk]) -> Vec<Step> {
    let seats = talks.iter_mut().map(|Talk { session, sampler }| Seat { session, sampler });
    let steps = step(&mut seats.collect::<Vec<_>>(), &Cancel::new()).expect("a step");
    steps.into_iter().map(|step| step.expect("a step")).collect()
}

/// Three sessions and more in one pass, some of them with drafts.
#[test]
fn batches_have_the_bits_of_each_alone() {
    let model = model("q4_0");
    for seed in 0..12 {
        let settings = |i: usize| SessionConfig {
            kv: [KvType::F32, KvType::F16, KvType::Q8][i % 3],
            rollback: i,
            context: 150,
            prefill_chunk: 24,
            ..config()
        };
        let sampling = |i: usize| samplings(seed + i as u64)[i % 4].clone();
        let prompt = |i: usize| tokens(50)[i..i + [9, 1, 30, 14][i % 4]].to_vec();
        let count = 3 + seed as usize % 2;
        let mut talks = Vec::new();
        for i in 0..count {
            let text = said_by(&model, &settings(i), &sampling(i), &prompt(i), 60);
            let right = [0.0, 0.6, 1.0][(i + seed as usize) % 3];
            let most = [4, 2, 7, 1][(i + seed as usize) % 4];
            let draft = DraftConfig { most, adaptive: seed % 3 == 2 };
            let drafts = scripted(text, right, seed);
            let mut talk = Talk::drafting(&model, &settings(i), &sampling(i), drafts, draft);
            talk.session.enqueue(Input::Tokens(&prompt(i))).expect("room");
            talks.push(talk);
        }
        for _ in 0..40 {
            steps(&mut talks);
        }
        for (i, talk) in talks.iter_mut().enumerate() {
            let mut alone = Talk::new(&model, &settings(i), &sampling(i));
            alone.push(&prompt(i));
            let said = talk.session.len() - prompt(i).len();
            for token in alone.session.generate(&mut alone.sampler).take(said) {
                token.expect("a token");
            }
            assert!(said > 20 || talk.session.stop().is_some(), "{said} tokens");
            if talk.session.stop().is_some() {
                alone.session.generate(&mut alone.sampler).for_each(drop);
            }
            assert_same(&mut alone, talk, &format!("seed {seed}, session {i}"));
        }
    }
}

/// A step that is cancelled leaves sessions as they were whose next token was a draft.
#[test]
fn cancelled_steps_leave_no_trace() {
    let model = model("q4_0");
    let config = SessionConfig { context: 200, ..config() };
    let sampling = SamplerConfig::default();
    let ids = tokens(9);
    let text = said(&model, &config, &ids, 60);
    let make = || {
        let drafts = scripted(text.clone(), 1.0, 1);
        let mut talk = Talk::drafting(&model, &config, &sampling, drafts, fixed(5));
        talk.push(&ids);
        talk
    };
    let mut talks = [make(), make()];
    steps(&mut talks);
    steps(&mut talks);
    let before = talks.each_ref().map(|talk| bytes(&talk.session));
    let cancel = Cancel::new();
    cancel.cancel();
    let seats = talks.iter_mut().map(|Talk { session, sampler }| Seat { session, sampler });
    let result = step(&mut seats.collect::<Vec<_>>(), &cancel);
    assert!(matches!(result, Err(Error::Cancelled { done: 0, .. })), "{result:?}");
    assert!(talks.each_ref().map(|talk| bytes(&talk.session)) == before);
    for _ in 0..12 {
        steps(&mut talks);
    }
    let mut plain = Talk::new(&model, &config, &sampling);
    plain.push(&ids);
    plain.say(14);
    let [first, _] = &mut talks;
    if plain.session.len() == first.session.len() {
        assert_same(&mut plain, first, "after a cancelled step");
    }
}

#[test]
fn pictures_and_sound_are_seen_and_heard_by_drafts() {
    let model = seeing_model("q8_0");
    for case in media_cases() {
        for right in [0.0, 0.5, 1.0] {
            let config = SessionConfig { prefill_chunk: 20, ..config() };
            let sampling = samplings(2)[1].clone();
            let read = |talk: &mut Talk| {
                read_case(&mut talk.session, &case);
            };
            let mut plain = Talk::new(&model, &config, &sampling);
            read(&mut plain);
            let mut script = Talk::new(&model, &config, &sampling);
            read(&mut script);
            script.say(40);
            let drafts = scripted(script.session.tokens().to_vec(), right, 4);
            let mut drafting = Talk::drafting(&model, &config, &sampling, drafts, fixed(4));
            read(&mut drafting);
            for count in [1, 5, 24] {
                plain.say(count);
                drafting.say(count);
                assert_same(&mut plain, &mut drafting, &format!("{}, {right}", case.name));
            }
            // Another picture after tokens that were drafted.
            read(&mut plain);
            read(&mut drafting);
            plain.say(5);
            drafting.say(5);
            assert_same(&mut plain, &mut drafting, &format!("{} again", case.name));
        }
    }
}
