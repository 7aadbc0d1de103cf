//! `carat bench --protocol` from outside, on the small reference model.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

mod common;

use common::{Folder, Ran, carat, kit, ran, text, tiny};

/// Runs with a folder of its own for files that lie there for a while.
fn run_in(cache: &Folder, args: &str) -> Ran {
    let mut command = carat();
    let command = command.args(args.split(' ')).env("XDG_CACHE_HOME", cache.path(""));
    let ran = ran(command.output().expect("the program starts"));
    let left = std::fs::read_dir(cache.path("carat")).into_iter().flatten().count();
    assert_eq!(left, 0, "no file for a while is left");
    ran
}

fn run(args: &str) -> Ran {
    run_in(&Folder::new(), args)
}

#[test]
fn the_protocol_quickly_has_every_test_and_a_reference_that_was_made_elsewhere() {
    let folder = Folder::new();
    let model = text(&kit("text-q4_0.gguf"));
    let args = format!("bench -m {model} --protocol 1 --quick --save {}", folder.path(""));
    let table = run(&args).ok();
    for words in ["gate     passed", "benches/reference.py", "turn picture", "start second"] {
        assert!(table.contains(words), "{words}:\n{table}");
    }
    let files: Vec<_> = std::fs::read_dir(folder.path("")).expect("a folder").flatten().collect();
    let [file] = &files[..] else { panic!("one result: {files:?}") };
    let saved = std::fs::read_to_string(file.path()).expect("a result");
    let record: Value = serde_json::from_str(&saved).expect("JSON");
    assert_eq!((&record["protocol"], &record["quick"]), (&1.into(), &true.into()));
    assert_eq!((&record["partial"], &record["skipped"]), (&false.into(), &Value::Array(vec![])));
    assert_eq!(record["model"]["kind"], "other");
    assert!(record["gate"]["wanted"].is_null(), "the repository has it");
    let hash = |value: &Value| value.as_str().is_some_and(|hash| hash.len() == 64);
    assert!(hash(&record["model"]["hash"]) && hash(&record["program"]["hash"]));
    let names: Vec<_> = record["timings"].as_array().expect("timings").iter().collect();
    let names: Vec<_> =
        names.iter().map(|timing| timing["name"].as_str().expect("a name")).collect();
    let wanted = ["start first", "prompt 48", "decode 0", "decode 64", "decode 256", "turn text"];
    assert_eq!(names[..6], wanted);
    assert_eq!(names[6..], ["turn picture", "turn sound", "start second"]);
    assert!(record["marks"].to_string().contains("\"quick\""));

    // Another result of the day has another name, and both stand on one page.
    let json = run(&format!("{args} -o json")).ok();
    assert!(serde_json::from_str::<Value>(&json).is_ok(), "{json}");
    assert_eq!(std::fs::read_dir(folder.path("")).expect("a folder").count(), 2);
    let page = run(&format!("bench --page {}", folder.path(""))).ok();
    assert!(page.starts_with("<!doctype html>") && page.contains("text-q4_0.gguf (2)"));
}

#[test]
fn a_model_without_a_reference_is_judged_by_the_scalar_kernels() {
    let model = text(&kit("text-q8_0.gguf"));
    let json = run(&format!("bench -m {model} --protocol 1 --quick -o json")).ok();
    let record: Value = serde_json::from_str(&json).expect("JSON");
    let gate = &record["gate"];
    assert_eq!(gate["passed"], true, "{gate}");
    assert!(gate["how"].as_str().is_some_and(|how| how.contains("scalar")), "{gate}");
    assert_eq!(gate["wanted"].as_array().map(Vec::len), Some(9));
}

#[test]
fn the_protocol_leaves_nothing_to_choose() {
    let model = tiny();
    let wrong = |rest: &str, words: &[&str]| {
        run(&format!("bench -m {model} --protocol {rest}")).fails(2, words);
    };
    wrong("2", &["--protocol"]);
    wrong("1 -p 64", &["--prompt"]);
    wrong("1 -d 64", &["--depth"]);
    wrong("1 -t 1", &["--threads"]);
    wrong("1 --no-roof", &["--no-roof"]);
    wrong("1 --isa scalar", &["best instruction set"]);
    wrong("1 -o csv", &["-o json"]);
    run(&format!("bench -m {model} --force")).fails(2, &["--protocol"]);
    run(&format!("bench -m {model} --protocol 1 --save nowhere")).fails(1, &["nowhere"]);
    run("bench --page nowhere").fails(1, &["nowhere", "No such file"]);
    let folder = Folder::new();
    folder.file("old.json", "{\"format\": 1}");
    run(&format!("bench --page {}", folder.path(""))).fails(1, &["old.json", "no result"]);
    run("bench -m nowhere.gguf --protocol 1 --quick").fails(1, &["no file nowhere.gguf"]);
}

/// Ctrl-C in the middle leaves what there is, marked as partial.
#[test]
#[cfg(unix)]
fn what_is_interrupted_is_saved_as_partial() {
    let (folder, cache) = (Folder::new(), Folder::new());
    let model = text(&kit("text-q4_0.gguf"));
    let args = format!("bench -m {model} --protocol 1 --quick -o json --save {}", folder.path(""));
    let mut command = carat();
    command.args(args.split(' ')).env("XDG_CACHE_HOME", cache.path(""));
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let stderr = child.stderr.take().expect("it is piped");
    let mut said = String::new();
    for line in BufReader::new(stderr).lines() {
        let line = line.expect("text");
        if line.contains("prompt 48") {
            // Seconds of sustained decoding are still to come.
            let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(status.expect("there is kill").success());
        }
        said += &line;
    }
    let ran = ran(child.wait_with_output().expect("the program ends"));
    assert_eq!(ran.code, 1, "{said}");
    assert!(said.contains("marked as partial"), "{said}");
    let record: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(record["partial"], true);
    assert!(record["marks"].to_string().contains("\"partial\""), "{}", record["marks"]);
    assert!(record["timings"].as_array().is_some_and(|timings| !timings.is_empty()));
    assert_eq!(folder.names().len(), 1, "{:?}", folder.names());
    assert_eq!(std::fs::read_dir(cache.path("carat")).into_iter().flatten().count(), 0);
}
