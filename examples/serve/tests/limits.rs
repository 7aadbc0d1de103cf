//! What clients do wrong, and many of them at once.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use carat::Model;
use common::{Server, chat, kit, read, request};
use serde_json::{Value, json};

/// An answer that goes on to the end of the context.
fn endless() -> Value {
    let model = Model::open(kit().join("text-q4_0.gguf")).expect("the kit");
    let eog = model.tokenizer().eog().iter().map(|id| (id.to_string(), json!(-100)));
    let bias: serde_json::Map<_, _> = eog.collect();
    json!({ "prompt": "a", "max_tokens": 1_000_000, "logit_bias": bias, "stream": true, "seed": 1 })
}

#[test]
fn what_is_malformed_is_told() {
    let server = Server::start(&[]);
    let path = "/v1/chat/completions";
    for body in ["", "{", "[]", "\u{0}", "{\"messages\": [{}]}", "null"] {
        server.post_bytes(path, "application/json", body.as_bytes()).error(400);
    }
    server.post_bytes(path, "application/json", b"\xff\xfe").error(400);
    server.post_bytes(path, "text/plain", b"{}").error(415);
    for (fields, param) in [
        (json!({ "messages": null }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [{ "role": "system", "content": "x" }] }), "messages"),
        (json!({ "messages": "hello" }), "messages"),
        (json!({ "model": 5 }), "model"),
        (json!({ "stream": "yes" }), "stream"),
        (json!({ "stream_options": {} }), "stream_options"),
        (json!({ "n": 3 }), "n"),
        (json!({ "top_logprobs": 21, "logprobs": true }), "top_logprobs"),
        (json!({ "top_logprobs": 2 }), "top_logprobs"),
        (json!({ "max_tokens": 1.5 }), "max_tokens"),
        (json!({ "reasoning_effort": "huge" }), "reasoning_effort"),
        (json!({ "tools": {} }), "tools"),
        (json!({ "response_format": "json" }), "response_format"),
    ] {
        assert_eq!(server.chat(&fields).error(400)["param"], param, "{fields}");
    }
    server.chat(&json!({ "stop": [""] })).error(400);
    server.chat(&json!({ "logit_bias": { "99999999": 1 } })).error(400);
    assert_eq!(server.chat(&json!({ "unknown": [1], "user": "me", "n": 1 })).status, 200);
}

#[test]
fn deep_json_is_answered_or_refused() {
    let server = Server::start(&[]);
    let deep = |n: usize| (0..n).fold(json!(1), |inner, _| json!({ "a": inner }));
    for n in [20, 100] {
        let schema = (0..n / 3).fold(
            json!({ "type": "integer" }),
            |inner, _| json!({ "type": "object", "properties": { "a": inner } }),
        );
        let function = json!({ "name": "f", "parameters": schema });
        let call = json!({ "id": "a", "type": "function",
            "function": { "name": "f", "arguments": deep(n).to_string() } });
        for fields in [
            json!({ "tools": [{ "type": "function", "function": function }] }),
            json!({ "tools": [{ "type": "function", "function": { "name": "f", "parameters": deep(n) } }] }),
            json!({ "metadata": deep(n) }),
            json!({ "messages": [{ "role": "user", "content": "x" },
                { "role": "assistant", "tool_calls": [call] },
                { "role": "tool", "tool_call_id": "a", "content": deep(n).to_string() }] }),
        ] {
            let answer = server.chat(&fields);
            if answer.status != 200 {
                answer.error(400);
            }
        }
    }
    let brackets = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let path = "/v1/chat/completions";
    server.post_bytes(path, "application/json", brackets.as_bytes()).error(400);
    assert_eq!(server.chat(&json!({})).status, 200);
}

