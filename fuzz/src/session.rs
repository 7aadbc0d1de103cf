//! Saved sessions: any bytes are refused or are a conversation that goes on, and that is the same
//! once it was saved again.
//!
//! The model is a small one whose weights are zero, so that the seeds have the same bits on every
//! machine. Inputs are tried as they are, and with the hashes that belong to them: otherwise
//! nothing behind the header would ever be reached.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs, process};

use carat::{Input, Isa, KvType, Model, OpenOptions, Part, Session, SessionConfig};
use carat_gguf::{Endian, Source, Writer};

use crate::said;

/// Restores the session in `data`, and goes on with it where there is one.
pub fn session(data: &[u8]) -> bool {
    let mut is_restored = false;
    for bytes in [data.to_vec(), sealed(data)] {
        let mut input = &bytes[..];
        let mut session = match Session::restore_from(model(), &mut input, settings()) {
            Ok(session) => session,
            Err(error) => {
                said::is_a_sentence(&error);
                continue;
            }
        };
        assert!(session.tokens().iter().all(|id| (*id as usize) < model().config().vocab));
        assert!(session.len() <= CONTEXT && session.pending() <= session.len());
        let again = saved(&session);
        let other = Session::restore_from(model(), &mut &again[..], settings());
        let other = other.expect("what was written can be read");
        assert_eq!(session.tokens(), other.tokens());
        assert_eq!((session.pending(), session.stop()), (other.pending(), other.stop()));
        assert!(session.marks().eq(other.marks()));
        assert!(saved(&other) == again, "saved twice, it is another file");
        go_on(&mut session);
        is_restored = true;
    }
    is_restored
}

/// Evaluates what is there, goes back and says more. All of it may fail, and nothing may panic.
fn go_on(session: &mut Session) {
    let _ = session.logits();
    let _ = session.push(Input::Tokens(&[300, 301]));
    let marks: Vec<usize> = session.marks().collect();
    for length in marks.into_iter().rev().chain([session.len() / 2, 0]) {
        let _ = session.truncate(length);
        let _ = session.push(Input::Tokens(&[302]));
    }
}

/// Sessions without tokens, with tokens that are evaluated or not, with marks and with sound.
pub fn session_seeds() -> Vec<Vec<u8>> {
    let ids: Vec<u32> = (300..340).collect();
    let new = |settings| Session::new(model(), settings).expect("a session");
    let mut sessions: Vec<Session> = (0..5).map(|_| new(settings())).collect();
    let push = |session: &mut Session, ids: &[u32]| session.push(Input::Tokens(ids)).expect("room");
    let mark = |session: &mut Session| session.mark(session.len()).expect("memory");
    push(&mut sessions[1], &ids[..3]);
    push(&mut sessions[2], &ids[..9]);
    mark(&mut sessions[2]);
    push(&mut sessions[2], &ids[9..15]);
    mark(&mut sessions[2]);
    push(&mut sessions[2], &ids[15..20]);
    sessions[2].truncate(18).expect("within the rollback");
    for (i, is_evaluated) in [(3, true), (4, false)] {
        let session = &mut sessions[i];
        let sound = session.embed_samples(&[0.25; 1500]).expect("sound");
        let parts = [Part::Medium(&sound)];
        push(session, &ids[..2]);
        let input = Input::Parts(&parts);
        if is_evaluated { session.push(input) } else { session.enqueue(input) }.expect("room");
    }
    let mut other = new(SessionConfig { kv: KvType::Q8, ..settings() });
    push(&mut other, &ids[..2]);
    sessions.push(other);
    sessions.iter().map(saved).collect()
}

fn saved(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    session.save_to(&mut bytes).expect("a vector takes everything");
    bytes
}

fn settings() -> SessionConfig {
    SessionConfig {
        context: CONTEXT,
        threads: 1,
        prefill_chunk: 8,
        rollback: 3,
        marks: 2,
        isa: Isa::scalar(),
        ..Default::default()
    }
}

/// The bytes with the hash of the header and of each section in its place, as far as these go.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut end = HEADER_BYTES;
    for section in 0..=SECTIONS {
        let Some((before, hash)) = bytes.split_at_mut_checked(end) else { break };
        let Some(hash) = hash.get_mut(..32) else { break };
        hash.copy_from_slice(blake3::hash(before).as_bytes());
        let length = &before[LENGTHS_AT + 8 * section.min(SECTIONS - 1)..][..8];
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let Ok(length) = usize::try_from(length) else { break };
        let Some(next) = length.checked_add(end + 32) else { break };
        end = next;
    }
    bytes
}

/// The model, whose files are needed only until it is open and known.
fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let [text, projector] = ["text-q4_0", "mmproj-f32"].map(zeros);
        let options = OpenOptions { projector: Some(&projector), ..Default::default() };
        let model = Model::open_with(&text, options).expect("a model");
        model.identity().expect("its file is there");
        model.projector_identity().expect("its file is there");
        for path in [text, projector] {
            // In the folder of temporary files it does little harm.
            let _ = fs::remove_file(path);
        }
        model
    })
}

/// Writes a file of the reference kit with zeros for its weights.
fn zeros(name: &str) -> PathBuf {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/model/tests/data/tiny-s");
    let source = Source::open(&kit.join(format!("{name}.gguf"))).expect("a file of the kit");
    let gguf = source.parse().expect("it parses");
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, *value);
    }
    for tensor in gguf.tensors() {
        let is_kept = tensor.name == "rope_freqs.weight"; // divisors
        let data = if is_kept { tensor.data.to_vec() } else { vec![0; tensor.data.len()] };
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, data);
    }
    let path = env::temp_dir().join(format!("carat-fuzz-{}-{name}.gguf", process::id()));
    fs::write(&path, writer.to_bytes().expect("a file")).expect("room for it");
    path
}

const CONTEXT: usize = 64;

/// Bytes before the header's hash, and where it has the lengths of the sections.
const HEADER_BYTES: usize = 200;
const LENGTHS_AT: usize = 160;
const SECTIONS: usize = 5;
