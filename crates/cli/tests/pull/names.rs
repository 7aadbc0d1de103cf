//! Names of models: what they fetch, what they mean afterwards, and how they are removed.

use std::fs;

use serde_json::Value;

use crate::common::{Folder, Ran, kit, tiny};
use crate::server::{Act, Asked, COMMIT, Repo, Server, response};
use crate::setup::{Home, fails};

/// A Hub with several repositories.
fn hub(repos: Vec<Repo>) -> Server {
    Server::new(move |asked| {
        let is_meant = |repo: &&Repo| {
            let at = |start: &str| asked.path.starts_with(&format!("{start}/{}/", repo.name));
            at("") || at("/api/models")
        };
        match repos.iter().find(is_meant) {
            Some(repo) => repo.answer(asked),
            None => {
                let headers = [("X-Error-Code", "RepoNotFound")];
                Act::Send(response("404 Not Found", &headers, b""))
            }
        }
    })
}

fn model() -> Vec<u8> {
    fs::read(tiny()).expect("the kit is part of the repository")
}

fn projector() -> Vec<u8> {
    fs::read(kit("mmproj-f32.gguf")).expect("the kit is part of the repository")
}

fn gemma_12b() -> Repo {
    let (model, projector) = (model(), projector());
    Repo::new(
        "google/gemma-4-12B-it-qat-q4_0-gguf",
        &[
            ("README.md", b"hello"),
            ("gemma-4-12b-it-qat-q4_0.gguf", &model),
            ("mmproj-gemma-4-12b-it-qat-q4_0.gguf", &projector),
        ],
    )
}

fn fetched(server: &Server) -> Vec<String> {
    let gets = server
        .asked()
        .into_iter()
        .filter(|a: &Asked| a.method == "GET" && a.path.contains("/resolve/"));
    let name = |asked: Asked| asked.path.rsplit('/').next().unwrap_or_default().to_owned();
    gets.map(name).collect()
}

const NOWHERE: &str = "http://127.0.0.1:9";

/// An answer of a few tokens, without a word of the network.
fn answer(home: &Home, args: &[&str]) -> Ran {
    let rest = ["--greedy", "-n", "2", "--raw", "-t", "1", "hi"];
    home.run(NOWHERE, &[&["run"], args, &rest].concat())
}

