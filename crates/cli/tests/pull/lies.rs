//! Servers that say what is not so.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::{Act, COMMIT, Repo, Server, noise, response, sha256};
use crate::setup::{Home, fails, payload};

fn repo() -> Repo {
    Repo::new("a/b", &[("x.gguf", &payload())])
}

/// A server whose answer to HEAD has other headers, and no value where that is empty.
fn with_head(other: &'static [(&'static str, &'static str)]) -> Server {
    let repo = repo();
    Server::new(move |asked| match (asked.method.as_str(), repo.bytes(&asked.path)) {
        ("HEAD", Some(bytes)) => Act::Send(repo.head(bytes, other)),
        _ => repo.answer(asked),
    })
}

/// A server that answers GET in its own way.
fn with_get(get: impl Fn(&Repo, &crate::server::Asked) -> Act + Send + Sync + 'static) -> Server {
    let repo = repo();
    Server::new(move |asked| match asked.method == "GET" && asked.path.contains("/resolve/") {
        true => get(&repo, asked),
        false => repo.answer(asked),
    })
}

#[test]
fn a_wrong_hash_is_found_and_nothing_is_kept() {
    let wrong = "\"0000000000000000000000000000000000000000000000000000000000000000\"";
    let server = with_head(Box::leak(Box::new([("X-Linked-Etag", wrong), ("ETag", wrong)])));
    let home = Home::new();
    let server_get = with_get(|_, _| Act::Send(response("200 OK", &[], &noise(300_000, 2))));
    fails(&home.pull(&server_get), &["other bytes", "SHA-256", &sha256(&payload())[..12]]);
    assert_eq!((home.snapshots(), home.blobs()), (vec![], vec![]));
    let home = Home::new();
    // The bytes have an ETag that is not the one of HEAD.
    fails(&home.pull(&server), &["changed meanwhile"]);
    assert_eq!(home.snapshots(), [""; 0]);
}

#[test]
fn a_wrong_size_is_found_before_and_after() {
    for (head, words) in [
        (&[("X-Linked-Size", "300001")][..], "sends 300000 bytes of x.gguf where 300001"),
        (&[("X-Linked-Size", "299999")], "sends 300000 bytes of x.gguf where 299999"),
        (&[("X-Linked-Size", "0")], "x.gguf is empty"),
        (&[("X-Linked-Size", "-5"), ("Content-Length", "7")], "where 7 were announced"),
    ] {
        let (home, server) = (Home::new(), with_head(head));
        fails(&home.pull(&server), &[words]);
        assert_eq!(home.snapshots(), [""; 0]);
    }
    // More bytes than it says, without a length.
    let server = with_get(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        Act::Send([&head[..], &noise(300_100, 1)].concat())
    });
    let home = Home::new();
    fails(&home.pull(&server), &["more than the 293 KiB"]);
    home.keeps(&payload(), 0);
    // The length of GET alone is wrong.
    let server = with_get(|repo, asked| {
        let bytes = repo.bytes(&asked.path).expect("it is there");
        Act::Send(response("200 OK", &[("Content-Length", "999999")], bytes))
    });
    fails(&Home::new().pull(&server), &["sends 999999 bytes"]);
}

#[test]
fn a_part_that_is_not_what_was_asked_for_is_refused() {
    for range in ["bytes 200-299999/300000", "bytes 100000-299999/400000", "nonsense", ""] {
        let server = with_get(move |repo, asked| match asked.nth {
            0 => Act::Send(response("200 OK", &[("Content-Length", "300000")], &noise(100, 1))),
            _ => {
                let headers = [("Content-Range", range)];
                let headers = if range.is_empty() { &headers[..0] } else { &headers[..] };
                let bytes = repo.bytes(&asked.path).expect("it is there");
                Act::Send(response("206 Partial Content", headers, &bytes[200..]))
            }
        });
        let home = Home::new();
        fails(&home.pull(&server), &["x.gguf"]);
        home.keeps(&payload(), 100);
        assert_eq!(server.ranges().len(), 2, "{range}");
    }
}

