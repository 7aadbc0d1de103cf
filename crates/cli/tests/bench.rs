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
    // The kit's folder has a projector, which is found by itself.
    let wanted = ["decode", "prefill", "decode", "verify", "verify", "audio", "image"];
    assert_eq!(kinds(&results), wanted);
    assert_eq!(results["model"]["name"], "gemma4 0M F32");
    assert_eq!(
        (&results["roof"], results["load_ns"].as_array().map(Vec::len)),
        (&Value::Null, Some(1))
    );
    let notes = results["notes"].to_string();
    assert!(notes.contains("a quick run"), "{notes}");
}

fn kinds(results: &Value) -> Vec<&str> {
    let tests = results["tests"].as_array().expect("tests");
    tests.iter().map(|test| test["kind"].as_str().expect("a name")).collect()
}

#[test]
fn without_prompts_there_are_no_pictures_and_no_sound() {
    let args = format!("bench -m {} --quick -p 0 -d 0 -n 2 -t 1 --no-roof -o json", tiny());
    let results: Value = serde_json::from_str(&run(&args).ok()).expect("JSON");
    assert_eq!(kinds(&results), ["decode", "verify", "verify"]);
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
fn a_cache_file_makes_a_second_start() {
    let folder = Folder::new();
    let cache = folder.path("weights.cache");
    let results = |rest: &str| -> Value {
        serde_json::from_str(&quick(&format!("-o json {rest}"))).expect("JSON")
    };
    let starts = |results: &Value| {
        let count = |key| results[key].as_array().map_or(0, Vec::len);
        let is_told = results["notes"].to_string().contains("lie in a cache file");
        (count("load_ns"), count("cached_load_ns"), is_told)
    };
    assert_eq!(starts(&results("")), (1, 0, false));
    let named = format!("--cache={cache}");
    assert_eq!(starts(&results(&named)), (1, 1, true), "the first start writes it");
    assert!(std::fs::metadata(&cache).is_ok_and(|file| file.len() > 4096));
    assert_eq!(starts(&results(&named)), (0, 1, true), "there is one: no first start");
    let table = quick(&named);
    assert!(table.contains("\nload     from the cache file 0."), "{table}");

    // One of another model is replaced.
    let other = text(&kit("text-q4_0.gguf"));
    let args = format!("bench -m {other} --quick -p 8 -d 0 -n 1 --no-roof -o json {named}");
    let replaced: Value = serde_json::from_str(&run(&args).ok()).expect("JSON");
    assert_eq!(starts(&replaced), (1, 1, true));
    let occupied = folder.file("notes.txt", "no cache at all");
    let args = format!("bench -m {} --quick --no-roof --cache={occupied}", tiny());
    run(&args).fails(1, &["notes.txt"]);
    run(&format!("bench --from {occupied} --cache")).fails(2, &["--cache"]);
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
}

#[test]
fn what_is_no_result_is_refused_by_its_name() {
    let folder = Folder::new();
    let good = quick("-o json");
    let infinite = good.replace("\"roof\": null", ROOF_OF_NOTHING);
    assert_ne!(infinite, good);
    for (name, content, words) in [
        ("empty.json", String::new(), "no result"),
        ("object.json", "{}".to_owned(), "no result"),
        ("cut.json", good[..good.len() / 2].to_owned(), "no result"),
        ("nan.json", good.replace("\"tokens\": 4,", "\"tokens\": NaN,"), "no result"),
        ("newer.json", good.replace("\"format\": 1,", "\"format\": 2,"), "format is 2"),
        ("roof.json", infinite, "no speed of a machine"),
    ] {
        let path = folder.file(name, content);
        run(&format!("bench --from {path} -o html")).fails(1, &[name, words]);
    }
    let gguf = tiny();
    run(&format!("bench --from {gguf}")).fails(1, &["text-f32.gguf", "UTF-8"]);
    run("bench --from nowhere.json").fails(1, &["nowhere.json", "No such file"]);
    run(&format!("bench --from {gguf} -m {gguf}")).fails(2, &["--from"]);
}

const ROOF_OF_NOTHING: &str = r#""roof": {"threads": 1, "read_bytes": 1, "read_gb_s": 0.0,
    "read_loop": "none", "peaks": []}"#;

