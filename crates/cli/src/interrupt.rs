//! Ctrl-C: the first one during an answer ends the answer, any other one the program.

use std::ops::ControlFlow;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// Ctrl-C is polite while this lives.
pub(crate) struct Guard(());

/// Installs the handler. To be called once, before the first [`Guard`].
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if !ANSWERING.load(Ordering::SeqCst) || STOP.swap(true, Ordering::SeqCst) {
            process::exit(EXIT_INTERRUPTED);
        }
    })
    .context("cannot listen for Ctrl-C")
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

static ANSWERING: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);

/// What shells report for a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;
