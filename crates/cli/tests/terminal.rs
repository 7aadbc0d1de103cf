//! The program as a person at a terminal meets it: pipes, Ctrl-C, and errors that lead on.

#![cfg(unix)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

mod common;

use common::{Folder, Ran, carat, kit, ran, run, run_in, text, tiny};

#[test]
fn an_error_points_to_the_help_of_its_command() {
    for (args, help) in [
        ("sing", "carat --help"),
        ("--loud", "carat --help"),
        ("run -m x.gguf --tmp 1 hi", "carat run --help"),
        ("run -m nowhere.gguf hi", "carat run --help"),
        ("run -m nowhere.gguf --image-tokens 71 hi", "carat run --help"),
        ("chat -m nowhere.gguf", "carat chat --help"),
        ("chat --loud", "carat chat --help"),
        ("inspect", "carat inspect --help"),
        ("inspect nowhere.gguf", "carat inspect --help"),
        ("bench -m nowhere.gguf", "carat bench --help"),
        ("bench --from nowhere.json", "carat bench --help"),
        ("eval sing", "carat eval --help"),
        ("eval tokenize -m x.gguf", "carat eval tokenize --help"),
        ("eval image nowhere.png --output o.png", "carat eval image --help"),
        ("eval video nowhere.mp4", "carat eval video --help"),
    ] {
        let ran = run(args);
        assert!(ran.code == 1 || ran.code == 2, "{args}");
        ran.fails(ran.code, &[&format!("(see `{help}`)")]);
    }
}

#[test]
fn no_name_of_a_file_speaks_to_the_terminal() {
    let ran = run("run -m no\x1b]0;title\x07where.gguf hi");
    ran.fails(1, &[r"no\u{1b}]0;title\u{7}where.gguf"]);
    assert!(!ran.err.contains(['\x1b', '\x07']), "{}", ran.err);
}

#[test]
fn a_cache_file_after_a_blank_is_an_error_that_says_how() {
    let folder = Folder::new();
    let there = folder.file("there", "");
    for args in [
        "run -m x.gguf --cache mine.cache hi",
        "run -m x.gguf --cache mine.cache",
        "chat -m x.gguf --cache mine.cache",
        "bench -m x.gguf --cache mine.cache",
    ] {
        run(args).fails(2, &["--cache=mine.cache"]);
    }
    run(&format!("run -m x.gguf --cache {there}")).fails(2, &[&format!("--cache={there}")]);
    // A prompt may stand there.
    run("run -m nowhere.gguf --cache hello").fails(1, &["nowhere.gguf"]);
}

#[test]
fn minus_one_is_no_limit() {
    let model = tiny();
    let run =
        |n: &str| run(format!("run --raw -m {model} --greedy --ctx 20 the@rain {n}").trim_end());
    let all = run("-n -1");
    assert!(all.err.contains("context of 20 tokens is full"), "{}", all.err);
    let all = all.ok();
    assert_eq!(run("--max-tokens=-1").ok(), all);
    assert_eq!(run("").ok(), all);
    assert_ne!(run("-n 2").ok(), all);
    for wrong in ["-2", "x", "1.5", "99999999999999999999"] {
        run(&format!("-n {wrong}")).fails(2, &[wrong, "-1 for no limit"]);
    }
}

#[test]
fn statistics_begin_a_line_where_both_streams_are_one() {
    let script = "\"$@\" 2>&1";
    let args = ["-c", script, "sh", env!("CARGO_BIN_EXE_carat"), "run", "--raw", "-m"];
    let output = Command::new("sh")
        .args(args)
        .args([&tiny(), "--greedy", "-n", "5", "the rain"])
        .stdin(Stdio::null())
        .output();
    let both = ran(output.expect("a shell runs")).ok();
    assert!(both.lines().last().is_some_and(|line| line.starts_with("prompt: ")), "{both}");
}

#[test]
fn piped_text_stands_before_the_prompt() {
    let model = tiny();
    let args = format!("run --raw -m {model} --greedy -n 8");
    let tokens = |ran: &Ran| {
        let line = ran.err.lines().find(|line| line.starts_with("prompt: "));
        line.and_then(|line| line.split(' ').nth(1)).expect("a number").to_owned()
    };
    let joined = run(&format!("{args} the@rain\n\nin@the@house"));
    for piped in ["the rain", "the rain\n", "the rain\r\n"] {
        let both = run_in(&format!("{args} in@the@house"), piped);
        assert_eq!(tokens(&both), tokens(&joined), "{piped:?}");
        assert_eq!(both.out, joined.out, "{piped:?}");
    }
    let alone = run(&format!("{args} in@the@house"));
    assert_ne!(tokens(&alone), tokens(&joined));
    // A file is as good as a pipe, and nothing is nothing.
    let folder = Folder::new();
    let file = File::open(folder.file("text", "the rain")).expect("it was written");
    let model = ["run", "--raw", "-m", &model, "--greedy", "-n", "8", "in the house"];
    let both = ran(carat().args(model).stdin(file).output().expect("the program starts"));
    assert_eq!(both.ok(), joined.out);
    let none = ran(carat().args(model).output().expect("the program starts"));
    assert_eq!(none.ok(), alone.out);
}

