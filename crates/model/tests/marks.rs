//! Marks: a session comes back from however far, with the bits that it had.

use std::ops::ControlFlow;

use crate::common::{bits, config, kit, logits, model, push, seeing_model, tokens};
use carat::{
    Error, Input, KvType, MediaPrompt, Sampler, SamplerConfig, Session, SessionConfig, SessionError,
};

fn settings(marks: usize) -> SessionConfig {
    SessionConfig { marks, rollback: 3, context: 1024, prefill_chunk: 50, ..config() }
}

/// The window of tiny-s is 8 positions, so that rings forget soon.
#[test]
fn a_mark_is_come_back_to_from_any_length() {
    let ids = tokens(400);
    for (quant, kv) in [("q4_0", KvType::F32), ("q4_0", KvType::F16), ("f32", KvType::Q8)] {
        let model = model(quant);
        let settings = |marks| SessionConfig { kv, ..settings(marks) };
        let fresh = |ids: &[u32]| {
            let mut session = Session::new(&model, settings(0)).expect("a session");
            bits(&push(&mut session, ids))
        };
        for at in [1, 2, 7, 8, 9, 30, 100] {
            let mut session = Session::new(&model, settings(2)).expect("a session");
            let logits = bits(&push(&mut session, &ids[..at]));
            session.mark(session.len()).expect("memory");
            for grown in [at, at + 1, at + 4, at + 20, 350] {
                session.push(Input::Tokens(&ids[at..grown])).expect("a push");
                session.truncate(at).expect("a mark is there");
                assert!(bits(session.logits().expect("logits")) == logits, "{quant} {at} {grown}");
                let other: Vec<_> = ids[..at].iter().chain(&ids[200..260]).copied().collect();
                assert!(bits(&push(&mut session, &ids[200..260])) == fresh(&other), "{at} {grown}");
                session.truncate(at).expect("again");
            }
            assert_eq!(session.marks().collect::<Vec<_>>(), [at]);
        }
    }
}

/// Beyond a mark tokens are evaluated again, up to what was asked for.
#[test]
fn what_follows_a_mark_can_be_come_back_to() {
    let (model, ids) = (model("q4_0"), tokens(300));
    let mut session = Session::new(&model, settings(1)).expect("a session");
    push(&mut session, &ids[..40]);
    session.mark(session.len()).expect("memory");
    let wanted = bits(&push(&mut session, &ids[40..60]));
    push(&mut session, &ids[60..]);
    session.truncate(60).expect("20 tokens after a mark");
    assert_eq!((session.len(), session.pending()), (60, 20));
    assert!(bits(session.logits().expect("logits")) == wanted);
    push(&mut session, &ids[60..]);
    for length in [39, 20] {
        match session.truncate(length) {
            Err(Error::Session(SessionError::Rollback { wanted, least: 297 })) => {
                assert_eq!(wanted, length);
            }
            other => panic!("{length}: {other:?}"),
        }
    }
    assert_eq!(session.len(), 300);
}

#[test]
fn the_oldest_mark_goes_first_and_those_beyond_are_forgotten() {
    let (model, ids) = (model("q4_0"), tokens(300));
    let mut session = Session::new(&model, settings(3)).expect("a session");
    for (i, end) in [10, 50, 90, 130, 170].into_iter().enumerate() {
        session.push(Input::Tokens(&ids[session.len()..end])).expect("a push");
        session.mark(session.len()).expect("memory");
        session.mark(session.len()).expect("one is enough");
        assert_eq!(session.marks().count(), (i + 1).min(3));
    }
    assert_eq!(session.marks().collect::<Vec<_>>(), [90, 130, 170]);
    session.truncate(130).expect("a mark");
    assert_eq!(session.marks().collect::<Vec<_>>(), [90, 130]);
    session.truncate(0).expect("anew");
    assert_eq!(session.marks().count(), 0);
    let mut none = Session::new(&model, settings(0)).expect("a session");
    push(&mut none, &ids[..20]);
    none.mark(20).expect("nothing to do");
    assert_eq!(none.marks().count(), 0);
}

