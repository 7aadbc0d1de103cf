//! Signals. Ctrl-C (SIGINT): the first one during an answer ends the answer and says so at once,
//! any other one ends the program, unless that is a conversation with a person. SIGTERM and SIGHUP
//! always end the program; a conversation that is kept in a file is saved first. What the program
//! was writing is removed: cache files and models are as large as what they are made of. The
//! terminal is left as it was found, also where a line was being edited.
//!
//! SIGBUS is how the system tells that a mapped file is gone: it was cut short, or its disk fails.
//! The thread that reads it meets the signal again and again until another one has said so and
//! ended the program. SIGXFSZ is ignored, so that a limit on the size of files is an error like a
//! disk that is full.

use std::error::Error;
use std::fmt;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, OnceLock};

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
    use signal_hook::consts::{SIGBUS, SIGXFSZ};
    use signal_hook::iterator::Signals;
    terminal::remember();
    if is_in_mask("SigCgt:", SIGBUS) == Some(true) {
        // The standard library hears it as well, for its report of a stack that overflows. Of any
        // other it gives the signal back to the system, by which the next thread that reads the
        // mapping would end the program without a word. So it is given back now, for nothing.
        signal_hook::low_level::raise(SIGBUS)?;
    }
    let signals = [SIGINT, SIGTERM, SIGBUS, SIGXFSZ].into_iter();
    let mut signals = Signals::new(signals.chain(hears_hangup().then_some(SIGHUP)))?;
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
    is_in_mask("SigIgn:", SIGHUP) == Some(false)
}

/// Whether Linux lists a signal in one of the masks of this process.
#[cfg(unix)]
fn is_in_mask(name: &str, signal: i32) -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix(name))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask & 1 << (signal - 1) != 0)
}

fn handle(signal: i32) {
    #[cfg(unix)]
    match signal {
        signal_hook::consts::SIGXFSZ => return,
        signal_hook::consts::SIGBUS => progress::interject(MAPPING_GONE),
        _ => {}
    }
    if signal != SIGINT {
        let asked = matches!(signal, SIGTERM | SIGHUP).then(|| MAY_END.get()).flatten();
        if asked.is_none_or(|may_end| may_end(signal)) {
            exit_by(signal);
        }
        LEAVES.store(true, Ordering::SeqCst);
        STOP.cancel();
        return;
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

/// From now on SIGTERM and SIGHUP end the program only if `may_end` allows it, which is given their
/// number. Whoever forbids it ends the program soon; work that can be cancelled is.
pub(crate) fn ask_before_end(may_end: fn(i32) -> bool) {
    MAY_END.get_or_init(|| may_end);
}

/// From now on Ctrl-C never ends the program.
pub(crate) fn stay() {
    STAYS.store(true, Ordering::SeqCst);
}

/// Ends the program as Ctrl-C does.
pub(crate) fn exit() -> ! {
    exit_by(SIGINT)
}

/// Ends the program as a signal does.
pub(crate) fn exit_by(signal: i32) -> ! {
    PartFile::abandon_all();
    #[cfg(unix)]
    terminal::restore();
    process::exit(EXIT_SIGNAL + signal)
}

/// The terminal as the program found it.
#[cfg(unix)]
mod terminal {
    use std::io::{self, IsTerminal};
    use std::sync::OnceLock;

    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

    static FOUND: OnceLock<Option<Termios>> = OnceLock::new();

    pub(super) fn remember() {
        FOUND.get_or_init(|| tcgetattr(io::stdin()).ok());
    }

    /// Undoes what editing a line does to a terminal: keys are shown again and end lines, and what
    /// is pasted comes without marks around it.
    pub(super) fn restore() {
        let Some(found) = FOUND.get().and_then(Option::as_ref) else { return };
        // Whoever ends can do no more than try: the terminal may be gone.
        let is_changed =
            tcgetattr(io::stdin()).is_ok_and(|now| now.local_modes != found.local_modes);
        if !is_changed {
            return;
        }
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, found);
        if io::stdout().is_terminal() {
            // Past the lock, which another thread may hold. The line is left as well; DEC private
            // mode 2004 is bracketed paste (xterm).
            let _ = rustix::io::write(io::stdout(), b"\x1b[?2004l\r\n");
        }
    }
}

impl Guard {
    /// An answer begins.
    pub(crate) fn new() -> Self {
        STOP.reset();
        if LEAVES.load(Ordering::SeqCst) {
            STOP.cancel();
        }
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

static MAY_END: OnceLock<fn(i32) -> bool> = OnceLock::new();
/// Whether the program was asked to end and will do so by itself.
static LEAVES: AtomicBool = AtomicBool::new(false);
static ANSWERING: AtomicBool = AtomicBool::new(false);
static STAYS: AtomicBool = AtomicBool::new(false);
static STOP: LazyLock<Cancel> = LazyLock::new(Cancel::new);

/// The numbers that POSIX gives them.
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// What a mapped file that is gone means. No other thread knows which one it was.
#[cfg(unix)]
const MAPPING_GONE: &str = "carat: the cache file was cut short by another program while it was \
                            read, or its disk cannot be read: start again with --verify-cache, or \
                            without --cache";

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
