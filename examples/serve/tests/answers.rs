//! Every path, and the form of what it answers. The weights are random: what is said makes no
//! sense, how it is said must be right.

mod common;

use common::{Server, kit};
use serde_json::{Value, json};

fn weather() -> Value {
    let parameters = json!({
        "type": "object", "properties": { "city": { "type": "string", "maxLength": 8 } },
        "required": ["city"], "additionalProperties": false,
    });
    json!([{ "type": "function", "function": { "name": "weather", "parameters": parameters } }])
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn small_paths_answer() {
    let server = Server::start(&["--name", "tiny"]);
    assert_eq!(server.get("/health").json(), json!({ "status": "ok" }));
    let models = server.get("/v1/models").json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("tiny")));
    assert_eq!(server.get("/v1/models/tiny").json()["object"], "model");
    assert_eq!(server.get("/v1/models/other").error(404)["code"], "model_not_found");
    server.get("/v1/nothing").error(404);
    server.get("/v1/chat/completions").error(405);
    server.chat(&json!({}));
    let metrics = server.get("/metrics");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"));
    let text = String::from_utf8(metrics.body).expect("text");
    let wanted = "carat_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1\n";
    assert!(text.contains(wanted), "{text}");
    assert_eq!(server.metric("carat_slots"), 2.0);
    assert!(server.metric("carat_completion_tokens_total") > 0.0);
}

#[test]
fn a_stream_says_what_the_whole_says() {
    let server = Server::start(&[]);
    let mut both = 0;
    for seed in 0..32 {
        // Token 101 closes a thought, which a random model does rarely.
        let bias = json!({ "101": if seed % 4 == 0 { 0 } else { 4 } });
        let mut fields = json!({
            "seed": seed, "logprobs": true, "top_logprobs": 3, "max_tokens": 60, "logit_bias": bias,
            "reasoning_effort": if seed % 4 == 0 { "none" } else { "high" },
        });
        let whole = server.chat(&fields).json();
        fields["stream"] = json!(true);
        fields["stream_options"] = json!({ "include_usage": true });
        let events = server.chat(&fields).events();
        let (usage, chunks) = events.split_last().expect("events");
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
        let mut said = json!({ "content": "", "reasoning_content": "" });
        let (mut logprobs, mut finish) = (Vec::new(), Vec::new());
        for chunk in chunks {
            assert_eq!(chunk["object"], "chat.completion.chunk");
            assert_eq!((&chunk["id"], &chunk["usage"]), (&chunks[0]["id"], &Value::Null));
            let choice = &chunk["choices"][0];
            for key in ["content", "reasoning_content"] {
                if let Some(more) = choice["delta"][key].as_str() {
                    let text = said[key].as_str().unwrap_or_default().to_owned() + more;
                    said[key] = text.into();
                }
            }
            let more = choice["logprobs"]["content"].as_array();
            logprobs.extend(more.cloned().unwrap_or_default());
            finish.extend(choice["finish_reason"].as_str().map(str::to_owned));
        }
        let choice = &whole["choices"][0];
        assert_eq!(whole["object"], "chat.completion");
        assert_eq!(said["content"], choice["message"]["content"]);
        let thought = choice["message"]["reasoning_content"].as_str().unwrap_or_default();
        assert_eq!(said["reasoning_content"], thought);
        assert_eq!(Value::from(logprobs.clone()), choice["logprobs"]["content"]);
        assert!(
            logprobs.iter().all(|token| token["top_logprobs"].as_array().expect("3").len() == 3)
        );
        assert_eq!(finish, [choice["finish_reason"].as_str().expect("a reason")]);
        for key in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            assert_eq!(usage["usage"][key], whole["usage"][key]);
        }
        assert_eq!(usage["choices"], json!([]));
        // Tokens of thoughts are none of the answer.
        let used = &whole["usage"];
        let thought = used["completion_tokens_details"]["reasoning_tokens"].as_u64();
        let all = used["completion_tokens"].as_u64();
        assert!(logprobs.len() as u64 + thought.expect("a count") <= all.expect("a count"));
        let is =
            |key: &'static str| move |chunk: &Value| chunk["choices"][0]["delta"][key].is_string();
        let thinks = chunks.iter().position(is("reasoning_content"));
        both += usize::from(thinks.is_some_and(|at| chunks[at..].iter().any(is("content"))));
    }
    assert!(both > 0, "an answer after a thought");
}

