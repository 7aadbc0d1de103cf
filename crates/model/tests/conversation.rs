//! Conversations: what each turn costs, what comes out, and that nothing of the past is lost.

use std::sync::Arc;

use crate::common::{bits, config, kit, model, seeing_model};
use carat::audio::Clip;
use carat::sampler::SamplerConfig;
use carat::vision::{Budget, Picture};
use carat::{
    Answer, AnswerOptions, Cancel, Chat, ChatConfig, ChatTemplate, ConversationError, Done, Error,
    Event, Finish, Grammar, KvType, Medium, Message, Model, Overflow, Role, Session, SessionConfig,
    SessionError, Thinking, Tool, ToolChoice, conversation,
};
use serde_json::{Value, json};

fn settings() -> ChatConfig {
    let session = SessionConfig { context: 4096, prefill_chunk: 64, marks: 2, ..config() };
    ChatConfig { session, ..ChatConfig::default() }
}

fn options(seed: u64) -> AnswerOptions {
    let sampling = SamplerConfig { temperature: 1.0, seed, ..SamplerConfig::default() };
    AnswerOptions { sampling, max_tokens: Some(120), ..AnswerOptions::default() }
}

fn answer(chat: &mut Chat, options: AnswerOptions) -> (Vec<Event>, Done) {
    let events = chat.reply(options).expect("an answer").map(|event| event.expect("an event"));
    let mut events: Vec<_> = events.collect();
    let Some(Event::Done(done)) = events.pop() else { panic!("the last event ends the answer") };
    assert!(!events.iter().any(|event| matches!(event, Event::Done(_))));
    (events, done)
}

fn text(events: &[Event]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn picture(session: &mut Session) -> Medium {
    let budget = Budget::try_from(70).expect("a budget");
    let picture = Picture::open(kit().join("image.png"), budget).expect("a picture");
    session.embed_picture(&picture).expect("a picture")
}

fn sound(session: &mut Session) -> Medium {
    let clip = Clip::open(kit().join("audio.wav")).expect("a clip");
    session.embed_clip(&clip, carat::audio::LongClip::Split).expect("sound")
}

fn weather() -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": { "type": "string", "maxLength": 8 },
            "days": { "type": "integer", "minimum": 1, "maximum": 9 },
        },
        "required": ["city"],
        "additionalProperties": false,
    });
    serde_json::from_value(
        json!({ "name": "weather", "description": "d", "parameters": parameters }),
    )
    .expect("a tool")
}

/// The logits after the prompt of `chat`'s messages, read by a session that knew nothing.
fn fresh(chat: &Chat, options: &AnswerOptions) -> (Vec<u32>, usize) {
    let mut other =
        Chat::new(chat.model(), ChatConfig { tools: chat.tools().to_vec(), ..settings() })
            .expect("a chat");
    other.set_messages(chat.messages().to_vec());
    let mut options = options.clone();
    options.max_tokens = Some(0);
    let (_, done) = answer(&mut other, options);
    (bits(other.session_mut().logits().expect("logits")), done.usage.prompt_tokens)
}

