//! Ctrl-C: the first one during an answer ends the answer and says so at once, any other one ends the
//! program, unless that is a conversation with a person. While a cache file is written, the first
//! one waits until its remains are removed.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::{fmt, fs, mem, process};

use anyhow::{Context, Result, bail};

use crate::progress;

/// Ctrl-C is polite while this lives: it waits for whoever asks [`Guard::stopped`].
pub(crate) struct Guard(());

/// The error of what Ctrl-C ended.
#[derive(Debug)]
pub(crate) struct Interrupted(pub(crate) &'static str);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Interrupted {}

/// Installs the handler. To be called once, before the first [`Guard`].
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        let is_awaited = ANSWERING.load(Ordering::SeqCst);
        let is_second = is_awaited && STOP.swap(true, Ordering::SeqCst);
        match heard(is_awaited, is_second, STAYS.load(Ordering::SeqCst)) {
            Heard::Nothing => {}
            Heard::Stop => progress::interject("stopping…"),
            Heard::Exit => exit(),
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// What Ctrl-C asks for.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Stop,
    Exit,
}

/// `is_awaited` while an answer is given, `is_second` if that is already being stopped, `stays` in a
/// conversation with a person.
fn heard(is_awaited: bool, is_second: bool, stays: bool) -> Heard {
    match (is_awaited, stays) {
        (true, true) => Heard::Stop,
        (true, false) if !is_second => Heard::Stop,
        (false, true) => Heard::Nothing,
        _ => Heard::Exit,
    }
}

/// From now on Ctrl-C never ends the program.
pub(crate) fn stay() {
    STAYS.store(true, Ordering::SeqCst);
}

/// Ends the program as Ctrl-C does.
pub(crate) fn exit() -> ! {
    let mut files = TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner);
    mem::take(&mut *files).into_iter().for_each(remove);
    process::exit(EXIT_INTERRUPTED)
}

impl Guard {
    /// An answer begins.
    pub(crate) fn new() -> Self {
        STOP.store(false, Ordering::SeqCst);
        ANSWERING.store(true, Ordering::SeqCst);
        Self(())
    }

    /// Whether Ctrl-C was pressed since the answer began.
    pub(crate) fn stopped(&self) -> bool {
        STOP.load(Ordering::SeqCst)
    }

    /// An error if so.
    pub(crate) fn check(&self) -> Result<()> {
        if self.stopped() {
            bail!(Interrupted("interrupted"))
        }
        Ok(())
    }

    /// The same for the engine's callbacks.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        if self.stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        ANSWERING.store(false, Ordering::SeqCst);
    }
}

/// Becomes true with the first Ctrl-C while a [`Guard`] lives.
pub(crate) fn stop() -> Arc<AtomicBool> {
    STOP.clone()
}

/// A file that is gone with this, also when Ctrl-C ends the program.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// The file need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut files = TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|path| *path != self.0);
        remove(mem::take(&mut self.0));
    }
}

fn remove(path: PathBuf) {
    // It may never have been there, and whoever cleans up can do no more than try.
    let _ = fs::remove_file(path);
}

static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static ANSWERING: AtomicBool = AtomicBool::new(false);
static STAYS: AtomicBool = AtomicBool::new(false);
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// What shells report for a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_ends_a_command_and_never_a_conversation() {
        assert_eq!(heard(true, false, false), Heard::Stop);
        assert_eq!(heard(true, true, false), Heard::Exit);
        assert_eq!(heard(false, false, false), Heard::Exit);
        assert_eq!(heard(true, false, true), Heard::Stop);
        assert_eq!(heard(true, true, true), Heard::Stop);
        assert_eq!(heard(false, false, true), Heard::Nothing);
    }
}
