//! The cache file: written once, used only for the model that it was made of, and never in the
//! place of somebody else's file.

use std::fs::{self, File, FileTimes};
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::common::{self, bits, config, file, logits, tokens};
use carat::{CacheError, Error, Identity, IdentityError, Model, OpenOptions};
use carat_gguf::{Gguf, Source};
use proptest::prelude::*;
use tempfile::TempDir;

fn open(model: &Path, cache: Option<&Path>) -> Result<Model, Error> {
    Model::open_with(model, OpenOptions { threads: 2, cache, ..Default::default() })
}

/// Opens a model with its cache file; says as well whether much of the model was read for that.
fn open_heard(model: &Path, cache: &Path, verify_cache: bool) -> (Model, bool) {
    let mut heard = false;
    let mut progress = |_, _| {
        heard = true;
        ControlFlow::Continue(())
    };
    let (cache, progress) = (Some(cache), Some(&mut progress as _));
    let options = OpenOptions { threads: 2, cache, verify_cache, progress, ..Default::default() };
    (Model::open_with(model, options).expect("a model"), heard)
}

fn of(model: &Model) -> Identity {
    model.identity().expect("a file that is as it was")
}

fn says(model: &Model) -> Vec<u32> {
    bits(&logits(model, config(), &tokens(9)).concat())
}

/// A copy of a model that was not changed a moment ago.
fn settled_copy(folder: &TempDir, quant: &str) -> PathBuf {
    let copy = folder.path().join("copy.gguf");
    fs::copy(file(quant), &copy).expect("a copy");
    thread::sleep(SETTLED);
    copy
}

/// The file system's clock may stand still for two seconds; younger models are read whole.
const SETTLED: Duration = Duration::from_millis(2100);

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
        matches!(error, Error::Cache(CacheError::Write { .. }))
            && error.to_string().contains("missing"),
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

/// One byte of each tensor, with length and modification time as they were: of vectors, too, which
/// are not in the image that the cache file holds.
#[test]
fn a_model_that_changed_under_its_time_stamp_is_another_one() {
    let (folder, cache) = stage();
    let copy = settled_copy(&folder, "q4_0");
    let bytes = fs::read(&copy).expect("a file");
    let gguf = Gguf::parse(&bytes).expect("a model");
    let (before, _) = open_heard(&copy, &cache, false);
    assert!(!open_heard(&copy, &cache, false).1, "nothing changed and all was read");
    let mut identities = vec![of(&before)];
    for tensor in gguf.tensors().iter().step_by(7) {
        let mut file = File::options().write(true).open(&copy).expect("a file");
        let time = modified(&copy);
        // The lowest bit of a block's or a float's second byte: still a number.
        let at = tensor.at + 1;
        file.seek(SeekFrom::Start(at)).expect("a place");
        file.write_all(&[bytes[at as usize] ^ 1]).expect("a write");
        file.set_times(FileTimes::new().set_modified(time)).expect("a time");
        drop(file);
        assert_eq!(
            (modified(&copy), fs::metadata(&copy).unwrap().len()),
            (time, bytes.len() as u64)
        );
        let (with_cache, _) = open_heard(&copy, &cache, false);
        let without = open(&copy, None).expect("a model");
        assert_eq!(of(&with_cache), of(&without), "{}", tensor.name);
        assert!(!identities.contains(&of(&without)), "{}", tensor.name);
        assert!(says(&with_cache) == says(&without), "{}", tensor.name);
        identities.push(of(&without));
    }
}

#[test]
fn a_model_that_was_only_touched_keeps_its_cache() {
    let (folder, cache) = stage();
    let copy = settled_copy(&folder, "q8_0");
    let (first, _) = open_heard(&copy, &cache, false);
    let image = fs::read(&cache).expect("the cache");
    let touched = File::options().write(true).open(&copy).expect("a file");
    touched.set_modified(SystemTime::now()).expect("a time");
    thread::sleep(SETTLED);
    let (second, heard) = open_heard(&copy, &cache, false);
    assert!(heard && of(&second) == of(&first), "it is read whole and found the same");
    assert!(fs::read(&cache).expect("the cache")[4096..] == image[4096..]);
    assert!(!open_heard(&copy, &cache, false).1, "once is enough");
    let written = modified(&cache);
    assert!(open_heard(&copy, &cache, true).1, "whoever asks has all compared");
    assert_eq!(modified(&cache), written, "it was sound");
}

/// The value is what Python's `blake3` package makes of the definition.
#[test]
fn an_identity_is_a_hash_of_all_that_the_file_says() {
    let model = open(&file("q4_0"), None).expect("a model");
    assert_eq!(of(&model).to_string(), IDENTITY_Q4_0);
    let (_folder, cache) = stage();
    for _ in 0..2 {
        let cached = open(&file("q4_0"), Some(&cache)).expect("a model");
        assert_eq!(of(&cached), of(&model));
    }
    assert_ne!(of(&open(&file("q8_0"), None).expect("a model")), of(&model));
    assert!(matches!(model.projector_identity(), Ok(None)));
    let seeing = common::seeing_model("q4_0");
    assert_eq!(of(&seeing), of(&model));
    assert!(seeing.projector_identity().expect("it").is_some_and(|it| it != of(&model)));
}

