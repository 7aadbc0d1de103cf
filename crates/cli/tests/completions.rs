//! What packagers and shells get: completions that shells take, and pages that `man` shows.

#![cfg(unix)]

use std::fs;
use std::process::Command;

mod common;

use common::{Folder, run};

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    for (shell, word) in [
        ("bash", "complete -F _carat"),
        ("zsh", "#compdef carat"),
        ("fish", "complete -c carat"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer[carat]"),
    ] {
        let script = run(&format!("completions {shell}")).ok();
        assert!(script.contains(word), "{shell}");
        for command in ["run", "chat", "demo", "inspect", "bench", "image", "greedy"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    run("completions tcsh").fails(2, &["tcsh", "bash"]);
    run("completions").fails(2, &["SHELL"]);
    run("completions bash --man x").fails(2, &["--man"]);
}

/// Bash itself reads the script, and completes words as it does after Tab.
#[test]
fn bash_completes_commands_options_and_values() {
    let folder = Folder::new();
    let script = folder.file("carat.bash", run("completions bash").ok());
    let completed = |words: &str| {
        let words: Vec<_> = words.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let line = format!(
            "source {script} && COMP_WORDS=({}) COMP_CWORD={} && _carat carat '{last}' '{before}' \
             && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
        );
        let output = Command::new("bash").args(["--norc", "-c", &line]).output();
        let output = output.expect("bash is there");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let out = String::from_utf8(output.stdout).expect("text");
        out.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(completed("carat de"), ["demo"]);
    assert_eq!(completed("carat run --gre"), ["--greedy"]);
    assert_eq!(completed("carat eval tok"), ["tokenize"]);
    assert_eq!(completed("carat chat --kv q"), ["q8"]);
}

#[test]
fn man_pages_are_written_for_every_command() {
    let folder = Folder::new();
    let pages = folder.path("made/here");
    let ran = run(&format!("completions --man {pages}"));
    assert!(ran.err.contains("man pages"), "{}", ran.err);
    assert_eq!(ran.ok(), "");
    let mut names: Vec<_> = fs::read_dir(&pages)
        .expect("it was made")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    for name in ["carat.1", "carat-run.1", "carat-demo.1", "carat-eval-tokenize.1"] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
    assert_eq!(run(&format!("completions --man {pages}")).code, 0, "a second time as well");
    assert!(names.iter().all(|name| !name.contains("help")), "{names:?}");
    for name in &names {
        shown(&format!("{pages}/{name}"), name);
    }
    let file = folder.file("file", "");
    run(&format!("completions --man {file}")).fails(1, &[&file]);
}

/// Shows a page with `man`, where that is installed, and asks it for complaints.
fn shown(page: &str, name: &str) {
    let output = Command::new("man")
        .args(["--warnings=w", "-P", "cat", "-l", page])
        .env("MANWIDTH", "100")
        .env("LC_ALL", "C.UTF-8")
        .output();
    let Ok(output) = output.inspect_err(|e| eprintln!("man is not installed: {e}")) else { return };
    let err = String::from_utf8_lossy(&output.stderr);
    if err.contains("No manual entry") || err.contains("unminimize") {
        return eprintln!("man cannot show pages here: {err}");
    }
    assert!(output.status.success() && err.is_empty(), "{name}: {err}");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let (title, _) = name.split_once('.').expect("a section");
    assert!(out.contains(&title.to_uppercase()), "{name}: {out}");
    assert!(out.contains("NAME") && out.contains("SYNOPSIS"), "{name}: {out}");
    // Examples keep their lines.
    assert!(out.contains("EXAMPLES"), "{name}: {out}");
    let words = title.split('-').skip(1).collect::<Vec<_>>().join(" ");
    let help = run(format!("{words} --help").trim_start()).ok();
    let (_, examples) = help.split_once("Examples:").expect("help has examples");
    for example in examples.lines().filter(|line| line.starts_with("  carat ")) {
        let is_shown = out.lines().any(|line| line.trim() == example.trim());
        assert!(is_shown, "{name}: {example} is not a line of {out}");
    }
}
