//! Depth without a prompt: `Session::fill`.

mod common;

use carat::{Error, Input, KvType, Session, SessionConfig, SessionError};
use common::{bits, config, model, push, tokens};

/// What comes after arbitrary keys and values can be evaluated, cut and evaluated again as after a
/// prompt: the same bits, and others than those of a prompt. Going back to the end of what was
/// filled would evaluate its last token, as after every prompt.
#[test]
fn a_filled_session_goes_on_like_any_other() {
    let model = model("f32");
    let ids = tokens(100);
    for kv in [KvType::F32, KvType::F16, KvType::Q8] {
        let config = SessionConfig { kv, context: 120, rollback: 6, ..config() };
        // 5 tokens of a prompt, then 85: the window is 8, and a ring has 14 positions.
        let logits = |filled: bool, cut: usize| {
            let mut session = Session::new(&model, config.clone()).expect("a session");
            session.push(Input::Tokens(&ids[..5])).expect("a push");
            match filled {
                true => session.fill(&ids[5..90]).expect("room"),
                false => session.push(Input::Tokens(&ids[5..90])).expect("room"),
            }
            assert_eq!(session.len(), 90);
            let first = push(&mut session, &ids[90..94]);
            session.truncate(94 - cut).expect("within the rollback");
            let again = push(&mut session, &ids[94 - cut..94]);
            assert!(bits(&first) == bits(&again), "{kv:?} {filled} {cut}");
            bits(&first)
        };
        let filled = logits(true, 3);
        assert!(filled == logits(true, 2), "{kv:?}: the same ones every time");
        assert!(filled != logits(false, 3), "{kv:?}");
        let finite = filled.iter().all(|x| f32::from_bits(*x).is_finite());
        assert!(finite, "{kv:?}");
    }
}

/// Every position has its keys and values: attention of one token over zeros would be the mean of
/// the values, which changes with each of them.
#[test]
fn no_position_is_left_out() {
    let model = model("f32");
    let ids = tokens(300);
    let logits = |count: usize| {
        let config = SessionConfig { context: 400, ..config() };
        let mut session = Session::new(&model, config).expect("a session");
        session.fill(&ids[..count]).expect("room");
        bits(&push(&mut session, &ids[..1]))
    };
    let all: Vec<_> = (1..130).map(logits).collect();
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "{i}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let model = model("f32");
    let config = SessionConfig { context: 16, ..config() };
    let mut session = Session::new(&model, config).expect("a session");
    let error = session.fill(&tokens(17)).expect_err("too many");
    let full = |e: &Error| {
        matches!(e, Error::Session(SessionError::ContextFull { wanted: 17, context: 16 }))
    };
    assert!(full(&error), "{error}");
    assert!(session.fill(&[u32::MAX]).is_err());
    assert!(session.is_empty());
    session.fill(&[]).expect("nothing");
    session.fill(&tokens(16)).expect("room");
    assert_eq!(session.len(), 16);
    assert!(session.logits().is_ok(), "the last one is evaluated where its logits are wanted");
}