#[test]
fn media_come_from_standard_input() {
    let model = tiny();
    let base =
        ["run", "--raw", "-m", &model, "-t", "1", "--temp", "2", "--top-k", "0", "--seed", "5"];
    let base = [&base[..], &["-n", "12", "--image-tokens", "70", "hi"]].concat();
    for (option, file) in [("--image", kit("image.png")), ("--audio", kit("audio.wav"))] {
        let named = ran(carat().args(&base).args([option, &text(&file)]).output().unwrap()).ok();
        let piped = File::open(&file).expect("the kit has it");
        let piped = ran(carat().args(&base).args([option, "-"]).stdin(piped).output().unwrap());
        assert_eq!(piped.ok(), named, "{option}");
        let args = format!("run --raw -m {model} hi {option} -");
        run_in(&args, "prose, and nothing else").fails(1, &["standard input"]);
        run_in(&args, "").fails(1, &["standard input"]);
    }
    for (args, words) in [
        ("hi --image - --audio -", "one thing, here 2"),
        ("- --image -", "one thing, here 2"),
        ("hi --image - --image - --audio -", "one thing, here 3"),
        ("--image -", "there is no prompt"),
        ("hi --video -", "give a file"),
    ] {
        run(&format!("run --raw -m {model} {args}")).fails(2, &[words]);
    }
    let chat = run_in(&format!("chat -m {model}"), "/image -\n");
    assert!(chat.err.contains("/image needs a file"), "{}", chat.err);
}

/// Standard output that takes one byte, and one that takes nothing.
#[test]
fn a_closed_standard_output_is_code_1_without_a_panic() {
    let model = tiny();
    let json = format!("inspect --tensors --json {model}");
    let table = format!("inspect --tensors {model}");
    let answer = format!("run --raw -m {model} --greedy -n 4000 the");
    let bench = format!("bench -m {model} --quick -p 8 -d 0 -n 1 -t 1 --no-roof -o html");
    let ids = format!("eval tokenize -m {model} --text {}", "word@".repeat(20_000));
    // More than a pipe holds.
    for args in [&answer, &ids] {
        let mut child = spawn(args);
        let mut out = child.stdout.take().expect("it is piped");
        out.read_exact(&mut [0]).expect("a first byte");
        drop(out);
        let ran = ran(child.wait_with_output().expect("it ends"));
        assert_eq!((ran.code, ran.err.as_str()), (1, ""), "{}", &args[..40]);
    }
    for args in [&answer, &json, &table, &bench, &ids] {
        let mut child = spawn(args);
        drop(child.stdout.take());
        let ran = ran(child.wait_with_output().expect("it ends"));
        let is_quiet = ran.err.lines().all(|line| line.starts_with("measuring "));
        assert!(ran.code == 1 && is_quiet, "{}: {}", &args[..40], ran.err);
        if std::path::Path::new("/dev/full").exists() {
            let full = File::options().write(true).open("/dev/full").expect("it can be opened");
            let full = carat().args(words(args)).stdout(full).output().expect("it starts");
            let ran = common::ran(full);
            assert!(ran.code == 1 && ran.err.contains("No space left"), "{}", ran.err);
            assert!(!ran.err.contains("panicked"), "{}", ran.err);
        }
    }
    // Nobody reads either of the two.
    let script = "(\"$@\" 2>&1; echo $? >&3) 3>code | head -c 1 >byte";
    let folder = Folder::new();
    let status = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_carat")])
        .args(words(&answer))
        .current_dir(folder.path(""))
        .stdin(Stdio::null())
        .status();
    assert!(status.expect("a shell runs").success());
    assert_eq!(std::fs::read_to_string(folder.path("code")).expect("a code"), "1\n");
}