#[test]
fn a_range_that_is_ignored_loses_nothing() {
    let server = with_get(|repo, asked| {
        let bytes = repo.bytes(&asked.path).expect("it is there");
        let whole = response("200 OK", &[], bytes);
        match asked.nth {
            0 => Act::Send(whole[..whole.len() - 200_000].to_vec()),
            1 => Act::Send(whole[..whole.len() - 250_000].to_vec()),
            _ => Act::Send(whole),
        }
    });
    let home = Home::new();
    home.pull(&server).ok();
    home.has("x.gguf", &payload());
    assert_eq!(server.ranges(), ["-", "bytes=100000-", "bytes=100000-"]);
}

#[test]
fn compressed_bytes_are_refused() {
    let server = with_get(|repo, asked| {
        assert_eq!(asked.headers["accept-encoding"], "identity");
        let bytes = repo.bytes(&asked.path).expect("it is there");
        Act::Send(response("200 OK", &[("Content-Encoding", "gzip")], bytes))
    });
    let home = Home::new();
    fails(&home.pull(&server), &["compressed"]);
    home.keeps(&payload(), 0);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for (head, word) in [
        (&[("X-Linked-Etag", "\"../../../../evil\"")][..], "ETag"),
        (&[("X-Linked-Etag", "\"..\"")], "ETag"),
        (&[("X-Linked-Etag", "\"\"")], "ETag"),
        (&[("X-Repo-Commit", "../../../evil")], "commit"),
        (&[("X-Repo-Commit", "/etc")], "commit"),
    ] {
        let (home, server) = (Home::new(), with_head(head));
        fails(&home.pull(&server), &[word]);
        assert!(!home.hub().exists(), "{head:?}");
    }
    for (head, word) in [
        (&[("X-Repo-Commit", "")][..], "does not say the commit"),
        (&[("X-Linked-Etag", ""), ("ETag", "")], "does not say the ETag"),
    ] {
        fails(&Home::new().pull(&with_head(head)), &[word]);
    }
    let list = r#"[{"type":"file","path":"../../up-Q4_0.gguf"},{"type":"file","path":"/abs.gguf"},
        {"type":"file","path":"C:\\x.gguf"},{"type":"directory","path":"d.gguf"},{"path":7}]"#;
    let server = Server::new(move |asked| match asked.path.starts_with("/api/") {
        true => Act::Send(response("200 OK", &[], list.as_bytes())),
        false => Act::Send(response("200 OK", &[("X-Repo-Commit", COMMIT)], b"")),
    });
    let home = Home::new();
    fails(&home.run(&server.url, &["pull", "a/b"]), &["no model in GGUF files"]);
    assert!(!home.hub().exists());
    for name in ["a/b:../x.gguf", "a/b:/x.gguf", "../b", "a/b/c", "a/..", "a/b:"] {
        home.run(&server.url, &["pull", name]).fails(2, &["is no name of a model"]);
    }
    home.run(&server.url, &["pull", "a/b", "--revision", "../x"]).fails(2, &["no revision"]);
}

#[test]
fn lists_of_files_may_be_anything() {
    for body in ["", "[", "{}", "7", "null", "[[]]", "\u{0}", "<html>"] {
        let server = Server::new(move |_| Act::Send(response("200 OK", &[], body.as_bytes())));
        fails(&Home::new().run(&server.url, &["pull", "a/b"]), &["a/b"]);
    }
    // The description of a repository is as good.
    let repo = Repo::new("a/b", &[("x-Q8_0.gguf", &payload())]);
    let server = Server::new(move |asked| match asked.path.as_str() {
        "/api/models/a/b" => {
            let text = r#"{"sha":"x","siblings":[{"rfilename":"x-Q8_0.gguf"},{"rfilename":"a"}]}"#;
            Act::Send(response("200 OK", &[], text.as_bytes()))
        }
        path if path.starts_with("/api/") => Act::Send(response("404 Not Found", &[], b"")),
        _ => repo.answer(asked),
    });
    let home = Home::new();
    home.run(&server.url, &["pull", "a/b"]).ok();
    home.has("x-Q8_0.gguf", &payload());
}

