//! Saved sessions by the layout that `session/disk.rs` documents, and what the tests do with them.
#![allow(dead_code, reason = "every test file uses a part of it")]

use carat::{Error, Input, KvType, Model, SavedSessionError, Session, SessionConfig};

use crate::common::{bits, config, tokens};

/// The window of tiny-s is 8 positions; rings of 11 wrap soon.
pub(crate) fn settings(kv: KvType) -> SessionConfig {
    SessionConfig { kv, context: 1024, rollback: 3, marks: 2, prefill_chunk: 10, ..config() }
}

pub(crate) fn session(model: &Model, kv: KvType) -> Session {
    Session::new(model, settings(kv)).expect("a session")
}

pub(crate) fn bytes(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    session.save_to(&mut bytes).expect("a vector takes everything");
    bytes
}

pub(crate) fn restored(
    model: &Model,
    mut bytes: &[u8],
    config: SessionConfig,
) -> Result<Session, Error> {
    Session::restore_from(model, &mut bytes, config)
}

/// Of an error that must be one of saved sessions.
pub(crate) fn fault<T>(result: Result<T, Error>) -> SavedSessionError {
    match result {
        Err(Error::SavedSession(fault)) => fault,
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("no error"),
    }
}

/// All that can be seen of a session, at once and after going on and back as far as it can.
pub(crate) fn future(session: &mut Session) -> Vec<(String, Vec<u32>)> {
    let mut seen = Vec::new();
    let mut look = |session: &mut Session, what: String| {
        let marks: Vec<_> = session.marks().collect();
        let state = (session.tokens().to_vec(), session.pending(), marks, session.stop());
        let logits = session.logits().map(bits).map_err(|e| e.to_string());
        let (logits, error) = match logits {
            Ok(logits) => (logits, String::new()),
            Err(e) => (Vec::new(), e),
        };
        seen.push((format!("{what} {state:?} {error}"), logits));
    };
    look(session, "at once".to_owned());
    for back in [1, 2, 3, 4, 9] {
        let result = session.truncate(session.len().saturating_sub(back));
        let what = format!("back {back}: {:?}", result.map_err(|e| e.to_string()));
        look(session, what);
    }
    for more in [1, 25] {
        let result = session.push(Input::Tokens(&tokens(80)[50..50 + more]));
        look(session, format!("on {more}: {:?}", result.map_err(|e| e.to_string())));
    }
    let marks: Vec<_> = session.marks().collect();
    for mark in marks.into_iter().rev() {
        let result = session.truncate(mark);
        look(session, format!("mark {mark}: {:?}", result.map_err(|e| e.to_string())));
        let result = session.push(Input::Tokens(&tokens(20)[..9]));
        look(session, format!("on from {mark}: {:?}", result.map_err(|e| e.to_string())));
    }
    seen
}

/// A saved session in its parts.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) header: Vec<u8>,
    pub(crate) sections: [Vec<u8>; 5],
}

impl Saved {
    /// Takes a file apart, and compares its hashes.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let hashed = |end: usize| {
            assert_eq!(bytes[end..end + 32], *blake3::hash(&bytes[..end]).as_bytes(), "at {end}");
        };
        hashed(200);
        let mut at = 232;
        let sections = std::array::from_fn(|i| {
            let len = u64_at(bytes, 160 + 8 * i) as usize;
            hashed(at + len);
            at += len + 32;
            bytes[at - len - 32..at - 32].to_vec()
        });
        assert_eq!(at, bytes.len());
        Self { header: bytes[..160].to_vec(), sections }
    }

    /// A file with these parts, whose lengths and hashes are right.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let lengths = self.sections.each_ref().map(|section| section.len() as u64);
        self.with_lengths(lengths)
    }

    /// [`Saved::to_bytes`] that says other lengths.
    pub(crate) fn with_lengths(&self, lengths: [u64; 5]) -> Vec<u8> {
        let mut bytes = self.header.clone();
        lengths.into_iter().for_each(|length| bytes.extend(length.to_le_bytes()));
        let seal = |bytes: &mut Vec<u8>| {
            let hash = blake3::hash(bytes);
            bytes.extend(hash.as_bytes());
        };
        seal(&mut bytes);
        for section in &self.sections {
            bytes.extend(section);
            seal(&mut bytes);
        }
        bytes
    }

    pub(crate) fn number(&self, at: usize) -> u32 {
        u32_at(&self.header, at)
    }

    pub(crate) fn long(&self, at: usize) -> u64 {
        u64_at(&self.header, at)
    }

    /// The same with another number in the header.
    pub(crate) fn with_number(&self, at: usize, number: u32) -> Self {
        let mut other = self.clone();
        other.header[at..at + 4].copy_from_slice(&number.to_le_bytes());
        other
    }

    /// The same with another long number in the header.
    pub(crate) fn with_long(&self, at: usize, number: u64) -> Self {
        let mut other = self.clone();
        other.header[at..at + 8].copy_from_slice(&number.to_le_bytes());
        other
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