const IDENTITY_Q4_0: &str = "73eb648eba5280842e7f7a39b26766d8e6a3f46a8ee8097084d4fcc76bacb527";

/// Without a cache file the model's file is asked, which may be another one by then.
#[test]
fn an_identity_is_not_taken_of_a_file_that_changed() {
    let (folder, _) = stage();
    let copy = folder.path().join("copy.gguf");
    fs::copy(file("q4_0"), &copy).expect("a copy");
    let model = open(&copy, None).expect("a model");
    thread::sleep(Duration::from_millis(20)); // more than a step of the file system's clock
    fs::copy(file("q8_0"), &copy).expect("a copy");
    let error = model.identity().expect_err("another file");
    assert!(matches!(error, Error::Identity(IdentityError::Changed { .. })), "{error}");
}

#[test]
fn a_model_keeps_its_weights_when_its_cache_is_replaced() {
    let (folder, cache) = stage();
    let models: Vec<_> = ["q4_0", "q8_0", "bf16"]
        .iter()
        .map(|quant| (quant, open(&file(quant), Some(&cache)).expect("a model")))
        .collect();
    for (quant, model) in &models {
        assert!(says(model) == says(&open(&file(quant), None).expect("a model")), "{quant}");
    }
    assert_eq!(names(folder.path()), ["model.cache"]);
}

#[test]
fn threads_with_two_models_share_one_place() {
    let (folder, cache) = stage();
    thread::scope(|scope| {
        for quant in ["q4_0", "q8_0"] {
            let cache = &cache;
            scope.spawn(move || {
                let wanted = says(&open(&file(quant), None).expect("a model"));
                for _ in 0..8 {
                    let model = open(&file(quant), Some(cache)).expect("a model");
                    assert!(says(&model) == wanted, "{quant}");
                }
            });
        }
    });
    assert_eq!(names(folder.path()), ["model.cache"]);
}

#[test]
fn orphans_go_with_the_next_start() {
    let (folder, cache) = stage();
    let orphan = folder.path().join("model.cache.7-0.carat.part");
    for _ in 0..2 {
        fs::write(&orphan, "half of an image").expect("a file");
        drop(open(&file("q4_0"), Some(&cache)).expect("a model"));
        assert_eq!(names(folder.path()), ["model.cache"]);
    }
}

/// Whatever the progress hears of has been read; what is cut off then is missing.
#[test]
fn a_model_cut_short_while_it_is_read_is_an_error() {
    let (folder, cache) = stage();
    let copy = folder.path().join("copy.gguf");
    for cache in [None, Some(&*cache)] {
        fs::copy(file("q4_0"), &copy).expect("a copy");
        let mut progress = |_, _| {
            let file = File::options().write(true).open(&copy).expect("a file");
            file.set_len(1000).expect("a cut");
            ControlFlow::Continue(())
        };
        let options = OpenOptions { cache, progress: Some(&mut progress), ..Default::default() };
        let error = Model::open_with(&copy, options).expect_err("a cut file");
        assert!(matches!(error, Error::Gguf(carat_gguf::Error::CutShort { .. })), "{error}");
        assert!(error.to_string().contains("copy.gguf"), "{error}");
        assert_eq!(names(folder.path()), ["copy.gguf"]);
    }
}

/// A model in memory and a model from a cache file no longer need their file.
#[test]
fn a_model_cut_short_after_it_was_read_goes_on() {
    let (folder, cache) = stage();
    let copy = folder.path().join("copy.gguf");
    for cache in [None, Some(&*cache)] {
        fs::copy(file("q4_0"), &copy).expect("a copy");
        let model = open(&copy, cache).expect("a model");
        let source = Source::open(&copy).expect("a file");
        File::options().write(true).open(&copy).expect("a file").set_len(0).expect("a cut");
        assert!(says(&model) == says(&open(&file("q4_0"), None).expect("a model")));
        // What `inspect` does: the header is in memory.
        let gguf = source.parse().expect("a model");
        let plan = carat::Memory::plan(&gguf, &config());
        assert!(matches!(plan, Ok(_) | Err(Error::Gguf(carat_gguf::Error::CutShort { .. }))));
    }
}

/// Nobody can make files in sysfs, and other people's files may not be readable.
#[cfg(target_os = "linux")]
#[test]
fn whoever_may_not_use_the_cache_is_served_without() {
    use std::os::unix::fs::PermissionsExt;
    let wanted = says(&open(&file("q4_0"), None).expect("a model"));
    let model = open(&file("q4_0"), Some("/sys/carat.cache".as_ref())).expect("a model");
    assert!(matches!(model.cache_refused(), Some(CacheError::Write { .. })));
    assert!(says(&model) == wanted);

    let (folder, cache) = stage();
    let model = open(&file("q4_0"), Some(&cache)).expect("a model");
    assert!(model.cache_refused().is_none());
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o000)).expect("permissions");
    if File::open(&cache).is_err() {
        let model = open(&file("q8_0"), Some(&cache)).expect("a model");
        assert!(matches!(model.cache_refused(), Some(CacheError::Read { .. })));
    } // else this is root, who may
    assert_eq!(names(folder.path()), ["model.cache"]);
}