/// Ten turns with media, tools and thoughts that the template drops. The window of tiny-s is 8
/// positions and an answer has up to 120 tokens, so that only marks lead back.
#[test]
fn each_turn_costs_its_new_tokens() {
    let model = seeing_model("q8_0");
    for (thinking, whole) in
        [(Thinking::Off, false), (Thinking::On, false), (Thinking::Off, true), (Thinking::On, true)]
    {
        let config = ChatConfig { tools: vec![weather()], ..settings() };
        let mut chat = Chat::new(&model, config).expect("a chat");
        chat.push(Message::system("be brief"));
        let (mut long, mut prompt_before) = (0, 0);
        for turn in 0..10 {
            let media = match turn {
                2 | 6 => vec![picture(chat.session_mut())],
                4 => vec![sound(chat.session_mut())],
                7 => vec![picture(chat.session_mut()), sound(chat.session_mut())],
                _ => Vec::new(),
            };
            chat.push(Message::showing(media, format!("turn {turn}, what now?")));
            let mut options = options(turn);
            options.thinking = thinking;
            options.tool_choice = match turn {
                3 | 8 => ToolChoice::Required,
                _ => ToolChoice::None,
            };
            if whole {
                let messages = chat.messages().to_vec();
                chat.set_messages(messages);
            }
            let (logits, tokens) = fresh(&chat, &options);
            let before = chat.session().tokens().to_vec();
            let mut stop = options.clone();
            stop.max_tokens = Some(0);
            let (_, done) = answer(&mut chat, stop);
            assert_eq!(done.usage.prompt_tokens, tokens);
            assert!(bits(chat.session_mut().logits().expect("logits")) == logits, "turn {turn}");
            let prompt = chat.session().tokens();
            let common = prompt.iter().zip(&before).take_while(|(a, b)| a == b).count();
            // What random weights say is cut into other tokens when it is written out again, and
            // they think in the middle of an answer: then the session comes back to its beginning.
            let cached = done.usage.cached_tokens;
            assert!(
                cached == common || (cached < common && cached + 8 > prompt_before),
                "turn {turn}, {thinking:?}: {cached} of {common}, after {prompt_before}"
            );
            assert!(turn == 0 || cached > 0);
            prompt_before = tokens;
            let (events, done) = answer(&mut chat, options);
            assert_eq!(done.usage.cached_tokens, tokens, "the prompt was read already");
            long += usize::from(done.usage.completion_tokens > 100);
            if turn == 3 || turn == 8 {
                calls_are_answered(&mut chat, &events);
            }
            if chat.messages().last().is_some_and(|message| message.role == Role::User) {
                chat.push(Message::assistant("nothing came"));
            }
        }
        // How many depends on the last bits of the instruction set.
        assert!(long > 0, "no answer of more than 100 tokens");
    }
}

fn calls_are_answered(chat: &mut Chat, events: &[Event]) {
    let mut ids = Vec::new();
    for event in events {
        match event {
            Event::ToolCall { id, name, arguments, json } => {
                assert_eq!(name, "weather");
                assert!(arguments["city"].is_string());
                let parsed: Value = serde_json::from_str(json).expect("JSON");
                assert_eq!(parsed, Value::Object(arguments.clone()));
                ids.push(id.clone());
            }
            Event::InvalidToolCall { .. } | Event::Thought(_) => {} // cut off by the limit
            other => panic!("{other:?}"),
        }
    }
    for id in ids {
        chat.push(Message::tool(id, "rain"));
    }
}

#[test]
fn tools_are_called_as_declared_and_in_parallel() {
    let model = model("q4_0");
    let config = ChatConfig { tools: vec![weather()], ..settings() };
    let (mut parallel, mut ended) = (0, 0);
    for seed in 0..12 {
        let mut chat = Chat::new(&model, config.clone()).expect("a chat");
        chat.push(Message::user("what is the weather?"));
        let mut options = options(seed);
        options.max_tokens = Some(400);
        options.tool_choice = ToolChoice::Required;
        let (events, done) = answer(&mut chat, options);
        let calls = events.iter().filter(|event| matches!(event, Event::ToolCall { .. })).count();
        parallel += usize::from(calls > 1);
        assert!(text(&events).is_empty());
        if done.reason == Finish::ToolCalls {
            ended += 1;
            let last = chat.messages().last().expect("an answer");
            assert_eq!((last.role, last.tool_calls.len()), (Role::Assistant, calls));
        }
        calls_are_answered(&mut chat, &events);
        answer(&mut chat, self::options(seed));
    }
    assert!(parallel > 0 && ended > 0, "{parallel} {ended}");
}

