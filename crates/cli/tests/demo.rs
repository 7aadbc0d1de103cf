//! `carat demo`: the gallery asked, shown and counted. What is expected of the model stands in the
//! gallery's own list.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

mod common;

use common::run;

/// The list, read without the program.
fn gallery() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/gallery/gallery.json");
    let text = std::fs::read_to_string(path).expect("the gallery is part of the repository");
    serde_json::from_str(&text).expect("it is a list")
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// What the program calls right, worked out again: small letters and digits, word by word.
fn is_same(answer: &str, expected: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
        words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    words(answer) == words(expected)
}

#[test]
fn all_items_are_answered_and_counted() {
    let (gallery, out) = (gallery(), run("demo --json").ok());
    let lines = lines(&out);
    assert_eq!(lines.len(), gallery.len() + 1);
    let mut right = 0;
    for (i, (line, item)) in lines.iter().zip(&gallery).enumerate() {
        assert_eq!(line["type"], "item");
        assert_eq!(line["number"], i + 1);
        for key in ["files", "question", "expected"] {
            assert_eq!(line[key], item[key], "{line}");
        }
        let answer = line["answer"].as_str().expect("an answer");
        let is_right = is_same(answer, item["expected"].as_str().expect("text"));
        assert_eq!(line["right"], is_right, "{line}");
        right += usize::from(is_right);
        let tokens = line["prompt_tokens"].as_u64().expect("a number");
        // A picture takes dozens of tokens, a recording 25 a second.
        let files = item["files"].as_array().expect("a list").len() as u64;
        assert!(tokens > 5 + 15 * files, "{line}");
        assert!(line["prompt_seconds"].as_f64().expect("a number") > 0.0, "{line}");
    }
    let sum = lines.last().expect("a sum");
    assert_eq!(sum["type"], "sum");
    assert_eq!((&sum["right"], &sum["asked"]), (&right.into(), &gallery.len().into()));
    assert_eq!((&sum["of"], &sum["model"]), (&gallery.len().into(), &"built-in toy".into()));
    // The answers are the likeliest ones: the second time nothing but the clock differs.
    let check = run("demo --check --json");
    let answers = |lines: &[Value]| lines.iter().map(|l| l["answer"].clone()).collect::<Vec<_>>();
    assert_eq!(answers(&self::lines(&check.out)), answers(&lines));
    let passes = 10 * right >= 9 * gallery.len();
    assert_eq!(check.code, if passes { 0 } else { 1 }, "{}", check.err);
    assert_eq!(check.err.is_empty(), passes, "{}", check.err);
    if !passes {
        let said =
            format!("{right} of {} answers are right, and 9 of 10 are wanted", gallery.len());
        assert!(check.err.contains(&said), "{}", check.err);
    }
}

/// What the program promises of itself.
#[test]
fn nine_of_ten_answers_are_right_within_ten_seconds() {
    let begun = Instant::now();
    run("demo --check").ok();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_pipe_gets_words_and_no_escapes() {
    let out = run("demo").ok();
    assert!(!out.contains('\x1b'), "{out}");
    assert!(out.starts_with("A toy shows the engine"), "{out}");
    assert!(out.contains("What next:") && out.contains("carat chat"), "{out}");
    assert!(out.contains(" right in ") && !out.contains('▀'), "{out}");
    for item in gallery() {
        assert!(out.contains(item["question"].as_str().expect("text")), "{item}");
        for file in item["files"].as_array().expect("a list") {
            assert!(out.contains(file.as_str().expect("text")), "{item}");
        }
    }
    // A recording is drawn as blocks, unless nothing is to be drawn.
    assert!(out.contains('█'), "{out}");
    let words = run("demo --no-pictures").ok();
    assert!(words.contains("a recording of") && words.contains("a picture of"), "{words}");
    assert!(!words.contains(['█', '▁', '▄', '\x1b']), "{words}");
}

#[test]
fn items_are_listed_and_chosen_by_number() {
    let gallery = gallery();
    let list = run("demo --list").ok();
    assert_eq!(list.lines().count(), 2 * gallery.len(), "{list}");
    let json = lines(&run("demo --list --json").ok());
    assert_eq!(json.len(), gallery.len());
    assert!(json.iter().all(|line| line["type"] == "listed" && line["answer"].is_null()));
    let chosen = lines(&run("demo --json --item 3 --item 1").ok());
    let numbers: Vec<_> = chosen.iter().filter_map(|line| line["number"].as_u64()).collect();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(chosen[2]["of"], 2);
    run("demo --item 0").fails(2, &["no item 0", "--list"]);
    run("demo --item 1000").fails(2, &["no item 1000", &gallery.len().to_string()]);
    run("demo --item one").fails(2, &["one", "--item"]);
    run("demo --list --check").fails(2, &["--list", "--check"]);
}

/// Each item is a conversation of its own, and its answer the one that `carat run` gives.
#[test]
fn an_item_is_answered_as_if_it_were_alone() {
    let all = lines(&run("demo --json").ok());
    for number in [2, gallery().len()] {
        let alone = &lines(&run(&format!("demo --json --item {number}")).ok())[0];
        for key in ["answer", "prompt_tokens", "completion_tokens"] {
            assert_eq!(alone[key], all[number - 1][key], "{key}: {alone}");
        }
        let mut args: Vec<_> = ["run", "--greedy", "-n", "32"].map(str::to_owned).into();
        for file in alone["files"].as_array().expect("a list") {
            let file = file.as_str().expect("text");
            let is_picture = [".png", ".jpg", ".webp"].iter().any(|end| file.ends_with(end));
            args.push(if is_picture { "--image" } else { "--audio" }.to_owned());
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/gallery");
            args.push(common::text(&folder.join(file)));
        }
        args.push(alone["question"].as_str().expect("text").to_owned());
        let ran = common::ran(common::carat().args(args).output().expect("it starts"));
        assert_eq!(alone["answer"], ran.ok(), "{alone}");
    }
}

#[test]
fn threads_and_instruction_sets_change_no_answer() {
    let answers = |args: &str| {
        let lines = lines(&run(&format!("demo --json --item 1 --item 5 {args}")).ok());
        lines.iter().map(|line| line["answer"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(answers("-t 1"), answers("-t 2 --chunk 7"));
}
