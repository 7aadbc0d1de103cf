//! The cache file: written once, used only for the model that it was made of, and never in the
//! place of somebody else's file.

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use carat::{CacheError, Error, Model, OpenOptions};
use common::{bits, config, file, logits, tokens};
use proptest::prelude::*;
use tempfile::TempDir;

fn open(model: &Path, cache: Option<&Path>) -> Result<Model, Error> {
    Model::open_with(model, OpenOptions { threads: 2, cache, ..Default::default() })
}

fn stage() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("model.cache");
    (folder, cache)
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|found| found.modified()).expect("a file")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_second_start_takes_what_the_first_has_written() {
    for quant in ["f32", "q8_0", "q4_0", "bf16"] {
        let (folder, cache) = stage();
        let wanted = bits(
            &logits(&open(&file(quant), None).expect("a model"), config(), &tokens(20)).concat(),
        );
        for _ in 0..2 {
            let model = open(&file(quant), Some(&cache)).expect("a model");
            assert!(wanted == bits(&logits(&model, config(), &tokens(20)).concat()), "{quant}");
        }
        assert_eq!(names(folder.path()), ["model.cache"]);
        let written = modified(&cache);
        drop(open(&file(quant), Some(&cache)).expect("a model"));
        assert_eq!(modified(&cache), written, "{quant}: written again");
    }
}

#[test]
fn a_cache_of_another_model_is_replaced() {
    let (_folder, cache) = stage();
    for quant in ["q4_0", "q8_0", "f32", "q4_0"] {
        let wanted = bits(
            &logits(&open(&file(quant), None).expect("a model"), config(), &tokens(9)).concat(),
        );
        let model = open(&file(quant), Some(&cache)).expect("a model");
        assert!(wanted == bits(&logits(&model, config(), &tokens(9)).concat()), "{quant}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    /// A flipped bit or a missing end, wherever it is, is seen (in a model of this size).
    #[test]
    fn damage_is_seen(place in 0.0..1.0f64, bit in 0..8u32, cut in any::<bool>()) {
        let (_folder, cache) = stage();
        drop(open(&file("q4_0"), Some(&cache)).expect("a model"));
        let whole = fs::read(&cache).expect("the cache");
        let at = (whole.len() as f64 * place) as usize;
        prop_assume!(at >= 32); // the name in the beginning is the next test's
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << bit;
        damaged.truncate(if cut { at } else { whole.len() });
        fs::write(&cache, &damaged).expect("a damaged cache");
        drop(open(&file("q4_0"), Some(&cache)).expect("a model"));
        let now = fs::read(&cache).expect("the cache");
        prop_assert!(now == whole, "damage at {at} was not seen");
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let (folder, _) = stage();
    let note = folder.path().join("note.txt");
    fs::write(&note, "carat weights are fine").expect("a file");
    let copy = folder.path().join("copy.gguf");
    fs::copy(file("q4_0"), &copy).expect("a copy");
    for path in [&note, &copy] {
        let before = fs::read(path).expect("a file");
        let error = open(&file("q4_0"), Some(path)).expect_err("no cache file");
        assert!(matches!(error, Error::Cache(CacheError::NotACache { .. })), "{error}");
        assert!(fs::read(path).expect("a file") == before);
    }
    let error = open(&file("q4_0"), Some(folder.path())).expect_err("a folder");
    assert!(matches!(error, Error::Cache(CacheError::IsDirectory { .. })), "{error}");
    assert!(error.to_string().contains("model.cache"), "it says what to give: {error}");
    let nowhere = folder.path().join("missing/model.cache");
    let error = open(&file("q4_0"), Some(&nowhere)).expect_err("no folder");
    assert!(
        matches!(error, Error::Cache(CacheError::Write { .. })) && error.to_string().contains("missing"),
        "{error}"
    );
}

/// An empty file, such as `mktemp` makes, holds nothing that could be lost.
#[test]
fn an_empty_file_becomes_the_cache() {
    let (_folder, cache) = stage();
    fs::write(&cache, "").expect("a file");
    drop(open(&file("q4_0"), Some(&cache)).expect("a model"));
    assert!(fs::metadata(&cache).expect("the cache").len() > 4096);
}

#[test]
fn breaking_off_leaves_nothing_behind() {
    let (folder, cache) = stage();
    let mut calls = 0;
    let mut progress = |_, _| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options =
        OpenOptions { cache: Some(&cache), progress: Some(&mut progress), ..Default::default() };
    let error = Model::open_with(file("q4_0"), options).expect_err("broken off");
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
}
