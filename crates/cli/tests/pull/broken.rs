//! Connections that end, stand still or crawl.

use std::fs;
use std::time::{Duration, Instant};

use crate::server::{Act, Repo, Server, escaped, noise, response, sha256};
use crate::setup::{Home, fails, payload};

/// A good server of `a/b:x.gguf`, but for the `n`th answer to GET.
fn spoilt(spoil: impl Fn(usize, Vec<u8>) -> Act + Send + Sync + 'static) -> Server {
    let repo = Repo::new("a/b", &[("x.gguf", &payload())]);
    Server::new(move |asked| match asked.method == "GET" && asked.path.contains("/resolve/") {
        true => match repo.answer(asked) {
            Act::Send(bytes) => spoil(asked.nth, bytes),
            other => other,
        },
        false => repo.answer(asked),
    })
}

/// The first `n` bytes of an answer's body with all of its headers.
fn cut(answer: &[u8], n: usize) -> Vec<u8> {
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("it has headers") + 4;
    answer[..body + n].to_vec()
}

#[test]
fn a_good_server_is_asked_once() {
    let (home, server) = (Home::new(), spoilt(|_, answer| Act::Send(answer)));
    let out = home.pull(&server).ok();
    assert_eq!(out.trim_end(), home.file("x.gguf").display().to_string());
    home.has("x.gguf", &payload());
    assert_eq!(server.ranges(), ["-"]);
    let link = fs::read_link(home.file("x.gguf")).expect("it is a link");
    assert_eq!(link.to_str(), Some(format!("../../blobs/{}", sha256(&payload())).as_str()));
    home.pull(&server).ok();
    assert_eq!(server.ranges(), ["-"], "what is here is not fetched again");
    let forced = ["pull", "a/b:x.gguf", "--force", "--quiet", "--json"];
    let ran = home.run(&server.url, &forced);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(report["bytes"], 300_000);
    assert_eq!(server.ranges(), ["-", "-"]);
    home.has("x.gguf", &payload());
}

