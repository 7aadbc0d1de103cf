//! No bit depends on the number of threads, nor on how a prompt is cut into chunks.

use std::collections::HashMap;
use std::thread;

use crate::common::{bits, config, file, logits, model, tokens};
use carat::{Error, Model, OpenOptions, Session, SessionConfig, ThreadsError, threads_max};

/// Longer than the window of 8 many times over, and than one block of a full layer (256).
const TOKENS: usize = 300;

#[test]
fn threads_do_not_change_a_bit() {
    let ids = tokens(TOKENS);
    for quant in ["q4_0", "bf16", "f32"] {
        let model = model(quant);
        let with = |threads| logits(&model, SessionConfig { threads, ..config() }, &ids).concat();
        let one = bits(&with(1));
        for threads in [2, 3, 8] {
            assert!(bits(&with(threads)) == one, "{quant}: {threads} threads differ from one");
        }
    }
}

#[test]
fn chunks_do_not_change_a_bit() {
    let ids = tokens(TOKENS);
    for quant in ["q4_0", "bf16", "f32"] {
        let model = model(quant);
        let with = |prefill_chunk| {
            let config = SessionConfig { prefill_chunk, rollback: 0, ..config() };
            logits(&model, config, &ids).concat()
        };
        let whole = bits(&with(TOKENS));
        for chunk in [1, 3, 7, 8, 256] {
            assert!(bits(&with(chunk)) == whole, "{quant}: chunks of {chunk} differ from one");
        }
    }
}

/// What a service does: it keeps conversations in a map, and whichever thread is free goes on with
/// one.
#[test]
fn a_session_outlives_the_handle_that_made_it() {
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_owned<T: Send + 'static>(_: &T) {}
    let ids: &'static [_] = tokens(TOKENS).leak();
    let model = model("q4_0");
    is_shared(&model);
    let want = bits(&logits(&model, config(), ids).concat());
    let mut sessions: HashMap<&str, Session> = ["one", "two"]
        .map(|name| (name, Session::new(&model, config()).expect("a session")))
        .into();
    drop(model);
    let (first, rest) = ids.split_at(100);
    for part in [first, rest] {
        let gone_on = sessions.drain().map(|(name, mut session)| {
            is_owned(&session);
            thread::spawn(move || {
                let mut got = Vec::new();
                session.eval(part, |_, row| got.extend_from_slice(row)).expect("room");
                (name, session, bits(&got))
            })
        });
        let gone_on: Vec<_> = gone_on.collect();
        for thread in gone_on {
            let (name, session, got) = thread.join().expect("no panic");
            let vocab = session.model().config().vocab;
            let from = (session.len() - part.len()) * vocab;
            assert!(got == want[from..][..part.len() * vocab], "{name} differs");
            sessions.insert(name, session);
        }
    }
}

#[test]
fn more_threads_than_the_limit_are_refused() {
    let model = model("q4_0");
    let most = threads_max();
    for wanted in [most + 1, 100_000, usize::MAX] {
        let session = Session::new(&model, SessionConfig { threads: wanted, ..config() });
        let opened =
            Model::open_with(file("q4_0"), OpenOptions { threads: wanted, ..Default::default() });
        for error in [session.expect_err("a session"), opened.expect_err("a model")] {
            let Error::Threads(ThreadsError::TooMany { wanted: found, most: limit }) = error else {
                panic!("{error}");
            };
            assert_eq!((found, limit), (wanted, most));
        }
    }
}
