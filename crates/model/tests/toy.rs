//! The trained model that the program carries, through the library: real answers to real media.
//! The gallery of `carat demo` says what is asked and what is right.
#![cfg(all(feature = "chat", feature = "image", feature = "sound", feature = "grammar"))]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use carat::audio::{Clip, LongClip};
use carat::sampler::SamplerConfig;
use carat::vision::{Budget, Picture};
use carat::{
    AnswerOptions, Cancel, Chat, ChatConfig, Event, Grammar, Input, Medium, Message, Model,
    OpenOptions, Sampler, Seat, Session, SessionConfig, Step,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Item {
    files: Vec<String>,
    question: String,
    expected: String,
}

fn program(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli").join(path)
}

fn gallery() -> Vec<Item> {
    let text = std::fs::read(program("assets/gallery/gallery.json")).expect("a list");
    serde_json::from_slice(&text).expect("a list of items")
}

fn model() -> Model {
    let projector = program("models/demo-mmproj.gguf");
    let options = OpenOptions { projector: Some(&projector), ..OpenOptions::default() };
    Model::open_with(program("models/demo-text.gguf"), options).expect("the model in the program")
}

fn config() -> SessionConfig {
    SessionConfig { context: 2048, threads: 2, ..SessionConfig::default() }
}

fn chat(model: &Model) -> Chat {
    let settings = ChatConfig { session: config(), ..ChatConfig::default() };
    Chat::new(model, settings).expect("a chat")
}

fn medium(session: &mut Session, file: &str) -> Medium {
    let path = program("assets/gallery").join(file);
    match path.extension().is_some_and(|extension| extension == "png") {
        true => {
            let picture = Picture::open(path, Budget::default()).expect("a picture");
            session.embed_picture(&picture).expect("rows")
        }
        false => {
            let clip = Clip::open(path).expect("a recording");
            session.embed_clip(&clip, LongClip::Split).expect("rows")
        }
    }
}

fn likeliest() -> AnswerOptions {
    let sampling = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    AnswerOptions { sampling, max_tokens: Some(64), ..AnswerOptions::default() }
}

fn ask(chat: &mut Chat, files: &[&str], question: &str, options: AnswerOptions) -> String {
    let media: Vec<_> = files.iter().map(|file| medium(chat.session_mut(), file)).collect();
    chat.push(Message::showing(media, question));
    let texts = chat.reply(options).expect("a reply").map(|event| match event.expect("an event") {
        Event::Text(text) => text,
        _ => String::new(),
    });
    texts.collect()
}

#[test]
fn pictures_recordings_and_text_are_answered() {
    let (model, gallery) = (model(), gallery());
    let mut wrong = Vec::new();
    for item in &gallery {
        let files: Vec<_> = item.files.iter().map(String::as_str).collect();
        let found = ask(&mut chat(&model), &files, &item.question, likeliest());
        if found != item.expected {
            wrong.push((&item.question, &item.expected, found));
        }
    }
    assert!(10 * wrong.len() <= gallery.len(), "{wrong:?}");
}

#[test]
fn a_conversation_goes_on_about_what_was_shown_and_heard() {
    let model = model();
    let mut chat = chat(&model);
    let say =
        |chat: &mut Chat, files: &[&str], question: &str| ask(chat, files, question, likeliest());
    assert_eq!(say(&mut chat, &["shapes.png"], "How many stars are there?"), "2");
    assert_eq!(say(&mut chat, &[], "What color is the circle?"), "blue");
    assert_eq!(say(&mut chat, &["beeps.wav"], "How many beeps do you hear?"), "4");
    assert_eq!(say(&mut chat, &[], "What is 4 + 2?"), "6");

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("talk");
    chat.save(&path).expect("a saved conversation");
    let settings = ChatConfig { session: config(), ..ChatConfig::default() };
    let mut again = Chat::restore(&model, &path, settings).expect("the conversation");
    let (here, there) = ("What shape is blue?", "What shape is blue?");
    assert_eq!(say(&mut again, &[], there), say(&mut chat, &[], here));
}

#[test]
fn a_grammar_and_the_picture_agree() {
    let model = model();
    let env = model.grammar_env().expect("a vocabulary");
    let grammar = Grammar::regex(env, "[0-9]{4}").expect("a grammar");
    let options = AnswerOptions { format: Some(Arc::new(grammar)), ..likeliest() };
    let found = ask(&mut chat(&model), &["number.png"], "What number is this?", options);
    assert_eq!(found, "4071");
}

#[test]
fn conversations_in_one_pass_are_answered_as_alone() {
    let model = model();
    let questions = ["What is 12 + 7?", "What is 30 - 11?", "Repeat: silver river"];
    let expected = ["19", "19", "silver river"];
    let prompts =
        questions.map(|question| format!("<bos><|turn>user\n{question}<turn|>\n<|turn>model\n"));
    let samplers = [0; 3].map(|_| {
        let config = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
        Sampler::new(config, model.config().vocab).expect("a sampler")
    });
    let mut talks: Vec<_> = prompts
        .iter()
        .zip(samplers)
        .map(|(prompt, sampler)| {
            let mut session = Session::new(&model, config()).expect("a session");
            session.enqueue(Input::Prompt(prompt)).expect("room");
            (session, sampler, Vec::new())
        })
        .collect();
    for _ in 0..40 {
        let mut seats: Vec<_> =
            talks.iter_mut().map(|(session, sampler, _)| Seat { session, sampler }).collect();
        let steps = carat::step(&mut seats, &Cancel::new()).expect("a pass");
        for (step, (.., said)) in steps.into_iter().zip(&mut talks) {
            if let Step::Token(token) = step.expect("a step") {
                said.push(token);
            }
        }
    }
    for ((.., said), expected) in talks.iter().zip(expected) {
        assert_eq!(model.tokenizer().decode(said, true), expected);
    }
}
