//! What is going on, on standard error: one line that renews itself on a terminal, plain lines
//! elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use carat_bench::measure::Step;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::progress::in_words;

#[derive(Default)]
pub(super) struct Status {
    line: Option<ProgressBar>,
}

impl Status {
    pub(super) fn step(&mut self, step: &Step<'_>) {
        let Step { what, number, count, left } = *step;
        self.show(&format!("{number} of {count}: {what}"), Some(left));
    }

    pub(super) fn say(&mut self, what: &str) {
        self.show(what, None);
    }

    /// Leaves the terminal as it was.
    pub(super) fn clear(&mut self) {
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
        }
    }

    fn show(&mut self, what: &str, left: Option<Duration>) {
        self.clear();
        if io::stderr().is_terminal() {
            self.line = Some(line(what, left));
            return;
        }
        let left = left.map_or_else(String::new, |left| about(left.as_secs()));
        // Nobody may be listening; the measurement goes on.
        let _ = writeln!(io::stderr(), "measuring {what}{left}");
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A line whose time runs down; nothing else moves, since what draws also disturbs.
fn line(what: &str, left: Option<Duration>) -> ProgressBar {
    let begun = Instant::now();
    let left = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
        let left = left.map(|left| about(left.saturating_sub(begun.elapsed()).as_secs()));
        // A word that is not written leaves a gap in the line.
        let _ = out.write_str(&left.unwrap_or_default());
    };
    let style = ProgressStyle::with_template("measuring {msg}{left}");
    let style = style.expect("the template is well-formed").with_key("left", left);
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
    line.set_message(what.to_owned());
    line.enable_steady_tick(Duration::from_secs(1));
    line
}

/// `, about 1:05 min left`; a second at least, since nobody knows when it is less.
fn about(seconds: u64) -> String {
    let mut out = String::from(", about ");
    let _ = write!(out, "{} left", in_words(seconds.max(1)));
    out
}