#[test]
fn raw_text_is_continued() {
    let server = Server::start(&[]);
    let body = json!({ "prompt": "<|turn>once upon", "seed": 3, "max_tokens": 9, "logprobs": 2 });
    let whole = server.post("/v1/completions", &body).json();
    assert_eq!(
        (&whole["object"], &whole["usage"]["completion_tokens"]),
        (&json!("text_completion"), &json!(9))
    );
    // What the client writes is text, so that the prompt has a BOS and more than three tokens.
    assert!(whole["usage"]["prompt_tokens"].as_u64().expect("a count") > 6, "{whole}");
    let logprobs = &whole["choices"][0]["logprobs"];
    for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(logprobs[key].as_array().expect("a list").len(), 9, "{key}");
    }
    let mut body = body;
    body["stream"] = json!(true);
    let events = server.post("/v1/completions", &body).events();
    let text: String = events.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, whole["choices"][0]["text"].as_str().expect("a text"));
    assert_eq!(events.last().expect("the end")["choices"][0]["finish_reason"], "length");
    for (fields, param) in [
        (json!({}), "prompt"),
        (json!({ "prompt": [1, 2] }), "prompt"),
        (json!({ "prompt": "x", "echo": true }), "echo"),
        (json!({ "prompt": "x", "n": 2 }), "n"),
    ] {
        assert_eq!(server.post("/v1/completions", &fields).error(400)["param"], param);
    }
}

#[test]
fn pictures_and_sound_are_tokens_of_the_prompt() {
    let server = Server::start(&[]);
    let file = |name: &str| std::fs::read(kit().join(name)).expect("a file");
    let url = format!("data:image/png;base64,{}", base64(&file("image.png")));
    let ask = |parts: Value| {
        let messages = json!([{ "role": "user", "content": parts }]);
        server.chat(&json!({ "messages": messages }))
    };
    let tokens =
        |parts: Value| ask(parts).json()["usage"]["prompt_tokens"].as_u64().expect("a count");
    let words = json!({ "type": "text", "text": "what?" });
    let plain = tokens(json!([words]));
    let picture =
        |detail| json!({ "type": "image_url", "image_url": { "url": url, "detail": detail } });
    let (low, auto) =
        (tokens(json!([picture("low"), words])), tokens(json!([picture("auto"), words])));
    // A picture has at most 70 or 280 tokens, and one on each side.
    assert!(plain + 40 < low && low <= plain + 72, "{plain} {low}");
    assert!(plain + 200 < auto && auto <= plain + 282, "{plain} {auto}");
    let audio = json!({ "data": base64(&file("audio.wav")), "format": "wav" });
    let heard = tokens(json!([{ "type": "input_audio", "input_audio": audio }, words]));
    // 16 kHz, 16 bits, 44 bytes of header, 640 samples in a token, and one on each side.
    let frames = (file("audio.wav").len() - 44).div_ceil(2 * 640) as u64;
    assert_eq!(heard, plain + frames + 2);
    for (part, param) in [
        (json!({ "type": "image_url", "image_url": { "url": "data:;base64,AAAA" } }), "image_url"),
        (json!({ "type": "image_url", "image_url": { "url": "http://a/b.png" } }), "image_url"),
        (json!({ "type": "input_audio", "input_audio": { "data": "AAAA" } }), "input_audio.data"),
        (json!({ "type": "input_audio", "input_audio": { "data": "?" } }), "input_audio.data"),
    ] {
        let error = ask(json!([part])).error(400);
        assert_eq!(error["param"], format!("messages[0].content[0].{param}"));
    }
}

