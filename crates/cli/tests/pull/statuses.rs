//! Servers that say no, not now, or somewhere else.

use std::time::{Duration, Instant};

use crate::server::{Act, Repo, Server, response};
use crate::setup::{Home, fails, payload};

fn repo() -> Repo {
    Repo::new("a/b", &[("x.gguf", &payload())])
}

/// A good server, but that it answers so to the first `times` requests for the file.
fn first(times: usize, method: &'static str, answer: Vec<u8>) -> Server {
    let repo = repo();
    Server::new(move |asked| {
        let is_meant = asked.method == method && asked.path.contains("/resolve/");
        match is_meant && asked.nth < times {
            true => Act::Send(answer.clone()),
            false => repo.answer(asked),
        }
    })
}

#[test]
fn a_no_is_taken_at_once_and_explained() {
    let gated = [("X-Error-Code", "GatedRepo")];
    let no_repo = [("X-Error-Code", "RepoNotFound")];
    let no_revision = [("X-Error-Code", "RevisionNotFound")];
    for (status, headers, words) in [
        ("401 Unauthorized", &no_repo[..], &["401", "HF_TOKEN"][..]),
        ("403 Forbidden", &gated[..], &["403", "agree to its terms", "/a/b"]),
        ("401 Unauthorized", &gated[..], &["401", "agree to its terms"]),
        ("404 Not Found", &no_repo[..], &["404", "check the name"]),
        ("404 Not Found", &no_revision[..], &["404", "--revision"]),
        ("410 Gone", &[][..], &["answered 410"]),
    ] {
        for method in ["HEAD", "GET"] {
            // The Hub says so before any bytes; a host of bytes may do so later.
            if method == "GET" && status.starts_with("404") {
                continue;
            }
            let answer = response(status, headers, b"");
            let (home, server) = (Home::new(), first(9, method, answer));
            let ran = home.pull(&server);
            let number = &status[..3];
            fails(&ran, if method == "HEAD" { words } else { std::slice::from_ref(&number) });
            let is_meant = |asked: &&crate::server::Asked| {
                asked.method == method && asked.path.contains("/resolve/")
            };
            assert_eq!(server.asked().iter().filter(is_meant).count(), 1, "{status}");
            home.keeps(&payload(), 0);
        }
    }
}

#[test]
fn trouble_passes_or_is_given_up() {
    for status in ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"] {
        for method in ["HEAD", "GET"] {
            let (home, server) = (Home::new(), first(2, method, response(status, &[], b"oh")));
            home.pull(&server).ok();
            home.has("x.gguf", &payload());
        }
    }
    let (home, server) = (Home::new(), first(9, "GET", response("500 Oh", &[], b"")));
    fails(&home.pull(&server), &["x.gguf", "in trouble (500)", "try again later"]);
    assert_eq!(server.ranges().len(), 3);
    home.keeps(&payload(), 0);
}

