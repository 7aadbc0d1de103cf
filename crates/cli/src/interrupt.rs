//! Signals. Ctrl-C (SIGINT): the first one during an answer ends the answer and says so at once,
//! any other one ends the program, unless that is a conversation with a person. SIGTERM and SIGHUP
//! always end the program. What it was writing is removed first: cache files and models are as
//! large as what they are made of.

use std::error::Error;
use std::fmt;
use std::process;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use carat::Cancel;
use carat_gguf::PartFile;

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

/// Begins to listen. To be called once, before the first [`Guard`].
pub(crate) fn install() -> Result<()> {
    listen().context("cannot listen for signals")
}

#[cfg(unix)]
fn listen() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGTERM};
    use signal_hook::iterator::Signals;
    let signals = [SIGINT, SIGTERM].into_iter().chain(hears_hangup().then_some(SIGHUP));
    let mut signals = Signals::new(signals)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        signals.forever().for_each(handle);
    })?;
    Ok(())
}

#[cfg(not(unix))]
fn listen() -> Result<()> {
    Ok(ctrlc::set_handler(|| handle(SIGINT))?)
}

/// Whether SIGHUP ends programs here: `nohup` starts them so that it does not. A system that does
/// not say keeps its own way of ending them.
#[cfg(unix)]
fn hears_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 << (signal_hook::consts::SIGHUP - 1) == 0)
}

fn handle(signal: i32) {
    if signal != SIGINT {
        exit_by(signal);
    }
    let is_awaited = ANSWERING.load(Ordering::SeqCst);
    let is_second = is_awaited && STOP.is_cancelled();
    if is_awaited {
        STOP.cancel();
    }
    match heard(is_awaited, is_second, STAYS.load(Ordering::SeqCst)) {
        Heard::Nothing => {}
        Heard::Stop => progress::interject("stopping…"),
        Heard::Exit => exit(),
    }
}

/// What Ctrl-C asks for.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Stop,
    Exit,
}

/// `is_awaited` while an answer is given, `is_second` if that is already being stopped, `stays` in
/// a conversation with a person.
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
    exit_by(SIGINT)
}

fn exit_by(signal: i32) -> ! {
    PartFile::abandon_all();
    process::exit(EXIT_SIGNAL + signal)
}

impl Guard {
    /// An answer begins.
    pub(crate) fn new() -> Self {
        STOP.reset();
        ANSWERING.store(true, Ordering::SeqCst);
        Self(())
    }

    /// Whether Ctrl-C was pressed since the answer began.
    pub(crate) fn stopped(&self) -> bool {
        STOP.is_cancelled()
    }

    /// An error if so.
    pub(crate) fn check(&self) -> Result<()> {
        if self.stopped() {
            bail!(Interrupted("interrupted"))
        }
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        ANSWERING.store(false, Ordering::SeqCst);
    }
}

/// Is cancelled by the first Ctrl-C while a [`Guard`] lives.
pub(crate) fn stop() -> Cancel {
    STOP.clone()
}

static ANSWERING: AtomicBool = AtomicBool::new(false);
static STAYS: AtomicBool = AtomicBool::new(false);
static STOP: LazyLock<Cancel> = LazyLock::new(Cancel::new);

/// The number that POSIX gives it.
const SIGINT: i32 = 2;

/// What shells report for a program that a signal ended is this and the signal's number.
const EXIT_SIGNAL: i32 = 128;

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
