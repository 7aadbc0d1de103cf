//! The cache: rollback is exact as far as it is possible and refused beyond, limits are errors.

use std::ops::ControlFlow;

use crate::common::{self, bits, config, logits, model, push, tokens};
use carat::{
    Error, Input, KvType, Sampler, SamplerConfig, Session, SessionConfig, SessionError, Stop,
};

/// Of tiny-s, layers 0 and 1.
const WINDOW: usize = 8;

fn session(model: &carat::Model, config: SessionConfig) -> Session {
    Session::new(model, config).expect("a session")
}

/// Every length around the edges of ring and window is cut back to every other length: either it
/// goes on as a new session would, bit for bit, or it is refused, and it is refused exactly where
/// the rings have overwritten something.
#[test]
fn rollback_is_exact_or_refused() {
    let model = model("q4_0");
    let ids = tokens(40);
    for (kv, rollback) in [(KvType::F32, 0), (KvType::F32, 1), (KvType::F16, 5), (KvType::Q8, 2)] {
        let config = SessionConfig { kv, rollback, ..config() };
        let fresh: Vec<_> = (1..=ids.len())
            .map(|n| bits(&push(&mut session(&model, config.clone()), &ids[..n])))
            .collect();
        for len in [1, WINDOW - 1, WINDOW, WINDOW + rollback, WINDOW + rollback + 1, 30] {
            for n in 0..=len {
                let what = format!("{kv:?}, rollback {rollback}, {len} to {n}");
                let mut session = session(&model, config.clone());
                push(&mut session, &ids[..len]);
                // A single token sees none before it, so it can be evaluated again.
                let possible = n <= 1 || len - n <= rollback || len <= WINDOW + rollback;
                match session.truncate(n) {
                    Ok(()) => assert!(possible, "{what} must be refused"),
                    Err(Error::Session(SessionError::Rollback { wanted, least })) => {
                        assert!(!possible && wanted == n, "{what} must be possible");
                        assert_eq!(least, len - rollback, "{what}");
                        assert_eq!(session.len(), len, "{what}");
                        continue;
                    }
                    Err(e) => panic!("{what}: {e}"),
                }
                assert_eq!(session.tokens(), &ids[..n]);
                if n > 0 {
                    let now = bits(session.logits().expect("logits"));
                    assert!(now == fresh[n - 1], "{what}: other logits at once");
                }
                let next = bits(&push(&mut session, &ids[n..n + 3]));
                assert!(next == fresh[n + 2], "{what}: other logits after three more tokens");
            }
        }
    }
}

/// One token after the other is taken back: each time it goes on as a new session would, or it is
/// refused and stays as it was.
#[test]
fn going_back_step_by_step_is_exact_or_refused() {
    let model = model("q4_0");
    let ids = tokens(40);
    for rollback in [0, 1, 3] {
        let config = SessionConfig { rollback, ..config() };
        let fresh = |n: usize| bits(&push(&mut session(&model, config.clone()), &ids[..n]));
        for asks in [false, true] {
            let mut session = session(&model, config.clone());
            push(&mut session, &ids[..30]);
            for n in (20..30).rev() {
                let result = session.truncate(n);
                // What is asked for is evaluated again, which the rings then hold.
                let possible = 30 - n <= rollback;
                let is_refused = matches!(
                    result,
                    Err(Error::Session(SessionError::Rollback { wanted, least }))
                        if wanted == n && least == 30 - rollback
                );
                assert!(result.is_ok() == possible && is_refused != possible, "{rollback}, to {n}");
                if asks || !possible {
                    let len = session.len();
                    assert_eq!(len, if possible { n } else { 30 - rollback });
                    assert!(
                        bits(session.logits().expect("logits")) == fresh(len),
                        "{rollback}, {n}"
                    );
                }
            }
        }
    }
}

/// A second step back counts from the greatest length, not from the present one.
#[test]
fn rollback_twice_does_not_reach_further() {
    let model = model("q4_0");
    let ids = tokens(30);
    let mut session = session(&model, SessionConfig { rollback: 4, ..config() });
    push(&mut session, &ids);
    session.truncate(27).expect("three back");
    let refused = session.truncate(25);
    assert!(
        matches!(refused, Err(Error::Session(SessionError::Rollback { wanted: 25, least: 26 }))),
        "{refused:?}"
    );
    session.truncate(26).expect("four back in all");
    let fresh = push(&mut self::session(&model, config()), &ids);
    assert!(bits(&push(&mut session, &ids[26..])) == bits(&fresh));
    session.truncate(0).expect("zero is always possible");
    assert!(matches!(session.logits(), Err(Error::Session(SessionError::NothingPushed))));
    assert!(bits(&push(&mut session, &ids)) == bits(&fresh));
}

/// From nothing on, as much can be taken back as in a new session, whatever was there before.
#[test]
fn nothing_is_left_of_what_was_forgotten_as_a_whole() {
    let model = model("q4_0");
    let ids = tokens(60);
    let mut session = session(&model, SessionConfig { rollback: 2, ..config() });
    push(&mut session, &ids);
    for (len, back) in [(WINDOW, 1), (WINDOW + 2, 3), (WINDOW + 1, 2)] {
        session.truncate(0).expect("zero is always possible");
        push(&mut session, &ids[..len]);
        session.truncate(back).expect("the rings still hold everything");
        let fresh = push(&mut self::session(&model, config()), &ids[..20]);
        assert!(bits(&push(&mut session, &ids[back..20])) == bits(&fresh), "{len} to {back}");
    }
}