#[test]
fn a_server_may_ask_for_patience() {
    let answer = response("429 Too Many Requests", &[("Retry-After", "2")], b"");
    let (home, server, begun) = (Home::new(), first(1, "GET", answer), Instant::now());
    home.pull(&server).ok();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    home.has("x.gguf", &payload());
    let answer = response("503 Wait", &[("Retry-After", "86400")], b"");
    let (home, server, begun) = (Home::new(), first(9, "HEAD", answer), Instant::now());
    fails(&home.pull(&server), &["503"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_range_that_cannot_be_begins_anew() {
    let repo = repo();
    let server = Server::new(move |asked| match asked.headers.contains_key("range") {
        true => Act::Send(response("416 Range Not Satisfiable", &[], b"")),
        false => match repo.answer(asked) {
            Act::Send(bytes) if asked.method == "GET" && asked.nth == 0 => {
                Act::Send(bytes[..bytes.len() - 1000].to_vec())
            }
            act => act,
        },
    });
    let home = Home::new();
    home.run(&server.url, &["pull", "a/b:x.gguf", "--retries", "3"]).ok();
    home.has("x.gguf", &payload());
    assert_eq!(server.ranges(), ["-", "bytes=299000-", "-"]);
    let server = first(9, "GET", response("416 Range Not Satisfiable", &[], b""));
    fails(&Home::new().pull(&server), &["416"]);
}

#[test]
fn bytes_come_from_another_host_without_the_token() {
    let bytes = repo();
    let far = Server::new(move |asked| match asked.path.strip_prefix("/far") {
        Some(path) => {
            let near = crate::server::Asked { path: path.to_owned(), ..asked.clone() };
            bytes.answer(&near)
        }
        None => Act::Send(response("404 Not Found", &[], b"")),
    });
    let (place, near_repo) = (far.url.clone(), repo());
    let near = Server::new(move |asked| match near_repo.bytes(&asked.path) {
        Some(found) => {
            let location = format!("{place}/far{}", asked.path);
            let hash = format!("\"{}\"", crate::server::sha256(found));
            let size = found.len().to_string();
            let headers = [
                ("Location", location.as_str()),
                ("X-Repo-Commit", near_repo.commit.as_str()),
                ("X-Linked-Etag", hash.as_str()),
                ("X-Linked-Size", size.as_str()),
            ];
            Act::Send(response("302 Found", &headers, b""))
        }
        None => near_repo.answer(asked),
    });
    let home = Home::new();
    let mut command = home.carat(&near.url, &["pull", "a/b:x.gguf"]);
    let ran = crate::common::ran(command.env("HF_TOKEN", "hf_secret").output().expect("it starts"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.err.contains("hf_secret"));
    home.has("x.gguf", &payload());
    let token = |server: &Server| {
        let asked = server.asked();
        asked.iter().map(|asked| asked.headers.get("authorization").cloned()).collect::<Vec<_>>()
    };
    assert!(token(&near).iter().all(|token| token.as_deref() == Some("Bearer hf_secret")));
    assert!(!far.asked().is_empty() && token(&far).iter().all(Option::is_none));
    assert!(far.asked().iter().all(|asked| asked.method == "GET"), "HEAD ends at the Hub");
}

#[test]
fn redirects_end() {
    let server = Server::new(|asked| {
        let location = format!("{}?{}", asked.path.split('?').next().unwrap_or("/"), asked.nth);
        Act::Send(response("302 Found", &[("Location", location.as_str())], b""))
    });
    fails(&Home::new().pull(&server), &["without end"]);
    assert!(server.asked().len() < 60, "{}", server.asked().len());
    for location in ["file:///etc/passwd", "http://", "ht tp://x"] {
        let answer = response("302 Found", &[("Location", location)], b"");
        fails(&Home::new().pull(&first(9, "HEAD", answer)), &["no address"]);
    }
}

#[test]
fn a_token_comes_from_the_places_of_the_python_library() {
    let repo = repo();
    let server = Server::new(move |asked| repo.answer(asked));
    let told = |set: &dyn Fn(&mut std::process::Command, &Home)| {
        let home = Home::new();
        let mut command = home.carat(&server.url, &["pull", "a/b:x.gguf"]);
        set(&mut command, &home);
        let ran = crate::common::ran(command.output().expect("it starts"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        let asked = server.asked();
        asked.last().expect("it was asked").headers.get("authorization").cloned()
    };
    let file = |home: &Home, name: &str, token: &str| {
        std::fs::create_dir_all(home.path().join("hf")).expect("room");
        std::fs::write(home.path().join(name), token).expect("room");
    };
    assert_eq!(told(&|_, _| {}), None);
    let old = told(&|command, _| {
        command.env("HUGGING_FACE_HUB_TOKEN", " old\n");
    });
    assert_eq!(old.as_deref(), Some("Bearer old"));
    let home_file = told(&|_, home| file(home, "hf/token", "filed\n"));
    assert_eq!(home_file.as_deref(), Some("Bearer filed"));
    let named = told(&|command, home| {
        file(home, "hf/token", "filed");
        file(home, "mine", "named");
        command.env("HF_TOKEN_PATH", home.path().join("mine"));
    });
    assert_eq!(named.as_deref(), Some("Bearer named"));
    let first = told(&|command, home| {
        file(home, "hf/token", "filed");
        command.env("HF_TOKEN", "first").env("HUGGING_FACE_HUB_TOKEN", "old");
    });
    assert_eq!(first.as_deref(), Some("Bearer first"));
    let home = Home::new();
    let mut bad = home.carat(&server.url, &["pull", "a/b:x.gguf"]);
    let ran = crate::common::ran(bad.env("HF_TOKEN", "a\nb").output().expect("it starts"));
    fails(&ran, &["HF_TOKEN"]);
}

#[test]
fn a_proxy_is_asked_and_exceptions_are_not() {
    let repo = repo();
    let server = Server::new(move |asked| repo.answer(asked));
    let proxy = Server::new(|_| Act::Send(response("403 Forbidden", &[], b"")));
    let run = |keys: &[(&str, &str)]| {
        let home = Home::new();
        let mut command = home.carat(&server.url, &["pull", "a/b:x.gguf", "--retries", "0"]);
        keys.iter().for_each(|(key, value)| {
            command.env(key, value);
        });
        crate::common::ran(command.output().expect("it starts"))
    };
    for key in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let before = proxy.asked().len();
        assert_eq!(run(&[(key, &proxy.url)]).code, 1, "{key}");
        let asked = proxy.asked();
        assert!(asked[before..].iter().all(|asked| asked.method == "CONNECT"), "{asked:?}");
        assert!(asked.len() > before, "{key} is not used");
    }
    let before = proxy.asked().len();
    assert_eq!(run(&[("HTTPS_PROXY", &proxy.url)]).code, 0, "it is for other addresses");
    assert_eq!(run(&[("HTTP_PROXY", &proxy.url), ("NO_PROXY", "127.0.0.1")]).code, 0);
    assert_eq!(proxy.asked().len(), before);
    fails(&run(&[("HTTP_PROXY", "::no::")]), &["HTTP_PROXY"]);
}
