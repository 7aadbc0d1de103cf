//! Processes that are killed, and those that want the same at the same time.

#![cfg(unix)]

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::ran;
use crate::server::{Act, Repo, Server, sha256};
use crate::setup::{Home, fails, payload};

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// A server that sends 120,000 bytes of `x.gguf` and then waits until `goes_on`.
fn halting() -> (Server, Arc<AtomicBool>) {
    let repo = Repo::new("a/b", &[("x.gguf", &payload())]);
    let goes_on = Arc::new(AtomicBool::new(false));
    let may = goes_on.clone();
    let server = Server::new(move |asked| match repo.answer(asked) {
        Act::Send(bytes) if bytes.len() > 200_000 && !may.load(Ordering::SeqCst) => {
            let head = bytes.len() - payload().len();
            Act::SendAndStall(bytes[..head + 120_000].to_vec())
        }
        act => act,
    });
    (server, goes_on)
}

/// Whether whoever started the tests lets them ignore Ctrl-C, as shells do in the background.
fn is_deaf_to_interrupts() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 2 != 0) // bit 1 is SIGINT
}

#[test]
fn what_is_killed_goes_on_where_it_was() {
    for signal in ["KILL", "INT", "TERM"] {
        if signal == "INT" && is_deaf_to_interrupts() {
            continue; // so are the programs that it starts
        }
        let ((server, goes_on), home) = (halting(), Home::new());
        let mut command = home.carat(&server.url, &["pull", "a/b:x.gguf"]);
        command.env("HF_HUB_DOWNLOAD_TIMEOUT", "60").stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        until("the first part came", || home.blobs().iter().any(|(_, size)| *size == 120_000));
        let pid = child.id().to_string();
        let killed = std::process::Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(killed.expect("there is kill").success());
        let status = child.wait().expect("it ends");
        assert!(!status.success());
        home.keeps(&payload(), 120_000);
        let ran = home.run("http://127.0.0.1:9", &["run", "-m", "a/b:x.gguf", "hi"]);
        fails(&ran, &["was not pulled to its end", "`carat pull a/b:x.gguf` goes on"]);
        goes_on.store(true, Ordering::SeqCst);
        home.pull(&server).ok();
        home.has("x.gguf", &payload());
        assert_eq!(server.ranges(), ["-", "bytes=120000-"], "{signal}");
    }
}

#[test]
fn what_was_interrupted_is_listed_and_can_be_dropped() {
    let ((server, _), home) = (halting(), Home::hasty());
    let ran = home.run(&server.url, &["pull", "a/b:x.gguf", "--retries", "0"]);
    fails(&ran, &["117 KiB of 293 KiB are kept"]);
    let list = home.run(&server.url, &["list"]);
    assert!(list.err.contains("117 KiB of a/b came before"), "{}", list.err);
    assert!(list.err.contains("`carat remove a/b`"), "{}", list.err);
    home.run(&server.url, &["remove", "a/b", "--yes"]).ok();
    assert!(!home.hub().join("models--a--b").exists());
}

#[test]
fn two_at_once_fetch_it_once() {
    let repo = Repo::new("a/b", &[("x.gguf", &payload())]);
    let server = Server::new(move |asked| match repo.answer(asked) {
        Act::Send(bytes) if bytes.len() > 200_000 => {
            Act::Drip(bytes, 30_000, Duration::from_millis(200))
        }
        act => act,
    });
    let home = Home::new();
    let start = || {
        let mut command = home.carat(&server.url, &["pull", "a/b:x.gguf"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    };
    let first = start();
    until("the first one fetches", || !server.ranges().is_empty());
    let second = start();
    let remove = home.run(&server.url, &["remove", "a/b", "--yes"]);
    remove.fails(1, &["another process is fetching"]);
    let [first, second] = [first, second].map(|child| ran(child.wait_with_output().expect("ends")));
    assert_eq!((first.code, second.code), (0, 0), "{}{}", first.err, second.err);
    assert!(second.err.contains("waiting"), "{}", second.err);
    home.has("x.gguf", &payload());
    assert_eq!(server.ranges(), ["-"]);
}

#[test]
fn what_cannot_be_written_is_one_sentence() {
    use std::os::unix::fs::PermissionsExt;
    let repo = Repo::new("a/b", &[("x.gguf", &payload())]);
    let server = Server::new(move |asked| repo.answer(asked));
    // A file where the folder should be: even root cannot write there.
    let home = Home::new();
    fs::create_dir_all(home.path().join("hf")).expect("room");
    fs::write(home.hub(), "").expect("room");
    fails(&home.pull(&server), &["x.gguf"]);
    // The system takes no more than so many blocks of a file.
    let home = Home::new();
    let script = format!(
        "trap '' XFSZ; ulimit -f 200; exec '{}' pull a/b:x.gguf --retries 0",
        env!("CARGO_BIN_EXE_carat")
    );
    let mut shell = std::process::Command::new("sh");
    let like = home.carat(&server.url, &[]);
    shell.env_clear().envs(like.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = shell.env("PATH", "/usr/bin:/bin").args(["-c", &script]).output();
    let ended = ran(output.expect("there is a shell"));
    fails(&ended, &["cannot write x.gguf", "is kept"]);
    assert_eq!(home.snapshots(), [""; 0]);
    let kept = home.blobs()[0].1;
    assert!(kept > 0 && kept < 300_000, "{kept}");
    home.pull(&server).ok();
    home.has("x.gguf", &payload());
    assert_eq!(server.ranges().last(), Some(&format!("bytes={kept}-")));
    // A link where the part should be is not written through.
    let (home, outside) = (Home::new(), Home::new());
    let target = outside.path().join("precious");
    fs::write(&target, "precious").expect("room");
    let blobs = home.hub().join("models--a--b/blobs");
    fs::create_dir_all(&blobs).expect("room");
    let part = blobs.join(format!("{}.incomplete", sha256(&payload())));
    std::os::unix::fs::symlink(&target, part).expect("links are there");
    home.pull(&server).ok();
    home.has("x.gguf", &payload());
    assert_eq!(fs::read(&target).expect("it stays"), b"precious");
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(home.file("x.gguf")), mode(target), "others may read it as any new file");
}
