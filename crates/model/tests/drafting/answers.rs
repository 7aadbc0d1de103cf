//! Conversations with drafts and without, and the different ways to answer.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::sync::{Arc, Mutex};

use carat::{
    AnswerOptions, Chat, ChatConfig, Done, DraftConfig, Drafts, Event, Grammar, Message, Model,
    SamplerConfig, SessionConfig, Thinking, TokenId, Tool, ToolChoice,
};
use serde_json::json;

use crate::common::config;
use crate::drafting::Script;

pub(crate) fn settings(draft: DraftConfig, tools: &[Tool]) -> ChatConfig {
    let session = SessionConfig { context: 1024, prefill_chunk: 64, marks: 2, draft, ..config() };
    ChatConfig { session, tools: tools.to_vec(), ..ChatConfig::default() }
}

pub(crate) fn weather() -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": { "city": { "enum": ["Rome", "Paris"] }, "days": { "enum": [1, 2, 30] } },
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    let tool = json!({ "name": "weather", "description": "d", "parameters": parameters });
    serde_json::from_value(tool).expect("a tool")
}

/// The different ways to answer.
pub(crate) fn ways(model: &Model, seed: u64) -> Vec<(&'static str, AnswerOptions, Vec<Tool>)> {
    let schema = json!({
        "type": "object",
        "properties": {
            "whether": { "type": "boolean" },
            "list": { "type": "array", "items": { "enum": ["one", "two"] }, "maxItems": 4 },
        },
        "required": ["whether", "list"], "additionalProperties": false,
    });
    let env = model.grammar_env().expect("a trie");
    let format = Arc::new(Grammar::json_schema_value(env, &schema).expect("a schema"));
    let sampling = SamplerConfig { temperature: 1.0, top_k: 60, seed, ..Default::default() };
    let base = AnswerOptions { sampling, max_tokens: Some(80), ..AnswerOptions::default() };
    let with = |change: &dyn Fn(&mut AnswerOptions)| {
        let mut options = base.clone();
        change(&mut options);
        options
    };
    vec![
        ("plain", base.clone(), Vec::new()),
        ("greedy", with(&|o| o.sampling.temperature = 0.0), Vec::new()),
        ("format", with(&|o| o.format = Some(Arc::clone(&format))), Vec::new()),
        ("tools", with(&|o| o.tool_choice = ToolChoice::Required), vec![weather()]),
        ("may call", with(&|o| o.tool_choice = ToolChoice::Auto), vec![weather()]),
        (
            "thought and format",
            with(&|o| {
                o.thinking = Thinking::Budget(9);
                o.format = Some(Arc::clone(&format));
                o.sampling.logit_bias = vec![(100, 9.0)];
            }),
            Vec::new(),
        ),
        ("stop", with(&|o| o.stop = vec!["e".to_owned(), "th".to_owned()]), Vec::new()),
        ("likely", with(&|o| o.log_probabilities = Some(3)), Vec::new()),
    ]
}

pub(crate) fn chat(model: &Model, draft: DraftConfig, tools: &[Tool]) -> Chat {
    let mut chat = Chat::new(model, settings(draft, tools)).expect("a chat");
    chat.push(Message::user("the quick brown fox"));
    chat
}

pub(crate) fn answer(chat: &mut Chat, options: &AnswerOptions) -> (Vec<Event>, Done) {
    let events = chat.reply(options.clone()).expect("an answer");
    let mut events: Vec<_> = events.map(|event| event.expect("an event")).collect();
    let Some(Event::Done(done)) = events.pop() else { panic!("the last event ends the answer") };
    (events, done)
}

pub(crate) fn script(text: &[TokenId], right: f64, seed: u64) -> Drafts {
    Drafts::Source(Box::new(Script::new(&Arc::new(Mutex::new(text.to_vec())), right, seed)))
}
