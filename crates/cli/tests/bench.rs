//! `carat bench` from outside, on the small reference model.

use serde_json::Value;

mod common;

use common::{Folder, kit, run, text, tiny};

fn quick(rest: &str) -> String {
    let args = format!("bench -m {} --quick -p 24 -d 0,24 -n 4 -t 1 --no-roof {rest}", tiny());
    run(args.trim_end()).ok()
}

#[test]
fn a_quick_run_has_every_test_once() {
    let results: Value = serde_json::from_str(&quick("-o json")).expect("JSON");
    let tests = results["tests"].as_array().expect("tests");
    let names: Vec<_> = tests.iter().map(|t| t["kind"].as_str().expect("a name")).collect();
    // The kit's folder has a projector, which is found by itself.
    let wanted = ["decode", "prefill", "decode", "verify", "verify", "audio", "image"];
    assert_eq!(names, wanted);
    assert_eq!(results["model"]["name"], "gemma4 0M F32");
    assert_eq!(
        (&results["roof"], results["load_ns"].as_array().map(Vec::len)),
        (&Value::Null, Some(1))
    );
    let notes = results["notes"].to_string();
    assert!(notes.contains("a quick run"), "{notes}");
}

#[test]
fn the_roof_stands_above_the_tests() {
    let args = format!("bench -m {} --quick -p 16 -d 0 -n 2 -t 2 --isa scalar", tiny());
    let table = run(&args).ok();
    for words in ["roof     read ", " GB/s (", "% of read", "engine   scalar, keys and values f16"]
    {
        assert!(table.contains(words), "{words}:\n{table}");
    }
    let csv = quick("-o csv");
    assert_eq!(csv.lines().count(), 8);
    assert!(csv.starts_with("build_commit,build_number,cpu_info,"), "{csv}");
}

#[test]
fn saved_results_make_one_report() {
    let folder = Folder::new();
    let mine = folder.file("mine.json", quick("-o json"));
    let other = quick("-o json").replace("\"engine\": \"carat\"", "\"engine\": \"<other>\"");
    let theirs = folder.file("<theirs>.json", other);
    let from = format!("bench --from {mine} {theirs}");
    let page = run(&format!("{from} -o html")).ok();
    assert!(page.starts_with("<!doctype html>") && page.contains("&lt;other&gt;"));
    assert!(page.contains("Side by side") && !page.contains("<other>"));
    assert!(run(&from).ok().contains("prefill 24"));
    run(&format!("{from} -o json")).fails(2, &["-o json", "one result"]);
    let broken = folder.file("broken.json", "{}");
    run(&format!("bench --from {broken}")).fails(1, &["broken.json", "no result"]);
}

#[test]
fn what_cannot_be_measured_is_refused_in_a_sentence() {
    run("bench").fails(2, &["--model"]);
    run(&format!("bench -m {} --synthetic 1b", tiny())).fails(2, &["--synthetic"]);
    run(&format!("bench -m {} --isa mmx", tiny())).fails(2, &["mmx"]);
    let projector = text(&kit("mmproj-f32.gguf"));
    run(&format!("bench -m {projector} --no-roof")).fails(1, &["mmproj-f32.gguf", "clip"]);
    let folder = Folder::new();
    let occupied = folder.file("there.gguf", "something else");
    let synthetic = format!("bench --synthetic 1b --keep {occupied} --no-roof");
    run(&synthetic).fails(1, &["there.gguf", "another place"]);
    assert_eq!(std::fs::read_to_string(&occupied).ok().as_deref(), Some("something else"));
}
