//! Saved sessions: restored ones go on with the bits of the saved ones, with everything that
//! belongs to a conversation.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::altered;
use crate::common::{bits, file, kit, model, push, seeing_model, tokens};
use crate::saved::{self, bytes, future, restored, session, settings};
use carat::audio::{Clip, LongClip};
use carat::vision::{Budget, Picture};
use carat::{
    Input, KvType, MediaPrompt, Medium, Model, Part, Sampler, SamplerConfig, Session,
    SessionConfig, Stop,
};
use carat_gguf::{Endian, Source, Writer};
use tempfile::TempDir;

const KINDS: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Q8];

/// Saves a session and says whether the restored one has the same future.
fn check(model: &Model, mut session: Session, config: SessionConfig, what: &str) {
    let bytes = bytes(&session);
    let mut other = restored(model, &bytes, config).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(saved::bytes(&other) == bytes, "{what}: saved again, it is another file");
    for (wanted, found) in future(&mut session).into_iter().zip(future(&mut other)) {
        assert_eq!(wanted.0, found.0, "{what}");
        assert!(wanted.1 == found.1, "{what}: other logits {}", wanted.0);
    }
}

/// tiny-s whose full layer has values of its own, so that its keys are stored whole.
fn with_values() -> (TempDir, Model) {
    let source = Source::open(&file("f32")).expect("tiny-s");
    let gguf = source.parse().expect("tiny-s parses");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for tensor in gguf.tensors() {
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, tensor.data);
        if tensor.name == "blk.2.attn_k.weight" {
            let name = "blk.2.attn_v.weight";
            writer = writer.tensor(name, tensor.tensor_type, &tensor.shape, tensor.data);
        }
    }
    open(&writer.to_bytes().expect("a file"))
}

/// Opens a model whose file stays, so that its identity can be told.
fn open(bytes: &[u8]) -> (TempDir, Model) {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a file");
    let model = Model::open(path).expect("a model");
    (folder, model)
}

/// Lengths around the window of 8 and the rings of 11.
#[test]
fn every_length_goes_on_with_the_same_bits() {
    let (_folder, whole) = with_values();
    let ids = tokens(100);
    let lengths = [0, 1, 2, 7, 8, 9, 11, 12, 13, 30, 100];
    for (name, model) in [("q4_0", model("q4_0")), ("f32", model("f32")), ("whole keys", whole)] {
        for kv in KINDS {
            for length in lengths {
                let mut session = session(&model, kv);
                session.push(Input::Tokens(&ids[..length])).expect("room");
                check(&model, session, settings(kv), &format!("{name} {kv:?} {length}"));
            }
        }
    }
}

#[test]
fn what_is_not_evaluated_stays_so() {
    let (model, ids) = (model("q4_0"), tokens(60));
    for (evaluated, enqueued) in [(0, 1), (0, 30), (9, 1), (20, 40)] {
        let mut session = session(&model, KvType::F16);
        session.push(Input::Tokens(&ids[..evaluated])).expect("room");
        session.enqueue(Input::Tokens(&ids[evaluated..evaluated + enqueued])).expect("room");
        let other = restored(&model, &bytes(&session), settings(KvType::F16)).expect("restored");
        assert_eq!((other.len(), other.pending()), (evaluated + enqueued, enqueued));
        check(&model, session, settings(KvType::F16), &format!("{evaluated} {enqueued}"));
    }
}

/// After going back, rings hold what they did before, and the last row is not known.
#[test]
fn sessions_that_went_back_know_how_far() {
    let (model, ids) = (model("q4_0"), tokens(60));
    for back in 0..=3 {
        for again in [0, 1, 2] {
            let mut session = session(&model, KvType::F32);
            push(&mut session, &ids[..30]);
            session.truncate(30 - back).expect("within the rollback");
            session.push(Input::Tokens(&ids[40..40 + again])).expect("room");
            check(&model, session, settings(KvType::F32), &format!("{back} {again}"));
        }
    }
}

#[test]
fn marks_come_back() {
    let (model, ids) = (model("q4_0"), tokens(100));
    for kv in KINDS {
        for marks in [vec![1], vec![4, 5], vec![8, 30], vec![30, 60, 100]] {
            let mut session = session(&model, kv);
            for mark in &marks {
                session.push(Input::Tokens(&ids[session.len()..*mark])).expect("room");
                session.mark(session.len()).expect("memory");
            }
            push(&mut session, &ids[..15]);
            check(&model, session, settings(kv), &format!("{kv:?} {marks:?}"));
        }
    }
    // A mark whose row is not known: the last token was taken back before.
    let mut session = session(&model, KvType::F16);
    push(&mut session, &ids[..20]);
    session.truncate(18).expect("within the rollback");
    session.mark(17).expect("memory");
    push(&mut session, &ids[..30]);
    check(&model, session, settings(KvType::F16), "a mark without a row");
}

