//! The model in the program, which runs where no model is named: run and chat reach it with all its
//! senses. What it answers is a matter of `demo.rs`.

use std::path::{Path, PathBuf};

mod common;

use common::{Folder, kit, run, run_in, text, tiny};

/// A file of the gallery.
fn shown(name: &str) -> String {
    text(&gallery().join(name))
}

fn gallery() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/gallery")
}

const PICTURES: &[&str] = &[".png", ".jpg", ".webp"];
const SOUNDS: &[&str] = &[".wav", ".flac", ".opus", ".ogg"];

/// The first file of the gallery whose name has one of these ends.
fn first(ends: &[&str]) -> String {
    let entries = std::fs::read_dir(gallery()).expect("the gallery is part of the repository");
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    shown(
        names.iter().find(|name| ends.iter().any(|end| name.ends_with(end))).expect("there is one"),
    )
}

const NOTICE: &str = "carat: no model named: using the built-in toy model";

#[test]
fn run_without_a_model_says_which_one_answers() {
    let ran = run("run --greedy -n 8 What@is@2@+@3?");
    let first = ran.err.lines().next().expect("a line");
    assert!(first.starts_with(NOTICE), "{}", ran.err);
    assert_eq!(ran.err.matches("no model named").count(), 1, "{}", ran.err);
    assert!(!ran.ok().trim().is_empty());
    // A model that is named is the one that answers.
    let named = run(&format!("run -m {} --greedy -n 8 hi", tiny()));
    assert!(!named.err.contains("no model named"), "{}", named.err);
}

/// Its senses are always there, and counted.
#[test]
fn it_takes_no_more_memory_than_allowed() {
    let refused = run("run --max-memory 1MiB hello");
    assert_eq!(refused.code, 1, "{}", refused.err);
    for word in ["weights", "senses", "may take 1.00 MiB"] {
        assert!(refused.err.contains(word), "{word} is not in: {}", refused.err);
    }
}

/// What is seen and heard reaches the model: its prompt has the tokens.
#[test]
fn run_shows_and_plays_to_it() {
    let (picture, sound) = (first(PICTURES), first(SOUNDS));
    let prompt = |more: &str| {
        let out = run(&format!("run --json --greedy -n 4 {more} hi").replace("  ", " ")).ok();
        let done: serde_json::Value =
            serde_json::from_str(out.lines().last().expect("a line")).expect("JSON");
        assert_eq!(done["type"], "done", "{out}");
        done["usage"]["prompt_tokens"].as_u64().expect("a number")
    };
    let alone = prompt("");
    let (seen, heard) =
        (prompt(&format!("--image {picture}")), prompt(&format!("--audio {sound}")));
    assert!(seen > alone + 30, "{seen} and {alone}");
    assert!(heard > alone + 10, "{heard} and {alone}");
    let both = prompt(&format!("--image {picture} --audio {sound}"));
    assert_eq!(both - alone, (seen - alone) + (heard - alone));
    let few = prompt(&format!("--image-tokens 70 --image {picture}"));
    assert!(few < seen, "{few} and {seen}");
}

#[test]
fn chat_without_a_model_keeps_what_was_said() {
    let (picture, sound) = (first(PICTURES), first(SOUNDS));
    let lines = format!("Hello\n/image {picture}\nWhat is it?\n/audio {sound}\nAnd this?\n");
    let ran = run_in("chat --greedy -n 8", &lines);
    assert!(ran.err.starts_with(NOTICE), "{}", ran.err);
    assert_eq!(ran.err.matches("the next message shows it").count(), 2, "{}", ran.err);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn a_conversation_with_it_can_be_saved_and_goes_on() {
    let folder = Folder::new();
    let file = folder.path("talk");
    let say = |words: &str| run(&format!("run --json --greedy -n 4 --session {file} {words}"));
    let cached = |out: &str| {
        let done: serde_json::Value =
            serde_json::from_str(out.lines().last().expect("a line")).expect("JSON");
        done["usage"]["cached_tokens"].as_u64().expect("a number")
    };
    assert_eq!(cached(&say("one").ok()), 0);
    assert!(cached(&say("two").ok()) > 0);
    // It belongs to this model alone.
    let other = run(&format!("run -m {} --session {file} three", tiny()));
    other.fails(1, &["talk"]);
}

#[test]
fn what_needs_a_file_is_refused_in_one_sentence() {
    let refused = |args: &str| {
        let ran = run(args);
        let last = ran.err.lines().last().unwrap_or_default().to_owned();
        (ran.code, last)
    };
    let (code, said) = refused("run --cache hi");
    assert!(code == 2 && said.contains("has no cache file"), "{code}: {said}");
    // A projector of other sizes does not fit, and a file that is none is named.
    let wrong = text(&kit("text-f32.gguf"));
    let picture = first(PICTURES);
    let (code, said) = refused(&format!("run --mmproj {wrong} --image {picture} hi"));
    assert!(code == 1 && said.contains("no projector"), "{code}: {said}");
    // No prompt is found out before any model is chosen.
    run("run").fails(2, &["prompt is empty"]);
}

#[test]
fn a_prompt_without_room_is_refused_before_it_is_read() {
    let long = "word ".repeat(400);
    let ran = run_in("run --ctx 100", &long);
    assert!(ran.code == 1 && ran.err.contains("100"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 2, "{}", ran.err);
}
