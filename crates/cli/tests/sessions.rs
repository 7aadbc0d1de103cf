//! Conversations in files: --session, and what a chat does with its past.

use std::fs;

use serde_json::Value;

mod common;

use common::{Folder, Ran, kit, run, run_in, text, tiny};

const OPTIONS: &str = "--temp 1 --top-k 0 --seed 5 -n 8 -t 1 --image-tokens 70";

fn chat(options: &str, input: &str) -> Ran {
    run_in(format!("chat -m {} {OPTIONS} {options}", tiny()).trim_end(), input)
}

fn usage(out: &str, key: &str) -> u64 {
    let last: Value = serde_json::from_str(out.lines().last().expect("a line")).expect("JSON");
    last["usage"][key].as_u64().expect("a number")
}

#[test]
fn runs_go_on_with_a_conversation_as_a_chat_does() {
    let folder = Folder::new();
    let file = folder.path("talk");
    let args = format!("run -m {} {OPTIONS} --system be@brief", tiny());
    let says = ["hello", "the rain", "and then"];
    let whole = chat("--system be@brief", "hello\nthe rain\nand then\n").ok();
    let mut said = String::new();
    for words in says {
        let words = words.replace(' ', "@");
        said += &run(&format!("{args} --session {file} {words}")).ok();
        said.push('\n');
        assert_eq!(folder.names(), ["talk"], "nothing else is left");
    }
    assert_eq!(said, whole);
    // Hardly anything of the past is evaluated, and instructions need not be said again.
    let args = args.replace(" --system be@brief", "");
    let out = run(&format!("{args} --json --session {file} more")).ok();
    let prompt = usage(&out, "prompt_tokens");
    let out = run(&format!("{args} --json --session {file} again")).ok();
    let cached = usage(&out, "cached_tokens");
    // The template writes a few tokens for an answer alone.
    assert!(cached + 16 > prompt && prompt > 50, "{cached} after {prompt}");
    let before = fs::read(&file).expect("a file");
    let other = run(&format!("{args} --system be@verbose --session {file} more"));
    other.fails(1, &["other instructions", "leave --system out"]);
    run(&format!("{args} --kv q8 --session {file} more")).fails(1, &["F16", "Q8"]);
    run(&format!("{args} --ctx 20 --session {file} more")).fails(1, &["context of 20", "--ctx"]);
    let folder_model = folder.tiny_without("general.name", true);
    let model = args.replace(&tiny(), &folder_model);
    run(&format!("{model} --session {file} more")).fails(1, &["was saved with the model"]);
    assert!(fs::read(&file).expect("a file") == before, "errors leave it as it is");
    let cut = folder.file("cut", &before[..before.len() - 1]);
    run(&format!("{args} --session {cut} more")).fails(1, &["cut short"]);
}

/// A file with a picture needs the projector, though the new message shows nothing.
#[test]
fn pictures_of_a_saved_conversation_stay() {
    let folder = Folder::new();
    // An empty file is as good as none.
    let (file, image) = (folder.file("talk", ""), text(&kit("image.png")));
    let args = format!("run -m {} {OPTIONS} --session {file}", tiny());
    let whole = chat("", &format!("/image {image}\nhello\nthe rain\n")).ok();
    let first = run(&format!("{args} --image {image} hello")).ok();
    let second = run(&format!("{args} the@rain")).ok();
    assert_eq!(format!("{first}\n{second}\n"), whole);
    let alone = folder.tiny_without("", true);
    let args = args.replace(&tiny(), &alone);
    run(&format!("{args} more")).fails(1, &["mmproj"]);
}