#[test]
fn a_format_holds_after_thoughts() {
    let model = model("q4_0");
    let schema = json!({
        "type": "object",
        "properties": { "yes": { "type": "boolean" }, "n": { "enum": [1, 2, 3] } },
        "required": ["yes", "n"], "additionalProperties": false,
    });
    let env = model.grammar_env().expect("a trie");
    let format = Arc::new(Grammar::json_schema_value(env, &schema).expect("a schema"));
    let mut thought = 0;
    for seed in 0..30 {
        let mut chat = Chat::new(&model, settings()).expect("a chat");
        chat.push(Message::user("yes or no?"));
        let mut options = options(seed);
        options.format = Some(Arc::clone(&format));
        options.max_tokens = None;
        options.thinking = Thinking::Budget(5);
        // Channels are opened by one model in many.
        options.sampling.logit_bias = vec![(100, if seed % 2 == 0 { 12.0 } else { 0.0 })];
        let (events, done) = answer(&mut chat, options);
        // White space between tokens has no limit but the context.
        if done.reason == Finish::EndOfTurn {
            let value: Value = serde_json::from_str(&text(&events)).expect("JSON");
            assert!(value["yes"].is_boolean() && value["n"].is_u64(), "{value}");
        }
        let thoughts = done.usage.thought_tokens;
        thought += usize::from(thoughts > 1);
        assert!(thoughts <= 5 + 8, "{thoughts}"); // the name of the channel and its ends
    }
    assert!(thought > 0, "no answer began with a thought");
}

#[test]
fn what_cannot_be_answered_is_told_before_anything_is_read() {
    let model = model("q4_0");
    let config = ChatConfig { tools: vec![weather()], ..settings() };
    let mut chat = Chat::new(&model, config).expect("a chat");
    let refused = |chat: &mut Chat, options| chat.reply(options).expect_err("an error");
    let error = refused(&mut chat, options(1));
    assert!(matches!(error, Error::Conversation(ConversationError::NoMessage)), "{error}");
    chat.push(Message::system("alone"));
    let error = refused(&mut chat, options(1));
    assert!(matches!(error, Error::Conversation(ConversationError::NoMessage)), "{error}");
    chat.push(Message::user("hello"));
    let env = model.grammar_env().expect("a trie");
    let mut both = options(1);
    both.format = Some(Arc::new(Grammar::json_object(env).expect("a grammar")));
    let error = refused(&mut chat, both);
    assert!(matches!(error, Error::Conversation(ConversationError::FormatAndTools)), "{error}");
    let mut stop = options(1);
    stop.stop = vec!["x".to_owned(), String::new()];
    assert!(matches!(refused(&mut chat, stop), Error::Conversation(ConversationError::Stop(_))));
    let mut many = options(1);
    many.log_probabilities = Some(65);
    let error = refused(&mut chat, many);
    assert!(
        matches!(error, Error::Conversation(ConversationError::Setting { found: 65, .. })),
        "{error}"
    );
    let mut named = options(1);
    named.tool_choice = ToolChoice::Named("nothing".to_owned());
    assert!(matches!(refused(&mut chat, named), Error::Grammar(_)));
    assert!(chat.session().is_empty() && chat.messages().len() == 2);
}

#[test]
fn a_full_context_is_an_error_or_costs_the_oldest_turns() {
    let model = model("q4_0");
    let session = SessionConfig { context: 300, ..settings().session };
    let mut chat = Chat::new(&model, ChatConfig { session, ..settings() }).expect("a chat");
    chat.push(Message::system("be brief"));
    let mut dropped = 0;
    for turn in 0..12 {
        chat.push(Message::user(format!("this is turn {turn} of a long conversation")));
        let mut options = options(turn);
        options.max_tokens = Some(20);
        let before = chat.messages().len();
        if turn == 11 {
            // By default the numbers are told, and nothing has changed.
            chat.push(Message::user("word ".repeat(300)));
            match chat.reply(options.clone()).expect_err("too long") {
                Error::Session(SessionError::ContextFull { wanted, context: 300 }) => {
                    assert!(wanted > 300);
                }
                other => panic!("{other}"),
            }
            // A single turn that does not fit cannot be helped by dropping others.
            options.overflow = Overflow::DropOldest;
            let error = chat.reply(options.clone()).expect_err("too long");
            assert!(matches!(error, Error::Session(SessionError::ContextFull { .. })), "{error}");
            assert_eq!(chat.messages().len(), before + 1);
            chat.undo();
        }
        options.overflow = Overflow::DropOldest;
        let (events, done) = answer(&mut chat, options);
        assert!(done.usage.prompt_tokens <= 280, "{done:?}");
        if let Some(Event::Dropped(messages)) = events.first() {
            dropped += messages;
            assert!(chat.messages().len() < before + 1);
        }
        assert_eq!(chat.messages()[0].role, Role::System);
        assert_eq!(chat.messages()[1].role, Role::User);
    }
    assert!(dropped > 0, "nothing was dropped");
}

