//! Conversations on disk: what comes back, and that nothing in a file is believed.

use crate::common::{bits, config, kit, model, seeing_model};
use crate::emulated::emulated;
use carat::sampler::SamplerConfig;
use carat::vision::{Budget, Picture};
use carat::{
    AnswerOptions, Chat, ChatConfig, Content, ConversationError, Error, Event, Medium, Message,
    Model, Session, SessionConfig, Tool, ToolCall,
};
use serde_json::{Value, json};

fn settings() -> ChatConfig {
    let session = SessionConfig { context: 2048, prefill_chunk: 64, marks: 2, ..config() };
    ChatConfig { session, ..ChatConfig::default() }
}

fn answer(chat: &mut Chat, seed: u64) -> Vec<Event> {
    let sampling = SamplerConfig { temperature: 1.0, seed, ..SamplerConfig::default() };
    let options = AnswerOptions { sampling, max_tokens: Some(40), ..AnswerOptions::default() };
    let events = chat.reply(options).expect("an answer").map(|event| event.expect("an event"));
    let mut events: Vec<_> = events.collect();
    events.pop(); // its times differ
    events
}

fn picture(session: &mut Session) -> Medium {
    let budget = Budget::try_from(70).expect("a budget");
    let picture = Picture::open(kit().join("image.png"), budget).expect("a picture");
    session.embed_picture(&picture).expect("a picture")
}

fn film(session: &mut Session) -> Medium {
    let Medium::Image(frame) = picture(session) else { unreachable!("it is a picture") };
    let clip = carat::audio::Clip::open(kit().join("audio.wav")).expect("a clip");
    let sound = session.embed_clip(&clip, carat::audio::LongClip::Split).expect("sound");
    let Medium::Audio(sound) = sound else { unreachable!("it is sound") };
    // A time whose shortest decimal form is long.
    Medium::Video { frames: vec![(0.1 + 0.2, frame)], sound }
}

fn tool() -> Tool {
    serde_json::from_value(json!({"name": "weather", "description": "d"})).expect("a tool")
}

/// A conversation with everything that a message may have.
fn talk(model: &Model) -> Chat {
    let config = ChatConfig { tools: vec![tool()], ..settings() };
    let mut chat = Chat::new(model, config).expect("a chat");
    chat.push(Message::system("be brief"));
    let media = [picture(chat.session_mut()), film(chat.session_mut())];
    chat.push(Message::showing(media, "what is \"this\"?\n<turn|>"));
    // Digits that no f64 has.
    let json = "{\"n\":12345678901234567890.10}".to_owned();
    let arguments = serde_json::from_str(&json).expect("JSON");
    let call = ToolCall { name: "weather".to_owned(), arguments, json };
    let mut calls = Message::assistant("");
    calls.thought = "I do not know".to_owned();
    calls.tool_calls = vec![("call_0".to_owned(), call)];
    chat.push(calls);
    let mut result = Message::tool("call_0", "rain");
    result.name = Some("weather".to_owned());
    chat.push(result);
    answer(&mut chat, 1);
    chat.push(Message::user("and then?"));
    answer(&mut chat, 2);
    chat
}

#[test]
fn a_conversation_comes_back_with_media_and_goes_on_as_it_would_have() {
    let model = seeing_model("q8_0");
    let mut chat = talk(&model);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("talk");
    chat.save(&path).expect("saved");
    let mut other = Chat::restore(&model, &path, settings()).expect("restored");
    assert_eq!(chat.messages(), other.messages());
    assert_eq!(chat.tools(), other.tools());
    assert_eq!(chat.session().tokens(), other.session().tokens());
    for seed in 3..6 {
        for chat in [&mut chat, &mut other] {
            chat.push(Message::user(format!("go on {seed}")));
        }
        let wanted = answer(&mut chat, seed);
        assert_eq!(wanted, answer(&mut other, seed));
        assert!(!wanted.is_empty());
    }
    let logits = bits(chat.session_mut().logits().expect("logits"));
    assert!(logits == bits(other.session_mut().logits().expect("logits")));
    // Back before the picture: its rows are there, and other words come before it.
    let restored = Chat::restore(&model, &path, settings()).expect("restored");
    let mut messages = restored.messages()[..2].to_vec();
    messages[0] = Message::system("be very verbose");
    let mut other = restored;
    other.set_messages(messages.clone());
    let mut fresh =
        Chat::new(&model, ChatConfig { tools: vec![tool()], ..settings() }).expect("a chat");
    messages[1].content[0] = Content::Medium(picture(fresh.session_mut()));
    messages[1].content[1] = Content::Medium(film(fresh.session_mut()));
    fresh.set_messages(messages);
    assert_eq!(answer(&mut fresh, 7), answer(&mut other, 7));
    // Other tools take the place of those of then, and any session can be had without messages.
    let mut mine = tool();
    mine.name = "time".to_owned();
    let config = ChatConfig { tools: vec![mine.clone()], ..settings() };
    assert_eq!(Chat::restore(&model, &path, config).expect("restored").tools(), [mine]);
    let session = Session::restore(&model, &path, settings().session).expect("restored");
    let saved = Session::saved(&path).expect("a session");
    assert_eq!((saved.tokens, saved.has_media), (session.len(), true));
}

