//! The program over a folder: its lines, its errors, and what it does not do twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/model/tests/data/tiny-s")
}

fn describe(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carat-describe"));
    command.arg(kit().join("text-q4_0.gguf")).arg(folder).args(["--budget", "70"]);
    command.args(args).output().expect("the program runs")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A folder with two pictures, a damaged one, a text and a folder.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = fs::read(kit().join("image.png")).expect("a picture");
    fs::write(folder.path().join("b.png"), &picture).expect("a file");
    fs::write(folder.path().join("a.PNG"), &picture).expect("a file");
    fs::write(folder.path().join("c.jpg"), &picture[..100]).expect("a file");
    fs::write(folder.path().join("notes.txt"), "text").expect("a file");
    fs::create_dir(folder.path().join("d.png")).expect("a folder");
    folder
}

/// The model is random: a yes or no ends in time, whatever it says.
const SCHEMA: &str = r#"{ "enum": [{ "yes": true }, { "yes": false }] }"#;

#[test]
fn each_picture_has_a_line_and_none_has_two() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("schema.json"), SCHEMA).expect("a file");
    let (schema, output) = (path("schema.json"), path("out.jsonl"));
    let args = ["--schema", &*schema, "-o", &*output];
    let run = describe(folder.path(), &args);
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "one of them is damaged: {said}");
    let text = fs::read_to_string(&output).expect("the output");
    let found = lines(&text);
    let names: Vec<_> = found.iter().map(|line| line["file"].as_str().expect("a name")).collect();
    assert_eq!(names, ["a.PNG", "b.png", "c.jpg"], "{said}");
    assert!(found[0]["yes"].is_boolean() && found[1]["yes"].is_boolean(), "{text}");
    assert!(found[2]["error"].is_string() && found[2].get("yes").is_none());
    assert!(said.contains("3 of 3"), "{said}");

    // Broken off within the second line: the first one stays, the rest comes again.
    let first = text.find('\n').expect("a line") + 1;
    fs::write(&output, &text[..first + 9]).expect("a file");
    assert_eq!(describe(folder.path(), &args).status.code(), Some(1));
    assert_eq!(fs::read_to_string(&output).expect("the output"), text);
    // All is there: nothing is asked, and the error is still one.
    let again = describe(folder.path(), &args);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&output).expect("the output"), text);
    fs::remove_file(path("c.jpg")).expect("removed");
    let printed = describe(folder.path(), &args[..2]);
    assert_eq!(printed.status.code(), Some(0));
    assert_eq!(lines(&String::from_utf8(printed.stdout).expect("text")).len(), 2);
}

#[test]
fn another_file_is_not_written_over() {
    let folder = folder();
    let other = folder.path().join("notes.txt");
    for content in ["text", "text\n", "{\"a\": 1}\n"] {
        fs::write(&other, content).expect("a file");
        let run = describe(folder.path(), &["-o", &other.display().to_string()]);
        assert_eq!(run.status.code(), Some(1));
        assert_eq!(fs::read_to_string(&other).expect("a file"), content);
    }
    let nowhere = describe(&folder.path().join("nowhere"), &[]);
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("nowhere"));
}
