//! Cancelled at any moment, a session is whole and goes on with the same bits.

mod common;
#[path = "common/emulated.rs"]
mod emulated;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use carat::audio::{Clip, LongClip};
use carat::vision::{Budget, Picture};
use carat::{
    Cancel, Error, Input, Model, OpenOptions, Sampler, SamplerConfig, Session, SessionConfig,
};
use common::{bits, config, file, kit, model, push, seeing_model, tokens};
use emulated::emulated;

const TOKENS: usize = 600;

fn settings() -> SessionConfig {
    SessionConfig { prefill_chunk: 50, rollback: 0, threads: 2, context: 1024, ..config() }
}

/// Pushes the rest of `ids`; false if that was cancelled.
fn push_rest(session: &mut Session, ids: &[u32]) -> bool {
    let have = session.len();
    match session.push(Input::Tokens(&ids[have..])) {
        Ok(()) => true,
        Err(Error::Cancelled { done, total }) => {
            assert_eq!(total as usize, ids.len() - have);
            assert_eq!(session.len(), have + done as usize);
            assert_eq!(session.tokens(), &ids[..session.len()]);
            false
        }
        Err(e) => panic!("{e}"),
    }
}

/// Cancels `session` again and again while `work` runs until it is done; returns how often.
fn harass(session: &mut Session, seed: u64, mut work: impl FnMut(&mut Session) -> bool) -> usize {
    let cancel = session.cancel_handle();
    let done = Arc::new(AtomicBool::new(false));
    let tormentor = {
        let (cancel, done) = (cancel.clone(), Arc::clone(&done));
        thread::spawn(move || {
            let mut state = seed;
            while !done.load(Ordering::SeqCst) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); // Knuth
                thread::sleep(Duration::from_micros(state >> 33 & 0x7ff)); // at most 2 ms
                cancel.cancel();
            }
        })
    };
    let mut cancelled = 0;
    // Passes that are never long enough would never end.
    while cancelled < 200 && !work(session) {
        cancelled += 1;
        cancel.reset();
    }
    done.store(true, Ordering::SeqCst);
    tormentor.join().expect("no panic");
    cancel.reset();
    while !work(session) {}
    cancelled
}

/// Rings of 8 positions are overwritten many times in each pass.
#[test]
fn a_prompt_cancelled_at_random_has_the_bits_of_one_that_was_not() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let ids = tokens(TOKENS);
    for quant in ["q4_0", "f32"] {
        let model = model(quant);
        let mut whole = Session::new(&model, settings()).expect("a session");
        let wanted = bits(&push(&mut whole, &ids));
        let mut cancelled = 0;
        for seed in 0..100 {
            let mut session = Session::new(&model, settings()).expect("a session");
            cancelled += harass(&mut session, seed, |session| push_rest(session, &ids));
            assert!(bits(session.logits().expect("logits")) == wanted, "{quant} {seed}");
            if seed >= 8 && cancelled >= 20 {
                break;
            }
        }
        assert!(cancelled >= 20, "{quant}: cancelled only {cancelled} times");
    }
}

/// The flag is set and taken back within one pass: what was left out is found out all the same.
#[test]
fn a_flag_that_is_taken_back_at_once_leaves_no_half_pass() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let ids = tokens(TOKENS);
    let model = model("q4_0");
    let mut whole = Session::new(&model, settings()).expect("a session");
    let wanted = bits(&push(&mut whole, &ids));
    let mut session = Session::new(&model, settings()).expect("a session");
    let cancel = session.cancel_handle();
    let blinker = thread::spawn(move || {
        for i in 0..60 {
            cancel.cancel();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(100) {}
            cancel.reset();
            thread::sleep(Duration::from_micros(700 * (i % 8)));
        }
    });
    while !blinker.is_finished() {
        session.truncate(0).expect("anew");
        while !push_rest(&mut session, &ids) {}
        if let Ok(logits) = session.logits() {
            assert!(bits(logits) == wanted);
        }
    }
    blinker.join().expect("no panic");
}

#[test]
fn an_answer_cancelled_at_random_is_the_answer_that_was_not() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let sampling = SamplerConfig { temperature: 1.0, seed: 3, ..Default::default() };
    let sampler = || Sampler::new(sampling.clone(), 512).expect("a sampler");
    let config = || SessionConfig { context: 400, ..settings() };
    let say = |session: &mut Session, sampler: &mut Sampler| -> bool {
        loop {
            match session.generate(sampler).next() {
                None if session.len() == 400 => return true,
                None => session.enqueue(Input::Tokens(&[300])).expect("room"), // its turn goes on
                Some(Ok(_)) => {}
                Some(Err(Error::Cancelled { done: 0, total: 1 | 2 })) => return false,
                Some(Err(e)) => panic!("{e}"),
            }
        }
    };
    let mut whole = Session::new(&model, config()).expect("a session");
    push(&mut whole, &tokens(20));
    say(&mut whole, &mut sampler());
    for seed in 0..4 {
        let mut session = Session::new(&model, config()).expect("a session");
        push(&mut session, &tokens(20));
        let mut sampler = sampler();
        harass(&mut session, seed, |session| say(session, &mut sampler));
        assert_eq!(session.tokens(), whole.tokens(), "{seed}");
        let wanted = bits(whole.logits().expect("logits"));
        assert!(bits(session.logits().expect("logits")) == wanted, "{seed}");
    }
}