#[test]
fn what_does_not_fit_is_told_with_numbers() {
    let server = Server::start(&["--ctx", "512"]);
    let ask = |words: usize| {
        let messages = json!([{ "role": "user", "content": "word ".repeat(words) }]);
        server.chat(&json!({ "messages": messages }))
    };
    for words in [600, 5_000, 2_000_000] {
        let error = ask(words).error(400);
        assert_eq!(error["code"], "context_length_exceeded");
        assert!(error["message"].as_str().expect("a text").contains("512"), "{error}");
    }
    // Tool results of 10 MB, and calls of that size.
    let big = "x".repeat(10 << 20);
    let call = |arguments: &str| {
        json!({ "id": "a", "type": "function",
        "function": { "name": "f", "arguments": arguments } })
    };
    let talk = |arguments: &str, result: &str| {
        json!({ "messages": [
            { "role": "user", "content": "x" },
            { "role": "assistant", "tool_calls": [call(arguments)] },
            { "role": "tool", "tool_call_id": "a", "content": result },
        ]})
    };
    let begun = Instant::now();
    let errors = [
        server.chat(&talk("{}", &big)).error(400),
        server.chat(&talk(&json!({ "a": big }).to_string(), "x")).error(400),
    ];
    for error in errors {
        assert_eq!(error["code"], "context_length_exceeded");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // The context fills up while the model answers.
    let mut body = endless();
    body["stream"] = json!(false);
    let full = server.post("/v1/completions", &body).json();
    assert_eq!(full["choices"][0]["finish_reason"], "length");
    assert_eq!(full["usage"]["total_tokens"], 512);
}

#[test]
fn large_bodies_are_refused() {
    let server = Server::start(&["--max-body", "1"]);
    let body = chat(&json!({ "user": "x".repeat(3 << 20) })).to_string();
    let path = "/v1/chat/completions";
    let error = server.post_bytes(path, "application/json", body.as_bytes()).error(413);
    assert!(error["message"].as_str().expect("a text").contains("1048576"), "{error}");
    // Without a length, in chunks.
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    read(server.connect(head.as_bytes())).error(413);
    // One that announces more than anybody sends is not waited for.
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 99999999999999\r\n\r\n"
    );
    read(server.connect(head.as_bytes())).error(413);
    assert_eq!(server.chat(&json!({})).status, 200);
}

#[test]
fn many_at_once_are_answered_or_told_to_come_later() {
    let server = Server::start(&["--queue", "4"]);
    let codes: Vec<u16> = thread::scope(|scope| {
        let ask = |i: usize| {
            let server = &server;
            scope.spawn(move || {
                let fields = json!({ "seed": i, "max_tokens": 120, "stream": i.is_multiple_of(2) });
                let answer = server.chat(&fields);
                if answer.status == 429 {
                    let after = answer.head.split("retry-after: ").nth(1).expect("a time");
                    let seconds = after.lines().next().and_then(|line| line.parse::<u64>().ok());
                    assert!((1..=60).contains(&seconds.expect("seconds")));
                    assert_eq!(answer.error(429)["code"], "rate_limit_exceeded");
                }
                answer.status
            })
        };
        let clients: Vec<_> = (0..64).map(ask).collect();
        clients.into_iter().map(|client| client.join().expect("an answer")).collect()
    });
    assert!(codes.iter().all(|code| matches!(code, 200 | 429)), "{codes:?}");
    assert!(codes.contains(&200) && codes.contains(&429), "{codes:?}");
    assert_eq!(server.metric("carat_slots_busy"), 0.0);
    assert_eq!(server.chat(&json!({})).status, 200);
}

