//! What is going on, on standard error: one line that renews itself on a terminal, plain lines
//! elsewhere.

use std::io::{self, IsTerminal, Write};

use carat_bench::measure::Step;

pub(super) struct Status {
    is_terminal: bool,
}

impl Status {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal() }
    }

    pub(super) fn step(&mut self, step: &Step<'_>) {
        let Step { what, number, count, left } = *step;
        self.say(&format!("{number} of {count}: {what}, about {:.0} s left", left.as_secs_f64()));
    }

    pub(super) fn say(&mut self, what: &str) {
        let mut err = io::stderr().lock();
        // Nobody may be listening; the measurement goes on.
        let _ = match self.is_terminal {
            true => write!(err, "\r\x1b[Kmeasuring {what}").and_then(|()| err.flush()),
            false => writeln!(err, "measuring {what}"),
        };
    }

    /// Leaves the terminal as it was.
    pub(super) fn clear(&mut self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