/// Tools are kept as well, and a format has room where they are not to be called.
#[test]
fn tools_of_a_saved_conversation_stay() {
    let folder = Folder::new();
    let file = folder.path("talk");
    let tools = folder.file("t.json", r#"[{"name": "now", "description": "the time"}]"#);
    let options = OPTIONS.replace("-n 8", "-n 60");
    let args = format!("run -m {} {options} --json --session {file}", tiny());
    let name = |out: &str| {
        let called = out.lines().find(|line| line.contains("\"tool_call\"")).expect("a call");
        serde_json::from_str::<Value>(called).expect("JSON")["name"].clone()
    };
    let called = run(&format!("{args} --tools {tools} --tool-choice now hello")).ok();
    assert_eq!(name(&called), "now");
    let called = run(&format!("{args} --tool-choice now hello")).ok();
    assert_eq!(name(&called), "now");
    run(&format!("{args} --tool-choice then hello")).fails(1, &["then"]);
    run(&format!("{args} --regex a hello")).fails(1, &["set tool_choice to none"]);
    let out = run(&format!("{args} --regex a --tool-choice none hello")).ok();
    assert!(out.starts_with("{\"type\":\"text\",\"text\":\"a\"}\n"), "{out}");
}

#[test]
fn a_chat_is_saved_however_it_ends() {
    let folder = Folder::new();
    let file = folder.path("talk");
    let session = format!("--session {file}");
    let whole = chat("", "hello\nthe rain\nand then\n").ok();
    let first = chat(&session, "hello\n/exit\nnever\n").ok();
    let second = chat(&session, "the rain\n").ok();
    // A message that cannot be answered ends it, and the turns before are there.
    let long = "rain ".repeat(5000);
    let failed = chat(&session, &format!("and then\n{long}\n"));
    assert!(failed.code == 1 && failed.err.contains("shorten it"), "{}", failed.err);
    assert_eq!(first + &second + &failed.out, whole);
    let again = chat(&session, "/undo\nand then\n").ok();
    assert!(whole.ends_with(&again), "{again}");
    // A copy elsewhere does not stand in for the file itself.
    let (mine, copy) = (folder.path("mine"), folder.path("copy"));
    chat(&format!("--session {mine}"), &format!("hello\n/save {copy}\n")).ok();
    assert_eq!(folder.names(), ["copy", "mine", "talk"]);
    // Nothing was said: the file is not written again.
    let before = fs::metadata(&file).expect("a file").modified().expect("a time");
    assert_eq!(chat(&session, "/help\n").ok(), "");
    assert_eq!(fs::metadata(&file).expect("a file").modified().expect("a time"), before);
}

#[test]
fn the_past_can_be_taken_back() {
    let two = chat("--system no", "hello\nthe rain\n").ok();
    let undone = chat("--system no", "hello\nnever\n/undo\nthe rain\n");
    assert!(undone.err.contains("the last turn is taken back"), "{}", undone.err);
    let lines: Vec<_> = undone.out.lines().collect();
    let wanted: Vec<_> = two.lines().collect();
    assert_eq!((lines[0], lines.last()), (wanted[0], wanted.last()));
    let cleared = chat("--system no", "never\n/clear\nhello\nthe rain\n").ok();
    assert!(cleared.ends_with(&two), "the instructions stay: {cleared}");
    let all = chat("", "hello\n/undo\n/undo\n");
    assert!(all.code == 0 && all.err.contains("nothing was said yet"), "{}", all.err);
}

#[test]
fn a_chat_saves_and_loads_by_command() {
    let folder = Folder::new();
    let (one, two) = (folder.path("one"), folder.path("my talk"));
    let image = text(&kit("image.png"));
    let whole = chat("", &format!("/image {image}\nhello\nthe rain\nand then\n")).ok();
    let saved = chat("", &format!("/image {image}\nhello\n/save {one}\nthe rain\n/save '{two}'\n"));
    assert!(saved.err.contains(&format!("saved to {one}")), "{}", saved.err);
    assert_eq!(folder.names(), ["my talk", "one"]);
    let saved = saved.ok();
    assert!(whole.starts_with(&saved));
    let rest = &whole[saved.len()..];
    let loaded = chat("", &format!("/load {two}\nand then\n"));
    assert!(loaded.err.contains("goes on after 2 turns"), "{}", loaded.err);
    assert_eq!(loaded.out, rest);
    // Back before the picture, and from the other file on.
    let fresh = chat("", "what\n").ok();
    assert_eq!(chat("", &format!("/load {two}\n/undo\n/undo\nwhat\n")).ok(), fresh);
    let other = chat("", &format!("/load {one}\nthe rain\nand then\n")).ok();
    assert!(whole.ends_with(&other), "{other}");
    // Without a name it is the file that was loaded, and a program hears what went wrong.
    let long = chat("", &format!("/load {one}\nthe rain\n/save\n")).ok();
    assert_eq!(chat("", &format!("/load {one}\nand then\n")).ok(), rest);
    assert!(saved.ends_with(&long));
    let prose = folder.file("prose", "prose");
    let failed = chat("", &format!("/save\n/load\n/save {prose}\n/load {prose}\nhello\n"));
    for words in ["/save needs a path", "/load needs a path", "is no saved session", "4 commands"] {
        assert!(failed.code == 1 && failed.err.contains(words), "{words}: {}", failed.err);
    }
    assert_eq!(failed.out, chat("", "hello\n").ok(), "the conversation stays as it was");
    assert_eq!(fs::read_to_string(prose).expect("text"), "prose");
}

#[test]
fn loading_another_conversation_keeps_the_one_before() {
    let folder = Folder::new();
    let (one, two) = (folder.path("one"), folder.path("two"));
    chat(&format!("--session {two}"), "the house\n").ok();
    let both = chat(&format!("--session {one}"), &format!("hello\n/load {two}\nthe rain\n")).ok();
    let lines: Vec<_> = both.lines().collect();
    let first = chat("", "hello\nand then\n").ok();
    assert_eq!(Some(lines[0]), first.lines().next());
    let later = chat(&format!("--session {one}"), "and then\n").ok();
    assert_eq!(later.lines().last(), first.lines().last());
    let second = chat("", "the house\nthe rain\nand then\n").ok();
    assert_eq!(Some(lines[1]), second.lines().nth(1));
    let later = chat(&format!("--session {two}"), "and then\n").ok();
    assert_eq!(later.lines().last(), second.lines().last());
}
