//! Pictures and sound against the reference implementation, and what must hold around them.

use crate::common::{
    self, bits, config, distance, kit, media_cases, reference, seeing_model, tokens,
};
use carat::audio::{Clip, LongClip};
use carat::video::{Frame, Video};
use carat::vision::{Budget, Picture};
use carat::{
    ChatTemplate, Embedding, Error, Input, MediaPrompt, Medium, Part, Session, SessionConfig,
    SessionError,
};
use serde_json::json;

fn picture() -> Picture {
    let budget = Budget::try_from(70).expect("a budget");
    Picture::open(kit().join("image.png"), budget).expect("a picture")
}

fn clip() -> Clip {
    Clip::open(kit().join("audio.wav")).expect("a clip")
}

/// A medium that is one run of tokens.
fn one(medium: Medium) -> Embedding {
    let [embedding] = medium.into_embeddings().try_into().expect("one embedding");
    embedding
}

/// The embeddings of a case in the order of its tokens: sound stands before the picture.
fn media(session: &mut Session, case: &str) -> Vec<Embedding> {
    let mut media = Vec::new();
    if case != "image" {
        media.push(one(session.embed_samples(clip().samples()).expect("sound")));
    }
    if case != "audio" {
        media.push(one(session.embed_picture(&picture()).expect("a picture")));
    }
    media
}

fn logits(config: SessionConfig, quant: &str, case: &common::Case) -> Vec<Vec<f32>> {
    let model = seeing_model(quant);
    let mut session = Session::new(&model, config).expect("a session");
    let media = media(&mut session, case.name);
    let mut rows = Vec::new();
    session.eval_filled(&case.ids, &media, |_, row| rows.push(row.to_vec())).expect("logits");
    rows
}

fn greatest_difference(got: &[f32], want: &[Vec<f32>]) -> f32 {
    let want = want.concat();
    assert_eq!(got.len(), want.len());
    got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn embeddings_are_those_of_the_reference() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let image = one(session.embed_picture(&picture()).expect("a picture"));
    assert!(greatest_difference(image.rows(), &reference("image_embeddings")) < 1e-3);
    let audio = one(session.embed_samples(clip().samples()).expect("sound"));
    assert!(greatest_difference(audio.rows(), &reference("audio_embeddings")) < 1e-3);
}

#[test]
fn logits_are_those_of_the_reference() {
    for (quant, top1, kl, max) in
        [("f32", 1.0, 1e-7, 2e-3), ("q8_0", 0.86, 1.5e-3, 0.27), ("q4_0", 0.90, 1.5e-3, 0.27)]
    {
        for case in media_cases() {
            let want = reference(&format!("{}.logits.{quant}", case.name));
            let d = distance(&want, &logits(config(), quant, &case));
            let ok = d.top1 >= top1 && d.kl <= kl && d.max <= max;
            assert!(ok, "{quant} {}: {d:?}", case.name);
        }
    }
}

/// A picture is never cut, so chunks that begin, end or lie within it change nothing.
#[test]
fn chunks_around_a_picture_do_not_change_a_bit() {
    for case in media_cases() {
        let whole = logits(config(), "f32", &case);
        for prefill_chunk in [1, 7, 64, 512] {
            let cut = logits(SessionConfig { prefill_chunk, ..config() }, "f32", &case);
            for (i, (a, b)) in whole.iter().zip(&cut).enumerate() {
                assert!(bits(a) == bits(b), "{} chunk {prefill_chunk} token {i}", case.name);
            }
        }
    }
}

