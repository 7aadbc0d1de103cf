//! The conversation while a line is read: it lies where the thread that hears signals finds it, and
//! is saved there before the program ends. While an answer is given a signal ends the answer, and
//! the conversation is saved as at any other end. A second signal does not wait for that.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use carat::Chat;

use crate::text::say;
use crate::{sentence, talk};

/// A conversation that is somewhere else while a line is read.
pub(super) struct Lent(Option<Chat>);

/// What a signal finds.
struct Desk {
    is_read: Reading,
    /// The first signal that asked for the end.
    asked: Option<i32>,
}

enum Reading {
    /// Something is being done: it comes to its end.
    Not,
    /// A line is read, and this is to be saved.
    Line(Option<Box<(Chat, PathBuf)>>),
    /// The program is being ended.
    Never,
}

impl Lent {
    pub(super) fn new(chat: Chat) -> Self {
        Self(Some(chat))
    }

    /// Reads a line; if the program is to end meanwhile, the conversation is saved to `file` first,
    /// if there is one. `None` if a signal has asked for the end before.
    pub(super) fn while_reading<T>(
        &mut self,
        file: Option<&Path>,
        read: impl FnOnce() -> T,
    ) -> Option<T> {
        {
            let mut desk = desk();
            if desk.asked.is_some() {
                return None;
            }
            let lent = file.and_then(|file| Some(Box::new((self.0.take()?, file.to_owned()))));
            desk.is_read = Reading::Line(lent);
        }
        let line = read();
        loop {
            let mut desk = desk();
            match mem::replace(&mut desk.is_read, Reading::Not) {
                Reading::Line(lent) => {
                    self.0 = lent.map(|lent| lent.0).or(self.0.take());
                    return Some(line);
                }
                ending => desk.is_read = ending,
            }
            drop(desk);
            thread::park(); // another thread ends the program
        }
    }
}

impl Deref for Lent {
    type Target = Chat;

    fn deref(&self) -> &Chat {
        self.0.as_ref().expect("it is lent only while a line is read")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Chat {
        self.0.as_mut().expect("it is lent only while a line is read")
    }
}

/// Whether the program may be ended by `signal` at once: what was to be saved is saved then.
pub(super) fn may_end(signal: i32) -> bool {
    let mut desk = desk();
    match mem::replace(&mut desk.is_read, Reading::Never) {
        Reading::Line(lent) => {
            drop(desk);
            if let Some(lent) = lent
                && let Err(e) = talk::save(&lent.0, &lent.1)
            {
                say!("carat: {}", sentence(e.as_ref()));
            }
            true
        }
        Reading::Not => {
            desk.is_read = Reading::Not;
            desk.asked.replace(signal).is_some()
        }
        Reading::Never => true,
    }
}

/// The signal that has asked for the end.
pub(super) fn asked() -> Option<i32> {
    desk().asked
}

fn desk() -> MutexGuard<'static, Desk> {
    DESK.lock().unwrap_or_else(PoisonError::into_inner)
}

static DESK: Mutex<Desk> = Mutex::new(Desk { is_read: Reading::Not, asked: None });
