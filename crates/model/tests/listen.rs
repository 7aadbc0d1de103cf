//! Sound that comes in pieces: a session that listens ends up with the bits of the whole sound.

use crate::common::{self, bits, config, seeing_model};
use carat::audio::{Clip, LongClip, SamplesError};
use carat::{Error, Input, Model, Part, Session, SessionConfig, TokenId};

/// Noise with a pause of 200 ms every `pause` seconds; interleaved, each channel another noise.
fn speech(rate: u32, channels: usize, samples: usize, pause: f64) -> Vec<f32> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let is_quiet = |i: usize| (i as f64 / f64::from(rate)) % pause > pause - 0.2;
    (0..samples * channels)
        .map(|i| noise() * if is_quiet(i / channels) { 1e-3 } else { 0.5 })
        .collect()
}

/// What a session holds at the end: its tokens and the logits after the last.
type Held = (Vec<TokenId>, Vec<u32>);

fn held(session: &mut Session) -> Held {
    session.push(Input::Text(" the")).expect("a push");
    let logits = bits(session.logits().expect("logits"));
    (session.tokens().to_vec(), logits)
}

fn whole(model: &Model, pcm: &[f32], rate: u32, channels: usize) -> Held {
    let clip = Clip::from_pcm(pcm, rate, channels).expect("a clip");
    let mut session = Session::new(model, config()).expect("a session");
    let sound = session.embed_clip(&clip, LongClip::Split).expect("sound");
    session.push(Input::Parts(&[Part::Text("hear"), Part::Medium(&sound)])).expect("a push");
    held(&mut session)
}

fn listened(session: &mut Session, pcm: &[f32], rate: u32, channels: usize, piece: usize) -> Held {
    session.push(Input::Text("hear")).expect("a push");
    let mut listen = session.listen(rate, channels, LongClip::Split).expect("it hears");
    for piece in pcm.chunks(piece) {
        listen.push(piece).expect("a piece");
    }
    listen.finish().expect("an end");
    held(session)
}

#[test]
fn pieces_of_any_size_give_the_tokens_and_bits_of_the_whole() {
    let model = seeing_model("q8_0");
    for samples in [1, 640, 641, 16 * 640, 33 * 640 + 1, 50_000] {
        let pcm = speech(16_000, 1, samples, 0.7);
        let want = whole(&model, &pcm, 16_000, 1);
        for piece in [1, 639, 640, 4096, samples] {
            let mut session = Session::new(&model, config()).expect("a session");
            let got = listened(&mut session, &pcm, 16_000, 1, piece);
            assert!(got == want, "{samples} samples in pieces of {piece}");
        }
    }
    let pcm = speech(48_000, 2, 40_000, 0.7);
    let want = whole(&model, &pcm, 48_000, 2);
    for piece in [480, 7_001, 80_000] {
        let mut session = Session::new(&model, config()).expect("a session");
        let got = listened(&mut session, &pcm, 48_000, 2, piece);
        assert!(got == want, "48 kHz in pieces of {piece}");
    }
}

/// 30 s fit, a sample more does not; pauses at seconds 20.8 to 28.8 make the session go back by
/// more and by less than it can at once.
#[test]
fn long_sound_is_cut_where_the_whole_is_cut() {
    let model = seeing_model("q8_0");
    let cases =
        [(480_000, 5.0), (480_001, 4.2), (481_000, 21.0), (560_001, 29.0), (1_200_007, 27.3)];
    for (samples, pause) in cases {
        let pcm = speech(16_000, 1, samples, pause);
        let want = whole(&model, &pcm, 16_000, 1);
        for (rollback, piece) in [(0, 1600), (64, 30_000), (250, 1600), (250, samples)] {
            let config = SessionConfig { rollback, ..config() };
            let mut session = Session::new(&model, config).expect("a session");
            let got = listened(&mut session, &pcm, 16_000, 1, piece);
            assert!(got == want, "{samples} samples, rollback {rollback}, pieces of {piece}");
        }
    }
}

#[test]
fn little_is_left_to_evaluate_when_the_speaker_ends() {
    let model = seeing_model("q8_0");
    let mut session =
        Session::new(&model, SessionConfig { rollback: 250, ..config() }).expect("a session");
    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    for (i, piece) in speech(16_000, 1, 480_000, 3.0).chunks(640).enumerate() {
        listen.push(piece).expect("a piece");
        // 16 frames at a time.
        assert_eq!(listen.heard(), (i + 1) / 16 * 16, "after frame {i}");
    }
    assert!(listen.heard() > 734);
    listen.finish().expect("an end");
}