#[test]
fn what_does_not_fit_is_left_out_and_the_rest_is_measured() {
    let args = format!(
        "bench -m {} --no-roof -t 1 -p 24,18446744073709551615 -d 0,5000 -n 4 -r 1 -o json",
        tiny()
    );
    let results: Value = serde_json::from_str(&run(&args).ok()).expect("JSON");
    let skipped = results["skipped"].to_string();
    for words in ["prefill 18446744073709551615", "decode 4 at 5000", "context of 4096"] {
        assert!(skipped.contains(words), "{words}: {skipped}");
    }
    assert!(results["tests"].as_array().is_some_and(|tests| tests.len() > 2), "{results}");
}

#[test]
fn what_cannot_be_measured_is_refused_in_a_sentence() {
    run("bench").fails(2, &["--model"]);
    // Before the roof is measured, which would say so.
    run("bench -m nowhere.gguf").fails(1, &["no file nowhere.gguf"]);
    let folder = Folder::new();
    let text = folder.file("text.gguf", "no model at all");
    run(&format!("bench -m {text}")).fails(1, &["text.gguf"]);
    run(&format!("bench -m {}", folder.path(""))).fails(1, &["directory"]);
    for (option, value) in [("--budget", "0"), ("-r", "0"), ("-t", "0"), ("--chunk", "0")] {
        run(&format!("bench -m {} {option} {value}", tiny())).fails(2, &[option]);
    }
    assert!(run("bench --help").ok().contains("Examples:\n  carat bench -m"));
    run(&format!("bench -m {} --synthetic 1b", tiny())).fails(2, &["--synthetic"]);
    run(&format!("bench -m {} --isa mmx", tiny())).fails(2, &["mmx"]);
    let projector = common::text(&kit("mmproj-f32.gguf"));
    run(&format!("bench -m {projector}")).fails(1, &["mmproj-f32.gguf", "projector"]);
    let occupied = folder.file("there.gguf", "something else");
    let synthetic = format!("bench --synthetic 1b --keep {occupied} --no-roof");
    run(&synthetic).fails(1, &["there.gguf", "another place"]);
    assert_eq!(std::fs::read_to_string(&occupied).ok().as_deref(), Some("something else"));
}

/// The curves of drafts: a row for each share of right drafts, a line for each text.
#[test]
fn drafts_are_measured_beside_plain_decoding() {
    let out = run(&format!("bench -m {} --draft -n 6 -r 1", tiny())).ok();
    assert!(out.starts_with("decoding "), "{out}");
    for right in ["0", "0.3", "0.5", "0.7", "0.85", "1"] {
        let row = out.lines().find(|line| line.split_whitespace().next() == Some(right));
        let cells = row.unwrap_or_else(|| panic!("no row {right}: {out}")).split_whitespace();
        let numbers: Vec<f64> = cells.map(|cell| cell.parse().expect("a number")).collect();
        // The share, 0 to 7 drafts, as many as are chosen, tokens a pass.
        assert_eq!(numbers.len(), 11, "{out}");
        assert!(numbers[1..].iter().all(|gain| gain.is_finite() && *gain > 0.0), "{out}");
    }
    assert_eq!(out.lines().filter(|line| line.starts_with("lookup, ")).count(), 2, "{out}");
    run(&format!("bench -m {} --draft -o json", tiny())).fails(2, &["--draft", "--output"]);

    let some = format!("bench -m {} --draft --right 0.4 --drafted 2,chosen -n 6 -r 1", tiny());
    let out = run(&some).ok();
    let rows: Vec<&str> = out.lines().filter(|line| line.trim_start().starts_with("0.")).collect();
    let [row] = rows[..] else { panic!("one row: {out}") };
    assert_eq!(row.split_whitespace().count(), 4, "a share, two columns, tokens a pass: {out}");
    for (option, value) in [("--right", "1.5"), ("--right", "nan"), ("--drafted", "8")] {
        run(&format!("bench -m {} --draft {option} {value}", tiny())).fails(2, &[option, value]);
        run(&format!("bench -m {} {option} 1", tiny())).fails(2, &["--draft"]);
    }
}
