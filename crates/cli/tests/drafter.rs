//! Drafter files on the command line: `eval draft`, `inspect`, `--draft`, and the drafter that lies
//! beside a model.

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, kit, run, text, tiny};
use serde_json::Value;

fn drafter() -> String {
    text(&kit("../tiny-s-drafter/drafter-q8_0.gguf"))
}

/// A folder with the model and its drafter.
fn both() -> (Folder, String) {
    let folder = Folder::new();
    let model = folder.file("model.gguf", fs::read(tiny()).expect("the kit"));
    folder.file("model-assistant.gguf", fs::read(drafter()).expect("the drafter"));
    (folder, model)
}

#[test]
fn drafts_are_written_as_tensors() {
    let folder = Folder::new();
    let input = folder.file("in.json", r#"{"ids": [2, 300, 301, 302], "steps": 3}"#);
    let output = folder.path("out.safetensors");
    let (model, drafter) = (tiny(), drafter());
    let args = format!("--model {model} --draft {drafter} --input {input} --output {output}");
    assert_eq!(run(&format!("eval draft {args}")).ok(), "");
    let bytes = fs::read(&output).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let shape = |name: &str| tensors.tensor(name).expect("a tensor").shape().to_vec();
    assert_eq!(
        (shape("logits"), shape("hidden"), shape("tokens")),
        (vec![3, 512], vec![3, 64], vec![4])
    );
    let logits: Vec<f32> = floats(tensors.tensor("logits").expect("logits").data());
    let tokens = tensors.tensor("tokens").expect("tokens");
    assert_eq!(tokens.dtype(), safetensors::Dtype::I32);
    let tokens: Vec<i32> =
        tokens.data().chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
    for (row, token) in logits.chunks(512).zip(&tokens[1..]) {
        let best = (0..512).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("a row");
        assert_eq!(best as i32, *token);
    }
    // The first token is what the model says next.
    let input = folder.file("ids.json", r#"{"ids": [2, 300, 301, 302]}"#);
    let output = folder.path("logits.safetensors");
    run(&format!("eval logits --model {model} --input {input} --output {output}")).ok();
    let bytes = fs::read(&output).expect("a file");
    let of_model = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let rows = floats(of_model.tensor("logits").expect("logits").data());
    let row = &rows[3 * 512..];
    let best = (0..512).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("a row");
    assert_eq!(best as i32, tokens[0]);
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect()
}

#[test]
fn what_cannot_be_drafted_is_told() {
    let folder = Folder::new();
    let output = folder.path("out.safetensors");
    let (model, drafter) = (tiny(), drafter());
    for (content, code, words) in [
        (r#"{"ids": [], "steps": 3}"#, 1, ["no ids", "in.json"]),
        (r#"{"ids": [2], "steps": 0}"#, 1, ["0 steps", "1 to"]),
        (r#"{"ids": [2], "steps": 99999999999}"#, 1, ["99999999999 steps", "1 to"]),
        (r#"{"ids": [512], "steps": 1}"#, 1, ["512", "511"]),
        (r#"{"ids": [2], "steps": 1, "images": []}"#, 1, ["in.json", "images"]),
    ] {
        let input = folder.file("in.json", content);
        let args = format!("--model {model} --draft {drafter} --input {input} --output {output}");
        run(&format!("eval draft {args}")).fails(code, &words);
    }
    let input = folder.file("in.json", r#"{"ids": [2], "steps": 1}"#);
    let args = format!("--model {model} --draft {model} --input {input} --output {output}");
    run(&format!("eval draft {args}")).fails(1, &["no drafter", "gemma4-assistant"]);
    assert!(!Path::new(&output).exists());
}

#[test]
fn inspect_tells_what_a_drafter_is_for() {
    let out = run(&format!("inspect {}", drafter())).ok();
    for words in ["Drafter: ", "width 64 and 512 tokens", "own width 32", "3 sliding", "1 full"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let json: Value =
        serde_json::from_str(&run(&format!("inspect --json {}", drafter())).ok()).unwrap();
    assert_eq!(json["drafter"]["target_hidden"], 64);
    assert_eq!(json["session"]["possible"], false);
    let (folder, model) = both();
    let json: Value = serde_json::from_str(&run(&format!("inspect --json {model}")).ok()).unwrap();
    assert_eq!(json["drafters_beside"][0], folder.path("model-assistant.gguf"));
    let [with, without] = [&json["session"]["with_drafts"], &json["session"]]
        .map(|s| s["total_bytes"].as_u64().unwrap());
    assert!(with > without + json["session"]["with_drafts"]["drafter_bytes"].as_u64().unwrap());
}

/// The drafter beside the model is used without being asked for; no text changes.
#[test]
fn the_drafter_beside_the_model_drafts() {
    let (folder, model) = both();
    let say =
        |more: &str| run(format!("run -m {model} --raw hello -n 24 --greedy -v {more}").trim_end());
    let (off, beside) = (say("--draft off"), say(""));
    assert!(beside.err.contains("drafts: ") && !off.err.contains("drafts: "), "{}", beside.err);
    let named = say(&format!("--draft {}", drafter()));
    assert!(named.err.contains("drafts: "), "{}", named.err);
    let lookup = say("--draft lookup");
    let off = off.ok();
    for other in [beside, named, lookup] {
        assert_eq!(other.ok(), off);
    }
    // One that fits by its shape and holds what is no number is left aside with a warning, unless
    // it was named.
    let bytes = fs::read(drafter()).expect("the drafter");
    let gguf = carat_gguf::Gguf::parse(&bytes).expect("a drafter");
    let norm = gguf.tensor("output_norm.weight").expect("a norm").data.as_ptr() as usize;
    let mut damaged = bytes.clone();
    let at = norm - bytes.as_ptr() as usize;
    damaged[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let path = folder.file("model-assistant.gguf", damaged);
    let beside = say("");
    assert!(
        beside.err.contains("warning: ") && beside.err.contains("going on without it"),
        "{}",
        beside.err
    );
    assert_eq!(beside.ok(), off);
    run(&format!("run -m {model} --raw hello --draft {path}")).fails(1, &["output_norm", "finite"]);
    run(&format!("run -m {model} --raw hello --draft {model}")).fails(1, &["no drafter"]);
    run(&format!("run -m {model} --raw hello --draft none.gguf")).fails(1, &["none.gguf"]);
}