/// tiny-s has positions for 64 columns and rows: 1120 tokens fit into a window of 8 and a context
/// that holds them.
#[test]
fn the_largest_budget_works_at_any_chunk_and_uses_the_declared_scratch() {
    let model = seeing_model("q8_0");
    let budget = Budget::try_from(1120).expect("a budget");
    let picture = Picture::open(kit().join("image.png"), budget).expect("a picture");
    let mut seen: Option<Vec<u32>> = None;
    for prefill_chunk in [64, 512, 2048] {
        let mut session =
            Session::new(&model, SessionConfig { prefill_chunk, ..config() }).expect("a session");
        let image = session.embed_picture(&picture).expect("a picture");
        let parts = [Part::Text("the"), Part::Medium(&image), Part::Text(" fox")];
        session.push(Input::Parts(&parts)).expect("a push");
        let logits = bits(session.logits().expect("logits"));
        assert!(*seen.get_or_insert_with(|| logits.clone()) == logits, "chunk {prefill_chunk}");
        if prefill_chunk <= picture.tokens() {
            let (declared, used) = session.scratch();
            assert!(used <= declared && used > declared / 2, "{used} of {declared}");
        }
    }
}

#[test]
fn a_picture_embedded_once_is_used_twice() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let image = session.embed_picture(&picture()).expect("a picture");
    let parts = [Part::Medium(&image), Part::Text("and"), Part::Medium(&image)];
    let prompt = MediaPrompt::from_parts(&model, &parts).expect("a prompt");
    assert_eq!(prompt.media.len(), 2);
    assert!(std::ptr::eq(prompt.media[0].rows(), prompt.media[1].rows()));
    session.push(Input::Parts(&parts)).expect("a push");
    assert_eq!(session.len(), prompt.ids.len() + 1);
}

#[test]
fn equal_pictures_are_embedded_once_while_they_are_in_use() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let first = one(session.embed_picture(&picture()).expect("a picture"));
    let again = one(session.embed_picture(&picture()).expect("a picture"));
    assert!(std::ptr::eq(first.rows(), again.rows()));
    let mut pixels = picture().pixels().to_vec();
    pixels[0] ^= 1;
    let (width, height) = (picture().width() as u32, picture().height() as u32);
    let budget = Budget::try_from(70).expect("a budget");
    let other = Picture::from_rgb(width, height, &pixels, budget).expect("a picture");
    assert_eq!(other.tokens(), first.tokens());
    let other = one(session.embed_picture(&other).expect("a picture"));
    assert!(other.rows() != first.rows());
    let rows = first.rows().to_vec();
    drop((first, again));
    // Nobody had them any more, so these are new; then they are in use again.
    let anew = one(session.embed_picture(&picture()).expect("a picture"));
    assert_eq!(anew.rows(), rows);
    let again = one(session.embed_picture(&picture()).expect("a picture"));
    assert!(std::ptr::eq(anew.rows(), again.rows()));
}

#[test]
fn a_conversation_shows_media_where_the_template_has_them() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let image = one(session.embed_picture(&picture()).expect("a picture"));
    let sound = session.embed_clip(&clip(), LongClip::Refuse).expect("sound");
    let template = "{% for m in messages %}<|turn>user\n{% for p in m.content %}\
        {% if p.type == 'image' %}<|image|>{% elif p.type == 'audio' %}<|audio|>{% else %}\
        {{ p.text }}{% endif %}{% endfor %}<turn|>{% endfor %}";
    let template = ChatTemplate::new(template).expect("a template");
    let part = |kind| json!({ "type": kind });
    let text = json!({ "type": "text", "text": "see <|image|> here" });
    let content = json!([part("audio"), text, part("image")]);
    let prompt = template.render(&json!({ "messages": [{ "content": content }] })).expect("text");
    let special = |name| model.tokenizer().special(name).expect("a token");
    let media = [sound.clone(), Medium::Image(image.clone())];
    let filled = MediaPrompt::from_conversation(&model, &prompt, &media).expect("a prompt");
    let runs = |id| filled.ids.iter().filter(|i| **i == id).count();
    assert_eq!(runs(special("<|image|>")), image.tokens()); // the user's own words do not count
    assert_eq!(runs(special("<|image>")), 1);
    assert_eq!(runs(special("<image|>")), 1);
    let begin = filled.ids.iter().position(|i| *i == special("<|audio>")).expect("sound");
    assert!(begin < filled.ids.iter().position(|i| *i == special("<|image>")).expect("image"));
    let conversation = |media| Input::Conversation { prompt: &prompt, media };
    session.push(conversation(&media)).expect("a push");

    let swapped = [Medium::Image(image.clone()), sound.clone()];
    let error = session.push(conversation(&swapped)).expect_err("the wrong order");
    assert!(matches!(error, Error::Session(SessionError::MediaKind { .. })), "{error}");
    let error = session.push(conversation(&media[..1])).expect_err("one too few");
    assert!(
        matches!(error, Error::Session(SessionError::MediaCount { wanted: 2, found: 1 })),
        "{error}"
    );
    let three = [&media[..], &media[1..]].concat();
    let error = session.push(conversation(&three)).expect_err("one too many");
    assert!(
        matches!(error, Error::Session(SessionError::MediaCount { wanted: 2, found: 3 })),
        "{error}"
    );
}

