//! The cache as the Python library `huggingface_hub` reads and writes it.

use std::path::Path;
use std::process::Command;

use crate::server::{Repo, Server, sha256};
use crate::setup::{Home, payload};

/// Runs a script with the library in the environment of `home`.
fn python(home: &Home, url: &str, script: &str) -> String {
    let python = std::env::var("CARAT_HF_PYTHON").expect("CARAT_HF_PYTHON names an interpreter");
    let like = home.carat(url, &[]);
    let mut command = Command::new(python);
    command.env_clear().envs(like.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = command.args(["-c", script]).output().expect("the interpreter starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim_end().to_owned()
}

#[test]
#[ignore = "needs CARAT_HF_PYTHON, an interpreter with huggingface_hub"]
fn each_finds_what_the_other_fetched() {
    let files: [(&str, &[u8]); 2] = [("x.gguf", &payload()), ("sub/y z.gguf", b"small")];
    let repo = Repo::new("a/b", &files);
    let server = Server::new(move |asked| repo.answer(asked));
    let gets = || server.ranges().len();
    let download = |file: &str| {
        format!("import huggingface_hub as h; print(h.hf_hub_download('a/b', '{file}'))")
    };
    let home = Home::new();
    for file in ["x.gguf", "sub/y z.gguf"] {
        let ours = home.run(&server.url, &["pull", &format!("a/b:{file}")]).ok();
        let before = gets();
        let theirs = python(&home, &server.url, &download(file));
        assert_eq!((theirs.as_str(), gets()), (ours.trim_end(), before));
    }
    let scan = "import huggingface_hub as h; c = h.scan_cache_dir(); assert not c.warnings, \
                c.warnings; r, = c.repos; v, = r.revisions; print(r.repo_id, r.repo_type, \
                v.commit_hash, ','.join(v.refs), sorted((f.file_name, f.size_on_disk, \
                f.blob_path.name) for f in v.files))";
    let ours = python(&home, &server.url, scan);

    let other = Home::new();
    for file in ["x.gguf", "sub/y z.gguf"] {
        let theirs = python(&other, &server.url, &download(file));
        let before = gets();
        let ours = other.run(&server.url, &["pull", &format!("a/b:{file}"), "-q"]).ok();
        assert_eq!((ours.trim_end(), gets()), (theirs.as_str(), before));
        assert!(Path::new(&theirs).exists());
    }
    assert_eq!(python(&other, &server.url, scan), ours);
    assert!(ours.contains(&sha256(&payload())), "{ours}");
    assert_eq!(home.snapshots(), other.snapshots());
    assert_eq!(home.blobs(), other.blobs());
}