#[test]
fn ctrl_c_is_heard_at_once_and_figures_are_of_what_was_done() {
    let folder = Folder::new();
    let prompt = folder.file("prompt", "the rain in the house ".repeat(300));
    let model = tiny();
    // Token by token, so that there is time.
    let args = ["run", "--raw", "-m", &model, "-v", "--chunk", "1", "-t", "1", "-n", "1"];
    let mut child = carat()
        .args(args)
        .stdin(File::open(prompt).expect("it was written"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    while !next().starts_with("temperature ") {}
    sleep(Duration::from_millis(50));
    interrupt(&child);
    assert_eq!(next(), "stopping…");
    let speed = next();
    let figures: Vec<_> = speed.split(' ').collect();
    let ["prompt:", done, "of", wanted, "tokens,", ..] = figures[..] else { panic!("{speed}") };
    let [done, wanted] = [done, wanted].map(|n| n.parse::<usize>().expect("a number"));
    assert!(0 < done && done < wanted && wanted > 1500, "{speed}");
    assert!(speed.contains("generated: 0 tokens"), "{speed}");
    assert_eq!(next(), "carat: interrupted before the first token");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

/// A program hears of it as well, and a file has what came: all of an answer so far, and nothing of
/// a message that was only read.
#[test]
fn ctrl_c_keeps_what_was_said() {
    let folder = Folder::new();
    let (file, model) = (folder.path("talk"), tiny());
    let args = ["run", "--json", "-m", &model, "-t", "1", "--session", &file];
    let done = |out: &str| {
        let last = out.lines().last().expect("a line");
        serde_json::from_str::<serde_json::Value>(last).expect("JSON")
    };
    let start = |more: &[&str], input: File| {
        let mut command = carat();
        command.args(args).args(more).stdin(input);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let message = File::open(folder.file("message", "hello")).expect("it was written");
    // No end but the context's: the answer repeats nothing.
    let endless = ["--temp", "9", "--top-k", "0", "--top-p", "1", "--seed", "1", "--ctx", "4000"];
    let eog = ["--logit-bias", "1=-inf", "--logit-bias", "106=-inf", "--logit-bias", "50=-inf"];
    let mut child = start(&[&endless[..], &eog].concat(), message);
    let mut out = child.stdout.take().expect("it is piped");
    out.read_exact(&mut [0]).expect("a first byte");
    interrupt(&child);
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the pipe ends");
    let ended = ran(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.starts_with("stopping…\n"), "{}", ended.err);
    let first = done(&rest);
    assert_eq!(first["reason"], "cancelled");
    let said = first["usage"]["completion_tokens"].as_u64().expect("a number");
    let prompt = first["usage"]["prompt_tokens"].as_u64().expect("a number");
    assert!(said > 0 && said < 3900, "{first}");
    let before = std::fs::read(&file).expect("it was saved");
    let long = folder.file("long", "the rain in the house ".repeat(90));
    let long = File::open(long).expect("it was written");
    let mut child = start(&["-v", "--chunk", "1", "--ctx", "4096", "-n", "1"], long);
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    while !lines.next().expect("a line").expect("text").starts_with("temperature ") {}
    sleep(Duration::from_millis(50));
    interrupt(&child);
    let told: Vec<_> = lines.map(|line| line.expect("text")).collect();
    let ended = ran(child.wait_with_output().expect("it ends"));
    assert_eq!((ended.code, told[0].as_str()), (1, "stopping…"), "{told:?}");
    let second = done(&ended.out);
    assert_eq!((&second["reason"], ended.out.lines().count()), (&"cancelled".into(), 1));
    assert_eq!(second["usage"]["completion_tokens"], 0);
    // Words of an answer may be cut otherwise when they are read again, never what came before.
    assert!(second["usage"]["cached_tokens"].as_u64().is_some_and(|n| n + 16 > prompt), "{second}");
    assert!(second["usage"]["prompt_tokens"].as_u64().is_some_and(|n| n > prompt + 300));
    assert!(std::fs::read(&file).expect("it is there") == before, "the file stays as it was");
}

/// A command that waits for ffmpeg ends with the first Ctrl-C, and ffmpeg with it.
#[test]
fn ctrl_c_ends_ffmpeg() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let ffprobe = folder.file("ffprobe", "#!/bin/sh\necho $$ > \"${0%/*}/pid\"\nexec sleep 60\n");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(ffprobe, executable).expect("they are set");
    let film = folder.file("film.mp4", "no picture");
    let path = format!("{}:/usr/bin:/bin", folder.path(""));
    let child = carat()
        .args(["run", "--raw", "-m", &tiny(), "--video", &film, "hi"])
        .env("PATH", path)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = || std::fs::read_to_string(folder.path("pid")).unwrap_or_default();
    while pid().is_empty() {
        sleep(Duration::from_millis(10));
    }
    interrupt(&child);
    let ran = ran(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.err.as_str()), (130, "stopping…\n"));
    assert!(!std::path::Path::new(&format!("/proc/{}/exe", pid().trim())).exists());
}

#[test]
fn a_path_in_a_chat_is_written_as_in_a_shell() {
    let folder = Folder::new();
    let picture = std::fs::read(kit("image.png")).expect("the kit has it");
    folder.file("my photo.png", picture);
    let folder = folder.path("");
    let commands = [
        format!("/image {folder}my photo.png"),
        format!("/image {folder}my\\ photo.png "),
        format!("/image '{folder}my photo.png'"),
        format!("/image \"{folder}my photo.png\""),
        "/image ~/my\\ photo.png".to_owned(),
        format!("/image file://{folder}my%20photo.png"),
    ];
    let mut child = carat()
        .args(["chat", "-m", &tiny()])
        .env("HOME", &folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A line that ends in a backslash goes on, which none of these does.
    stdin.write_all(commands.join("\n").as_bytes()).expect("it reads");
    drop(stdin);
    let ran = ran(child.wait_with_output().expect("it ends"));
    let shown = ran.err.matches("the next message shows it").count();
    assert_eq!((ran.code, shown), (0, commands.len()), "{}", ran.err);
}

fn words(args: &str) -> Vec<String> {
    args.split(' ').map(|word| word.replace('@', " ")).collect()
}

fn spawn(args: &str) -> Child {
    let mut command = carat();
    command.args(words(args)).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn interrupt(child: &Child) {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("there is kill").success());
}
