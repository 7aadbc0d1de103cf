//! Depth without a prompt: `Session::fill`.

use crate::common::{bits, config, model, push, tokens};
use carat::{Error, Input, KvType, Session, SessionConfig, SessionError};

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

/// Every position has keys and values: a saved session of so many has no more words that are zero
/// than a few positions less. One position of the kit is 2 x 2 x 64 values of sliding layers and
/// 80 or more of the full one; of its ring of 8 + 6 positions all that count are saved.
#[test]
fn no_position_is_left_out() {
    let model = model("f32");
    let ids = tokens(100);
    let zeros = |count: usize| {
        let config = SessionConfig { context: 120, rollback: 6, ..config() };
        let mut session = Session::new(&model, config).expect("a session");
        session.fill(&ids[..count]).expect("room");
        let mut bytes = Vec::new();
        session.save_to(&mut bytes).expect("memory");
        bytes.as_chunks::<4>().0.iter().filter(|word| **word == [0; 4]).count()
    };
    let none = zeros(0);
    for count in [1, 2, 13, 14, 15, 60, 61, 62, 100] {
        let found = zeros(count);
        assert!(found < none + 40, "{count}: {found} words are zero, {none} of them in any case");
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