/// A place takes what the template wrote it for, and the error names both.
#[test]
fn each_placeholder_takes_its_own_kind() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let image = one(session.embed_picture(&picture()).expect("a picture"));
    let sound = session.embed_clip(&clip(), LongClip::Refuse).expect("sound");
    let video = Medium::Video { frames: vec![(0.0, image.clone())], sound: Vec::new() };
    let kinds = [
        ("<|image|>", "a picture", Medium::Image(image)),
        ("<|audio|>", "sound", sound),
        ("<|video|>", "a video", video),
    ];
    for (placeholder, wanted, _) in &kinds {
        let template = ChatTemplate::new(placeholder).expect("a template");
        let prompt = template.render(&json!({})).expect("a prompt");
        for (_, found, medium) in &kinds {
            let filled =
                MediaPrompt::from_conversation(&model, &prompt, std::slice::from_ref(medium));
            match filled {
                Ok(_) => assert_eq!(wanted, found),
                Err(error) => {
                    assert!(wanted != found, "{error}");
                    let kinds = format!("a place for {wanted} where {found} was given");
                    assert!(error.to_string().contains(&kinds), "{error}");
                }
            }
        }
    }
}

/// A time stands before each frame, and a space between one frame and the next time, as in the
/// processor of Hugging Face's transformers; the sound follows the last frame.
#[test]
fn a_video_is_its_frames_with_their_times_and_its_sound() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let frame = one(session.embed_picture(&picture()).expect("a picture"));
    let sound = one(session.embed_samples(&[0.1; 3 * 640]).expect("sound"));
    let frames = vec![(0.0, frame.clone()), (61.5, frame.clone())];
    let video = Medium::Video { frames, sound: vec![sound.clone()] };
    let prompt = MediaPrompt::from_parts(&model, &[Part::Medium(&video)]).expect("a prompt");
    assert_eq!(prompt.media, video.clone().into_embeddings(), "the order is that of the tokens");
    assert_eq!(Medium::from(sound.clone()), Medium::Audio(vec![sound.clone()]));
    let image = format!("<|image>{}<image|>", "<|image|>".repeat(frame.tokens()));
    let heard = "<|audio><|audio|><|audio|><|audio|><audio|>";
    let written = format!("00:00 {image} 01:01 {image}{heard}");
    assert_eq!(prompt.ids, model.tokenizer().encode_prompt(&written));
    assert_eq!(prompt.media, [frame.clone(), frame, sound]);
}

