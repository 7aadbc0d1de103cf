//! Sessions over E2B and E4B: however a text comes to be evaluated, its bits are the same, and a
//! model file that changes under a session is an error that leaves it as it was.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::common::{bits, config, push, tokens};
use crate::drafting::{Talk, assert_same, fixed, said, scripted};
use crate::naive::{Shape, made};
use carat::{
    Cancel, Error, Input, Model, OpenOptions, SamplerConfig, Session, SessionConfig, TokenId,
    evaluate,
};
use carat_gguf::{Endian, Gguf, TensorType, Writer};

/// The file of a model, in a folder of its own.
struct OnDisk {
    _folder: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl OnDisk {
    fn new(shape: &Shape) -> Self {
        let bytes = made::bytes(shape);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.gguf");
        fs::write(&path, &bytes).expect("the folder is writable");
        Self { _folder: folder, path, bytes }
    }

    fn model(&self) -> Model {
        Model::open(&self.path).expect("a model")
    }
}

fn session(model: &Model, config: SessionConfig) -> Session {
    Session::new(model, SessionConfig { context: 200, ..config }).expect("a session")
}

/// The bits of the logits after `ids`, and after some more tokens.
fn bits_after(session: &mut Session, ids: &[TokenId]) -> Vec<u32> {
    let mut all = bits(&push(session, ids));
    for id in [300, 301, 302] {
        all.extend(bits(&push(session, &[id])));
    }
    all
}

#[test]
fn chunks_and_threads_change_no_bit() {
    for shape in [Shape::eseries(), Shape::eseries_in_blocks()] {
        let model = OnDisk::new(&shape).model();
        let ids = tokens(45);
        let want = bits_after(&mut session(&model, config()), &ids);
        for (chunk, threads) in [(1, 1), (2, 2), (7, 1), (8, 3), (9, 2), (31, 1), (44, 2)] {
            let config = SessionConfig { prefill_chunk: chunk, threads, ..config() };
            let found = bits_after(&mut session(&model, config), &ids);
            assert!(found == want, "chunks of {chunk}, {threads} threads");
        }
        // All rows go through all layers here.
        let mut rows = Vec::new();
        let mut all = session(&model, config());
        all.eval(&ids, |_, row| rows.push(row.to_vec())).expect("an evaluation");
        let vocab = rows[0].len();
        assert!(bits(&rows[44]) == want[..vocab], "the last of all rows");
        for at in [0, 7, 29] {
            let found = push(&mut session(&model, config()), &ids[..=at]);
            assert!(bits(&found) == bits(&rows[at]), "row {at}");
        }
    }
}

#[test]
fn a_batch_changes_no_bit() {
    let model = OnDisk::new(&Shape::eseries_in_blocks()).model();
    let prompts = [tokens(33), tokens(40)[20..].to_vec(), vec![290]];
    let config = SessionConfig { prefill_chunk: 16, threads: 2, ..config() };
    let want: Vec<_> =
        prompts.iter().map(|ids| bits(&push(&mut session(&model, config.clone()), ids))).collect();
    let mut sessions: Vec<_> = prompts.iter().map(|_| session(&model, config.clone())).collect();
    for (session, ids) in sessions.iter_mut().zip(&prompts) {
        session.enqueue(Input::Tokens(ids)).expect("room");
    }
    let mut together: Vec<&mut Session> = sessions.iter_mut().collect();
    while together.iter().any(|session| session.pending() > 0) {
        for progress in evaluate(&mut together, &Cancel::new()).expect("a pass") {
            progress.expect("numbers");
        }
    }
    for (session, want) in sessions.iter_mut().zip(want) {
        assert!(bits(session.logits().expect("logits")) == want);
    }
}

/// Texts, logits and caches, with drafts that are right, partly right and wrong.
#[test]
fn drafts_change_no_bit() {
    for shape in [Shape::eseries(), Shape::eseries_in_blocks()] {
        let disk = OnDisk::new(&shape);
        let (model, ids) = (disk.model(), tokens(20));
        let config = SessionConfig { context: 200, rollback: 0, threads: 2, ..config() };
        let sampling = SamplerConfig::default();
        let text = said(&model, &config, &ids, 60);
        for (right, most) in [(1.0, 7), (0.6, 4), (0.6, 7), (0.0, 1)] {
            let mut plain = Talk::new(&model, &config, &sampling);
            plain.push(&ids);
            plain.say(60);
            let drafts = scripted(text.clone(), right, 9);
            let mut talk = Talk::drafting(&model, &config, &sampling, drafts, fixed(most));
            talk.push(&ids);
            talk.say(60);
            let what = format!("{most} drafts, {right} of them right");
            assert_same(&mut plain, &mut talk, &what);
            let stats = talk.session.draft_stats();
            assert!(
                stats.drafted > 0 && (stats.accepted > 0) == (right > 0.0),
                "{what}: {stats:?}"
            );
            let (declared, used) = talk.session.scratch();
            assert!(used <= declared, "{used} of {declared}");
        }
    }
}

#[test]
fn going_back_and_coming_from_disk_change_no_bit() {
    for shape in [Shape::eseries(), Shape::eseries_in_blocks()] {
        let disk = OnDisk::new(&shape);
        let model = disk.model();
        let ids = tokens(45);
        let want = bits_after(&mut session(&model, config()), &ids);
        let with_marks = SessionConfig { marks: 2, rollback: 8, ..config() };

        let mut back = session(&model, with_marks.clone());
        push(&mut back, &ids[..20]);
        back.mark(20).expect("a mark");
        push(&mut back, &[&ids[20..], &[400, 401, 402][..]].concat());
        back.truncate(42).expect("within the rollback");
        assert!(bits_after(&mut back, &ids[42..]) == want, "rollback");
        back.truncate(20).expect("a mark");
        assert!(bits_after(&mut back, &ids[20..]) == want, "mark");

        let mut saved = session(&model, with_marks.clone());
        push(&mut saved, &ids[..20]);
        saved.mark(20).expect("a mark");
        push(&mut saved, &ids[20..37]);
        let mut file = Vec::new();
        saved.save_to(&mut file).expect("memory");
        for rollback in [8, 0] {
            let config = SessionConfig { rollback, context: 100, ..with_marks.clone() };
            let restored = Session::restore_from(&model, &mut &file[..], config);
            let mut restored = restored.expect("a session");
            assert!(bits_after(&mut restored, &ids[37..]) == want, "restored");
            restored.truncate(20).expect("a mark");
            assert!(bits_after(&mut restored, &ids[20..]) == want, "restored at a mark");
        }
    }
}

/// A file, the same in memory, in two parts, and with a cache file that does not hold the table.
#[test]
fn a_table_is_read_wherever_the_model_lies() {
    let disk = OnDisk::new(&Shape::eseries_in_blocks());
    let ids = tokens(45);
    let want = bits_after(&mut session(&disk.model(), config()), &ids);
    let same = |what: &str, model: Model| {
        assert!(bits_after(&mut session(&model, config()), &ids) == want, "{what}");
    };
    let memory: &'static [u8] = disk.bytes.clone().leak();
    same("in memory", Model::from_bytes(memory, OpenOptions::default()).expect("a model"));

    let folder = disk.path.parent().expect("a folder");
    let cache = folder.join("model.cache");
    for what in ["a new cache file", "a cache file"] {
        let options = OpenOptions { cache: Some(&cache), ..Default::default() };
        same(what, Model::open_with(&disk.path, options).expect("a model"));
    }
    let gguf = Gguf::parse(&disk.bytes).expect("a model");
    let table = gguf.tensor(TABLE).expect("a table").data.len() as u64;
    let written = fs::metadata(&cache).expect("a cache file").len();
    assert!(written + table < disk.bytes.len() as u64 + 8192, "{written} beside {table}");

    let first = folder.join("parts-00001-of-00002.gguf");
    fs::write(&first, part(&gguf, 0)).expect("a part");
    fs::write(folder.join("parts-00002-of-00002.gguf"), part(&gguf, 1)).expect("a part");
    same("two parts", Model::open(&first).expect("a model"));
}

/// One of two parts of a model: the table is in the second one.
fn part(gguf: &Gguf<'_>, number: u16) -> Vec<u8> {
    let mut writer = Writer::new(Endian::Little, 3)
        .metadata("split.no", number)
        .metadata("split.count", 2u16)
        .metadata("split.tensors.count", gguf.tensors().len() as i32);
    for (key, value) in gguf.metadata().iter().filter(|_| number == 0) {
        writer = writer.metadata(key, *value);
    }
    for tensor in gguf.tensors().iter().filter(|t| (t.name == TABLE) == (number == 1)) {
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, tensor.data);
    }
    writer.to_bytes().expect("a part")
}