#[test]
fn a_mirror_may_know_branches_only() {
    let repo = Repo::new("a/b", &[("x.gguf", &payload()), ("mmproj.gguf", b"p")]);
    let server = Server::new(move |asked| match asked.path.contains(COMMIT) {
        true => Act::Send(response("404 Not Found", &[], b"")),
        false => repo.answer(asked),
    });
    let home = Home::new();
    home.pull(&server).ok();
    assert_eq!(fs::read(home.file("x.gguf")).expect("it was fetched"), payload());
    assert_eq!(home.snapshots(), ["mmproj.gguf", "x.gguf"]);
}

#[test]
fn a_file_that_changes_between_two_runs_is_another_file() {
    let is_new = std::sync::Arc::new(AtomicBool::new(false));
    let (old, mut new) = (repo(), Repo::new("a/b", &[("x.gguf", &noise(200_000, 9))]));
    new.commit = "f".repeat(40);
    let later = is_new.clone();
    let server = Server::new(move |asked| {
        let is_new = later.load(Ordering::SeqCst);
        match (if is_new { &new } else { &old }).answer(asked) {
            Act::Send(bytes) if !is_new && bytes.len() > 200_000 => {
                Act::Send(bytes[..bytes.len() - 100_000].to_vec())
            }
            act => act,
        }
    });
    let home = Home::new();
    let pull = ["pull", "a/b:x.gguf", "--retries", "0"];
    fails(&home.run(&server.url, &pull), &["are kept"]);
    home.keeps(&payload(), 200_000);
    is_new.store(true, Ordering::SeqCst);
    let path = home.run(&server.url, &pull).ok();
    assert_eq!(fs::read(path.trim_end()).expect("it was fetched"), noise(200_000, 9));
    assert_eq!(server.ranges(), ["-", "-"], "the new file has nothing of the old one");
    assert_eq!(home.snapshots(), ["x.gguf"]);
}

#[test]
fn a_file_that_changes_during_a_run_is_refused() {
    let server = with_get(|repo, asked| match (asked.nth, repo.answer(asked)) {
        (0, Act::Send(bytes)) => Act::Send(bytes[..bytes.len() - 100_000].to_vec()),
        _ => {
            let headers =
                [("X-Linked-Etag", "\"other\""), ("Content-Range", "bytes 200000-299999/300000")];
            Act::Send(response("206 Partial Content", &headers, &noise(100_000, 5)))
        }
    });
    let home = Home::new();
    fails(&home.pull(&server), &["changed meanwhile"]);
    home.keeps(&payload(), 200_000);
}

#[test]
fn damage_of_what_was_kept_is_found_and_mended() {
    let repo = repo();
    let server = Server::new(move |asked| repo.answer(asked));
    let home = Home::new();
    let blobs = home.hub().join("models--a--b/blobs");
    fs::create_dir_all(&blobs).expect("room");
    let part = blobs.join(format!("{}.incomplete", sha256(&payload())));
    fs::write(&part, noise(100_000, 7)).expect("room");
    let ran = home.pull(&server);
    assert!(ran.err.contains("damaged"), "{}", ran.err);
    home.has("x.gguf", &payload());
    assert_eq!(server.ranges(), ["bytes=100000-", "-"]);
    // One that is longer than the file.
    let home = Home::new();
    let blobs = home.hub().join("models--a--b/blobs");
    fs::create_dir_all(&blobs).expect("room");
    let part = blobs.join(format!("{}.incomplete", sha256(&payload())));
    fs::write(&part, noise(400_000, 7)).expect("room");
    home.pull(&server).ok();
    home.has("x.gguf", &payload());
    // All of it was there, but for its name.
    let home = Home::new();
    let blobs = home.hub().join("models--a--b/blobs");
    fs::create_dir_all(&blobs).expect("room");
    fs::write(blobs.join(format!("{}.incomplete", sha256(&payload()))), payload()).expect("room");
    let before = server.ranges().len();
    home.pull(&server).ok();
    home.has("x.gguf", &payload());
    assert_eq!(server.ranges().len(), before);
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_fetched() {
    let server = with_head(&[("X-Linked-Size", "1152921504606846976")]);
    let home = Home::new();
    fails(&home.pull(&server), &["1.00 EiB are to come", "16.0 MiB should stay free", "make room"]);
    assert_eq!((server.ranges().len(), home.hub().exists()), (0, false));
    let server = with_head(&[("X-Linked-Size", "18446744073709551615")]);
    fails(&home.pull(&server), &["make room"]);
}
