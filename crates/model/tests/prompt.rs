//! A prompt that begins as the session does costs what is new in it, and gives the same bits.

use std::ops::ControlFlow;

use crate::common::{bits, config, kit, model, seeing_model, tokens};
use carat::audio::{Clip, LongClip};
use carat::vision::{Budget, Picture};
use carat::{
    Error, MediaPrompt, Medium, Model, Part, PromptUsage, Session, SessionConfig, SessionError,
};

fn settings() -> SessionConfig {
    SessionConfig { marks: 2, rollback: 3, context: 1024, prefill_chunk: 50, ..config() }
}

fn prompt(session: &mut Session, prompt: &MediaPrompt) -> PromptUsage {
    session.prompt(prompt, &mut |_| ControlFlow::Continue(())).expect("room")
}

fn text(ids: &[u32]) -> MediaPrompt {
    MediaPrompt { ids: ids.to_vec(), media: Vec::new() }
}

/// The logits after a prompt in a new session.
fn fresh(model: &Model, wanted: &MediaPrompt) -> Vec<u32> {
    let mut session = Session::new(model, settings()).expect("a session");
    prompt(&mut session, wanted);
    bits(session.logits().expect("logits"))
}

fn usage(reused: usize, computed: usize) -> PromptUsage {
    PromptUsage { reused, computed }
}

#[test]
fn what_is_new_is_computed() {
    let (model, ids) = (model("q4_0"), tokens(400));
    let mut session = Session::new(&model, settings()).expect("a session");
    let mut say = |ids: &[u32], wanted, mark| {
        let ids = text(ids);
        assert_eq!(prompt(&mut session, &ids), wanted);
        assert!(bits(session.logits().expect("logits")) == fresh(&model, &ids), "{wanted:?}");
        if mark {
            session.mark(session.len()).expect("memory");
        }
    };
    say(&ids[..100], usage(0, 100), true);
    say(&ids[..100], usage(100, 0), false);
    say(&ids[..150], usage(100, 50), false);
    // One back: the last token is evaluated again for its logits.
    say(&ids[..149], usage(148, 1), false);
    say(&ids[..300], usage(149, 151), true);
    // Another end after a mark, and another one within what the rings remember.
    let other = [&ids[..100], &ids[300..350]].concat();
    say(&other, usage(100, 50), false);
    let other = [&other[..149], &ids[..5]].concat();
    say(&other, usage(149, 5), false);
    // Between a mark and the end: what follows the mark is evaluated again.
    say(&[&other[..120], &ids[..5]].concat(), usage(100, 25), false);
    // Before all marks: anew.
    say(&[&other[..50], &ids[..5]].concat(), usage(0, 55), false);
}

fn seen(session: &mut Session, flip: bool) -> Medium {
    let budget = Budget::try_from(70).expect("a budget");
    let picture = Picture::open(kit().join("image.png"), budget).expect("a picture");
    let (w, h) = (picture.columns() * 48, picture.rows() * 48);
    let mut pixels = picture.pixels().to_vec();
    if flip {
        pixels.reverse();
    }
    let picture = Picture::from_rgb(w as u32, h as u32, &pixels, budget).expect("a picture");
    session.embed_picture(&picture).expect("a picture")
}

/// Media are compared by what they show, not by their tokens, which are the same.
#[test]
fn media_are_known_by_their_content() {
    let model = seeing_model("q8_0");
    let mut session = Session::new(&model, settings()).expect("a session");
    let (cat, dog) = (seen(&mut session, false), seen(&mut session, true));
    let shown = |medium: &Medium, words: &str| {
        let parts = [Part::Text("look"), Part::Medium(medium), Part::Text(words)];
        MediaPrompt::from_parts(&model, &parts).expect("a prompt")
    };
    let one = shown(&cat, "what is it");
    let length = one.ids.len();
    assert_eq!(prompt(&mut session, &one), usage(0, length));
    drop(cat);
    let again = seen(&mut Session::new(&model, settings()).expect("a session"), false);
    let two = shown(&again, "what is it and why");
    // The end of a word may be another token than its beginning.
    let reused = one.ids.iter().zip(&two.ids).take_while(|(a, b)| a == b).count();
    assert!(reused + 3 > length, "{reused} of {length}");
    assert_eq!(prompt(&mut session, &two), usage(reused, two.ids.len() - reused));
    assert!(bits(session.logits().expect("logits")) == fresh(&model, &two));
    let three = shown(&dog, "what is it and why");
    let usage = prompt(&mut session, &three);
    assert!(usage.computed > 9 && usage.reused < length, "{usage:?}");
    assert!(bits(session.logits().expect("logits")) == fresh(&model, &three));
}

/// What was heard as it came is known again when it is pushed as a whole.
#[test]
fn a_sound_that_was_listened_to_is_known_again() {
    let model = seeing_model("q8_0");
    let clip = Clip::open(kit().join("audio.wav")).expect("a clip");
    // Longer than 30 s, so that it has segments; not a whole number of frames.
    let mut samples = clip.samples().repeat(16_000 * 40 / clip.samples().len() + 1);
    samples.truncate(16_000 * 40 + 77);
    let config = SessionConfig { rollback: 250, context: 2048, ..settings() };
    let mut session = Session::new(&model, config.clone()).expect("a session");
    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    samples.chunks(7_777).for_each(|piece| listen.push(piece).expect("a piece"));
    listen.finish().expect("an end");
    let heard = session.tokens().to_vec();
    let clip = Clip::from_pcm(&samples, 16_000, 1).expect("a clip");
    let medium = session.embed_clip(&clip, LongClip::Split).expect("sound");
    let mut whole = MediaPrompt::from_parts(&model, &[Part::Medium(&medium)]).expect("a prompt");
    whole.ids.splice(0..0, model.tokenizer().bos());
    assert_eq!(whole.ids, heard);
    whole.ids.extend([300, 301]);
    assert_eq!(prompt(&mut session, &whole), usage(heard.len(), 2));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let (model, ids) = (model("q4_0"), tokens(1200));
    let mut session = Session::new(&model, settings()).expect("a session");
    prompt(&mut session, &text(&ids[..100]));
    let result = session.prompt(&text(&ids[10..]), &mut |_| ControlFlow::Continue(()));
    assert!(
        matches!(
            result,
            Err(Error::Session(SessionError::ContextFull { wanted: 1190, context: 1024 }))
        ),
        "{result:?}"
    );
    assert_eq!(session.tokens(), &ids[..100]);
    let result = session.prompt(&text(&ids[..300]), &mut |_| ControlFlow::Break(()));
    assert!(matches!(result, Err(Error::Cancelled { done: 50, total: 200 })), "{result:?}");
    assert_eq!(prompt(&mut session, &text(&ids[..300])), usage(150, 150));
}
