//! Conversations and snippets of templates render as jinja2 renders them in the environment of
//! Hugging Face. `data/chat-oracle.json` is made by `data/make_chat_oracle.py`.

use std::path::Path;

use carat::ChatTemplate;
use serde_json::Value;
use serde_json::value::RawValue;

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(path).expect("the file is in the repository")
}

/// The template, the text of the input, and what jinja2 makes of them; none where it fails.
fn compare(failed: &mut Vec<String>, source: &str, input: &str, wanted: Option<&str>) {
    let rendered = ChatTemplate::new(source).and_then(|template| template.render_json(input));
    match (&rendered, wanted) {
        (Ok(rendered), Some(wanted)) if rendered.text() == wanted => {}
        (Err(_), None) => {}
        (Ok(rendered), _) => {
            failed.push(format!("wanted {wanted:?}\nfound  {:?}", rendered.text()))
        }
        (Err(error), _) => failed.push(format!("wanted {wanted:?}\nfailed {error}")),
    }
}

/// A member's text as the file has it: digits of numbers count.
fn members(object: &RawValue) -> std::collections::HashMap<String, &RawValue> {
    serde_json::from_str(object.get()).expect("an object")
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).expect("a string or null")
}

#[test]
fn conversations_render_as_in_jinja2() {
    let oracle = data("chat-oracle.json");
    let oracle: Box<RawValue> = serde_json::from_str(&oracle).expect("the file is JSON");
    let oracle = members(&oracle);
    let gemma4: Value = serde_json::from_str(&data("chat-cases.json")).expect("the file is JSON");
    let gemma4 = gemma4["template"].as_str().expect("a template");
    let turns = string(oracle["turns"]).expect("a template");
    let cases: Vec<&RawValue> = serde_json::from_str(oracle["cases"].get()).expect("an array");
    assert!(cases.len() >= 82);
    let mut failed = Vec::new();
    for case in cases {
        let case = members(case);
        let name = string(case["template"]).expect("a name");
        let source = if name == "gemma4" { gemma4 } else { &turns };
        let (before, wanted) = (failed.len(), string(case["rendered"]));
        compare(&mut failed, source, case["input"].get(), wanted.as_deref());
        if failed.len() > before {
            failed.push(format!("for {name}: {}", case["input"]));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn snippets_render_as_in_jinja2() {
    let oracle = data("chat-oracle.json");
    let oracle: Box<RawValue> = serde_json::from_str(&oracle).expect("the file is JSON");
    let oracle = members(&oracle);
    let snippets: Vec<&RawValue> =
        serde_json::from_str(oracle["snippets"].get()).expect("an array");
    assert!(snippets.len() >= 100);
    let mut failed = Vec::new();
    for snippet in snippets {
        let snippet = members(snippet);
        let source = string(snippet["source"]).expect("a template");
        let (before, wanted) = (failed.len(), string(snippet["rendered"]));
        compare(&mut failed, &source, oracle["input"].get(), wanted.as_deref());
        if failed.len() > before {
            failed.push(format!("for {source}\n"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn what_is_no_conversation_is_an_error() {
    let template = ChatTemplate::new("x").expect("valid Jinja");
    for json in ["", "[]", "{", "{\"a\": }", "{\"a\": 1} b", "5"] {
        let error = template.render_json(json).expect_err("no object");
        assert!(error.to_string().starts_with("the conversation cannot be read"), "{error}");
    }
}