/// Whether memory holds it is seen by what is counted: all but the table.
#[test]
fn a_table_takes_no_memory() {
    let disk = OnDisk::new(&Shape::eseries_in_blocks());
    let gguf = Gguf::parse(&disk.bytes).expect("a model");
    let is_f32 = |t: &&carat_gguf::Tensor<'_>| t.tensor_type == TensorType::F32;
    let table = gguf.tensor(TABLE).expect("a table").data.len() as u64;
    let model = disk.model();
    let memory = session(&model, config()).memory();
    // The matrices are packed without a change of size, but to whole groups of eight rows.
    let all: u64 = gguf.tensors().iter().map(|t| t.data.len() as u64).sum();
    let norms: u64 = gguf.tensors().iter().filter(is_f32).map(|t| t.data.len() as u64).sum();
    assert!(norms < memory.weights && memory.weights == all - table, "{memory:?} {all} {table}");
    assert_eq!(memory.on_disk, table);
    assert!(memory.total() < all - table + memory.tokenizer + memory.kv + memory.scratch + 1);
}

/// Somebody writes to the file, cuts it short, and puts all back.
#[test]
fn a_file_that_changes_is_an_error_and_leaves_the_session() {
    let disk = OnDisk::new(&Shape::eseries_in_blocks());
    let model = disk.model();
    let ids = tokens(45);
    let want = bits_after(&mut session(&model, config()), &ids);
    let open = |path: &Path| File::options().write(true).open(path).expect("a file");
    let modified = fs::metadata(&disk.path).expect("a file").modified().expect("a time");
    let config = SessionConfig { prefill_chunk: 10, ..config() };
    let [mut talk, mut other] = [(); 2].map(|()| session(&model, config.clone()));
    push(&mut talk, &ids[..20]);
    push(&mut other, &ids[..20]);
    for cut in [false, true] {
        let file = open(&disk.path);
        match cut {
            true => file.set_len(disk.bytes.len() as u64 / 2).expect("a cut"),
            false => fs::write(&disk.path, vec![7; disk.bytes.len()]).expect("other bytes"),
        }
        let later = modified + std::time::Duration::from_secs(5);
        file.set_modified(later).expect("another time");
        let error = talk.push(Input::Tokens(&ids[20..])).expect_err("a changed file");
        let text = error.to_string();
        assert!(text.contains("model.gguf was changed after the model was opened"), "{text}");
        assert_eq!(talk.len(), 20);
        // What was evaluated stays there, and what is pending stays pending.
        talk.logits().expect("logits of before");
        other.enqueue(Input::Tokens(&ids[20..22])).expect("room");
        let error = other.logits().expect_err("a changed file");
        assert!(matches!(error, Error::Identity(_)), "{error}");
        other.truncate(20).expect("a shorter text");
        let both = &mut [&mut talk, &mut other];
        both[1].enqueue(Input::Tokens(&ids[20..21])).expect("room");
        assert!(evaluate(both, &Cancel::new()).is_err(), "a batch");
        other.truncate(20).expect("a shorter text");

        fs::write(&disk.path, &disk.bytes).expect("the same bytes");
        open(&disk.path).set_modified(modified).expect("the same time");
        push(&mut talk, &ids[20..21]);
        talk.truncate(20).expect("within the rollback");
        talk.logits().expect("logits");
    }
    assert!(bits_after(&mut talk, &ids[20..]) == want, "goes on");
    assert!(bits_after(&mut other, &ids[20..]) == want, "goes on");
}

/// The open file is that of the model, whatever its name is worth meanwhile.
#[cfg(unix)]
#[test]
fn a_file_that_vanishes_or_is_replaced_changes_nothing() {
    let disk = OnDisk::new(&Shape::eseries_in_blocks());
    let model = disk.model();
    let ids = tokens(45);
    let mut talk = session(&model, config());
    push(&mut talk, &ids[..20]);
    fs::remove_file(&disk.path).expect("a file");
    let want = bits_after(&mut session(&model, config()), &ids);
    fs::write(&disk.path, b"something else").expect("a file");
    assert!(bits_after(&mut talk, &ids[20..]) == want);
}

const TABLE: &str = "per_layer_token_embd.weight";