#[test]
fn what_is_no_conversation_is_refused() {
    let model = model("q4_0");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("talk");
    let session = Session::new(&model, settings().session).expect("a session");
    let refused = |own: &[&[u8]], wanted: &str| {
        session.save_with(&path, own).expect("saved");
        let (_, back) =
            Session::restore_with(&model, &path, settings().session).expect("it is a session");
        assert_eq!(back, own.concat());
        match Chat::restore(&model, &path, settings()) {
            Err(Error::Conversation(ConversationError::Saved { path: found, reason })) => {
                assert_eq!(found, path);
                assert!(reason.contains(wanted), "{wanted}: {reason}");
            }
            other => panic!("{wanted}: {other:?}"),
        }
    };
    refused(&[], "without messages");
    refused(&[b"1234567"], "cut short");
    refused(&[&u64::MAX.to_le_bytes()], "cut short");
    refused(&[&9u64.to_le_bytes(), b"{}"], "cut short");
    let with = |json: Value, rows: usize, wanted: &str| {
        let json = json.to_string();
        let length = (json.len() as u64).to_le_bytes();
        refused(&[&length, json.as_bytes(), &vec![0; rows]], wanted);
    };
    let message = |role: &str, content: Value| {
        json!({"tools": [], "messages": [{"role": role, "content": content, "thought": "",
               "calls": [], "tool_call_id": null, "name": null}]})
    };
    let picture = |tokens: u64| json!([{"image": {"tokens": tokens, "key": vec![0; 32]}}]);
    let row = 64 * 4;
    with(json!({}), 0, "missing field");
    with(message("nobody", json!([])), 0, "nobody is called \"nobody\"");
    with(message("user", json!([])), 1, "more media");
    with(message("user", picture(0)), 0, "a medium has 0 tokens");
    with(message("user", picture(1121)), 1121 * row, "a medium has 1121 tokens");
    with(message("user", picture(2)), 2 * row - 1, "media are cut short");
    with(message("user", picture(2)), 2 * row + 1, "more media");
    with(message("user", json!([{"audio": [{"tokens": u64::MAX, "key": vec![0; 32]}]}])), row, "");
    let call = json!({"id": "a", "name": "f", "arguments": "[1]"});
    let mut calls = message("assistant", json!([]));
    calls["messages"][0]["calls"] = json!([call]);
    with(calls, 0, "invalid type");
    // As many levels as a reader of JSON must not follow.
    let deep = "[".repeat(100_000);
    refused(&[&(deep.len() as u64).to_le_bytes(), deep.as_bytes()], "");
    assert!(Session::saved(folder.path()).is_err() && Session::saved("/nowhere").is_err());
}

/// The section of the caller is part of what hashes protect.
#[test]
fn damage_of_the_messages_is_found() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let mut chat = Chat::new(&model, settings()).expect("a chat");
    chat.push(Message::user("hello"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("talk");
    chat.save(&path).expect("saved");
    let whole = std::fs::read(&path).expect("a file");
    let start = whole.windows(8).position(|bytes| bytes == b"messages").expect("it is text");
    for at in (start - 20..whole.len()).chain(152..160) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, bytes).expect("a file");
        let error = Chat::restore(&model, &path, settings()).expect_err("it is damaged");
        assert!(matches!(error, Error::SavedSession(_)), "{at}: {error}");
    }
    for cut in start - 20..whole.len() {
        std::fs::write(&path, &whole[..cut]).expect("a file");
        let error = Chat::restore(&model, &path, settings()).expect_err("it is cut");
        assert!(error.to_string().contains("cut short"), "{cut}: {error}");
    }
}