/// Sound that is longer than a segment of 30 s is split, never refused.
#[test]
fn an_embedded_video_keeps_times_and_all_of_its_sound() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let frame = |index, seconds| Frame { index, seconds, picture: picture() };
    let video = Video { frames: vec![frame(0, 0.25), frame(9, 7.5)], complete: true };
    let sound = Clip::from_pcm(&[0.1; 480_001], 16_000, 1).expect("a clip");
    let medium = session.embed_video(&video, Some(&sound)).expect("a video");
    let Medium::Video { frames, sound } = medium else { panic!("{medium:?}") };
    assert_eq!(frames.iter().map(|(seconds, _)| *seconds).collect::<Vec<_>>(), [0.25, 7.5]);
    assert!(frames.iter().all(|(_, frame)| frame.is_image()));
    let tokens: usize = sound.iter().map(Embedding::tokens).sum();
    assert_eq!((sound.len(), tokens), (2, 751));

    let medium = session.embed_video(&video, None).expect("a silent video");
    assert!(matches!(medium, Medium::Video { sound, .. } if sound.is_empty()));
}

/// Runs of two kinds may touch; what stands in a place must be of its kind.
#[test]
fn each_run_of_soft_tokens_takes_the_next_embedding() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let image = one(session.embed_picture(&picture()).expect("a picture"));
    let seen = image.tokens();
    let sound = one(session.embed_samples(&vec![0.1; seen * 640]).expect("sound"));
    assert_eq!(sound.tokens(), seen);
    let soft = |name| model.tokenizer().special(name).expect("a token");
    let (image_soft, audio_soft) = (soft("<|image|>"), soft("<|audio|>"));
    let ids = [vec![300], vec![image_soft; seen], vec![audio_soft; seen], vec![301]].concat();
    let mut prompt = MediaPrompt { ids, media: vec![image.clone(), sound.clone()] };
    assert_eq!(prompt.places(&model).expect("places"), [1..1 + seen, 1 + seen..1 + 2 * seen]);

    for (media, wanted) in [
        (vec![sound.clone(), image.clone()], "a place for a picture where sound was given"),
        (vec![image.clone(), image.clone()], "a place for sound where a picture was given"),
    ] {
        prompt.media = media;
        let error = prompt.places(&model).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn wrong_media_leave_the_session_as_it_was() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let image = one(session.embed_picture(&picture()).expect("a picture"));
    let soft = model.tokenizer().special("<|image|>").expect("a token");
    session.push(Input::Tokens(&tokens(5))).expect("a push");
    let before = bits(session.logits().expect("logits"));
    let short = vec![soft; image.tokens() - 1];
    let media = [image.clone()];
    let error = session.push(Input::Filled { ids: &short, media: &media }).expect_err("short");
    assert!(matches!(error, Error::Session(SessionError::MediaTokens { .. })), "{error}");
    let error = session.push(Input::Tokens(&short)).expect_err("a place without a picture");
    assert!(
        matches!(error, Error::Session(SessionError::MediaCount { wanted: 1, found: 0 })),
        "{error}"
    );
    assert_eq!(session.len(), 5);
    assert!(bits(session.logits().expect("logits")) == before);

    let error = session.embed_samples(&[]).expect_err("nothing to hear");
    assert!(matches!(error, Error::Samples(_)), "{error}");
    let blind = common::model("f32");
    let mut session = Session::new(&blind, config()).expect("a session");
    let error = session.embed_picture(&picture()).expect_err("no projector");
    assert!(matches!(error, Error::NoProjector { .. }), "{error}");
}

