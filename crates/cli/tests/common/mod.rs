//! What the tests of the program share: running it, and models for it to run.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use carat_gguf::{Endian, Gguf, Writer};

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program with nothing of the surrounding session in its environment.
pub(crate) fn carat() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carat"));
    command.env_remove("CARAT_ISA").stdin(Stdio::null());
    // Models that were pulled to this machine are none of a test's.
    command.env("HF_HUB_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-models"));
    command
}

/// Runs `carat` with `args`, which are split at spaces; `@` stands for a space inside one.
pub(crate) fn run(args: &str) -> Ran {
    run_in(args, "")
}

/// The same with `input` on standard input.
pub(crate) fn run_in(args: &str, input: &str) -> Ran {
    let args = args.split(' ').map(|arg| arg.replace('@', " "));
    let mut command = carat();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A program that does not read its input may be gone before all of it is written.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    ran(child.wait_with_output().expect("the program ends"))
}

pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    let code = output.status.code().expect("no signal ended it");
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

impl Ran {
    /// The standard output of a run that went well.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "standard error: {}", self.err);
        self.out
    }

    /// The report of an `inspect` that ended with code 1 and one sentence that has `word`.
    pub(crate) fn cannot_run(self, word: &str) -> String {
        let Self { code, out, err } = self;
        assert_eq!(code, 1, "standard error: {err}");
        assert!(err.starts_with("carat: ") && err.trim_end().lines().count() == 1, "{err}");
        assert!(err.contains(word), "{word:?} is not in: {err}");
        out
    }

    /// Asserts that the run ended with `code` and one sentence that has all of `words`.
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        let Self { code: found, out, err } = self;
        assert_eq!((*found, out.as_str()), (code, ""), "standard error: {err}");
        assert!(err.starts_with("carat: ") && err.trim_end().lines().count() == 1, "{err}");
        assert!(!err.contains("panicked") && !err.contains("RUST_BACKTRACE"), "{err}");
        for word in words {
            assert!(err.contains(word), "{word:?} is not in: {err}");
        }
    }
}

/// A file of the small reference model that the model crate's tests have.
pub(crate) fn kit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny-s").join(name)
}

/// The small reference model, in f32.
pub(crate) fn tiny() -> String {
    text(&kit("text-f32.gguf"))
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// How often a test kills the program: some times, or as `CARAT_TEST_KILLS` says.
pub(crate) fn kills() -> u32 {
    let named = std::env::var("CARAT_TEST_KILLS").ok();
    named.map_or(16, |n| n.parse().expect("CARAT_TEST_KILLS is a number"))
}

/// A folder for the files of one test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("there is a place for temporary files"))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        text(&self.0.path().join(name))
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.0.path().join(name), content).expect("the folder can be written");
        self.path(name)
    }

    /// The names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("the folder can be read");
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The small model without the metadata key `without`, and without tensors unless `tensors`.
    pub(crate) fn tiny_without(&self, without: &str, tensors: bool) -> String {
        let bytes = fs::read(kit("text-f32.gguf")).expect("the kit is part of the repository");
        let gguf = Gguf::parse(&bytes).expect("the kit is well-formed");
        let mut writer = Writer::new(Endian::Little, 3);
        for (key, value) in gguf.metadata().iter().filter(|(key, _)| *key != without) {
            writer = writer.metadata(key, *value);
        }
        for t in gguf.tensors().iter().filter(|_| tensors) {
            writer = writer.tensor(t.name, t.tensor_type, &t.shape, t.data);
        }
        self.file("tiny.gguf", writer.to_bytes().expect("what was read can be written"))
    }
}