/// The token that generation chose last is not evaluated: the mark is before it.
#[test]
fn an_answer_is_taken_back() {
    let (model, ids) = (model("q4_0"), tokens(60));
    let mut session = Session::new(&model, settings(1)).expect("a session");
    let wanted = bits(&push(&mut session, &ids));
    session.mark(session.len()).expect("memory");
    let sampling = SamplerConfig { temperature: 1.0, seed: 5, ..Default::default() };
    let mut sampler = Sampler::new(sampling, 512).expect("a sampler");
    while session.len() < 200 {
        if session.generate(&mut sampler).next().is_none() {
            session.push(Input::Tokens(&[300])).expect("room");
        }
    }
    session.truncate(60).expect("a mark");
    assert!(bits(session.logits().expect("logits")) == wanted);
}

/// A length that is past, as long as the rings remember it.
#[test]
fn a_mark_may_be_set_a_little_later() {
    let (model, ids) = (model("q4_0"), tokens(300));
    let mut fresh = Session::new(&model, settings(0)).expect("a session");
    let other = [&ids[..60], &ids[200..240]].concat();
    let wanted = bits(&push(&mut fresh, &other));
    let at_60 = logits(&model, settings(0), &ids[..60]).pop().expect("rows");
    for later in [0, 1, 3] {
        let mut session = Session::new(&model, settings(2)).expect("a session");
        push(&mut session, &ids[..60 + later]);
        session.mark(60).expect("it is remembered");
        push(&mut session, &ids[60 + later..]);
        let prompt = MediaPrompt { ids: other.clone(), media: Vec::new() };
        let usage = session.prompt(&prompt, &mut |_| ControlFlow::Continue(())).expect("room");
        assert_eq!((usage.reused, usage.computed), (60, 40), "{later}");
        assert!(bits(session.logits().expect("logits")) == wanted, "{later}");
        // For its own logits a row is missing, unless the mark was set at the end.
        let result = session.truncate(60).and_then(|()| Ok(bits(session.logits()?)));
        match later {
            0 => assert!(result.expect("its row is there") == bits(&at_60)),
            _ => assert!(matches!(result, Err(Error::Session(SessionError::Rollback { .. })))),
        }
    }
    let mut session = Session::new(&model, settings(2)).expect("a session");
    push(&mut session, &ids[..70]);
    // Position 66 sees 59 to 65, and 11 positions are remembered.
    for (at, least) in [(60, 66), (65, 66), (1, 66)] {
        match session.mark(at) {
            Err(Error::Session(SessionError::Rollback { wanted, least: found })) => {
                assert_eq!((wanted, found), (at, least));
            }
            other => panic!("{at}: {other:?}"),
        }
    }
    let result = session.mark(71);
    assert!(
        matches!(
            result,
            Err(Error::Session(SessionError::TruncateBeyond { wanted: 71, have: 70 }))
        ),
        "{result:?}"
    );
}

/// A picture cannot be evaluated again, since its rows are gone; a mark after it can be come back
/// to.
#[test]
fn media_are_not_evaluated_again() {
    let model = seeing_model("q4_0");
    let mut session = Session::new(&model, settings(2)).expect("a session");
    push(&mut session, &tokens(20));
    session.mark(session.len()).expect("memory");
    let budget = carat::vision::Budget::try_from(70).expect("a budget");
    let picture = carat::vision::Picture::open(kit().join("image.png"), budget).expect("a picture");
    let image = session.embed_picture(&picture).expect("a picture");
    session.push(Input::Parts(&[carat::Part::Medium(&image)])).expect("a push");
    push(&mut session, &[300]);
    let end = session.len();
    session.mark(session.len()).expect("memory");
    let wanted = bits(session.logits().expect("logits"));
    push(&mut session, &tokens(100));
    session.truncate(end).expect("a mark after the picture");
    assert!(bits(session.logits().expect("logits")) == wanted);
    push(&mut session, &tokens(100));
    let before = session.len();
    let result = session.truncate(end - 1);
    assert!(matches!(result, Err(Error::Session(SessionError::Rollback { .. }))), "{result:?}");
    assert_eq!(session.len(), before);
    session.truncate(20).expect("the mark before the picture");
}
