//! Callbacks that panic: the panic reaches the caller, and the session holds what was evaluated.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::{self, bits, config, logits, model, push, tokens};
use carat::{Input, Model, OpenOptions, Sampler, SamplerConfig, Session, SessionConfig};

/// What `work` panics with.
fn panic_of(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("a panic");
    (*panic.downcast::<&str>().expect("its text")).to_owned()
}

#[test]
fn a_session_survives_its_progress_callback() {
    let model = model("q4_0");
    let ids = tokens(30);
    let config = SessionConfig { prefill_chunk: 4, threads: 2, ..config() };
    let fresh: Vec<_> = logits(&model, config.clone(), &ids).iter().map(|row| bits(row)).collect();
    for (at, total) in [(4, 21), (8, 21), (20, 21), (21, 21)] {
        let mut session = Session::new(&model, config.clone()).expect("a session");
        push(&mut session, &ids[..3]);
        let panic = panic_of(|| {
            let progress = &mut |progress: carat::Progress| match progress.done == at {
                true => panic!("no more"),
                false => ControlFlow::Continue(()),
            };
            session.push_with(Input::Tokens(&ids[3..3 + total]), progress).expect("a push");
        });
        assert_eq!(panic, "no more");
        assert_eq!(session.tokens(), &ids[..3 + at]);
        assert!(bits(session.logits().expect("logits")) == fresh[3 + at - 1], "at once, {at}");
        assert!(bits(&push(&mut session, &ids[3 + at..])) == fresh[29], "pushed on, {at}");
        session.truncate(0).expect("a new start");
        assert!(bits(&push(&mut session, &ids)) == fresh[29], "anew, {at}");
    }
}

#[test]
fn a_session_survives_a_callback_that_sees_its_logits() {
    let model = model("q4_0");
    let ids = tokens(30);
    let config = SessionConfig { prefill_chunk: 10, ..config() };
    let fresh: Vec<_> = logits(&model, config.clone(), &ids).iter().map(|row| bits(row)).collect();
    // The pass in which it panics is finished.
    for (at, held) in [(2, 12), (11, 12), (12, 22), (23, 24)] {
        let mut session = Session::new(&model, config.clone()).expect("a session");
        push(&mut session, &ids[..2]);
        let mut seen = Vec::new();
        let panic = panic_of(|| {
            let each = |position, row: &[f32]| {
                seen.push(position);
                assert!(bits(row) == fresh[position], "{position}");
                if position == at {
                    panic!("seen enough");
                }
            };
            session.eval(&ids[2..24], each).expect("an evaluation");
        });
        assert_eq!(panic, "seen enough");
        assert!(seen.iter().copied().eq(2..=at), "{seen:?}");
        assert_eq!(session.tokens(), &ids[..held]);
        assert!(bits(session.logits().expect("logits")) == fresh[held - 1], "at once, {at}");
        let mut sampler = Sampler::new(SamplerConfig::default(), 512).expect("a sampler");
        session.generate(&mut sampler).next().expect("a token").expect("a token");
        session.truncate(held).expect("one back");
        assert!(bits(&push(&mut session, &ids[held..])) == fresh[29], "pushed on, {at}");
    }
}

/// Half of a cache file is written by then.
#[test]
fn a_panic_while_a_model_is_opened_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("model.cache");
    let panic = panic_of(|| {
        let mut calls = 0;
        let mut progress = |_, _| {
            calls += 1;
            assert!(folder.path().read_dir().expect("a folder").next().is_some());
            if calls == 2 { panic!("no more") } else { ControlFlow::Continue(()) }
        };
        let (cache, progress) = (Some(&*cache), Some(&mut progress as _));
        let options = OpenOptions { cache, progress, ..Default::default() };
        Model::open_with(common::file("q4_0"), options).expect("a model");
    });
    assert_eq!(panic, "no more");
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);
    let options = OpenOptions { cache: Some(&cache), ..Default::default() };
    let model = Model::open_with(common::file("q4_0"), options).expect("a model");
    let fresh = logits(&common::model("q4_0"), config(), &tokens(5));
    assert!(logits(&model, config(), &tokens(5)) == fresh);
}
