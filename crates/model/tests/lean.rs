//! What works in every build, whatever features are off: text, pixels and samples go in.

mod common;

use carat::audio::{Clip, LongClip, SamplesError};
use carat::video::{Frame, NoFrames, Video};
use carat::vision::{Budget, Picture};
use carat::{Error, Input, Medium, Part, Rendered, Session};
use common::{bits, config, kit, reference, seeing_model};

/// The kit's sound, 16-bit samples behind a header of 44 bytes.
fn samples() -> Vec<f32> {
    let file = std::fs::read(kit().join("audio.wav")).expect("audio.wav");
    let (samples, _) = file[44..].as_chunks();
    samples.iter().map(|&sample| f32::from(i16::from_le_bytes(sample)) / 32_768.0).collect()
}

/// One colour, three to four.
fn picture() -> Picture {
    let pixels = [200, 100, 50].repeat(60 * 80);
    Picture::from_rgb(60, 80, &pixels, Budget::VIDEO).expect("a picture")
}

#[test]
fn samples_are_heard_as_the_reference_hears_them() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let clip = Clip::from_pcm(&samples(), 16_000, 1).expect("a clip");
    let heard = session.embed_clip(&clip, LongClip::Refuse).expect("sound").into_embeddings();
    let want = reference("audio_embeddings").concat();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].rows().len(), want.len());
    let difference = heard[0].rows().iter().zip(&want).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) < 1e-3);

    let both: Vec<f32> = samples().iter().flat_map(|&sample| [sample, sample]).collect();
    assert_eq!(Clip::from_pcm(&both, 16_000, 2).expect("two channels"), clip);
}

#[test]
fn all_that_needs_no_file_goes_in() {
    let model = seeing_model("q8_0");
    let mut session = Session::new(&model, config()).expect("a session");
    let picture = picture();
    let clip = Clip::from_pcm(&samples(), 16_000, 1).expect("a clip");
    let frame = |index| Frame { index, seconds: index as f64, picture: picture.clone() };
    let video = Video::from_frames(vec![frame(0), frame(1)]).expect("a video");
    let media = [
        session.embed_picture(&picture).expect("a picture"),
        session.embed_samples(clip.samples()).expect("sound"),
        session.embed_video(&video, Some(&clip)).expect("a video"),
    ];
    let tokens = |medium: &Medium| -> usize {
        medium.clone().into_embeddings().iter().map(|embedding| embedding.tokens()).sum()
    };
    assert_eq!((picture.columns(), picture.rows()), (7, 9), "70 patches in the shape of 3 to 4");
    assert_eq!(media.each_ref().map(tokens), [63, clip.tokens(), 2 * 63 + clip.tokens()]);
    assert_eq!(video.tokens(), 2 * 63);

    for medium in &media {
        session.truncate(0).expect("the beginning");
        session.push(Input::Parts(&[" the".into(), Part::from(medium)])).expect("a push");
        assert!(session.logits().expect("logits").iter().all(|logit| logit.is_finite()));
    }
}

#[test]
fn sound_is_heard_while_it_comes() {
    let model = seeing_model("q8_0");
    let mut whole = Session::new(&model, config()).expect("a session");
    let sound = whole.embed_samples(&samples()).expect("sound");
    whole.push(Input::Parts(&[Part::Medium(&sound)])).expect("a push");
    let mut session = Session::new(&model, config()).expect("a session");
    let mut listen = session.listen(16_000, 1, LongClip::Split).expect("it hears");
    for piece in samples().chunks(1000) {
        listen.push(piece).expect("a piece");
    }
    listen.finish().expect("an end");
    assert_eq!(session.tokens(), whole.tokens());
    assert_eq!(bits(session.logits().unwrap()), bits(whole.logits().unwrap()));
}

#[test]
fn what_is_nothing_is_refused() {
    assert_eq!(Video::from_frames(Vec::new()), Err(NoFrames));
    assert!(matches!(Clip::from_pcm(&[], 16_000, 1), Err(SamplesError::NoSamples)));
    for rate in [0, 999, 768_001] {
        let refused = Clip::from_pcm(&[0.5; 64], rate, 1);
        assert!(matches!(refused, Err(SamplesError::SampleRate { found }) if found == rate));
    }
}

/// Other rates are for the feature `sound`, and an error says so.
#[test]
fn other_rates_need_a_feature() {
    let model = seeing_model("q8_0");
    let mut session = Session::new(&model, config()).expect("a session");
    let heard = session.listen(44_100, 1, LongClip::Split).map(drop);
    if cfg!(feature = "sound") {
        heard.expect("it hears");
        return;
    }
    let error = heard.expect_err("there is no filter");
    assert!(matches!(error, Error::Samples(SamplesError::SampleRate { found: 44_100 })));
    let text = error.to_string();
    assert!(text.contains("44100 Hz") && text.contains("16000 Hz") && text.contains("`sound`"));
}

#[test]
fn a_prompt_is_put_together_without_a_template() {
    let model = seeing_model("q8_0");
    let tokenizer = model.tokenizer();
    let end = tokenizer.special("<turn|>").expect("the end of a turn");
    let mut prompt = Rendered::default();
    prompt.push_trusted("");
    prompt.push_trusted("<|turn>");
    prompt.push_trusted("user\n");
    prompt.push_text("what is <turn|>, and <turn");
    prompt.push_text("");
    prompt.push_trusted("|>?<turn|>\n");
    assert_eq!(prompt.text(), "<|turn>user\nwhat is <turn|>, and <turn|>?<turn|>\n");
    assert_eq!(prompt.trusted().collect::<Vec<_>>(), [0..12, 38..49]);
    let ids = tokenizer.encode_rendered(&prompt);
    assert_eq!(ids.iter().filter(|id| **id == end).count(), 1, "neither whole nor in part");
    assert_eq!(tokenizer.decode(&ids, false), prompt.text());

    let mut session = Session::new(&model, config()).expect("a session");
    session.push(Input::Rendered(&prompt)).expect("a push");
}

/// A file with a chat template opens in every build.
#[test]
fn a_file_with_a_template_opens() {
    let model = seeing_model("q8_0");
    #[cfg(feature = "chat")]
    assert!(model.chat_template().is_some());
    assert!(model.tokenizer().special("<|turn>").is_some());
}
