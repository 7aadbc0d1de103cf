//! The encoder in a session of a model that is not its own: sound in pieces, and bad sound.

use carat_kernels::Format;

use super::made::{Random, SMALL, made};
use crate::audio::{Clip, LongClip, SamplesError};
use crate::{Error, Input, Model, OpenOptions, Part, Session, SessionConfig, TokenId};

/// tiny-s, whose rows have 64 values, with an encoder.
fn model(format: Format) -> Model {
    let kit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-s");
    let dir = tempfile::tempdir().expect("a directory");
    let projector = dir.path().join("mmproj.gguf");
    let bytes = made(SMALL, super::HIDDEN, format, true).to_bytes().expect("a file");
    std::fs::write(&projector, bytes).expect("a file");
    let options = OpenOptions { projector: Some(&projector), ..Default::default() };
    Model::open_with(kit.join("text-q4_0.gguf"), options).expect("a model that hears")
}

fn session(model: &Model, rollback: usize) -> Session {
    let config = SessionConfig { context: 2048, threads: 1, rollback, ..Default::default() };
    Session::new(model, config).expect("a session")
}

/// Noise with pauses.
fn speech(samples: usize, pause: usize) -> Vec<f32> {
    let mut sound = Random(11).noise(samples, 0.5);
    let quiet = sound.iter_mut().enumerate().filter(|(i, _)| i % pause > pause - 3200);
    quiet.for_each(|(_, x)| *x *= 1e-3);
    sound
}

/// What a session holds at the end: its tokens and the logits after the last.
fn held(session: &mut Session) -> (Vec<TokenId>, Vec<u32>) {
    session.push(Input::Text(" the")).expect("a push");
    let logits = super::bits(session.logits().expect("logits"));
    (session.tokens().to_vec(), logits)
}

fn whole(model: &Model, sound: &[f32]) -> (Vec<TokenId>, Vec<u32>) {
    let mut session = session(model, 0);
    let clip = Clip::from_pcm(sound, 16_000, 1).expect("a clip");
    let sound = session.embed_clip(&clip, LongClip::Split).expect("sound");
    session.push(Input::Parts(&[Part::Text("hear"), Part::Medium(&sound)])).expect("a push");
    held(&mut session)
}

fn listened(session: &mut Session, sound: &[f32], piece: usize) -> (Vec<TokenId>, Vec<u32>) {
    session.push(Input::Text("hear")).expect("a push");
    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    sound.chunks(piece).for_each(|piece| listen.push(piece).expect("a piece"));
    listen.finish().expect("an end");
    held(session)
}

#[test]
fn sound_in_pieces_has_the_bits_of_the_whole() {
    for format in [Format::F32, Format::F16] {
        let model = model(format);
        for samples in [161, 640, 800, 801, 16 * 640, 16 * 640 + 1, 50_000] {
            let sound = speech(samples, 9000);
            let want = whole(&model, &sound);
            for piece in [1, 640, 4096, samples] {
                let got = listened(&mut session(&model, 0), &sound, piece);
                assert!(got == want, "{format} {samples} samples in pieces of {piece}");
            }
        }
    }
}

/// The session goes back to a cut by more and by less than it can at once. The last token before
/// a cut was heard with a frame that is not in its segment.
#[test]
fn long_sound_is_cut_where_the_whole_is_cut() {
    let model = model(Format::F16);
    for (samples, pause) in [(480_000, 80_000), (480_001, 67_200), (560_001, 464_000)] {
        let sound = speech(samples, pause);
        let want = whole(&model, &sound);
        for (rollback, piece) in [(0, 1600), (64, 30_000), (250, 640), (250, samples)] {
            let got = listened(&mut session(&model, rollback), &sound, piece);
            assert!(got == want, "{samples} samples, rollback {rollback}, pieces of {piece}");
        }
    }
}

#[test]
fn little_is_left_when_the_speaker_ends() {
    let model = model(Format::F16);
    let mut session = session(&model, 250);
    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    for (i, piece) in speech(480_000, 48_000).chunks(640).enumerate() {
        listen.push(piece).expect("a piece");
        // 16 tokens at a time; the last one waits for the sample after it.
        assert_eq!(listen.heard(), i / 16 * 16, "after frame {i}");
    }
}

#[test]
fn too_little_sound_is_an_error() {
    let model = model(Format::F32);
    let mut session = session(&model, 0);
    for samples in [1, 160] {
        let sound = vec![0.5; samples];
        let error = session.embed_samples(&sound).expect_err("too short");
        let is_right = matches!(error, Error::Samples(SamplesError::TooShort { found, wanted: 161 }) if found == samples);
        assert!(is_right, "{error}");
        let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
        listen.push(&sound).expect("a piece");
        let error = listen.finish().expect_err("too short");
        assert!(error.to_string().contains("fewer than 161"), "{error}");
        assert!(session.is_empty());
    }
    assert!(matches!(session.embed_samples(&[]), Err(Error::Samples(SamplesError::NoSamples))));
    let error = session.embed_samples(&[f32::NAN; 200]).expect_err("no sound");
    assert!(matches!(error, Error::Samples(SamplesError::NotFinite { .. })), "{error}");
    assert_eq!(
        whole(&model, &[0.25; 161]).0.len(),
        listened(&mut session, &[0.25; 161], 1).0.len()
    );
}

#[test]
fn the_most_that_sound_takes_is_declared() {
    let model = model(Format::F32);
    let config = SessionConfig { context: 4, threads: 1, prefill_chunk: 1, ..Default::default() };
    let mut session = Session::new(&model, config).expect("a session");
    session.embed_samples(&speech(200_000, 9000)).expect("sound");
    let (declared, used) = session.scratch();
    assert!(used <= declared && used > declared / 2, "{used} of {declared}");
}