#[test]
fn speech_is_written_down() {
    let server = Server::start(&[]);
    let sound = std::fs::read(kit().join("audio.wav")).expect("a file");
    let form = |fields: &[(&str, &str)], has_file: bool| {
        let mut body = Vec::new();
        for (name, value) in fields {
            let part = format!(
                "--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            body.extend_from_slice(part.as_bytes());
        }
        if has_file {
            let head =
                "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n";
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&sound);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--B--\r\n");
        server.post_bytes("/v1/audio/transcriptions", "multipart/form-data; boundary=B", &body)
    };
    let json = form(&[("model", "m"), ("language", "en")], true).json();
    assert!(
        json["text"].is_string() && json["usage"]["input_tokens"].as_u64() > Some(30),
        "{json}"
    );
    let text = form(&[("response_format", "text"), ("language", "en")], true);
    assert!(text.head.contains("content-type: text/plain"));
    let text = String::from_utf8(text.body).expect("text");
    assert_eq!(text, format!("{}\n", json["text"].as_str().expect("a text")), "greedy both times");
    assert_eq!(form(&[], false).error(400)["param"], "file");
    assert_eq!(form(&[("response_format", "srt")], true).error(400)["param"], "response_format");
    assert_eq!(form(&[("temperature", "x")], true).error(400)["param"], "temperature");
    let path = "/v1/audio/transcriptions";
    server.post_bytes(path, "multipart/form-data; boundary=B", b"nonsense").error(400);
    server.post_bytes(path, "application/json", b"{}").error(400);
}

#[test]
fn tools_are_called_and_answered() {
    let server = Server::start(&[]);
    let (mut parallel, mut single) = (0, 0);
    for seed in 0..12 {
        let mut fields = json!({
            "seed": seed, "tools": weather(), "tool_choice": "required", "max_tokens": 400,
        });
        let whole = server.chat(&fields).json();
        let choice = &whole["choices"][0];
        let calls = choice["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        parallel += usize::from(calls.len() > 1);
        for call in &calls {
            let arguments = call["function"]["arguments"].as_str().expect("a text");
            let arguments: Value = serde_json::from_str(arguments).expect("JSON");
            assert!(arguments["city"].is_string() && call["function"]["name"] == "weather");
            assert_eq!(call["type"], "function");
        }
        fields["stream"] = json!(true);
        let events = server.chat(&fields).events();
        let mut streamed: Vec<_> = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0].as_object().cloned())
            .collect();
        for (i, call) in streamed.iter_mut().enumerate() {
            assert_eq!(call.shift_remove("index"), Some(json!(i)));
        }
        assert_eq!(json!(streamed), json!(calls));
        fields["parallel_tool_calls"] = json!(false);
        let events = server.chat(&fields).events();
        let count = |event: &&Value| event["choices"][0]["delta"]["tool_calls"].is_array();
        let one = events.iter().filter(count).count();
        assert!(one <= 1);
        if one == 1 {
            single += 1;
            let end = &events.last().expect("the end")["choices"][0]["finish_reason"];
            assert_eq!(end, "tool_calls");
        }
        if choice["finish_reason"] == "tool_calls" {
            let results = calls.iter().map(
                |call| json!({ "role": "tool", "tool_call_id": call["id"], "content": "rain" }),
            );
            let question = json!({ "role": "user", "content": "what is it?" });
            let messages = [question, choice["message"].clone()].into_iter().chain(results);
            let messages: Vec<_> = messages.collect();
            let next = server.chat(&json!({ "messages": messages, "tools": weather() }));
            assert_eq!(next.status, 200, "{}", String::from_utf8_lossy(&next.body));
        }
    }
    assert!(parallel > 0 && single > 0, "{parallel} {single}");
    let named = json!({ "type": "function", "function": { "name": "nothing" } });
    server.chat(&json!({ "tools": weather(), "tool_choice": named })).error(400);
    server.chat(&json!({ "tools": [{ "type": "function" }] })).error(400);
    assert_eq!(
        server.chat(&json!({ "tool_choice": "required" })).error(400)["param"],
        "tool_choice"
    );
}

