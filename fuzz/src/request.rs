//! The bodies of requests to the server: any bytes are understood, or refused as the client's
//! fault.
//!
//! The input is a byte for the path, and the body.

use std::time::Duration;

use carat_serve::reading::{BOUNDARY, Route, body};
use serde_json::json;

use crate::said::within;
use crate::{kit, said};

/// Reads the body in `data` as the server does.
pub fn request(data: &[u8]) -> bool {
    let [path, sent @ ..] = data else { return false };
    let route = [Route::Chat, Route::Completion, Route::Transcription][usize::from(path % 3)];
    match within(LONGEST, || body(route, sent, kit::model(), CONTEXT)) {
        Ok(understood) => {
            assert!(understood.turns > 0, "a request without messages was understood");
            assert!(understood.media_tokens <= CONTEXT, "{understood:?} of {CONTEXT} tokens");
            true
        }
        Err(refused) => {
            assert!((400..500).contains(&refused.status), "{refused:?}");
            said::refused(&refused.message)
        }
    }
}

/// Requests with every field that is read, with media, and forms.
pub fn request_seeds() -> Vec<Vec<u8>> {
    let picture = "data:image/bmp;base64,Qk0AAAAAAAAAAAAADAAAAAEAAQABABgAAQIDAA==";
    let sound = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQgAAAABAAIAAwAEAA==";
    let said = json!([{ "role": "user", "content": "hi" }]);
    let tool = json!({ "type": "function", "function": { "name": "f", "description": "d",
        "parameters": { "type": "object", "properties": { "a": { "type": "integer" } } } } });
    let chats = [
        json!({ "messages": said, "model": "m", "stream": true, "seed": -1, "n": 1,
            "stream_options": { "include_usage": true }, "temperature": 0.5, "top_p": 0.9,
            "stop": ["a", "b"], "max_completion_tokens": 9, "logprobs": true, "top_logprobs": 2 }),
        json!({ "messages": [
            { "role": "developer", "content": [{ "type": "text", "text": "be brief" }] },
            { "role": "user", "name": "me", "content": "and" },
            { "role": "assistant", "content": null, "reasoning_content": "so", "tool_calls": [
                { "id": "1", "type": "function",
                    "function": { "name": "f", "arguments": "{\"a\":1e3}" } }] },
            { "role": "tool", "tool_call_id": "1", "content": "5" }],
            "tools": [tool], "tool_choice": "required", "parallel_tool_calls": false }),
        json!({ "messages": [{ "role": "user", "content": [
            { "type": "image_url", "image_url": { "url": picture, "detail": "low" } },
            { "type": "image_url", "image_url": picture },
            { "type": "input_audio", "input_audio": { "data": sound, "format": "wav" } }] }] }),
        json!({ "messages": said, "reasoning_effort": "high", "presence_penalty": 1.5,
            "logit_bias": { "5": -100 }, "response_format": { "type": "json_schema",
                "json_schema": { "name": "s", "schema": { "type": ["integer", "null"] } } } }),
        json!({ "messages": said, "response_format": { "type": "json_object" }, "stop": "\u{0}",
            "tool_choice": { "type": "function", "function": { "name": "f" } }, "tools": [tool] }),
    ];
    let completions = [
        json!({ "prompt": ["once"], "logprobs": 5, "max_tokens": 4, "echo": false, "suffix": "" }),
        json!({ "prompt": "x".repeat(200), "best_of": 1, "top_k": 5, "min_p": 0.1 }),
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let with = |path: u8, body: &[u8]| [&[path], body].concat();
    seeds.extend(chats.iter().map(|chat| with(0, chat.to_string().as_bytes())));
    seeds.extend(completions.iter().map(|more| with(1, more.to_string().as_bytes())));
    let mut form = Vec::new();
    for (name, value) in [
        ("file\"; filename=\"a.wav", &wav()[..]),
        ("response_format", b"text"),
        ("temperature", b"0.5"),
        ("language", b"de"),
        ("prompt", b"\xff names"),
    ] {
        let head =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        form.extend([head.as_bytes(), value, b"\r\n"].concat());
    }
    form.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    seeds.push(with(2, &form));
    seeds.push(with(0, &[b"[".repeat(300), b"]".repeat(300)].concat()));
    seeds
}

/// Four samples.
fn wav() -> Vec<u8> {
    let header = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0";
    [&header[..], b"data\x08\0\0\0\x01\0\x02\0\x03\0\x04\0"].concat()
}

/// Tokens of a slot.
const CONTEXT: usize = 1024;

/// A body of these sizes holds no work for longer.
const LONGEST: Duration = Duration::from_secs(5);