#[test]
fn what_cannot_be_heard_is_an_error_and_the_session_goes_on() {
    let model = seeing_model("q8_0");
    let mut session = Session::new(&model, SessionConfig { context: 60, ..config() }).expect("one");
    let begun = |session: &mut Session| {
        session.push(Input::Text("hear")).expect("a push");
        session.len()
    };
    let start = begun(&mut session);
    let want = held(&mut session);
    let check = |session: &mut Session, error: Error, wanted: &str| {
        assert!(error.to_string().contains(wanted), "{error}");
        session.truncate(start).expect("back to the beginning");
        assert!(held(session) == want, "after: {error}");
        session.truncate(start).expect("back to the beginning");
    };
    session.truncate(start).expect("back to the beginning");

    let listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    let error = listen.finish().expect_err("nothing was heard");
    assert!(matches!(error, Error::Samples(SamplesError::NoSamples)), "{error}");
    check(&mut session, error, "no samples");

    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    let error = listen.push(&[0.1, f32::NAN]).expect_err("no sound");
    listen.push(&speech(16_000, 1, 20_000, 1.0)).expect("the piece after it");
    drop(listen);
    check(&mut session, error, "sample 1 is NaN");

    let mut listen = session.listen(16_000, 2, LongClip::Split).expect("it hears");
    listen.push(&[0.1; 1001]).expect("a piece");
    let error = listen.finish().expect_err("half an instant");
    check(&mut session, error, "2 channels");

    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    let mut errors = speech(16_000, 1, 640 * 100, 1.0)
        .chunks(640)
        .filter_map(|piece| listen.push(piece).err())
        .collect::<Vec<_>>();
    drop(listen);
    check(&mut session, errors.remove(0), "do not fit into a context of 60");

    let mut listen = session.listen(16_000, 1, LongClip::Refuse).expect("it hears");
    let error = listen.push(&speech(16_000, 1, 480_640, 1.0)).expect_err("too long");
    drop(listen);
    check(&mut session, error, "at most 30 s");

    for (rate, channels) in [(0, 1), (16_000, 0), (16_000, 65)] {
        let error = session.listen(rate, channels, LongClip::Split).expect_err("no such sound");
        check(&mut session, error, "not usable");
    }
    let deaf = common::model("q8_0");
    let mut session = Session::new(&deaf, config()).expect("a session");
    let error = session.listen(16_000, 1, LongClip::Split).expect_err("no projector");
    assert!(matches!(error, Error::NoProjector { .. }), "{error}");
}

/// The medium is one, whatever pieces it came in.
#[test]
fn a_session_does_not_go_back_into_what_it_heard() {
    let model = seeing_model("q8_0");
    let mut session = Session::new(&model, config()).expect("a session");
    let got = listened(&mut session, &speech(16_000, 1, 30_000, 0.7), 16_000, 1, 640);
    let begin = got.0.iter().position(|id| Some(*id) == model.tokenizer().special("<|audio>"));
    let begin = begin.expect("it begins");
    let error = session.truncate(begin + 20).expect_err("within the sound");
    let tokens = 30_000usize.div_ceil(640);
    let wanted = format!("truncate to {} or to {}", begin + 1, begin + 1 + tokens + 1);
    assert!(error.to_string().contains(&wanted), "{error}");
    let sound = session.embed_samples(&[0.1; 640]).expect("sound");
    session.push(Input::Parts(&[Part::Medium(&sound)])).expect("a push");
}

/// Two sounds with words between them: the session goes back to the words, and on from there.
#[test]
fn a_session_goes_back_between_two_sounds() {
    let model = seeing_model("q8_0");
    let mut session = Session::new(&model, config()).expect("a session");
    let pcm = speech(16_000, 1, 6_400, 0.7);
    let (begin, _) = listened(&mut session, &pcm, 16_000, 1, 640);
    let want = bits(session.logits().expect("logits"));
    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    listen.push(&pcm).expect("a piece");
    listen.finish().expect("an end");
    session.truncate(begin.len()).expect("between the sounds");
    assert!(bits(session.logits().expect("logits")) == want);
}

/// The quietest frames lie around second 20, before which no sound is cut. A rollback of ten frames
/// is no multiple of what is evaluated at a time.
#[test]
fn sound_is_cut_at_the_earliest_place() {
    let model = seeing_model("q8_0");
    let mut pcm = speech(16_000, 1, 490_000, 40.0);
    pcm[498 * 640..502 * 640].fill(0.0);
    let want = whole(&model, &pcm, 16_000, 1);
    let soft = model.tokenizer().special("<|audio|>");
    let first = want.0.iter().skip_while(|id| Some(**id) != soft);
    assert_eq!(first.take_while(|id| Some(**id) == soft).count(), 500);
    for rollback in [0, 10, 16] {
        let config = SessionConfig { rollback, ..config() };
        let mut session = Session::new(&model, config).expect("a session");
        let got = listened(&mut session, &pcm, 16_000, 1, 640);
        assert!(got == want, "rollback {rollback}");
    }
}

/// In an empty session sound begins with BOS, as every other input.
#[test]
fn a_session_that_only_listens_begins_with_bos() {
    let model = seeing_model("q8_0");
    let pcm = speech(16_000, 1, 20_000, 0.7);
    let clip = Clip::from_pcm(&pcm, 16_000, 1).expect("a clip");
    let mut session = Session::new(&model, config()).expect("a session");
    let sound = session.embed_clip(&clip, LongClip::Split).expect("sound");
    session.push(Input::Parts(&[Part::Medium(&sound)])).expect("a push");
    let want = held(&mut session);
    assert_eq!(want.0.first().copied(), model.tokenizer().bos());

    let mut session = Session::new(&model, config()).expect("a session");
    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    pcm.chunks(640).for_each(|piece| listen.push(piece).expect("a piece"));
    listen.finish().expect("an end");
    assert!(held(&mut session) == want);
}
