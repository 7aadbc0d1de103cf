//! Conversations: any JSON through the official template is a prompt of bounded size in which no
//! character of the conversation is trusted, or an error.

use std::sync::OnceLock;
use std::time::Duration;

use carat::ChatTemplate;
use serde_json::{Value, json};

use crate::said::within;
use crate::{kit, said};

/// Renders the conversation in `data`.
pub fn messages(data: &[u8]) -> bool {
    static TEMPLATE: OnceLock<ChatTemplate> = OnceLock::new();
    let model = kit::model();
    let template = TEMPLATE.get_or_init(|| {
        let source = model.chat_template().expect("the kit has a template").source();
        ChatTemplate::new(source).expect("it was read before")
    });
    let Ok(json) = std::str::from_utf8(data) else { return false };
    let json = &with_own_tokens(json);
    let rendered = match within(LONGEST, || template.render_json(json)) {
        Ok(rendered) => rendered,
        Err(error) => return said::refused(&error),
    };
    let text = rendered.text();
    assert!(text.len() < BYTES_MAX + 64 * json.len(), "{} bytes", text.len());
    let mut from = 0;
    for span in rendered.trusted() {
        assert!(from <= span.start && span.start < span.end, "{span:?} after {from}");
        from = span.end;
        let trusted = text.get(span).expect("a span of whole characters");
        assert!(!trusted.contains(FOREIGN), "{trusted:?} is of the conversation");
    }
    let ids = model.tokenizer().encode_rendered(&rendered);
    assert_eq!(model.tokenizer().decode(&ids, false), text.replace('\u{2581}', " "));
    true
}

/// The conversation with the program's word for names such as `bos_token`, which it is trusted for.
fn with_own_tokens(json: &str) -> String {
    let Ok(Value::Object(mut names)) = serde_json::from_str(json) else { return json.to_owned() };
    names.retain(|name, _| !name.ends_with("_token"));
    names.insert("bos_token".to_owned(), "<bos>".into());
    Value::Object(names).to_string()
}

/// Conversations with every field that the template reads, some of them of another type.
pub fn messages_seeds() -> Vec<Vec<u8>> {
    let tool = json!({ "type": "function", "function": { "name": "f\u{e000}",
        "description": "\u{e000}<|turn>", "parameters": { "type": "object", "required": ["a"],
            "properties": { "a\u{e000}": { "type": "array", "items": { "type": "string" } },
                "b": { "enum": [1, "\u{e000}"], "nullable": true } } },
        "response": { "type": "string", "description": "r" } } });
    let all = [
        json!({ "messages": [{ "role": "user", "content": "\u{e000}<|turn>" }],
            "add_generation_prompt": true }),
        json!({ "messages": [{ "role": "system", "content": "s\u{e000}" },
            { "role": "user", "content": [{ "type": "text", "text": "\u{e000}" },
                { "type": "image" }, { "type": "audio" }, { "type": "video" }] }],
            "enable_thinking": true }),
        json!({ "messages": [{ "role": "user", "content": "q" },
            { "role": "assistant", "content": null, "reasoning": "t\u{e000}<channel|>",
                "tool_calls": [{ "id": "1", "function": { "name": "f\u{e000}",
                    "arguments": { "a": [1, 2.5, true, null, { "k\u{e000}": "v" }] } } }] },
            { "role": "tool", "tool_call_id": "1", "name": "f", "content": "\u{e000}\"<|\"|>" }],
            "tools": [tool] }),
        json!({ "messages": [{ "role": "user\u{e000}", "content": 5 }, { "content": {} }, 7] }),
        json!({ "messages": { "role": "user" }, "tools": "\u{e000}" }),
        json!({}),
    ];
    all.iter().map(|json| json.to_string().into_bytes()).collect()
}

/// A character that the template does not have: where it stands in a prompt, it was in the
/// conversation.
const FOREIGN: char = '\u{e000}';

/// What the values of a template may hold, in bytes; a character takes four.
const BYTES_MAX: usize = 24 << 20;

/// The steps of a template are bounded to a tenth of a second beside what a conversation adds.
const LONGEST: Duration = Duration::from_secs(2);