#[test]
fn a_stalled_body_goes_on_where_it_stopped() {
    let server = spoilt(|nth, answer| match nth {
        0 => Act::SendAndStall(cut(&answer, 100_000)),
        _ => Act::Send(answer),
    });
    let (home, begun) = (Home::hasty(), Instant::now());
    home.pull(&server).ok();
    home.has("x.gguf", &payload());
    assert_eq!(server.ranges(), ["-", "bytes=100000-"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_reset_body_goes_on_where_it_stopped() {
    let server = spoilt(|nth, answer| match nth {
        0 => Act::SendAndReset(cut(&answer, 70_000)),
        1 => Act::SendAndReset(cut(&answer, 5_000)),
        _ => Act::Send(answer),
    });
    let home = Home::new();
    home.pull(&server).ok();
    home.has("x.gguf", &payload());
    let ranges = server.ranges();
    assert_eq!((ranges.len(), ranges[0].as_str()), (3, "-"));
    // What a reset takes with it is the system's choice.
    let starts: Vec<u64> = ranges[1..]
        .iter()
        .map(|range| range["bytes=".len()..].trim_end_matches('-').parse().expect("a number"))
        .collect();
    assert!(starts[0] <= 70_000 && starts[1] >= starts[0] && starts[1] <= 75_000, "{starts:?}");
}

#[test]
fn a_body_that_ends_too_early_goes_on_and_in_the_end_is_kept_for_the_next_time() {
    let server = spoilt(|nth, answer| match nth {
        0 => Act::Send(cut(&answer, 100_000)),
        1 | 2 => Act::Send(cut(&answer, 50_000)),
        _ => Act::Send(answer),
    });
    let home = Home::new();
    fails(&home.pull(&server), &["x.gguf", "195 KiB of 293 KiB are kept", "goes on from there"]);
    home.keeps(&payload(), 200_000);
    let ran = home.pull(&server);
    assert!(ran.err.contains("195 KiB of 293 KiB of x.gguf were here already"), "{}", ran.err);
    assert_eq!(ran.code, 0);
    home.has("x.gguf", &payload());
    let wanted = ["-", "bytes=100000-", "bytes=150000-", "bytes=200000-"];
    assert_eq!(server.ranges(), wanted);
}

#[test]
fn an_answer_that_never_begins_is_waited_for_three_times() {
    let server = Server::new(|_| Act::SendAndStall(b"HTTP/1.1 200 OK\r\nX-Repo".to_vec()));
    let (home, begun) = (Home::hasty(), Instant::now());
    let ran = home.run(&server.url, &["pull", "a/b:x.gguf", "--retries", "1"]);
    fails(&ran, &["127.0.0.1"]);
    // Two questions, each asked twice, of at most two seconds.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    home.keeps(&payload(), 0);
}

#[test]
fn a_body_that_comes_slowly_is_taken_and_one_that_hardly_comes_is_not() {
    let repo = Repo::new("a/b", &[("x.gguf", &noise(8_000, 3))]);
    let drip = |size, millis| {
        let repo = repo.clone();
        Server::new(move |asked| match (repo.answer(asked), asked.path.contains("/resolve/")) {
            (Act::Send(bytes), true) if asked.method == "GET" => {
                Act::Drip(bytes, size, Duration::from_millis(millis))
            }
            (act, _) => act,
        })
    };
    let (home, server) = (Home::hasty(), drip(1_500, 400));
    home.pull(&server).ok();
    home.has("x.gguf", &noise(8_000, 3));
    assert_eq!(server.ranges(), ["-"]);

    let (home, server) = (Home::hasty(), drip(20, 100));
    let begun = Instant::now();
    fails(&home.pull(&server), &["next to nothing", "are kept"]);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(server.ranges().len(), 3);
    assert_eq!(home.snapshots(), [""; 0]);
}

#[test]
fn what_is_no_http_and_headers_without_end_are_refused() {
    let server = Server::new(|_| Act::Send(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()));
    let home = Home::new();
    fails(&home.run(&server.url, &["pull", "a/b:x.gguf", "--retries", "0"]), &["127.0.0.1"]);
    let server = Server::new(|_| {
        let long = "y".repeat(4 << 20);
        Act::Send(response("200 OK", &[("X-Long", long.as_str())], b""))
    });
    fails(&home.run(&server.url, &["pull", "a/b:x.gguf", "--retries", "0"]), &["127.0.0.1"]);
    let server = Server::new(|_| {
        let many: Vec<_> = (0..5000).map(|n| (format!("X-{n}"), "v".repeat(60))).collect();
        let many: Vec<_> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        Act::Send(response("200 OK", &many, b""))
    });
    fails(&home.run(&server.url, &["pull", "a/b:x.gguf", "--retries", "0"]), &["127.0.0.1"]);
    home.keeps(&payload(), 0);
}

#[test]
fn nobody_listens() {
    let home = Home::new();
    let ran = home.run("http://127.0.0.1:9", &["pull", "a/b:x.gguf", "--retries", "1"]);
    fails(&ran, &["127.0.0.1", "refused"]);
    let ran = home.run("http://hub.invalid", &["pull", "a/b:x.gguf", "--retries", "0"]);
    fails(&ran, &["hub.invalid is unknown"]);
    let mut offline = home.carat("http://127.0.0.1:9", &["pull", "12b"]);
    let ran = crate::common::ran(offline.env("HF_HUB_OFFLINE", "1").output().expect("it starts"));
    fails(&ran, &["HF_HUB_OFFLINE"]);
}

#[test]
fn odd_names_arrive_as_they_are() {
    let name = "dir with space/x #1? 100%+&=ü'.gguf";
    let repo = Repo::new("a/b", &[(name, &payload()), ("mmproj F16.gguf", b"GGUF")]);
    let server = Server::new(move |asked| repo.answer(asked));
    let home = Home::new();
    home.run(&server.url, &["pull", &format!("a/b:{name}")]).ok();
    assert_eq!(home.snapshots(), [name, "mmproj F16.gguf"]);
    assert_eq!(fs::read(home.file(name)).expect("it was fetched"), payload());
    assert!(server.asked().iter().any(|asked| asked.path.ends_with(&escaped(name))));
}
