//! A cache of its own for each test, and the program in an environment that has nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Ran, carat, ran};
use crate::server::{COMMIT, Server, noise, sha256};

/// A home with a cache in it.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    /// Seconds after which nothing more is expected.
    timeout: &'static str,
}

impl Home {
    /// With timeouts that a busy machine does not reach.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        Self { folder, timeout: "20" }
    }

    /// With timeouts of a second, for servers that wait.
    pub(crate) fn hasty() -> Self {
        Self { timeout: "1", ..Self::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The cache.
    pub(crate) fn hub(&self) -> PathBuf {
        self.path().join("hf/hub")
    }

    /// The program with this home and a server.
    pub(crate) fn carat(&self, url: &str, args: &[&str]) -> Command {
        let mut command = carat();
        command.env_clear().args(args).current_dir(self.path());
        command.env("HOME", self.path()).env("HF_HOME", self.path().join("hf"));
        command.env("HF_ENDPOINT", url);
        command.env("HF_HUB_ETAG_TIMEOUT", self.timeout);
        command.env("HF_HUB_DOWNLOAD_TIMEOUT", self.timeout);
        command
    }

    pub(crate) fn run(&self, url: &str, args: &[&str]) -> Ran {
        ran(self.carat(url, args).output().expect("the program starts"))
    }

    /// `carat pull` of the file that most tests have.
    pub(crate) fn pull(&self, server: &Server) -> Ran {
        self.run(&server.url, &["pull", "a/b:x.gguf", "--retries", "2"])
    }

    /// Files and links of all snapshots, without the commit, sorted.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        let mut found = Vec::new();
        let root = self.hub().join("models--a--b/snapshots");
        for commit in root.read_dir().into_iter().flatten().flatten() {
            walk(&commit.path(), "", &mut found);
        }
        found.sort();
        found
    }

    /// Names and sizes of the blobs of `a/b`, sorted.
    pub(crate) fn blobs(&self) -> Vec<(String, u64)> {
        let folder = self.hub().join("models--a--b/blobs");
        let entries = folder.read_dir().into_iter().flatten().flatten();
        let mut blobs: Vec<_> = entries
            .map(|entry| {
                let size = entry.metadata().expect("it is there").len();
                (entry.file_name().into_string().expect("UTF-8"), size)
            })
            .collect();
        blobs.sort();
        blobs
    }

    /// Where a file of `a/b` lies.
    pub(crate) fn file(&self, file: &str) -> PathBuf {
        self.hub().join("models--a--b/snapshots").join(COMMIT).join(file)
    }

    /// Asserts that the file is whole and nothing else is there.
    pub(crate) fn has(&self, file: &str, bytes: &[u8]) {
        assert_eq!(fs::read(self.file(file)).expect("it was fetched"), bytes);
        assert_eq!(self.blobs(), [(sha256(bytes), bytes.len() as u64)]);
        assert_eq!(self.snapshots(), [file]);
        let main = fs::read_to_string(self.hub().join("models--a--b/refs/main"));
        assert_eq!(main.expect("it was noted"), COMMIT);
    }

    /// Asserts that no snapshot has anything, and that so many bytes are kept for the next time.
    pub(crate) fn keeps(&self, bytes: &[u8], kept: u64) {
        assert_eq!(self.snapshots(), [""; 0]);
        let part = (format!("{}.incomplete", sha256(bytes)), kept);
        let blobs = self.blobs();
        if kept == 0 {
            assert!(blobs.iter().all(|(_, size)| *size == 0), "{blobs:?}");
            assert!(blobs.iter().all(|(name, _)| name.ends_with(".incomplete")), "{blobs:?}");
        } else {
            assert_eq!(blobs, [part]);
        }
        let refs = self.hub().join("models--a--b/refs");
        assert!(!refs.exists(), "a branch is noted whose file is not there");
    }
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in folder.read_dir().expect("a folder").flatten() {
        let name = format!("{prefix}{}", entry.file_name().into_string().expect("UTF-8"));
        match entry.file_type().expect("it is there").is_dir() {
            true => walk(&entry.path(), &format!("{name}/"), found),
            false => found.push(name),
        }
    }
}

/// Asserts that a run ended with code 1, one last sentence with all of `words`, and no path.
pub(crate) fn fails(ran: &Ran, words: &[&str]) {
    let last = ran.err.trim_end().lines().last().unwrap_or_default();
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(last.starts_with("carat: ") && last.contains("(see `carat "), "{}", ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    for word in words {
        assert!(last.contains(word), "{word:?} is not in: {last}");
    }
}

/// The bytes of `x.gguf`.
pub(crate) fn payload() -> Vec<u8> {
    noise(300_000, 1)
}