/// Rings have overwritten what lies too far before the greatest length that they have held. An
/// empty session begins anew.
#[test]
fn rings_know_their_greatest_length_until_they_are_empty() {
    let model = model("q4_0");
    let ids = tokens(30);
    let mut session = session(&model, SessionConfig { rollback: 4, ..config() });
    push(&mut session, &ids);
    session.truncate(27).expect("three back");
    push(&mut session, &ids[27..28]);
    let refused = session.truncate(25);
    let least = matches!(refused, Err(Error::Session(SessionError::Rollback { least: 26, .. })));
    assert!(least, "{refused:?}");

    session.truncate(0).expect("zero is always possible");
    push(&mut session, &ids[..WINDOW + 4]);
    session.truncate(5).expect("the rings still hold everything");
    let fresh = push(&mut self::session(&model, config()), &ids[..8]);
    assert!(bits(&push(&mut session, &ids[5..8])) == bits(&fresh));
}

/// A ring that wraps many times holds what one that never wraps holds.
#[test]
fn ring_length_does_not_change_a_bit() {
    let model = model("f32");
    let ids = tokens(600);
    let with = |rollback| {
        let config = SessionConfig { rollback, prefill_chunk: 11, ..config() };
        bits(&logits(&model, config, &ids).concat())
    };
    let never = with(1000);
    for rollback in [0, 1, 3, 8] {
        assert!(with(rollback) == never, "a ring of {} differs", WINDOW + rollback);
    }
}

#[test]
fn limits_are_errors_and_leave_the_session_as_it_was() {
    let model = model("q8_0");
    let ids = tokens(20);
    let mut session = session(&model, SessionConfig { context: 20, ..config() });
    let before = bits(&push(&mut session, &ids[..18]));
    let full = session.push(Input::Tokens(&ids[..3]));
    assert!(
        matches!(full, Err(Error::Session(SessionError::ContextFull { wanted: 21, context: 20 }))),
        "{full:?}"
    );
    let unknown = session.push(Input::Tokens(&[512]));
    assert!(
        matches!(unknown, Err(Error::Session(SessionError::Token { id: 512, vocab: 512 }))),
        "{unknown:?}"
    );
    let beyond = session.truncate(19);
    assert!(
        matches!(
            beyond,
            Err(Error::Session(SessionError::TruncateBeyond { wanted: 19, have: 18 }))
        ),
        "{beyond:?}"
    );
    assert_eq!(session.len(), 18);
    assert!(bits(session.logits().expect("logits")) == before);
    push(&mut session, &ids[18..]);

    let too_long = SessionConfig { context: 4097, ..config() };
    let too_long = Session::new(&model, too_long).map(|_| ());
    assert!(matches!(
        too_long,
        Err(Error::Session(SessionError::ContextTooLong { wanted: 4097, model: 4096 }))
    ));
    let no_chunk = Session::new(&model, SessionConfig { prefill_chunk: 0, ..config() }).map(|_| ());
    assert!(matches!(
        no_chunk,
        Err(Error::Session(SessionError::Setting { setting: "prefill_chunk", .. }))
    ));
}

#[test]
fn generation_ends_with_the_context_and_can_go_on_after_a_cut() {
    let model = model("f32");
    let vocab = model.tokenizer().vocab_size();
    let mut sampler = Sampler::new(SamplerConfig::default(), vocab).expect("a sampler");
    let mut session = session(&model, SessionConfig { context: 25, ..config() });
    let nothing = session.generate(&mut sampler).next();
    assert!(
        matches!(nothing, Some(Err(Error::Session(SessionError::NothingPushed)))),
        "{nothing:?}"
    );

    let case = &common::cases()[0];
    session.push(Input::Tokens(&case.ids)).expect("a push");
    let all: Vec<_> = session.generate(&mut sampler).collect::<Result<_, _>>().expect("tokens");
    assert_eq!(all, case.greedy[..25 - case.ids.len()]);
    assert_eq!(session.stop(), Some(Stop::ContextFull));

    // Dropped after two tokens, it holds two tokens more, and goes on with the third.
    session.truncate(case.ids.len()).expect("a cut");
    assert_eq!(session.generate(&mut sampler).take(2).count(), 2);
    assert_eq!(session.stop(), None);
    assert_eq!(session.tokens()[case.ids.len()..], case.greedy[..2]);
    let third = session.generate(&mut sampler).next().expect("a token").expect("no error");
    assert_eq!(third, case.greedy[2]);
}

#[test]
fn a_push_can_be_cancelled_between_chunks() {
    let model = model("q4_0");
    let ids = tokens(20);
    let mut session = session(&model, SessionConfig { prefill_chunk: 6, ..config() });
    let mut seen = Vec::new();
    let cancelled = session.push_with(Input::Tokens(&ids), &mut |progress| {
        seen.push((progress.done, progress.total));
        if progress.done < 12 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(cancelled, Err(Error::Cancelled { done: 12, total: 20 })), "{cancelled:?}");
    assert_eq!(seen, [(6, 20), (12, 20)]);
    assert_eq!(session.tokens(), &ids[..12]);
    let fresh = push(&mut self::session(&model, config()), &ids[..12]);
    assert!(bits(session.logits().expect("logits")) == bits(&fresh));
}