/// The context, the rollback, the chunk, the threads and the number of marks may be others.
#[test]
fn other_settings_keep_what_they_can() {
    let (model, ids) = (model("q4_0"), tokens(200));
    let mut session = session(&model, KvType::F16);
    for mark in [20, 40] {
        session.push(Input::Tokens(&ids[session.len()..mark])).expect("room");
        session.mark(session.len()).expect("memory");
    }
    let at_40 = bits(session.logits().expect("logits"));
    push(&mut session, &ids[40..90]);
    let saved = bytes(&session);
    let wanted = bits(&push(&mut session, &ids[90..120]));
    let base = settings(KvType::F16);
    for (context, rollback, marks, threads) in
        [(90, 0, 0, 1), (121, 1, 1, 2), (150, 3, 2, 1), (1024, 50, 5, 2)]
    {
        let config = SessionConfig { context, rollback, marks, threads, ..base.clone() };
        let config = SessionConfig { prefill_chunk: 7, ..config };
        let mut session = restored(&model, &saved, config).expect("restored");
        let kept: Vec<_> = session.marks().collect();
        assert_eq!(kept, [20, 40][2 - marks.min(2)..]);
        if context > 90 {
            assert!(bits(&push(&mut session, &ids[90..120])) == wanted, "{context}");
            session.truncate(120 - rollback).expect("the new rollback counts");
        }
        if marks > 0 {
            session.truncate(40).expect("a mark");
            assert!(bits(session.logits().expect("logits")) == at_40, "{context}");
        }
    }
    // Rings of 11 were saved: a larger rollback begins with what they had.
    let config = SessionConfig { rollback: 50, marks: 0, ..base };
    let mut session = restored(&model, &saved, config).expect("restored");
    session.truncate(86).expect_err("four back, three were kept");
    session.truncate(87).expect("three back");
}

#[test]
fn the_end_of_generation_is_kept_with_its_logits() {
    let set = altered::set("tokenizer.ggml.suppress_tokens", vec![300i32, 301, 7]);
    let (_folder, model) = open(&altered::changed(&set));
    let ids = tokens(40);
    let config = SessionConfig { context: 40, ..settings(KvType::F16) };
    let mut session = Session::new(&model, config.clone()).expect("a session");
    session.push(Input::Tokens(&ids)).expect("room");
    let mut sampler = Sampler::new(SamplerConfig::default(), 512).expect("a sampler");
    assert!(session.generate(&mut sampler).next().is_none());
    assert_eq!(session.stop(), Some(Stop::ContextFull));
    let logits = session.logits().expect("logits").to_vec();
    assert_eq!([logits[7], logits[300], logits[301]], [f32::NEG_INFINITY; 3]);
    let mut other = restored(&model, &bytes(&session), config.clone()).expect("restored");
    assert_eq!(other.stop(), Some(Stop::ContextFull));
    assert!(bits(other.logits().expect("logits")) == bits(&logits));
    check(&model, session, config, "an ended one");
}

fn media(session: &mut Session) -> [Medium; 2] {
    let budget = Budget::try_from(70).expect("a budget");
    let picture = Picture::open(kit().join("image.png"), budget).expect("a picture");
    let clip = Clip::open(kit().join("audio.wav")).expect("a clip");
    let picture = session.embed_picture(&picture).expect("a picture");
    [picture, session.embed_clip(&clip, LongClip::Split).expect("sound")]
}

#[test]
fn media_come_back_evaluated_or_not() {
    let model = seeing_model("q4_0");
    let kv = KvType::F16;
    let begun = |evaluate: bool| {
        let mut session = session(&model, kv);
        push(&mut session, &tokens(5));
        let [picture, sound] = media(&mut session);
        let parts = [Part::Medium(&picture), Part::Text("and"), Part::Medium(&sound)];
        let input = Input::Parts(&parts);
        if evaluate { session.push(input) } else { session.enqueue(input) }.expect("room");
        session
    };
    check(&model, begun(true), settings(kv), "evaluated");
    check(&model, begun(false), settings(kv), "not evaluated");
    // Broken off after every chunk: before the picture, behind it, and in the middle of the sound.
    for chunks in 1.. {
        let mut session = begun(false);
        let mut left = chunks;
        let result = session.push_with(Input::Tokens(&[300]), &mut |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if result.is_ok() {
            assert!(chunks > 5, "{chunks}");
            break;
        }
        check(&model, session, settings(kv), &format!("{chunks} chunks"));
    }
}

/// A prompt that begins with the same media is not evaluated again.
#[test]
fn restored_media_are_known_again() {
    let model = seeing_model("q4_0");
    let mut session = session(&model, KvType::F16);
    let [picture, sound] = media(&mut session);
    let parts = [Part::Medium(&picture), Part::Medium(&sound), Part::Text("the end")];
    let prompt = MediaPrompt::from_parts(&model, &parts).expect("a prompt");
    session.prompt(&prompt, &mut |_| ControlFlow::Continue(())).expect("room");
    let mut other = restored(&model, &bytes(&session), settings(KvType::F16)).expect("restored");
    let [picture, sound] = media(&mut other);
    let parts = [Part::Medium(&picture), Part::Medium(&sound), Part::Text("the end of it")];
    let prompt = MediaPrompt::from_parts(&model, &parts).expect("a prompt");
    let usage = other.prompt(&prompt, &mut |_| ControlFlow::Continue(())).expect("room");
    assert!(usage.computed < 10 && usage.reused > 80, "{usage:?}");
}

#[test]
fn what_was_listened_to_comes_back() {
    let model = seeing_model("q4_0");
    let clip = Clip::open(kit().join("audio.wav")).expect("a clip");
    for is_finished in [true, false] {
        let mut session = session(&model, KvType::F16);
        push(&mut session, &tokens(5));
        let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
        for piece in clip.samples().chunks(3000) {
            listen.push(piece).expect("a piece");
        }
        if is_finished {
            listen.finish().expect("an end");
        } else {
            drop(listen);
        }
        check(&model, session, settings(KvType::F16), &format!("finished: {is_finished}"));
    }
}
