//! Signals at any moment: the server ends, and leaves no file that the next start does not remove.
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::{Server, kit};
use serde_json::json;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn kill(name: &str, id: u32) {
    let status = Command::new("kill").args([name, &id.to_string()]).status();
    assert!(status.expect("there is kill").success());
}

/// What shells report: SIGTERM and SIGINT let answers end, and a terminal that is gone ends it.
#[test]
fn signals_end_it_and_a_client_that_is_gone_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("x.cache");
    let cache = cache.to_str().expect("UTF-8");
    for (name, wanted) in [("-TERM", 0), ("-INT", 0), ("-HUP", 129)] {
        let mut server = Server::start(&["--cache", cache]);
        kill("-PIPE", server.child.id());
        assert_eq!(server.chat(&json!({})).status, 200, "SIGPIPE is for whoever writes");
        kill(name, server.child.id());
        let status = server.child.wait().expect("it ends");
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        let is_nohup = name == "-HUP" && code == Some(0);
        assert!(code == Some(wanted) || is_nohup, "{name}: {status:?}");
        assert_eq!(names(folder.path()), ["x.cache"], "{name}");
    }
}

#[test]
fn what_a_start_leaves_that_is_killed_goes_with_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("x.cache");
    let cache = cache.to_str().expect("UTF-8");
    for (i, name) in ["-KILL", "-TERM", "-HUP", "-INT"].iter().cycle().take(12).enumerate() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carat-serve"));
        command.arg(kit().join("text-q8_0.gguf")).args(["--port", "0", "--cache", cache]);
        let child = command.stderr(Stdio::null()).stdin(Stdio::null()).spawn();
        let mut child = child.expect("the program starts");
        sleep(Duration::from_millis(7 * i as u64));
        kill(name, child.id());
        child.wait().expect("it ends");
    }
    let server = Server::start(&["--cache", cache]);
    assert_eq!(server.chat(&json!({})).status, 200);
    assert_eq!(names(folder.path()), ["x.cache"]);
}