#[test]
fn what_begins_after_a_cancel_does_not_run_until_it_is_reset() {
    let model = seeing_model("q4_0");
    let mut session = Session::new(&model, settings()).expect("a session");
    push(&mut session, &tokens(5));
    let logits = bits(session.logits().expect("logits"));
    let cancel = Cancel::new();
    session.set_cancel(cancel.clone());
    cancel.cancel();
    let picture = Picture::open(kit().join("image.png"), Budget::default()).expect("a picture");
    let is_cancelled = |result: Result<(), Error>, total| match result {
        Err(Error::Cancelled { done: 0, total: found }) => assert_eq!(found, total),
        other => panic!("{other:?}"),
    };
    is_cancelled(session.push(Input::Tokens(&[300, 301])), 2);
    is_cancelled(session.eval(&[300], |_, _| panic!("nothing was evaluated")), 1);
    is_cancelled(session.embed_samples(&[0.1; 641]).map(|_| ()), 2);
    let tokens = picture.tokens() as u64;
    is_cancelled(session.embed_picture(&picture).map(|_| ()), tokens);
    assert_eq!(session.len(), 5);
    assert!(bits(session.logits().expect("they are there")) == logits);
    cancel.reset();
    session.embed_picture(&picture).expect("a picture");
    push(&mut session, &[300]);
}

/// Each piece is cancelled at random moments until it is heard.
#[test]
fn a_sound_cancelled_at_random_has_the_bits_of_one_that_was_not() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = seeing_model("q4_0");
    let pcm: Vec<f32> =
        (0..16_000 * 12_u64).map(|i| (i * i % 977) as f32 / 2000.0 - 0.25).collect();
    let settings = || SessionConfig { prefill_chunk: 7, rollback: 250, ..settings() };
    let listen = |session: &mut Session, is_harassed: bool| {
        push(session, &tokens(9));
        let cancel = session.cancel_handle();
        let done = Arc::new(AtomicBool::new(!is_harassed));
        let tormentor = {
            let (cancel, done) = (cancel.clone(), Arc::clone(&done));
            thread::spawn(move || {
                for i in 0.. {
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                    thread::sleep(Duration::from_micros(i % 7 * 150));
                    cancel.cancel();
                }
            })
        };
        let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
        let mut cancelled = 0;
        for piece in pcm.chunks(9_999) {
            let mut piece = piece;
            while let Err(error) = listen.push(piece) {
                assert!(matches!(error, Error::Cancelled { .. }), "{error}");
                cancelled += 1;
                piece = &[];
                cancel.reset();
                if cancelled % 50 == 49 {
                    thread::sleep(Duration::from_millis(2));
                    cancel.reset();
                }
            }
        }
        done.store(true, Ordering::SeqCst);
        tormentor.join().expect("no panic");
        cancel.reset();
        listen.finish().expect("an end");
        (session.tokens().to_vec(), bits(session.logits().expect("logits")), cancelled)
    };
    let mut whole = Session::new(&model, settings()).expect("a session");
    let (tokens, logits, _) = listen(&mut whole, false);
    // How often a thread gets to cancel is the system's to say.
    let (mut session, mut all) = (whole, 0);
    for _ in 0..200 {
        session = Session::new(&model, settings()).expect("a session");
        let (found, bits, cancelled) = listen(&mut session, true);
        assert_eq!(found, tokens);
        assert!(bits == logits);
        all += cancelled;
        if all > 20 {
            break;
        }
    }
    assert!(all > 20, "{all}");
    // It is the same sound, too.
    let clip = Clip::from_pcm(&pcm, 16_000, 1).expect("a clip");
    let medium = session.embed_clip(&clip, LongClip::Split).expect("sound");
    let mut prompt =
        carat::MediaPrompt::from_parts(&model, &[carat::Part::Medium(&medium)]).expect("a prompt");
    prompt.ids.splice(0..0, common::tokens(9));
    prompt.ids.push(300);
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    let usage = session.prompt(&prompt, go_on).expect("room");
    assert_eq!(usage.computed, 1, "{usage:?}");
}

#[test]
fn opening_is_cancelled() {
    let cancel = Cancel::new();
    let open = |cache| {
        let options = OpenOptions { cancel: Some(&cancel), cache, ..Default::default() };
        Model::open_with(file("q4_0"), options)
    };
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("model.carat");
    cancel.cancel();
    for cache in [None, Some(&*cache)] {
        let error = open(cache).expect_err("an error");
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "nothing is left");
    cancel.reset();
    open(Some(&cache)).expect("a model");
}

/// One that waits for its turn behind a long prompt is cancelled at once, too.
#[test]
fn who_waits_for_a_turn_is_cancelled() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model: Model = model("q4_0");
    let ids = tokens(1000);
    let settings = || SessionConfig { prefill_chunk: 1000, ..settings() };
    let mut busy = Session::new(&model, settings()).expect("a session");
    let mut waiting = Session::new(&model, settings()).expect("a session");
    let (stop_busy, cancel) = (busy.cancel_handle(), waiting.cancel_handle());
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            while push_rest(&mut busy, &ids) {
                busy.truncate(0).expect("anew");
            }
        });
        thread::sleep(Duration::from_millis(20));
        let second = scope.spawn(|| {
            let result = waiting.push(Input::Tokens(&ids));
            (Instant::now(), result)
        });
        thread::sleep(Duration::from_millis(20));
        let asked = Instant::now();
        cancel.cancel();
        let (ended, result) = second.join().expect("no panic");
        // Where the machine is quick, it has been served before.
        if result.is_err() {
            assert!(ended - asked < Duration::from_millis(100), "{:?}", ended - asked);
        }
        stop_busy.cancel();
        first.join().expect("no panic");
    });
}