#[test]
fn formats_hold() {
    let server = Server::start(&[]);
    let schema = json!({
        "type": "object", "properties": { "n": { "enum": [1, 2] } },
        "required": ["n"], "additionalProperties": false,
    });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
    let mut ended = 0;
    for seed in 0..8 {
        let fields = json!({ "seed": seed, "response_format": format, "max_tokens": 400 });
        let answer = server.chat(&fields);
        if answer.json()["choices"][0]["finish_reason"] == "stop" {
            ended += 1;
            let value: Value = serde_json::from_str(&answer.text()).expect("JSON");
            assert!(value == json!({ "n": 1 }) || value == json!({ "n": 2 }), "{value}");
        }
    }
    assert!(ended > 0);
    let any = server.chat(&json!({ "response_format": { "type": "json_object" } }));
    assert!(any.text().trim_start().starts_with('{'));
    let contradiction = json!({ "type": "json_schema", "json_schema": { "schema": {
        "type": "integer", "minimum": 2, "maximum": 1 } } });
    for format in [json!({ "type": "xml" }), json!({ "type": "json_schema" }), contradiction] {
        server.chat(&json!({ "response_format": format })).error(400);
    }
}

#[test]
fn stop_strings_end_an_answer() {
    let server = Server::start(&[]);
    let text = server.chat(&json!({ "max_tokens": 40 })).text();
    let stop: String = text.chars().skip(4).take(2).collect();
    let ended = server.chat(&json!({ "max_tokens": 40, "stop": [stop] }));
    assert_eq!(ended.text(), text.split(&stop).next().expect("a beginning"));
    assert_eq!(ended.json()["choices"][0]["finish_reason"], "stop");
    // A token that is forbidden does not come.
    let bias = json!({ "logit_bias": { "300": 100 }, "max_tokens": 5, "logprobs": true });
    let always = server.chat(&bias).json();
    let tokens = always["choices"][0]["logprobs"]["content"].as_array().expect("a list").clone();
    assert!(tokens.len() == 5 && tokens.iter().all(|t| t["token"] == tokens[0]["token"]));
}

/// Two conversations, turn about: each turn reads what is new, whichever slot is free.
#[test]
fn a_conversation_goes_on_where_it_was() {
    let server = Server::start(&[]);
    let mut talks = [0, 1].map(|i| {
        vec![json!({
            "role": "user", "content": format!("talk {i}: {}", "tell me more ".repeat(20)),
        })]
    });
    for turn in 0..3 {
        // In another order each time, so that the last use of a slot tells nothing.
        for i in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
            let (messages, before) = (&mut talks[i], turn > 0);
            let answer = server.chat(&json!({ "messages": messages, "seed": i }));
            let usage = answer.json()["usage"].clone();
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a count");
            // The first prompt has about 100 tokens, of which all but its end come again.
            assert_eq!(cached > 80, before, "turn {turn} of {i}: {usage}");
            messages.push(json!({ "role": "assistant", "content": answer.text() }));
            messages.push(json!({ "role": "user", "content": "and then?" }));
        }
    }
}

