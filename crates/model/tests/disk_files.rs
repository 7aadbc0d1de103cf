//! Where sessions are saved: what lies there already, and why one cannot be gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, model, push, seeing_model, tokens};
use crate::saved::{bytes, fault, session, settings};
use carat::{Error, Input, KvType, Model, SavedSessionError, Session, SessionConfig};
use tempfile::TempDir;

fn stage() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("talk.session");
    (folder, path)
}

fn talk(model: &Model, length: usize) -> Session {
    let mut session = session(model, KvType::F16);
    push(&mut session, &tokens(length));
    session
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn restore(model: &Model, path: &Path) -> Result<Session, Error> {
    Session::restore(model, path, settings(KvType::F16))
}

#[test]
fn a_newer_one_takes_the_place_of_the_older() {
    let (folder, path) = stage();
    let model = model("q4_0");
    fs::write(&path, "").expect("an empty file may be filled");
    for length in [20, 50, 10] {
        let session = talk(&model, length);
        session.save(&path).expect("saved");
        assert_eq!(names(folder.path()), ["talk.session"]);
        assert!(fs::read(&path).expect("a file") == bytes(&session));
        assert_eq!(restore(&model, &path).expect("restored").tokens(), tokens(length));
    }
}

#[test]
fn a_folder_that_is_the_current_one_is_found() {
    // No other test of this file reads relative paths.
    let (folder, path) = stage();
    std::env::set_current_dir(folder.path()).expect("it is there");
    let model = Model::open(common::file("q4_0")).expect("an absolute path");
    talk(&model, 3).save("talk.session").expect("saved");
    assert_eq!(restore(&model, Path::new("talk.session")).expect("restored").len(), 3);
    assert!(path.exists());
}

#[test]
fn what_is_no_session_is_left_alone() {
    let (folder, path) = stage();
    let model = model("q4_0");
    let session = talk(&model, 5);
    for content in ["x", "notes of somebody", "carat session", "carat weights image, version 2"] {
        fs::write(&path, content).expect("a file");
        for result in [session.save(&path), restore(&model, &path).map(drop)] {
            let error = fault(result);
            let is_named = error.to_string().starts_with(&path.display().to_string());
            assert!(is_named && matches!(error, SavedSessionError::NotASession { .. }), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), content);
    }
    for result in [session.save(folder.path()), restore(&model, folder.path()).map(drop)] {
        assert!(matches!(fault(result), SavedSessionError::NotASession { .. }));
    }
    assert_eq!(names(folder.path()), ["talk.session"]);
}

#[test]
fn what_the_system_refuses_is_named() {
    let (folder, path) = stage();
    let model = model("q4_0");
    let error = fault(restore(&model, &path));
    assert!(matches!(error, SavedSessionError::Read { .. }), "{error}");
    assert!(error.to_string().contains("talk.session cannot be read: mind"), "{error}");
    let nowhere = folder.path().join("none/talk.session");
    let error = fault(talk(&model, 5).save(&nowhere));
    assert!(matches!(error, SavedSessionError::Write { .. }), "{error}");
    assert!(error.to_string().contains("none/talk.session cannot be written"), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[cfg(unix)]
#[test]
fn permissions_and_links_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (folder, path) = stage();
    let model = model("q4_0");
    talk(&model, 5).save(&path).expect("saved");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    set(0o600);
    talk(&model, 6).save(&path).expect("saved");
    assert_eq!(mode(&path), 0o600);

    set(0o444);
    let before = fs::read(&path).expect("a file");
    let error = fault(talk(&model, 7).save(&path));
    assert!(matches!(error, SavedSessionError::Write { .. }), "{error}");
    assert!(fs::read(&path).expect("a file") == before);

    set(0o640);
    fs::create_dir(folder.path().join("links")).expect("a folder");
    let link = folder.path().join("links/talk");
    symlink(&path, &link).expect("a link");
    talk(&model, 8).save(&link).expect("saved");
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    assert_eq!(restore(&model, &path).expect("restored").len(), 8);
    assert_eq!((names(folder.path()).len(), mode(&path)), (2, 0o640));
}

#[test]
fn other_models_and_settings_are_refused_by_name() {
    let (folder, path) = stage();
    let [q4, q8] = ["q4_0", "q8_0"].map(model);
    talk(&q4, 50).save(&path).expect("saved");
    let identity = |model: &Model| model.identity().expect("its file is there");
    match fault(restore(&q8, &path)) {
        SavedSessionError::OtherModel { found, wanted, .. } => {
            assert_eq!((found, wanted), (identity(&q4), identity(&q8)));
        }
        other => panic!("{other}"),
    }
    for kv in [KvType::F32, KvType::Q8] {
        let error = fault(Session::restore(&q4, &path, settings(kv)));
        let is_named = error.to_string().contains("as F16 where")
            && error.to_string().contains(&format!("{kv:?} is asked for"));
        assert!(is_named && matches!(error, SavedSessionError::OtherKv { .. }), "{error}");
    }
    let short = |context| SessionConfig { context, ..settings(KvType::F16) };
    match fault(Session::restore(&q4, &path, short(49))) {
        SavedSessionError::TooLong { tokens: 50, context: 49, .. } => {}
        other => panic!("{other}"),
    }
    Session::restore(&q4, &path, short(50)).expect("just long enough");
    // Another projector does not matter as long as nothing was seen.
    restore(&seeing_model("q4_0"), &path).expect("the same model");

    // The same model in another file is the same; the name of the file says nothing.
    let copy = folder.path().join("copy.gguf");
    fs::copy(common::file("q4_0"), &copy).expect("a copy");
    restore(&Model::open(&copy).expect("a model"), &path).expect("the same model");
}

#[test]
fn media_need_their_projector() {
    let (folder, path) = stage();
    let seeing = seeing_model("q4_0");
    let mut session = session(&seeing, KvType::F16);
    let sound = session.embed_samples(&[0.25; 3000]).expect("sound");
    session.push(Input::Parts(&[carat::Part::Medium(&sound)])).expect("room");
    session.save(&path).expect("saved");
    restore(&seeing, &path).expect("restored");
    let found = seeing.projector_identity().expect("its file is there").expect("a projector");
    let error = fault(restore(&model("q4_0"), &path));
    assert!(error.to_string().contains("the model was opened with none"), "{error}");
    assert!(
        matches!(error, SavedSessionError::OtherProjector { found: f, wanted: None, .. } if f == found)
    );
    // A projector that differs in one weight.
    let other = folder.path().join("mmproj.gguf");
    let mut bytes = fs::read(common::kit().join("mmproj-f32.gguf")).expect("a projector");
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&other, bytes).expect("a file");
    let options = carat::OpenOptions { projector: Some(&other), ..Default::default() };
    let model = Model::open_with(common::file("q4_0"), options).expect("a model");
    let error = fault(restore(&model, &path));
    assert!(
        matches!(error, SavedSessionError::OtherProjector { wanted: Some(w), .. } if w != found)
    );
}

#[test]
fn a_longer_file_is_refused_and_a_longer_stream_is_not() {
    let (_folder, path) = stage();
    let model = model("q4_0");
    let mut long = bytes(&talk(&model, 20));
    long.extend(b"more");
    fs::write(&path, &long).expect("a file");
    let error = fault(restore(&model, &path));
    assert!(matches!(error, SavedSessionError::Damaged { part: "header", .. }), "{error}");
    let mut stream = &long[..];
    Session::restore_from(&model, &mut stream, settings(KvType::F16)).expect("restored");
    assert_eq!(stream, b"more");
}

/// A stream that ends early, and one that gives and takes a byte at a time.
#[test]
fn streams_of_any_kind_will_do() {
    struct Slow<'a>(&'a mut Vec<u8>, usize);
    impl std::io::Write for Slow<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0.len() == self.1 {
                return Err(std::io::Error::other("full"));
            }
            self.0.push(bytes[0]);
            Ok(1)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    struct Bytes<'a>(&'a [u8]);
    impl std::io::Read for Bytes<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let len = out.len().min(1);
            self.0.read(&mut out[..len])
        }
    }
    let model = model("q4_0");
    let session = talk(&model, 20);
    let whole = bytes(&session);
    let mut out = Vec::new();
    session.save_to(&mut Slow(&mut out, usize::MAX)).expect("slow");
    assert!(out == whole);
    for end in [0, 100, whole.len() - 1] {
        let error = fault(session.save_to(&mut Slow(&mut Vec::new(), end)));
        assert!(matches!(error, SavedSessionError::Write { path: None, .. }), "{error}");
    }
    let read = Session::restore_from(&model, &mut Bytes(&whole), settings(KvType::F16));
    assert_eq!(read.expect("restored").len(), 20);
}