#[test]
fn a_name_is_pulled_used_listed_and_removed() {
    let drafter =
        Repo::new("unsloth/gemma-4-12B-it-qat-GGUF", &[("mtp-gemma-4-12B-it.gguf", &model())]);
    let (home, server) = (Home::new(), hub(vec![gemma_12b(), drafter]));
    fails(&answer(&home, &["-m", "12b"]), &["12b was not pulled", "`carat pull 12b`", "6.66 GiB"]);
    match cfg!(feature = "demo") {
        true => assert!(answer(&home, &[]).err.contains("using the built-in toy model")),
        false => answer(&home, &[]).fails(2, &["none was pulled", "carat pull 12b"]),
    }

    let ran = home.run(&server.url, &["pull", "12b"]);
    assert!(ran.err.contains("carat chat 12b") && ran.err.contains("12b-draft"), "{}", ran.err);
    let path = ran.ok();
    let files = ["gemma-4-12b-it-qat-q4_0.gguf", "mmproj-gemma-4-12b-it-qat-q4_0.gguf"];
    assert_eq!(fetched(&server), files);
    let by_path = answer(&home, &["-m", path.trim_end()]).ok();
    assert_eq!(answer(&home, &["-m", "12b"]).ok(), by_path);
    let repo = "google/gemma-4-12B-it-qat-q4_0-gguf";
    assert_eq!(answer(&home, &["-m", repo]).ok(), by_path);
    assert_eq!(answer(&home, &["-m", &format!("{repo}:{}", files[0])]).ok(), by_path);
    let usual = answer(&home, &[]);
    assert!(usual.err.contains("the model is 12b, the only one"), "{}", usual.err);
    assert_eq!(usual.ok(), by_path);
    let picture = kit("image.png").display().to_string();
    let seen = answer(&home, &["-m", "12b", "--image", &picture]);
    assert_eq!(seen.code, 0, "its projector is found: {}", seen.err);

    home.run(&server.url, &["pull", "12b", "--draft", "-q"]).ok();
    assert_eq!(fetched(&server)[2..], ["mtp-gemma-4-12B-it.gguf"]);
    let list: Value =
        serde_json::from_str(&home.run(NOWHERE, &["list", "--json"]).ok()).expect("it is JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let only = &list[0];
    assert_eq!(
        (&only["name"], &only["repo"], &only["file"]),
        (&"12b".into(), &repo.into(), &files[0].into())
    );
    assert_eq!(only["path"].as_str(), Some(path.trim_end()));
    assert_eq!((&only["runs"], &only["bytes"]), (&true.into(), &model().len().into()));
    assert!(only["projector"].as_str().is_some_and(|path| path.ends_with(files[1])));
    assert!(only["drafter"].as_str().is_some_and(|path| path.ends_with("mtp-gemma-4-12B-it.gguf")));
    let table = home.run(NOWHERE, &["list"]).ok();
    assert!(table.lines().nth(1).is_some_and(|line| line.starts_with("12b ")), "{table}");

    home.run(NOWHERE, &["remove", "12b"]).fails(2, &["--yes"]);
    home.run(NOWHERE, &["remove", "12b", "--yes"]).ok();
    assert!(!home.hub().join("models--google--gemma-4-12B-it-qat-q4_0-gguf").exists());
    fails(&home.run(NOWHERE, &["remove", "12b", "--yes"]), &["not pulled"]);
    home.run(NOWHERE, &["remove", "12b-draft", "--yes"]).ok();
    assert_eq!(home.run(NOWHERE, &["list"]).ok(), "");
}

#[test]
fn nothing_but_pull_asks_anybody() {
    let (home, server) = (Home::new(), hub(vec![gemma_12b()]));
    for args in [
        &["run", "-m", "12b", "hi"][..],
        &["run", "hi"],
        &["chat", "12b"],
        &["chat"],
        &["inspect", "12b"],
        &["bench", "-m", "12b"],
        &["eval", "tokenize", "-m", "12b", "--text", "hi"],
        &["list"],
        &["remove", "12b", "--yes"],
    ] {
        home.run(&server.url, args);
    }
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn every_command_takes_a_name_and_a_path_wins() {
    let (home, server) = (Home::new(), hub(vec![gemma_12b()]));
    home.run(&server.url, &["pull", "12b", "--quiet"]).ok();
    let by_name = home.run(NOWHERE, &["eval", "tokenize", "-m", "12b", "--text", "hi"]).ok();
    let path = tiny();
    let by_path = home.run(NOWHERE, &["eval", "tokenize", "-m", &path, "--text", "hi"]).ok();
    assert_eq!(by_name, by_path);
    assert!(home.run(NOWHERE, &["inspect", "12b"]).out.contains("gemma4"));
    let chat = home.run(NOWHERE, &["chat", "12b", "-n", "1", "-t", "1"]);
    assert!(!chat.err.contains("pulled"), "{}", chat.err);
    home.run(NOWHERE, &["chat", "12b", "-m", "12b"]).fails(2, &["cannot be used with"]);
    // A file of that name in the folder is what is meant.
    fs::write(home.path().join("12b"), "no model").expect("room");
    fails(&home.run(NOWHERE, &["eval", "tokenize", "-m", "12b", "--text", "hi"]), &["12b"]);
    for (name, words) in [
        ("13b", &["no file 13b", "12b-q8"][..]),
        ("nowhere.gguf", &["nowhere.gguf"]),
        ("dir/nowhere.gguf", &["dir/nowhere.gguf"]),
        ("a/b", &["a/b is no file here", "carat pull a/b"]),
        ("a/b:c.gguf", &["carat pull a/b:c.gguf"]),
    ] {
        fails(&home.run(NOWHERE, &["run", "-m", name, "hi"]), words);
    }
}

#[test]
fn of_a_repository_the_best_file_is_taken_with_all_that_belongs_to_it() {
    let repo = Repo::new(
        "a/b",
        &[
            ("imatrix.gguf", b"i"),
            ("mmproj-F32.gguf", b"p32"),
            ("mmproj-BF16.gguf", b"pbf"),
            ("MTP/x-MTP-Q8_0.gguf", b"far"),
            ("mtp-x.gguf", b"near"),
            ("x-Q8_0.gguf", b"q8"),
            ("big/x-Q4_K_M-00001-of-00002.gguf", b"one"),
            ("big/x-Q4_K_M-00002-of-00002.gguf", b"two"),
        ],
    );
    let server = hub(vec![repo]);
    let home = Home::new();
    home.run(&server.url, &["pull", "a/b"]).ok();
    let parts = ["big/x-Q4_K_M-00001-of-00002.gguf", "big/x-Q4_K_M-00002-of-00002.gguf"];
    assert_eq!(home.snapshots(), [parts[0], parts[1], "mmproj-BF16.gguf"]);
    let home = Home::new();
    home.run(&server.url, &["pull", "a/b:q8_0", "--draft"]).ok();
    assert_eq!(home.snapshots(), ["mmproj-BF16.gguf", "mtp-x.gguf", "x-Q8_0.gguf"]);
    fails(&home.run(&server.url, &["pull", "a/b:Q2_K"]), &["no model Q2_K", "x-Q8_0.gguf"]);
    let heads = server.asked().into_iter().filter(|asked| asked.method == "HEAD");
    let revisions: Vec<_> =
        heads.filter_map(|asked| Some(asked.path.split('/').nth(4)?.to_owned())).collect();
    // All files of a pull are of one commit.
    assert_eq!(revisions, ["main", COMMIT, COMMIT, "main", COMMIT, COMMIT]);
}

#[test]
fn a_name_that_has_changed_is_told_with_those_that_are_there() {
    let renamed = Repo::new(
        "google/gemma-4-12B-it-qat-q4_0-gguf",
        &[("gemma-4-12b-new.gguf", b"x"), ("mmproj-new.gguf", b"y")],
    );
    let server = hub(vec![renamed]);
    let home = Home::new();
    let ran = home.run(&server.url, &["pull", "12b"]);
    let type_it = "`carat pull google/gemma-4-12B-it-qat-q4_0-gguf:gemma-4-12b-new.gguf`";
    fails(&ran, &["has no file gemma-4-12b-it-qat-q4_0.gguf", "mmproj-new.gguf", type_it]);
    fails(&home.run(&server.url, &["pull", "no/body"]), &["no/body"]);
    assert!(!home.hub().exists());
    home.run(&server.url, &["pull", "13b"]).fails(2, &["12b, 12b-q8, 26b, 31b, e4b, e2b"]);
}

#[test]
fn several_models_are_not_guessed_between() {
    let repo = Repo::new(
        "a/b",
        &[("x-Q8_0.gguf", &model()), ("x-Q4_0.gguf", &[model(), vec![0]].concat())],
    );
    let server = hub(vec![repo]);
    let home = Home::new();
    for file in ["x-Q8_0.gguf", "x-Q4_0.gguf"] {
        home.run(&server.url, &["pull", &format!("a/b:{file}")]).ok();
    }
    answer(&home, &[]).fails(2, &["2 models were pulled", "a/b:x-Q4_0.gguf"]);
    fails(&answer(&home, &["-m", "a/b"]), &["2 files of a/b", "a/b:x-"]);
    assert_eq!(answer(&home, &["-m", "a/b:q8_0"]).code, 0);
    home.run(NOWHERE, &["remove", "a/b:x-Q8_0.gguf", "--yes"]).ok();
    assert_eq!((home.snapshots(), home.blobs().len()), (vec!["x-Q4_0.gguf".to_owned()], 1));
    home.run(NOWHERE, &["remove", "a/b", "--yes"]).ok();
    assert!(!home.hub().join("models--a--b").exists());
}

#[test]
fn what_cannot_be_run_is_listed_as_such_and_never_chosen() {
    let folder = Folder::new();
    let odd = fs::read(folder.tiny_without("gemma4.attention.head_count", true)).expect("a file");
    let repo = Repo::new(
        "a/b",
        &[
            ("good.gguf", &model()),
            ("odd.gguf", &odd),
            ("noise.gguf", b"GGUF and nothing more"),
            ("mtp-x.gguf", &model()),
        ],
    );
    let server = hub(vec![repo]);
    let home = Home::new();
    for file in ["good.gguf", "odd.gguf", "noise.gguf", "mtp-x.gguf"] {
        home.run(&server.url, &["pull", &format!("a/b:{file}")]).ok();
    }
    let usual = answer(&home, &[]);
    assert!(usual.err.contains("the model is a/b:good.gguf, the only one"), "{}", usual.err);
    assert_eq!(usual.code, 0);
    let list: Value =
        serde_json::from_str(&home.run(NOWHERE, &["list", "--json"]).ok()).expect("it is JSON");
    let runs = |n: usize| (list[n]["file"].as_str(), list[n]["runs"].as_bool());
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    assert_eq!(runs(0), (Some("good.gguf"), Some(true)));
    assert_eq!(runs(1), (Some("odd.gguf"), Some(false)));
    let table = home.run(NOWHERE, &["list"]).ok();
    assert!(table.contains("cannot run: ") && table.contains("head_count"), "{table}");
}

#[test]
fn the_cache_is_where_the_python_library_has_it() {
    let (home, server) = (Home::new(), hub(vec![gemma_12b()]));
    let pull = |keys: &[(&str, &str)]| {
        let mut command = home.carat(&server.url, &["pull", "12b", "-q"]);
        command.env_remove("HF_HOME");
        keys.iter().for_each(|(key, value)| {
            command.env(key, home.path().join(value));
        });
        let path = crate::common::ran(command.output().expect("it starts")).ok();
        let path = path.trim_end().strip_prefix(&home.path().display().to_string());
        path.and_then(|path| path.split("/models--").next()).expect("in the home").to_owned()
    };
    assert_eq!(pull(&[]), "/.cache/huggingface/hub");
    assert_eq!(pull(&[("XDG_CACHE_HOME", "x")]), "/x/huggingface/hub");
    assert_eq!(pull(&[("XDG_CACHE_HOME", "x"), ("HF_HOME", "h")]), "/h/hub");
    let all = [("HF_HOME", "h"), ("HUGGINGFACE_HUB_CACHE", "old")];
    assert_eq!(pull(&all), "/old");
    assert_eq!(pull(&[all[0], all[1], ("HF_HUB_CACHE", "new")]), "/new");
}