/// What is said does not depend on drafts, alone or together, plainly or by a grammar.
#[test]
fn drafts_change_no_answer() {
    let drafter = kit().join("../tiny-s-drafter/drafter-q8_0.gguf");
    let drafter = drafter.to_str().expect("a path");
    let servers = ["off", "lookup", drafter].map(|draft| Server::start(&["--draft", draft]));
    let choice = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": {
        "type": "object", "properties": { "list": { "type": "array", "items": { "enum": ["a", "b"] } } },
        "required": ["list"], "additionalProperties": false,
    } } });
    let ways = [
        json!({ "temperature": 0, "max_tokens": 60 }),
        json!({ "seed": 3, "logprobs": true, "top_logprobs": 2, "max_tokens": 60 }),
        json!({ "seed": 4, "frequency_penalty": 0.5, "stop": ["e"] }),
        json!({ "seed": 5, "response_format": choice, "max_tokens": 40 }),
        json!({ "seed": 6, "tools": weather(), "tool_choice": "required", "max_tokens": 40 }),
    ];
    let said = |server: &Server, fields: &Value| {
        let mut answer = server.chat(fields).json();
        for key in ["id", "created"] {
            answer.as_object_mut().expect("an object").remove(key);
        }
        // What a slot holds already depends on which one it is.
        answer["usage"]["prompt_tokens_details"] = Value::Null;
        answer
    };
    let all = |server: &Server| -> Vec<Value> {
        let one_by_one: Vec<_> = ways.iter().map(|fields| said(server, fields)).collect();
        let together = std::thread::scope(|scope| {
            let asked = ways.iter().map(|fields| scope.spawn(|| said(server, fields)));
            let asked: Vec<_> = asked.collect();
            asked.into_iter().map(|said| said.join().expect("an answer")).collect::<Vec<_>>()
        });
        assert_eq!(one_by_one, together);
        one_by_one
    };
    let [off, lookup, drafting] = servers.each_ref().map(all);
    assert_eq!(off, lookup);
    assert_eq!(off, drafting);
    let drafted = servers.each_ref().map(|server| server.metric("carat_drafted_tokens_total"));
    assert!(drafted[0] == 0.0 && drafted[2] > 0.0, "{drafted:?}");
    let accepted = servers[2].metric("carat_accepted_tokens_total");
    assert!(accepted <= drafted[2], "{accepted} of {drafted:?}");
}

/// A drafter that is named must be one; one that lies beside the model is used if it can be.
#[test]
fn a_drafter_that_is_none_is_told() {
    let start = |model: &std::path::Path, draft: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_carat-serve"));
        // The port is none that can be listened at, so that the program ends by itself.
        command.arg(model).args(["--host", "192.0.2.1", "--ctx", "64", "--slots", "1"]).args(draft);
        let out = command.output().expect("the program runs");
        assert!(!out.status.success());
        String::from_utf8(out.stderr).expect("text")
    };
    let model = kit().join("text-q4_0.gguf");
    let said = start(&model, &["--draft", model.to_str().expect("a path")]);
    assert!(said.contains("no drafter") && !said.contains("listen"), "{said}");
    let said = start(&model, &["--draft", "none.gguf"]);
    assert!(said.contains("none.gguf") && !said.contains("listen"), "{said}");

    let folder = tempfile::tempdir().expect("a folder");
    let beside = folder.path().join("model.gguf");
    std::fs::copy(&model, &beside).expect("a copy");
    let drafter = folder.path().join("model-assistant.gguf");
    let mut bytes = std::fs::read(kit().join("../tiny-s-drafter/drafter-q8_0.gguf")).expect("it");
    std::fs::write(&drafter, &bytes).expect("a copy");
    let said = start(&beside, &[]);
    assert!(said.contains("cannot listen") && !said.contains("without it"), "{said}");
    // It fits by its shape and holds what is no number.
    let whole = bytes.clone();
    let gguf = carat_gguf::Gguf::parse(&whole).expect("a drafter");
    let norm = gguf.tensor("output_norm.weight").expect("a norm").data;
    let at = norm.as_ptr() as usize - whole.as_ptr() as usize;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&drafter, &bytes).expect("a copy");
    let said = start(&beside, &[]);
    assert!(said.contains("going on without it") && said.contains("cannot listen"), "{said}");
    let said = start(&beside, &["--draft", drafter.to_str().expect("a path")]);
    assert!(said.contains("output_norm") && !said.contains("listen"), "{said}");
}