/// A client that sends a byte a second is hung up on, and nobody else waits for it.
#[test]
fn slow_clients_are_given_up() {
    let server = Server::start(&["--read-timeout", "2"]);
    let body = chat(&json!({})).to_string();
    let whole = request("/v1/chat/completions", "application/json", body.as_bytes());
    let trickle = |from: usize| {
        let (address, whole) = (server.address.clone(), whole.clone());
        thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.write_all(&whole[..from]).expect("a beginning");
            stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            let (begun, mut heard) = (Instant::now(), Vec::new());
            for byte in &whole[from..] {
                if stream.write_all(&[*byte]).is_err() {
                    break;
                }
                let mut some = [0; 4096];
                match stream.read(&mut some) {
                    Ok(0) => break,
                    Ok(n) => heard.extend_from_slice(&some[..n]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                assert!(begun.elapsed() < Duration::from_secs(15), "it is still listened to");
            }
            String::from_utf8_lossy(&heard).into_owned()
        })
    };
    let (head, late) = (trickle(5), trickle(whole.len() - body.len() + 3));
    let begun = Instant::now();
    assert_eq!(server.chat(&json!({})).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    head.join().expect("the head is given up");
    let said = late.join().expect("the body is given up");
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
}

#[test]
fn who_leaves_frees_a_slot() {
    let server = Server::start(&["--slots", "1", "--ctx", "4096"]);
    let body = endless();
    let bytes = request("/v1/completions", "application/json", body.to_string().as_bytes());
    let mut whole = body.clone();
    whole["stream"] = json!(false);
    let quiet = request("/v1/completions", "application/json", whole.to_string().as_bytes());
    // While it streams, while it answers in silence, and while it waits behind another one.
    for (i, bytes) in [bytes.clone(), quiet.clone()].into_iter().enumerate() {
        let client = server.connect(&bytes);
        server.wait_for("carat_slots_busy", 1.0);
        drop(client);
        server.wait_for("carat_slots_busy", 0.0);
        server.wait_for("carat_answers_cancelled_total", i as f64 + 1.0);
    }
    let first = server.connect(&bytes);
    server.wait_for("carat_slots_busy", 1.0);
    let second = server.connect(&quiet);
    server.wait_for("carat_queue_requests", 1.0);
    drop(second);
    server.wait_for("carat_queue_requests", 0.0);
    drop(first);
    server.wait_for("carat_slots_busy", 0.0);
    assert_eq!(server.chat(&json!({})).status, 200);
}

#[test]
fn a_key_is_asked_for() {
    let server = Server::start(&["--api-key", "secret"]);
    assert_eq!(server.get("/health").status, 200);
    let get = |header: &str| {
        let request =
            format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
        read(server.connect(request.as_bytes()))
    };
    for header in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer secre\r\n",
        "Authorization: Bearer secret1\r\n",
        "Authorization: Basic secret\r\n",
        "Authorization: \u{e9}\r\n",
    ] {
        assert_eq!(get(header).error(401)["code"], "invalid_api_key", "{header}");
    }
    assert_eq!(get("Authorization: Bearer secret\r\n").status, 200);
    server.chat(&json!({})).error(401);
}

#[cfg(unix)]
#[test]
fn a_signal_lets_answers_end() {
    let mut server = Server::start(&["--ctx", "1024"]);
    let bytes = request("/v1/completions", "application/json", endless().to_string().as_bytes());
    let client = server.connect(&bytes);
    server.wait_for("carat_slots_busy", 1.0);
    server.signal();
    let answer = read(client);
    let last = answer.events().pop().expect("an end");
    assert_eq!(last["choices"][0]["finish_reason"], "length", "the context was full");
    assert!(server.child.wait().expect("it ends").success());
    assert!(TcpStream::connect(&server.address).is_err());
    assert!(server.rest().contains("ends once"));
}

#[cfg(unix)]
#[test]
fn an_answer_that_takes_too_long_is_ended_with_a_word() {
    let mut server = Server::start(&["--ctx", "4096", "--grace", "0"]);
    let body = endless();
    let bytes = request("/v1/completions", "application/json", body.to_string().as_bytes());
    let client = server.connect(&bytes);
    server.wait_for("carat_slots_busy", 1.0);
    let begun = Instant::now();
    server.signal();
    let data = read(client).data();
    let last: Value = serde_json::from_str(data.last().expect("a last word")).expect("JSON");
    assert!(last["error"]["message"].as_str().is_some_and(|text| text.contains("shutting down")));
    assert!(server.child.wait().expect("it ends").success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