/// A fresh session, and one that was shown all that cannot be used, say the same.
#[test]
fn what_cannot_be_used_leaves_no_trace() {
    let model = seeing_model("q8_0");
    let mut fresh = Session::new(&model, config()).expect("a session");
    fresh.push(Input::Tokens(&tokens(20))).expect("a push");
    let want = bits(fresh.logits().expect("logits"));

    let mut session = Session::new(&model, config()).expect("a session");
    let budget = Budget::default();
    let thin = Picture::from_rgb(1, 20_000, &[9; 60_000], budget).expect("a picture");
    let loud = [0.1, f32::INFINITY];
    let long = Clip::from_pcm(&[0.1; 480_001], 16_000, 1).expect("a clip");
    let good = one(session.embed_samples(&[0.1; 640]).expect("sound"));
    let twice = vec![good.clone(), good];
    for (error, words) in [
        (session.embed_picture(&thin).map(drop), "positions for 64"),
        (session.embed_samples(&[]).map(drop), "no samples"),
        (session.embed_samples(&[f32::NAN]).map(drop), "sample 0 is NaN"),
        (session.embed_samples(&loud).map(drop), "sample 1 is inf"),
        (session.embed_clip(&long, LongClip::Refuse).map(drop), "at most 30 s"),
        (session.push(Input::Filled { ids: &tokens(4), media: &twice }), "0 media, 2 were given"),
    ] {
        let error = error.expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(session.is_empty());
    session.push(Input::Tokens(&tokens(20))).expect("a push");
    assert!(bits(session.logits().expect("logits")) == want);
}

#[test]
fn going_back_behind_a_picture_is_exact_and_into_it_refused() {
    let model = seeing_model("f32");
    let mut session = Session::new(&model, config()).expect("a session");
    let image = session.embed_picture(&picture()).expect("a picture");
    let parts = [Part::Text("the"), Part::Medium(&image), Part::Text(" fox")];
    session.push(Input::Parts(&parts[..2])).expect("a push");
    let (end, behind) = (session.len(), bits(session.logits().expect("logits")));
    session.push(Input::Parts(&parts[2..])).expect("a push");
    // The rows of a picture are gone once it is evaluated, so its last token cannot be evaluated
    // again: nothing ends within it nor right after it.
    let soft = model.tokenizer().special("<|image|>");
    let first = session.tokens().iter().position(|id| Some(*id) == soft).expect("a picture");
    for n in first + 1..end {
        match session.truncate(n) {
            Err(Error::Session(SessionError::TruncateMedium { wanted, start, end: behind })) => {
                assert_eq!((wanted, start, behind), (n, first, end));
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    session.truncate(end).expect("behind the picture");
    assert!(bits(session.logits().expect("logits")) == behind);
    session.truncate(first).expect("before the picture");
    assert_eq!(session.tokens().last().copied(), model.tokenizer().special("<|image>"));
    session.truncate(0).expect("all of it");
    session.push(Input::Parts(&parts[..2])).expect("a push");
    assert!(bits(session.logits().expect("logits")) == behind);
}

#[test]
fn a_projector_of_another_model_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mmproj.gguf");
    let open = |path| {
        let options = carat::OpenOptions { projector: Some(path), ..Default::default() };
        carat::Model::open_with(common::file("f32"), options)
    };
    std::fs::copy(common::file("q4_0"), &path).expect("a copy");
    let error = open(path.as_path()).expect_err("a text model");
    assert!(matches!(error, Error::Projector { .. }), "{error}");

    // The same file with another hidden length in its projection.
    let source = carat_gguf::Source::open(&kit().join("mmproj-f32.gguf")).expect("a file");
    let gguf = source.parse().expect("a projector");
    let mut writer = carat_gguf::Writer::new(gguf.endian(), gguf.version());
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for tensor in gguf.tensors() {
        let is_last = tensor.name == "mm.input_projection.weight";
        let rows =
            if is_last { tensor.shape[1] / 2 } else { tensor.shape.get(1).copied().unwrap_or(1) };
        let mut shape = tensor.shape.to_vec();
        if is_last {
            shape[1] = rows;
        }
        let bytes =
            tensor.data.len() as u64 * shape.iter().product::<u64>() / tensor.shape.elements();
        writer =
            writer.tensor(tensor.name, tensor.tensor_type, &shape, &tensor.data[..bytes as usize]);
    }
    std::fs::write(&path, writer.to_bytes().expect("bytes")).expect("written");
    let error = open(path.as_path()).expect_err("another length");
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(source.contains("rows of 32 values and the model's have 64"), "{error}: {source}");
}
