//! A cache file that is changed while a model lives in it: passes end with an error, the session
//! stays, and nothing is computed of other bytes.
#![cfg(unix)] // elsewhere a mapped file cannot be changed

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::common::{bits, config, file, logits, push, tokens};
use carat::{CacheError, Error, Input, Model, OpenOptions, Sampler, SamplerConfig, Session};
use tempfile::TempDir;

fn stage() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("model.cache");
    (folder, cache)
}

fn open(model: &Path, cache: &Path, verify_cache: bool) -> Model {
    let options =
        OpenOptions { threads: 2, cache: Some(cache), verify_cache, ..Default::default() };
    Model::open_with(model, options).expect("a model")
}

/// Asserts that an error is that of a cache file which was changed.
fn is_changed<T>(result: Result<T, Error>, what: &str) {
    match result {
        Err(Error::Cache(error @ CacheError::Changed { .. })) => {
            let says = error.to_string();
            assert!(
                says.contains("model.cache") && says.contains("open the model again"),
                "{says}"
            );
        }
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what}: no error"),
    }
}

/// What somebody does to a file.
type Change = (&'static str, fn(&File, u64));

/// All of it gone, a part, a page, more than there was, and one byte in its middle with another.
const CHANGES: [Change; 5] = [
    ("emptied", |file, _| file.set_len(0).expect("a cut")),
    ("halved", |file, len| file.set_len(len / 2).expect("a cut")),
    ("a byte short", |file, len| file.set_len(len - 1).expect("a cut")),
    ("longer", |file, len| file.set_len(len + 4096).expect("room")),
    ("written to", |mut file, len| {
        file.seek(SeekFrom::Start(len / 2)).expect("a place");
        file.write_all(&[0x55; 3]).expect("a write");
    }),
];

#[test]
fn a_cache_that_changes_ends_passes_and_leaves_the_session() {
    for (what, change) in CHANGES {
        let (folder, cache) = stage();
        let wanted = logits(&Model::open(file("q4_0")).expect("a model"), config(), &tokens(30));
        let model = open(&file("q4_0"), &cache, false);
        let mut session = Session::new(&model, config()).expect("a session");
        push(&mut session, &tokens(20));
        thread::sleep(CLOCK);
        let opened = File::options().write(true).open(&cache).expect("the cache");
        change(&opened, fs::metadata(&cache).expect("the cache").len());
        drop(opened);
        for _ in 0..2 {
            is_changed(session.push(Input::Tokens(&tokens(30)[20..])), what);
            assert_eq!(session.tokens(), &tokens(30)[..20], "{what}");
        }
        let mut sampler = Sampler::new(SamplerConfig::default(), 512).expect("a sampler");
        let mut generated = session.generate(&mut sampler);
        let first = generated.next().expect("a token or an error");
        if first.is_ok() {
            is_changed(generated.next().expect("an error"), what); // it needed no pass
        }
        // What was evaluated before is whole, and goes on with the bits it would have had.
        session.truncate(20).expect("it holds as many");
        let saved = folder.path().join("saved");
        session.save(&saved).expect("the model's identity is known");
        drop((session, model));
        let model = open(&file("q4_0"), &cache, true);
        let mut session = Session::restore(&model, &saved, config()).expect("restored");
        assert!(bits(&push(&mut session, &tokens(30)[20..])) == bits(&wanted[29]), "{what}");
    }
}

/// Another process may put a file in its place, remove it, and note that the model was touched.
#[test]
fn what_other_processes_may_do_to_a_cache_is_no_change() {
    let (folder, cache) = stage();
    let copy = folder.path().join("copy.gguf");
    fs::copy(file("q4_0"), &copy).expect("a copy");
    let wanted = logits(&Model::open(file("q4_0")).expect("a model"), config(), &tokens(30));
    let model = open(&copy, &cache, false);
    let mut session = Session::new(&model, config()).expect("a session");
    push(&mut session, &tokens(10));
    let touched = File::options().write(true).open(&copy).expect("a file");
    touched.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
    thread::sleep(SETTLED);
    let before = fs::read(&cache).expect("the cache");
    drop(open(&copy, &cache, false));
    assert!(fs::read(&cache).expect("the cache") != before, "a new stamp is noted");
    session.push(Input::Tokens(&tokens(30)[10..20])).expect("nothing has changed for it");
    fs::write(folder.path().join("other"), "another file").expect("room");
    fs::rename(folder.path().join("other"), &cache).expect("it is replaced");
    session.push(Input::Tokens(&tokens(30)[20..25])).expect("its file is still there");
    fs::remove_file(&cache).expect("it is removed");
    assert!(bits(&push(&mut session, &tokens(30)[25..])) == bits(&wanted[29]));
}

/// More than a step of the file system's clock.
const CLOCK: Duration = Duration::from_millis(20);

/// Younger models are read whole, and their stamp is not noted.
const SETTLED: Duration = Duration::from_millis(2100);