/// Whoever chooses a session by its prompt sees the tokens that the answer will begin with.
#[test]
fn a_prompt_is_what_the_session_will_hold() {
    let model = seeing_model("q4_0");
    let config = ChatConfig { tools: vec![weather()], ..settings() };
    let template = model.chat_template().expect("a template");
    for thinking in [Thinking::Off, Thinking::On] {
        let mut chat = Chat::new(&model, config.clone()).expect("a chat");
        let prompt = |chat: &Chat| {
            conversation::prompt(&model, template, chat.tools(), chat.messages(), thinking)
        };
        chat.push(Message::system("be brief"));
        let error = prompt(&chat).expect_err("nobody has asked anything");
        assert!(matches!(error, Error::Conversation(ConversationError::NoMessage)), "{error}");
        let media = vec![picture(chat.session_mut())];
        chat.push(Message::showing(media, "what is it?"));
        let wanted = prompt(&chat).expect("a prompt");
        let mut stop = options(1);
        (stop.max_tokens, stop.thinking) = (Some(0), thinking);
        answer(&mut chat, stop);
        assert_eq!(chat.session().tokens(), wanted.ids);
        assert_eq!(wanted.media.len(), 1);
    }
}

/// What a service does: one pass for all of them, with the answers that each has alone.
#[test]
fn answers_together_are_the_answers_alone() {
    let model = model("q4_0");
    let make = |i: usize| {
        let session = SessionConfig {
            kv: if i.is_multiple_of(2) { KvType::F16 } else { KvType::F32 },
            ..settings().session
        };
        let tools = if i == 2 { vec![weather()] } else { Vec::new() };
        let mut chat =
            Chat::new(&model, ChatConfig { session, tools, ..settings() }).expect("a chat");
        chat.push(Message::user("tell me ".repeat(i * 7 + 1)));
        chat
    };
    let mut chats: Vec<_> = (0..5).map(make).collect();
    let begin = |(i, chat): (usize, &mut Chat)| {
        Answer::begin(chat, &model, options(i as u64)).expect("an answer")
    };
    let mut answers: Vec<_> = chats.iter_mut().enumerate().map(begin).collect();
    let mut events = vec![Vec::new(); 5];
    while answers.iter().any(|answer| !answer.is_done()) {
        let mut sessions: Vec<_> = chats.iter_mut().map(Chat::session_mut).collect();
        for result in carat::evaluate(&mut sessions, &Cancel::new()).expect("a pass") {
            result.expect("numbers");
        }
        for ((answer, chat), events) in answers.iter_mut().zip(&mut chats).zip(&mut events) {
            answer.advance(chat.session_mut()).expect("a token");
            events.extend(std::iter::from_fn(|| answer.next_event()));
        }
    }
    for (i, (events, together)) in events.into_iter().zip(answers).enumerate() {
        let mut alone = make(i);
        let (wanted, done) = answer(&mut alone, options(i as u64));
        let (found, Some(Event::Done(found_done))) = (&events[..events.len() - 1], events.last())
        else {
            panic!("the last event ends the answer")
        };
        assert_eq!((found, &found_done.reason), (&wanted[..], &done.reason), "{i}");
        assert_eq!(found_done.usage, done.usage, "{i}");
        assert_eq!(&together.into_message(), alone.messages().last().expect("an answer"), "{i}");
    }
}

#[test]
fn an_answer_that_is_dropped_or_cancelled_stays_as_far_as_it_came() {
    let model = model("q4_0");
    let mut chat = Chat::new(&model, settings()).expect("a chat");
    chat.push(Message::user("speak"));
    let mut said = String::new();
    for event in chat.reply(options(1)).expect("an answer").take(5) {
        if let Event::Text(text) = event.expect("an event") {
            said.push_str(&text);
        }
    }
    assert_eq!(chat.messages().last().expect("an answer").text(), said);
    assert!(chat.undo() && chat.messages().is_empty() && !chat.undo());

    chat.push(Message::user("speak again"));
    let cancel = chat.session().cancel_handle();
    let mut reply = chat.reply(options(1)).expect("an answer");
    reply.next().expect("an event").expect("some text");
    cancel.cancel();
    let rest: Vec<_> = reply.map(|event| event.expect("an event")).collect();
    assert!(
        matches!(rest.last(), Some(Event::Done(Done { reason: Finish::Cancelled, .. }))),
        "{rest:?}"
    );
    assert_eq!(chat.messages().last().expect("an answer").role, Role::Assistant);
    chat.push(Message::user("and now"));
    let error = chat.reply(options(1)).expect_err("it stays cancelled");
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    assert_eq!(chat.messages().last().expect("the question").role, Role::User);
    cancel.reset();
    let (logits, _) = fresh(&chat, &options(1));
    let mut stop = options(1);
    stop.max_tokens = Some(0);
    answer(&mut chat, stop);
    assert!(bits(chat.session_mut().logits().expect("logits")) == logits);
}

#[test]
fn log_probabilities_and_ends_are_told() {
    let model = model("q4_0");
    let mut chat = Chat::new(&model, settings()).expect("a chat");
    chat.push(Message::user("speak"));
    let mut with = options(3);
    with.log_probabilities = Some(4);
    with.max_tokens = Some(7);
    let (events, done) = answer(&mut chat, with.clone());
    let tokens = events.iter().filter(|event| matches!(event, Event::Token(_))).count();
    assert_eq!((tokens, done.usage.completion_tokens), (7, 7));
    assert_eq!(done.reason, Finish::MaxTokens);
    assert_eq!(chat.session().pending(), 1, "the last token is not read for nothing");
    for event in &events {
        if let Event::Token(found) = event {
            assert_eq!(found.likeliest.len(), 4);
            assert!(found.chosen.log_probability <= found.likeliest[0].log_probability);
        }
    }
    // The same seed says the same, and a stop string ends it before its first character.
    let said = text(&events);
    let stop: String = said.chars().skip(3).take(2).collect();
    chat.undo();
    chat.push(Message::user("speak"));
    with.stop = vec![stop.clone()];
    let (events, done) = answer(&mut chat, with);
    assert_eq!(done.reason, Finish::StopString(stop.clone()));
    assert_eq!(Some(text(&events).as_str()), said.split(&stop).next());
}

/// In place of the model's own template, which writes turns around the words.
#[test]
fn the_callers_template_counts() {
    let model: Model = model("q4_0");
    let own = ChatTemplate::new("{{ bos_token }}{{ messages[0].content }}").expect("a template");
    let config = ChatConfig { template: Some(Arc::new(own)), ..settings() };
    let mut chat = Chat::new(&model, config).expect("a chat");
    chat.push(Message::user("hello"));
    answer(&mut chat, AnswerOptions { max_tokens: Some(0), ..options(1) });
    let mut wanted: Vec<_> = model.tokenizer().bos().into_iter().collect();
    wanted.extend(model.tokenizer().encode("hello"));
    assert_eq!(chat.session().tokens(), wanted);
}
